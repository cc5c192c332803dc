//! What the embedded engine of a store that nobody has open holds, blob by blob.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use konserve_fs::backend::embedded::{Access, Embedded};
use konserve_fs::backend::{Backend, Deadline, Precondition};
use konserve_fs::codec::{Codec, Compressor};
use uuid::Uuid;

/// The address of the blob that says what the store is.
const HEADER: &[u8] = b"h";

/// Blobs by address.
pub type Blobs = BTreeMap<Vec<u8>, Vec<u8>>;

fn open(store: &Path) -> Embedded {
    Embedded::open(store, Access::ReadWrite, Duration::from_secs(10)).unwrap()
}

fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(30))
}

/// All blobs.
pub fn blobs(store: &Path) -> Blobs {
    let engine = open(store);
    let mut blobs = Blobs::new();
    let mut after: Option<Vec<u8>> = None;
    loop {
        let page = engine.list(b"", after.as_deref(), 1000, soon()).unwrap();
        let Some(last) = page.last().cloned() else {
            return blobs;
        };
        for address in page {
            let blob = engine.get(&address, soon()).unwrap().unwrap();
            blobs.insert(address, blob.bytes);
        }
        after = Some(last);
    }
}

/// Puts bytes in the place of a blob.
pub fn put(store: &Path, address: &[u8], bytes: &[u8]) {
    let engine = open(store);
    engine
        .put(address, bytes, Precondition::Any, soon())
        .unwrap();
    engine.sync(soon()).unwrap();
}

/// Makes the store one of another format, as another version of the program would: gives the old
/// format's number.
pub fn set_format(store: &Path, change: impl Fn(u8) -> u8) -> u8 {
    let blob = blobs(store).remove(HEADER).expect("no header");
    // The header is sealed for no store: the store's id is in it.
    let codec = Codec::new(Uuid::nil(), Compressor::None);
    let mut value = codec.open(HEADER, &blob).unwrap().value.to_vec();
    let name = b"format";
    let at = value.windows(name.len()).position(|window| window == name);
    let number = &mut value[at.expect("no format in the header") + name.len()];
    let old = *number;
    // CBOR writes an integer below 24 as this one byte.
    *number = change(old);
    assert!(old < 24 && *number < 24);
    put(store, HEADER, &codec.seal(HEADER, &[], &value).unwrap());
    old
}
