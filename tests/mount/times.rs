//! Which operations move which times, and that nothing else does.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use crate::harness::Mount;

/// Modification and change time in nanoseconds.
fn times(path: &Path) -> (i128, i128) {
    let meta = fs::symlink_metadata(path).unwrap();
    let join = |seconds, nanos| i128::from(seconds) * 1_000_000_000 + i128::from(nanos);
    (
        join(meta.mtime(), meta.mtime_nsec()),
        join(meta.ctime(), meta.ctime_nsec()),
    )
}

/// Which of the modification and change times of `path` a script moves.
#[track_caller]
fn moves(m: &Mount, path: &str, script: &str) -> (bool, bool) {
    let before = times(&m.path(path));
    sleep(Duration::from_millis(15));
    m.sh(script);
    let after = times(&m.path(path));
    assert!(after.1 >= before.1, "ctime went back: {script}");
    (before.0 != after.0, before.1 != after.1)
}

#[test]
fn operations_move_the_times_that_posix_says() {
    let m = Mount::new();
    m.sh("mkdir d d/sub; echo x > d/f; echo x > d/g");
    let (both, changed, none) = ((true, true), (false, true), (false, false));
    for (path, script, expected) in [
        (
            "d/f",
            "cat d/f; ls -l d; stat d/f; test -x d/f || true",
            none,
        ),
        ("d/f", "echo y > d/f", both),
        ("d/f", "echo y >> d/f", both),
        ("d/f", "printf z | dd of=d/f conv=notrunc status=none", both),
        ("d/f", "truncate -s 1 d/f", both),
        ("d/f", ": > d/f", both),
        ("d/f", "chmod 600 d/f", changed),
        ("d/f", "setfattr -n user.a -v b d/f", changed),
        ("d/f", "setfattr -x user.a d/f", changed),
        ("d/f", "mv d/f d/h; mv d/h d/f", changed),
        ("d", "cat d/f; ls d", none),
        ("d", "echo y > d/f; chmod 644 d/f", none),
        ("d", "echo x > d/new", both),
        ("d", "rm d/new", both),
        ("d", "mkdir d/dir", both),
        ("d", "rmdir d/dir", both),
        ("d", "mv d/g d/h", both),
        ("d", "ln -s f d/l", both),
        ("d", "echo x > d/sub/f", none),
        ("d/sub", "mv d/sub/f d/f2", both),
        ("d", "kfs put \"$M/d/f\" '\"api\"'", none),
        ("d/f", "kfs put \"$M/d/f\" '\"api 2\"'", both),
        ("d/h", "kfs put \"$M/d/f\" '\"api 3\"'", none),
    ] {
        assert_eq!(moves(&m, path, script), expected, "{script}");
    }
}

#[test]
fn times_are_kept_to_the_nanosecond_and_move_at_the_write() {
    let m = Mount::new();
    m.sh("mkdir d; echo x > d/f; ln -s f d/l");
    m.sh("touch -h -d '2001-02-03 04:05:06.123456789 UTC' d/l d/f d
          touch -a -d '1969-12-31 23:59:58.5 UTC' d/f");
    m.remount();
    for name in ["d", "d/f", "d/l"] {
        assert_eq!(times(&m.path(name)).0, 981_173_106_123_456_789, "{name}");
    }
    assert_eq!(fs::metadata(m.path("d/f")).unwrap().atime(), -2);
    let mut file = OpenOptions::new().write(true).open(m.path("d/f")).unwrap();
    file.write_all(b"y").unwrap();
    let written = times(&m.path("d/f")).0;
    sleep(Duration::from_millis(30));
    nix::unistd::close(file).unwrap();
    assert_eq!(
        times(&m.path("d/f")).0,
        written,
        "the commit is no modification"
    );
    m.remount();
    assert_eq!(times(&m.path("d/f")).0, written);
}

#[test]
fn what_is_not_touched_looks_the_same_after_a_remount() {
    let m = Mount::new();
    m.put("doc", "{:a {:b 1} :c [1 2]}");
    m.sh("mkdir -p x/y; echo a > x/y/f; ln -s f x/y/l; mkfifo x/p");
    let look = || m.sh("find . -printf '%p %i %m %U %G %s %T@ %C@ %A@ %n %y\\n' | sort");
    let before = look();
    for _ in 0..2 {
        m.remount();
        assert_eq!(look(), before);
    }
}
