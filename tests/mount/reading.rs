//! Reading needs the permission to read and no more, and changes nothing on disk, whatever a killed
//! daemon has left there.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::harness::{Mount, detach, need_root, run};

const KINDS: [&str; 2] = ["kfs", "file"];
const USER: u32 = 65_534;

/// Everything about a tree of files that reading could change.
type Tree = BTreeMap<PathBuf, (u32, i64, i64, u64, Vec<u8>)>;

fn tree(root: &Path) -> Tree {
    let mut tree = Tree::new();
    let mut todo = vec![root.to_owned()];
    while let Some(path) = todo.pop() {
        let found = fs::symlink_metadata(&path).unwrap();
        let mut content = Vec::new();
        if found.is_dir() {
            todo.extend(
                fs::read_dir(&path)
                    .unwrap()
                    .map(|entry| entry.unwrap().path()),
            );
        } else {
            content = fs::read(&path).unwrap();
        }
        let facts = (
            found.mode(),
            found.mtime(),
            found.mtime_nsec(),
            found.ino(),
            content,
        );
        tree.insert(path, facts);
    }
    tree
}

/// A store with tables and files of its own, and more that is in its logs only, left by a daemon
/// that was killed. Of tables and manifests there are also some that it needs no more.
fn left_by_a_kill(kind: &str) -> Mount {
    let m = Mount::of_kind(kind);
    for _ in 0..3 {
        m.mount();
        m.sh("mkdir -p d; for i in $(seq 300); do echo $i > d/$i; done; head -c 9000000 /dev/urandom > big");
        // What it frees brings the rest into tables.
        m.gc().ok();
        m.umount();
    }
    m.mount();
    m.sh("echo new > d/new; rm d/1; head -c 3000000 /dev/zero > zeroes; sync d/new");
    m.kill();
    detach(m.dir());
    let tree = m.store().join("engine/tree");
    if tree.exists() {
        assert!(fs::read_dir(tree.join("tables")).unwrap().next().is_some());
        for stray in ["tables/999999", "v999999"] {
            fs::write(tree.join(stray), "of no use").unwrap();
        }
    }
    m
}

const READ: &str = r#"
    test "$(kfs get "$S" d/new)" = '"new"'
    test "$(kfs ls "$S" d | wc -l)" = 300
    kfs info "$S" d/300 > /dev/null
    kfs fsck "$S" > "$OUT/fsck" || grep -q "tables/999999" "$OUT/fsck"
    kfs export "$S" / "$OUT/out"
    test "$(cat "$OUT/out/d/new")" = new
    test "$(stat -c %s "$OUT/out/zeroes")" = 3000000
    kfs mount -o ro "$S" "$OUT/mnt"
    test "$(cat "$OUT/mnt/d/300" "$OUT/mnt/d/new")" = "300
new"
    test "$(cat "$OUT/mnt/big" | wc -c)" = 9000000
    test "$(kfs get "$S" d/new)" = '"new"'
    kfs status "$S" | grep -q "for reading only"
    if kfs put "$S" d/x 1 2> /dev/null; then exit 9; fi
    kfs umount "$OUT/mnt"
"#;

#[test]
fn reading_changes_nothing() {
    for kind in KINDS {
        let m = left_by_a_kill(kind);
        let before = tree(m.store());
        let out = m.sandbox.make_dir("read");
        m.sandbox.make_dir("read/mnt");
        let script = format!(
            "set -e; S='{}'; OUT='{}'\n{READ}",
            m.store().display(),
            out.display()
        );
        m.sandbox.sh_in(&out, &script).ok();
        assert_same(&before, &tree(m.store()), kind);
        m.mount();
        assert_eq!(m.read("d/new"), b"new\n");
    }
}

#[test]
fn reading_takes_the_permission_to_read() {
    need_root();
    for kind in KINDS {
        let m = left_by_a_kill(kind);
        let before = tree(m.store());
        fs::set_permissions(m.sandbox.path(""), fs::Permissions::from_mode(0o755)).unwrap();
        let kfs = m.sandbox.path("kfs");
        run(Command::new("cp").arg(crate::harness::KFS).arg(&kfs), b"").ok();
        let out = m.sandbox.make_dir("read");
        for path in [
            out.clone(),
            m.sandbox.make_dir("read/mnt"),
            m.sandbox.path("run"),
            m.sandbox.path("home"),
        ] {
            std::os::unix::fs::chown(path, Some(USER), Some(USER)).unwrap();
        }
        let script = format!(
            "umask 022; PATH='{}':$PATH:/usr/sbin; S='{}'; OUT='{}'\n{READ}",
            m.sandbox.path("").display(),
            m.store().display(),
            out.display()
        );
        let mut command = Command::new("setpriv");
        let (uid, gid) = (format!("--reuid={USER}"), format!("--regid={USER}"));
        command.args([uid.as_str(), &gid, "--clear-groups", "sh", "-ec", &script]);
        m.sandbox.set_up(&mut command);
        command.current_dir(&out);
        let read = run(&mut command, b"");
        detach(&out.join("mnt"));
        read.ok();
        assert_same(&before, &tree(m.store()), kind);
    }
}

#[test]
fn reading_works_on_a_read_only_filesystem() {
    need_root();
    for kind in KINDS {
        let m = left_by_a_kill(kind);
        let ro = m.sandbox.make_dir("ro");
        let out = m.sandbox.make_dir("read");
        m.sandbox.make_dir("read/mnt");
        let script = format!(
            "set -e; mount --bind \"$(dirname '{0}')\" '{1}'; mount -o remount,ro,bind '{1}'",
            m.store().display(),
            ro.display()
        );
        m.sandbox.sh_in(Path::new("/"), &script).ok();
        let store = ro.join("store");
        let script = format!(
            "set -e; S='{}'; OUT='{}'\n{READ}",
            store.display(),
            out.display()
        );
        let read = m.sandbox.sh_in(&out, &script);
        detach(&out.join("mnt"));
        detach(&ro);
        read.ok();
    }
}

#[track_caller]
fn assert_same(before: &Tree, after: &Tree, kind: &str) {
    let names = |tree: &Tree| tree.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(before), names(after), "{kind}");
    for (path, facts) in before {
        assert!(after[path] == *facts, "{kind}: {} changed", path.display());
    }
}
