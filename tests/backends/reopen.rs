//! A storage in a directory is the same after it was closed and opened.

use std::fs;
use std::time::Duration;

use konserve_fs::backend::{Access, BackendError, Batch, Precondition};

use crate::basics::{get, put};
use crate::storages::{Local, soon};

#[test]
fn blobs_are_there_after_reopening() {
    for local in Local::ALL {
        let dir = tempfile::tempdir().unwrap();
        let backend = local.create(&dir);
        let large = vec![9; 3 << 20];
        for number in 0..2000_u32 {
            put(
                &*backend,
                &number.to_be_bytes(),
                format!("blob {number}").as_bytes(),
            );
        }
        put(&*backend, b"large", &large);
        for number in 0..1000_u32 {
            backend
                .delete(&number.to_be_bytes(), Precondition::Any, soon())
                .unwrap();
        }
        let mut batch = Batch::new();
        batch
            .put(b"x", b"1", Precondition::Any)
            .delete(1000_u32.to_be_bytes(), Precondition::Any);
        backend.apply(batch, soon()).unwrap();
        drop(backend);
        for _ in 0..3 {
            let backend = local.open(&dir);
            let listed = backend.list(b"\0", None, 10_000, soon()).unwrap();
            assert_eq!(
                listed,
                (1001..2000_u32)
                    .map(|n| n.to_be_bytes().to_vec())
                    .collect::<Vec<_>>()
            );
            assert_eq!(
                get(&*backend, &1500_u32.to_be_bytes()).unwrap(),
                b"blob 1500"
            );
            assert_eq!(get(&*backend, b"x").unwrap(), b"1");
            assert!(get(&*backend, b"large").unwrap() == large);
        }
    }
}

#[test]
fn a_storage_is_made_once_and_opened_only_where_it_is() {
    for local in Local::ALL {
        let dir = tempfile::tempdir().unwrap();
        assert!(!local.exists(&dir));
        let missing = local.try_open(dir.path(), Access::ReadWrite, Duration::ZERO);
        assert!(
            matches!(missing, Err(BackendError::NotFound { .. })),
            "{missing:?}"
        );
        assert_eq!(
            fs::read_dir(dir.path()).unwrap().count(),
            0,
            "looking made something"
        );
        drop(local.create(&dir));
        assert!(local.exists(&dir));
        let again = local.try_create(dir.path());
        assert!(
            matches!(again, Err(BackendError::Exists { .. })),
            "{again:?}"
        );
    }
}

#[test]
fn a_storage_open_for_reading_takes_no_writes() {
    for local in Local::ALL {
        let dir = tempfile::tempdir().unwrap();
        put(&*local.create(&dir), b"a", b"1");
        let backend = local
            .try_open(dir.path(), Access::Read, Duration::ZERO)
            .unwrap();
        assert_eq!(get(&*backend, b"a").unwrap(), b"1");
        let refused = |outcome: Result<(), BackendError>| {
            assert!(
                matches!(outcome, Err(BackendError::ReadOnly { .. })),
                "{outcome:?}"
            );
        };
        refused(backend.put(b"a", b"2", Precondition::Any, soon()).map(drop));
        refused(backend.delete(b"a", Precondition::Any, soon()).map(drop));
        refused(backend.apply(Batch::new(), soon()));
        assert_eq!(get(&*backend, b"a").unwrap(), b"1");
    }
}
