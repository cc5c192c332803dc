use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use clap::{Args, Subcommand};
use serde_json::{Value as Json, json};

use super::access::{Access, Use};
use super::entry::Stamp;
use super::error::CliError;
use super::get::decode;
use super::output::Output;
use super::place::{NamePath, Place};
use super::request::{Request, Response};
use super::retain::Prune;
use super::snapshot_request::{
    DifferenceInfo, Side, SnapshotInfo, SnapshotRequest, SnapshotResponse,
};
use crate::tree::Time;
use crate::value::{edn, json};

/// Characters of a value on a line of text.
const SHOWN: usize = 200;

/// Take snapshots of a store, compare them, bring back what they have.
///
/// A snapshot is the whole store at one instant. Taking one costs next to nothing; afterwards only
/// what changes takes space. In a mount, its files are in .kfs/snapshot/NAME.
#[derive(Debug, Subcommand)]
pub enum Snapshot {
    Create(Create),
    List(List),
    Rm(Rm),
    Diff(Diff),
    Restore(Restore),
    Prune(Prune),
}

impl Snapshot {
    pub(super) fn run(self, out: &mut Output) -> Result<(), CliError> {
        match self {
            Self::Create(verb) => verb.run(out),
            Self::List(verb) => verb.run(out),
            Self::Rm(verb) => verb.run(),
            Self::Diff(verb) => verb.run(out),
            Self::Restore(verb) => verb.run(),
            Self::Prune(verb) => verb.run(out),
        }
    }
}

/// Take a snapshot.
#[derive(Debug, Args)]
pub struct Create {
    /// The store, or its mount
    store: OsString,
    /// Its name; the time in UTC if not given
    name: Option<String>,
}

impl Create {
    fn run(self, out: &mut Output) -> Result<(), CliError> {
        let name = self.name.unwrap_or_else(|| {
            let now = Stamp::from(Time::now());
            now.short().replace(' ', "T") + "Z"
        });
        let mut access = whole(&self.store, Use::Write)?;
        let taken = snapshots(&mut access, SnapshotRequest::Create { name })?;
        access.close()?;
        print(&taken, out)
    }
}

/// List the snapshots of a store, the oldest first.
#[derive(Debug, Args)]
pub struct List {
    /// The store, or its mount
    store: OsString,
}

impl List {
    fn run(self, out: &mut Output) -> Result<(), CliError> {
        let mut access = whole(&self.store, Use::Read)?;
        let all = snapshots(&mut access, SnapshotRequest::List)?;
        access.close()?;
        print(&all, out)
    }
}

/// Drop snapshots. The next `kfs gc` frees what they alone needed.
#[derive(Debug, Args)]
pub struct Rm {
    /// The store, or its mount
    store: OsString,
    /// Their names
    #[arg(required = true)]
    names: Vec<String>,
}

impl Rm {
    fn run(self) -> Result<(), CliError> {
        let mut access = whole(&self.store, Use::Write)?;
        for name in self.names {
            access.done(Request::Snapshot(SnapshotRequest::Remove { name }))?;
        }
        access.close()
    }
}

/// Show what differs between two snapshots, or between one and now.
///
/// A line for each path: `+` it came, `-` it went, `~` it changed.
#[derive(Debug, Args)]
pub struct Diff {
    /// The store, or its mount
    store: OsString,
    /// The snapshot to begin with
    from: String,
    /// The snapshot to compare it with; now if not given
    to: Option<String>,
    /// Only at and below this path, as written in the mount
    #[arg(long)]
    path: Option<OsString>,
}

impl Diff {
    fn run(self, out: &mut Output) -> Result<(), CliError> {
        let mut access = whole(&self.store, Use::Read)?;
        let path = self
            .path
            .as_deref()
            .map_or(Ok(NamePath::default()), NamePath::parse)?;
        let mut skip = 0;
        loop {
            let request = SnapshotRequest::Diff {
                old: self.from.clone(),
                new: self.to.clone(),
                path: path.clone(),
                skip,
            };
            let response = access.call(Request::Snapshot(request))?;
            let Response::Snapshot(SnapshotResponse::Differences { found, more }) = response else {
                return Err(Access::unexpected());
            };
            skip += found.len();
            for found in &found {
                difference(found, out)?;
            }
            if !more {
                return access.close();
            }
        }
    }
}

fn difference(found: &DifferenceInfo, out: &mut Output) -> Result<(), CliError> {
    let change = match (&found.old, &found.new) {
        (Side::Nothing, _) => "added",
        (_, Side::Nothing) => "removed",
        (old, new) if old == new => "attributes",
        _ => "changed",
    };
    if out.wants_json() {
        return out.json(&json!({
            "path": found.path.to_string(),
            "change": change,
            "old": json_of(&found.old)?,
            "new": json_of(&found.new)?,
        }));
    }
    let (path, old, new) = (&found.path, text_of(&found.old)?, text_of(&found.new)?);
    out.line(match change {
        "added" => format!("+ {path}  {new}"),
        "removed" => format!("- {path}  {old}"),
        "attributes" => format!("~ {path}  (attributes)"),
        _ => format!("~ {path}  {old} -> {new}"),
    })
}

