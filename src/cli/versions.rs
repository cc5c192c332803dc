use std::ffi::OsString;

use clap::Args;
use serde_json::json;

use super::access::{Access, Use};
use super::error::CliError;
use super::output::Output;
use super::place::Place;
use super::request::{Request, Response};
use super::snapshot::{json_of, text_of};
use super::snapshot_request::{SnapshotRequest, SnapshotResponse, VersionInfo};

/// Show the versions of a value that the snapshots have, the present one first.
///
/// A line says when its key was last written, the oldest snapshot that has the version, and the
/// value.
#[derive(Debug, Args)]
pub struct Log {
    /// The store, or a path inside a mount
    store: OsString,
    /// The value, as written in the mount
    path: Option<OsString>,
}

impl Log {
    pub(super) fn run(self, out: &mut Output) -> Result<(), CliError> {
        let place = Place::below_root(&self.store, self.path.as_deref(), "kfs log STORE PATH")?;
        let mut access = Access::open(&place, Use::Read)?;
        let path = place.path.clone();
        let response = access.call(Request::Snapshot(SnapshotRequest::History { path }))?;
        access.close()?;
        let Response::Snapshot(SnapshotResponse::Versions(versions)) = response else {
            return Err(Access::unexpected());
        };
        if versions.is_empty() {
            return Err(super::ls::nothing(&place.path));
        }
        versions.iter().try_for_each(|version| print(version, out))
    }
}

fn print(version: &VersionInfo, out: &mut Output) -> Result<(), CliError> {
    let since = version.since.as_ref().map(|snapshot| &snapshot.name);
    if out.wants_json() {
        return out.json(&json!({
            "last-write": version.last_write.map(|time| time.full()),
            "snapshot": since,
            "value": json_of(&version.value)?,
        }));
    }
    let time = version.last_write.map(|time| time.short());
    let (time, since) = (
        time.unwrap_or_else(|| "(not there)".to_owned()),
        since.map_or("(now)", String::as_str),
    );
    out.line(format!("{time:19}  {since}  {}", text_of(&version.value)?))
}
