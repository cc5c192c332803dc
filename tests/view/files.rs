//! Files while they are open.

use std::thread;

use konserve_fs::view::{Caller, DirItem, SetAttr, ViewError};

use super::harness::{CALLER, Side};

#[test]
fn opening_with_truncation_takes_setuid_away_unless_root_does_it() {
    let s = Side::new();
    s.put("f", "program");
    let ino = s.ino("f");
    s.chmod(ino, 0o4755);
    let flags = libc::O_WRONLY | libc::O_TRUNC;
    s.close(s.view.open(&CALLER, ino, flags).unwrap().fh);
    assert_eq!(s.attr("f").perm, 0o4755);
    let somebody = Caller {
        uid: 1000,
        ..CALLER
    };
    let fh = s.view.open(&somebody, ino, flags).unwrap().fh;
    assert_eq!(s.attr("f").perm, 0o755, "at once");
    s.close(fh);
    assert_eq!(s.killed().attr("f").perm, 0o755);
}

#[test]
fn copying_a_range_takes_setuid_away_unless_root_does_it() {
    // What is small is copied, and whole chunks that are in pages are shared.
    for (size, copied) in [(5, 5), (200_000, 65_536)] {
        let s = Side::new();
        s.put("from", &"x".repeat(size));
        s.put("to", "program");
        let (from, ino) = (s.open("from", libc::O_RDONLY), s.ino("to"));
        s.chmod(ino, 0o4755);
        let to = s.open("to", libc::O_WRONLY);
        let copy = |caller: &Caller| {
            let done = s.view.copy_file_range(caller, from, 0, to, 0, copied);
            assert_eq!(done.unwrap(), copied);
        };
        copy(&CALLER);
        assert_eq!(s.attr("to").perm, 0o4755);
        copy(&Caller {
            uid: 1000,
            ..CALLER
        });
        assert_eq!(s.attr("to").perm, 0o755, "at once");
        s.close(from);
        s.close(to);
        assert_eq!(s.killed().attr("to").perm, 0o755);
    }
}

/// The directory is read before the working copy is asked for, and a commit may come between.
#[test]
fn a_lookup_during_the_last_close_sees_what_was_written() {
    let s = Side::new();
    s.mkdir("dir");
    s.put("dir/f", "before");
    let (dir, ino) = (s.ino("dir"), s.ino("dir/f"));
    let list = || {
        let fh = s.view.opendir(&CALLER, dir).unwrap();
        let mut size = None;
        let mut emit = |item: &DirItem<'_>| {
            if item.name == b"f" {
                size = item.attr.map(|attr| attr.size);
            }
            false
        };
        s.view.readdir(fh, 0, true, &mut emit).unwrap();
        s.view.releasedir(fh).unwrap();
        size.unwrap()
    };
    for turn in 1..3000_u64 {
        let fh = s.view.open(&CALLER, ino, libc::O_WRONLY).unwrap().fh;
        s.view.setattr(&CALLER, ino, &sized(fh, turn)).unwrap();
        thread::scope(|scope| {
            scope.spawn(|| s.close(fh));
            if turn % 2 == 0 {
                assert_eq!(list(), turn);
            } else {
                assert_eq!(s.view.lookup(&CALLER, dir, b"f").unwrap().size, turn);
            }
        });
    }
}

fn sized(fh: u64, size: u64) -> SetAttr {
    SetAttr {
        size: Some(size),
        fh: Some(fh),
        ..SetAttr::default()
    }
}

#[test]
fn setuid_given_after_the_write_of_a_new_file_stays() {
    let s = Side::new();
    let fh = s.create("f");
    let somebody = Caller {
        uid: 1000,
        ..CALLER
    };
    s.view.write(&somebody, fh, 0, b"program", true).unwrap();
    s.chmod(s.ino("f"), 0o4755);
    assert_eq!(s.attr("f").perm, 0o4755);
    s.close(fh);
    assert_eq!(s.killed().attr("f").perm, 0o4755);
}

#[test]
fn a_name_that_is_taken_is_not_remembered_for_having_been_asked_for() {
    let s = Side::new();
    s.assoc("f", "1");
    let flags = libc::O_RDWR | libc::O_CREAT | libc::O_EXCL;
    let made = s.view.create(&CALLER, 1, b"f", 0o644, 0, flags);
    assert!(matches!(made, Err(ViewError::Exists { .. })));
    assert_eq!(s.view.known(), [0; 4]);
}
