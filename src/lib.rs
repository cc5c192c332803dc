//! A document store that you mount as a directory.
//!
//! Two things in one crate: a store engine ([`store`]) that holds documents under keys, with
//! `get_in`, `assoc_in` and `update_in`, each atomic; and a filesystem view of it ([`view`], mounted
//! by [`fuse`]), where keys are files, nested values are directories, a read is `get_in`, a write is
//! one atomic `assoc_in` and a rename an atomic swap.
//!
//! ```
//! use konserve_fs::store::{CreateOptions, Location, Store};
//! use konserve_fs::value::{Key, Value};
//!
//! let store = Store::create(&Location::parse("mem:")?, &CreateOptions::default())?;
//! let path = [Key::text("user"), Key::text("age")];
//! store.assoc_in(&path, &Value::Int(36))?;
//! let change = store.update_in(&path, |age| match age {
//!     Some(Value::Int(n)) => Ok(Value::Int(n + 1)),
//!     _ => Err("no age"),
//! })?;
//! assert_eq!((change.old, change.new), (Some(Value::Int(36)), Value::Int(37)));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Where things are
//!
//! A module imports only those above it in this list; `tests/layers.rs` checks it.
//!
//! | module | what it knows |
//! |---|---|
//! | [`meter`] | counting and timing, for whoever watches; nobody else |
//! | [`value`] | values, keys, paths; EDN, JSON and CBOR; nobody else |
//! | [`codec`] | the bytes of one blob: header, serializer, compression, checksum |
//! | [`crypt`] | keys, and bytes encrypted with them |
//! | [`journal`] | records in order on disk, and which of them are durable; not what they say |
//! | [`backend`] | opaque blobs under addresses; the local ones keep a log of their own in a journal |
//! | [`tree`] | documents as persistent trees of pages, and the steps that change them |
//! | [`store`] | the public API: transactions, folding, lifecycle; knows no files |
//! | [`snapshot`] | the store as it was: names, differences, restoring, how long to keep, sending |
//! | [`gc`] | which pages nothing reaches any more, and freeing them |
//! | [`view`] | files and directories: names, rendering, types, inodes, working copies; knows no fuser |
//! | [`fuse`] | the kernel: one operation is a few lines; error numbers; mounting |
//! | [`cli`] | the command line and the daemon |
//!
//! # What always holds
//!
//! * A version of a document never changes; a write makes a new one and publishes it whole. Readers
//!   keep what they opened and wait for nobody.
//! * A write is one record of the journal, appended before anyone sees it. The record holds results,
//!   never closures.
//! * Folding writes pages, then all records and the header in one batch, after the journal is durable
//!   up to there. So the backend always holds the state after some record, and any crash leaves a
//!   prefix of the acknowledged operations.
//! * A page is referred to only once it has been written, and a record counts as durable only once
//!   the pages it refers to are.
//! * What a snapshot shows is what stood in the records and in memory when its own record of the
//!   journal was written; a fold keeps what it replaces and a snapshot needs, before it does so.
//! * A snapshot from another store is staged where nobody looks, verified, and then put in place under a
//!   mark that every opening goes on with: the old state or the new, whatever its size.
//! * A page is freed only when no record, no version, and no reference in memory leads to it, and no
//!   record of the journal ever will; [`gc`] says why.
//! * What an encrypted store keeps is encrypted above all that keeps it, and nothing of it is believed that is
//!   not authenticated; [`crypt`] draws it and says against whom.
//! * Every blob is bound to its store and address by a checksum that is verified before anything in
//!   it is believed. What is damaged is an error that names the key, never data and never absence.
//!
//! # Where this departs from the obvious
//!
//! * The journal stands below the backends, because the embedded backend needs a log of its own and a
//!   log that tells damage from a torn end should exist once.
//! * An entry's birth is its creation time by the store's strictly monotone clock rather than a
//!   sequence number: it is unique as well, and known before the record is numbered.
//! * A file with several names stands in a hidden document ([`tree::links`]) that counts its names by
//!   document, exactly, in the same record as every step that brings or takes one. So last writes are
//!   right after any move, and nothing has to be collected; the price is that a directory is walked
//!   through when it leaves a document that holds such names.
//! * Nobody pins what must not be freed: a reference to a page is counted while it lives, so that the
//!   references themselves are the pins, and none can be forgotten. The pages written during a round
//!   are noted instead of compared by birth, which would take reading what is about to be freed.
//! * An unread tag of foreign CBOR is kept as a tagged value `cbor/N`.

#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        reason = "a failed test panics"
    )
)]

pub mod backend;
pub mod cli;
pub mod codec;
pub mod crypt;
pub mod fuse;
pub mod gc;
pub mod journal;
pub mod meter;
pub mod snapshot;
pub mod store;
mod sys;
pub mod tree;
pub mod value;
pub mod view;
