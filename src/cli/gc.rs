use std::ffi::OsString;

use clap::Args;
use serde_json::json;

use super::access::{Access, Use};
use super::error::CliError;
use super::output::Output;
use super::place::Place;
use super::request::{Request, Response};
use crate::gc;
use crate::store::Store;

/// Free the space of what is in use no more.
///
/// A write leaves the old content on disk. This finds out what the values of the store still need,
/// also what an open file holds that was replaced or removed, and removes the rest. Reading and
/// writing go on meanwhile. A mount does it by itself when as much has been written as half of what
/// was in use the last time, but at least 256 MiB.
///
/// Where something does not read, nothing is removed.
#[derive(Debug, Args)]
pub struct Gc {
    /// The store, or its mount
    store: OsString,
}

impl Gc {
    pub(super) fn run(self, out: &mut Output) -> Result<(), CliError> {
        let place = Place::with_path(&self.store, None)?;
        if !place.path.is_root() {
            return Err(CliError::usage(
                "kfs gc works on a whole store; name the store or its mount",
            ));
        }
        let mut access = Access::open(&place, Use::Write)?;
        let Response::Reclaimed { freed, live } = access.call(Request::Reclaim)? else {
            return Err(Access::unexpected());
        };
        access.close()?;
        if out.wants_json() {
            return out.json(&json!({ "freed-pages": freed, "used-pages": live }));
        }
        out.line(format!("{freed} pages freed, {live} in use"))
    }
}

/// Answers [`Request::Reclaim`].
pub fn reclaim(store: &Store) -> Result<Response, CliError> {
    let done = gc::reclaim(store)?;
    Ok(Response::Reclaimed {
        freed: done.freed,
        live: done.live,
    })
}
