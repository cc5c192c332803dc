//! Storages that a database library keeps.

use std::time::Duration;

use konserve_fs::backend::library::Library;
use konserve_fs::backend::{Access, BackendError};

#[test]
fn a_build_without_the_library_says_which_feature_it_needs() {
    for library in Library::ALL {
        let dir = tempfile::tempdir().unwrap();
        let created = library.create(dir.path(), Duration::ZERO);
        if library.is_built() {
            drop(created.unwrap());
            library
                .open(dir.path(), Access::Read, Duration::ZERO)
                .unwrap();
            continue;
        }
        let opened = library.open(dir.path(), Access::Read, Duration::ZERO);
        for outcome in [created, opened] {
            let Err(error @ BackendError::NotBuilt { .. }) = outcome else {
                panic!("{outcome:?}");
            };
            let needed = format!("--features {}", library.name());
            assert!(error.to_string().contains(&needed), "{error}");
        }
    }
}

#[cfg(feature = "lmdb")]
mod built {
    use std::collections::BTreeMap;
    use std::fs;
    use std::path::{Path, PathBuf};
    use std::time::Duration;

    use konserve_fs::backend::{Access, BackendError, Batch, MAX_BLOB, Precondition};
    use tempfile::TempDir;

    use crate::basics::{get, put};
    use crate::storages::{Local, soon};

    const LIBRARIES: &[Local] = &[
        #[cfg(feature = "lmdb")]
        Local::Lmdb,
    ];

    fn root(local: Local, dir: &TempDir) -> PathBuf {
        dir.path().join(local.name().to_lowercase())
    }

