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
pub(super) use string::{hex, is_invisible, read_string, unhex, write_string};
