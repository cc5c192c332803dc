//! Which check refused a blob.

use std::fmt;
use std::io;

use super::serializer::{SERIALIZER_EDN, SERIALIZER_JSON};

/// A blob that cannot be made, or is not what was written at its address.
#[derive(Debug, thiserror::Error)]
#[error("{operation} blob {address}: {check}", address = Printable(address))]
pub struct CodecError {
    operation: &'static str,
    address: Box<[u8]>,
    /// The check that failed.
    #[source]
    pub check: Check,
}

impl CodecError {
    pub(super) fn new(operation: &'static str, address: &[u8], check: Check) -> Self {
        Self {
            operation,
            address: address.into(),
            check,
        }
    }

    /// The blob's address.
    #[must_use]
    pub fn address(&self) -> &[u8] {
        &self.address
    }
}

/// What is wrong with bytes that a serializer cannot read.
pub type Unreadable = Box<dyn std::error::Error + Send + Sync>;

/// The checks that a blob goes through, in this order.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Check {
    /// It has konserve's layout, which can only be imported.
    #[error("layout version 1, which is konserve's: import the store instead")]
    VersionKonserve,
    /// It has a layout that is not known here.
    #[error("layout version {version} is not known to this program (it knows 2)")]
    Version {
        /// The blob's version.
        version: u8,
    },
    /// It is shorter than a header.
    #[error("{length} bytes are too short for a header")]
    Short {
        /// Its length.
        length: usize,
    },
    /// Another serializer made it.
    #[error("serializer {number} is not known{}", if *number < 128 { "" } else { ": the program that wrote it has registered it" })]
    Serializer {
        /// The serializer's number.
        number: u8,
    },
    /// Another compressor made it.
    #[error("compressor {number} is not known")]
    Compressor {
        /// The compressor's number.
        number: u8,
    },
    /// It is encrypted in a way that is not known here.
    #[error("encryptor {number} is not known")]
    Encryptor {
        /// The encryptor's number.
        number: u8,
    },
    /// The meta is longer than the blob, or than a blob can have.
    #[error("the meta's length does not fit the blob")]
    MetaLength,
    /// The checksum does not hold: other bytes, another address, or another store.
    #[error("the checksum does not match content, address and store")]
    Checksum,
    /// A page's value is not the one that its address, which is a checksum of it, stands for.
    #[error(
        "the content is damaged or that of another page: its address is the checksum of another"
    )]
    Content,
    /// The value is larger than the limit.
    #[error("a value of {size} bytes is above the limit of {limit}")]
    Size {
        /// Its size.
        size: u64,
        /// The limit.
        limit: u64,
    },
    /// The compressed value lacks its size, or has another one than it says.
    #[error("the compressed value does not have the size that it states")]
    ContentSize,
    /// The meta or the value is not what the serializer writes.
    #[error("it is no valid {}: {source}", named(*number))]
    Deserialize {
        /// The serializer's number.
        number: u8,
        /// What the serializer said.
        source: Unreadable,
    },
    /// The compressed value is no valid frame.
    #[error("the value does not decompress: {source}")]
    Decompress {
        /// What the decompressor said.
        source: io::Error,
    },
}

/// What a serializer writes, for messages.
fn named(number: u8) -> String {
    match number {
        SERIALIZER_EDN => "EDN".to_owned(),
        SERIALIZER_JSON => "JSON".to_owned(),
        _ => format!("text of serializer {number}"),
    }
}

/// Bytes with everything but printable ASCII escaped.
struct Printable<'a>(&'a [u8]);

impl fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.escape_ascii())
    }
}
