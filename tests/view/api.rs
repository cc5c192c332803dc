//! API writes while the mount has things open.

use konserve_fs::view::{FileKind, Ino, Invalidate, ROOT, ViewError};

use super::harness::{CALLER, Side, keys, v};

/// A kernel that has heard of nothing.
struct Behind;

impl Invalidate for Behind {
    fn inode(&self, _: Ino) {}
    fn entry(&self, _: Ino, _: &[u8]) {}
    fn is_behind(&self, _: Ino) -> bool {
        true
    }
}

#[test]
fn a_file_of_whose_change_the_kernel_has_not_heard_is_not_read_from_its_pages() {
    let s = Side::new();
    s.assoc("f", "1");
    let ino = s.ino("f");
    let open = |flags| s.view.open(&CALLER, ino, flags).unwrap();
    let told = open(libc::O_RDONLY);
    assert!(told.keep_cache && !told.direct_io);
    s.close(told.fh);
    s.view.set_invalidator(Box::new(Behind));
    s.assoc("f", "12");
    let reader = open(libc::O_RDONLY);
    assert!(reader.direct_io && !reader.keep_cache);
    assert_eq!(s.read_from(reader.fh), "12\n");
    let writer = open(libc::O_RDWR);
    assert!(!writer.direct_io && !writer.keep_cache);
    for handle in [reader, writer] {
        s.close(handle.fh);
    }
}

