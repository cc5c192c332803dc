//! Everything that a mount shows: the live view, and beside it `.kfs`, which is found by its name but
//! in no listing.
//!
//! An operation goes to the view whose inode or handle it names. A snapshot is a view of its own over
//! the store as it was; its inodes have other numbers here than there ([`roots`]), so that equal ones
//! of two views are told apart.
//!
//! ```text
//! .kfs/                  mode 0700, the owner's who mounted
//!   snapshot/            mkdir takes a snapshot, rmdir drops it
//!     NAME/              the root directory as it was, for reading only
//!   events               what changes, a line each: see [`events`](super::events)
//!   metrics, stats.json  how the store and the mount are doing: see [`stats`](super::stats)
//!   tx/                  mkdir begins a transaction, rmdir gives it up
//!     NAME/              a private copy of the root directory
//!   commit               a transaction that is moved to this name becomes part of the store
//!   json/, edn/          whole values as files, see [`documents`]
//!   last-error           why something could not be saved last
//! ```

mod dirs;
mod documents;
mod files;
mod operations;
mod place;
mod roots;
mod transactions;

use std::sync::Arc;

use super::types::{Attr, Ino, ROOT};
use super::{Result, View, ViewError};
use documents::{Documents, Node};
use roots::{Branch, Roots};

/// Numbers of what is not in the live view have this bit.
const BESIDE: Ino = 1 << 63;
/// Those of documents this one, too.
const DOCUMENT: Ino = 1 << 62;
/// `.kfs`.
const KFS: Ino = BESIDE | 1;
/// `.kfs/snapshot`.
const SNAPSHOTS: Ino = BESIDE | 2;
/// `.kfs/events`.
const EVENTS: Ino = BESIDE | 8;
/// `.kfs/metrics`.
const METRICS: Ino = BESIDE | 9;
/// `.kfs/stats.json`.
const STATS: Ino = BESIDE | 10;
/// `.kfs/tx`.
const TRANSACTIONS: Ino = BESIDE | 3;
/// What is below belongs to control files and directories.
const FIRST: Ino = 16;

/// The name of the control directory at the root.
const NAME: &[u8] = b".kfs";
/// The name of the directory of snapshots in it.
const SNAPSHOT: &[u8] = b"snapshot";
/// The name of the directory of transactions in it.
const TX: &[u8] = b"tx";
/// The name in it by which a transaction is committed.
const COMMIT: &[u8] = b"commit";
/// The name of the file in it that tells of the last failure.
const LAST_ERROR: &[u8] = b"last-error";
/// The permissions of the control directories.
const PRIVATE: u16 = 0o700;

/// A live view with the control directory.
#[derive(Debug)]
pub struct Namespace {
    live: Arc<View>,
    roots: Roots,
    documents: Documents,
    files: files::OpenFiles,
    transactions: transactions::Transactions,
}

/// Where an inode is.
enum At {
    Live,
    /// A control directory or file.
    Control(Ino),
    /// A document, a directory of documents, or a file about failures.
    Document(Node),
    /// In a snapshot, with its number there.
    Branch(Arc<Branch>, Ino),
}

impl Namespace {
    /// A mount that shows a view.
    pub fn new(live: Arc<View>) -> Self {
        Self {
            live,
            roots: Roots::default(),
            documents: Documents::default(),
            files: files::OpenFiles::default(),
            transactions: transactions::Transactions::default(),
        }
    }

    fn at(&self, ino: Ino) -> Result<At> {
        if ino & BESIDE == 0 {
            return Ok(At::Live);
        }
        if ino & !BESIDE < FIRST {
            return Ok(At::Control(ino));
        }
        if ino & DOCUMENT != 0 {
            let node = self.documents.get(ino);
            return node.map(At::Document).ok_or(ViewError::Stale { ino });
        }
        match self.roots.get(ino) {
            Some((branch, local)) if !branch.has_ended() => Ok(At::Branch(branch, local)),
            _ => Err(ViewError::Stale { ino }),
        }
    }

    /// What an operation of a snapshot's view says of an inode, as it is known here; counts a
    /// reference of the kernel if the view has counted one.
    fn shown(&self, branch: &Arc<Branch>, attr: Attr, counted: bool) -> Attr {
        let lasting = match attr.ino {
            // It may end, and another taken under its name.
            ROOT => super::Lasting::Momentary,
            _ => attr.lasting,
        };
        let ino = self.roots.enter(branch, attr.ino, u64::from(counted));
        Attr {
            ino,
            lasting,
            ..attr
        }
    }
}

fn read_only() -> ViewError {
    ViewError::ReadOnly {
        what: "a snapshot".into(),
    }
}
