use std::ffi::OsString;
use std::time::Duration;

use clap::Args;
use serde_json::Value as Json;

use super::access::{Access, Use};
use super::error::CliError;
use super::output::{Output, printable};
use super::place::{NamePath, Place};
use super::remote::Remote;
use super::request::{Request, Response};
use crate::store::Store;
use crate::view::View;

/// How long the daemon may wait for something to tell. Afterwards this process looks whether anybody
/// still reads what it prints.
const WAIT: Duration = Duration::from_secs(5);

/// Show what changes in a mounted store, as it happens.
///
/// A line for each change; with --json as the mount's .kfs/events has them. Ends when the mount does.
/// A line of the kind "lost" says that changes were missed: look at the store anew.
#[derive(Debug, Args)]
pub struct Watch {
    /// The store, its mount, or a path inside
    store: OsString,
    /// Only what concerns these entries, as written in the mount
    paths: Vec<OsString>,
    /// Begin with what follows the change with this number
    #[arg(long, value_name = "NUMBER")]
    since: Option<u64>,
}

impl Watch {
    pub(super) fn run(self, out: &mut Output) -> Result<(), CliError> {
        let place = Place::with_path(&self.store, None)?;
        let mut paths = Vec::new();
        for path in &self.paths {
            paths.push(place.path.clone().join(NamePath::parse(path)?));
        }
        if paths.is_empty() {
            paths.push(place.path.clone());
        }
        let paths: Vec<Vec<String>> = paths.iter().map(names).collect();
        let whole = Place {
            path: NamePath::default(),
            ..place
        };
        match Access::open(&whole, Use::Read)? {
            Access::Daemon(mut daemon, _) => follow(&mut daemon, self.since, &paths, out),
            own @ Access::Own(_) => {
                own.close()?;
                Err(unmounted(&whole.to_string()))
            }
        }
    }
}

fn unmounted(what: &str) -> CliError {
    let why = "not mounted: there is no daemon that could tell; mount it first";
    CliError::refused(what, why)
}

fn follow(
    daemon: &mut Remote,
    since: Option<u64>,
    paths: &[Vec<String>],
    out: &mut Output,
) -> Result<(), CliError> {
    let mut after = since;
    loop {
        // The first answer only says where to begin.
        let wait = if after.is_none() {
            Duration::ZERO
        } else {
            WAIT
        };
        let wait = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        match daemon.call(&Request::Watch { after, wait })? {
            Some(Response::Events { lines, seq, closed }) => {
                lines.lines().try_for_each(|line| print(line, paths, out))?;
                out.flush()?;
                if closed {
                    return Ok(());
                }
                after = Some(seq);
            }
            Some(_) => return Err(Access::unexpected()),
            None => {
                let what = daemon.status().location.clone();
                let why = format!(
                    "its daemon ended after change {}",
                    after.map_or_else(|| "(none)".to_owned(), |seq| seq.to_string())
                );
                return Err(CliError::failed(what, why));
            }
        }
        if out.is_abandoned() {
            return Err(CliError::OutputClosed);
        }
    }
}

/// Names as they stand in a line.
fn names(path: &NamePath) -> Vec<String> {
    let names = path.0.iter();
    names
        .map(|name| String::from_utf8_lossy(&name.0).into_owned())
        .collect()
}

