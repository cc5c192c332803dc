//! What stands under a name: a node and its attributes.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::live::{self, PageKind};
use super::map::Map;
use super::time::Time;
use crate::value::Value;

/// A name's value with its attributes. Cloning shares everything.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Absent when every attribute has its default (an entry made through the API).
    pub attrs: Option<Arc<Attrs>>,
    /// The value.
    pub node: Node,
}

/// The value of an entry.
#[derive(Clone, Debug)]
pub enum Node {
    /// Anything that is neither text, bytes, map nor vector.
    Scalar(Arc<Value>),
    /// A scalar so large that it is a page of its own: its canonical CBOR.
    ScalarPage(Arc<PageRef>),
    /// A string, always valid UTF-8.
    Text(Content),
    /// A byte string.
    Bytes(Content),
    /// A map.
    Map(Map),
    /// A vector: its elements under integer keys; other keys are names that stand beside the
    /// elements and are no part of the value.
    Vector(Map),
    /// A name of a file with several names: the file stands in the document of linked files.
    Ref(u64),
}

/// The bytes of a text or byte string.
#[derive(Clone, Debug)]
pub enum Content {
    /// In memory, at most [`CHUNK`] bytes.
    Inline(Arc<[u8]>),
    /// One page.
    Page(Arc<PageRef>),
    /// Chunks of [`CHUNK`] bytes under their index; a missing chunk, and what a short one lacks,
    /// is zeros.
    Chunked(Arc<Chunked>),
}

/// Content of more than one chunk.
#[derive(Clone, Debug)]
pub struct Chunked {
    /// Length in bytes.
    pub len: u64,
    /// Chunk index to chunk.
    pub chunks: Map,
}

/// Bytes per chunk of a long content.
pub const CHUNK: usize = 32 * 1024;

/// Where a page is. While it lives the page is not freed (see [`live`]).
#[derive(Debug, PartialEq, Eq)]
pub struct PageRef {
    /// Keyed BLAKE3 of the page's bytes.
    pub addr: PageAddr,
    kind: PageKind,
    /// The sequence number of the fold that wrote it.
    pub birth: u64,
    /// For content: bytes. For a run of a map: entries below.
    pub len: u64,
    /// For a run of a map: how many of the entries are directories.
    pub dirs: u64,
}

impl PageRef {
    /// A reference with these fields.
    pub fn new(addr: PageAddr, kind: PageKind, birth: u64, len: u64, dirs: u64) -> Self {
        live::add(addr, kind);
        Self {
            addr,
            kind,
            birth,
            len,
            dirs,
        }
    }
}

impl PageRef {
    /// What the page holds.
    pub fn kind(&self) -> PageKind {
        self.kind
    }
}

impl Drop for PageRef {
    fn drop(&mut self) {
        live::remove(self.addr, self.kind);
    }
}

/// Keyed BLAKE3 of a page.
pub type PageAddr = [u8; 32];

/// Attributes of an entry: what a file has beside its value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attrs {
    /// Mode, owner, group; absent: the mount's defaults.
    pub owner: Option<Owner>,
    /// Change times; absent: the stamp of the nearest entry above that has one.
    pub times: Option<Times>,
    /// Access time, only where a program set it.
    pub atime: Option<Time>,
    /// Left by the API write that made this subtree: the time and birth of everything in it that
    /// has none of its own.
    pub stamp: Option<Time>,
    /// Inode number, stored when a rename would change the derived one.
    pub ino: Option<u64>,
    /// Extended attributes as given.
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// The file was written without the final newline that the view would add.
    pub bare: bool,
    /// The bytes as written, where they differ from the printed value but parse to it.
    pub literal: Option<Vec<u8>>,
    /// The declared type where it differs from the type of the present value.
    pub declared: Option<String>,
}

/// Permission bits and ownership.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Permission bits (07777).
    pub mode: u32,
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
}

/// The times of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// Last change of the content.
    pub mtime: Time,
    /// Last change of content or attributes.
    pub ctime: Time,
    /// Birth: strictly monotone within a store, so it identifies the entry; never changes.
    pub crtime: Time,
}

impl Entry {
    /// An entry without attributes.
    pub fn plain(node: Node) -> Self {
        Self { attrs: None, node }
    }

    /// The attributes, all default where there are none.
    pub fn attrs(&self) -> Attrs {
        self.attrs.as_deref().cloned().unwrap_or_default()
    }

    /// Replaces the attributes, storing none where all are default.
    #[must_use]
    pub fn with_attrs(mut self, attrs: Attrs) -> Self {
        self.set_attrs(attrs);
        self
    }

    /// Replaces the attributes, storing none where all are default.
    pub fn set_attrs(&mut self, attrs: Attrs) {
        self.attrs = if attrs == Attrs::default() {
            None
        } else {
            Some(Arc::new(attrs))
        };
    }

    /// Whether the view shows it as a directory.
    pub fn is_dir(&self) -> bool {
        matches!(self.node, Node::Map(_) | Node::Vector(_))
    }

    /// The children, for a map or vector.
    pub fn children(&self) -> Option<&Map> {
        match &self.node {
            Node::Map(m) | Node::Vector(m) => Some(m),
            _ => None,
        }
    }
}

impl Content {
    /// No bytes.
    pub fn empty() -> Self {
        Self::Inline(Arc::from([]))
    }

    /// Length in bytes.
    pub fn len(&self) -> u64 {
        match self {
            Self::Inline(b) => b.len() as u64,
            Self::Page(p) => p.len,
            Self::Chunked(c) => c.len,
        }
    }

    /// Whether there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
