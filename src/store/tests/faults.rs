//! Stores on disk over a backend that fails on purpose.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use super::*;
use crate::backend::Access;
use crate::backend::embedded::Embedded;

/// Numbers from a seed (SplitMix64).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit
    }

    /// Something small, or large enough for pages of its own.
    fn value(&mut self) -> Value {
        let letter = char::from(b'a' + u8::try_from(self.below(26)).unwrap());
        let length = if self.below(8) == 0 { 300_000 } else { 50 };
        Value::Text(letter.to_string().repeat(length))
    }

    fn key(&mut self) -> Key {
        Key::text(&format!("key {}", self.below(6)))
    }
}

/// The store in `dir`, with no faults yet.
fn open(dir: &Path) -> (Arc<Faulty>, Store) {
    let embedded = Embedded::open(dir, Access::ReadWrite, Duration::from_secs(10)).unwrap();
    let backend = Arc::new(Faulty::new(Arc::new(embedded), Faults::default()));
    let place = Location::Embedded(dir.to_owned());
    let deadline = Deadline::after(crate::tree::PATIENCE);
    let header = Header::read(&*backend, &place, deadline).unwrap().unwrap();
    let options = ConnectOptions::default();
    let store = Store::start(&place, Arc::clone(&backend) as _, None, &header, &options).unwrap();
    store.stop_folding();
    (backend, store)
}

fn new_store() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let place = Location::Embedded(dir.path().to_owned());
    drop(Store::create(&place, &CreateOptions::default()).unwrap());
    dir
}

#[test]
fn what_was_acknowledged_is_there_whatever_fails_below() {
    let mut failed = 0;
    for seed in 0..8 {
        let dir = new_store();
        let mut random = Random(seed);
        // What each key may have: one value, or also what writes that failed may have left.
        let mut model: BTreeMap<Key, BTreeSet<Option<Value>>> = BTreeMap::new();
        for round in 0..5 {
            let (backend, store) = open(dir.path());
            backend.set_faults(Faults {
                seed: seed * 100 + round,
                error: 60,
                no_space: 60,
                lost_reply: 60,
                delay: 100,
                longest_delay: Duration::from_millis(1),
                ..Faults::default()
            });
            for _ in 0..40 {
                let (key, value) = (random.key(), random.value());
                let handle = if random.below(2) == 0 {
                    store.clone()
                } else {
                    store.unsynced()
                };
                let possible = model
                    .entry(key.clone())
                    .or_insert_with(|| BTreeSet::from([None]));
                let (outcome, new) = match random.below(6) {
                    0 => (handle.dissoc(&key).map(drop), None),
                    1 => {
                        failed += u32::from(store.fold_now().is_err());
                        continue;
                    }
                    2 => {
                        failed += u32::from(store.sync().is_err());
                        continue;
                    }
                    _ => (handle.assoc(&key, &value).map(drop), Some(value)),
                };
                if outcome.is_ok() {
                    possible.clear();
                }
                failed += u32::from(outcome.is_err());
                possible.insert(new);
            }
            backend.set_faults(Faults::default());
            for (key, possible) in &mut model {
                let found = store.get(key).unwrap();
                assert!(
                    possible.contains(&found),
                    "seed {seed}, round {round}: {key:?}"
                );
                *possible = BTreeSet::from([found]);
            }
            if random.below(2) == 0 {
                store.release().unwrap();
            }
        }
        let (_, store) = open(dir.path());
        for (key, possible) in &model {
            let found = store.get(key).unwrap();
            assert!(possible.contains(&found), "seed {seed}: {key:?}");
        }
    }
    assert!(failed > 100, "only {failed} operations have failed");
}

#[test]
fn what_is_read_damaged_is_an_error_and_never_a_value() {
    let dir = new_store();
    let mut random = Random(7);
    let mut model: BTreeMap<Key, Value> = BTreeMap::new();
    let (_, store) = open(dir.path());
    for _ in 0..30 {
        let (key, value) = (random.key(), random.value());
        store.assoc(&key, &value).unwrap();
        model.insert(key, value);
    }
    store.release().unwrap();
    let (mut refused, mut right) = (0, 0);
    for seed in 0..40 {
        let (backend, store) = open(dir.path());
        backend.set_faults(Faults {
            seed,
            flip: 150,
            truncate: 150,
            ..Faults::default()
        });
        for (key, value) in &model {
            match store.get(key) {
                Ok(found) => {
                    assert_eq!(found.as_ref(), Some(value), "seed {seed}: {key:?}");
                    right += 1;
                }
                Err(_) => refused += 1,
            }
        }
    }
    assert!(
        refused > 30 && right > 30,
        "{refused} refused, {right} right"
    );
}
