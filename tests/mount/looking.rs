//! Looking never changes anything.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use crate::engine::{self, Blobs};
use crate::harness::Mount;
use crate::raw;
use crate::tree;

/// What is stored, as the command line and the mount show it: values, versions, last-writes,
/// attributes, inode numbers and all times.
fn contents(m: &Mount) -> BTreeMap<PathBuf, String> {
    let mut all = BTreeMap::new();
    for (path, entry) in tree::walk(m.dir()) {
        let full = m.path(&path);
        let meta = fs::symlink_metadata(&full).unwrap();
        let numbers = [
            meta.ino() as i64,
            meta.nlink() as i64,
            meta.size() as i64,
            meta.atime(),
            meta.atime_nsec(),
            meta.ctime(),
            meta.ctime_nsec(),
        ];
        // Of the root directory there is no record to be described.
        let described = entry.kind != 'l' && path.parent().is_some();
        let stored = ["key", "last-write", "version", "type", "all"]
            .iter()
            .filter(|_| described)
            .map(|name| raw::get_xattr(&full, &format!("user.kfs.{name}")).unwrap_or_default())
            .map(|value| value.escape_ascii().to_string())
            .collect::<Vec<_>>();
        all.insert(path, format!("{entry:?} {numbers:?} {stored:?}"));
    }
    for name in m.names("") {
        for verb in ["get", "info"] {
            let args: &[&str] = if verb == "info" { &["--json"] } else { &[] };
            let output = m.kfs(verb, &name, args).ok();
            all.insert(
                PathBuf::from(format!("kfs {verb}")).join(&name),
                output.text(),
            );
        }
    }
    all
}

/// What backups, shells, editors and indexers do when they look.
const LOOK: &str = r#"
    ls -lRa . > /dev/null
    find . -type f -exec cat {} + > /dev/null
    find . -type f -exec head -c 1 {} + > /dev/null
    find . -ls > /dev/null
    getfattr -dR -m - . > /dev/null
    getfattr -R -n user.kfs.all . > /dev/null 2>&1 || true
    stat -f . > /dev/null; df . > /dev/null; du -sh . > /dev/null
    grep -r nothing-like-this . || true
    tar --xattrs -cf - . | cat > /dev/null
    rsync -aX ./ "$T/out/"
    diff -r --no-dereference -x fifo . "$T/out"
    test -w f && test ! -x f
    # Open for writing, and close.
    true >> f; true <> f
    python3 -c 'open("doc/:a", "r+").close()'
    vim -N -u NONE -i NONE -n -es -R -c q f
    (cd doc/:b; ls -l)
    kfs ls "$S"; kfs get "$S" doc; kfs info "$S" doc; kfs status "$S"; kfs export "$S" doc "$T/doc.edn"
    sync f; sync .
"#;

#[test]
fn mounting_listing_reading_and_copying_out_changes_nothing() {
    let m = Mount::new();
    m.put("doc", "{:a 1 :b {:c [1 2.50M #{3}]} \"t\" \"text\" :n nil}");
    m.put("v", "[1 [2 [3 [4]]] nil 6]");
    m.put(
        "big",
        &format!(
            "{{{}}}",
            (0..2000)
                .map(|n| format!("{n} {{:v {n}}} "))
                .collect::<String>()
        ),
    );
    m.sh(r#"
        printf 'no newline' > f; printf '\377\0' > bytes; mkdir -p d/e; ln -s ../f d/l; mkfifo d/fifo
        head -c 2000000 /dev/urandom > large; echo 1.50 > doc/literal
        setfattr -n user.note -v x d f; touch -d 2001-01-01 d/e; chmod 600 bytes
    "#);
    m.remount();
    let before = contents(&m);
    m.umount();
    let stored = engine::blobs(m.store());
    assert!(stored.len() > 10, "{} blobs", stored.len());
    for round in 0..3 {
        m.mount();
        m.sh(LOOK);
        fs::remove_dir_all(m.sandbox.path("out")).unwrap();
        fs::remove_file(m.sandbox.path("doc.edn")).unwrap();
        let now = contents(&m);
        for (path, what) in &before {
            assert_eq!(Some(what), now.get(path), "round {round}, {path:?}");
        }
        assert_eq!(before.len(), now.len(), "round {round}");
        m.umount();
        same_blobs(&stored, &engine::blobs(m.store()), round);
    }
}

/// Every record and page must be what it was.
#[track_caller]
fn same_blobs(before: &Blobs, after: &Blobs, round: usize) {
    let changed: Vec<String> = before
        .keys()
        .chain(
            after
                .keys()
                .filter(|address| !before.contains_key(*address)),
        )
        .filter(|address| before.get(*address) != after.get(*address))
        .map(|address| address.escape_ascii().to_string())
        .collect();
    assert!(
        changed.is_empty(),
        "round {round}, {} blobs: {changed:?}",
        changed.len()
    );
}
