use std::ffi::OsString;

use clap::{Args, ValueEnum};
use serde_json::json;
use uuid::Uuid;

use super::error::CliError;
use super::output::Output;
use super::place::location;
use crate::codec::Compressor;
use crate::store::{CreateOptions, Location, Store, StoreError};

/// Create a store.
#[derive(Debug, Args)]
pub struct Init {
    /// Where: a directory that is new or empty
    store: OsString,
    /// Its UUID (a new one if not given)
    #[arg(long, value_name = "UUID")]
    id: Option<Uuid>,
    /// How values are compressed
    #[arg(long, value_name = "HOW", default_value = "lz4")]
    compress: Compression,
}

/// How values are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Compression {
    /// LZ4, where it saves space
    Lz4,
    /// Not at all
    None,
}

impl Init {
    pub(super) fn run(self, out: &mut Output) -> Result<(), CliError> {
        let location = location(&self.store)?;
        if matches!(location, Location::Memory(_)) {
            let why = "a store in memory lives in the process of its mount, which makes it: kfs mount mem: DIR";
            return Err(CliError::refused(self.store.display().to_string(), why));
        }
        let compressor = match self.compress {
            Compression::Lz4 => Compressor::Lz4,
            Compression::None => Compressor::None,
        };
        let store = Store::create(
            &location,
            &CreateOptions {
                id: self.id,
                compressor,
                replica: None,
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
