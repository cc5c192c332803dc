//! Listing addresses.

use konserve_fs::backend::{Backend, Precondition};

use crate::basics::put;
use crate::storages::soon;

fn all(backend: &dyn Backend, prefix: &[u8]) -> Vec<Vec<u8>> {
    backend.list(prefix, None, usize::MAX, soon()).unwrap()
}

pub fn a_list_is_sorted_by_bytes(backend: &dyn Backend) {
    let sorted: [&[u8]; 7] = [b"\0", b"A", b"Z", b"a", b"a\0", b"a\xFF", b"\xFF\xFF"];
    for address in sorted.iter().rev() {
        put(backend, address, b"");
    }
    assert_eq!(all(backend, b""), sorted);
}

pub fn a_list_holds_only_the_prefix(backend: &dyn Backend) {
    for address in [
        &b"a"[..],
        b"b",
        b"b\0",
        b"b\xFF\xFF",
        b"bb",
        b"c",
        b"\xFF",
        b"\xFF\xFFx",
    ] {
        put(backend, address, b"");
    }
    assert_eq!(all(backend, b"b"), [&b"b"[..], b"b\0", b"bb", b"b\xFF\xFF"]);
    assert_eq!(all(backend, b"b\xFF"), [b"b\xFF\xFF"]);
    assert_eq!(all(backend, b"\xFF"), [&b"\xFF"[..], b"\xFF\xFFx"]);
    assert!(all(backend, b"d").is_empty());
    assert!(
        all(backend, &[0xFF; 600]).is_empty(),
        "no address is that long"
    );
}

pub fn a_list_comes_in_pages(backend: &dyn Backend) {
    let addresses: Vec<Vec<u8>> = (0..1000)
        .map(|number| format!("p/{number:04}").into_bytes())
        .collect();
    for address in &addresses {
        put(backend, address, b"x");
    }
    put(backend, b"q", b"");
    for limit in [1, 7, 999, 1000, 1001] {
        let mut found = Vec::<Vec<u8>>::new();
        loop {
            let after = found.last().cloned();
            let page = backend
                .list(b"p/", after.as_deref(), limit, soon())
                .unwrap();
            let end = page.len() < limit;
            found.extend(page);
            if end {
                break;
            }
        }
        assert_eq!(found, addresses, "in pages of {limit}");
    }
    assert!(backend.list(b"p/", None, 0, soon()).unwrap().is_empty());
}

pub fn a_list_may_begin_before_or_behind_the_prefix(backend: &dyn Backend) {
    for address in [b"a", b"b", b"c"] {
        put(backend, address, b"");
    }
    let list = |prefix, after| backend.list(prefix, Some(after), 10, soon()).unwrap();
    assert_eq!(list(b"b", b"a"), [b"b"]);
    assert_eq!(list(b"", b"\0"), [b"a", b"b", b"c"]);
    assert_eq!(list(b"", b""), [b"a", b"b", b"c"]);
    assert_eq!(
        list(b"", b"bb"),
        [b"c"],
        "after an address that is not there"
    );
    assert!(list(b"b", b"b").is_empty());
    assert!(list(b"b", b"c").is_empty());
}

pub fn what_was_deleted_is_not_listed(backend: &dyn Backend) {
    for number in 0..100_u8 {
        put(backend, &[number], b"");
    }
    for number in (0..100_u8).filter(|number| number % 3 != 0) {
        backend
            .delete(&[number], Precondition::Any, soon())
            .unwrap();
    }
    let left: Vec<_> = (0..100_u8).step_by(3).map(|number| vec![number]).collect();
    assert_eq!(all(backend, b""), left);
}
