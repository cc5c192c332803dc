//! Files while they are open.

use konserve_fs::view::{Caller, ViewError};

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
