//! A store in a storage that is none of the crate's.

use std::fs;

use konserve_fs::backend::BackendError;
use konserve_fs::store::{ConnectOptions, CreateOptions, Location, Store, StoreError};
use konserve_fs::value::{Key, Value};

use crate::example::location;

fn read_only() -> ConnectOptions {
    ConnectOptions {
        read_only: true,
        ..ConnectOptions::default()
    }
}

#[test]
fn a_store_is_kept_in_a_storage_of_the_programs_own() {
    let dir = tempfile::tempdir().unwrap();
    let at = location(dir.path());
    assert!(!Store::exists(&at));
    let store = Store::create(&at, &CreateOptions::default()).unwrap();
    let path = [Key::text("a"), Key::text("b")];
    store.assoc_in(&path, &Value::Int(1)).unwrap();
    // What is in the journal only, and what is folded.
    store.settle().unwrap();
    store.assoc_in(&path, &Value::Int(2)).unwrap();
    let held = Store::connect(&at, &ConnectOptions::default());
    assert!(matches!(held, Err(StoreError::InUse { .. })), "{held:?}");
    let id = store.id();
    drop(store);

    assert!(Store::exists(&at));
    let again = Store::create(&at, &CreateOptions::default());
    assert!(matches!(again, Err(StoreError::Exists { .. })), "{again:?}");
    let before = fs::read(dir.path().join("one-file")).unwrap();
    let store = Store::connect(&at, &read_only()).unwrap();
    assert_eq!(store.get_in(&path).unwrap(), Some(Value::Int(2)));
    let refused = store.assoc_in(&path, &Value::Int(3));
    assert!(refused.is_err());
    drop(store);
    assert_eq!(fs::read(dir.path().join("one-file")).unwrap(), before);

    let store = Store::connect(&at, &ConnectOptions::default()).unwrap();
    assert_eq!(store.get_in(&path).unwrap(), Some(Value::Int(2)));
    assert_eq!(store.id(), id);
    store.release().unwrap();

    fs::write(dir.path().join("mine"), "kept").unwrap();
    Store::delete(&at, id).unwrap();
    let left: Vec<_> = fs::read_dir(dir.path()).unwrap().flatten().collect();
    assert_eq!(left.len(), 1, "{left:?}");
    assert!(!Store::exists(&at));
}

#[test]
fn a_store_in_a_storage_of_the_programs_own_is_found_damaged() {
    let dir = tempfile::tempdir().unwrap();
    let at = location(dir.path());
    let store = Store::create(&at, &CreateOptions::default()).unwrap();
    store.assoc_in(&[Key::text("a")], &Value::Int(1)).unwrap();
    store.release().unwrap();
    let path = dir.path().join("one-file");
    let mut bytes = fs::read(&path).unwrap();
    bytes[30] ^= 1;
    fs::write(&path, bytes).unwrap();
    let found = Store::connect(&at, &ConnectOptions::default());
    let refused = matches!(
        found,
        Err(StoreError::NotAStore { .. } | StoreError::Backend(BackendError::Damage { .. }))
    );
    assert!(refused, "{found:?}");
}

#[test]
fn a_directory_with_another_store_is_no_place_for_one() {
    let dir = tempfile::tempdir().unwrap();
    let embedded = Location::Embedded(dir.path().to_owned());
    drop(Store::create(&embedded, &CreateOptions::default()).unwrap());
    let refused = Store::create(&location(dir.path()), &CreateOptions::default());
    assert!(
        matches!(refused, Err(StoreError::Exists { .. })),
        "{refused:?}"
    );
    let missing = Store::connect(&location(dir.path()), &ConnectOptions::default());
    assert!(
        matches!(missing, Err(StoreError::NotAStore { .. })),
        "{missing:?}"
    );
}
