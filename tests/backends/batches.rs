//! Several writes at once.

use konserve_fs::backend::{Backend, BackendError, Batch, Precondition};

use crate::basics::{get, put};
use crate::preconditions::conflicts;
use crate::storages::soon;

/// Whether the storage takes batches; if it does not, a batch is an error and does nothing.
fn takes_batches(backend: &dyn Backend) -> bool {
    if backend.capabilities().atomic_batch {
        return true;
    }
    let mut batch = Batch::new();
    batch.put(b"a", b"1", Precondition::Any);
    let outcome = backend.apply(batch, soon());
    assert!(
        matches!(outcome, Err(BackendError::Unsupported { .. })),
        "{outcome:?}"
    );
    assert_eq!(get(backend, b"a"), None);
    false
}

pub fn a_batch_is_done(backend: &dyn Backend) {
    if !takes_batches(backend) {
        return;
    }
    put(backend, b"old", b"1");
    put(backend, b"replaced", b"1");
    let mut batch = Batch::new();
    batch
        .delete(b"old", Precondition::Any)
        .delete(b"never there", Precondition::Any);
    batch.put(b"replaced", b"2", Precondition::Any);
    for number in 0..5000_u32 {
        let address = [b"n".as_slice(), &number.to_be_bytes()].concat();
        batch.put(address, number.to_string(), Precondition::Absent);
    }
    backend.apply(batch, soon()).unwrap();
    assert_eq!(get(backend, b"old"), None);
    assert_eq!(get(backend, b"replaced").unwrap(), b"2");
    assert_eq!(
        backend.list(b"n", None, 10_000, soon()).unwrap().len(),
        5000
    );
    assert_eq!(get(backend, b"n\0\0\x01\0").unwrap(), b"256");
}

pub fn an_empty_batch_does_nothing(backend: &dyn Backend) {
    if !takes_batches(backend) {
        return;
    }
    backend.apply(Batch::new(), soon()).unwrap();
    assert!(backend.list(b"", None, 10, soon()).unwrap().is_empty());
}

pub fn a_conflict_anywhere_undoes_all(backend: &dyn Backend) {
    if !takes_batches(backend) {
        return;
    }
    put(backend, b"b", b"1");
    let mut batch = Batch::new();
    batch
        .put(b"a", b"2", Precondition::Any)
        .delete(b"b", Precondition::Any);
    batch
        .put(b"b", b"2", Precondition::Absent)
        .put(b"c", b"2", Precondition::Any);
    conflicts(backend.apply(batch, soon()), b"b");
    let state = [b"a", b"b", b"c"].map(|address| get(backend, address));
    assert_eq!(state, [None, Some(b"1".to_vec()), None]);
}

pub fn preconditions_are_judged_before_the_batch(backend: &dyn Backend) {
    if !takes_batches(backend) {
        return;
    }
    put(backend, b"a", b"1");
    let one = Precondition::Version(backend.get(b"a", soon()).unwrap().unwrap().version());
    let mut rename = Batch::new();
    rename
        .put(b"b", b"1", Precondition::Absent)
        .delete(b"a", one.clone());
    backend.apply(rename.clone(), soon()).unwrap();
    conflicts(backend.apply(rename, soon()), b"b");
    let mut twice = Batch::new();
    twice.put(b"b", b"2", one.clone()).put(b"b", b"3", one);
    backend.apply(twice, soon()).unwrap();
    assert_eq!(get(backend, b"b").unwrap(), b"3");
}

pub fn the_last_write_to_an_address_counts(backend: &dyn Backend) {
    if !takes_batches(backend) {
        return;
    }
    let mut batch = Batch::new();
    batch
        .put(b"a", b"1", Precondition::Any)
        .put(b"a", b"2", Precondition::Any);
    batch
        .put(b"b", b"1", Precondition::Any)
        .delete(b"b", Precondition::Any);
    batch
        .delete(b"c", Precondition::Any)
        .put(b"c", b"3", Precondition::Any);
    backend.apply(batch, soon()).unwrap();
    let state = [b"a", b"b", b"c"].map(|address| get(backend, address));
    assert_eq!(state, [Some(b"2".to_vec()), None, Some(b"3".to_vec())]);
}
