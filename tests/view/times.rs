//! Which operations move which times.

use super::harness::{CALLER, Side};

#[test]
fn the_root_directory_keeps_its_birth() {
    let s = Side::new();
    let born = s.attr("").crtime;
    s.mkdir("d");
    assert_eq!(s.attr("").crtime, born);
    assert!(s.attr("").mtime > born);
    assert_eq!(s.killed().attr("").crtime, born);
}

#[test]
fn the_times_of_a_directory_stay_when_a_file_created_before_is_committed() {
    let s = Side::new();
    s.mkdir("d");
    let fh = s.create("d/empty");
    s.touch("d", 1_000_000_000);
    let set = s.attr("d");
    assert_eq!(set.mtime.secs, 1_000_000_000);
    s.close(fh);
    let after = s.attr("d");
    assert_eq!((after.mtime, after.ctime), (set.mtime, set.ctime));

    let fh = s.create("d/first");
    s.mkdir("d/second");
    let made = s.attr("d");
    s.close(fh);
    let after = s.attr("d");
    assert_eq!((after.mtime, after.ctime), (made.mtime, made.ctime));
    assert_eq!(s.killed().attr("d").mtime, made.mtime);
}

#[test]
fn creating_and_removing_a_file_moves_the_times_of_its_directory_for_good() {
    let s = Side::new();
    s.mkdir("d");
    for dir in ["", "d"] {
        let before = s.attr(dir);
        let path = format!("{dir}/f");
        let path = path.trim_start_matches('/');
        let fh = s.create(path);
        let created = s.attr(dir);
        assert!(created.mtime > before.mtime);
        s.unlink(path).unwrap();
        let removed = s.attr(dir);
        assert!(removed.mtime > created.mtime && removed.ctime > created.ctime);
        s.close(fh);
        assert_eq!(s.attr(dir).mtime, removed.mtime);
        assert_eq!(removed.crtime, before.crtime);
    }
}

#[test]
fn giving_a_file_a_type_moves_its_ctime_committed_or_not() {
    let s = Side::new();
    let fh = s.create("f");
    for _ in 0..2 {
        let before = s.attr("f");
        s.set_type("f", "int").unwrap();
        let after = s.attr("f");
        assert!(after.ctime > before.ctime && after.mtime == before.mtime);
        s.view.fsync(fh, false).unwrap();
    }
}

#[test]
fn what_an_api_write_puts_into_a_directory_of_the_other_kind_is_new() {
    let s = Side::new();
    s.assoc("api", r#"{"0" "old"}"#);
    s.mkdir("made");
    for path in ["api", "made"] {
        let dir = s.attr(path);
        s.assoc(path, r#"["new" {"a" 1}]"#);
        let now = s.attr(path);
        assert_eq!((now.ino, now.crtime), (dir.ino, dir.crtime));
        for child in ["0", "1", "1/a"] {
            let child = s.attr(&format!("{path}/{child}"));
            assert!(child.mtime > dir.mtime && child.crtime == child.mtime);
        }
    }
}

#[test]
fn the_mtime_that_a_creation_gave_a_directory_stays_when_something_else_moves_the_ctime() {
    let s = Side::new();
    s.mkdir("d");
    let fh = s.create("d/f");
    let created = s.attr("d").mtime;
    s.chmod(s.ino("d"), 0o700);
    assert_eq!(s.attr("d").mtime, created);
    let second = s.create("d/g");
    let created = s.attr("d").mtime;
    s.rename("d", "e").unwrap();
    assert_eq!(s.attr("e").mtime, created);
    s.close(second);
    s.close(fh);
    assert_eq!(s.attr("e").mtime, created);
}

#[test]
fn exchanging_moves_the_ctime_of_open_files_too() {
    let s = Side::new();
    let (a, b) = (s.create("a"), s.create("b"));
    let before = [s.attr("a").ctime, s.attr("b").ctime];
    let flags = libc::RENAME_EXCHANGE;
    s.view.rename(&CALLER, 1, b"a", 1, b"b", flags).unwrap();
    for (path, ctime) in [("b", before[0]), ("a", before[1])] {
        assert!(s.attr(path).ctime > ctime);
    }
    for (fh, data) in [(a, "was a"), (b, "was b")] {
        s.write(fh, 0, data);
        s.close(fh);
    }
    assert_eq!((s.read("a"), s.read("b")), ("was b".into(), "was a".into()));
}
