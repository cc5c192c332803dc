//! A store as a directory: common tools, nesting, vectors, links, attributes.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, symlink};
use std::time::Instant;

use crate::harness::{Mount, edn, need_root};
use crate::raw;

#[test]
fn unix_tools_work_and_what_they_did_is_still_there_after_a_remount() {
    let m = Mount::new();
    m.sh(r#"
        echo hello > greeting
        test "$(cat greeting)" = hello
        sed -i s/hello/goodbye/ greeting
        test "$(cat greeting)" = goodbye
        mkdir -p user/address
        echo Ada > user/name
        echo London > user/address/city
        mv user/name user/full-name
        ls -l user | grep full-name
        test "$(ls user | tr '\n' ' ')" = 'address full-name '
        setfattr -n user.note -v 'of mine' greeting
        getfattr -n user.note --only-values greeting | grep 'of mine'
        getfattr -n user.kfs.key greeting | grep greeting
        ln -s greeting link
        test "$(readlink link)" = greeting
        cp -r user copy
        diff -r user copy
        rm -r copy
        test ! -e copy
        chmod 640 greeting
        df . | grep -F "$M"
        stat -f .
    "#);
    for _ in 0..2 {
        assert_eq!(m.get("greeting"), edn(r#""goodbye""#));
        assert_eq!(
            m.get("user"),
            edn(r#"{"full-name" "Ada", "address" {"city" "London"}}"#)
        );
        assert_eq!(m.sh("cat link"), "goodbye");
        assert_eq!(m.sh("stat -c %a greeting"), "640");
        assert_eq!(
            m.sh("getfattr -n user.note --only-values greeting"),
            "of mine"
        );
        assert_eq!(m.names(""), ["greeting", "link", "user"]);
        m.remount();
    }
}

#[test]
fn a_write_at_a_path_is_assoc_in_and_a_read_is_get_in() {
    let m = Mount::new();
    m.sh("mkdir -p a/b; mkdir a/:kw a/%i7; echo 1 > a/b/c; echo 2 > a/:kw/d; echo 3 > a/%i7/e");
    assert_eq!(
        m.get("a"),
        edn(r#"{"b" {"c" "1"}, :kw {"d" "2"}, 7 {"e" "3"}}"#)
    );
    m.put("a/b/c", "{:x 42}");
    assert_eq!(m.sh("cat a/b/c/:x"), "42");
    m.put("new/deep/er", "[true #{1}]");
    assert_eq!(m.sh("cat new/deep/er/0 new/deep/er/1"), "true\n#{1}");
    m.sh("rm -r a/b; echo false > new/deep/er/0");
    assert_eq!(m.get("a"), edn(r#"{:kw {"d" "2"}, 7 {"e" "3"}}"#));
    assert_eq!(m.get("new"), edn(r#"{"deep" {"er" [false #{1}]}}"#));
}

#[test]
fn a_path_in_the_mount_stands_for_the_store_and_the_path() {
    let m = Mount::new();
    m.sh(r#"
        mkdir a; echo x > a/b
        test "$(kfs get "$M/a/b")" = '"x"'
        cd a
        test "$(kfs get b)" = '"x"'
        kfs put b 42
        test "$(cat b)" = 42
        kfs ls . | grep b
        kfs rm b
        test ! -e b
    "#);
}

#[test]
fn every_verb_acts_on_a_mounted_store_and_on_one_that_is_not() {
    let m = Mount::unmounted();
    for _ in 0..2 {
        m.sh(r#"
            kfs put "$S" a '{:b [1 2 3]}'
            test "$(kfs get "$S" a/:b/1)" = 2
            test "$(kfs get "$S" a --as json | tr -d ' \n')" != ''
            kfs cp "$S" a c
            kfs mv "$S" c d
            test "$(kfs get "$S" d/:b/2)" = 3
            if kfs get "$S" c; then exit 1; fi
            kfs ls "$S" | grep -x d
            kfs ls -F "$S" | grep -x d/
            kfs ls "$S" d | grep -x :b
            kfs info "$S" d --json | grep last-write
            printf 'a\0b' | kfs put "$S" raw --file - --as bytes
            test "$(kfs get "$S" raw --as bytes | od -An -tx1 | tr -d ' ')" = 610062
            printf '{"k": [1, null]}' | kfs put "$S" doc --file - --as json
            test "$(kfs get "$S" doc/k/0)" = 1
            EDITOR="sed -i s/1/9/" kfs edit "$S" doc/k
            test "$(kfs get "$S" doc/k/0)" = 9
            kfs status "$S" --json | grep pid
            if kfs rm "$S" d; then exit 1; fi
            kfs rm -r "$S" d
            kfs rm "$S" raw
            kfs rm -r "$S" doc
            if kfs get "$S" d; then exit 1; fi
        "#);
        assert_eq!(m.get("a"), edn("{:b [1 2 3]}"));
        if !crate::harness::is_mounted(m.dir()) {
            m.mount();
        }
    }
}

#[test]
fn a_vector_is_a_directory_of_indexes_in_numeric_order() {
    let m = Mount::new();
    m.put("v", "[0 1 2 3 4 5 6 7 8 9 10 11]");
    let numbers: Vec<OsString> = (0..12).map(|n| n.to_string().into()).collect();
    assert_eq!(m.names_as_listed("v"), numbers);
    m.sh("rm v/1; echo more > v/13; echo 55 > v/5");
    assert_eq!(
        m.get("v"),
        edn(r#"[0 nil 2 3 4 55 6 7 8 9 10 11 nil "more"]"#)
    );
    m.sh("rm v/13 v/11");
    assert_eq!(m.get("v"), edn("[0 nil 2 3 4 55 6 7 8 9 10]"));
    m.sh("echo beside > v/.tmp; mv v/.tmp v/0");
    assert_eq!(m.get("v"), edn(r#"["beside" nil 2 3 4 55 6 7 8 9 10]"#));
    m.sh("echo draft > v/notes");
    m.remount();
    assert_eq!(m.sh("cat v/notes"), "draft");
    assert_eq!(m.get("v"), edn(r#"["beside" nil 2 3 4 55 6 7 8 9 10]"#));
    m.sh("rm -r v");
    assert!(!m.has("v"));
}

#[test]
fn a_removed_vector_can_be_restored_in_any_order() {
    let m = Mount::new();
    m.put("v", "[10 20 30 40]");
    m.sh("cp -a v \"$T/v\"; rm v/2 v/0 v/3 v/1; for n in 3 0 2 1; do cp -a \"$T/v/$n\" v/$n; done");
    assert_eq!(m.get("v"), edn("[10 20 30 40]"));
}

#[test]
fn empty_maps_and_vectors_are_empty_directories_of_their_type() {
    let m = Mount::new();
    m.put("m", "{}");
    m.put("v", "[]");
    m.sh("mkdir d");
    m.remount();
    assert_eq!(m.sh("ls -A m v d | tr -d '\\n'"), "d:m:v:");
    assert_eq!((m.get("m"), m.get("v")), (edn("{}"), edn("[]")));
    assert_eq!(m.get("d"), edn("{}"));
    m.sh("echo a > v/0; echo a > m/0");
    assert_eq!(m.get("v"), edn(r#"["a"]"#));
    assert_eq!(m.get("m"), edn(r#"{"0" "a"}"#));
    m.sh("rm v/0 m/0; rmdir m v d");
    assert!(!m.has("m"));
}

#[test]
fn symlinks_keep_any_target_and_are_never_followed_by_the_store() {
    let m = Mount::new();
    m.sh("mkdir d; echo x > d/f");
    for target in ["d", "../outside", "/nowhere", "a\nb", &"t".repeat(4095)] {
        symlink(target, m.path("d/l")).unwrap();
        let meta = fs::symlink_metadata(m.path("d/l")).unwrap();
        assert_eq!(meta.len(), target.len() as u64);
        m.remount();
        assert_eq!(fs::read_link(m.path("d/l")).unwrap().to_str(), Some(target));
        fs::remove_file(m.path("d/l")).unwrap();
    }
    symlink("d", m.path("l")).unwrap();
    assert_eq!(m.read("l/f"), b"x\n");
    assert!(!m.has("l/f"), "get_in went through a symlink");
}

#[test]
fn special_files_are_there_after_a_remount() {
    need_root();
    let m = Mount::new();
    m.sh(
        "mkdir d; mkfifo -m 640 d/fifo; mknod d/null c 1 3; mknod d/disk b 8 1
          python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind(\"d/sock\")'",
    );
    m.remount();
    let kind = |name: &str| fs::symlink_metadata(m.path(name)).unwrap().file_type();
    assert!(kind("d/fifo").is_fifo());
    assert!(kind("d/sock").is_socket());
    assert!(kind("d/disk").is_block_device());
    assert_eq!(
        m.sh("stat -c '%F %t %T' d/null"),
        "character special file 1 3"
    );
    assert_eq!(m.sh("(echo through > d/fifo &) ; cat d/fifo"), "through");
    m.sh("rm -r d");
}

#[test]
fn extended_attributes_are_kept_as_given() {
    let m = Mount::new();
    m.sh("echo x > f; mkdir d");
    let large = vec![7u8; 60_000];
    for name in ["f", "d"] {
        let path = m.path(name);
        raw::set_xattr(&path, "user.a", b"\0\xff one", libc::XATTR_CREATE).unwrap();
        raw::set_xattr(&path, "user.a", b"\0\xff two", libc::XATTR_REPLACE).unwrap();
        raw::set_xattr(&path, "user.empty", b"", 0).unwrap();
        raw::set_xattr(&path, "user.large", &large, 0).unwrap();
        raw::set_xattr(&path, "user.gone", b"x", 0).unwrap();
        raw::remove_xattr(&path, "user.gone").unwrap();
        let errno = |result: std::io::Result<()>| result.unwrap_err().raw_os_error();
        let again = raw::set_xattr(&path, "user.a", b"", libc::XATTR_CREATE);
        assert_eq!(errno(again), Some(libc::EEXIST));
        let absent = raw::set_xattr(&path, "user.b", b"", libc::XATTR_REPLACE);
        assert_eq!(errno(absent), Some(libc::ENODATA));
        assert_eq!(
            errno(raw::remove_xattr(&path, "user.gone")),
            Some(libc::ENODATA)
        );
    }
    m.remount();
    for name in ["f", "d"] {
        let path = m.path(name);
        assert_eq!(
            raw::list_xattrs(&path).unwrap(),
            ["user.a", "user.empty", "user.large"]
        );
        assert_eq!(raw::get_xattr(&path, "user.a").unwrap(), b"\0\xff two");
        assert_eq!(raw::get_xattr(&path, "user.empty").unwrap(), b"");
        assert_eq!(raw::get_xattr(&path, "user.large").unwrap(), large);
    }
    assert_eq!(m.get("f"), edn(r#""x""#));
    assert_eq!(m.get("d"), edn("{}"));
}

#[test]
fn metadata_of_the_store_is_shown_in_attributes_that_are_not_listed() {
    let m = Mount::new();
    m.put("doc", "{:a 1 :b {:c 2}}");
    let shown = |name: &str| raw::get_xattr(&m.path("doc"), &format!("user.kfs.{name}"));
    for name in ["key", "last-write", "version", "size-on-disk", "all"] {
        assert!(!shown(name).unwrap().is_empty(), "{name}");
    }
    let all: serde_json::Value = serde_json::from_slice(&shown("all").unwrap()).unwrap();
    assert!(all.is_object());
    assert_eq!(
        raw::list_xattrs(&m.path("doc")).unwrap(),
        Vec::<String>::new()
    );
    let (version, write) = (shown("version").unwrap(), shown("last-write").unwrap());
    m.sh("touch -d 2001-01-01 doc; chmod 700 doc");
    assert_eq!(
        shown("version").unwrap(),
        version,
        "attributes are no part of the value"
    );
    m.put("doc/:b/:c", "3");
    assert_ne!(shown("version").unwrap(), version);
    assert_ne!(
        shown("last-write").unwrap(),
        write,
        "a write must move last-write"
    );
    m.put("doc/:b/:c", "2");
    assert_eq!(
        shown("version").unwrap(),
        version,
        "the same value is the same version"
    );
}

#[test]
fn mode_and_owner_are_kept_and_the_umask_is_applied_once() {
    let m = Mount::new();
    m.sh("umask 027; echo x > f; mkdir d; mkfifo p; umask 0; echo x > open");
    m.sh("echo x > s; chmod 4751 s; mkdir t; chmod 1777 t");
    if nix::unistd::geteuid().is_root() {
        m.sh("echo x > o; chown 1234:4321 o; ln -s o l; chown -h 12:34 l");
    }
    m.remount();
    assert_eq!(
        m.sh("stat -c %a f d p open s t | tr '\\n' ' '"),
        "640 750 640 666 4751 1777 "
    );
    if nix::unistd::geteuid().is_root() {
        assert_eq!(m.sh("stat -c %u:%g o l | tr '\\n' ' '"), "1234:4321 12:34 ");
    }
}

#[test]
fn a_directory_counts_its_subdirectories() {
    let m = Mount::new();
    let links = |name: &str| fs::metadata(m.path(name)).unwrap().nlink();
    let before = links("");
    m.sh("mkdir -p d/a d/b d/c; echo x > d/f; ln -s a d/l");
    assert_eq!((links("d"), links("d/a"), links("")), (5, 2, before + 1));
    m.sh("rmdir d/a; mkdir e; mv d/b e/b");
    assert_eq!((links("d"), links("e")), (3, 3));
    m.put("d/made/by", "{:api {}}");
    assert_eq!((links("d"), links("d/made/by"), links("d/f")), (4, 3, 1));
    m.remount();
    assert_eq!((links("d"), links("e"), links("")), (4, 3, before + 2));
}

#[test]
fn each_entry_is_listed_once_while_entries_are_removed_meanwhile() {
    let m = Mount::new();
    let dir = m.path("many");
    fs::create_dir(&dir).unwrap();
    for number in 0..5000 {
        fs::write(dir.join(format!("file-{number}")), b"x").unwrap();
    }
    let mut seen = std::collections::BTreeSet::new();
    for (count, entry) in fs::read_dir(&dir).unwrap().enumerate() {
        let entry = entry.unwrap();
        assert!(seen.insert(entry.file_name()), "{entry:?} came twice");
        // Removes this one now and then, and others that came before or will come.
        let victim = match count % 3 {
            0 => entry.path(),
            1 => dir.join(format!("file-{}", count * 7 % 5000)),
            _ => continue,
        };
        let _ = fs::remove_file(victim);
    }
    for entry in fs::read_dir(&dir).unwrap() {
        assert!(
            seen.contains(&entry.unwrap().file_name()),
            "was there and never listed"
        );
    }
}

#[test]
fn a_tree_of_5000_files_can_be_removed() {
    let m = Mount::new();
    let started = Instant::now();
    m.sh("mkdir many; cd many; seq 5000 | xargs touch; mkdir d; cd d; seq 100 | xargs mkdir");
    assert_eq!(m.sh("ls many | wc -l"), "5001");
    m.sh("rm -rf many");
    assert_eq!(m.names(""), Vec::<&str>::new());
    assert!(!m.has("many"));
    println!("5 000 files made and removed in {:?}", started.elapsed());
}
