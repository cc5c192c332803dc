//! Reading and writing one blob.

use std::time::Duration;

use konserve_fs::backend::{Backend, BackendError, Batch, Deadline, Precondition};

use crate::storages::soon;

pub fn put(backend: &dyn Backend, address: &[u8], bytes: &[u8]) {
    backend
        .put(address, bytes, Precondition::Any, soon())
        .unwrap();
}

pub fn get(backend: &dyn Backend, address: &[u8]) -> Option<Vec<u8>> {
    backend.get(address, soon()).unwrap().map(|blob| blob.bytes)
}

pub fn an_absent_blob_is_none(backend: &dyn Backend) {
    assert_eq!(get(backend, b"a"), None);
    assert_eq!(backend.get_range(b"a", 0..10, soon()).unwrap(), None);
    assert_eq!(
        backend.get_many(&[b"a", b"b"], soon()).unwrap(),
        [None, None]
    );
    put(backend, b"ab", b"1");
    assert_eq!(get(backend, b"a"), None);
    assert_eq!(get(backend, b"abc"), None);
}

pub fn a_blob_is_read_back(backend: &dyn Backend) {
    let large: Vec<u8> = (0_u32..1_500_000).flat_map(u32::to_le_bytes).collect();
    let blobs: [&[u8]; 6] = [b"", b"x", &[0; 100], &large[..4095], &large[..4096], &large];
    for (number, bytes) in blobs.iter().enumerate() {
        put(backend, format!("blob {number}").as_bytes(), bytes);
    }
    for (number, bytes) in blobs.iter().enumerate() {
        let found = get(backend, format!("blob {number}").as_bytes()).unwrap();
        assert!(found == *bytes, "blob {number}");
    }
}

pub fn an_address_may_hold_any_bytes(backend: &dyn Backend) {
    let longest = backend.capabilities().max_address;
    let every: Vec<u8> = (0..=255).collect();
    let addresses: Vec<Vec<u8>> = (0..=255_u8)
        .flat_map(|byte| [vec![byte], vec![byte; longest], [&[byte], &*every].concat()])
        .collect();
    for address in &addresses {
        put(backend, address, address);
    }
    for address in &addresses {
        assert_eq!(get(backend, address).as_ref(), Some(address));
    }
}

pub fn addresses_of_other_lengths_are_refused(backend: &dyn Backend) {
    let refused = |outcome: Result<(), BackendError>, expected: usize| match outcome {
        Err(BackendError::BadAddress { length, .. }) => assert_eq!(length, expected),
        other => panic!("{other:?}"),
    };
    let longest = backend.capabilities().max_address;
    for address in [vec![], vec![b'a'; longest + 1], vec![b'a'; 100_000]] {
        let length = address.len();
        refused(backend.get(&address, soon()).map(drop), length);
        refused(
            backend
                .put(&address, b"", Precondition::Any, soon())
                .map(drop),
            length,
        );
        refused(
            backend
                .delete(&address, Precondition::Any, soon())
                .map(drop),
            length,
        );
        if backend.capabilities().atomic_batch {
            let mut batch = Batch::new();
            batch
                .put(b"good", b"1", Precondition::Any)
                .put(address, b"2", Precondition::Any);
            refused(backend.apply(batch, soon()), length);
            assert_eq!(get(backend, b"good"), None);
        }
    }
}

pub fn a_put_replaces_the_whole_blob(backend: &dyn Backend) {
    for bytes in [&[1; 10_000][..], b"short", b"", &[2; 300]] {
        put(backend, b"a", bytes);
        assert!(get(backend, b"a").unwrap() == bytes);
    }
}

pub fn a_delete_says_whether_there_was_a_blob(backend: &dyn Backend) {
    put(backend, b"a", b"1");
    put(backend, b"b", b"");
    let delete = |address| backend.delete(address, Precondition::Any, soon()).unwrap();
    assert!(delete(b"a"));
    assert!(!delete(b"a"));
    assert!(delete(b"b"));
    assert!(!delete(b"c"));
    assert_eq!(get(backend, b"a"), None);
    put(backend, b"a", b"2");
    assert_eq!(get(backend, b"a").unwrap(), b"2");
}

