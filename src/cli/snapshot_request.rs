//! What commands ask about snapshots, and the answers.

use serde::{Deserialize, Serialize};

use super::entry::{Stamp, type_name};
use super::error::CliError;
use super::place::{Bytes, NamePath};
use super::request::Response;
use super::resolve::{names, resolve, tree};
use crate::snapshot::{self, Difference, Snapshot, SnapshotError};
use crate::store::Store;
use crate::tree::{Entry, Node, convert};
use crate::value::{Key, cbor};

/// Bytes of a value above which only its type and size are told.
const LARGE: u64 = 64 << 10;
/// Bytes of an answer after which the rest is left to the next.
const ANSWER: usize = 4 << 20;

/// One thing to do with snapshots.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SnapshotRequest {
    /// Takes one. → [`SnapshotResponse::Snapshots`], itself
    Create {
        /// Its name.
        name: String,
    },
    /// All of them, the oldest first. → [`SnapshotResponse::Snapshots`]
    List,
    /// Drops one. → [`Response::Done`]
    Remove {
        /// Its name.
        name: String,
    },
    /// What differs. → [`SnapshotResponse::Differences`]
    Diff {
        /// The one state.
        old: String,
        /// The other; `None`: the present.
        new: Option<String>,
        /// At and below this path.
        path: NamePath,
        /// So many are known already.
        skip: usize,
    },
    /// Brings back what stood at a path; the root is the whole store. → [`Response::Done`]
    Restore {
        /// From this snapshot.
        name: String,
        /// Where.
        path: NamePath,
    },
    /// The versions of a path over all snapshots. → [`SnapshotResponse::Versions`]
    History {
        /// The path.
        path: NamePath,
    },
}

impl SnapshotRequest {
    /// Whether values or snapshots may be others afterwards.
    pub(super) fn may_write(&self) -> bool {
        matches!(
            self,
            Self::Create { .. } | Self::Remove { .. } | Self::Restore { .. }
        )
    }
}

/// The answer to a [`SnapshotRequest`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SnapshotResponse {
    /// Snapshots.
    Snapshots(Vec<SnapshotInfo>),
    /// What differs.
    Differences {
        /// It, or the next part of it.
        found: Vec<DifferenceInfo>,
        /// Whether there may be more.
        more: bool,
    },
    /// Versions, the present first.
    Versions(Vec<VersionInfo>),
}

/// A snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotInfo {
    /// Its name.
    pub name: String,
    /// When it was taken.
    pub time: Stamp,
    /// The write that took it.
    pub epoch: u64,
}

/// A value, as far as it can be shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Side {
    /// Nothing is there.
    Nothing,
    /// The value: canonical CBOR.
    Value(Bytes),
    /// Too large to be told.
    Large {
        /// Its type.
        type_name: String,
        /// Bytes, or entries.
        size: u64,
    },
}

/// Something that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DifferenceInfo {
    /// Where.
    pub path: NamePath,
    /// What it was.
    pub old: Side,
    /// What it is.
    pub new: Side,
}

/// A version of a path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionInfo {
    /// The oldest snapshot that has it.
    pub since: Option<SnapshotInfo>,
    /// When its document was last written.
    pub last_write: Option<Stamp>,
    /// What it was.
    pub value: Side,
}

impl From<Snapshot> for SnapshotInfo {
    fn from(snapshot: Snapshot) -> Self {
        Self {
            name: snapshot.name,
            time: snapshot.time.into(),
            epoch: snapshot.epoch,
        }
    }
}

/// Answers a [`SnapshotRequest`].
pub fn answer(store: &Store, request: &SnapshotRequest) -> Result<Response, CliError> {
    Ok(match request {
        SnapshotRequest::Create { name } => {
            let taken = snapshot::take(store, name)?;
            Response::Snapshot(SnapshotResponse::Snapshots(vec![taken.into()]))
        }
        SnapshotRequest::List => {
            let all = snapshot::list(store)?.into_iter().map(SnapshotInfo::from);
            Response::Snapshot(SnapshotResponse::Snapshots(all.collect()))
        }
        SnapshotRequest::Remove { name } => {
            snapshot::remove(store, name)?;
            Response::Done
        }
        SnapshotRequest::Diff {
            old,
            new,
            path,
            skip,
        } => {
            let old = snapshot::open(store, old)?;
            let new = match new {
                Some(new) => snapshot::open(store, new)?,
                None => store.clone(),
            };
            Response::Snapshot(diff(&old, &new, path, *skip)?)
        }
        SnapshotRequest::Restore { name, path } => {
            let then = snapshot::open(store, name)?;
            if path.is_root() {
                snapshot::roll_back(store, &then)?;
            } else {
                let keys = resolve(&then, path)?;
                snapshot::restore(store, &then, &keys).map_err(|error| match error {
                    SnapshotError::NotThen { .. } => CliError::not_found(
                        path.to_string(),
                        format!("nothing was there in snapshot {name}"),
                    ),
                    error => error.into(),
                })?;
            }
            Response::Done
        }
        SnapshotRequest::History { path } => Response::Snapshot(history(store, path)?),
    })
}

