//! The frames of a stream, drawn in [`stream`](super::stream).

use std::io::{self, Read};

use crate::codec::{pack, unpack};

const MAGIC: &[u8; 8] = b"kfs send";
/// The version that is written, and the only one that is read.
const VERSION: u32 = 1;
/// The most bytes of a frame, stored or not.
const LONGEST: u32 = 40 << 20;
/// Bytes of a frame before its check, and of the check.
const HEADER: usize = 10;
const CHECK: usize = 32;

/// A stream that is not as it was written.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// It is something else.
    #[error("this is no stream of `kfs send`")]
    NotAStream,
    /// A later program wrote it.
    #[error("the stream has version {found}, and {VERSION} is known here; use a newer kfs")]
    Version {
        /// Its version.
        found: u32,
    },
    /// Its end is missing.
    #[error("the stream ends early, after {offset} bytes")]
    Truncated {
        /// Bytes that came.
        offset: u64,
    },
    /// Its bytes are others.
    #[error("the stream is damaged before byte {offset}: {reason}")]
    Damaged {
        /// Where the frame ends in which it is.
        offset: u64,
        /// What is wrong.
        reason: String,
    },
    /// It is whole, and something that it needs is neither in it nor in the store.
    #[error("the stream does not fit the store: {reason}")]
    Incomplete {
        /// What is missing.
        reason: String,
    },
    /// It could not be read.
    #[error("reading the stream: {0}")]
    Io(#[source] io::Error),
}

/// What a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Begin,
    Items,
    End,
}

impl Kind {
    fn number(self) -> u8 {
        match self {
            Self::Begin => 1,
            Self::Items => 2,
            Self::End => 3,
        }
    }

    fn of(number: u8) -> Option<Self> {
        [Self::Begin, Self::Items, Self::End]
            .into_iter()
            .find(|kind| kind.number() == number)
    }
}

/// What stands before the first frame.
fn preamble() -> Vec<u8> {
    [&MAGIC[..], &VERSION.to_be_bytes()].concat()
}

/// Makes frames.
#[derive(Debug, Default)]
pub(super) struct Framer(Option<[u8; CHECK]>);

impl Framer {
    /// The next frame; the first comes with what stands before it. `None` if it is too long.
    pub(super) fn frame(&mut self, kind: Kind, payload: &[u8]) -> Option<Vec<u8>> {
        let mut out = match self.0 {
            None => preamble(),
            Some(_) => Vec::new(),
        };
        let before = self.0.unwrap_or_else(|| *blake3::hash(&out).as_bytes());
        let (packing, stored) = pack(payload);
        let length = |bytes: &[u8]| {
            let length = u32::try_from(bytes.len()).ok();
            length.filter(|length| *length <= LONGEST)
        };
        let header = [
            &[kind.number(), packing][..],
            &length(&stored)?.to_be_bytes(),
            &length(payload)?.to_be_bytes(),
        ]
        .concat();
        let check = check(&before, &header, &stored);
        self.0 = Some(check);
        out.extend_from_slice(&header);
        out.extend_from_slice(&check);
        out.extend_from_slice(&stored);
        Some(out)
    }
}

fn check(before: &[u8; CHECK], header: &[u8], stored: &[u8]) -> [u8; CHECK] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(before).update(header).update(stored);
    *hasher.finalize().as_bytes()
}

/// Reads frames. What it gives was verified.
pub(super) struct Frames<R> {
    stream: R,
    offset: u64,
    check: [u8; CHECK],
}

impl<R: Read> Frames<R> {
    /// Reads what stands before the first frame.
    pub(super) fn new(stream: R) -> Result<Self, StreamError> {
        let mut frames = Self {
            stream,
            offset: 0,
            check: *blake3::hash(&preamble()).as_bytes(),
        };
        let mut begin = [0; 12];
        let read = frames.fill(&mut begin);
        let (magic, version) = begin.split_at(MAGIC.len());
        if magic != MAGIC {
            return Err(match read {
                Err(StreamError::Truncated { offset: 0 }) => StreamError::Truncated { offset: 0 },
                Err(StreamError::Io(error)) => StreamError::Io(error),
                _ => StreamError::NotAStream,
            });
        }
        read?;
        let found = version.try_into().map(u32::from_be_bytes).unwrap_or(0);
        if found != VERSION {
            return Err(StreamError::Version { found });
        }
        Ok(frames)
    }

    /// Bytes read.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// The next frame.
    pub(super) fn next(&mut self) -> Result<(Kind, Vec<u8>), StreamError> {
        let mut header = [0; HEADER];
        self.fill(&mut header)?;
        let [kind, packing, a, b, c, d, e, f, g, h] = header;
        let stored = u32::from_be_bytes([a, b, c, d]);
        let length = u32::from_be_bytes([e, f, g, h]);
        // Nothing vouches for the lengths yet.
        if stored.max(length) > LONGEST {
            return Err(self.damaged("a frame that is too long"));
        }
        let mut found = [0; CHECK];
        self.fill(&mut found)?;
        let mut bytes = Vec::new();
        let source = (&mut self.stream).take(stored.into());
        let read = { source }
            .read_to_end(&mut bytes)
            .map_err(StreamError::Io)?;
        self.offset += read as u64;
        if read < stored as usize {
            return Err(StreamError::Truncated {
                offset: self.offset,
            });
        }
        let expected = check(&self.check, &header, &bytes);
        if expected != found {
            return Err(self.damaged("a wrong checksum"));
        }
        self.check = expected;
        let kind = Kind::of(kind).ok_or_else(|| self.damaged("a frame of an unknown kind"))?;
        let payload = unpack(packing, &bytes, length.into())
            .map_err(|check| self.damaged(check.to_string()))?;
        if payload.len() != length as usize {
            return Err(self.damaged("a frame of another length"));
        }
        Ok((kind, payload.into_owned()))
    }

    /// An error unless nothing follows.
    pub(super) fn end(&mut self) -> Result<(), StreamError> {
        match self.fill(&mut [0]) {
            Err(StreamError::Truncated { .. }) => Ok(()),
            Err(error) => Err(error),
            Ok(()) => Err(self.damaged("something follows its end")),
        }
    }

    pub(super) fn damaged(&self, reason: impl ToString) -> StreamError {
        StreamError::Damaged {
            offset: self.offset,
            reason: reason.to_string(),
        }
    }

    fn fill(&mut self, mut place: &mut [u8]) -> Result<(), StreamError> {
        while !place.is_empty() {
            match self.stream.read(place) {
                Ok(0) => {
                    return Err(StreamError::Truncated {
                        offset: self.offset,
                    });
                }
                Ok(count) => {
                    self.offset += count as u64;
                    place = place.get_mut(count..).unwrap_or_default();
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(StreamError::Io(error)),
            }
        }
        Ok(())
    }
}
