pub mod value;
pub mod view;