fn print(text: &str, paths: &[Vec<String>], out: &mut Output) -> Result<(), CliError> {
    let line: Json = serde_json::from_str(text).map_err(|_| Access::unexpected())?;
    if !concerns(&line, paths) {
        return Ok(());
    }
    if out.wants_json() {
        return out.line(text);
    }
    let field = |name: &str| line.get(name).and_then(Json::as_str);
    let number = |name: &str| line.get(name).and_then(Json::as_u64);
    let shown = |text: &str| printable(text.as_bytes());
    let time = field("time").unwrap_or_default();
    let time: String = time.chars().take("2026-01-02T03:04:05".len()).collect();
    let mut what = vec![field("kind").unwrap_or("?").to_owned()];
    what.extend(field("path").map(|path| match path {
        "" => "(the root)".to_owned(),
        path => shown(path),
    }));
    what.extend(field("from").map(|from| format!("from {}", shown(from))));
    what.extend(field("name").map(shown));
    if let Some(documents) = line.get("documents").and_then(Json::as_array) {
        let names: Vec<&str> = documents.iter().filter_map(Json::as_str).collect();
        let names = shown(&names.join(" "));
        what.push(format!("a file with several names, in {names}"));
    }
    what.extend(field("type").map(str::to_owned));
    what.extend(number("size").map(|size| size.to_string()));
    if field("kind") == Some("lost") {
        let until = number("seq").unwrap_or(0);
        what.push(format!("what changed up to {until} is told no more"));
    }
    what.extend(field("origin").map(|origin| format!("({origin})")));
    out.line(format!("{}  {}", time.replace('T', " "), what.join("  ")))
}

/// Whether a change is at, below or above one of the paths; what is at no path concerns everybody
/// who watches the whole store, and what was missed everybody.
fn concerns(line: &Json, paths: &[Vec<String>]) -> bool {
    if matches!(
        line.get("kind").and_then(Json::as_str),
        Some("lost" | "start")
    ) {
        return true;
    }
    let mut places: Vec<Vec<&str>> = Vec::new();
    for field in ["path", "from"] {
        let place = line.get(field).and_then(Json::as_str);
        places.extend(place.map(|place| place.split('/').filter(|n| !n.is_empty()).collect()));
    }
    let documents = line.get("documents").and_then(Json::as_array);
    let documents = documents.into_iter().flatten().filter_map(Json::as_str);
    places.extend(documents.map(|document| vec![document]));
    paths.iter().any(|path| {
        path.is_empty()
            || places.iter().any(|place| {
                let common = place
                    .iter()
                    .zip(path)
                    .take_while(|(a, b)| **a == b.as_str());
                common.count() == place.len().min(path.len())
            })
    })
}

/// Answers [`Request::Watch`].
pub(super) fn events(view: &View, after: Option<u64>, wait: u64) -> Response {
    let patience = Duration::from_millis(wait).min(WAIT);
    let following = view.events().after(after, patience);
    Response::Events {
        lines: following.text,
        seq: following.seq,
        closed: following.closed,
    }
}

/// The answer where there is no mount.
pub(super) fn without_mount(store: &Store) -> CliError {
    unmounted(&store.location().to_string())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn path(text: &str) -> Vec<String> {
        names(&NamePath::parse(text.as_ref()).unwrap())
    }

    #[test]
    fn a_change_concerns_what_is_at_below_and_above_it() {
        let of = |line: &Json, paths: &[&str]| {
            let paths: Vec<_> = paths.iter().map(|text| path(text)).collect();
            concerns(line, &paths)
        };
        let line = json!({"kind": "assoc", "path": "a/b"});
        for yes in ["", "a", "a/b", "a/b/c"] {
            assert!(of(&line, &[yes]), "{yes}");
            assert!(of(&line, &["z", yes]), "{yes}");
        }
        for no in ["b", "a/c", "a/bc", "a/b2/c"] {
            assert!(!of(&line, &[no]), "{no}");
        }
        let line = json!({"kind": "rename", "path": "x", "from": "a/b"});
        assert!(of(&line, &["a"]) && of(&line, &["x"]) && !of(&line, &["y"]));
        let line = json!({"kind": "write", "link": 7, "documents": ["a", "b"]});
        assert!(of(&line, &["b/c"]) && !of(&line, &["c"]));
        assert!(of(&json!({"kind": "lost"}), &["a"]));
        assert!(of(&json!({"kind": "attrs", "path": ""}), &["a"]));
        assert!(!of(&json!({"kind": "snapshot"}), &["a"]));
        assert!(of(&json!({"kind": "snapshot"}), &[""]));
    }
}
