//! From names to keys, where the store is: what a name means depends on the directory it is in.

use super::entry::followed;
use super::error::CliError;
use super::output::printable;
use super::place::{Bytes, NamePath};
use crate::store::{Store, StoreError};
use crate::tree::{Entry, Node, TreeError};
use crate::value::{Key, KeyPath, Value};
use crate::view::names::{NAME_MAX, NameContext, Parsed, hash_of, name_of, parse_name};

/// How many keys are looked at in one go.
const BATCH: usize = 1000;

/// The keys of a path. Where it leads beyond what is there, names are those of maps, as a write
/// makes them.
///
/// # Errors
/// A name that cannot be one; a path through something that has nothing inside.
pub fn resolve(store: &Store, path: &NamePath) -> Result<KeyPath, CliError> {
    let mut keys = KeyPath::new();
    let mut here = Here::Root;
    for (depth, name) in path.0.iter().enumerate() {
        let key = key_of(store, &name.0, &here).map_err(|why| {
            let so_far = NamePath(path.0.iter().take(depth + 1).cloned().collect());
            why.at(&so_far)
        })?;
        here = step(store, &here, &key)?;
        keys.push(key);
        let more = depth + 1 < path.0.len();
        if more && let Here::File(type_name) = here {
            let so_far = NamePath(path.0.iter().take(depth + 1).cloned().collect());
            return Err(CliError::refused(
                path.to_string(),
                format!("{so_far} is a value of type {type_name} and has nothing inside"),
            ));
        }
    }
    Ok(keys)
}

/// How the mount shows a path; `in_vector` says which keys are places in a vector.
#[must_use]
pub fn names(path: &[Key], in_vector: &[bool]) -> NamePath {
    let names = path.iter().enumerate().map(|(depth, key)| {
        let in_vector = in_vector.get(depth).is_some_and(|v| *v);
        let context = match depth {
            0 => NameContext::Root,
            _ if in_vector => NameContext::Vector,
            _ => NameContext::Map,
        };
        Bytes(name_of(key, context))
    });
    NamePath(names.collect())
}

/// What the names of a directory's entries are read as.
#[must_use]
pub fn context_of(entry: &Entry) -> NameContext {
    match entry.node {
        Node::Vector(_) => NameContext::Vector,
        _ => NameContext::Map,
    }
}

/// Where a walk along names is.
enum Here {
    Root,
    Directory(Box<Entry>),
    /// Something that has nothing inside, of this type.
    File(&'static str),
    /// Beyond what is there.
    Nothing,
}

enum BadName {
    Impossible(String),
    NoSuchHash,
    Store(CliError),
}

impl BadName {
    fn at(self, path: &NamePath) -> CliError {
        match self {
            Self::Impossible(why) => CliError::usage(format!("{path}: {why}")),
            Self::NoSuchHash => CliError::not_found(
                path.to_string(),
                "the short form of a long name, and no key here has that name",
            ),
            Self::Store(error) => error,
        }
    }
}

fn key_of(store: &Store, name: &[u8], here: &Here) -> Result<Key, BadName> {
    let context = match here {
        Here::Root => NameContext::Root,
        Here::Directory(entry) => context_of(entry),
        Here::File(_) | Here::Nothing => NameContext::Map,
    };
    // Too long for a mount, but not for a store: no form is read in it.
    if name.len() > NAME_MAX {
        return Ok(match std::str::from_utf8(name) {
            Ok(text) => Key::text(text),
            Err(_) => Key::new(&Value::Bytes(name.to_vec())),
        });
    }
    match parse_name(name, context) {
        Ok(Parsed::Key(key)) => Ok(key),
        Ok(Parsed::Hashed { hash, .. }) => {
            let has_name = |key: &Key| hash_of(key) == hash && name_of(key, context) == name;
            let found = match here {
                Here::Root => find_key(store, has_name),
                Here::Directory(entry) => find_child(store, entry, has_name),
                Here::File(_) | Here::Nothing => Ok(None),
            };
            found.map_err(BadName::Store)?.ok_or(BadName::NoSuchHash)
        }
        Err(error) => Err(BadName::Impossible(error.to_string())),
    }
}

fn step(store: &Store, here: &Here, key: &Key) -> Result<Here, CliError> {
    let entry = match here {
        Here::Root => match store.doc(key)? {
            Some(doc) => Some(followed(store, key, &doc.entry)?),
            None => None,
        },
        Here::Directory(entry) => match child(store, entry, key)? {
            Some(entry) => Some(followed(store, key, &entry)?),
            None => None,
        },
        Here::File(_) | Here::Nothing => None,
    };
    Ok(match entry {
        None => Here::Nothing,
        Some(entry) => match &entry.node {
            Node::Map(_) | Node::Vector(_) => Here::Directory(Box::new(entry)),
            // A write makes a map of it.
            Node::Scalar(value) if **value == Value::Nil => Here::Nothing,
            node => Here::File(super::entry::type_name(node)),
        },
    })
}

/// An entry of a directory.
pub fn child(store: &Store, entry: &Entry, key: &Key) -> Result<Option<Entry>, CliError> {
    match entry.children() {
        Some(map) => Ok(map.get(key, store.pager()).map_err(|e| tree(key, e))?),
        None => Ok(None),
    }
}

fn find_key(store: &Store, wanted: impl Fn(&Key) -> bool) -> Result<Option<Key>, CliError> {
    for item in store.keys() {
        let (key, _) = item?;
        if wanted(&key) {
            return Ok(Some(key));
        }
    }
    Ok(None)
}

fn find_child(
    store: &Store,
    entry: &Entry,
    wanted: impl Fn(&Key) -> bool,
) -> Result<Option<Key>, CliError> {
    let Some(map) = entry.children() else {
        return Ok(None);
    };
    let mut after: Option<Key> = None;
    loop {
        let page = map.page_after(after.as_ref(), BATCH, store.pager());
        let page = page.map_err(|e| tree(after.as_ref().unwrap_or(&Key::text("")), e))?;
        let Some((last, _)) = page.last() else {
            return Ok(None);
        };
        if let Some((key, _)) = page.iter().find(|(key, _)| wanted(key)) {
            return Ok(Some(key.clone()));
        }
        after = Some(last.clone());
    }
}

/// An error of a write, told in names instead of keys where it is about one of them.
pub fn in_names(path: &NamePath, error: StoreError) -> CliError {
    match error {
        StoreError::Tree {
            source: TreeError::BadIndex { len, depth, .. },
            ..
        } => {
            let vector = NamePath(path.0.iter().take(depth).cloned().collect());
            let name = path
                .0
                .get(depth)
                .map(|name| printable(&name.0))
                .unwrap_or_default();
            let why =
                format!("{name} is no index of a vector of length {len}; the next one is {len}");
            CliError::refused(vector.to_string(), why)
        }
        other => other.into(),
    }
}

/// An error of a tree, told with the key it happened at.
pub fn tree(key: &Key, error: TreeError) -> CliError {
    CliError::Store(match error {
        TreeError::Backend(error) => StoreError::Backend(error),
        source => StoreError::Tree {
            key: printable(key.to_string().as_bytes()),
            source,
        },
    })
}
