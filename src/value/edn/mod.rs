//! EDN text (<https://github.com/edn-format/edn>), as Clojure reads and prints it.
//!
//! Printing a value and parsing it gives the value back, whatever it is. What EDN has no notation
//! for takes a tag:
//!
//! | value | text |
//! |---|---|
//! | bytes | `#bytes "00ff"`, in hexadecimal |
//! | keyword or symbol with characters that EDN has none with | `#kfs/keyword "odd one"`, `#kfs/symbol "1"` |
//! | instant outside the years 0 to 9999 | `#kfs/instant "99999999999999 0"`, seconds and nanoseconds |
//! | numbers of thousands of digits | `#kfs/integer "0x…"`, `#kfs/decimal "0x… 2"` (digits, scale) |
//! | tagged value whose tag is none in EDN, or one of these, or `inst`, `uuid` | `#kfs/tagged ["the tag" value]` |
//!
//! Beyond EDN, keyword names may begin with a digit and `#:ns{…}` maps are read, as in Clojure.

mod print;
mod read;
mod syntax;
#[cfg(test)]
mod tests;

pub use super::text::TextError;
pub(crate) use super::text::{hex, unhex};
pub use print::{pretty, print};
pub use read::parse;
pub(crate) use syntax::is_keyword;

/// Tags that the reader understands; tagged values of the same name need `#kfs/tagged`.
const OWN_TAGS: [&str; 9] = [
    "inst",
    "uuid",
    "bytes",
    "kfs/keyword",
    "kfs/symbol",
    "kfs/tagged",
    "kfs/integer",
    "kfs/decimal",
    "kfs/instant",
];
