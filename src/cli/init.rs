use std::ffi::OsString;

use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;

use super::error::CliError;
use super::output::Output;
use super::place::location;
use crate::codec::{self, Compressor, Serializer, Settings};
use crate::store::{CreateOptions, Location, Store, StoreError};

/// Create a store.
#[derive(Debug, Args)]
pub struct Init {
    /// Where: a directory that is new or empty
    store: OsString,
    /// Its UUID (a new one if not given)
    #[arg(long, value_name = "UUID")]
    id: Option<Uuid>,
    #[command(flatten)]
    writing: Writing,
}

/// How blobs are written.
#[derive(Debug, Args)]
pub(super) struct Writing {
    /// How values are compressed (lz4, unless the store says otherwise)
    #[arg(long, value_name = "HOW")]
    pub(super) compress: Option<Compression>,
    /// How values are written down (cbor, unless the store says otherwise)
    #[arg(long, value_name = "HOW")]
    pub(super) serializer: Option<Serialization>,
}

/// These settings with what is asked for.
pub(super) fn over(
    settings: Settings,
    compress: Option<Compression>,
    serializer: Option<Serialization>,
) -> Settings {
    let compressor = compress.map(|how| match how {
        Compression::Lz4 => Compressor::Lz4,
        Compression::Zstd => Compressor::Zstd,
        Compression::None => Compressor::None,
    });
    let serializer = serializer.map(|how| match how {
        Serialization::Cbor => codec::Cbor.name(),
        Serialization::Edn => codec::Edn.name(),
        Serialization::Json => codec::Json.name(),
    });
    Settings {
        serializer: serializer.map_or(settings.serializer, str::to_owned),
        compressor: compressor.unwrap_or(settings.compressor),
    }
}

/// How values are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
pub enum Compression {
    /// LZ4, where it saves space
    Lz4,
    /// Zstandard, where it saves space: smaller, and slower to write
    Zstd,
    /// Not at all
    None,
}

/// How values are written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
pub enum Serialization {
    /// Binary
    Cbor,
    /// Text for people; slower, and readable in the store's files where it is not compressed
    Edn,
    /// Text that many programs read
    Json,
}

impl Init {
    pub(super) fn run(self, out: &mut Output) -> Result<(), CliError> {
        let location = location(&self.store)?;
        if matches!(location, Location::Memory(_)) {
            let why = "a store in memory lives in the process of its mount, which makes it: kfs mount mem: DIR";
            return Err(CliError::refused(self.store.display().to_string(), why));
        }
        let writing = &self.writing;
        let store = Store::create(
            &location,
            &CreateOptions {
                id: self.id,
                settings: over(Settings::default(), writing.compress, writing.serializer),
                ..CreateOptions::default()
            },
        )
        .map_err(|e| match e {
            // What is missing here is not a store but the room for one.
            StoreError::NotAStore { location, reason } => CliError::refused(location, reason),
            other => other.into(),
        })?;
        let id = store.id();
        store.release()?;
        if out.wants_json() {
            out.json(&json!({"id": id, "location": location.to_string()}))
        } else {
            out.line(format!("created store {id} at {location}"))
        }
    }
}
