//! RocksDB: a log-structured merge tree with a log of its own.
//!
//! # Durability
//!
//! A write goes into RocksDB's log with one write(2), so it survives the process;
//! [`sync`](crate::backend::Backend::sync) syncs that log. After a power loss the log counts up to
//! the first record in it that is not whole.
//!
//! # What it does not notice
//!
//! Blocks of the tables have checksums, and so have the blobs here. But the log cannot tell damage
//! from the end that a power loss leaves. So up to which write everything was made durable is
//! written down beside it (see `mark`), and a log that ends before that is damaged; a blob that was
//! written after the last sync may be gone without a word. RocksDB is a C++ library: damage that
//! it has no check for may end the process.
//!
//! # Reading only
//!
//! takes the permission to read and no more, and writes nothing.

use std::fmt;
use std::io;
use std::path::Path;

use rocksdb::{DB, DBRecoveryMode, Env, ErrorKind, Options, ReadOptions, WriteBatch, WriteOptions};
