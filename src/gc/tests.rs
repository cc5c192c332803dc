//! What happens at the worst moments of a round.

use std::collections::BTreeMap;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use parking_lot::Mutex;
use uuid::Uuid;

use super::*;
use crate::backend::memory::Memory;
use crate::backend::metered::read_by_this_thread;
use crate::backend::{
    Backend, Batch, Blob, Capabilities, Deadline, Precondition, Result as Done, Written,
};
use crate::tree::convert;
use crate::value::Value;

/// A moment in the work of a backend.
#[derive(PartialEq)]
enum Moment {
    /// Before the record of this key is read.
    Reading(Key),
    /// After it was read, before it is known above.
    HasRead(Key),
    /// Before records are written.
    WritingRecords,
}

type Action = Box<dyn FnOnce() + Send>;

/// A backend in which something happens at a moment, once.
#[derive(Default)]
struct Eventful {
    blobs: Memory,
    events: Mutex<Vec<(Moment, Action)>>,
}

impl std::fmt::Debug for Eventful {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Eventful")
    }
}

impl Eventful {
    fn at(&self, moment: Moment, action: impl FnOnce() + Send + 'static) {
        self.events.lock().push((moment, Box::new(action)));
    }

    fn come(&self, here: impl Fn(&Moment) -> bool) {
        let mut events = self.events.lock();
        let due = events.iter().position(|(moment, _)| here(moment));
        let due = due.map(|i| events.remove(i));
        drop(events);
        if let Some((_, action)) = due {
            action();
        }
    }
}

fn address(key: &Key) -> Vec<u8> {
    Store::listing_order(key)
}

impl Backend for Eventful {
    fn name(&self) -> &'static str {
        "eventful"
    }
    fn capabilities(&self) -> Capabilities {
        self.blobs.capabilities()
    }
    fn get(&self, at: &[u8], deadline: Deadline) -> Done<Option<Blob>> {
        self.come(|m| matches!(m, Moment::Reading(key) if address(key) == at));
        let blob = self.blobs.get(at, deadline);
        self.come(|m| matches!(m, Moment::HasRead(key) if address(key) == at));
        blob
    }
    fn put(&self, at: &[u8], bytes: &[u8], p: Precondition, deadline: Deadline) -> Done<Written> {
        self.blobs.put(at, bytes, p, deadline)
    }
    fn delete(&self, at: &[u8], p: Precondition, deadline: Deadline) -> Done<bool> {
        self.blobs.delete(at, p, deadline)
    }
    fn list(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
        deadline: Deadline,
    ) -> Done<Vec<Vec<u8>>> {
        self.blobs.list(prefix, after, limit, deadline)
    }
    fn apply(&self, batch: Batch, deadline: Deadline) -> Done<()> {
        if batch.ops().iter().any(|op| op.address().starts_with(b"r")) {
            self.come(|m| *m == Moment::WritingRecords);
        }
        self.blobs.apply(batch, deadline)
    }
    fn sync(&self, deadline: Deadline) -> Done<()> {
        self.blobs.sync(deadline)
    }
}

fn store() -> (Arc<Eventful>, Store) {
    let backend = Arc::new(Eventful::default());
    let store = Store::over(Arc::clone(&backend) as _, Uuid::new_v4()).unwrap();
    (backend, store.unsynced())
}

fn key(name: &str) -> Key {
    Key::text(name)
}

/// A value of several pages, some of which refer to others.
fn large(n: usize) -> Value {
    let text = |i| Value::Text(format!("{n} {i} ").repeat(100));
    let map: BTreeMap<Key, Value> = (0..200).map(|i| (Key::index(i), text(i))).collect();
    Value::Map(map)
}

fn put(store: &Store, path: &[&str], value: &Value) {
    let path: Vec<Key> = path.iter().copied().map(key).collect();
    store.assoc_in(&path, value).unwrap();
}

fn there(store: &Store, path: &[&str]) -> Value {
    let path: Vec<Key> = path.iter().copied().map(key).collect();
    store.get_in(&path).unwrap().unwrap()
}

fn pages(store: &Store) -> usize {
    store.pages_after(None, 100_000).unwrap().len()
}

/// Documents `a` and `z`, folded; the records are read in this order.
fn two() -> (Arc<Eventful>, Store) {
    let (backend, store) = store();
    put(&store, &["a", "own"], &large(1));
    put(&store, &["z", "own"], &large(2));
    store.settle().unwrap();
    (backend, store)
}

/// The cutoff as it is when something is committed, or a fold begins, just before it.
fn at_once<'a>(store: &'a Store, stop: &'a AtomicBool) -> Cutoff<'a> {
    let round = store.begin_round().unwrap();
    Cutoff {
        round,
        throttle: Throttle::new(Budget::default(), stop),
        space: None,
    }
}

fn rename(store: &Store, from: [&str; 2], to: [&str; 2]) {
    store.rename(&from.map(key), &to.map(key), false).unwrap();
}

