//! What a store is after the power went, at every moment and with every part of what was not
//! synced, on a disk that a test can take apart.
//!
//! A store runs on a filesystem of this test's own ([`mount`]), which keeps everything in memory and
//! writes down each change and each sync ([`disk`]). Then, for every place in that log, disks are made
//! as a power loss there may leave them ([`images`]); each must open to a state that the store had
//! ([`check`]): one at or after the last synced operation, at or before the one under way.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a failed test panics"
)]

mod cases;
mod check;
mod disk;
mod images;
mod mount;
mod operations;
mod random;
mod receive;
mod run;
mod state;
mod sweep;
