//! What failures below leave behind.

mod faults;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::header::Header;
use super::*;
use crate::backend::faulty::{Faults, Faulty};
use crate::backend::memory::Memory;
use crate::backend::{
    Backend, Batch, Blob, Capabilities, Deadline, Precondition, Result as Done, Written,
};
use crate::codec::Settings;
use crate::journal::faults::{SHORT_WRITE, SYNCS_TO_FAILURE};
use crate::value::Value;

fn embedded(dir: &tempfile::TempDir) -> (Location, Store) {
    let place = Location::Embedded(dir.path().join("s"));
    let store = Store::create(&place, &CreateOptions::default()).unwrap();
    // Only the folds that a test asks for.
    store.stop_folding();
    (place, store)
}

fn reopened(store: Store, place: &Location) -> Store {
    drop(store);
    Store::connect(place, &ConnectOptions::default()).unwrap()
}

fn folded(store: &Store) -> u64 {
    let backend = store.pager().backend();
    let deadline = Deadline::after(crate::tree::PATIENCE);
    let header = Header::read(&**backend, store.location(), deadline);
    header.unwrap().unwrap().folded
}

fn segments(place: &Location) -> Vec<PathBuf> {
    let Location::Embedded(dir) = place else {
        panic!("not on disk")
    };
    let files = fs::read_dir(dir.join("journal")).unwrap();
    files
        .map(|file| file.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "journal"))
        .collect()
}

#[test]
fn what_the_journal_did_not_take_is_not_seen() {
    let dir = tempfile::tempdir().unwrap();
    let (place, store) = embedded(&dir);
    let key = Key::text("k");
    store.assoc(&key, &Value::Int(1)).unwrap();
    let last = store.last_seq();
    SHORT_WRITE.set(Some(10));
    assert!(store.assoc(&key, &Value::Int(2)).is_err());
    assert_eq!(store.get(&key).unwrap(), Some(Value::Int(1)));
    assert_eq!(store.last_seq(), last);
    store.assoc(&key, &Value::Int(3)).unwrap();
    let store = reopened(store, &place);
    assert_eq!(store.get(&key).unwrap(), Some(Value::Int(3)));
}

#[test]
fn what_is_not_folded_comes_back_from_the_journal() {
    let dir = tempfile::tempdir().unwrap();
    let (place, store) = embedded(&dir);
    let key = Key::text("k");
    store.assoc(&key, &Value::Int(1)).unwrap();
    assert_eq!(folded(&store), 0);
    let store = reopened(store, &place);
    assert_eq!(store.get(&key).unwrap(), Some(Value::Int(1)));
}

#[test]
fn records_are_folded_only_once_the_journal_is_durable() {
    let dir = tempfile::tempdir().unwrap();
    let (_, store) = embedded(&dir);
    let key = Key::text("k");
    store.unsynced().assoc(&key, &Value::Int(1)).unwrap();
    SYNCS_TO_FAILURE.set(Some(0));
    let failed = store.fold_now();
    assert!(matches!(failed, Err(StoreError::Journal(_))), "{failed:?}");
    assert_eq!(folded(&store), 0);
}

#[test]
fn the_journal_is_kept_until_the_records_are_durable() {
    let dir = tempfile::tempdir().unwrap();
    let (place, store) = embedded(&dir);
    let text = Value::Text("t".repeat(200 << 10));
    for i in 0..8 {
        let key = Key::text(&format!("k{i}"));
        store.unsynced().assoc(&key, &text).unwrap();
    }
    store.sync().unwrap();
    // The journal is durable; this is the sync of the records.
    SYNCS_TO_FAILURE.set(Some(0));
    assert!(store.fold_now().is_err());
    assert_eq!(segments(&place).len(), 1);
    let store = reopened(store, &place);
    for i in 0..8 {
        let key = Key::text(&format!("k{i}"));
        assert_eq!(store.get(&key).unwrap().as_ref(), Some(&text));
    }
    store.settle().unwrap();
    assert!(segments(&place).is_empty());
}

/// A store without a journal over a backend.
fn over(backend: &Arc<Faulty>, header: &Header) -> Store {
    let place = Location::Memory(header.id);
    let backend: Arc<dyn Backend> = Arc::clone(backend) as _;
    let store = Store::start(&place, backend, None, header, &ConnectOptions::default()).unwrap();
    store.stop_folding();
    store
}

