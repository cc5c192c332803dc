use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

use clap::Args;
use serde_json::json;

use super::access::{Access, Use};
use super::error::CliError;
use super::execute;
use super::output::{Output, printable};
use super::place::{Bytes, NamePath, Place, StoreAt};
use super::remote::Remote;
use super::request::{Request, Response, Status as Facts};
use crate::fuse::mounts;

/// Show where a store is mounted and who holds it; without a store, all mounts.
#[derive(Debug, Args)]
pub struct Status {
    /// The store, or a directory it is mounted on
    store: Option<OsString>,
    /// Show how a mounted store is doing: the JSON of the mount's .kfs/stats.json
    #[arg(long, requires = "store")]
    stats: bool,
}

impl Status {
    pub(super) fn run(self, out: &mut Output) -> Result<(), CliError> {
        let Some(store) = self.store else {
            return all(out);
        };
        let place = Place::parse(&store)?;
        if self.stats {
            return stats(place, out);
        }
        if let StoreAt::Mount(entry) = &place.store {
            // That nobody serves it is what one wants to know of a mount.
            return show(Remote::of_mount(entry)?.status(), out);
        }
        let access = Access::open(
            &Place {
                path: NamePath::default(),
                ..place
            },
            Use::Read,
        )?;
        let facts = match &access {
            Access::Own(holder) => execute::status(holder.store()),
            Access::Daemon(daemon, _) => daemon.status().clone(),
        };
        access.close()?;
        show(&facts, out)
    }
}

/// Shows how a store is doing.
fn stats(place: Place, out: &mut Output) -> Result<(), CliError> {
    let path = NamePath::default();
    let mut access = Access::open(&Place { path, ..place }, Use::Read)?;
    let response = access.call(Request::Stats)?;
    access.close()?;
    match response {
        Response::Stats(json) => out.line(json),
        _ => Err(Access::unexpected()),
    }
}

/// Shows one store.
pub(super) fn show(facts: &Facts, out: &mut Output) -> Result<(), CliError> {
    if out.wants_json() {
        return out.json(&as_json(facts));
    }
    let mounted = match &facts.mountpoint {
        Some(point) => format!("{}, by process {}", printable(&point.0), facts.pid),
        None => "no".to_owned(),
    };
    out.line(format!("location   {}", facts.location))?;
    if let Some(store) = &facts.lies_over {
        out.line(format!("lies over  {store}, to which nothing is written"))?;
    }
    out.line(format!("id         {}", facts.id))?;
    out.line(format!("mounted    {mounted}"))?;
    if facts.read_only && facts.mountpoint.is_some() {
        out.line("access     for reading only")?;
    }
    out.line(format!("sequence   {}", facts.seq))
}

fn as_json(facts: &Facts) -> serde_json::Value {
    let mountpoint = facts
        .mountpoint
        .as_ref()
        .map(|point| String::from_utf8_lossy(&point.0).into_owned());
    json!({
        "location": facts.location,
        "lies-over": facts.lies_over,
        "id": facts.id,
        // Only a daemon's process is worth knowing.
        "pid": mountpoint.as_ref().map(|_| facts.pid),
        "mountpoint": mountpoint,
        "read-only": mountpoint.as_ref().map(|_| facts.read_only),
        "sequence": facts.seq,
        "version": facts.version,
    })
}

fn all(out: &mut Output) -> Result<(), CliError> {
    let mounts = mounts().map_err(|e| CliError::io("/proc/self/mountinfo", e))?;
    let mut found = Vec::new();
    let mut rows = vec![["MOUNTPOINT", "PID", "SEQUENCE", "ID", "LOCATION"].map(str::to_owned)];
    for entry in mounts.into_iter().filter(|entry| entry.is_kfs()) {
        let point = entry.point.as_os_str().as_bytes();
        match Remote::of_mount(&entry) {
            Ok(remote) => {
                // Where it is seen here, as in a bind mount.
                let facts = Facts {
                    mountpoint: Some(Bytes(point.to_vec())),
                    ..remote.status().clone()
                };
                rows.push([
                    printable(point),
                    facts.pid.to_string(),
                    facts.seq.to_string(),
                    facts.id.to_string(),
                    facts.location.clone(),
                ]);
                found.push(as_json(&facts));
            }
            Err(_) => {
                let location = entry.source.display().to_string();
                let silent = "(no answer)".to_owned();
                rows.push([
                    printable(point),
                    "-".to_owned(),
                    "-".to_owned(),
                    silent,
                    location.clone(),
                ]);
                found.push(json!({
                    "location": location, "id": null, "pid": null,
                    "mountpoint": String::from_utf8_lossy(point), "sequence": null,
                }));
            }
        }
    }
    if out.wants_json() {
        return out.json(&found);
    }
    if found.is_empty() {
        return out.line("no store is mounted");
    }
    let width = |column: usize| {
        rows.iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..4).map(width).chain([0]).collect();
    for row in &rows {
        let cells: Vec<String> = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        out.line(cells.join("  ").trim_end())?;
    }
    Ok(())
}
