//! Blobs, compressed bytes and CBOR.

use konserve_fs::codec::{self, Codec, Compressor, Edn, HEADER_LENGTH, Json, Serializer};
use konserve_fs::crypt::KeyBlob;
use konserve_fs::value::{Key, cbor};
use uuid::Uuid;

const LIMIT: u64 = 1 << 20;

fn codec() -> Codec {
    Codec::new(Uuid::nil(), Compressor::Lz4).with_limit(LIMIT)
}

/// A blob as it comes from a storage.
pub fn blob(data: &[u8]) {
    let _refused = codec().open(b"a", data);
    let _refused = codec().open_meta(b"a", data);
    let _refused = codec().open_page(b"a", data, |_| true);
}

/// A blob that was sealed comes back, and does not when a byte of it is another.
pub fn sealed(data: &[u8]) {
    let Some((&[split, at, flip], rest)) = data.split_first_chunk() else {
        return;
    };
    let (meta, value) = rest.split_at(usize::from(split).min(rest.len()));
    let Ok(mut blob) = codec().seal(b"a", meta, value) else {
        return;
    };
    let opened = codec().open(b"a", &blob).expect("what was sealed opens");
    assert_eq!((&*opened.meta, &*opened.value), (meta, value));
    let at = usize::from(at) * blob.len() / 256;
    blob[at] ^= flip.max(1);
    assert!(codec().open(b"a", &blob).is_err(), "byte {at}");
    assert!(codec().open(b"b", &blob).is_err());
    blob.truncate(at.max(HEADER_LENGTH.min(blob.len())));
    assert!(codec().open(b"a", &blob).is_err(), "cut at {at}");
}

/// An LZ4 frame, of ours or of others; and what is compressed comes back.
pub fn lz4(data: &[u8]) {
    if let Ok(content) = codec::unpack(1, data, LIMIT) {
        assert!(content.len() as u64 <= LIMIT);
    }
    let (compressor, packed) = codec::pack(data);
    let unpacked = codec::unpack(compressor, &packed, data.len() as u64);
    assert_eq!(&*unpacked.expect("what was packed unpacks"), data);
}

/// A Zstandard frame of anybody; and what is compressed comes back.
pub fn zstd(data: &[u8]) {
    if let Ok(content) = codec::unpack(2, data, LIMIT) {
        assert!(content.len() as u64 <= LIMIT);
    }
    let codec = Codec::new(Uuid::nil(), Compressor::Zstd);
    let blob = codec.seal(b"a", &[], data).expect("a blob is sealed");
    let opened = codec.open(b"a", &blob).expect("what was sealed opens");
    assert_eq!(&*opened.value, data);
}

/// The slots of an encrypted store, of anybody.
pub fn slots(data: &[u8]) {
    if let Ok(slots) = KeyBlob::decode(data) {
        assert_eq!(slots.encode(), data);
    }
}

/// Blobs as text: what is read is written so that it is read as the same, and so is every value.
pub fn serializer(data: &[u8]) {
    for serializer in [&Edn as &dyn Serializer, &Json] {
        let values = [serializer.read(data).ok(), cbor::decode(data).ok()];
        for value in values.into_iter().flatten() {
            let mut written = Vec::new();
            serializer.write(&value, &mut written);
            let again = serializer.read(&written).expect("what was written is read");
            assert_eq!(cbor::encode(&value), cbor::encode(&again));
        }
    }
}

/// CBOR of anybody: what is understood has one canonical form, which means the same.
pub fn cbor(data: &[u8]) {
    let Ok(value) = cbor::decode(data) else {
        return;
    };
    let canonical = cbor::encode(&value);
    let again = cbor::decode(&canonical).expect("what was encoded decodes");
    assert_eq!(cbor::encode(&again), canonical);
    assert_eq!(Key::new(&value), Key::new(&again));
}
