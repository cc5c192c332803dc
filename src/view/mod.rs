//! Files and directories over a store.

pub mod names;
pub mod render;
