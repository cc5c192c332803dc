pub mod backend;
pub mod codec;
pub mod journal;
