//! Copies out of a mount and back into one lose nothing: rsync, tar, cp.

use std::ffi::OsString;
use std::fs;
use std::path::Path;

use crate::harness::{Mount, Sandbox, edn};
use crate::random::number;
use crate::raw;
use crate::tree;

/// Every type of value, as EDN.
const VALUES: &[&str] = &[
    "nil",
    "true",
    "false",
    "0",
    "42",
    "-7",
    "9223372036854775807",
    "-9223372036854775808",
    "9223372036854775808",
    "123456789012345678901234567890",
    "1.5",
    "-0.0",
    "100000.0",
    "1.0e300",
    "##NaN",
    "##Inf",
    "##-Inf",
    "1/3",
    "-7/2",
    "1.50M",
    "1.5M",
    "0M",
    r"\a",
    r"\newline",
    r"\u00e9",
    r#""""#,
    r#""text""#,
    r#""42""#,
    r#""nil""#,
    r#"":kw""#,
    r#""a\nb""#,
    r#""ends with newline\n""#,
    r#""\n""#,
    r#""日本 😀""#,
    r#""nul \u0000 inside""#,
    ":kw",
    ":user/name",
    "sym",
    "ns/sym",
    r#"#uuid "123e4567-e89b-12d3-a456-426614174000""#,
    r#"#inst "2024-02-29T12:34:56.789-00:00""#,
    r#"#inst "1969-12-31T23:59:59.999Z""#,
    "(1 2)",
    "()",
    "#{1 :a \"b\"}",
    "#{}",
    "#my/tag 1",
    "#my/tag {:a [1 #{2}]}",
    "(1 (2 [3 {:a 4}]))",
    "#{[1 2] {:a 1}}",
];

/// Values that are directories.
const BRANCHES: &[&str] = &[
    "{}",
    "[]",
    "[1]",
    "[nil]",
    "[1 nil 3]",
    "[1 nil]",
    "[[] {} [[]]]",
    "{:a {:b {:c {:d 1}}}}",
    "[{:a [1 2]} {:a [3 4]}]",
    r#"{"a/b" 1, "" 2, "." 3, ".." 4, "%i42" 5, 42 6, nil 7, [1] 8, 1.5 9}"#,
    r#"{:a/b 1, sym 2, \x 3, #uuid "123e4567-e89b-12d3-a456-426614174000" 4, true 5, "true" 6}"#,
    "[0 1 2 3 4 5 6 7 8 9 10 11 12]",
    r#"{"0" "a" "1" "b"}"#,
];

