use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use clap::Args;

use super::access::{Access, Use};
use super::error::CliError;
use super::ls::nothing;
use super::output::Output;
use super::place::{NamePath, Place, StoreAt};
use super::request::{Over, Request, Response};
use super::resolve::{resolve, tree};
use crate::store::{Store, StoreError, Tx};
use crate::tree::edit::vector_len;
use crate::tree::{Attrs, Entry, Map, Node, TreeError};
use crate::value::{Key, KeyPath};

/// Copy an entry with everything in it, in one step.
///
/// Modes, owners, extended attributes and declared types are copied with it; times are new. TO is
/// the new path itself; with a slash at its end it is the map or vector to copy into. A file or an
/// empty map or vector at TO is replaced.
#[derive(Debug, Args)]
pub struct Cp {
    #[command(flatten)]
    targets: Targets,
}

/// `STORE FROM TO`, or two paths inside a mount.
#[derive(Debug, Args)]
pub struct Targets {
    /// The store; not given with two paths inside the same mount
    store: OsString,
    /// What, as written in the mount
    from: OsString,
    /// Where to
    to: Option<OsString>,
    /// Replace nothing
    #[arg(short, long)]
    no_replace: bool,
    /// Replace also a map or vector with entries
    #[arg(long, conflicts_with = "no_replace")]
    replace: bool,
}

impl Targets {
    /// The store and the two paths in it.
    pub(super) fn paths(&self, verb: &str) -> Result<(Place, NamePath, NamePath), CliError> {
        let (place, from, to, written) = match (&self.store, &self.from, &self.to) {
            (store, from, Some(to)) => {
                let place = Place::parse(store)?;
                let from = place.path.clone().join(NamePath::parse(from)?);
                let path = place.path.clone().join(NamePath::parse(to)?);
                (place, from, path, to)
            }
            (from, to, None) => {
                let (source, target) = (Place::parse(from)?, Place::parse(to)?);
                match (&source.store, &target.store) {
                    (StoreAt::Mount(a), StoreAt::Mount(b)) if a.device == b.device => {
                        let (from, path) = (source.path.clone(), target.path);
                        (source, from, path, to)
                    }
                    _ => {
                        return Err(CliError::usage(format!(
                            "{} and {} are not paths inside the same mount; write kfs {verb} STORE FROM TO",
                            from.display(),
                            to.display()
                        )));
                    }
                }
            }
        };
        let to = into(to, written, &from);
        if from.is_root() || to.is_root() {
            return Err(CliError::usage(format!(
                "the root cannot be copied or moved; write kfs {verb} STORE FROM TO"
            )));
        }
        Ok((place, from, to))
    }

    /// What may be replaced.
    pub(super) fn over(&self) -> Over {
        match (self.no_replace, self.replace) {
            (true, _) => Over::Nothing,
            (false, true) => Over::Anything,
            (false, false) => Over::Files,
        }
    }
}

/// With a slash at its end, a path is a directory to put something into.
fn into(to: NamePath, written: &OsStr, from: &NamePath) -> NamePath {
    match from.last() {
        Some(name) if written.as_bytes().ends_with(b"/") => to.child(name),
        _ => to,
    }
}

impl Cp {
    pub(super) fn run(self, _out: &mut Output) -> Result<(), CliError> {
        let (place, from, to) = self.targets.paths("cp")?;
        let mut access = Access::open(&place, Use::Write)?;
        access.done(Request::Copy {
            from,
            to,
            over: self.targets.over(),
        })?;
        access.close()
    }
}

/// Answers [`Request::Copy`].
pub fn copy(
    store: &Store,
    from: &NamePath,
    to: &NamePath,
    over: Over,
) -> Result<Response, CliError> {
    let (source, target) = (resolve(store, from)?, resolve(store, to)?);
    if target.starts_with(&source) || source.starts_with(&target) {
        return Err(CliError::refused(
            from.to_string(),
            format!("cannot be copied to {to}, into itself or over what it is in"),
        ));
    }
    store.transact(|tx| {
        let Some(found) = tx.find(&source)? else {
            return Err(nothing(from).in_transaction());
        };
        check_target(tx, &target, to, over)?;
        let mut copied = duplicate(tx, &source, &found.entry)?;
        let now = tx.now;
        let attrs = Attrs {
            stamp: Some(now),
            ..copied.attrs()
        };
        copied.set_attrs(attrs);
        tx.put(target.clone(), copied, Some(now))
    })?;
    Ok(Response::Done)
}

/// An entry like another: what identifies it and when it changed is its own, and so is the content
/// of a file with several names.
fn duplicate(tx: &mut Tx<'_>, path: &[Key], entry: &Entry) -> Result<Entry, StoreError> {
    let entry = tx.unlinked(path, entry)?;
    let node = match &entry.node {
        Node::Map(map) => Node::Map(duplicate_all(tx, path, map)?),
        Node::Vector(map) => Node::Vector(duplicate_all(tx, path, map)?),
        other => other.clone(),
    };
    let attrs = Attrs {
        times: None,
        atime: None,
        stamp: None,
        ino: None,
        ..entry.attrs()
    };
    Ok(Entry::plain(node).with_attrs(attrs))
}

fn duplicate_all(tx: &mut Tx<'_>, path: &[Key], map: &Map) -> Result<Map, StoreError> {
    let mut items = Vec::new();
    map.for_each(tx.pager(), &mut |key, entry| {
        items.push((key.clone(), entry.clone()));
        Ok(())
    })
    .map_err(|e| in_store(path, e))?;
    for (_, entry) in &mut items {
        *entry = duplicate(tx, path, entry)?;
    }
    Ok(Map::from_sorted(items))
}

/// Whether something may be put at a path.
pub(super) fn check_target(
    tx: &mut Tx<'_>,
    target: &KeyPath,
    to: &NamePath,
    over: Over,
) -> Result<(), StoreError> {
    let refuse = |why: &str| Err(CliError::refused(to.to_string(), why).in_transaction());
    if let Some(found) = tx.find(target)? {
        let is_full = found.entry.children().is_some_and(|map| !map.is_empty());
        return match over {
            Over::Nothing => refuse("something is there already"),
            Over::Files if is_full => {
                refuse("a map or vector with entries is there; --replace replaces it")
            }
            Over::Files | Over::Anything => Ok(()),
        };
    }
    let Some((key, above)) = target.split_last().filter(|(_, above)| !above.is_empty()) else {
        return Ok(());
    };
    let pager = tx.pager();
    match tx.find(above)?.map(|found| found.entry.node) {
        None => {
            let why = "the map or vector to put it into is missing";
            Err(CliError::not_found(to.to_string(), why).in_transaction())
        }
        Some(Node::Vector(map)) => {
            let length = vector_len(&map, pager).map_err(|e| in_store(above, e))?;
            match key.as_index() {
                Some(index) if index > length => refuse("beyond the end of the vector"),
                _ => Ok(()),
            }
        }
        Some(Node::Map(_)) => Ok(()),
        Some(_) => refuse("what it is to be put into has nothing inside"),
    }
}

fn in_store(path: &[Key], error: TreeError) -> StoreError {
    match path.first() {
        Some(key) => tree(key, error).in_transaction(),
        None => StoreError::EmptyPath,
    }
}