/// Bring back what stood at a path in a snapshot, as one write.
///
/// What is there now is replaced, or comes back if it is gone; nothing else changes. With --all the
/// whole store becomes what it was, keys that came since included.
#[derive(Debug, Args)]
pub struct Restore {
    /// The store, or a path inside a mount
    store: OsString,
    /// The path as written in the mount, an @ and the snapshot's name: user/name@monday. With --all
    /// the name alone
    path: Option<OsString>,
    /// The whole store
    #[arg(long)]
    all: bool,
}

impl Restore {
    fn run(self) -> Result<(), CliError> {
        let target = self.path.as_deref().unwrap_or(&self.store);
        let (path, name) = if self.all {
            let name = self.path.as_deref().unwrap_or_else(|| OsStr::new(""));
            (None, name.as_bytes())
        } else {
            let bytes = target.as_bytes();
            let at = bytes.iter().rposition(|b| *b == b'@');
            let parts = at.and_then(|at| bytes.split_at_checked(at));
            let (path, name) = parts.ok_or_else(|| missing_name(target))?;
            (Some(OsStr::from_bytes(path)), name)
        };
        let name = std::str::from_utf8(name).unwrap_or_default();
        let name = name.strip_prefix('@').unwrap_or(name).to_owned();
        if name.is_empty() {
            return Err(missing_name(target));
        }
        let place = match (self.path.is_some(), path) {
            (true, path) => Place::with_path(&self.store, path)?,
            (false, path) => Place::with_path(path.unwrap_or(&self.store), None)?,
        };
        if place.path.is_root() != self.all {
            return Err(CliError::usage(if self.all {
                "--all restores the whole store: kfs snapshot restore --all STORE NAME"
            } else {
                "PATH is missing before the @; the whole store is restored with --all"
            }));
        }
        let mut access = Access::open(&place, Use::Write)?;
        let path = place.path;
        access.done(Request::Snapshot(SnapshotRequest::Restore { name, path }))?;
        access.close()
    }
}

fn missing_name(target: &OsStr) -> CliError {
    CliError::usage(format!(
        "{}: which snapshot? Write kfs snapshot restore STORE PATH@NAME",
        target.display()
    ))
}

/// The way to a whole store.
pub(super) fn whole(store: &OsStr, purpose: Use) -> Result<Access, CliError> {
    let place = Place::with_path(store, None)?;
    if !place.path.is_root() {
        return Err(CliError::usage(format!(
            "{}: a snapshot is of a whole store; name the store or its mount",
            store.display()
        )));
    }
    Access::open(&place, purpose)
}

/// Asks for snapshots.
pub(super) fn snapshots(
    access: &mut Access,
    request: SnapshotRequest,
) -> Result<Vec<SnapshotInfo>, CliError> {
    match access.call(Request::Snapshot(request))? {
        Response::Snapshot(SnapshotResponse::Snapshots(found)) => Ok(found),
        _ => Err(Access::unexpected()),
    }
}

/// Prints snapshots, one to a line.
pub(super) fn print(snapshots: &[SnapshotInfo], out: &mut Output) -> Result<(), CliError> {
    for snapshot in snapshots {
        if out.wants_json() {
            out.json(&json!({
                "name": snapshot.name,
                "time": snapshot.time.full(),
                "sequence": snapshot.epoch,
            }))?;
        } else {
            out.line(format!("{}  {}", snapshot.time.short(), snapshot.name))?;
        }
    }
    Ok(())
}

/// A value on a line.
pub(super) fn text_of(side: &Side) -> Result<String, CliError> {
    Ok(match side {
        Side::Nothing => "-".to_owned(),
        Side::Value(bytes) => {
            let text = edn::print(&decode(bytes)?);
            match text.char_indices().nth(SHOWN) {
                Some((at, _)) => text.get(..at).unwrap_or(&text).to_owned() + "…",
                None => text,
            }
        }
        Side::Large { type_name, size } => format!("({type_name}, {size})"),
    })
}

/// A value in JSON; null where nothing is.
pub(super) fn json_of(side: &Side) -> Result<Json, CliError> {
    Ok(match side {
        Side::Nothing => Json::Null,
        Side::Value(bytes) => serde_json::from_str(&json::print(&decode(bytes)?))
            .map_err(|e| CliError::failed("a value", e.to_string()))?,
        Side::Large { type_name, size } => json!({"$large": {"type": type_name, "size": size}}),
    })
}
