//! A document store that you mount as a directory.

pub mod backend;
pub mod cli;
pub mod codec;
pub mod fuse;
pub mod journal;
pub mod store;
mod sys;
pub mod tree;
pub mod value;
pub mod view;
