//! Files while they are open.

use konserve_fs::view::Caller;

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