#[test]
fn what_nothing_reaches_is_freed_and_nothing_else() {
    let (_, store) = two();
    let live = pages(&store);
    put(&store, &["z", "more"], &large(3));
    store.settle().unwrap();
    store.dissoc_in(&[key("z"), key("more")]).unwrap();
    store.settle().unwrap();
    let all = pages(&store);
    let done = reclaim(&store).unwrap();
    assert_eq!(done.freed, (all - pages(&store)) as u64);
    assert_eq!(done.live, pages(&store) as u64);
    assert!(pages(&store) <= live + 1 && all > live + 200);
    assert_eq!(reclaim(&store).unwrap().freed, 0);
    assert_eq!(there(&store, &["a", "own"]), large(1));
    assert_eq!(there(&store, &["z", "own"]), large(2));
}

#[test]
fn what_moves_to_where_the_round_has_been_is_kept() {
    let (backend, store) = two();
    let other = store.clone();
    backend.at(Moment::Reading(key("z")), move || {
        rename(&other, ["z", "own"], ["a", "moved"]);
        other.settle().unwrap();
    });
    reclaim(&store).unwrap();
    assert_eq!(there(&store, &["a", "moved"]), large(2));
}

#[test]
fn what_a_holder_puts_where_the_round_has_been_is_kept() {
    let (backend, store) = two();
    let held = store.doc(&key("z")).unwrap().unwrap().entry.clone();
    store.dissoc(&key("z")).unwrap();
    put(&store, &["y"], &Value::Int(1));
    store.settle().unwrap();
    let other = store.clone();
    backend.at(Moment::Reading(key("y")), move || {
        let path = KeyPath::from(vec![key("a"), key("again")]);
        let mut held = Some(held);
        other
            .transact(|tx| tx.put(path.clone(), held.take().unwrap(), None))
            .unwrap();
        other.settle().unwrap();
    });
    reclaim(&store).unwrap();
    assert_eq!(there(&store, &["a", "again", "own"]), large(2));
}

#[test]
fn a_version_that_is_folded_after_its_record_was_read_is_kept() {
    let (backend, store) = two();
    rename(&store, ["z", "own"], ["a", "moved"]);
    let other = store.clone();
    backend.at(Moment::Reading(key("z")), move || other.settle().unwrap());
    let never = AtomicBool::new(false);
    free(mark(at_once(&store, &never)).unwrap()).unwrap();
    assert_eq!(there(&store, &["a", "moved"]), large(2));
}

#[test]
fn the_journal_that_a_crash_leaves_asks_for_no_page_that_was_freed() {
    let dir = tempfile::tempdir().unwrap();
    let backend = Arc::new(Eventful::default());
    let open = |id| Store::over_with_journal(Arc::clone(&backend) as _, id, dir.path()).unwrap();
    let store = open(Uuid::new_v4());
    put(&store, &["a"], &Value::Int(1));
    // Too late for the fold before the round, and replaced before the round begins.
    let other = store.clone();
    backend.at(Moment::WritingRecords, move || {
        // Too much for a record: in pages at once.
        let bytes = (0..100_000_u32).flat_map(u32::to_le_bytes).collect();
        put(&other, &["b"], &Value::Bytes(bytes));
        put(&other, &["b"], &Value::Int(2));
    });
    assert!(reclaim(&store).unwrap().freed > 10);
    let id = store.id();
    drop(store);
    assert_eq!(there(&open(id), &["b"]), Value::Int(2));
}

#[test]
fn a_fold_under_way_ends_before_the_round_begins() {
    let (backend, store) = two();
    put(&store, &["a", "new"], &large(3));
    let (begun, begins) = mpsc::channel();
    let (end, ends) = mpsc::channel::<()>();
    // The pages are written and nothing refers to them yet. A round that does not wait for the
    // fold marks now.
    backend.at(Moment::WritingRecords, move || {
        begun.send(()).unwrap();
        let _ = ends.recv_timeout(Duration::from_millis(500));
    });
    let folding = store.clone();
    let fold = std::thread::spawn(move || folding.fold_now().unwrap());
    begins.recv().unwrap();
    let never = AtomicBool::new(false);
    let cutoff = at_once(&store, &never);
    // What holds the new version goes, after the record was read.
    let (other, folded) = (store.clone(), Mutex::new(Some(fold)));
    backend.at(Moment::Reading(key("z")), move || {
        let _ = end.send(());
        folded.lock().take().unwrap().join().unwrap();
        drop(other);
    });
    free(mark(cutoff).unwrap()).unwrap();
    assert_eq!(there(&store, &["a", "new"]), large(3));
}

