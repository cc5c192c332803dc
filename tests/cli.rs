//! The command line on stores that are not mounted.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a failed test panics"
)]

mod cli {
    mod documents;
    mod edit;
    mod encryption;
    mod entries;
    mod exits;
    mod fsck;
    mod harness;
    mod lifecycle;
    mod names;
    mod rewrite;
    mod send;
    mod snapshots;
    mod trees;
    mod values;
}
