//! One process at a time has the embedded storage open.

use std::fs::{self, File};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use konserve_fs::backend::BackendError;
use konserve_fs::backend::embedded::{Access, Embedded};

use crate::kill::Child;
use crate::storages::create;

#[test]
fn a_second_opener_is_told_the_holder() {
    let dir = tempfile::tempdir().unwrap();
    drop(create(&dir));
    let mut child = Child::start("hold", dir.path());
    assert_eq!(child.line().as_deref(), Some("ready"));
    for access in [Access::Read, Access::ReadWrite] {
        let outcome = Embedded::open(dir.path(), access, Duration::ZERO);
        let Err(BackendError::LockHeld { pid, path }) = outcome else {
            panic!("{outcome:?}")
        };
        assert_eq!(pid, Some(child.id()));
        assert_eq!(path, dir.path().join("kfs.lock"));
    }
    child.kill();
}

#[test]
fn a_holder_that_left_no_number_is_not_taken_for_one_that_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    drop(create(&dir));
    let path = dir.path().join("kfs.lock");
    // As of a reader that may not write the file.
    fs::write(&path, "4194305\n").unwrap();
    let reader = File::open(&path).unwrap();
    reader.try_lock_shared().unwrap();
    let outcome = Embedded::open(dir.path(), Access::ReadWrite, Duration::ZERO);
    let Err(BackendError::LockHeld { pid, .. }) = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!(pid, None);
}

#[test]
fn an_opener_waits_for_a_holder_that_goes() {
    let dir = tempfile::tempdir().unwrap();
    let holder = create(&dir);
    let start = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            Embedded::open(dir.path(), Access::ReadWrite, Duration::from_secs(30)).unwrap();
        });
        std::thread::sleep(Duration::from_millis(200));
        drop(holder);
    });
    assert!(start.elapsed() < Duration::from_secs(20));
}

#[test]
fn a_holder_that_went_holds_nothing_while_processes_are_started() {
    let dir = tempfile::tempdir().unwrap();
    drop(create(&dir));
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    // A new process has all files of this one until it runs its program.
                    Command::new("/bin/true").status().unwrap();
                }
            });
        }
        let failure = (0..500).find_map(|_| {
            let opened = Embedded::open(dir.path(), Access::ReadWrite, Duration::ZERO);
            opened.err()
        });
        done.store(true, Ordering::Relaxed);
        assert!(failure.is_none(), "{failure:?}");
    });
}

#[test]
fn a_killed_holder_holds_nothing() {
    let dir = tempfile::tempdir().unwrap();
    drop(create(&dir));
    let mut child = Child::start("hold", dir.path());
    assert_eq!(child.line().as_deref(), Some("ready"));
    child.kill();
    Embedded::open(dir.path(), Access::ReadWrite, Duration::ZERO).unwrap();
}
