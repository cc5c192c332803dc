//! The bytes of a file from a value, and back.
//!
//! | value | bytes |
//! |---|---|
//! | text | the text, and a newline unless the file was written without one |
//! | bytes | themselves |
//! | anything else | EDN text and a newline, or the bytes as written (the *literal*) if they differ |

mod type_name;

use crate::value::{TextError, Value, edn};
use thiserror::Error;

pub use type_name::{TypeName, UnknownType};

/// The largest content that is text without having been declared so.
pub const TEXT_MAX: usize = 1 << 20;

/// The largest content that is parsed as a declared type.
pub const PARSE_MAX: usize = 64 << 20;

/// The longest content that could be a scalar to [`infer`].
const INFER_MAX: usize = 16 << 10;

/// A file's bytes, understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParsedContent {
    /// The value.
    pub value: Value,
    /// Whether the bytes end in a newline (for text: one that is not part of it).
    pub newline: bool,
    /// The bytes, where they are not what the value and `newline` are rendered as.
    pub literal: Option<Vec<u8>>,
}

/// Why bytes are not of a type.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RenderError {
    /// More than [`PARSE_MAX`].
    #[error("{size} bytes are too many to parse as {wanted}")]
    TooBig {
        /// The type to parse as.
        wanted: TypeName,
        /// How many bytes there are.
        size: usize,
    },
    /// Not UTF-8.
    #[error("not UTF-8 from byte {offset} on, so no {wanted}")]
    NotUtf8 {
        /// The type to parse as.
        wanted: TypeName,
        /// Where the first wrong byte stands.
        offset: usize,
    },
    /// Not EDN.
    #[error("not EDN text of type {wanted}")]
    Syntax {
        /// The type to parse as.
        wanted: TypeName,
        /// What is wrong, and where.
        source: TextError,
    },
    /// EDN of another type.
    #[error("a value of type {found}, not {wanted}")]
    OtherType {
        /// The type to parse as.
        wanted: TypeName,
        /// The type the bytes have.
        found: TypeName,
    },
}

/// The type of content that has none declared.
pub fn class(bytes: &[u8]) -> TypeName {
    if bytes.len() <= TEXT_MAX && std::str::from_utf8(bytes).is_ok() {
        TypeName::Text
    } else {
        TypeName::Bytes
    }
}

/// The bytes that show `value`. A literal is taken as it is: it must be one that parsed to the
/// value.
pub fn render(value: &Value, newline: bool, literal: Option<&[u8]>) -> Vec<u8> {
    match (value, literal) {
        (Value::Bytes(bytes), _) => bytes.clone(),
        // A text that ends in a newline needs the file's own after it, or it would lose one when
        // the file is read back.
        (Value::Text(text), _) => with_newline(text.clone(), newline || text.ends_with('\n')),
        (_, Some(literal)) => literal.to_vec(),
        (_, None) => with_newline(edn::print(value), newline),
    }
}

/// Understand content without a declared type, by its [`class`].
pub fn parse_untyped(bytes: &[u8]) -> ParsedContent {
    match std::str::from_utf8(bytes) {
        Ok(text) if bytes.len() <= TEXT_MAX => parse_text(text),
        _ => parse_bytes(bytes),
    }
}

/// Understand content of the declared type. An integer may become a float; a float, decimal, uuid
/// or instant may be given without what tells it from others in EDN (`1`, `1.5`, the text alone).
pub fn parse_as(bytes: &[u8], wanted: TypeName) -> Result<ParsedContent, RenderError> {
    if wanted == TypeName::Bytes {
        return Ok(parse_bytes(bytes));
    }
    if bytes.len() > PARSE_MAX {
        return Err(RenderError::TooBig {
            wanted,
            size: bytes.len(),
        });
    }
    let text = std::str::from_utf8(bytes).map_err(|error| RenderError::NotUtf8 {
        wanted,
        offset: error.valid_up_to(),
    })?;
    if wanted == TypeName::Text {
        return Ok(parse_text(text));
    }
    let value = match parse_bare(text.trim(), wanted) {
        Some(value) => value,
        None => edn::parse(text).map_err(|source| RenderError::Syntax { wanted, source })?,
    };
    let found = TypeName::of(&value);
    if found != wanted && (wanted, found) != (TypeName::Int, TypeName::Float) {
        return Err(RenderError::OtherType { wanted, found });
    }
    Ok(with_literal(value, bytes))
}

/// Understand new content by what it looks like: a scalar whose rendering is exactly the bytes, or
/// else its [`class`]. A lone word stays text and is no symbol.
pub fn infer(bytes: &[u8]) -> ParsedContent {
    if bytes.len() <= INFER_MAX
        && let Ok(text) = std::str::from_utf8(bytes)
        && let Ok(value) = edn::parse(text)
        && is_inferred(TypeName::of(&value))
    {
        let parsed = with_literal(value, bytes);
        if parsed.literal.is_none() {
            return parsed;
        }
    }
    parse_untyped(bytes)
}

fn is_inferred(ty: TypeName) -> bool {
    use TypeName::{Bool, Char, Decimal, Float, Inst, Int, Keyword, Nil, Ratio, Uuid};
    matches!(
        ty,
        Nil | Bool | Int | Float | Keyword | Char | Ratio | Decimal | Uuid | Inst
    )
}

/// The value that `text` is where the type is known from elsewhere, though not from the text.
fn parse_bare(text: &str, wanted: TypeName) -> Option<Value> {
    let in_tag = |tag: &str| {
        let is_bare = !text.contains(['"', '\\']);
        if is_bare {
            edn::parse(&format!("#{tag} \"{text}\"")).ok()
        } else {
            None
        }
    };
    let value = match wanted {
        TypeName::Float => match edn::parse(text).ok()? {
            // By way of its digits: the nearest float, however large the integer is.
            integer @ (Value::Int(_) | Value::BigInt(_)) => {
                edn::parse(&format!("{integer}.0")).ok()
            }
            _ => None,
        },
        TypeName::Decimal => edn::parse(&format!("{text}M")).ok(),
        TypeName::Uuid => in_tag("uuid"),
        TypeName::Inst => in_tag("inst"),
        _ => None,
    };
    value.filter(|value| TypeName::of(value) == wanted)
}

fn parse_text(text: &str) -> ParsedContent {
    let (text, newline) = match text.strip_suffix('\n') {
        Some(text) => (text, true),
        None => (text, false),
    };
    ParsedContent {
        value: Value::Text(text.to_owned()),
        newline,
        literal: None,
    }
}

fn parse_bytes(bytes: &[u8]) -> ParsedContent {
    ParsedContent {
        value: Value::Bytes(bytes.to_vec()),
        newline: bytes.ends_with(b"\n"),
        literal: None,
    }
}

fn with_literal(value: Value, bytes: &[u8]) -> ParsedContent {
    let newline = bytes.ends_with(b"\n");
    let literal = (render(&value, newline, None) != bytes).then(|| bytes.to_vec());
    ParsedContent {
        value,
        newline,
        literal,
    }
}

fn with_newline(mut text: String, newline: bool) -> Vec<u8> {
    if newline {
        text.push('\n');
    }
    text.into_bytes()
}

#[cfg(test)]
mod tests;