    /// All files below a directory with their content, but for the lock.
    fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut found = BTreeMap::new();
        for entry in fs::read_dir(dir).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() {
                found.extend(files(&entry.path()));
            } else if entry.file_name() != "kfs.lock" {
                found.insert(entry.path(), fs::read(entry.path()).unwrap());
            }
        }
        found
    }

    #[test]
    fn reading_only_changes_nothing_on_disk() {
        for local in LIBRARIES {
            let dir = tempfile::tempdir().unwrap();
            put(&*local.create(&dir), b"a", b"1");
            // What every opening to write brings with it.
            drop(local.open(&dir));
            let before = files(dir.path());
            let backend = local
                .try_open(dir.path(), Access::Read, Duration::ZERO)
                .unwrap();
            assert_eq!(get(&*backend, b"a").unwrap(), b"1");
            assert_eq!(backend.list(b"", None, 10, soon()).unwrap(), [b"a"]);
            backend.sync(soon()).unwrap();
            drop(backend);
            let after = files(dir.path());
            assert!(before.keys().eq(after.keys()), "{:?}", after.keys());
            assert!(before == after, "{local:?}");
        }
    }

    #[test]
    fn a_creation_that_was_cut_short_behind_the_identity_is_complete() {
        for local in LIBRARIES {
            let dir = tempfile::tempdir().unwrap();
            drop(local.create(&dir));
            let (data, new) = (
                root(*local, &dir).join("db"),
                root(*local, &dir).join("new"),
            );
            fs::rename(&data, &new).unwrap();
            let reader = local.try_open(dir.path(), Access::Read, Duration::ZERO);
            assert_eq!(get(&*reader.unwrap(), b"a"), None);
            assert!(new.exists());
            put(&*local.open(&dir), b"a", b"1");
            assert!(data.exists() && !new.exists());
            assert_eq!(get(&*local.open(&dir), b"a").unwrap(), b"1");
        }
    }

    #[test]
    fn a_creation_that_was_cut_short_before_is_made_anew() {
        for local in LIBRARIES {
            let dir = tempfile::tempdir().unwrap();
            put(&*local.create(&dir), b"a", b"1");
            let root = root(*local, &dir);
            fs::rename(root.join("db"), root.join("new")).unwrap();
            fs::remove_file(root.join("identity")).unwrap();
            assert!(!local.exists(&dir));
            assert_eq!(get(&*local.create(&dir), b"a"), None);
        }
    }

    #[test]
    fn a_storage_that_lost_its_identity_is_not_made_anew() {
        for local in LIBRARIES {
            let dir = tempfile::tempdir().unwrap();
            drop(local.create(&dir));
            fs::remove_file(root(*local, &dir).join("identity")).unwrap();
            let created = local.try_create(dir.path());
            assert!(
                matches!(created, Err(BackendError::Exists { .. })),
                "{created:?}"
            );
            let opened = local.try_open(dir.path(), Access::Read, Duration::ZERO);
            assert!(
                matches!(opened, Err(BackendError::Damage { .. })),
                "{opened:?}"
            );
        }
    }

    #[test]
    fn a_storage_that_lost_its_files_is_damaged_and_not_empty() {
        for local in LIBRARIES {
            for access in [Access::Read, Access::ReadWrite] {
                let dir = tempfile::tempdir().unwrap();
                put(&*local.create(&dir), b"a", b"1");
                let data = root(*local, &dir).join("db");
                let open = || local.try_open(dir.path(), access, Duration::ZERO);
                for name in files(&data).keys() {
                    fs::write(name, b"").unwrap();
                }
                let emptied = open();
                assert!(
                    matches!(emptied, Err(BackendError::Damage { .. })),
                    "{emptied:?}"
                );
                for name in files(&data).keys() {
                    fs::remove_file(name).unwrap();
                }
                let removed = open();
                assert!(
                    matches!(removed, Err(BackendError::Damage { .. })),
                    "{removed:?}"
                );
            }
        }
    }

    #[test]
    fn a_storage_grows_as_it_is_filled() {
        for local in LIBRARIES {
            let dir = tempfile::tempdir().unwrap();
            let backend = local.create(&dir);
            let large = vec![7; usize::try_from(MAX_BLOB).unwrap()];
            for number in 0..3_u8 {
                put(&*backend, &[number], &large);
            }
            let part = &large[..20 << 20];
            for number in 3..7_u8 {
                let mut batch = Batch::new();
                batch.put([number, 0], part, Precondition::Any).put(
                    [number, 1],
                    part,
                    Precondition::Absent,
                );
                backend.apply(batch, soon()).unwrap();
            }
            drop(backend);
            let backend = local.open(&dir);
            assert!((0..3).all(|number| get(&*backend, &[number]).unwrap() == large));
            assert!((3..7).all(|number| get(&*backend, &[number, 1]).unwrap() == part));
            put(&*backend, b"more", part);
        }
    }

    #[test]
    fn a_storage_grows_while_it_is_read() {
        for local in LIBRARIES {
            let dir = tempfile::tempdir().unwrap();
            let backend = local.create(&dir);
            let blob = |number: u8| vec![number; 1 << 20];
            put(&*backend, &[0], &blob(0));
            std::thread::scope(|scope| {
                let writer = scope.spawn(|| {
                    for number in 1..150 {
                        put(&*backend, &[number], &blob(number));
                    }
                });
                while !writer.is_finished() {
                    assert!(get(&*backend, &[0]).unwrap() == blob(0));
                    backend.list(b"", None, 1000, soon()).unwrap();
                }
            });
            assert_eq!(backend.list(b"", None, 1000, soon()).unwrap().len(), 150);
        }
    }

    #[cfg(feature = "lmdb")]
    #[test]
    fn a_flipped_bit_in_a_blob_of_lmdb_is_damage() {
        let dir = tempfile::tempdir().unwrap();
        let content = vec![0xAB; 1000];
        put(&*Local::Lmdb.create(&dir), b"a", &content);
        let path = root(Local::Lmdb, &dir).join("db/data.mdb");
        let mut bytes = fs::read(&path).unwrap();
        let runs = bytes.windows(1000).enumerate();
        let starts: Vec<usize> = runs
            .filter(|(_, run)| *run == content)
            .map(|(at, _)| at)
            .collect();
        assert!(!starts.is_empty());
        for start in starts {
            bytes[start + 500] ^= 1;
        }
        fs::write(&path, bytes).unwrap();
        let backend = Local::Lmdb.open(&dir);
        for outcome in [
            backend.get(b"a", soon()).map(drop),
            backend.get_range(b"a", 0..1, soon()).map(drop),
            backend
                .put(b"a", b"", Precondition::Absent, soon())
                .map(drop),
        ] {
            assert!(
                matches!(outcome, Err(BackendError::Damage { .. })),
                "{outcome:?}"
            );
        }
        // It can be replaced and removed.
        assert!(backend.delete(b"a", Precondition::Any, soon()).unwrap());
        assert_eq!(get(&*backend, b"a"), None);
    }
}
