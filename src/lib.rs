//! konserve-fs

pub mod backend;
pub mod codec;
pub mod journal;
pub mod store;
pub mod tree;
pub mod value;
