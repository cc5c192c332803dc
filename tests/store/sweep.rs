//! Evicting keys that were not written for long.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use konserve_fs::gc::{Sweep, sweep};
use konserve_fs::store::{Committed, CreateOptions, Location, Observer, Store};
use konserve_fs::tree::Time;
use konserve_fs::value::{Key, Value};

fn memory() -> Store {
    Store::create(&Location::parse("mem:").unwrap(), &CreateOptions::default()).unwrap()
}

fn last_writes(store: &Store) -> BTreeMap<Key, Time> {
    let (docs, more) = store.docs_after(None, usize::MAX).unwrap();
    assert!(!more);
    docs.into_iter()
        .map(|(key, doc)| (key, doc.last_write))
        .collect()
}

fn before(cutoff: Time) -> Sweep {
    Sweep {
        cutoff,
        keep: HashSet::new(),
        dry_run: false,
    }
}

fn swept(store: &Store, what: &Sweep) -> Vec<String> {
    let mut keys: Vec<String> = sweep(store, what, &AtomicBool::new(false))
        .unwrap()
        .iter()
        .map(ToString::to_string)
        .collect();
    keys.sort();
    keys
}

#[test]
fn what_was_written_before_goes_and_what_was_written_then_stays() {
    let store = memory();
    for name in ["a", "b", "c", "d"] {
        store.assoc(&Key::text(name), &Value::Int(1)).unwrap();
    }
    let cutoff = last_writes(&store)[&Key::text("c")];
    let mut what = before(cutoff);
    what.keep.insert(Key::text("a"));
    what.dry_run = true;
    assert_eq!(swept(&store, &what), ["\"b\""]);
    assert_eq!(last_writes(&store).len(), 4);
    what.dry_run = false;
    assert_eq!(swept(&store, &what), ["\"b\""]);
    let left: Vec<Key> = last_writes(&store).into_keys().collect();
    assert_eq!(left, ["a", "c", "d"].map(Key::text));
    assert_eq!(swept(&store, &what), [""; 0]);
}

#[test]
fn a_write_below_a_key_makes_it_new() {
    let store = memory();
    let path = [Key::text("a"), Key::text("b")];
    store.assoc_in(&path, &Value::Int(1)).unwrap();
    store.assoc(&Key::text("z"), &Value::Int(1)).unwrap();
    let cutoff = last_writes(&store)[&Key::text("z")];
    store.assoc_in(&path, &Value::Int(2)).unwrap();
    assert_eq!(swept(&store, &before(cutoff)), [""; 0]);
}

#[test]
fn more_keys_than_are_looked_at_at_once_all_go() {
    let store = memory();
    for n in 0..2500 {
        store.assoc(&Key::index(n), &Value::Int(1)).unwrap();
    }
    assert_eq!(swept(&store, &before(store.now())).len(), 2500);
    assert_eq!(last_writes(&store).len(), 0);
}

/// Each key is written while a sweep is about to evict its old version.
#[test]
fn nothing_that_is_written_during_a_sweep_goes() {
    let store = memory().unsynced();
    let keys: Vec<Key> = (0..24).map(Key::index).collect();
    let mut gone = 0;
    for round in 0..200 {
        for key in &keys {
            store.assoc(key, &Value::Int(-1)).unwrap();
        }
        let what = before(store.now());
        thread::scope(|scope| {
            let sweeper = scope.spawn(|| sweep(&store, &what, &AtomicBool::new(false)).unwrap());
            for part in 0..3 {
                let (store, keys) = (&store, &keys);
                scope.spawn(move || {
                    for key in keys.iter().skip(part).step_by(3) {
                        store.assoc(key, &Value::Int(round)).unwrap();
                    }
                });
            }
            gone += sweeper.join().unwrap().len();
        });
        for key in &keys {
            assert_eq!(store.get(key).unwrap(), Some(Value::Int(round)), "{key}");
        }
    }
    assert!(gone > 0, "no sweep came before a write");
}

/// Is at work on a key from when it was asked for the second time.
#[derive(Default)]
struct Worker(AtomicBool);

impl Observer for Worker {
    fn committed(&self, _: &Committed<'_>) {}

    fn is_in_use(&self, _: &Key) -> bool {
        self.0.swap(true, Ordering::Relaxed)
    }
}

#[test]
fn what_somebody_begins_to_work_on_before_it_goes_stays() {
    let store = memory();
    store.assoc(&Key::text("a"), &Value::Int(1)).unwrap();
    store.observe(Arc::new(Worker::default()));
    assert_eq!(swept(&store, &before(store.now())), [""; 0]);
    assert_eq!(last_writes(&store).len(), 1);
}
