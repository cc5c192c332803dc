use std::ffi::OsString;

use clap::Args;

use super::access::{Access, Use};
use super::blob::{begin, put_bytes};
use super::content::{Input, Notation, file_name, open};
use super::error::CliError;
use super::get::{decode, key_of};
use super::output::Output;
use super::place::{Bytes, NamePath, Place};
use super::request::{Expect, Request, Response};
use super::resolve::{in_names, resolve};
use crate::store::Store;
use crate::value::cbor;

/// Put a value at a path.
///
/// Maps that are missing on the way are made. In a vector, an index replaces an element, and the
/// index after the last one appends. A VALUE that begins with a dash comes after `--`.
#[derive(Debug, Args)]
pub struct Put {
    /// The store, or a path inside a mount that stands for STORE PATH
    store: OsString,
    /// Where, as written in the mount
    #[arg(allow_negative_numbers = true)]
    path: Option<OsString>,
    /// The value; none with --file
    #[arg(allow_negative_numbers = true)]
    value: Option<OsString>,
    #[command(flatten)]
    input: Input,
    /// Only if there is nothing yet
    #[arg(long)]
    new: bool,
}

const SYNOPSIS: &str = "kfs put STORE PATH VALUE, or kfs put STORE PATH --file FILE";

impl Put {
    pub(super) fn run(self, _out: &mut Output) -> Result<(), CliError> {
        // The last argument is the value, unless it comes from a file.
        let (path, argument) = match (self.path, self.value, &self.input.file) {
            (path, None, Some(_)) => (path, None),
            (path, Some(value), _) => (path, Some(value)),
            (value, None, None) => (None, value),
        };
        let place = Place::below_root(&self.store, path.as_deref(), SYNOPSIS)?;
        let expect = if self.new {
            Expect::Absent
        } else {
            Expect::Any
        };
        if let (None, Some(file), Notation::Bytes) =
            (&argument, &self.input.file, self.input.notation)
        {
            let what = file_name(file);
            let source = begin(open(file)?, &what)?;
            let mut access = Access::open(&place, Use::Write)?;
            put_bytes(&mut access, &place.path, source, &what, expect, &mut |_| {})?;
            return access.close();
        }
        let value = self.input.value(argument.as_deref())?;
        let mut access = Access::open(&place, Use::Write)?;
        access.done(Request::Put {
            path: place.path,
            value: Bytes(cbor::encode(&value)),
            expect,
        })?;
        access.close()
    }
}

/// Answers [`Request::Put`].
pub fn put(
    store: &Store,
    path: &NamePath,
    value: &Bytes,
    expect: &Expect,
) -> Result<Response, CliError> {
    let value = decode(value)?;
    let expected = match expect {
        Expect::Value(bytes) => Some(decode(bytes)?),
        Expect::Any | Expect::Absent => None,
    };
    let keys = resolve(store, path)?;
    if *expect == Expect::Any {
        store
            .assoc_in(&keys, &value)
            .map_err(|e| in_names(path, e))?;
        return Ok(Response::Done);
    }
    let done = store.transact(|tx| {
        let present = tx.value(&keys)?;
        match (&present, &expected) {
            (Some(_), None) => Err(CliError::refused(
                path.to_string(),
                "something is there already",
            )
            .in_transaction()),
            (present, Some(_)) if *present != expected => Err(CliError::refused(
                path.to_string(),
                "changed by somebody else meanwhile",
            )
            .in_transaction()),
            _ => tx.assoc_in(&keys, &value),
        }
    });
    done.map_err(|e| in_names(path, e))?;
    Ok(Response::Done)
}

/// Answers [`Request::PutKey`].
pub fn put_key(store: &Store, key: &Bytes, value: &Bytes) -> Result<Response, CliError> {
    store.assoc(&key_of(key)?, &decode(value)?)?;
    Ok(Response::Done)
}
