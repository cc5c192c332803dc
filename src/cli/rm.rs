use std::ffi::OsString;

use clap::Args;

use super::access::{Access, Use};
use super::error::CliError;
use super::exit::Exit;
use super::ls::nothing;
use super::output::Output;
use super::place::{NamePath, Place};
use super::request::{Request, Response};
use super::resolve::resolve;
use crate::store::Store;

/// Remove an entry.
///
/// In a vector, the last element goes and any other becomes nil, so that none changes its index.
#[derive(Debug, Args)]
pub struct Rm {
    /// The store, or a path inside a mount
    store: OsString,
    /// What to remove, as written in the mount
    path: Option<OsString>,
    /// Also a map or vector with entries
    #[arg(short, long)]
    recursive: bool,
    /// It is no error if nothing is there
    #[arg(short, long)]
    force: bool,
}

impl Rm {
    pub(super) fn run(self, _out: &mut Output) -> Result<(), CliError> {
        let place = Place::with_path(&self.store, self.path.as_deref())?;
        if place.path.is_root() {
            let why = "the whole store, not an entry of it; kfs destroy deletes a store";
            return Err(CliError::refused(place.to_string(), why));
        }
        let mut access = Access::open(&place, Use::Write)?;
        match access.done(Request::Remove {
            path: place.path,
            recursive: self.recursive,
        }) {
            Err(error) if self.force && error.exit() == Exit::NotFound => {}
            other => other?,
        }
        access.close()
    }
}

/// Answers [`Request::Remove`].
pub fn remove(store: &Store, path: &NamePath, recursive: bool) -> Result<Response, CliError> {
    let keys = resolve(store, path)?;
    store.transact(|tx| {
        let Some(found) = tx.find(&keys)? else {
            return Err(nothing(path).in_transaction());
        };
        if !recursive && found.entry.children().is_some_and(|map| !map.is_empty()) {
            let why = "a map or vector with entries; kfs rm -r removes it with all of them";
            return Err(CliError::refused(path.to_string(), why).in_transaction());
        }
        let now = tx.now;
        tx.remove(keys.clone(), Some(now))
    })?;
    Ok(Response::Done)
}
