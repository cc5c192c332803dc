//! The store through its public API.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a failed test panics"
)]

mod store {
    mod api;
    mod asynchronous;
    mod behind;
    mod damage;
    mod encryption;
    mod front;
    mod fsck;
    mod history;
    mod hooks;
    mod konserve;
    mod limits;
    mod log;
    mod multi;
    mod overlay;
    mod races;
    mod reclaim;
    mod rewrite;
    mod send;
    mod send_crash;
    mod snapshot_damage;
    mod snapshots;
    mod sweep;
    mod transactions;
    mod tree;
}
