//! The lines that tell of a record.

use std::collections::HashMap;

use serde::Serialize;

use super::super::names::{NameContext, name_of};
use super::super::render::TypeName;
use crate::store::{API, Committed, FORK_PREFIX, SWEEP};
use crate::tree::{Entry, Node, Op, Time, edit, is_hidden, links, root_key, snapshots_key};
use crate::value::edn;
use crate::value::{Instant, Key, KeyPath};

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
pub(super) fn lines(
    commit: &Committed<'_>,
    mount: u64,
    snapshots: &mut HashMap<u64, String>,
) -> String {
    let time = shown(commit.time);
    let mut lines = changes(commit, snapshots);
    if lines.is_empty() {
        lines.push(of_kind("internal"));
    }
    let origin = match commit.origin {
        SWEEP => "sweep",
        origin if origin != API && origin == mount => "mount",
        _ => "api",
    };
    let mut out = String::with_capacity(lines.len() * 192);
    let last = lines.len() - 1;
    for (at, line) in lines.into_iter().enumerate() {
        let line = Line {
            seq: commit.seq,
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
fn changes(commit: &Committed<'_>, snapshots: &mut HashMap<u64, String>) -> Vec<Line<'static>> {
    let placed: HashMap<u64, &KeyPath> = commit
        .ops
        .iter()
        .filter_map(|op| match op {
            Op::Place { path, index, .. } => Some((*index, path)),
            _ => None,
        })
        .collect();
    let taken: Vec<&KeyPath> = commit
        .ops
        .iter()
        .filter_map(|op| match op {
            Op::Take { path, .. } => Some(path),
            _ => None,
        })
        .collect();
    let from = |index: u64| taken.get(usize::try_from(index).ok()?).copied();
    // What was taken from `path` was placed where the other came from.
    let is_swap = |path: &KeyPath, from: &KeyPath| {
        let back = taken.iter().position(|taken| *taken == path);
        back.is_some_and(|at| placed.get(&(at as u64)).is_some_and(|to| *to == from))
    };
    let mut lines = Vec::new();
    let mut takes = 0;
    for op in commit.ops {
        let line = match op {
            Op::Take { path, .. } => {
                let index = takes;
                takes += 1;
                match placed.get(&index) {
                    Some(_) => None,
                    None => plain(commit, path, "dissoc"),
                }
            }
            // A file that comes to have several names, or has them no more: what its names are
            // now is put in the same record.
            Op::Place { path, .. } if path.first().is_some_and(is_hidden) => None,
            Op::Place { path, index, .. } => match from(*index) {
                Some(source) if source.first().is_some_and(is_hidden) => {
                    plain(commit, path, "assoc")
                }
                Some(source) if is_swap(path, source) => {
                    let is_second = *index > 0 && from(index - 1) == Some(path);
                    (!is_second).then(|| moved(commit, path, source, "swap"))
                }
                Some(source) => Some(moved(commit, path, source, "rename")),
                None => None,
            },
            Op::Put { path, entry, .. } => put(commit, path, entry, snapshots),
            Op::SetAttrs { path, .. } => plain(commit, path, "attrs"),
            Op::Write { path, patch } => plain(commit, path, "write").map(|line| Line {
                size: Some(patch.len),
                ..line
            }),
            Op::Touch { .. } => None,
        };
        lines.extend(line);
    }
    lines
}

/// A change at one path; `None` if it is of no concern to anybody.
fn plain(commit: &Committed<'_>, path: &[Key], kind: &'static str) -> Option<Line<'static>> {
    let root = root_key();
    match path {
        [] => {}
        [first] if *first == root => return Some(at(commit, &[], kind)),
        [first, ..] if is_hidden(first) => {
            let id = links::id_of(path).filter(|id| *path == *links::file(*id))?;
            // Where there are none, other lines of the record tell of all that hold a name.
            let documents = Some(touched(commit)).filter(|touched| !touched.is_empty())?;
            return Some(Line {
                link: Some(id),
                documents: Some(documents),
                ..of_kind(kind)
            });
        }
        _ => {}
    }
    Some(at(commit, path, kind))
}

fn put(
    commit: &Committed<'_>,
    path: &[Key],
    entry: &Entry,
    snapshots: &mut HashMap<u64, String>,
) -> Option<Line<'static>> {
    match path {
        // Only its attributes are anything.
        [first] if *first == root_key() => return plain(commit, path, "attrs"),
        [first, number] if *first == snapshots_key() => {
            let epoch = number.as_index()?;
            let (kind, name) = match &entry.node {
                Node::Text(crate::tree::Content::Inline(name)) => {
                    let name = String::from_utf8_lossy(name).into_owned();
                    snapshots.insert(epoch, name.clone());
                    ("snapshot", Some(name))
                }
                _ => ("snapshot-drop", snapshots.remove(&epoch)),
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
    let line = plain(commit, path, "assoc")?;
    let (kind_of_value, size, link) = described(&entry.node);
    Some(Line {
        kind_of_value,
        size,
        link: line.link.or(link),
        ..line
    })
}

/// What was put, as far as nothing has to be read for it.
fn described(node: &Node) -> (Option<&'static str>, Option<u64>, Option<u64>) {
    match node {
        Node::Scalar(value) => (Some(TypeName::of(value).as_str()), None, None),
        Node::ScalarPage(_) => (None, None, None),
        Node::Text(content) => (Some(TypeName::Text.as_str()), Some(content.len()), None),
        Node::Bytes(content) => (Some(TypeName::Bytes.as_str()), Some(content.len()), None),
        Node::Map(map) => (Some(TypeName::Map.as_str()), Some(map.len()), None),
        Node::Vector(map) => (Some(TypeName::Vector.as_str()), Some(map.len()), None),
        Node::Ref(id) => (None, None, Some(*id)),
    }
}

fn moved(commit: &Committed<'_>, path: &[Key], from: &[Key], kind: &'static str) -> Line<'static> {
    Line {
        from: Some(named(commit, from)),
        from_key: Some(keys(from)),
        ..at(commit, path, kind)
    }
}

fn at(commit: &Committed<'_>, path: &[Key], kind: &'static str) -> Line<'static> {
    Line {
        path: Some(named(commit, path)),
        key: Some(keys(path)),
        ..of_kind(kind)
    }
}

/// The documents that the record says to have changed without a change in them.
fn touched(commit: &Committed<'_>) -> Vec<String> {
    let touched = commit.ops.iter().filter_map(|op| match op {
        Op::Touch { path } => path.first().filter(|key| !is_hidden(key)),
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
fn named(commit: &Committed<'_>, path: &[Key]) -> String {
    let mut out = String::new();
    for (depth, key) in path.iter().enumerate() {
        let context = match depth {
            0 => NameContext::Root,
            _ if is_named_alike(key) => NameContext::Map,
            _ => context(commit, path, depth),
        };
        if depth > 0 {
            out.push('/');
        }
        out.push_str(&lossy(&name_of(key, context)));
    }
    out
}

/// Whether the key has the same name in a map and in a vector.
fn is_named_alike(key: &Key) -> bool {
    match key.as_text() {
        Some(text) => !text.bytes().all(|c| c.is_ascii_digit()) || text.is_empty(),
        None => key.as_index().is_none(),
    }
}

/// What a key stands in. What leads there was changed with it, so it is in memory.
fn context(commit: &Committed<'_>, path: &[Key], depth: usize) -> NameContext {
    let above = path.first().zip(path.get(1..depth));
    let node = above.and_then(|(document, rest)| {
        let doc = commit.doc(document)?;
        let found = edit::find(&doc.entry, rest, commit.pager).ok()??;
        Some(found.entry.node)
    });
    match (node, path.get(depth).and_then(Key::as_index)) {
        (Some(Node::Vector(_)), _) | (None, Some(_)) => NameContext::Vector,
        _ => NameContext::Map,
    }
}
