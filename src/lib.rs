//! A document store that you mount as a directory.

pub mod cli;
pub mod fuse;
mod sys;
pub mod view;
