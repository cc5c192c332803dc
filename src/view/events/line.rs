//! The lines that tell of a record.

use std::collections::HashMap;

use serde::Serialize;

use super::super::names::{NameContext, name_of};
use super::change::{Change, Put, Step, What};
use crate::store::{API, FORK_PREFIX, SWEEP};
use crate::tree::{Time, is_hidden, links, root_key, snapshots_key};
use crate::value::edn;
use crate::value::{Instant, Key};

/// A line.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Line<'a> {
    seq: u64,
    time: &'a str,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    more: bool,
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    origin: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    from_key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    link: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    documents: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none", rename = "type")]
    kind_of_value: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    epoch: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    after: Option<u64>,
}

/// The line before all others: nothing up to this record is told.
pub(super) fn start(seq: u64, time: Time) -> String {
    alone(seq, time, "start", None)
}

/// The line instead of those that are told no more: up to this record, of which the watcher knows
/// those up to `after`.
pub(super) fn lost(seq: u64, after: Option<u64>, time: Time) -> String {
    alone(seq, time, "lost", after)
}

fn alone(seq: u64, time: Time, kind: &'static str, after: Option<u64>) -> String {
    let time = shown(time);
    let line = Line {
        seq,
        time: &time,
        kind,
        after,
        ..Line::default()
    };
    let mut out = String::new();
    append(&mut out, &line);
    out
}

/// The lines of a record. `snapshots` are the names of those that there are, and is kept so.
pub(super) fn lines(change: &Change, mount: u64, snapshots: &mut HashMap<u64, String>) -> String {
    let time = shown(change.time);
    let mut lines = changes(&change.steps, snapshots);
    if lines.is_empty() {
        lines.push(of_kind("internal"));
    }
    let origin = match change.origin {
        SWEEP => "sweep",
        origin if origin != API && origin == mount => "mount",
        _ => "api",
    };
    let mut out = String::with_capacity(lines.len() * 192);
    let last = lines.len() - 1;
    for (at, line) in lines.into_iter().enumerate() {
        let line = Line {
            seq: change.seq,
            time: &time,
            more: at < last,
            origin: Some(origin),
            ..line
        };
        append(&mut out, &line);
    }
    out
}

fn append(out: &mut String, line: &Line<'_>) {
    match serde_json::to_string(line) {
        Ok(text) => out.push_str(&text),
        Err(error) => tracing::error!(%error, "a bug: a change cannot be told"),
    }
    out.push('\n');
}

fn shown(time: Time) -> String {
    Instant::new(time.secs, time.nanos)
        .and_then(Instant::to_rfc3339)
        .unwrap_or_else(|| time.secs.to_string())
}

fn of_kind(kind: &'static str) -> Line<'static> {
    Line {
        kind,
        ..Line::default()
    }
}

/// What a record did, by path.
fn changes(steps: &[Step], snapshots: &mut HashMap<u64, String>) -> Vec<Line<'static>> {
    let placed: HashMap<u64, &Step> = steps
        .iter()
        .filter_map(|step| match step.what {
            What::Place(index) => Some((index, step)),
            _ => None,
        })
        .collect();
    let taken: Vec<&Step> = steps
        .iter()
        .filter(|step| matches!(step.what, What::Take))
        .collect();
    let from = |index: u64| taken.get(usize::try_from(index).ok()?).copied();
    // What was taken from `path` was placed where the other came from.
    let is_swap = |step: &Step, from: &Step| {
        let back = taken.iter().position(|taken| taken.path == step.path);
        back.is_some_and(|at| {
            let to = placed.get(&(at as u64));
            to.is_some_and(|to| to.path == from.path)
        })
    };
    let mut lines = Vec::new();
    let mut takes = 0;
    for step in steps {
        let line = match &step.what {
            What::Take => {
                let index = takes;
                takes += 1;
                match placed.get(&index) {
                    Some(_) => None,
                    None => plain(steps, step, "dissoc"),
                }
            }
            // A file that comes to have several names, or has them no more: what its names are
            // now is put in the same record.
            What::Place(_) if step.path.first().is_some_and(is_hidden) => None,
            What::Place(index) => match from(*index) {
                Some(source) if source.path.first().is_some_and(is_hidden) => {
                    plain(steps, step, "assoc")
                }
                Some(source) if is_swap(step, source) => {
                    let before = index.checked_sub(1).and_then(from);
                    let is_second = before.is_some_and(|before| before.path == step.path);
                    (!is_second).then(|| moved(step, source, "swap"))
                }
                Some(source) => Some(moved(step, source, "rename")),
                None => None,
            },
            What::Put(put) => line_of_put(steps, step, put, snapshots),
            What::SetAttrs => plain(steps, step, "attrs"),
            What::Write(size) => plain(steps, step, "write").map(|line| Line {
                size: Some(*size),
                ..line
            }),
            What::Touch => None,
        };
        lines.extend(line);
    }
    lines
}

