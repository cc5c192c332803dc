//! Working copies when the store fails, and when their place is gone.

use super::*;
use crate::journal::faults::SHORT_WRITE;
use crate::store::{CreateOptions, Location};
use crate::tree::Time;
use crate::value::{Key, Value};

const ME: Caller = Caller {
    uid: 0,
    gid: 0,
    pid: 1,
};

fn view(dir: &tempfile::TempDir) -> Arc<View> {
    let place = Location::Embedded(dir.path().join("s"));
    let store = Store::create(&place, &CreateOptions::default()).unwrap();
    View::new(store, ViewOptions::default()).unwrap()
}

fn write(view: &View, fh: u64, text: &str) {
    let written = view.write(&ME, fh, 0, text.as_bytes(), false).unwrap();
    assert_eq!(written as usize, text.len());
}

/// A file with this text that nobody has open and the kernel has forgotten.
fn file(view: &View, text: &str) {
    let (attr, opened) = view
        .create(&ME, ROOT, b"f", 0o644, 0, libc::O_RDWR)
        .unwrap();
    write(view, opened.fh, text);
    view.flush(opened.fh).unwrap();
    view.release(opened.fh).unwrap();
    view.forget(attr.ino, 1);
}

#[test]
fn a_file_that_could_not_be_committed_is_remembered_until_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let view = view(&dir);
    file(&view, "one\n");
    let attr = view.lookup(&ME, ROOT, b"f").unwrap();
    let fh = view.open(&ME, attr.ino, libc::O_RDWR).unwrap().fh;
    write(&view, fh, "second\n");
    SHORT_WRITE.set(Some(0));
    assert!(view.flush(fh).is_err());
    SHORT_WRITE.set(Some(0));
    view.release(fh).unwrap();
    view.forget(attr.ino, 1);
    // What was written is there for whoever comes next.
    let attr = view.lookup(&ME, ROOT, b"f").unwrap();
    assert_eq!(attr.size, 7);
    let fh = view.open(&ME, attr.ino, libc::O_RDWR).unwrap().fh;
    assert_eq!(view.read(fh, 0, 100).unwrap(), b"second\n");
    write(&view, fh, "third!\n");
    view.flush(fh).unwrap();
    view.release(fh).unwrap();
    view.forget(attr.ino, 1);
    // And no older working copy comes over it later.
    view.shutdown();
    let found = view.store().get(&Key::text("f")).unwrap();
    assert_eq!(found, Some(Value::Text("third!".into())));
    assert!(view.table.get(attr.ino).is_none(), "forgotten at last");
}

#[test]
fn a_file_that_lost_its_name_unnoticed_ends_as_one_without() {
    let dir = tempfile::tempdir().unwrap();
    let view = view(&dir);
    file(&view, "one\n");
    let attr = view.lookup(&ME, ROOT, b"f").unwrap();
    let fh = view.open(&ME, attr.ino, libc::O_RDWR).unwrap().fh;
    write(&view, fh, "second\n");
    let inode = view.table.get(attr.ino).unwrap();
    view.table.unlink(&inode);
    view.flush(fh).unwrap();
    assert_eq!(view.read(fh, 0, 100).unwrap(), b"second\n");
    view.release(fh).unwrap();
}

#[test]
fn directories_nest_to_a_limit_and_no_deeper() {
    let dir = tempfile::tempdir().unwrap();
    let view = view(&dir);
    let mut ino = ROOT;
    let mut depth = 0;
    let refused = loop {
        match view.mkdir(&ME, ino, b"d", 0o755, 0) {
            Ok(attr) => ino = attr.ino,
            Err(e) => break e,
        }
        depth += 1;
        assert!(depth < 5000);
    };
    assert!(depth >= 1000, "{depth}: {refused}");
    view.store().settle().unwrap();
    let (_, opened) = view.create(&ME, ino, b"f", 0o644, 0, libc::O_RDWR).unwrap();
    write(&view, opened.fh, "x");
    assert!(view.flush(opened.fh).is_err());
    view.release(opened.fh).unwrap();
    assert!(view.store().get(&Key::text("d")).unwrap().is_some());
}

#[test]
fn a_file_is_new_for_as_long_as_a_freed_name_is_remembered() {
    let at = |secs| Time { secs, nanos: 0 };
    for (birth, now, new) in [
        (1000, 1000, true),
        (1000, 1059, true),
        (1000, 1060, false),
        (-5, 1000, false),
        // The clock was set back.
        (1000, 900, true),
    ] {
        assert_eq!(hints::is_new(at(birth), at(now)), new, "{birth} {now}");
    }
}
