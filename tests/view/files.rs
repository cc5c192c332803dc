//! Files while they are open.

use std::thread;

use konserve_fs::value::Value;
use konserve_fs::view::{Caller, DirItem, SetAttr, ViewError};

use super::harness::{CALLER, Side, keys};

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

/// A file of text or of bytes, with one name or two, written into by 4 KiB here and there with folds
/// in between: nothing of it is put into pages before a fold, and what was synced is there after a
/// kill, of the same type.
#[test]
fn a_small_write_to_a_long_file_is_in_the_journal_alone() {
    for (text, linked) in [(true, false), (false, false), (true, true), (false, true)] {
        let s = Side::new();
        let mut model = vec![if text { b'a' } else { 0xff }; 500_000];
        let fh = s.create("f");
        s.view.write(&CALLER, fh, 0, &model, false).unwrap();
        s.close(fh);
        if linked {
            s.link("f", "g").unwrap();
        }
        s.store.settle().unwrap();
        let fh = s.open("f", libc::O_RDWR);
        for (round, at) in [100_000, 32_000, 500_000, 504_096, 100, 600_000]
            .into_iter()
            .enumerate()
        {
            if round == 4 {
                s.store.settle().unwrap();
            }
            let data = [b'b' + u8::try_from(round).unwrap(); 4096];
            let before = s.store.written_since_round();
            s.view.write(&CALLER, fh, at, &data, false).unwrap();
            s.view.fsync(fh, false).unwrap();
            assert_eq!(
                s.store.written_since_round(),
                before,
                "{text} {linked} {at}"
            );
            let at = usize::try_from(at).unwrap();
            model.resize(model.len().max(at + data.len()), 0);
            model[at..at + data.len()].copy_from_slice(&data);
        }
        s.close(fh);
        let folded = s.killed();
        let fh = folded.open("f", libc::O_RDONLY);
        assert!(folded.view.read(fh, 0, 1 << 20).unwrap() == model);
        folded.close(fh);
        let value = folded
            .store
            .get_in(&keys(if linked { "g" } else { "f" }))
            .unwrap()
            .unwrap();
        match value {
            Value::Text(t) => assert!(text && t.as_bytes() == model),
            Value::Bytes(b) => assert!(!text && b == model),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_small_write_may_change_the_type_of_a_long_file() {
    let s = Side::new();
    s.put("f", &"a".repeat(100_000));
    let fh = s.open("f", libc::O_RDWR);
    s.view.write(&CALLER, fh, 50_000, &[0xff], false).unwrap();
    s.view.fsync(fh, false).unwrap();
    assert!(matches!(s.get("f"), Some(Value::Bytes(_))));
    s.view.write(&CALLER, fh, 50_000, b"a", false).unwrap();
    s.view.fsync(fh, false).unwrap();
    assert_eq!(s.get("f"), Some(Value::Text("a".repeat(100_000))));
    s.write(fh, 100_000, "\n");
    s.view.fsync(fh, false).unwrap();
    assert_eq!(s.get("f"), Some(Value::Text("a".repeat(100_000))));
    s.write(fh, 100_001, "b\n");
    s.view.fsync(fh, false).unwrap();
    assert_eq!(s.get("f"), Some(Value::Text("a".repeat(100_000) + "\nb")));
    s.close(fh);
    let s = s.killed();
    assert_eq!(s.read("f"), "a".repeat(100_000) + "\nb\n");
}