#[test]
fn a_fold_that_failed_anywhere_is_made_good_by_the_next() {
    for seed in 0..60_u64 {
        let backend = Arc::new(Faulty::new(Arc::new(Memory::new()), Faults::default()));
        let header = Header {
            id: Uuid::from_u128(seed.into()),
            pages: Uuid::from_u128(seed.into()),
            format: FORMAT,
            created: Time::now(),
            settings: Settings::default(),
            folded: 0,
            clock: Time::now(),
        };
        let store = over(&backend, &header).unsynced();
        let mut model: BTreeMap<Vec<Key>, i64> = BTreeMap::new();
        let mut random = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        let mut below = |n: u64| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random % n
        };
        for round in 0..12 {
            for _ in 0..60 {
                let path = [below(3), below(150)].map(|n| Key::text(&format!("key {n}")));
                let value = i64::try_from(below(1 << 40)).unwrap();
                if below(4) == 0 {
                    let _ = store.dissoc_in(&path).unwrap();
                    model.remove(&path[..]);
                } else {
                    store.assoc_in(&path, &Value::Int(value)).unwrap();
                    model.insert(path.to_vec(), value);
                }
            }
            let (error, lost_reply) = if round % 2 == 0 { (300, 0) } else { (0, 300) };
            backend.set_faults(Faults {
                seed: seed * 100 + round,
                no_space: error,
                lost_reply,
                ..Faults::default()
            });
            let _ = store.fold_now();
            let _ = store.fold_now();
            backend.set_faults(Faults::default());
        }
        store.settle().unwrap();
        let stored = over(&backend, &header);
        for store in [&store, &stored] {
            for (path, value) in &model {
                let found = store.get_in(path).unwrap();
                assert_eq!(found, Some(Value::Int(*value)), "seed {seed}: {path:?}");
            }
            let count: usize = (0..3)
                .map(|i| match store.get(&Key::text(&format!("key {i}"))) {
                    Ok(Some(Value::Map(map))) => map.len(),
                    Ok(None) => 0,
                    other => panic!("seed {seed}: {other:?}"),
                })
                .sum();
            assert_eq!(count, model.len(), "seed {seed}");
        }
        assert_eq!(store.inner.folding.lock().records_taken(), 0, "seed {seed}");
    }
}

/// A storage that does one thing at a time.
#[derive(Debug, Default)]
struct Single(Memory);

impl Backend for Single {
    fn name(&self) -> &'static str {
        "single"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            atomic_batch: false,
            ..self.0.capabilities()
        }
    }

    fn get(&self, address: &[u8], deadline: Deadline) -> Done<Option<Blob>> {
        self.0.get(address, deadline)
    }

    fn put(
        &self,
        address: &[u8],
        bytes: &[u8],
        precondition: Precondition,
        deadline: Deadline,
    ) -> Done<Written> {
        self.0.put(address, bytes, precondition, deadline)
    }

    fn delete(&self, address: &[u8], precondition: Precondition, deadline: Deadline) -> Done<bool> {
        self.0.delete(address, precondition, deadline)
    }

    fn list(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
        deadline: Deadline,
    ) -> Done<Vec<Vec<u8>>> {
        self.0.list(prefix, after, limit, deadline)
    }

    fn apply(&self, _: Batch, _: Deadline) -> Done<()> {
        panic!("not asked for")
    }

    fn sync(&self, deadline: Deadline) -> Done<()> {
        self.0.sync(deadline)
    }
}

#[test]
fn where_only_one_key_can_be_written_several_are_refused_before_anything_is() {
    let id = Uuid::from_u128(9);
    let store = Store::over(Arc::new(Single::default()), id).unwrap();
    let store = std::mem::ManuallyDrop::new(store.unsynced());
    assert!(!store.is_multi_key());
    let (a, b) = (Key::text("a"), Key::text("b"));
    // The root directory changes with it, and is no key.
    store.assoc(&a, &Value::Map(BTreeMap::new())).unwrap();
    let before = store.last_seq();
    let values = [(a.clone(), Value::Int(2)), (b.clone(), Value::Int(2))];
    let refused = store.multi_assoc(values.iter().map(|(k, v)| (k, v)));
    assert!(matches!(refused, Err(StoreError::NotMultiKey)));
    let refused = store.rename(std::slice::from_ref(&a), std::slice::from_ref(&b), false);
    assert!(matches!(refused, Err(StoreError::NotMultiKey)));
    assert_eq!((store.last_seq(), store.get(&b).unwrap()), (before, None));
    assert!(store.multi_dissoc(std::slice::from_ref(&a)).unwrap()[&a]);
}
