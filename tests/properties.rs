//! Laws that hold for every value, text, path and name, each tried on generated cases.
//!
//! `KFS_CASES` sets how many cases a law is tried on; 100 000 if unset.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a panic is how a test fails"
)]

#[path = "properties/cbor.rs"]
mod cbor;
#[path = "properties/entropy.rs"]
mod entropy;
#[path = "properties/names.rs"]
mod names;
#[path = "properties/paths.rs"]
mod paths;
#[path = "properties/render.rs"]
mod render;
#[path = "properties/text.rs"]
mod text;

use proptest::test_runner::Config;

/// How the laws are tried.
fn config() -> Config {
    let cases = std::env::var("KFS_CASES")
        .ok()
        .and_then(|cases| cases.parse().ok());
    Config {
        cases: cases.unwrap_or(100_000),
        failure_persistence: None,
        ..Config::default()
    }
}