pub fn reading_creates_nothing(backend: &dyn Backend) {
    assert_eq!(get(backend, b"a"), None);
    backend.get_range(b"a", 0..1, soon()).unwrap();
    backend.get_many(&[b"a"], soon()).unwrap();
    backend.delete(b"a", Precondition::Any, soon()).unwrap();
    assert!(backend.list(b"", None, 10, soon()).unwrap().is_empty());
}

pub fn a_range_is_cut_off_at_the_end(backend: &dyn Backend) {
    put(backend, b"a", b"0123456789");
    let range = |range| backend.get_range(b"a", range, soon()).unwrap().unwrap();
    assert_eq!(range(0..10), b"0123456789");
    assert_eq!(range(3..5), b"34");
    assert_eq!(range(8..100), b"89");
    assert_eq!(range(10..11), b"");
    assert_eq!(range(100..u64::MAX), b"");
    assert_eq!(range(4..4), b"");
    #[expect(clippy::reversed_empty_ranges, reason = "a caller may get this wrong")]
    let reversed = range(5..2);
    assert_eq!(reversed, b"");
}

pub fn many_are_answered_in_order(backend: &dyn Backend) {
    put(backend, b"a", b"1");
    put(backend, b"c", b"3");
    let found = backend.get_many(&[b"c", b"b", b"a", b"c"], soon()).unwrap();
    let bytes: Vec<_> = found
        .into_iter()
        .map(|blob| blob.map(|blob| blob.bytes))
        .collect();
    assert_eq!(
        bytes,
        [
            Some(b"3".to_vec()),
            None,
            Some(b"1".to_vec()),
            Some(b"3".to_vec())
        ]
    );
    assert!(backend.get_many(&[], soon()).unwrap().is_empty());
}

pub fn a_blob_above_the_limit_is_refused(backend: &dyn Backend) {
    let limit = backend.capabilities().max_blob;
    let large = vec![0; usize::try_from(limit).unwrap() + 1];
    let refused = |outcome: Result<(), BackendError>| match outcome {
        Err(BackendError::TooLarge {
            size,
            limit: stated,
            ..
        }) => {
            assert_eq!((size, stated), (limit + 1, limit));
        }
        other => panic!("{other:?}"),
    };
    refused(
        backend
            .put(b"a", &large, Precondition::Any, soon())
            .map(drop),
    );
    if backend.capabilities().atomic_batch {
        let mut batch = Batch::new();
        batch.put(b"a", large, Precondition::Any);
        refused(backend.apply(batch, soon()));
        let limit = backend.capabilities().max_batch;
        let half = vec![0; usize::try_from(limit / 2).unwrap()];
        let mut batch = Batch::new();
        batch
            .put(b"a", half.clone(), Precondition::Any)
            .put(b"b", half, Precondition::Any);
        match backend.apply(batch, soon()) {
            Err(BackendError::TooLarge { limit: stated, .. }) => assert_eq!(stated, limit),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(get(backend, b"a"), None);
}

pub fn an_expired_deadline_is_an_error_and_writes_nothing(backend: &dyn Backend) {
    put(backend, b"a", b"1");
    let past = Deadline::after(Duration::ZERO);
    let late = |outcome: Result<(), BackendError>| {
        assert!(
            matches!(outcome, Err(BackendError::Deadline { .. })),
            "{outcome:?}"
        );
    };
    late(backend.get(b"a", past).map(drop));
    late(backend.get_range(b"a", 0..1, past).map(drop));
    late(backend.put(b"a", b"2", Precondition::Any, past).map(drop));
    late(backend.delete(b"a", Precondition::Any, past).map(drop));
    late(backend.list(b"", None, 1, past).map(drop));
    late(backend.sync(past));
    if backend.capabilities().atomic_batch {
        let mut batch = Batch::new();
        batch.delete(b"a", Precondition::Any);
        late(backend.apply(batch, past));
    }
    assert_eq!(get(backend, b"a").unwrap(), b"1");
}

pub fn sync_returns(backend: &dyn Backend) {
    backend.sync(soon()).unwrap();
    put(backend, b"a", b"1");
    backend.sync(soon()).unwrap();
    backend.sync(soon()).unwrap();
    assert_eq!(get(backend, b"a").unwrap(), b"1");
}