fn diff(
    old: &Store,
    new: &Store,
    path: &NamePath,
    skip: usize,
) -> Result<SnapshotResponse, CliError> {
    let keys = resolve_in_either(new, old, path)?;
    let (mut seen, mut bytes) = (0, 0);
    let mut found = Vec::new();
    let done = snapshot::diff(old, new, &keys, &mut |difference| {
        seen += 1;
        if seen <= skip {
            return Ok(());
        }
        let told = told(old, new, &difference).map_err(|e| SnapshotError::Ended(Box::new(e)))?;
        bytes += weight(&told);
        found.push(told);
        if bytes > ANSWER {
            return Err(SnapshotError::Ended(Box::new(Enough)));
        }
        Ok(())
    });
    let more = match done {
        Ok(()) => false,
        Err(SnapshotError::Ended(why)) if why.is::<Enough>() => true,
        Err(error) => return Err(error.into()),
    };
    Ok(SnapshotResponse::Differences { found, more })
}

/// The answer is long enough.
#[derive(Debug, thiserror::Error)]
#[error("enough")]
struct Enough;

/// The keys of a path, which may be there in one state only.
fn resolve_in_either(first: &Store, second: &Store, path: &NamePath) -> Result<Vec<Key>, CliError> {
    let keys = resolve(first, path);
    let is_there = |keys: &[Key]| matches!(first.find(keys), Ok(Some(_)));
    match keys {
        Ok(keys) if keys.is_empty() || is_there(&keys) => Ok(keys.to_vec()),
        keys => match resolve(second, path) {
            Ok(keys) => Ok(keys.to_vec()),
            Err(_) => keys.map(|keys| keys.to_vec()),
        },
    }
}

fn told(old: &Store, new: &Store, found: &Difference) -> Result<DifferenceInfo, CliError> {
    let top = found.path.first();
    let side = |store: &Store, entry: &Option<Entry>| match top {
        Some(top) => side(store, top, entry.as_ref()),
        None => Ok(Side::Nothing),
    };
    Ok(DifferenceInfo {
        path: names(&found.path, &found.in_vector),
        old: side(old, &found.old)?,
        new: side(new, &found.new)?,
    })
}

fn side(store: &Store, top: &Key, entry: Option<&Entry>) -> Result<Side, CliError> {
    let Some(entry) = entry else {
        return Ok(Side::Nothing);
    };
    let size = match &entry.node {
        Node::Text(content) | Node::Bytes(content) => content.len(),
        Node::Map(map) | Node::Vector(map) if map.is_empty() => 0,
        // What is in it is told by itself.
        Node::Map(map) | Node::Vector(map) => map.len().saturating_add(LARGE),
        Node::ScalarPage(page) => page.len,
        Node::Scalar(_) | Node::Ref(_) => 0,
    };
    if size > LARGE {
        let entries = entry.children().map(crate::tree::Map::len);
        return Ok(Side::Large {
            type_name: type_name(&entry.node).to_owned(),
            size: entries.unwrap_or(size),
        });
    }
    let value = convert::to_value(&entry.node, store.pager()).map_err(|e| tree(top, e))?;
    Ok(Side::Value(Bytes(cbor::encode(&value))))
}

fn weight(told: &DifferenceInfo) -> usize {
    let side = |side: &Side| match side {
        Side::Value(bytes) => bytes.0.len(),
        Side::Nothing | Side::Large { .. } => 16,
    };
    let path: usize = told.path.0.iter().map(|name| name.0.len() + 4).sum();
    path + side(&told.old) + side(&told.new) + 32
}

fn history(store: &Store, path: &NamePath) -> Result<SnapshotResponse, CliError> {
    let keys = resolve(store, path)?;
    let mut versions = Vec::new();
    for version in snapshot::history(store, &keys)? {
        let top = keys
            .first()
            .ok_or_else(|| CliError::usage("PATH is missing"))?;
        versions.push(VersionInfo {
            since: version.since.map(SnapshotInfo::from),
            last_write: version.last_write.map(Stamp::from),
            value: side(store, top, version.entry.as_ref())?,
        });
    }
    Ok(SnapshotResponse::Versions(versions))
}
