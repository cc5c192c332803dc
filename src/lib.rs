pub mod backend;
pub mod codec;
