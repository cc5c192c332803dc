use std::ffi::OsString;

use clap::Args;
use serde_json::json;

use super::access::{Access, Use};
use super::entry::EntryInfo;
use super::error::CliError;
use super::output::Output;
use super::place::{Bytes, NamePath, Place};
use super::request::{Request, Response};
use super::resolve::{context_of, resolve, tree};
use crate::store::Store;
use crate::value::Key;

/// Entries asked for in one go.
const PAGE: usize = 1000;

/// List the entries of a store or of a map or vector in it.
///
/// Names are those of the mount, one to a line.
#[derive(Debug, Args)]
pub struct Ls {
    /// The store, or a path inside a mount
    #[arg(default_value = ".")]
    store: OsString,
    /// What to list, as written in the mount (the whole store if not given)
    path: Option<OsString>,
    /// With type, size and time of the last write
    #[arg(short, long)]
    long: bool,
    /// Mark maps and vectors with a slash after the name
    #[arg(short = 'F', long)]
    classify: bool,
    /// In the order of the store, as they come; otherwise sorted by name
    #[arg(short = 'U', long)]
    unsorted: bool,
}

impl Ls {
    pub(super) fn run(self, out: &mut Output) -> Result<(), CliError> {
        let place = Place::with_path(&self.store, self.path.as_deref())?;
        let mut access = Access::open(&place, Use::Read)?;
        let mut entries = Vec::new();
        let mut after = None;
        loop {
            let request = Request::List {
                path: place.path.clone(),
                after,
                limit: PAGE,
            };
            let Response::Entries {
                entries: more,
                next,
                ..
            } = access.call(request)?
            else {
                return Err(Access::unexpected());
            };
            if self.unsorted {
                self.print(&more, out)?;
            } else {
                entries.extend(more);
            }
            after = next;
            if after.is_none() {
                break;
            }
        }
        access.close()?;
        sort(&mut entries);
        self.print(&entries, out)
    }

    fn print(&self, entries: &[EntryInfo], out: &mut Output) -> Result<(), CliError> {
        let width = |f: &dyn Fn(&EntryInfo) -> usize| entries.iter().map(f).max().unwrap_or(0);
        let (types, sizes) = (
            width(&|e| e.type_name.len()),
            width(&|e| e.size.to_string().len()),
        );
        for entry in entries {
            if out.wants_json() {
                out.json(&as_json(entry))?;
                continue;
            }
            if self.long {
                let EntryInfo {
                    type_name, size, ..
                } = entry;
                let time = entry.last_write().short();
                out.bytes(format!("{type_name:types$}  {size:>sizes$}  {time}  ").as_bytes())?;
            }
            out.name(&entry.name.0)?;
            let mark = self.classify && entry.directory;
            out.line(if mark { "/" } else { "" })?;
        }
        Ok(())
    }
}

/// Numbers first and by value, as the elements of a vector; then by name.
fn sort(entries: &mut [EntryInfo]) {
    entries.sort_by_cached_key(|entry| {
        let number = std::str::from_utf8(&entry.name.0)
            .ok()
            .and_then(|name| name.parse::<u64>().ok());
        (number.is_none(), number, entry.name.0.clone())
    });
}

fn as_json(entry: &EntryInfo) -> serde_json::Value {
    json!({
        "name": String::from_utf8_lossy(&entry.name.0),
        "key": entry.key_text(),
        "type": entry.type_name,
        "directory": entry.directory,
        "size": entry.size,
        "last-write": entry.last_write().full(),
    })
}

/// Answers [`Request::List`].
pub fn list(
    store: &Store,
    path: &NamePath,
    after: Option<Bytes>,
    limit: usize,
) -> Result<Response, CliError> {
    let limit = limit.clamp(1, PAGE);
    let after = after.map(|key| Key::from_bytes(&key.0)).transpose();
    let after = after.map_err(|e| CliError::usage(format!("a listing cannot go on there: {e}")))?;
    let keys = resolve(store, path)?;
    let Some(top) = keys.first() else {
        let (docs, more) = store.docs_after(after.as_ref(), limit)?;
        let next = docs
            .last()
            .filter(|_| more)
            .map(|(key, _)| Bytes(key.bytes().to_vec()));
        let entries = docs
            .iter()
            .map(|(key, doc)| EntryInfo::of_document(store, key, doc))
            .collect::<Result<_, _>>()?;
        return Ok(Response::Entries {
            entries,
            next,
            directory: true,
        });
    };
    let Some(found) = store.find(&keys)? else {
        return Err(nothing(path));
    };
    let Some(map) = found.entry.children() else {
        let entries = vec![super::info::describe(store, path)?];
        return Ok(Response::Entries {
            entries,
            next: None,
            directory: false,
        });
    };
    let context = context_of(&found.entry);
    let page = map
        .page_after(after.as_ref(), limit, store.pager())
        .map_err(|e| tree(top, e))?;
    let next = page
        .last()
        .filter(|_| page.len() >= limit)
        .map(|(key, _)| Bytes(key.bytes().to_vec()));
    let entries = page
        .iter()
        .map(|(key, entry)| EntryInfo::of_entry(store, key, context, entry, found.stamp))
        .collect::<Result<_, _>>()?;
    Ok(Response::Entries {
        entries,
        next,
        directory: true,
    })
}

/// There is nothing at a path.
pub(super) fn nothing(path: &NamePath) -> CliError {
    CliError::not_found(path.to_string(), "nothing is there")
}
