//! Writes on a condition.

use konserve_fs::backend::{Backend, BackendError, Precondition, Result, Version};

use crate::basics::{get, put};
use crate::storages::soon;

pub fn conflicts(outcome: Result<()>, expected: &[u8]) {
    match outcome {
        Err(BackendError::Conflict { address, .. }) => assert_eq!(address.bytes(), expected),
        other => panic!("{other:?}"),
    }
}

fn version(backend: &dyn Backend, address: &[u8]) -> Version {
    backend.get(address, soon()).unwrap().unwrap().version()
}

pub fn absent_holds_only_where_nothing_is(backend: &dyn Backend) {
    assert!(
        backend.capabilities().conditional_put,
        "every storage so far can"
    );
    let create = |bytes: &[u8]| {
        backend
            .put(b"a", bytes, Precondition::Absent, soon())
            .map(drop)
    };
    create(b"1").unwrap();
    conflicts(create(b"2"), b"a");
    assert_eq!(get(backend, b"a").unwrap(), b"1");
    backend.delete(b"a", Precondition::Any, soon()).unwrap();
    create(b"").unwrap();
    conflicts(create(b"3"), b"a");
}

pub fn a_version_holds_only_for_that_content(backend: &dyn Backend) {
    put(backend, b"a", b"1");
    let one = version(backend, b"a");
    let replace = |bytes: &[u8], version: &Version| {
        let precondition = Precondition::Version(version.clone());
        backend.put(b"a", bytes, precondition, soon()).map(drop)
    };
    replace(b"2", &one).unwrap();
    conflicts(replace(b"3", &one), b"a");
    assert_eq!(get(backend, b"a").unwrap(), b"2");
    let two = version(backend, b"a");
    assert_ne!(one, two);
    backend.delete(b"a", Precondition::Any, soon()).unwrap();
    conflicts(replace(b"3", &two), b"a");
    assert_eq!(get(backend, b"a"), None);
}

pub fn a_written_version_can_be_used_at_once(backend: &dyn Backend) {
    let written = backend
        .put(b"a", b"1", Precondition::Absent, soon())
        .unwrap();
    let one = written.version(b"1");
    assert_eq!(one, version(backend, b"a"));
    let written = backend
        .put(b"a", b"2", Precondition::Version(one), soon())
        .unwrap();
    assert_eq!(written.version(b"2"), version(backend, b"a"));
}

pub fn a_delete_takes_preconditions(backend: &dyn Backend) {
    put(backend, b"a", b"1");
    let one = version(backend, b"a");
    let delete = |precondition| backend.delete(b"a", precondition, soon());
    if !backend.capabilities().conditional_delete {
        for precondition in [Precondition::Absent, Precondition::Version(one)] {
            let outcome = delete(precondition);
            assert!(
                matches!(outcome, Err(BackendError::Unsupported { .. })),
                "{outcome:?}"
            );
        }
        assert_eq!(get(backend, b"a").unwrap(), b"1");
        return;
    }
    put(backend, b"a", b"2");
    conflicts(delete(Precondition::Version(one.clone())).map(drop), b"a");
    conflicts(delete(Precondition::Absent).map(drop), b"a");
    assert_eq!(get(backend, b"a").unwrap(), b"2");
    put(backend, b"a", b"1");
    assert!(delete(Precondition::Version(one.clone())).unwrap());
    conflicts(delete(Precondition::Version(one)).map(drop), b"a");
    assert!(!delete(Precondition::Absent).unwrap());
}
