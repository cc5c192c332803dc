//! EDN text.

use super::Value;

/// The value as EDN text in one line.
pub fn print(value: &Value) -> String {
    format!("{value:?}")
}
