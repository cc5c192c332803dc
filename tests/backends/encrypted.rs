//! What a storage of ciphertext keeps, and what it makes of what others put there.

use std::sync::Arc;

use konserve_fs::backend::encrypted::Encrypted;
use konserve_fs::backend::memory::Memory;
use konserve_fs::backend::{Backend, BackendError, Batch, Precondition};
use konserve_fs::crypt::Padding;

use crate::basics::{get, put};
use crate::storages::{cipher, soon};

fn storage() -> (Arc<Memory>, Encrypted) {
    let below = Arc::new(Memory::new());
    let encrypted = Encrypted::new(Arc::clone(&below) as _, cipher(Padding::None));
    (below, encrypted)
}

fn listed(storage: &dyn Backend, prefix: &[u8]) -> Vec<Vec<u8>> {
    storage.list(prefix, None, usize::MAX, soon()).unwrap()
}

fn page(of: u8) -> Vec<u8> {
    [&b"p"[..], &[of; 32]].concat()
}

#[track_caller]
fn damaged<T: std::fmt::Debug>(outcome: Result<T, BackendError>, expected: &[u8]) {
    match outcome {
        Err(BackendError::Damage {
            address, reason, ..
        }) => {
            assert_eq!(address.bytes(), expected);
            assert!(reason.starts_with("cannot be authenticated"), "{reason}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn nothing_is_kept_as_it_is_but_the_addresses_of_pages_and_marks() {
    let (below, storage) = storage();
    let addresses = [
        b"r\0\0\0\0\0\0\0\0name".to_vec(),
        b"pretty".to_vec(),
        b"h".to_vec(),
        page(1),
    ];
    for address in &addresses {
        put(
            &storage,
            address,
            b"a content that is long enough to be found",
        );
    }
    assert_eq!(listed(&storage, b"").len(), addresses.len());
    for kept in listed(&*below, b"") {
        assert!(
            kept == *b"h" || kept == page(1) || kept.len() >= 33,
            "{kept:?}"
        );
        assert!(
            !kept
                .windows(4)
                .any(|part| part == b"name" || part == b"pret")
        );
        let bytes = get(&*below, &kept).unwrap();
        assert!(!bytes.windows(7).any(|part| part == b"content"));
    }
}

#[test]
fn whatever_is_done_to_a_blob_below_is_damage_that_names_its_address() {
    let (below, storage) = storage();
    let (name, other) = (b"rname", b"rother");
    put(&storage, name, b"content");
    put(&storage, other, b"more");
    let concealed = cipher_of(&storage).conceal(name);
    let bytes = get(&*below, &concealed).unwrap();
    let another = get(&*below, &cipher_of(&storage).conceal(other)).unwrap();
    let mut variants: Vec<Vec<u8>> = (0..bytes.len()).map(|at| bytes[..at].to_vec()).collect();
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        variants.push(changed);
    }
    variants.extend([another, b"content".to_vec(), [&bytes[..], b"x"].concat()]);
    let (_, foreign) = self::storage();
    put(&foreign, name, b"content");
    variants.push(
        foreign
            .inner()
            .get(&cipher_of(&foreign).conceal(name), soon())
            .unwrap()
            .unwrap()
            .bytes,
    );
    for variant in variants {
        put(&*below, &concealed, &variant);
        damaged(storage.get(name, soon()), name);
        damaged(storage.get_range(name, 0..1, soon()), name);
        damaged(storage.length(name, soon()), name);
        damaged(storage.get_many(&[other, name], soon()), name);
        // It is there, and may be replaced and removed.
        assert!(storage.get_range(name, 0..0, soon()).unwrap().is_some());
        assert_eq!(listed(&storage, b"rn"), [name]);
    }
    put(&storage, name, b"again");
    assert_eq!(get(&storage, name).unwrap(), b"again");
}

fn cipher_of(storage: &Encrypted) -> &konserve_fs::crypt::Cipher {
    storage.cipher()
}

#[test]
fn what_others_put_there_is_not_listed_and_found_by_a_look() {
    let (below, storage) = storage();
    put(&storage, b"rname", b"1");
    put(&*below, b"k", b"the slots");
    let (_, foreign) = self::storage();
    let planted = [
        b"rplain".to_vec(),
        b"pplain".to_vec(),
        b"x".to_vec(),
        vec![b'e'; 49],
        b"e".to_vec(),
        cipher_of(&foreign).conceal(b"rname"),
    ];
    for address in &planted {
        put(&*below, address, b"1");
    }
    assert_eq!(listed(&storage, b""), [b"rname"]);
    assert_eq!(listed(&storage, b"p"), Vec::<Vec<u8>>::new());
    let flaws = storage.verify(&mut |_| true).unwrap();
    assert_eq!(flaws.len(), planted.len(), "{flaws:?}");
    assert!(flaws.iter().all(|flaw| !flaw.harmless));
}

#[test]
fn pages_and_names_are_listed_together_in_order() {
    let (_, storage) = storage();
    let mut addresses = vec![
        page(1),
        page(9),
        b"p".to_vec(),
        b"q".to_vec(),
        b"h".to_vec(),
        b"px".to_vec(),
    ];
    addresses.extend((0..50).map(|n| [b'p', n, n].to_vec()));
    for address in &addresses {
        put(&storage, address, b"");
    }
    addresses.sort();
    for limit in [1, 2, 7, 100] {
        let mut found: Vec<Vec<u8>> = Vec::new();
        loop {
            let part = storage
                .list(b"", found.last().map(Vec::as_slice), limit, soon())
                .unwrap();
            let end = part.len() < limit;
            found.extend(part);
            if end {
                break;
            }
        }
        assert_eq!(found, addresses, "{limit}");
    }
}

#[test]
fn a_list_follows_what_is_written_after_it_was_read() {
    let (below, storage) = storage();
    put(&storage, b"ra", b"");
    assert_eq!(listed(&storage, b"r"), [b"ra"]);
    put(&storage, b"rb", b"");
    let mut batch = Batch::new();
    batch
        .put(b"rc", b"", Precondition::Any)
        .delete(b"ra", Precondition::Any);
    storage.apply(batch, soon()).unwrap();
    assert_eq!(listed(&storage, b"r"), [b"rb", b"rc"]);
    storage.delete(b"rb", Precondition::Any, soon()).unwrap();
    let refused = storage.put(b"rc", b"", Precondition::Absent, soon());
    assert!(matches!(refused, Err(BackendError::Conflict { .. })));
    assert_eq!(listed(&storage, b"r"), [b"rc"]);
    // And is the same when it is read anew.
    let again = Encrypted::new(below, Arc::clone(storage.cipher()));
    assert_eq!(listed(&again, b"r"), [b"rc"]);
}
