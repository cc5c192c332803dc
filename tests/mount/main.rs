//! Tests on real mounts, driving the built `kfs` and the kernel.
//!
//! They need `/dev/fuse`, the programs named in [`program::TOOLS`], and a directory for temporary
//! files with `user.*` attributes; some need root. What is missing fails the test that needs it
//! and says so: nothing is skipped but what is about emacs. Long runs are asked for by environment
//! variables: `KFS_KILLS` (crash), `KFS_FLIPS` (damage), `KFS_HISTORIES`, `KFS_SEED` (repeats a run). `KFS_KIND=file`
//! runs them on stores of a file per blob, `KFS_ENCRYPTED=1` on encrypted ones.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod backup;
mod bad_damage;
mod bad_input;
mod bad_mount;
mod basics;
mod collecting;
mod commands;
mod concurrency;
mod crash;
mod differential;
mod documents;
mod dying;
mod editors;
mod encryption;
mod engine;
mod errno;
mod files;
mod front;
mod harness;
mod histories;
mod libraries;
mod links;
mod load;
mod looking;
mod mount8;
mod names;
mod operations;
mod overlay;
mod program;
mod random;
mod raw;
mod reading;
mod scrub;
mod semantics;
mod send;
mod snapshots;
mod table;
mod times;
mod transactions;
mod tree;
mod trees;
mod types;
mod typing;
mod users;
mod visibility;
mod watching;
