//! Receiving into a storage that keeps what was not synced in any order, or not at all.

use std::sync::Arc;

use parking_lot::Mutex;
use uuid::Uuid;

use super::*;
use crate::backend::memory::Memory;
use crate::backend::{
    Backend, Batch, Blob, Capabilities, Deadline, Precondition, Result as Done, Written,
};
use crate::tree::PATIENCE;
use crate::value::{Key, Value};

/// What is done to a storage.
#[derive(Clone, Debug)]
enum Step {
    Write(Batch),
    Sync,
}

/// Notes what is done to it.
#[derive(Debug, Default)]
struct Noting {
    blobs: Memory,
    steps: Mutex<Vec<Step>>,
}

impl Noting {
    fn note(&self, batch: Batch) {
        self.steps.lock().push(Step::Write(batch));
    }
}

impl Backend for Noting {
    fn name(&self) -> &'static str {
        "noting"
    }
    fn capabilities(&self) -> Capabilities {
        self.blobs.capabilities()
    }
    fn get(&self, at: &[u8], deadline: Deadline) -> Done<Option<Blob>> {
        self.blobs.get(at, deadline)
    }
    fn put(&self, at: &[u8], bytes: &[u8], p: Precondition, deadline: Deadline) -> Done<Written> {
        let mut batch = Batch::new();
        batch.put(at, bytes, Precondition::Any);
        self.note(batch);
        self.blobs.put(at, bytes, p, deadline)
    }
    fn delete(&self, at: &[u8], p: Precondition, deadline: Deadline) -> Done<bool> {
        let mut batch = Batch::new();
        batch.delete(at, Precondition::Any);
        self.note(batch);
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
        self.note(batch.clone());
        self.blobs.apply(batch, deadline)
    }
    fn sync(&self, deadline: Deadline) -> Done<()> {
        self.steps.lock().push(Step::Sync);
        self.blobs.sync(deadline)
    }
}

/// Every set of writes that a crash after some of the steps may leave.
fn left(steps: &[Step]) -> Vec<Vec<Batch>> {
    let mut all = Vec::new();
    let (mut durable, mut pending) = (Vec::new(), Vec::new());
    for step in steps {
        match step {
            Step::Sync => durable.append(&mut pending),
            Step::Write(batch) => {
                pending.push(batch.clone());
                // Each subset with the last, for those without it were there before.
                for kept in 0..1_u32 << (pending.len() - 1) {
                    let is_kept = |n: &usize| kept & (1 << n) != 0 || *n == pending.len() - 1;
                    let some = (0..pending.len()).filter(is_kept);
                    let some = some.map(|n| pending[n].clone());
                    all.push(durable.iter().cloned().chain(some).collect());
                }
            }
        }
    }
    all
}

fn storage(base: &[Batch], writes: &[Batch]) -> Arc<Noting> {
    let noting = Noting::default();
    let deadline = Deadline::after(PATIENCE);
    for batch in base.iter().chain(writes) {
        noting.blobs.apply(batch.clone(), deadline).unwrap();
    }
    Arc::new(noting)
}

const ID: Uuid = Uuid::from_u128(7);

/// With a journal of which nothing is left from before, in the directory.
fn open(backend: &Arc<Noting>) -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::over_with_journal(Arc::clone(backend) as _, ID, dir.path()).unwrap();
    (dir, store)
}

fn content(store: &Store) -> Vec<(Key, Option<Value>)> {
    let (docs, _) = store.docs_after(None, usize::MAX).unwrap();
    let value = |key: Key| (key.clone(), store.get(&key).unwrap());
    docs.into_iter().map(|(key, _)| value(key)).collect()
}

fn sender() -> (Vec<u8>, Vec<(Key, Option<Value>)>) {
    let store = Store::over(Arc::new(Memory::new()), ID).unwrap();
    for n in 0..3 {
        let text = Value::Text(format!("{n} ").repeat(n * 30_000 + 1));
        store.assoc(&Key::index(n as u64), &text).unwrap();
    }
    take(&store, "one").unwrap();
    let mut sender = Sender::new(&store, None, "one", None).unwrap();
    let mut stream = Vec::new();
    while let Some(part) = sender.next_part().unwrap() {
        stream.extend(part);
    }
    (stream, content(&store))
}

/// Whether a storage has all of it, once it is opened; otherwise it has nothing.
fn is_whole(backend: &Arc<Noting>, sent: &[(Key, Option<Value>)]) -> bool {
    let (_journal, store) = open(backend);
    let whole = !list(&store).unwrap().is_empty();
    if whole {
        assert_eq!(content(&store), sent);
    } else {
        assert!(store.is_blank().unwrap());
    }
    whole
}

#[test]
fn what_is_received_is_whole_or_not_there_in_whatever_order_it_became_durable() {
    let (stream, sent) = sender();
    let backend = storage(&[], &[]);
    let (_journal, store) = open(&backend);
    receive::take_in_stream(&store, stream.as_slice()).unwrap();
    assert_eq!(content(&store), sent);
    let steps = backend.steps.lock().clone();
    let (mut none, mut whole) = (0, 0);
    for writes in left(&steps) {
        let after = storage(&[], &writes);
        if !is_whole(&after, &sent) {
            none += 1;
            continue;
        }
        whole += 1;
        // It may crash again while it goes on.
        let going_on = after.steps.lock().clone();
        for more in left(&going_on) {
            assert!(is_whole(&storage(&writes, &more), &sent));
        }
    }
    assert!(none > 1 && whole > 3, "{none} {whole}");
}
