//! Canonical CBOR (RFC 8949, core deterministic encoding) with IANA tags.
//!
//! Encoding is canonical, total and injective; decoding accepts any valid CBOR of other writers.
//!
//! | value | CBOR |
//! |---|---|
//! | nil, bool, float, text, bytes, vector, map | their own |
//! | integer | major 0 and 1 up to 64 bits, else bignum (tags 2 and 3) |
//! | keyword, symbol | tag 39, text: with a leading `:` for a keyword, without for a symbol |
//! | symbol that starts with `:` | tag 27 `["symbol", text]` |
//! | ratio, decimal | tags 30 `[numerator, denominator]` and 4 `[-scale, unscaled]` |
//! | uuid | tag 37, 16 bytes |
//! | instant | tag 1001 `{1: seconds, -9: nanoseconds}`; 0 and 1 are read too |
//! | set | tag 258, array sorted as map keys are |
//! | character, list | tag 27 `["char", text]`, `["list", [element …]]` |
//! | tagged, tag `cbor/N` | tag N, unless that would be read as one of the rows above |
//! | tagged, tag `cbor/simple` of an integer | the simple value of that number, `undefined` (23) included |
//! | tagged, any other tag | tag 27 `[tag, value]`; the tags named in this table (`list`, …) and `tagged` itself as `["tagged", [tag, value]]` |
//!
//! Decoding bounds depth ([`MAX_DEPTH`]) and lengths before it allocates.

mod decode;
mod encode;
mod error;
mod float;
mod reader;
#[cfg(test)]
mod tests;
mod writer;

pub use decode::{check_depth, decode};
pub use encode::{encode, encode_into};
pub use error::{CborError, CborErrorKind};
pub use reader::{Major, Reader};
pub use writer::Writer;

/// How deep values may nest. Reading, printing and dropping recurse; this many levels fit the
/// 2 MiB stack of a thread.
pub const MAX_DEPTH: usize = 1200;

/// Levels that a step into a map key or set element counts for: each copies the key's bytes, so
/// keys within keys are bounded more tightly.
pub(crate) const KEY_LEVELS: usize = 16;

// Tag numbers: https://www.iana.org/assignments/cbor-tags
pub(crate) mod tag {
    pub const TIME_TEXT: u64 = 0;
    pub const EPOCH: u64 = 1;
    pub const BIGNUM: u64 = 2;
    pub const NEGATIVE_BIGNUM: u64 = 3;
    pub const DECIMAL: u64 = 4;
    pub const OBJECT: u64 = 27;
    pub const RATIONAL: u64 = 30;
    pub const UUID: u64 = 37;
    pub const IDENTIFIER: u64 = 39;
    pub const SET: u64 = 258;
    pub const EXTENDED_TIME: u64 = 1001;
}
