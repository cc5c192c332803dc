use std::ffi::OsString;

use clap::{Args, ValueEnum};
use num_bigint::BigInt;

use super::access::{Access, Use};
use super::error::CliError;
use super::get::decode;
use super::output::Output;
use super::place::{Bytes, NamePath, Place};
use super::request::{Request, Response};
use super::resolve::resolve;
use crate::store::Store;
use crate::value::{Value, cbor, edn};
use crate::view::render::TypeName;

/// Change a value by a function of it, atomically, and print the new value.
#[derive(Debug, Args)]
pub struct Update {
    /// The store, or with PATH a path inside a mount
    store: OsString,
    /// The value, as written in the mount
    path: OsString,
    /// What to do with it
    function: Function,
    /// How often, each time as an update of its own
    #[arg(long, default_value_t = 1)]
    times: u64,
}

/// A function of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Function {
    /// Add one to an integer; nothing or nil counts as 0
    Inc,
}

impl Update {
    pub(super) fn run(self, out: &mut Output) -> Result<(), CliError> {
        let place = Place::below_root(&self.store, Some(&self.path), "kfs update STORE PATH inc")?;
        let mut access = Access::open(&place, Use::Write)?;
        let mut last = None;
        for _ in 0..self.times {
            let request = match self.function {
                Function::Inc => Request::Increment {
                    path: place.path.clone(),
                },
            };
            let Response::Value(value) = access.call(request)? else {
                return Err(Access::unexpected());
            };
            last = Some(value);
        }
        access.close()?;
        match last {
            Some(value) => out.line(edn::print(&decode(&value)?)),
            None => Ok(()),
        }
    }
}

/// Answers [`Request::Increment`].
pub fn increment(store: &Store, path: &NamePath) -> Result<Response, CliError> {
    let keys = resolve(store, path)?;
    let change = store.update_in(&keys, |old| match old {
        None | Some(Value::Nil) => Ok(Value::Int(1)),
        Some(Value::Int(n)) => Ok(Value::integer(BigInt::from(*n) + 1)),
        Some(Value::BigInt(n)) => Ok(Value::integer(&**n + 1)),
        Some(other) => {
            let found = TypeName::of(other);
            Err(CliError::refused(
                path.to_string(),
                format!("a value of type {found}, not an integer"),
            ))
        }
    })?;
    Ok(Response::Value(Bytes(cbor::encode(&change.new))))
}
