//! A mounted store to which nothing is written, but to what lies over it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::harness::{Mount, edn};
use crate::tree;

/// Every file of a store, byte for byte.
pub fn bytes_of(dir: &Path) -> BTreeMap<PathBuf, Option<blake3::Hash>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.append(&mut bytes_of(&path));
            found.insert(path, None);
        } else {
            let bytes = fs::read(&path).unwrap();
            found.insert(path, Some(blake3::hash(&bytes)));
        }
    }
    found
}

/// What the mount shows.
fn shown(m: &Mount) -> Vec<String> {
    let all = tree::walk(m.dir());
    all.iter()
        .map(|(path, entry)| format!("{path:?} {entry:?}"))
        .collect()
}

/// A store with a tree in it, unmounted, which is to be laid over.
fn laid_over(kind: &str) -> (Mount, PathBuf, Vec<String>) {
    let mut m = Mount::of_kind(kind);
    m.mount();
    m.put("doc", "{:a 1 :b {:c [1 2 3]}}");
    m.sh(r#"
        mkdir -p dir/deep; for i in $(seq 50); do seq $((i * 100)) > dir/$i; done
        seq 200000 > dir/deep/large; echo one > one; echo two > two; ln -s one link
        setfattr -n user.x -v 1 one; chmod 600 two
    "#);
    m.remount();
    let before = shown(&m);
    m.umount();
    let front = m.store().with_file_name("front");
    m.set_options(&format!("front={},overlay", front.display()));
    (m, front, before)
}

const CHANGE: &str = r#"
    echo new > new; echo more >> one; sed -i 's/two/zwei/' two; mv dir/1 dir/deep/moved
    rm dir/2 link; mv dir/deep/large dir/large; mv -T dir/deep deeper; rm -r dir/3? dir/4
    dd if=/dev/zero of=dir/large bs=1 count=1 seek=5000 conv=notrunc status=none
    cp -a dir copy; ln one hard; mkdir -p a/b/c; tar -C a -cf a.tar b; setfattr -n user.y -v 2 one
    chmod 640 two; touch -d 2020-01-01 dir/5; sync .
"#;

#[test]
fn what_is_written_over_a_store_is_in_the_front_alone() {
    for kind in ["kfs", "file"] {
        let (mut m, front, before) = laid_over(kind);
        let bytes = bytes_of(m.store());
        m.mount();
        assert_eq!(shown(&m), before);
        m.sh(CHANGE);
        m.remount();
        let after = shown(&m);
        assert_ne!(after, before);
        assert_eq!(m.read("one"), b"one\nmore\n");
        assert!(!m.path("link").exists() && m.path("deeper/moved").exists());
        m.remount();
        assert_eq!(shown(&m), after);
        // Who asks for the store by its directory is not answered by what lies over it.
        let kfs = |args: &[&str]| m.sandbox.kfs(args);
        let (store, point) = (m.store().to_str().unwrap(), m.dir().to_str().unwrap());
        assert_eq!(
            edn(&kfs(&["get", store, "two"]).ok().text()),
            edn("\"two\"")
        );
        assert_eq!(
            edn(&kfs(&["get", point, "two"]).ok().text()),
            edn("\"zwei\"")
        );
        assert_eq!(
            edn(&kfs(&["get", front.to_str().unwrap(), "two"]).ok().text()),
            edn("\"zwei\"")
        );
        kfs(&["put", point, "put", "[1 2]"]).ok();
        assert_eq!(m.read("put/1"), b"2\n");
        let status: serde_json::Value =
            serde_json::from_slice(&kfs(&["status", point, "--json"]).ok().stdout).unwrap();
        let lies_over = status["lies-over"].as_str().unwrap();
        assert!(lies_over.ends_with(store), "{status}");
        assert_eq!(status["location"], front.to_str().unwrap());
        let stats: serde_json::Value = serde_json::from_slice(&m.read(".kfs/stats.json")).unwrap();
        assert!(
            stats["overlay"]["size_bytes"].as_u64().unwrap() > 0,
            "{stats:#}"
        );
        assert!(stats.get("front").is_none());
        // Snapshots, and what is in no use any more.
        kfs(&["snapshot", "create", point, "then"]).ok();
        m.sh("rm -r dir copy");
        kfs(&["gc", point]).ok();
        kfs(&["snapshot", "rm", point, "then"]).ok();
        kfs(&["gc", point]).ok();
        kfs(&["fsck", point]).ok();
        assert_eq!(m.read("put/1"), b"2\n");
        m.umount();
        assert_eq!(bytes_of(m.store()), bytes);
        m.set_options("");
        m.mount();
        assert_eq!(shown(&m), before);
        m.umount();
        m.fsck().ok();
    }
}

#[test]
fn what_was_acknowledged_over_a_store_is_there_after_a_kill() {
    let (mut m, front, before) = laid_over("file");
    // As mount(8) names it.
    let store = m.store().display().to_string();
    m.set_options(&format!("fsname={store},front={},overlay", front.display()));
    let bytes = bytes_of(m.store());
    m.mount();
    let content = |round: usize, n: usize| format!("{round} {n} ").repeat(5000).into_bytes();
    for round in 0..4 {
        for n in 0..20 {
            m.write(format!("{round}-{n}"), content(round, n));
        }
        m.write("one", content(round, 1));
        fs::remove_file(m.path(format!("dir/{}", round + 10))).unwrap();
        // Some is folded when it is killed, and some is not.
        if round % 2 == 0 {
            std::thread::sleep(std::time::Duration::from_millis(400 * round as u64));
        }
        m.kill();
        // The store is not taken for what was written over it.
        let (point, store) = (m.dir().to_str().unwrap(), m.store().to_str().unwrap());
        m.sandbox.kfs(["get", point, "one"]).fails();
        assert_eq!(
            m.sandbox.kfs(["get", store, "one"]).ok().text().trim(),
            "\"one\""
        );
        m.mount();
        for round in 0..=round {
            for n in 0..20 {
                assert!(
                    m.read(format!("{round}-{n}")) == content(round, n),
                    "{round} {n}"
                );
            }
            assert!(!m.path(format!("dir/{}", round + 10)).exists());
        }
        assert!(m.read("one") == content(round, 1));
    }
    m.umount();
    assert_eq!(bytes_of(m.store()), bytes);
    // The front is lost, and with it these changes only.
    fs::remove_dir_all(&front).unwrap();
    m.mount();
    assert_eq!(shown(&m), before);
    m.umount();
}

#[test]
fn a_store_that_was_written_to_is_not_mounted_with_what_lay_over_it() {
    let (mut m, front, _) = laid_over("kfs");
    let options = format!("front={},overlay", front.display());
    let other = m.store().with_file_name("other");
    m.mount();
    m.write("new", "new\n");
    // Others may lie over it, and nobody writes to it.
    let point = m.sandbox.make_dir("second");
    let mount = |more: &str| {
        let args = [
            "mount",
            m.store().to_str().unwrap(),
            point.to_str().unwrap(),
            "-o",
            more,
        ];
        m.sandbox.kfs(args)
    };
    mount(&format!("front={},overlay", other.display())).ok();
    assert!(!point.join("new").exists());
    fs::write(point.join("other"), "other\n").unwrap();
    m.sandbox.kfs(["umount".as_ref(), point.as_os_str()]).ok();
    let refused = mount(&options).fails().errors();
    assert!(refused.contains("already mounted"), "{refused}");
    assert!(!m.path("other").exists());
    m.umount();
    for wrong in ["behind", "around", "populate", "front-size=1M"] {
        m.set_options(&format!("{options},{wrong}"));
        let refused = m.try_mount().fails().errors();
        assert!(refused.contains("does not go with"), "{refused}");
    }
    m.set_options("");
    m.mount();
    m.write("written", "since\n");
    m.umount();
    m.set_options(&options);
    let refused = m.try_mount().fails().errors();
    assert!(refused.contains("written to since"), "{refused}");
    assert!(refused.contains(front.to_str().unwrap()), "{refused}");
}
