//! JSON text. Plain JSON is plain values; what JSON lacks is an object with one reserved key.
//!
//! | value | JSON |
//! |---|---|
//! | nil, bool, text, vector, map with text keys | `null`, `true`, `"…"`, `[…]`, `{…}` |
//! | integer, float | a number: without point and exponent it is an integer |
//! | NaN and the infinities | `{"$float":"NaN"}`, `"Infinity"`, `"-Infinity"` |
//! | integer of thousands of digits | `{"$int":"0x…"}` |
//! | keyword, symbol, character | `{"$kw":"a/b"}`, `{"$sym":"a/b"}`, `{"$char":"a"}` |
//! | bytes | `{"$bytes":"00ff"}`, in hexadecimal |
//! | ratio, decimal | `{"$ratio":"1/2"}`, `{"$dec":"1.50"}` |
//! | uuid, instant | `{"$uuid":"…"}`, `{"$inst":"2020-01-01T00:00:00Z"}` |
//! | list, set | `{"$list":[…]}`, `{"$set":[…]}` |
//! | tagged value | `{"$tag":["the tag",value]}` |
//! | map with other keys than texts, or with a reserved key | `{"$map":[[key,value],…]}` |
//!
//! A reserved key stands alone in its object, so each value has one notation; other keys that
//! begin with `$` mean nothing special. Printing a value and parsing it gives the value back. Programs
//! that have doubles only (`jq`, JavaScript) write some numbers in another way; [`keep_numbers`] knows
//! what they mean.

mod numbers;
mod print;
mod read;
#[cfg(test)]
mod tests;

pub use super::text::TextError;
pub use numbers::keep_numbers;
pub use print::{pretty, print};
pub use read::parse;

const RESERVED: [&str; 14] = [
    "$float", "$int", "$kw", "$sym", "$char", "$bytes", "$ratio", "$dec", "$uuid", "$inst",
    "$list", "$set", "$tag", "$map",
];
