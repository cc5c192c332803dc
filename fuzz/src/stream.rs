//! Streams that are received: whole frames of the fuzzer's choice, with checks that hold.

use konserve_fs::snapshot::{ReceiveOptions, receive};
use konserve_fs::store::{Location, Store};
use uuid::Uuid;

/// Frames: a byte with the kind, two with the length, the bytes. Without any the stream is what it is.
pub fn stream(data: &[u8]) {
    take_in(data);
    let mut stream = b"kfs send".to_vec();
    stream.extend(1_u32.to_be_bytes());
    let mut check = *blake3::hash(&stream).as_bytes();
    let mut rest = data;
    while let Some((&[kind, high, low], after)) = rest.split_first_chunk() {
        let length = usize::from(u16::from_be_bytes([high, low])).min(after.len());
        let (payload, next) = after.split_at(length);
        rest = next;
        let length = (length as u32).to_be_bytes();
        let header = [&[kind % 4, 0][..], &length, &length].concat();
        let mut hasher = blake3::Hasher::new();
        hasher.update(&check).update(&header).update(payload);
        check = *hasher.finalize().as_bytes();
        stream.extend(header);
        stream.extend(check);
        stream.extend(payload);
    }
    take_in(&stream);
}

fn take_in(stream: &[u8]) {
    let id = Uuid::from_u128(7);
    let location = Location::Memory(id);
    let _refused = receive(&location, stream, &ReceiveOptions::default());
    if Store::exists(&location) {
        let _left = Store::delete(&location, id);
    }
}
