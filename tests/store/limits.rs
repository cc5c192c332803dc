//! What is too large or too deep to be folded is refused, never acknowledged and then stuck.

use std::collections::BTreeMap;

use konserve_fs::store::{ConnectOptions, CreateOptions, Location, Store};
use konserve_fs::value::{Key, Value};

fn embedded(dir: &tempfile::TempDir) -> (Location, Store) {
    let place = Location::Embedded(dir.path().join("s"));
    let store = Store::create(&place, &CreateOptions::default()).unwrap();
    (place, store)
}

/// Bytes that do not compress.
fn noise(len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().finalize_xof().fill(&mut bytes);
    bytes
}

/// A store that took something must be able to fold it and to take more.
fn takes_or_refuses(what: &str, put: impl FnOnce(&Store) -> bool) {
    let dir = tempfile::tempdir().unwrap();
    let (place, s) = embedded(&dir);
    let taken = put(&s);
    s.settle()
        .unwrap_or_else(|e| panic!("{what} (taken: {taken}): {e}"));
    s.assoc(&Key::text("after"), &Value::Int(1)).unwrap();
    s.release().unwrap();
    let s = Store::connect(&place, &ConnectOptions::default()).unwrap();
    assert_eq!(s.get(&Key::text("after")).unwrap(), Some(Value::Int(1)));
}

#[test]
fn a_list_too_large_for_a_page_does_not_stop_folding() {
    takes_or_refuses("a list", |s| {
        let list = Value::List(vec![Value::Bytes(noise(40 << 20))]);
        s.assoc(&Key::text("k"), &list).is_ok()
    });
}

#[test]
fn a_key_too_large_for_a_record_does_not_stop_folding() {
    takes_or_refuses("a key", |s| {
        let key = Key::new(&Value::Bytes(noise(40 << 20)));
        s.assoc(&key, &Value::Int(1)).is_ok()
    });
}

#[test]
fn keys_too_large_for_a_run_do_not_stop_folding() {
    takes_or_refuses("keys", |s| {
        let mut taken = true;
        s.assoc(&Key::text("k"), &Value::Map(BTreeMap::new()))
            .unwrap();
        for i in 0..40u8 {
            let mut bytes = noise(2 << 20);
            bytes[0] = i;
            let key = Key::new(&Value::Bytes(bytes));
            taken &= s.assoc_in(&[Key::text("k"), key], &Value::Int(1)).is_ok();
        }
        taken
    });
}

#[test]
fn more_records_than_fit_one_batch_do_not_stop_folding() {
    takes_or_refuses("records", |s| {
        // A small step in each of many documents whose records are large.
        let s = s.unsynced();
        let text = Value::List(vec![Value::Bytes(noise(4000))]);
        s.transact(|tx| {
            for i in 0..15_000 {
                tx.assoc_in(&[Key::text(&format!("k{i}"))], &text)?;
            }
            Ok(())
        })
        .is_ok()
    });
}

#[test]
fn a_tree_cannot_grow_too_deep_by_renames() {
    let dir = tempfile::tempdir().unwrap();
    let (place, store) = embedded(&dir);
    let s = store.unsynced();
    drop(store);
    let steps: Vec<Key> = (0..900).map(|i| Key::text(&format!("k{i}"))).collect();
    let mut taken = 0;
    for i in 0..40 {
        let (top, next) = (
            Key::text(&format!("d{i}")),
            Key::text(&format!("d{}", i + 1)),
        );
        if i == 0 {
            let at: Vec<Key> = std::iter::once(top.clone())
                .chain(steps.iter().cloned())
                .collect();
            s.assoc_in(&at, &Value::Int(1)).unwrap();
        }
        let above: Vec<Key> = std::iter::once(next).chain(steps.iter().cloned()).collect();
        s.assoc_in(&above, &Value::Map(BTreeMap::new())).unwrap();
        let to: Vec<Key> = above.into_iter().chain([Key::text("x")]).collect();
        if s.rename(&[top], &to, false).is_err() {
            break;
        }
        taken += 1;
    }
    assert!(taken < 39, "{taken} renames");
    s.settle().unwrap();
    s.release().unwrap();
    drop(Store::connect(&place, &ConnectOptions::default()).unwrap());
}