#[test]
fn an_api_write_around_an_open_file_leaves_it_alone() {
    let s = Side::new();
    s.assoc("d", r#"{"read" "old" "written" "old" "n" 1}"#);
    let (read, written) = (s.ino("d/read"), s.ino("d/written"));
    let reader = s.open("d/read", libc::O_RDONLY);
    let writer = s.open("d/written", libc::O_RDWR);
    s.write(writer, 0, "OLD");
    s.assoc("d", r#"{"read" "old" "written" "old" "n" 2}"#);
    assert_eq!((s.ino("d/read"), s.ino("d/written")), (read, written));
    assert_eq!(s.read_from(reader), "old\n");
    assert_eq!(
        s.read_from(writer),
        "OLD\n",
        "what is not committed yet is not lost"
    );
    s.close(writer);
    assert_eq!(
        s.get("d"),
        Some(v(r#"{"read" "old" "written" "OLD" "n" 2}"#))
    );
}

#[test]
fn an_open_directory_stays_when_the_api_writes_its_value() {
    let s = Side::new();
    s.assoc("d", r#"{"a" 1 "sub" {"b" 2}}"#);
    let (d, sub) = (s.ino("d"), s.ino("d/sub"));
    let handles = [d, sub].map(|ino| s.view.opendir(&CALLER, ino).unwrap());
    s.assoc("d", r#"{"a" 3 "sub" {"b" 4 "c" 5}}"#);
    assert_eq!((s.ino("d"), s.ino("d/sub")), (d, sub));
    assert_eq!(s.view.lookup(&CALLER, sub, b"c").unwrap().size, 2);
    for fh in handles {
        s.view.releasedir(fh).unwrap();
    }
}

#[test]
fn a_file_that_the_api_made_while_it_was_being_created_stays_when_it_is_closed_unwritten() {
    let s = Side::new();
    let fh = s.create("f");
    let ino = s.view.lookup(&CALLER, ROOT, b"f").unwrap().ino;
    s.assoc("f", "42");
    s.close(fh);
    assert_eq!(s.ino("f"), ino);
    assert_eq!(s.read("f"), "42\n");
}

#[test]
fn a_file_being_created_becomes_what_the_api_puts_there() {
    let s = Side::new();
    s.mkdir("d");
    let fh = s.create("d/f");
    let ino = s.ino("d/f");
    s.assoc("d/f", "42");
    assert_eq!(s.read_from(fh), "42\n");
    assert_eq!(s.view.known()[1], 0, "the name is committed");
    s.write(fh, 0, "43");
    s.close(fh);
    assert_eq!(s.get("d/f"), Some(v("43")));
    assert_eq!(s.ino("d/f"), ino);
    let s = s.killed();
    assert_eq!(s.ino("d/f"), ino, "the number is stored with the commit");
    s.unlink("d/f").unwrap();
    s.rmdir("d").unwrap();
}

#[test]
fn a_directory_put_over_an_open_file_leaves_the_file_without_a_name() {
    let s = Side::new();
    s.put("old", "old");
    let old = s.open("old", libc::O_RDWR);
    let new = s.create("new");
    s.assoc("old", r#"{"a" 1}"#);
    s.assoc("new", r#"{"a" 1}"#);
    for (fh, path) in [(old, "old"), (new, "new")] {
        s.write(fh, 0, "still");
        assert_eq!(s.read_from(fh), "still");
        s.close(fh);
        assert_eq!(s.attr(path).kind, FileKind::Dir);
        assert_eq!(s.get(path), Some(v(r#"{"a" 1}"#)));
        assert_eq!(s.read(&format!("{path}/a")), "1\n");
    }
    assert_eq!(s.view.known()[1..], [0, 0, 0]);
}

#[test]
fn what_the_api_removes_and_makes_anew_is_another_file() {
    let s = Side::new();
    s.assoc("f", "1");
    s.assoc("d", r#"{"x" 1}"#);
    let (f, d) = (s.ino("f"), s.ino("d"));
    let open = s.open("f", libc::O_RDWR);
    for path in ["f", "d"] {
        s.dissoc(path);
    }
    s.assoc("f", "2");
    s.assoc("d", r#"{"x" 2}"#);
    assert!(matches!(
        s.view.getattr(d, None),
        Err(ViewError::Stale { .. })
    ));
    let (new_f, new_d, new_x) = (s.ino("f"), s.ino("d"), s.ino("d/x"));
    assert!(new_f != f && new_d != d);
    s.write(open, 0, "9");
    s.close(open);
    assert_eq!(s.get("f"), Some(v("2")));
    let s = s.killed();
    assert_eq!(
        (s.ino("f"), s.ino("d"), s.ino("d/x")),
        (new_f, new_d, new_x)
    );
}

#[test]
fn a_name_that_is_not_committed_stays_when_the_api_writes_its_directory() {
    let s = Side::new();
    s.assoc("d", r#"{"a" 1}"#);
    let fh = s.create("d/new");
    s.assoc("d", r#"{"a" 2 "b" 3}"#);
    assert_eq!(s.names("d"), ["a", "b", "new"]);
    s.write(fh, 0, "x");
    s.close(fh);
    assert_eq!(s.get("d"), Some(v(r#"{"a" 2 "b" 3 "new" "x"}"#)));
}

#[test]
fn a_name_that_is_not_committed_goes_with_its_directory() {
    let s = Side::new();
    s.mkdir("d");
    let fh = s.create("d/new");
    s.dissoc("d");
    s.assoc("d", r#"{"a" 1}"#);
    s.write(fh, 0, "x");
    s.close(fh);
    assert_eq!(s.get("d"), Some(v(r#"{"a" 1}"#)), "another directory");
    assert_eq!(s.names("d"), ["a"]);
    s.dissoc("d");
    assert!(s.names("").is_empty());
}

/// What one write made has one birth: a number made of that alone takes the one for the other.
#[test]
fn a_name_that_is_not_committed_goes_when_the_api_moves_a_sibling_over_its_directory() {
    for (sibling, names) in [("nil", None), (r#"{"x" 2}"#, Some(["x"]))] {
        let s = Side::new();
        s.assoc("d", &format!(r#"{{"a" {{"x" 1}} "b" {sibling}}}"#));
        let fh = s.create("d/a/new");
        let (dir, new) = (s.ino("d/a"), s.ino("d/a/new"));
        s.store.rename(&keys("d/b"), &keys("d/a"), false).unwrap();
        let gone = s.view.getattr(dir, None);
        assert!(gone.is_err() || gone.unwrap().nlink == 0, "{sibling}");
        assert_eq!(s.view.getattr(new, Some(fh)).unwrap().nlink, 0, "{sibling}");
        assert_ne!(s.ino("d/a"), dir);
        s.write(fh, 0, "x");
        assert_eq!(s.read_from(fh), "x", "what is open lives on");
        s.close(fh);
        if let Some(names) = names {
            assert_eq!(s.names("d/a"), names);
        }
        assert_eq!(s.get("d"), Some(v(&format!(r#"{{"a" {sibling}}}"#))));
        let number = s.ino("d/a");
        assert_eq!(s.killed().ino("d/a"), number);
    }
}

#[test]
fn what_is_made_where_the_api_removed_an_open_file_is_new() {
    let s = Side::new();
    s.put("f", "text");
    let ino = s.ino("f");
    let fh = s.open("f", libc::O_RDWR);
    s.dissoc("f");
    s.mkdir("f");
    assert_ne!(s.ino("f"), ino);
    assert_eq!(s.attr("f").kind, FileKind::Dir);
    assert_eq!(s.read_from(fh), "text");
    assert_eq!(s.view.getattr(ino, Some(fh)).unwrap().nlink, 0);
    s.close(fh);
    assert_eq!(s.attr("f").kind, FileKind::Dir);
}

#[test]
fn a_file_put_over_a_symbolic_link_is_another_thing() {
    let s = Side::new();
    let attr = s.view.symlink(&CALLER, 1, b"x", b"target").unwrap();
    s.assoc("x", "42");
    let file = s.attr("x");
    assert_eq!((file.kind, file.perm), (FileKind::File, 0o644));
    assert_ne!(file.ino, attr.ino);
    s.assoc("x", r#"#kfs/symlink "elsewhere""#);
    let link = s.attr("x");
    assert_eq!((link.kind, link.perm), (FileKind::Symlink, 0o777));
    s.assoc("x", r#"#kfs/symlink "nowhere""#);
    assert_eq!(s.ino("x"), link.ino);
    assert_eq!(s.view.readlink(link.ino).unwrap(), b"nowhere");
}

#[test]
fn the_kernel_hears_of_a_name_that_it_was_told_is_not_there() {
    let s = Side::new();
    s.assoc("d", r#"{"a" {"x" 1}}"#);
    let told = s.listen();
    let a = s.ino("d/a");
    for name in ["new", "other"] {
        assert!(s.try_lookup(&format!("d/a/{name}")).is_err());
    }
    s.assoc("d", r#"{"a" {"x" 1 "new" 2}}"#);
    assert!(told.lock().contains(&(a, "new".to_owned())));
}

#[test]
fn a_name_that_is_not_committed_stays_the_same_when_its_directory_becomes_a_vector() {
    let s = Side::new();
    s.assoc("d", r#"{"a" 1}"#);
    let fh = ["d/1", "d/x"].map(|path| s.create(path));
    let inos = ["d/1", "d/x"].map(|path| s.ino(path));
    s.assoc("d", "[10]");
    assert_eq!(s.names("d"), ["0", "1", "x"]);
    assert_eq!(["d/1", "d/x"].map(|path| s.ino(path)), inos);
    for fh in fh {
        s.write(fh, 0, "new");
        s.close(fh);
    }
    assert_eq!(s.get("d"), Some(v(r#"[10 "new"]"#)));
    let s = s.killed();
    assert_eq!(["d/1", "d/x"].map(|path| s.ino(path)), inos);
    let fh = s.create("d/2");
    s.assoc("d", "{}");
    s.close(fh);
    assert_eq!(s.get("d"), Some(v(r#"{"2" ""}"#)));
}

#[test]
fn a_renamed_file_keeps_the_number_that_it_gets_while_a_reader_has_the_replaced_one() {
    let s = Side::new();
    s.assoc("f", "1");
    let fh = s.open("f", libc::O_RDONLY);
    let old = s.ino("f");
    s.assoc("f", "2");
    s.rename("f", "g").unwrap();
    let new = s.ino("g");
    assert_ne!(new, old);
    s.close(fh);
    assert_eq!(s.killed().ino("g"), new);
}

#[test]
fn a_directory_that_the_api_replaced_is_forgotten_with_what_was_open_in_it() {
    let s = Side::new();
    s.assoc("d", r#"{"f" 1}"#);
    let (d, f) = (s.ino("d"), s.ino("d/f"));
    let fh = s.open("d/f", libc::O_RDONLY);
    s.assoc("d", r#""a file""#);
    assert_ne!(s.ino("d"), d);
    s.view.forget(d, 4);
    s.close(fh);
    s.view.forget(f, 2);
    s.view.forget(s.ino("d"), 3);
    assert_eq!(s.view.known(), [0; 4]);
}
