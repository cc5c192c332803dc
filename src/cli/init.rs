use std::ffi::OsString;

use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;

use super::error::CliError;
use super::output::Output;
use super::place::location;
use super::unlock;
use crate::codec::{self, Compressor, Serializer, Settings};
use crate::crypt::Padding;
use crate::store::{CreateOptions, Encryption, Location, Store, StoreError};

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
    /// Encrypt everything: with --key-file, --passcommand, or a passphrase that is asked for
    #[arg(long)]
    encrypt: bool,
    /// How the lengths of what is encrypted are hidden
    #[arg(long, value_name = "HOW", requires = "encrypt", default_value = "none")]
    padding: Padded,
}

/// How lengths are hidden.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Padded {
    /// Not but up to the next 16 bytes
    None,
    /// Up to the next of few lengths, which takes up to 12 % more room
    Padme,
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
        if !self.encrypt && unlock::is_given() {
            let why = "a key is given, and the store is not to be encrypted: add --encrypt";
            return Err(CliError::usage(why));
        }
        // Nobody is asked for a passphrase in vain.
        if self.encrypt && Store::exists(&location) {
            let location = location.to_string();
            return Err(StoreError::Exists { location }.into());
        }
        let encryption = self.encrypt.then(|| unlock::encryption(&location));
        let encryption = encryption.transpose()?.map(|encryption| Encryption {
            padding: match self.padding {
                Padded::None => Padding::None,
                Padded::Padme => Padding::Padme,
            },
            ..encryption
        });
        let store = Store::create(
            &location,
            &CreateOptions {
                id: self.id,
                settings: over(Settings::default(), writing.compress, writing.serializer),
                encryption,
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
            let location = location.to_string();
            out.json(&json!({"id": id, "location": location, "encrypted": self.encrypt}))
        } else {
            out.line(format!("created store {id} at {location}"))
        }
    }
}
