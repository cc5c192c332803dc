//! How new blobs are written.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use super::compress::Compressor;
use super::serializer::{Cbor, Serializer};

/// How new blobs are written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The name of the serializer.
    pub serializer: String,
    /// The compressor.
    pub compressor: Compressor,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            serializer: Cbor.name().to_owned(),
            compressor: Compressor::default(),
        }
    }
}

/// The settings that all clones of a codec share, as they stand in headers: the number of the
/// serializer, then that of the compressor.
#[derive(Clone)]
pub struct Present(Arc<AtomicU16>);

impl Present {
    pub fn new(serializer: u8, compressor: Compressor) -> Self {
        Self(Arc::new(AtomicU16::new(both(serializer, compressor))))
    }

    pub fn set(&self, serializer: u8, compressor: Compressor) {
        self.0
            .store(both(serializer, compressor), Ordering::Release);
    }

    pub fn get(&self) -> (u8, Compressor) {
        let [serializer, compressor] = self.0.load(Ordering::Acquire).to_be_bytes();
        // Only numbers of compressors are put there.
        let compressor = Compressor::from_number(compressor).unwrap_or_default();
        (serializer, compressor)
    }
}

fn both(serializer: u8, compressor: Compressor) -> u16 {
    u16::from_be_bytes([serializer, compressor.number()])
}