/// A change at one path; `None` if it is of no concern to anybody.
fn plain(steps: &[Step], step: &Step, kind: &'static str) -> Option<Line<'static>> {
    match step.path.as_slice() {
        [] => {}
        [first] if *first == root_key() => {
            return Some(Line {
                path: Some(String::new()),
                key: Some(keys(&[])),
                ..of_kind(kind)
            });
        }
        [first, ..] if is_hidden(first) => {
            let id = links::id_of(&step.path).filter(|id| *step.path == *links::file(*id))?;
            // Where there are none, other lines of the record tell of all that hold a name.
            let documents = Some(touched(steps)).filter(|touched| !touched.is_empty())?;
            return Some(Line {
                link: Some(id),
                documents: Some(documents),
                ..of_kind(kind)
            });
        }
        _ => {}
    }
    Some(at(step, kind))
}

fn line_of_put(
    steps: &[Step],
    step: &Step,
    put: &Put,
    snapshots: &mut HashMap<u64, String>,
) -> Option<Line<'static>> {
    match step.path.as_slice() {
        // Only its attributes are anything.
        [first] if *first == root_key() => return plain(steps, step, "attrs"),
        [first, number] if *first == snapshots_key() => {
            let epoch = number.as_index()?;
            let (kind, name) = match &put.hidden {
                Some(name) => {
                    let name = String::from_utf8_lossy(name).into_owned();
                    snapshots.insert(epoch, name.clone());
                    ("snapshot", Some(name))
                }
                None => ("snapshot-drop", snapshots.remove(&epoch)),
            };
            // That of a private state is nobody's business.
            let name = name.filter(|name| !name.starts_with(FORK_PREFIX))?;
            return Some(Line {
                name: Some(name),
                epoch: Some(epoch),
                ..of_kind(kind)
            });
        }
        _ => {}
    }
    let line = plain(steps, step, "assoc")?;
    Some(Line {
        kind_of_value: put.kind,
        size: put.size,
        link: line.link.or(put.link),
        ..line
    })
}

fn moved(step: &Step, from: &Step, kind: &'static str) -> Line<'static> {
    Line {
        from: Some(named(from)),
        from_key: Some(keys(&from.path)),
        ..at(step, kind)
    }
}

fn at(step: &Step, kind: &'static str) -> Line<'static> {
    Line {
        path: Some(named(step)),
        key: Some(keys(&step.path)),
        ..of_kind(kind)
    }
}

/// The documents that the record says to have changed without a change in them.
fn touched(steps: &[Step]) -> Vec<String> {
    let touched = steps.iter().filter_map(|step| match step.what {
        What::Touch => step.path.first().filter(|key| !is_hidden(key)),
        _ => None,
    });
    touched
        .map(|key| lossy(&name_of(key, NameContext::Root)))
        .collect()
}

fn keys(path: &[Key]) -> String {
    let keys: Vec<String> = path.iter().map(|key| edn::print(&key.value())).collect();
    format!("[{}]", keys.join(" "))
}

fn lossy(name: &[u8]) -> String {
    String::from_utf8_lossy(name).into_owned()
}

/// A path as the mount names it.
fn named(step: &Step) -> String {
    let mut out = String::new();
    for (depth, key) in step.path.iter().enumerate() {
        let context = match depth {
            0 => NameContext::Root,
            _ if step.in_vectors.contains(&depth) => NameContext::Vector,
            _ => NameContext::Map,
        };
        if depth > 0 {
            out.push('/');
        }
        out.push_str(&lossy(&name_of(key, context)));
    }
    out
}
