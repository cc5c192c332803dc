//! Whole values as files: `.kfs/json` and `.kfs/edn` in a mount, with the programs that people use.

use std::ffi::OsString;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;

use crate::harness::{Mount, edn, save};

/// A value of every kind, in maps and vectors.
const EVERYTHING: &str = r##"{
    "plain" {"nil" nil, "yes" true, "n" 42, "f" 1.5, "whole" 1.0, "zero" -0.0, "big" 9007199254740993,
             "huge" 100000000000000000000000001, "small" 1.0E-7, "text" "a\nb", "empty" {}, "none" []}
    "tagged" [:kw :ns/kw sym \c 1/3 1.50M #{1 :a} (1 2) #bytes "00ff" ##NaN ##Inf
              #inst "2020-01-02T03:04:05.678Z" #uuid "00000000-0000-0000-0000-000000000007"
              #my/tag {:a 1} "$kw"]
    "keys" {:kw 1, 42 2, nil 3, [1 2] 4, "$kw" 5, "a/b" 6}
    "like" {"$kw" "a"}
}"##;

#[test]
fn ordinary_programs_read_and_save_values() {
    let m = Mount::new();
    m.put("user", r#"{"name" "Ada" "langs" ["en" "fr"]}"#);
    let json = "{\n  \"name\": \"Ada\",\n  \"langs\": [\n    \"en\",\n    \"fr\"\n  ]\n}\n";
    assert_eq!(m.sh("cat .kfs/json/user.json"), json.trim_end());
    assert_eq!(m.sh("jq -r '.langs[1]' .kfs/json/user.json"), "fr");
    assert_eq!(m.sh("cat .kfs/edn/user/langs.edn"), r#"["en" "fr"]"#);
    assert_eq!(
        m.sh("stat -c %s:%a .kfs/json/user.json"),
        format!("{}:600", json.len())
    );
    m.sh("cp .kfs/json/user.json $T/copy; cmp .kfs/json/user.json $T/copy; diff .kfs/json/user.json $T/copy");

    m.sh(r#"echo '{"name": "Eve", "langs": []}' > .kfs/json/user.json"#);
    assert_eq!(m.get("user"), edn(r#"{"name" "Eve" "langs" []}"#));
    assert_eq!(m.read("user/name"), b"Eve\n");
    m.sh("sed -i s/Eve/Joe/ .kfs/json/user.json");
    assert_eq!(m.get("user/name"), edn("\"Joe\""));
    m.sh("sed -i.bak s/Joe/Jim/ .kfs/json/user.json; rm .kfs/json/user.json.bak");
    assert_eq!(m.get("user/name"), edn("\"Jim\""));
    m.sh("cd .kfs/json; jq '.age = 36' user.json > tmp && mv tmp user.json");
    assert_eq!(m.get("user/age"), edn("36"));
    m.sh("cd .kfs/json; jq '.age = 37' user.json > tmp.json && mv tmp.json user.json");
    assert_eq!(m.get("user/age"), edn("37"));
    assert!(!m.has("tmp"));
    m.sh("vim -es -u NONE '+%s/37/38/' +wq .kfs/json/user.json");
    assert_eq!(m.get("user/age"), edn("38"));
    m.sh("vim -es -u NONE '+set backupcopy=yes' '+%s/38/39/' +wq .kfs/edn/user.edn");
    assert_eq!(m.get("user/age"), edn("39"));
    m.sh("python3 - <<'END'\nimport json\np = '.kfs/json/user.json'\nd = json.load(open(p))\nd['langs'].append('de')\njson.dump(d, open(p, 'w'))\nwith open(p, 'r+') as f:\n    d = json.load(f); d['age'] = 4; f.seek(0); json.dump(d, f); f.truncate()\nEND");
    assert_eq!(
        m.get("user"),
        edn(r#"{"name" "Jim" "langs" ["de"] "age" 4}"#)
    );
    m.sh(
        "cp .kfs/json/user.json .kfs/json/other.json; cp -p .kfs/edn/user.edn .kfs/edn/user/me.edn",
    );
    assert_eq!(
        m.get("other"),
        edn(r#"{"name" "Jim" "langs" ["de"] "age" 4}"#)
    );
    assert_eq!(m.get("user/me"), m.get("other"));
    m.sh("mv .kfs/json/other.json .kfs/json/user/langs/1.json");
    assert_eq!(m.get("user/langs/1/age"), edn("4"));
    m.sh("echo '[7]' > $T/new; mv $T/new .kfs/json/new.json; echo 8 > f; mv f .kfs/edn/new.edn; rm .kfs/json/user.json");
    assert_eq!(m.get("new"), edn("8"));
    assert!(!m.has("user") && !m.has("f"));
    // Nothing is left behind, and all of it is as durable as what is written elsewhere.
    assert_eq!(m.names(".kfs/json"), ["new.json"]);
    m.kill();
    m.mount();
    assert_eq!(m.get("new"), edn("8"));
}

#[test]
fn every_value_survives_both_notations() {
    let m = Mount::new();
    m.put("all", EVERYTHING);
    m.sh("ln -s away all/link; mkfifo all/pipe; echo shared > one; ln one all/two; setfattr -n user.kfs.type -v text all/plain/text");
    let before = m.get("all");
    let state = || {
        m.sh("cd all; find . -printf '%p %y %m %T@ %l\\n' | sort; getfattr -Rhd -m - . 2>/dev/null")
    };
    let stats = state();
    let ways = [
        "cp json/all.json $T/t; cp $T/t json/all.json",
        "cp edn/all.edn $T/t; cp $T/t edn/all.edn",
        "jq . json/all.json > json/t; mv json/t json/all.json",
        "jq . json/all.json > json/t.json; mv json/t.json json/all.json",
        "cd json; python3 -c 'import json; d = json.load(open(\"all.json\")); json.dump(d, open(\"all.json\", \"w\"))'",
        "vim -es -u NONE +w! +q json/all.json",
        "sed -i s/nothing/else/ edn/all.edn json/all.json",
    ];
    for way in ways {
        m.sh(&format!("cd .kfs; {way}"));
        assert_eq!(m.get("all"), before, "{way}");
        assert_eq!(state(), stats, "{way}");
    }
    // A copy has the values, too.
    m.sh("cd .kfs; cp json/all.json json/a.json; cp edn/all.edn edn/b.edn");
    assert_eq!(m.get("a"), before);
    assert_eq!(m.get("b"), before);
}

#[test]
fn an_edit_changes_only_what_differs() {
    let m = Mount::new();
    m.put("all", EVERYTHING);
    m.sh("chmod 640 all/plain/n all/plain/f; setfattr -n user.a -v b all/plain/n; touch -d 2001-02-03 all/plain/* all/tagged/* all/keys/* all/plain");
    let times = || m.sh("find all -type f -printf '%p %T@ %m\\n' | sort");
    let before = times();
    m.sh("cd .kfs/json; jq '.plain.n = 43 | del(.plain.f)' all.json > t; mv t all.json");
    let expected = EVERYTHING.replace("\"n\" 42, \"f\" 1.5", "\"n\" 43");
    assert_eq!(m.get("all"), edn(&expected));
    let after = times();
    let gone: Vec<&str> = before
        .lines()
        .filter(|line| !after.contains(line))
        .collect();
    let names: Vec<&str> = gone
        .iter()
        .map(|line| line.split(' ').next().unwrap())
        .collect();
    assert_eq!(names, ["all/plain/f", "all/plain/n"]);
    assert_eq!(after.lines().count() + 1, before.lines().count());
    assert_eq!(
        m.sh("stat -c %a all/plain/n; getfattr -n user.a --only-values all/plain/n"),
        "640\nb"
    );
}

#[test]
fn a_text_that_does_not_parse_is_refused_with_its_place() {
    let m = Mount::new();
    let rows = [
        ("json/x.json", "{\"a\": 1", "1, column 1"),
        ("json/x.json", "{\"a\": 1,\n \"b\" 2}", "2, column 6"),
        ("json/x.json", "{\"a\": 1, \"a\": 2}", "1, column 10"),
        ("json/x.json", "{'a': 1}", "1, column 2"),
        ("json/x.json", "[1, 2,]", "1, column 7"),
        ("json/x.json", "1 2", "1, column 3"),
        ("json/x.json", "[NaN]", "1, column 2"),
        ("json/x.json", "[1]\n\n{\"$kw\": 1}", "3, column 1"),
        ("json/x.json", "[{\"$kw\": 1}]", "1, column 10"),
        ("json/x.json", "{\"$kw\": \"a\", \"b\": 1}", "1, column 2"),
        ("json/x.json", "\"\\ud800\"", "1, column 2"),
        ("json/x.json", "\"\u{e4}\u{e4}\" x", "1, column 6"),
        ("json/x.json", "", "1, column 1"),
        ("edn/x.edn", "{:a 1\n :b}", "2, column 2"),
        ("edn/x.edn", "(1 2", "1, column 1"),
        ("edn/x.edn", "#{1 1}", "1, column 5"),
        ("edn/x.edn", "{:a 1 :a 2}", "1, column 7"),
        ("edn/x.edn", "]", "1, column 1"),
    ];
    let mut wrong = vec![];
    for new in [false, true] {
        for (path, text, place) in rows {
            if new {
                m.sh("rm -f .kfs/json/x.json .kfs/edn/x.edn");
            } else {
                m.put("x", r#"{"a" 1}"#);
            }
            let file = m.path(".kfs").join(path);
            // An empty file is refused at a sync, as its first close comes before it is written.
            let saved = if text.is_empty() {
                fs::File::create(&file).unwrap().sync_all()
            } else {
                save(&file, text.as_bytes())
            };
            let said = m.sh(&format!(
                "getfattr -n user.kfs.error --only-values .kfs/{path}"
            ));
            let last = m.sh("cat .kfs/last-error");
            let kept = if new {
                !m.has("x")
            } else {
                m.get("x") == edn(r#"{"a" 1}"#)
            };
            let good = saved.is_err_and(|e| e.raw_os_error() == Some(libc::EINVAL))
                && said.contains(&format!("line {place}: "))
                && last == format!(".kfs/{path}: {said}")
                && kept;
            if !good {
                wrong.push(format!(
                    "{text:?} new: {new}: {said:?}, {last:?}, kept: {kept}"
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // By renaming, and what programs make of it.
    m.put("x", "1");
    let t = m.path(".kfs/json/t");
    save(&t, b"[").unwrap();
    let renamed = fs::rename(&t, m.path(".kfs/json/x.json")).unwrap_err();
    assert_eq!(renamed.raw_os_error(), Some(libc::EINVAL));
    assert_eq!(m.read(".kfs/json/t"), b"[");
    m.sh("! cp .kfs/json/t .kfs/json/x.json 2> /dev/null; ! sed -i 's/1/[/' .kfs/json/x.json 2> /dev/null");
    m.sh("vim -es -u NONE '+%s/1/[/' '+w' '+q!' .kfs/json/x.json || true");
    assert_eq!(m.get("x"), edn("1"));
    m.sh("getfattr -n user.kfs.error .kfs/json/x.json; echo 2 > .kfs/json/x.json; ! getfattr -n user.kfs.error .kfs/json/x.json 2> /dev/null");
    assert_eq!(m.get("x"), edn("2"));
}

#[test]
fn directories_list_a_document_for_every_entry() {
    let m = Mount::new();
    let long = "n".repeat(252);
    m.put(
        "d",
        &format!(
            r#"{{"a" 1 "a.json" {{"x" 1}} :k {{}} 42 [0 1] "b/c" 2 "{long}" 3 "{}" {{"y" 4}}}}"#,
            "m".repeat(400)
        ),
    );
    let listed: Vec<OsString> = m.names(".kfs/json/d");
    assert_eq!(listed.len(), 11, "{listed:?}");
    for name in &listed {
        let path = m.path(".kfs/json/d").join(name);
        let meta = fs::metadata(&path).unwrap();
        if meta.is_file() {
            let text = fs::read(&path).unwrap();
            assert_eq!(meta.len(), text.len() as u64, "{name:?}");
            fs::write(&path, text).unwrap();
        } else {
            fs::read_dir(&path)
                .unwrap()
                .for_each(|entry| drop(entry.unwrap()));
        }
    }
    assert_eq!(m.sh("cat '.kfs/json/d/a.json.d/x.json' '.kfs/json/d/%i42/1.json' '.kfs/json/d/%sb%2Fc.json' | xargs"), "1 1 2");
    assert_eq!(m.sh("cat .kfs/json/d/a.json"), "1");
    // Elements in their order, and the next one appends.
    m.put("v", "[0 1 2 3 4 5 6 7 8 9 [10]]");
    let listed = m.names_as_listed(".kfs/json/v");
    assert_eq!(listed.len(), 12);
    assert_eq!(listed[9..], ["9.json", "10.json", "10"]);
    m.sh(
        "echo 11 > .kfs/json/v/11.json; ! echo 13 > .kfs/json/v/13.json; ! test -e .kfs/json/v/13",
    );
    assert_eq!(m.get("v/11"), edn("11"));
    // A long listing, while entries come and go, has what stays once.
    m.sh("python3 - <<'END'\nimport json\njson.dump({'k%d' % i: {} for i in range(3000)}, open('.kfs/json/many.json', 'w'))\nEND");
    let mut names = vec![];
    for (at, entry) in fs::read_dir(m.path(".kfs/json/many")).unwrap().enumerate() {
        names.push(entry.unwrap().file_name());
        if at % 500 == 0 {
            m.sh(&format!(
                "echo 1 > .kfs/json/many/new{at}.json; echo 1 > .kfs/json/many/temp{at}"
            ));
        }
    }
    names.retain(|name| name.as_encoded_bytes().starts_with(b"k"));
    let count = names.len();
    names.sort();
    names.dedup();
    assert_eq!((names.len(), count), (6000, 6000));
    // What has no directory has none, and the whole store is no document.
    m.sh("! ls .kfs/json/nothing 2> /dev/null; ! test -e .kfs/json/d/a; ! test -e .kfs/json.json; ! test -e .kfs/json/.json");
}

#[test]
fn what_documents_cannot_do_is_told_so() {
    let m = Mount::new();
    m.put("x", "1");
    m.put("y", "{}");
    let dir = m.path(".kfs/json");
    let errno = |done: std::io::Result<()>| done.unwrap_err().raw_os_error().unwrap();
    assert_eq!(errno(fs::create_dir(dir.join("d"))), libc::EPERM);
    assert_eq!(errno(fs::remove_dir(dir.join("y"))), libc::EPERM);
    assert_eq!(errno(fs::rename(dir.join("y"), dir.join("z"))), libc::EPERM);
    assert_eq!(
        errno(fs::hard_link(dir.join("x.json"), dir.join("l.json"))),
        libc::EPERM
    );
    assert_eq!(
        errno(std::os::unix::fs::symlink("a", dir.join("s"))),
        libc::EPERM
    );
    assert_eq!(
        errno(fs::write(m.path(".kfs/last-error"), "x")),
        libc::EPERM
    );
    assert_eq!(
        errno(fs::rename(dir.join("x.json"), m.path("x2"))),
        libc::EXDEV
    );
    assert_eq!(
        errno(fs::rename(dir.join("x.json"), m.path(".kfs/edn/x.edn"))),
        libc::EXDEV
    );
    assert_eq!(
        errno(fs::rename(m.path("x"), dir.join("x.json"))),
        libc::EXDEV
    );
    assert_eq!(
        errno(fs::rename(dir.join("y.json"), dir.join("y/in.json"))),
        libc::EINVAL
    );
    assert_eq!(errno(fs::write(dir.join(".kfs.json"), "1")), libc::EPERM);
    m.sh("mv -n .kfs/json/x.json .kfs/json/y.json; ! chmod 644 .kfs/json/x.json 2> /dev/null; chmod 600 .kfs/json/x.json; ! setfattr -n user.a -v b .kfs/json/x.json 2> /dev/null");
    assert_eq!((m.get("x"), m.get("y")), (edn("1"), edn("{}")));
    m.sh("python3 -c 'import ctypes; exit(ctypes.CDLL(None).renameat2(-100, b\".kfs/json/x.json\", -100, b\".kfs/json/y.json\", 2))'");
    assert_eq!((m.get("x"), m.get("y")), (edn("{}"), edn("1")));
    // More than can be shown or written.
    m.sh("head -c 40000000 /dev/zero > big; test \"$(stat -c %s .kfs/json/big.json)\" = 0");
    assert_eq!(errno(fs::read(dir.join("big.json")).map(drop)), libc::EFBIG);
    m.sh("mv .kfs/json/big.json .kfs/json/moved.json; test \"$(stat -c %s moved)\" = 40000000; rm .kfs/json/moved.json; test ! -e moved");
    let mut file = fs::File::create(dir.join("x.json")).unwrap();
    let chunk = vec![b' '; 1 << 20];
    let failed = (0..65).find_map(|_| file.write_all(&chunk).err());
    assert_eq!(failed.unwrap().raw_os_error(), Some(libc::EFBIG));
    drop(file);
    assert_eq!(m.get("x"), edn("{}"));
}

#[test]
fn documents_and_the_mount_see_each_other_at_once() {
    let m = Mount::new();
    m.put("x", r#"{"a" 1}"#);
    let read = || m.sh("cat .kfs/json/x.json | jq -c .");
    assert_eq!(read(), r#"{"a":1}"#);
    m.sh("echo 22 > x/a; stat x/a > /dev/null");
    assert_eq!(read(), r#"{"a":22}"#);
    m.put("x/a", "333");
    assert_eq!(read(), r#"{"a":333}"#);
    m.sh("ls -l x > /dev/null; ! test -e x/b; echo '{\"a\": 4444, \"b\": {}}' > .kfs/json/x.json; test -d x/b; test \"$(cat x/a)\" = 4444; test \"$(stat -c %s x/a)\" = 5");
    // Each time, whatever the kernel has kept.
    m.sh("python3 - <<'END'\nimport json, os\nfor n in range(300):\n    open('.kfs/json/x.json', 'w').write(json.dumps({'a': n, 'k%d' % n: 1}))\n    assert open('x/a').read() == '%d\\n' % n, n\n    assert sorted(os.listdir('x')) == sorted(['a', 'k%d' % n]), n\n    assert not os.path.exists('x/k%d' % (n - 1)), n\n    os.rename('.kfs/json/x/k%d.json' % n, '.kfs/json/x/m.json')\n    assert os.stat('x/m').st_size == 2 and not os.path.exists('x/k%d' % n), n\n    os.remove('.kfs/json/x/m.json')\n    assert not os.path.exists('x/m'), n\nopen('.kfs/json/x.json', 'w').write('{\"a\": 4444, \"b\": {}}')\nEND");
    // Mapped twice with a change in between.
    m.sh("python3 - <<'END'\nimport mmap, os\np = '.kfs/json/x/a.json'\nseen = []\nfor n in (1, 22):\n    open(p, 'w').write(str(n))\n    f = open(p, 'rb')\n    seen.append(mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ)[:])\nassert seen == [b'1\\n', b'22\\n'], seen\nEND");
    // A reader has one instant.
    let mut open = fs::File::open(m.path(".kfs/json/x.json")).unwrap();
    m.put("x", r#"{"a" 5}"#);
    let mut text = String::new();
    open.read_to_string(&mut text).unwrap();
    assert!(text.contains("22"), "{text}");
    // The last save wins, whole.
    let mut first = fs::File::create(m.path(".kfs/json/x.json")).unwrap();
    first.write_all(b"{\"mine\": ").unwrap();
    m.sh("echo 9 > x/a; echo 1 > x/other");
    first.write_all(b"1}").unwrap();
    nix::unistd::close(first).unwrap();
    assert_eq!(m.get("x"), edn(r#"{"mine" 1}"#));
    assert_eq!(m.names("x"), ["mine"]);
    // A file that somebody has open for writing becomes what was saved over it.
    let mut writer = fs::File::create(m.path("x/mine")).unwrap();
    writer.write_all(b"2\n").unwrap();
    m.sh("echo '{\"mine\": 3}' > .kfs/json/x.json");
    nix::unistd::close(writer).unwrap();
    assert_eq!(m.read("x/mine"), b"3\n");
}

#[test]
fn nothing_is_saved_where_nothing_may_change() {
    let mut m = Mount::new();
    m.put("x", "[1]");
    m.umount();
    m.set_options("ro");
    m.mount();
    assert_eq!(m.sh("cat .kfs/json/x.json | jq -c ."), "[1]");
    let file = m.path(".kfs/json/x.json");
    let refused = save(&file, b"[2]").unwrap_err();
    assert_eq!(refused.raw_os_error(), Some(libc::EROFS));
    assert_eq!(
        fs::remove_file(&file).unwrap_err().raw_os_error(),
        Some(libc::EROFS)
    );
    assert_eq!(fs::metadata(&file).unwrap().mode() & 0o7777, 0o600);
    assert_eq!(m.sh("cat .kfs/last-error"), "");
}
