//! What the EDN and JSON readers and printers share.

mod cursor;
mod number;
mod string;

pub(super) use cursor::Cursor;
pub use cursor::TextError;
pub(super) use number::{
    decimal_text, float_text, has_decimal_digits, instant_text, integer_text, parse_decimal_text,
    parse_instant_text, parse_integer_text, parse_ratio_text,
};
pub(crate) use string::{hex, unhex};
pub(super) use string::{is_invisible, read_string, write_string};
