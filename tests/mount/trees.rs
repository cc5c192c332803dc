//! Programs that copy, link and remove trees of typed values, over what was there before.

use std::ffi::OsStr;
use std::path::Path;

use crate::harness::{Mount, edn};
use crate::tree;

/// Documents before and after a change: in maps, in vectors, in mixtures of both, and types of
/// directories too.
const BEFORE: &[(&str, &str)] = &[
    (
        "map",
        r#"{:int 1 :kw :a :set #{1 2} :at #inst "2020-01-01T00:00:00Z" :bytes #bytes "00ff"
            :gone {:x {:y [1 {:z :w}]}} :leaf-to-map 7 :map-to-leaf {:a 1} :retyped 5 :to-text 5 "same" "s"}"#,
    ),
    (
        "vec",
        r#"[1 :kw #{1 2} nil #inst "2020-01-01T00:00:00Z" #bytes "00ff" "text" [] {} 7 8 9]"#,
    ),
    (
        "mix",
        r#"[{:a 1 :b [2 {:c :d}]} [[{:e #{1}}] []] {"x" [#bytes "ff" nil]} [5 [6 [7]]]]"#,
    ),
    ("to-map", "[1 [2] :c]"),
    ("to-vector", r#"{"0" 1 "1" {"0" 2} "2" 3}"#),
    ("longer", "[1]"),
];
const AFTER: &[(&str, &str)] = &[
    (
        "map",
        r#"{:int 22 :kw :bb :set #{1 :bb} :at #inst "2021-02-03T04:05:06.789Z" :bytes #bytes "00fe01"
            :leaf-to-map {:n [7]} :map-to-leaf 1/2 :retyped :five :to-text "6" :new {:x {:y [#{}]}} "same" "s"}"#,
    ),
    (
        "vec",
        r#"[:one 22 #bytes "00" "1" nil #inst "2021-02-03T00:00:00Z" "text" [1.5] {:a (1)} 77]"#,
    ),
    (
        "mix",
        r#"[[{:c :d} 2] {:e [[#{1}]]} {"x" [nil nil #bytes "fe" {:n sym}]} [5 [[7] 6]]]"#,
    ),
    ("to-map", r#"{"0" 1 "1" {"0" 2} "2" 3}"#),
    ("to-vector", "[1 [2] :c]"),
    ("longer", r#"[0 1 2 3 4 5 6 7 8 9 10 {:n 11} "12"]"#),
];

fn put(m: &Mount, documents: &[(&str, &str)]) {
    for (name, value) in documents {
        m.put(name, value);
    }
}

/// Times in the past, another one for each `year`: rsync compares them by the second.
fn age(m: &Mount, year: u32) {
    m.sh(&format!(
        "find . -depth -exec touch -h -d '{year}-02-03 04:05:06.7' {{}} +"
    ));
}

/// What rsync would still copy or delete.
fn left_to_do(m: &Mount, from: &Path, to: &Path) -> String {
    let (from, to) = (from.display(), to.display());
    m.sh(&format!("rsync -aXni --delete '{from}/' '{to}/'"))
}

/// Fails unless the store holds these values, also after a remount, and a directory the same tree.
#[track_caller]
fn holds(m: &Mount, documents: &[(&str, &str)], copy: &Path) {
    m.remount();
    let names = m.names("");
    let mut expected: Vec<&OsStr> = documents
        .iter()
        .map(|(name, _)| OsStr::new(*name))
        .collect();
    expected.sort();
    assert_eq!(names, expected);
    for (name, value) in documents {
        assert_eq!(m.get(name), edn(value), "{name}");
    }
    assert_eq!(left_to_do(m, copy, m.dir()), "", "in");
    assert_eq!(left_to_do(m, m.dir(), copy), "", "out");
    let export = m.sandbox.path("export");
    m.sh(r#"rm -rf "$T/export"; kfs export "$S" / "$T/export""#);
    assert_eq!(left_to_do(m, &export, copy), "", "export");
    let [mut left, mut right] = [m.dir(), copy].map(tree::walk);
    left.remove(Path::new(""));
    right.remove(Path::new(""));
    tree::assert_same(&left, &right);
}

/// Makes a copy outside and one in another store follow a store from [`BEFORE`] to [`AFTER`] and
/// back. `FROM` and `TO` in the command are directories.
#[track_caller]
fn follows(command: &str) {
    let (first, second) = (Mount::new(), Mount::new());
    let copy = first.sandbox.make_dir("copy");
    let carry = |from: &Path, to: &Path| {
        let command = command.replace("FROM", from.to_str().unwrap());
        first.sh(&command.replace("TO", to.to_str().unwrap()));
    };
    for (year, documents) in [(2001, BEFORE), (2002, AFTER), (2003, BEFORE)] {
        first.sh("rm -rf ./*");
        put(&first, documents);
        age(&first, year);
        carry(first.dir(), &copy);
        holds(&first, documents, &copy);
        carry(&copy, second.dir());
        holds(&second, documents, &copy);
    }
}

/// A file that rsync renames over one of another type takes that type on, and rsync, which has set
/// the attributes before, takes it away the next time: then, and only then, text is text again.
fn twice(options: &str) -> String {
    format!(
        r#"rsync -aX {options} --delete FROM/ TO/
           rsync -aXi {options} --delete FROM/ TO/ > "$T/again"
           ! grep -v '^\.f\.\.\.\.\.\.\.\.x ' "$T/again""#
    )
}

#[test]
fn rsync_makes_a_copy_follow_maps_vectors_and_mixtures() {
    follows(&twice(""));
}

#[test]
fn rsync_in_place_makes_a_copy_follow() {
    follows("rsync -aX --inplace --delete FROM/ TO/");
}

#[test]
fn rsync_with_delayed_updates_makes_a_copy_follow() {
    follows(&twice("--delay-updates"));
}

#[test]
fn removing_and_copying_makes_a_copy_follow() {
    follows("find TO -mindepth 1 -delete; cp -a FROM/. TO/");
}

#[test]
fn tar_makes_a_copy_follow() {
    follows(
        "rm -rf TO/*; tar --xattrs -C FROM -cf - . | tar --xattrs '--xattrs-include=*' -C TO -xpf -",
    );
}

#[test]
fn rm_takes_out_what_it_is_told_to_and_nothing_else() {
    let m = Mount::new();
    put(&m, BEFORE);
    let elements = "{:a [1 2] :b :c} ".repeat(500);
    m.put("long", &format!("[{elements}]"));
    m.sh(r#"
        rm -rf map/:gone/:x map/:map-to-leaf map/:set
        rm -rf vec/2 vec/7 vec/8 vec/11 vec/10
        rm -rf mix/0/:b/1 mix/1 mix/3/1/1
        rm -rf to-map/* longer/* to-vector/1
        find long -mindepth 1 -maxdepth 1 ! -name '1[0-9][0-9]' -exec rm -rf {} +
        rm -rf long/1?[0-8]
    "#);
    for _ in 0..2 {
        let map = r#"{:int 1 :kw :a :at #inst "2020-01-01T00:00:00Z" :bytes #bytes "00ff"
            :gone {} :leaf-to-map 7 :retyped 5 :to-text 5 "same" "s"}"#;
        assert_eq!(m.get("map"), edn(map));
        let vector =
            r#"[1 :kw nil nil #inst "2020-01-01T00:00:00Z" #bytes "00ff" "text" nil nil 7]"#;
        assert_eq!(m.get("vec"), edn(vector));
        let mixture = r#"[{:a 1 :b [2]} nil {"x" [#bytes "ff" nil]} [5 [6]]]"#;
        assert_eq!(m.get("mix"), edn(mixture));
        assert_eq!((m.get("to-map"), m.get("longer")), (edn("[]"), edn("[]")));
        assert_eq!(m.get("to-vector"), edn(r#"{"0" 1 "2" 3}"#));
        let long: String = (0..200)
            .map(|at| {
                if at >= 100 && at % 10 == 9 {
                    "{:a [1 2] :b :c} "
                } else {
                    "nil "
                }
            })
            .collect();
        assert_eq!(m.get("long"), edn(&format!("[{long}]")));
        m.remount();
    }
    m.sh("rm -rf ./*; test -z \"$(ls -A)\"");
    m.remount();
    assert!(m.names("").is_empty());
    put(&m, BEFORE);
    for (name, value) in BEFORE {
        assert_eq!(m.get(name), edn(value));
    }
}

#[test]
fn tar_carries_links_between_typed_leaves_of_maps_and_vectors() {
    let (m, other) = (Mount::new(), Mount::new());
    m.put("v", r#"[7 :kw #{1 2} {:n #bytes "00ff"} "text"]"#);
    m.put("map", r#"{:own #inst "2020-01-01T00:00:00Z" :list []}"#);
    m.sh(
        "ln v/0 map/n; ln map/n map/:list/0; ln v/1 v/5; ln v/2 map/:list/1; ln v/3/:n map/bytes
          ln map/:own v/6; ln v/4 map/text",
    );
    age(&m, 2001);
    m.sh(r#"tar --xattrs -cf "$T/t.tar" v map; mkdir "$T/out"
            tar --xattrs '--xattrs-include=*' -C "$T/out" -xpf "$T/t.tar"
            touch -d '2001-02-03 04:05:06.7' "$T/out""#);
    let out = m.sandbox.path("out");
    let archive = m.sandbox.path("t.tar");
    other.sh(&format!(
        "tar --xattrs '--xattrs-include=*' -xpf '{}'; touch -d '2001-02-03 04:05:06.7' .",
        archive.display()
    ));
    let linked = |dir: &Path| {
        m.sandbox.sh_in(
            dir,
            "test v/0 -ef map/n; test map/n -ef map/:list/0; test v/1 -ef v/5; test v/2 -ef map/:list/1
             test v/3/:n -ef map/bytes; test map/:own -ef v/6; test v/4 -ef map/text
             test \"$(stat -c %h v/* map/* | xargs)\" = '3 2 2 2 2 2 2 2 2 2 3 2'",
        )
        .ok();
    };
    let vector =
        edn(r#"[7 :kw #{1 2} {:n #bytes "00ff"} "text" :kw #inst "2020-01-01T00:00:00Z"]"#);
    let map = edn(
        r#"{:own #inst "2020-01-01T00:00:00Z" :list [7 #{1 2}] "n" 7 "bytes" #bytes "00ff" "text" "text"}"#,
    );
    for _ in 0..2 {
        for store in [&m, &other] {
            assert_eq!(
                (store.get("v"), store.get("map")),
                (vector.clone(), map.clone())
            );
            linked(store.dir());
        }
        linked(&out);
        let todo = |from: &Path, to: &Path| {
            let (from, to) = (from.display(), to.display());
            m.sh(&format!("rsync -aHXni --delete '{from}/' '{to}/'"))
        };
        assert_eq!(todo(m.dir(), &out), "");
        assert_eq!(todo(&out, other.dir()), "");
        m.remount();
        other.remount();
    }
    other.sh("echo 8 > map/n; sed -i s/k/x/ v/5");
    assert_eq!(other.get("v/0"), edn("8"));
    assert_eq!(
        (other.get("v/1"), other.get("v/5")),
        (edn(":kw"), edn(":xw"))
    );
}

#[test]
fn git_clones_with_links_inside_vectors_and_in_and_out() {
    let m = Mount::new();
    m.put("v", "[{} []]");
    // `git status` would write what it has seen into the copies.
    let script = |commands: &str| {
        m.sh(&format!(
            "export GIT_OPTIONAL_LOCKS=0 GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1 HOME=\"$T\"
             sound() {{ git -C $1 fsck --strict; test -z \"$(git -C $1 status --porcelain)\"; }}
             one() {{ (cd $1; find .git/objects -type f -links $2) | wc -l; }}
             set -x; {commands}"
        ))
    };
    script(
        r#"
        git init v/0/repo
        (cd v/0/repo
         for i in 0 1 2 3; do mkdir d$i; for j in 0 1 2 3; do echo "$i $j" > d$i/$j; done; done
         ln -s d0/1 link; printf '\377' > bytes; touch empty
         git add .; git -c user.name=n -c user.email=e commit -m one)
        git clone -l v/0/repo v/1/0
        git clone -l v/0/repo plain
        n=$(find v/0/repo/.git/objects -type f | wc -l)
        test $n -gt 10
        for r in v/0/repo v/1/0 plain; do test $(one $r 3) = $n; sound $r; done
        git clone v/1/0 "$T/away"
        git clone "$T/away" v/1/1
        cp -a v/1/1 "$T/copy"
        find v -depth -exec touch -h -d 2001-02-03 {} +
        rsync -aHX --delete v/ "$T/v/"
    "#,
    );
    m.remount();
    script(
        r#"
        for r in v/0/repo v/1/0 v/1/1 plain "$T/away" "$T/copy" "$T/v/1/0"; do sound $r; done
        test -z "$(rsync -aHXni --delete v/ "$T/v/")"
        rsync -aHX --delete "$T/v/" w/
        rm -rf v/0/repo
        for r in v/1/0 plain w/0/repo w/1/0; do test $(one $r 2) -gt 10; sound $r; done
        git -C plain gc --aggressive --prune=now
        git -C plain repack -ad
    "#,
    );
    m.remount();
    script(
        r#"
        for r in plain v/1/0 v/1/1 w/0/repo w/1/0 w/1/1; do sound $r; git -C $r log -1; done
        test -z "$(rsync -aHXni --delete w/ "$T/v/")"
        test "$(kfs get v)" != "$(kfs get w)"
        rsync -aHX --delete w/ v/
        test "$(kfs get v)" = "$(kfs get w)"
    "#,
    );
}

#[test]
fn mail_is_delivered_by_links_while_it_is_read_and_the_box_goes_out_and_in() {
    let m = Mount::new();
    m.put("boxes", "[{} nil]");
    m.put("list", "[:first]");
    m.sh(r#"
        for box in boxes/0 plain; do mkdir -p $box/tmp $box/new $box/cur; done
        deliver() {
            for i in 0 1 2 3 4 5 6 7; do
                name=170000000$i.M$2.host
                printf 'mail %s\n' $2$i > $1/tmp/$name
                ln $1/tmp/$name $1/new/$name
                [ $1 != plain ] || ln $1/tmp/$name list/$2$i
                rm $1/tmp/$name
            done
        }
        reader() {
            until [ $(ls $1/cur | wc -l) = 16 ]; do
                for mail in $(ls $1/new); do mv $1/new/$mail $1/cur/$mail:2,S; done
            done
        }
        for box in boxes/0 plain; do
            reader $box & readers="$readers $!"
            for by in 1 2; do deliver $box $by & done
        done
        wait $readers
        wait
    "#);
    let mails: Vec<(u32, String)> = [1, 2]
        .into_iter()
        .flat_map(|by| (0..8).map(move |i| (by * 10 + i, format!("170000000{i}.M{by}.host:2,S"))))
        .collect();
    let cur: String = (mails.iter())
        .map(|(number, name)| format!(r#"{name:?} "mail {number}" "#))
        .collect();
    let mailbox = format!(r#"{{"tmp" {{}} "new" {{}} "cur" {{{cur}}}}}"#);
    let list: String = (1..28)
        .map(|at| match mails.iter().any(|(number, _)| *number == at) {
            true => format!(r#" "mail {at}""#),
            false => " nil".to_owned(),
        })
        .collect();
    let values = [
        ("boxes", edn(&format!("[{mailbox} nil]"))),
        ("plain", edn(&mailbox)),
        ("list", edn(&format!("[:first{list}]"))),
    ];
    let holds = |prefix: &str| {
        for (name, value) in &values {
            assert_eq!(m.get(format!("{prefix}{name}")), *value);
        }
        m.sh(&format!(
            "cd ./{prefix}; test \"$(stat -c %h boxes/0/cur/* | sort -u)\" = 1
             test \"$(stat -c %h plain/cur/* | sort -u)\" = 2
             test plain/cur/1700000003.M2.host:2,S -ef list/23"
        ));
    };
    holds("");
    m.remount();
    holds("");
    m.sh(r#"
        mkdir "$T/out" back
        find . -depth -exec touch -d 2001-02-03 {} +
        rsync -aHX --delete boxes plain list "$T/out/"
        test -z "$(rsync -aHXni --delete boxes plain list "$T/out/")"
        rsync -aHX --delete "$T/out/" back/
    "#);
    holds("back/");
    m.remount();
    holds("back/");
    m.sh(r#"test -z "$(rsync -aHXni --delete "$T/out/" back/)"; rm -rf back/list"#);
    assert_eq!(m.sh("stat -c %h back/plain/cur/* | sort -u"), "1");
}
