//! Frames, notes and segment headers as bytes, drawn in the [module above](super).

use uuid::Uuid;

/// The longest payload.
pub const MAX_PAYLOAD: usize = 64 * 1024 * 1024;

/// Where a segment's frames begin.
pub const FRAMES_AT: u64 = 64;

/// Bytes before a frame's payload, of the note, and of a header.
pub const FRAME_HEADER: usize = 36;
pub const NOTE: usize = 24;
pub const HEADER: usize = 56;

/// Frames begin at multiples of this.
pub const ALIGN: usize = 8;

const MAGIC: [u8; 8] = *b"kfsjrnl\0";
const FORMAT: u32 = 2;
/// The formats that can be read.
const KNOWN: std::ops::RangeInclusive<u32> = 1..=FORMAT;
const CHECK: usize = 16;

/// What a note's check covers before the number; frames and headers are longer.
const NOTE_TAG: &[u8] = b"synced";

const CHECK_CONTEXT: &str = "konserve-fs journal 1 check";

/// What the structures of one store are checked with.
#[derive(Clone)]
pub struct Key([u8; 32]);

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key")
    }
}

impl Key {
    pub fn new(store: &Uuid) -> Self {
        Self(blake3::derive_key(CHECK_CONTEXT, store.as_bytes()))
    }

    fn check<'p>(&self, parts: impl IntoIterator<Item = &'p [u8]>) -> [u8; CHECK] {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        for part in parts {
            hasher.update(part);
        }
        let mut check = [0; CHECK];
        hasher.finalize_xof().fill(&mut check);
        check
    }
}

/// Where a structure stands: the segment's first sequence number and the position in it.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    pub segment: u64,
    pub offset: u64,
}

impl Place {
    fn bytes(self) -> [u8; 16] {
        ((u128::from(self.offset) << 64) | u128::from(self.segment)).to_le_bytes()
    }
}

/// A frame as found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    pub seq: u64,
    pub synced: u64,
    pub payload: &'a [u8],
}

/// The bytes that a frame with this much payload takes.
pub fn frame_length(payload: usize) -> usize {
    (FRAME_HEADER + payload).next_multiple_of(ALIGN)
}

/// Puts the bytes of a frame in place of what `out` holds; its payload comes in parts.
pub fn encode_frame(
    key: &Key,
    place: Place,
    (seq, synced): (u64, u64),
    payload: &[&[u8]],
    out: &mut Vec<u8>,
) {
    let length: usize = payload.iter().map(|part| part.len()).sum();
    let length_field = u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes();
    let (place, seq, synced) = (place.bytes(), seq.to_le_bytes(), synced.to_le_bytes());
    let fields: [&[u8]; 4] = [&place, &length_field, &seq, &synced];
    let check = key.check(fields.into_iter().chain(payload.iter().copied()));
    out.clear();
    out.reserve(frame_length(length));
    out.extend_from_slice(&length_field);
    out.extend_from_slice(&check);
    out.extend_from_slice(&seq);
    out.extend_from_slice(&synced);
    for part in payload {
        out.extend_from_slice(part);
    }
    out.resize(frame_length(length), 0);
}

impl<'a> Frame<'a> {
    /// The frame at the beginning of `bytes`, if it is valid there and its sequence number is in
    /// `expected` (which is looked at first, because it is cheap).
    pub fn decode(
        key: &Key,
        place: Place,
        bytes: &'a [u8],
        expected: std::ops::RangeInclusive<u64>,
    ) -> Option<Self> {
        let (length, rest) = bytes.split_first_chunk::<4>()?;
        let (check, rest) = rest.split_first_chunk::<CHECK>()?;
        let (seq, rest) = rest.split_first_chunk::<8>()?;
        let (synced, rest) = rest.split_first_chunk::<8>()?;
        if !expected.contains(&u64::from_le_bytes(*seq)) {
            return None;
        }
        let payload = rest.get(..usize::try_from(u32::from_le_bytes(*length)).ok()?)?;
        if key.check([&place.bytes()[..], length, seq, synced, payload]) != *check {
            return None;
        }
        let (seq, synced) = (u64::from_le_bytes(*seq), u64::from_le_bytes(*synced));
        Some(Self {
            seq,
            synced,
            payload,
        })
    }
}

/// The note that everything up to `synced` is durable.
pub fn encode_note(key: &Key, synced: u64) -> [u8; NOTE] {
    let mut note = [0; NOTE];
    let (number, check) = note.split_at_mut(8);
    number.copy_from_slice(&synced.to_le_bytes());
    check.copy_from_slice(&key.check([NOTE_TAG, number]));
    note
}

/// What a note says, if it is valid.
pub fn decode_note(key: &Key, note: &[u8; NOTE]) -> Option<u64> {
    let (number, check) = note.split_first_chunk::<8>()?;
    (key.check([NOTE_TAG, number]) == check).then(|| u64::from_le_bytes(*number))
}

/// What the first bytes of a segment turn out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Header {
    /// A header of this store, with the first sequence number.
    Valid(u64),
    /// A header of another store.
    OtherStore,
    /// A header of a format that is not known here.
    OtherFormat(u32),
    /// No header.
    Invalid,
}

pub fn encode_header(key: &Key, store: &Uuid, first: u64) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    let (covered, check) = header.split_at_mut(HEADER - CHECK);
    let parts: [&[u8]; 5] = [
        &MAGIC,
        &FORMAT.to_le_bytes(),
        &[0; 4],
        store.as_bytes(),
        &first.to_le_bytes(),
    ];
    covered.copy_from_slice(&parts.concat());
    check.copy_from_slice(&key.check([&*covered]));
    header
}

pub fn decode_header(key: &Key, store: &Uuid, bytes: &[u8]) -> Header {
    read_header(key, store, bytes).unwrap_or(Header::Invalid)
}

/// The store that a header says it belongs to, if the header is valid for that store.
pub fn header_store(bytes: &[u8]) -> Option<Uuid> {
    let id = Uuid::from_slice(bytes.get(16..32)?).ok()?;
    let header = decode_header(&Key::new(&id), &id, bytes);
    matches!(header, Header::Valid(_)).then_some(id)
}

fn read_header(key: &Key, store: &Uuid, bytes: &[u8]) -> Option<Header> {
    let (covered, rest) = bytes.split_at_checked(HEADER - CHECK)?;
    let check = *rest.first_chunk::<CHECK>()?;
    let (magic, fields) = covered.split_first_chunk::<8>()?;
    let (format, fields) = fields.split_first_chunk::<4>()?;
    let (_, fields) = fields.split_first_chunk::<4>()?;
    let (id, fields) = fields.split_first_chunk::<16>()?;
    let first = u64::from_le_bytes(*fields.first_chunk()?);
    if *magic != MAGIC {
        return None;
    }
    // The header speaks for itself under its own UUID: only then is it another store's, and not
    // a damaged one of this store.
    let id = Uuid::from_bytes(*id);
    let other = id != *store;
    let own_key = if other { &Key::new(&id) } else { key };
    if own_key.check([covered]) != check {
        return None;
    }
    let format = u32::from_le_bytes(*format);
    Some(match KNOWN.contains(&format) {
        true if other => Header::OtherStore,
        true => Header::Valid(first),
        false => Header::OtherFormat(format),
    })
}
