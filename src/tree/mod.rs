//! Documents as persistent trees of pages.
//!
//! An [`Entry`] is a node with attributes; the children of a map or vector stand in a [`Map`], a
//! search tree whose runs are in memory while they change and in immutable pages afterwards. Reading
//! loads what it needs through the [`Pager`]; editing copies the path above the change; a [`Folder`]
//! writes what is new. [`Op`] is a step as the journal records it.

pub mod content;
pub mod convert;
mod cut;
pub mod diff;
pub mod edit;
mod entry;
mod error;
mod fold;
mod fresh;
pub mod links;
pub mod live;
mod map;
mod merge;
mod op;
mod page;
mod pager;
mod parallel;
mod patch;
mod presence;
pub mod snapshots;
mod time;
mod walk;

pub use cut::{Cut, is_silence};
pub use entry::{Attrs, CHUNK, Chunked, Content, Entry, Node, Owner, PageAddr, PageRef, Times};
pub use error::TreeError;
pub use fold::{Folded, Folder};
pub use fresh::Fresh;
pub use map::Map;
pub use op::{
    Applier, Forest, Op, is_hidden, links_key, read_ops, root_dirs, root_key, shared,
    snapshots_key, write_ops,
};
pub use page::{read_attrs, read_entry, read_time, write_attrs, write_entry, write_time};
pub use pager::{CacheUse, PATIENCE, Pager, hex, page_key};
pub use patch::{Patch, same as same_content};
pub use presence::Presence;
#[cfg(test)]
pub use time::SET_FORWARD;
pub use time::Time;
pub use walk::{PageSet, Reading, Visitor, Walk};
