use std::ffi::OsString;

use clap::Args;

use super::access::{Access, Use};
use super::blob::{fetch_parts, large};
use super::content::Notation;
use super::error::CliError;
use super::ls::nothing;
use super::output::Output;
use super::place::{Bytes, NamePath, Place};
use super::request::{Request, Response};
use super::resolve::resolve;
use crate::store::Store;
use crate::value::{Key, Value, cbor};

/// Print a value, as EDN if nothing else is said.
#[derive(Debug, Args)]
pub struct Get {
    /// The store, or a path inside a mount
    store: OsString,
    /// The value, as written in the mount
    path: Option<OsString>,
    /// How to print it
    #[arg(long = "as", value_name = "NOTATION")]
    notation: Option<Notation>,
    /// Over several lines, indented
    #[arg(short, long)]
    pretty: bool,
}

impl Get {
    pub(super) fn run(self, out: &mut Output) -> Result<(), CliError> {
        let place = Place::below_root(&self.store, self.path.as_deref(), "kfs get STORE PATH")?;
        let mut access = Access::open(&place, Use::Read)?;
        let fallback = if out.wants_json() {
            Notation::Json
        } else {
            Notation::Edn
        };
        let notation = self.notation.unwrap_or(fallback);
        write(
            &mut access,
            &place.path,
            notation,
            self.pretty,
            &mut |text| out.bytes(text),
        )?;
        access.close()
    }
}

/// Writes the value at a path; bytes as they are without having all of them in memory.
pub(super) fn write(
    access: &mut Access,
    path: &NamePath,
    notation: Notation,
    pretty: bool,
    sink: &mut dyn FnMut(&[u8]) -> Result<(), CliError>,
) -> Result<(), CliError> {
    match access.call(Request::Get { path: path.clone() })? {
        Response::Large { length, seq } if notation == Notation::Bytes => {
            fetch_parts(access, path, length, seq, sink)
        }
        response => {
            let value = received(access, path, response)?;
            sink(&notation.show(&value, pretty, &path.to_string())?)
        }
    }
}

/// The value at a path.
pub(super) fn fetch(access: &mut Access, path: &NamePath) -> Result<Value, CliError> {
    let response = access.call(Request::Get { path: path.clone() })?;
    received(access, path, response)
}

fn received(access: &mut Access, path: &NamePath, response: Response) -> Result<Value, CliError> {
    match response {
        Response::Value(bytes) => decode(&bytes),
        Response::Large { length, seq } => {
            let mut all = Vec::new();
            fetch_parts(access, path, length, seq, &mut |part| {
                all.extend_from_slice(part);
                Ok(())
            })?;
            Ok(Value::Bytes(all))
        }
        _ => Err(Access::unexpected()),
    }
}

/// A value that travelled.
pub(super) fn decode(bytes: &Bytes) -> Result<Value, CliError> {
    cbor::decode(&bytes.0)
        .map_err(|e| CliError::failed("a value that another process sent", e.to_string()))
}

/// Answers [`Request::Get`].
pub fn value(store: &Store, path: &NamePath) -> Result<Response, CliError> {
    let keys = resolve(store, path)?;
    if let Some((content, seq)) = large(store, &keys)? {
        return Ok(Response::Large {
            length: content.len(),
            seq,
        });
    }
    let value = store.get_in(&keys)?.ok_or_else(|| nothing(path))?;
    Ok(Response::Value(Bytes(cbor::encode(&value))))
}

/// Answers [`Request::GetKey`].
pub fn value_of(store: &Store, key: &Bytes) -> Result<Response, CliError> {
    let key = key_of(key)?;
    let value = store
        .get(&key)?
        .ok_or_else(|| CliError::not_found(key.to_string(), "nothing is there"))?;
    Ok(Response::Value(Bytes(cbor::encode(&value))))
}

/// A key that travelled.
pub(super) fn key_of(bytes: &Bytes) -> Result<Key, CliError> {
    Key::from_bytes(&bytes.0)
        .map_err(|e| CliError::failed("a key that another process sent", e.to_string()))
}