#[test]
fn what_is_held_in_memory_is_kept_until_it_is_let_go() {
    let (_, store) = two();
    let doc = store.doc(&key("z")).unwrap().unwrap();
    store.dissoc(&key("z")).unwrap();
    store.settle().unwrap();
    reclaim(&store).unwrap();
    let value = convert::to_value(&doc.entry.node, store.pager()).unwrap();
    assert_eq!(value, Value::Map(BTreeMap::from([(key("own"), large(2))])));
    // Put back, it is again what it was: no page of it need be written anew.
    store
        .transact(|tx| tx.put(KeyPath::from(vec![key("z")]), doc.entry.clone(), None))
        .unwrap();
    store.settle().unwrap();
    reclaim(&store).unwrap();
    assert_eq!(there(&store, &["z", "own"]), large(2));
    store.dissoc(&key("z")).unwrap();
    store.settle().unwrap();
    drop(doc);
    assert!(reclaim(&store).unwrap().freed > 200);
}

#[test]
fn a_record_that_is_being_read_while_memory_is_looked_into_is_read_again() {
    let (backend, store) = two();
    let other = store.clone();
    backend.at(Moment::HasRead(key("z")), move || {
        put(&other, &["z"], &large(4));
        other.settle().unwrap();
        reclaim(&other).unwrap();
    });
    let doc = store.doc(&key("z")).unwrap().unwrap();
    let value = convert::to_value(&doc.entry.node, store.pager()).unwrap();
    assert_eq!(value, large(4));
}

#[test]
fn what_is_written_again_while_it_is_being_freed_is_kept() {
    let (_, store) = two();
    let value = there(&store, &["z", "own"]);
    store.dissoc(&key("z")).unwrap();
    store.settle().unwrap();
    let never = AtomicBool::new(false);
    let reachable = mark(Guard::new(&store, &never).cutoff().unwrap()).unwrap();
    put(&store, &["b"], &value);
    store.settle().unwrap();
    free(reachable).unwrap();
    assert_eq!(there(&store, &["b"]), large(2));
}

#[test]
fn nothing_is_freed_where_something_does_not_read() {
    let (backend, store) = two();
    put(&store, &["y"], &large(5));
    store.settle().unwrap();
    store.dissoc(&key("y")).unwrap();
    store.settle().unwrap();
    let all = store.pages_after(None, 100_000).unwrap();
    let deadline = store.pager().deadline();
    let never = AtomicBool::new(false);
    let mut refused = 0;
    for addr in &all {
        let at = crate::tree::page_key(addr);
        let blob = backend.get(&at, deadline).unwrap().unwrap();
        backend.delete(&at, Precondition::Any, deadline).unwrap();
        let done = Guard::new(&store, &never).cutoff().and_then(mark);
        match done {
            Ok(_) => {}
            Err(GcError::Unreadable { path, .. }) => {
                assert!(path.to_string().contains("\"own\""), "{path}");
                refused += 1;
            }
            Err(e) => panic!("{e}"),
        }
        backend
            .put(&at, &blob.bytes, Precondition::Any, deadline)
            .unwrap();
    }
    assert!(refused > 2);
}

#[test]
fn a_round_tells_what_it_does_and_what_it_has_done() {
    let (backend, store) = two();
    store.dissoc(&key("z")).unwrap();
    store.settle().unwrap();
    let all = pages(&store) as u64;
    let rounds = &store.meters().rounds;
    assert_eq!(rounds.phase.get(), Phase::None);
    let (told, heard) = mpsc::channel();
    let watched = store.clone();
    backend.at(Moment::Reading(key("a")), move || {
        told.send(watched.meters().rounds.phase.get()).unwrap();
    });
    let never = AtomicBool::new(false);
    let reachable = mark(Guard::new(&store, &never).cutoff().unwrap()).unwrap();
    assert_eq!(heard.recv(), Ok(Phase::Mark));
    assert_eq!(rounds.total.get(), all);
    let marked = rounds.done.get();
    let done = free(reachable).unwrap();
    assert_eq!((done.marked, done.live), (marked, marked));
    // The root directory has a record, too.
    assert_eq!((done.freed, done.records), (all - marked, 2));
    assert_eq!(rounds.phase.get(), Phase::None);
    assert_eq!(
        (rounds.ended.get(), rounds.last_freed.get()),
        (1, done.freed)
    );
    assert_eq!((rounds.done.get(), rounds.failed.get()), (all, 0));
    // One that does not come to its end is none that is under way.
    drop(Guard::new(&store, &never).cutoff().unwrap());
    assert_eq!(rounds.phase.get(), Phase::None);
    never.store(true, Ordering::Relaxed);
    let stopped = reclaim_within(&store, &never, Budget::ASIDE);
    assert!(matches!(stopped, Err(GcError::Stopped)));
    assert_eq!((rounds.ended.get(), rounds.failed.get()), (1, 0));
}

#[test]
fn a_round_reads_no_faster_than_its_budget_lets_it() {
    let (_, store) = two();
    let never = AtomicBool::new(false);
    let read = read_by_this_thread();
    reclaim(&store).unwrap();
    let read = read_by_this_thread() - read;
    assert!(read > 2000, "{read}");
    // A quarter of a second's worth.
    let budget = Budget {
        read: Some(read * 4),
        rest: 0,
    };
    let done = reclaim_within(&store, &never, budget).unwrap();
    assert!(done.took >= Duration::from_millis(230), "{done:?}");
}