/// A store with every type of value at several depths, and what only a mount can make.
fn varied_store() -> Mount {
    let m = Mount::new();
    for (number, value) in VALUES.iter().chain(BRANCHES).enumerate() {
        m.put(format!("top{number}"), value);
    }
    let all: String = VALUES
        .iter()
        .chain(BRANCHES)
        .enumerate()
        .map(|(number, value)| format!("{number} {value} "))
        .collect();
    m.put(
        "deep",
        &format!("{{:a {{:b {{{all}}} :v [{}]}}}}", VALUES.join(" ")),
    );
    m.put("vector", &format!("[{}]", BRANCHES.join(" ")));
    for (path, value) in [
        (":kw", "1"),
        (":a%2Fb", "{:x 2}"),
        ("%i42", "[3]"),
        ("%b00ff", "4.5"),
    ] {
        m.put(path, value);
    }
    let long = "k".repeat(240);
    m.put("long", &format!("{{{long:?} 1 :{long} 2}}"));
    m.put("large", &format!("{:?}", "line\n".repeat(300_000)));
    m.sh(r#"
        mkdir files
        printf 'no newline' > files/a
        printf '\377\376\000' > files/bytes
        printf '' > files/empty
        head -c 3000000 /dev/zero > files/zeros
        ln -s a files/link
        mkfifo files/fifo
        echo 1.50 > deep/:a/:b/%i10
        printf '\n' > files/newline
        setfattr -n user.note -v kept files/a files
        chmod 640 files/a
    "#);
    // Bytes that could be taken for text, and bytes of which there are none.
    for (name, bytes) in [("files/b-text", &b"abc\n"[..]), ("files/b-empty", b"")] {
        m.write(name, bytes);
        raw::set_xattr(&m.path(name), "user.kfs.type", b"bytes", 0).unwrap();
    }
    // An integer by declaration that is text for now.
    m.put("files/later", "42");
    m.write("files/later", "forty-two\n");
    // rsync compares the times of what is no file by the second, and sees no need to set one that
    // was made in the second in which it is copied.
    m.sh("find . -depth ! -type f -exec touch -h -d '2001-02-03 04:05:06.123456789' {} +");
    m
}

/// Fails unless both stores hold equal values and equal files.
#[track_caller]
fn assert_equal_stores(a: &Mount, b: &Mount) {
    a.remount();
    b.remount();
    assert_eq!(a.names(""), b.names(""));
    let different: Vec<OsString> = a
        .names("")
        .into_iter()
        .filter(|name| {
            a.kfs::<&str>("get", name, &[]).ok().stdout != b.kfs::<&str>("get", name, &[]).stdout
        })
        .collect();
    let show = |m: &Mount, name: &OsString| m.kfs::<&str>("get", name, &[]).text();
    if let Some(first) = different.first() {
        let (mut left, mut right) = (show(a, first), show(b, first));
        left.truncate(2000);
        right.truncate(2000);
        panic!("{different:?} differ, {first:?}:\n{left}\n{right}");
    }
    let (mut left, mut right) = (tree::walk(a.dir()), tree::walk(b.dir()));
    left.remove(Path::new(""));
    right.remove(Path::new(""));
    tree::assert_same(&left, &right);
}

/// Copies a varied store to a plain directory and from there into a fresh store.
#[track_caller]
fn types_come_back(out: &str, back: &str) {
    let (from, to) = (varied_store(), Mount::new());
    from.sandbox.make_dir("copy");
    let copy = from.sandbox.path("copy");
    from.sh(&out.replace("COPY", copy.to_str().unwrap()));
    to.sh(&back.replace("COPY", copy.to_str().unwrap()));
    assert_equal_stores(&from, &to);
}

#[test]
fn types_come_back_through_rsync() {
    types_come_back("rsync -aX ./ COPY/", "rsync -aX COPY/ ./");
}

#[test]
fn types_come_back_through_rsync_in_place() {
    types_come_back(
        "rsync -aX --inplace ./ COPY/",
        "rsync -aX --inplace COPY/ ./",
    );
}

#[test]
fn types_come_back_through_tar() {
    types_come_back(
        "tar --xattrs '--xattrs-include=*' -cf COPY/t.tar .",
        "tar --xattrs '--xattrs-include=*' -xpf COPY/t.tar",
    );
}

#[test]
fn types_come_back_through_cp() {
    types_come_back("cp -a ./. COPY/", "cp -a COPY/. ./");
}

#[test]
fn types_come_back_from_one_mount_straight_into_another() {
    let (from, to) = (varied_store(), Mount::new());
    to.sh(&format!("rsync -aX '{}/' ./", from.dir().display()));
    assert_equal_stores(&from, &to);
}

#[test]
fn a_copy_within_the_mount_is_an_equal_value() {
    let m = Mount::new();
    let all = VALUES
        .iter()
        .chain(BRANCHES)
        .copied()
        .collect::<Vec<_>>()
        .join(" ");
    m.put("v", &format!("[{all}]"));
    m.sh("cp -a v w; rsync -aX v/ x/");
    assert_eq!(m.get("w"), edn(&format!("[{all}]")));
    m.sh("mv w y");
    assert_eq!(m.get("y"), m.get("v"));
    assert_eq!(m.get("x"), m.get("v"));
}

/// Files of the generated tree.
fn tree_size() -> usize {
    number("KFS_TREE").map_or(2100, |files| usize::try_from(files).unwrap())
}

#[test]
fn a_tree_comes_back_identical_and_a_second_copy_transfers_nothing() {
    let m = Mount::new();
    let source = m.sandbox.make_dir("source");
    tree::generate(&source, tree_size(), 42);
    let original = tree::walk(&source);
    println!("{} entries", original.len());

    // Without owners of the top directory: rsync sets them too.
    let rsync = |from: &Path, to: &Path| {
        let (from, to) = (from.display(), to.display());
        m.sandbox
            .sh_in(
                Path::new("/"),
                &format!("rsync -aX --itemize-changes '{from}/' '{to}/'"),
            )
            .ok()
            .text()
    };
    rsync(&source, m.dir());
    tree::assert_same(&original, &tree::walk(m.dir()));
    m.remount();
    tree::assert_same(&original, &tree::walk(m.dir()));

    let copy = m.sandbox.make_dir("out");
    rsync(m.dir(), &copy);
    tree::assert_same(&original, &tree::walk(&copy));

    m.remount();
    assert_eq!(rsync(m.dir(), &copy), "", "a second copy out");
    assert_eq!(rsync(&source, m.dir()), "", "a second copy in");

    // One leaf changed through the API is one transfer.
    let leaf = "deep/level0/level1/leaf";
    m.put(leaf, r#""first""#);
    rsync(m.dir(), &copy);
    // Of another length: rsync compares times by the second.
    m.put(leaf, r#""another""#);
    m.remount();
    let transfers = rsync(m.dir(), &copy);
    let lines: Vec<&str> = transfers.lines().collect();
    assert!(
        matches!(lines[..], [line] if line.starts_with(">f") && line.ends_with(leaf)),
        "not just one file:\n{transfers}"
    );
    assert_eq!(fs::read(copy.join(leaf)).unwrap(), b"another\n");
    assert_eq!(rsync(m.dir(), &copy), "");
}

#[test]
fn one_leaf_changed_in_a_document_of_a_thousand_is_one_transfer() {
    let m = Mount::new();
    let leaves: String = (0..1000).map(|n| format!("{n} {{:v {n}}} ")).collect();
    m.put("doc", &format!("{{:a {{{leaves}}}}}"));
    let copy = m.sandbox.make_dir("out");
    let rsync = || {
        m.sh(&format!(
            "rsync -aX --itemize-changes ./ '{}/'",
            copy.display()
        ))
    };
    rsync();
    m.remount();
    assert_eq!(rsync(), "");
    m.put("doc/:a/%i500/:v", "-1");
    m.remount();
    let transfers = rsync();
    assert_eq!(transfers.lines().count(), 1, "{transfers}");
    assert!(transfers.ends_with("doc/:a/%i500/:v"), "{transfers}");
}

#[test]
fn a_generated_tree_is_the_same_for_rsync_on_this_machine() {
    // What the tests above rely on: this directory for temporary files takes all of it.
    let sandbox = Sandbox::new();
    let (source, copy) = (sandbox.make_dir("source"), sandbox.make_dir("copy"));
    tree::generate(&source, 500, 42);
    sandbox
        .sh_in(&source, &format!("rsync -aX ./ '{}/'", copy.display()))
        .ok();
    tree::assert_same(&tree::walk(&source), &tree::walk(&copy));
    let again = format!("rsync -aX --itemize-changes ./ '{}/'", copy.display());
    assert_eq!(sandbox.sh_in(&source, &again).ok().text(), "");
}
