use std::ffi::OsString;

use clap::Args;
use serde_json::{Map, Value as Json, json};

use super::access::{Access, Use};
use super::entry::EntryInfo;
use super::error::CliError;
use super::ls::nothing;
use super::output::{Output, printable};
use super::place::{NamePath, Place};
use super::request::{Request, Response};
use super::resolve::{context_of, resolve, tree};
use crate::store::Store;
use crate::tree::edit;

/// Show what is known of an entry beside its value.
#[derive(Debug, Args)]
pub struct Info {
    /// The store, or a path inside a mount
    store: OsString,
    /// The entry, as written in the mount
    path: Option<OsString>,
}

impl Info {
    pub(super) fn run(self, out: &mut Output) -> Result<(), CliError> {
        let place = Place::below_root(&self.store, self.path.as_deref(), "kfs info STORE PATH")?;
        let mut access = Access::open(&place, Use::Read)?;
        let Response::Entry(entry) = access.call(Request::Info {
            path: place.path.clone(),
        })?
        else {
            return Err(Access::unexpected());
        };
        access.close()?;
        let facts = facts(&place.path, &entry);
        if out.wants_json() {
            return out.json(
                &facts
                    .into_iter()
                    .map(|(name, value)| (name.to_owned(), value))
                    .collect::<Map<_, _>>(),
            );
        }
        for (name, value) in facts {
            let value = match value {
                Json::Null => continue,
                Json::String(text) => text,
                Json::Object(map) if map.is_empty() => continue,
                other => other.to_string(),
            };
            out.line(format!("{name:10}  {}", printable(value.as_bytes())))?;
        }
        Ok(())
    }
}

fn facts(path: &NamePath, entry: &EntryInfo) -> Vec<(&'static str, Json)> {
    let attributes = &entry.attributes;
    let lossy = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let xattrs: Map<String, Json> = attributes
        .xattrs
        .iter()
        .map(|(name, value)| (lossy(&name.0), Json::String(lossy(&value.0))))
        .collect();
    let size = if entry.directory { "entries" } else { "size" };
    vec![
        ("path", json!(path.to_string())),
        ("key", json!(entry.key_text())),
        ("type", json!(entry.type_name)),
        ("declared", json!(attributes.declared)),
        (size, json!(entry.size)),
        ("kind", json!(entry.record.as_ref().map(|r| &r.kind))),
        ("last-write", json!(entry.last_write().full())),
        ("sequence", json!(entry.record.as_ref().map(|r| r.seq))),
        ("modified", json!(entry.times.modified.full())),
        ("changed", json!(entry.times.changed.full())),
        ("created", json!(entry.times.created.full())),
        (
            "mode",
            json!(attributes.owner.map(|(mode, ..)| format!("{mode:04o}"))),
        ),
        ("uid", json!(attributes.owner.map(|(_, uid, _)| uid))),
        ("gid", json!(attributes.owner.map(|(.., gid)| gid))),
        (
            "literal",
            json!(attributes.literal.as_ref().map(|l| lossy(&l.0))),
        ),
        (
            "newline",
            if attributes.bare {
                json!(false)
            } else {
                Json::Null
            },
        ),
        ("xattrs", Json::Object(xattrs)),
    ]
}

/// Answers [`Request::Info`].
pub fn describe(store: &Store, path: &NamePath) -> Result<EntryInfo, CliError> {
    let keys = resolve(store, path)?;
    let Some((top, rest)) = keys.split_first() else {
        return Err(CliError::usage(
            "the root is no entry; `kfs status` tells about the store",
        ));
    };
    let Some(doc) = store.doc(top)? else {
        return Err(nothing(path));
    };
    let Some((key, above)) = rest.split_last() else {
        return EntryInfo::of_document(store, top, &doc);
    };
    let parent = edit::find(&doc.entry, above, store.pager()).map_err(|e| tree(top, e))?;
    let Some(parent) = parent else {
        return Err(nothing(path));
    };
    let entry = super::resolve::child(store, &parent.entry, key)?.ok_or_else(|| nothing(path))?;
    EntryInfo::of_entry(store, key, context_of(&parent.entry), &entry, parent.stamp)
}
