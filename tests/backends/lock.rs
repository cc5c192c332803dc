//! One process at a time has a storage in a directory open to write; several have it to read.

use std::fs::{self, File};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use konserve_fs::backend::{Access, BackendError};

use crate::kill::Child;
use crate::storages::Local;

#[test]
fn a_second_opener_is_told_the_holder() {
    for local in Local::ALL {
        let dir = tempfile::tempdir().unwrap();
        drop(local.create(&dir));
        let mut child = Child::start("hold", local, dir.path());
        assert_eq!(child.line().as_deref(), Some("ready"));
        for access in [Access::Read, Access::ReadWrite] {
            let outcome = local.try_open(dir.path(), access, Duration::ZERO);
            let Err(BackendError::LockHeld { pid, path }) = outcome else {
                panic!("{outcome:?}")
            };
            assert_eq!(pid, Some(child.id()));
            assert_eq!(path, dir.path().join("kfs.lock"));
        }
        child.kill();
    }
}

#[test]
fn a_holder_that_left_no_number_is_not_taken_for_one_that_is_gone() {
    for local in Local::ALL {
        let dir = tempfile::tempdir().unwrap();
        drop(local.create(&dir));
        let path = dir.path().join("kfs.lock");
        // As of a reader that may not write the file.
        fs::write(&path, "4194305\n").unwrap();
        let reader = File::open(&path).unwrap();
        reader.try_lock_shared().unwrap();
        let outcome = local.try_open(dir.path(), Access::ReadWrite, Duration::ZERO);
        let Err(BackendError::LockHeld { pid, .. }) = outcome else {
            panic!("{outcome:?}")
        };
        assert_eq!(pid, None);
    }
}

#[test]
fn an_opener_waits_for_a_holder_that_goes() {
    for local in Local::ALL {
        let dir = tempfile::tempdir().unwrap();
        let holder = local.create(&dir);
        let start = Instant::now();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                local
                    .try_open(dir.path(), Access::ReadWrite, Duration::from_secs(30))
                    .unwrap();
            });
            std::thread::sleep(Duration::from_millis(200));
            drop(holder);
        });
        assert!(start.elapsed() < Duration::from_secs(20));
    }
}

#[test]
fn a_holder_that_went_holds_nothing_while_processes_are_started() {
    for local in Local::ALL {
        let dir = tempfile::tempdir().unwrap();
        drop(local.create(&dir));
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
                let opened = local.try_open(dir.path(), Access::ReadWrite, Duration::ZERO);
                opened.err()
            });
            done.store(true, Ordering::Relaxed);
            assert!(failure.is_none(), "{failure:?}");
        });
    }
}

#[test]
fn a_killed_holder_holds_nothing() {
    for local in Local::ALL {
        let dir = tempfile::tempdir().unwrap();
        drop(local.create(&dir));
        let mut child = Child::start("hold", local, dir.path());
        assert_eq!(child.line().as_deref(), Some("ready"));
        child.kill();
        local
            .try_open(dir.path(), Access::ReadWrite, Duration::ZERO)
            .unwrap();
    }
}

#[test]
fn readers_share_a_storage_and_keep_writers_out() {
    for local in Local::ALL {
        let dir = tempfile::tempdir().unwrap();
        drop(local.create(&dir));
        // With the lock file, and where somebody has removed it.
        for _ in 0..2 {
            let open = |access| local.try_open(dir.path(), access, Duration::ZERO);
            let readers = [open(Access::Read).unwrap(), open(Access::Read).unwrap()];
            let writer = open(Access::ReadWrite);
            assert!(
                matches!(writer, Err(BackendError::LockHeld { pid: None, .. })),
                "{writer:?}"
            );
            drop(readers);
            let writer = open(Access::ReadWrite).unwrap();
            let reader = open(Access::Read);
            assert!(
                matches!(reader, Err(BackendError::LockHeld { .. })),
                "{reader:?}"
            );
            drop(writer);
            fs::remove_file(dir.path().join("kfs.lock")).unwrap();
        }
    }
}
