//! Directory trees in and out: content, attributes and types.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::harness::Bench;

/// What a backup has to carry, of everything below a directory.
fn snapshot(root: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    let mut todo = vec![root.to_owned()];
    while let Some(path) = todo.pop() {
        let meta = fs::symlink_metadata(&path).unwrap();
        let name = path.strip_prefix(root).unwrap().display().to_string();
        let content = if meta.is_symlink() {
            format!("-> {}", fs::read_link(&path).unwrap().display())
        } else if meta.is_file() {
            format!("{:?}", fs::read(&path).unwrap())
        } else {
            String::new()
        };
        let mut xattrs: Vec<_> = xattr::list(&path)
            .unwrap()
            .map(|n| (n.clone(), xattr::get(&path, &n).unwrap()))
            .collect();
        xattrs.sort();
        let (mode, uid, gid) = (meta.mode(), meta.uid(), meta.gid());
        let time = (meta.mtime(), meta.mtime_nsec());
        lines.push(format!(
            "{name} {mode:o} {uid} {gid} {time:?} {xattrs:?} {content}"
        ));
        if meta.is_dir() {
            todo.extend(
                fs::read_dir(&path)
                    .unwrap()
                    .map(|entry| entry.unwrap().path()),
            );
        }
    }
    lines.sort();
    lines
}

fn touch(path: &Path, nanos: u64) {
    let time =
        SystemTime::UNIX_EPOCH + Duration::new(1_700_000_000, 0) + Duration::from_nanos(nanos);
    File::open(path).unwrap().set_modified(time).unwrap();
}

fn make_tree(root: &Path) {
    fs::create_dir_all(root.join("dir/empty")).unwrap();
    fs::write(root.join("text"), "with newline\n").unwrap();
    fs::write(root.join("bare"), "without newline").unwrap();
    fs::write(root.join("nothing"), "").unwrap();
    fs::write(root.join("binary"), b"\x00\xff\xfe").unwrap();
    fs::write(
        root.join("dir/large"),
        (0..3_000_000u32)
            .map(|i| (i % 251) as u8)
            .collect::<Vec<_>>(),
    )
    .unwrap();
    fs::write(root.join("dir/100%.txt"), "x").unwrap();
    fs::write(root.join("dir/:kw"), "x").unwrap();
    symlink("../text", root.join("dir/link")).unwrap();
    symlink("nowhere", root.join("dangling")).unwrap();
    fs::set_permissions(root.join("text"), Permissions::from_mode(0o4750)).unwrap();
    fs::set_permissions(root.join("dir/empty"), Permissions::from_mode(0o1777)).unwrap();
    xattr::set(root.join("text"), "user.note", b"\x00binary").unwrap();
    xattr::set(root.join("dir"), "user.note", b"of a directory").unwrap();
    for (i, name) in [
        "text",
        "bare",
        "nothing",
        "binary",
        "dir/large",
        "dir/empty",
        "dir",
    ]
    .iter()
    .enumerate()
    {
        touch(&root.join(name), 123_456_789 + i as u64);
    }
    touch(root, 1);
}

#[test]
fn a_tree_comes_back_as_it_was() {
    let bench = Bench::new();
    make_tree(&bench.path("tree"));
    bench.kfs(["import", "s", "backup", "tree"]).ok();
    bench.kfs(["export", "s", "backup", "out"]).ok();
    assert_eq!(snapshot(&bench.path("out")), snapshot(&bench.path("tree")));
    // Over what is there, too.
    bench.kfs(["import", "s", "backup", "tree"]).ok();
    bench.kfs(["export", "s", "backup", "out"]).ok();
    assert_eq!(snapshot(&bench.path("out")), snapshot(&bench.path("tree")));
}

#[test]
fn a_tree_becomes_values() {
    let bench = Bench::new();
    make_tree(&bench.path("tree"));
    bench.kfs(["import", "s", "/", "tree"]).ok();
    assert_eq!(bench.get("text"), "\"with newline\"");
    assert_eq!(bench.get("bare"), "\"without newline\"");
    assert_eq!(bench.get("binary"), "#bytes \"00fffe\"");
    assert_eq!(bench.get("dir/link"), "#kfs/symlink \"../text\"");
    assert_eq!(bench.get("dir/:kw"), "\"x\"");
    assert_eq!(
        bench.ls("dir"),
        ["100%.txt", ":kw", "empty", "large", "link"]
    );
}

#[test]
fn types_come_back_from_a_tree() {
    let bench = Bench::new();
    bench.put("doc", "{:n 42 :f 1.5 :d 1.50M :k :kw :v [1 {:x nil}] :e [] :m {} :s #{1} :b #bytes \"41\" :t \"42\"}");
    bench.kfs(["export", "s", "/", "out"]).ok();
    assert_eq!(
        fs::read_to_string(bench.path("out/doc/:n")).unwrap(),
        "42\n"
    );
    bench.kfs(["init", "s2"]).ok();
    bench.kfs(["import", "s2", "/", "out"]).ok();
    assert_eq!(bench.kfs(["get", "s2", "doc"]).ok(), bench.get("doc"));
}

#[test]
fn a_copy_in_the_store_keeps_attributes() {
    let bench = Bench::new();
    make_tree(&bench.path("tree"));
    bench.kfs(["import", "s", "a", "tree"]).ok();
    bench.kfs(["cp", "s", "a", "b"]).ok();
    bench.kfs(["export", "s", "b", "out"]).ok();
    let without_times = |root: &str| -> Vec<String> {
        snapshot(&bench.path(root))
            .iter()
            .map(|line| {
                let (before, after) = (line.find('(').unwrap(), line.find(')').unwrap());
                format!("{}{}", &line[..before], &line[after..])
            })
            .collect()
    };
    assert_eq!(without_times("out"), without_times("tree"));
}

#[test]
fn a_file_or_link_is_exported_alone_as_well() {
    let bench = Bench::new();
    make_tree(&bench.path("tree"));
    bench.kfs(["import", "s", "a", "tree"]).ok();
    bench.kfs(["export", "s", "a/bare", "alone"]).ok();
    assert_eq!(
        fs::read_to_string(bench.path("alone")).unwrap(),
        "without newline"
    );
    bench.kfs(["export", "s", "a/dangling", "link"]).ok();
    assert_eq!(
        fs::read_link(bench.path("link")).unwrap(),
        Path::new("nowhere")
    );
}

#[test]
fn what_cannot_be_imported_is_named() {
    let bench = Bench::new();
    bench.put("file", "1");
    make_tree(&bench.path("tree"));
    assert!(
        bench
            .kfs(["import", "s", "file", "tree"])
            .fails(4)
            .contains("file: ")
    );
    assert!(
        bench
            .kfs(["import", "s", "x", "tree", "--as", "edn"])
            .fails(2)
            .contains("leave out --as")
    );
    assert!(
        bench
            .kfs(["import", "s", "x", "missing"])
            .fails(3)
            .contains("missing")
    );
    fs::create_dir(bench.path("odd")).unwrap();
    fs::write(bench.path("odd/.kfs"), "").unwrap();
    assert!(
        bench
            .kfs(["import", "s", "/", "odd"])
            .fails(8)
            .contains(".kfs")
    );
}
