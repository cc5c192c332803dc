//! What there is to fuzz.

use crate::{bytes, journal, store, stream, text};

/// The targets by name.
pub const TARGETS: [(&str, fn(&[u8])); 19] = [
    ("blob", bytes::blob),
    ("sealed", bytes::sealed),
    ("lz4", bytes::lz4),
    ("zstd", bytes::zstd),
    ("serializer", bytes::serializer),
    ("slots", bytes::slots),
    ("cbor", bytes::cbor),
    ("edn", text::edn),
    ("json", text::json),
    ("name", text::name),
    ("key", text::key),
    ("render", text::render),
    ("options", text::options),
    ("header", store::header),
    ("record", store::record),
    ("page", store::page),
    ("journal", journal::segment),
    ("payload", store::payload),
    ("stream", stream::stream),
];

/// The one that `KFS_FUZZ` names.
pub fn chosen() -> fn(&[u8]) {
    let name = std::env::var("KFS_FUZZ").unwrap_or_default();
    let found = TARGETS.iter().find(|(known, _)| *known == name);
    let names: Vec<&str> = TARGETS.iter().map(|(known, _)| *known).collect();
    found
        .unwrap_or_else(|| panic!("KFS_FUZZ is one of {names:?}"))
        .1
}
