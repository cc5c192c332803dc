//! The filesystem view without a mount: operations as the kernel sends them, against a model.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a failed test panics"
)]

mod view {
    mod api;
    mod documents;
    mod files;
    mod generated;
    mod harness;
    mod hooks;
    mod links;
    mod model;
    mod step;
    mod times;
    mod types;
    mod vectors;
    mod world;
}
