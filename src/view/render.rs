//! The bytes of a file from a value, and back.
//!
//! | value | bytes |
//! |---|---|
//! | text | the text, and a newline unless the file was written without one |
//! | bytes | themselves |
//! | anything else | EDN text and a newline, or the bytes as written (the *literal*) if they differ |

use crate::value::{TextError, Value, edn};
use std::fmt;
use std::str::FromStr;
use thiserror::Error;

/// The largest content that is text without having been declared so.
pub const TEXT_MAX: usize = 1 << 20;

/// The largest content that is parsed as a declared type.
pub const PARSE_MAX: usize = 64 << 20;

/// The longest content that could be a scalar to [`infer`].
const INFER_MAX: usize = 16 << 10;

/// The name of a kind of value, as in the attribute `user.kfs.type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TypeName {
    /// `nil`
    Nil,
    /// `bool`
    Bool,
    /// `int`: an integer of any size
    Int,
    /// `float`
    Float,
    /// `text`
    Text,
    /// `bytes`
    Bytes,
    /// `keyword`
    Keyword,
    /// `symbol`
    Symbol,
    /// `char`
    Char,
    /// `ratio`
    Ratio,
    /// `decimal`
    Decimal,
    /// `uuid`
    Uuid,
    /// `inst`
    Inst,
    /// `list`
    List,
    /// `set`
    Set,
    /// `map`
    Map,
    /// `vector`
    Vector,
    /// `tagged`
    Tagged,
}

impl TypeName {
    /// Every type.
    pub const ALL: [Self; 18] = [
        Self::Nil,
        Self::Bool,
        Self::Int,
        Self::Float,
        Self::Text,
        Self::Bytes,
        Self::Keyword,
        Self::Symbol,
        Self::Char,
        Self::Ratio,
        Self::Decimal,
        Self::Uuid,
        Self::Inst,
        Self::List,
        Self::Set,
        Self::Map,
        Self::Vector,
        Self::Tagged,
    ];

    /// The type of a value.
    pub fn of(value: &Value) -> Self {
        match value {
            Value::Nil => Self::Nil,
            Value::Bool(_) => Self::Bool,
            Value::Int(_) | Value::BigInt(_) => Self::Int,
            Value::Float(_) => Self::Float,
            Value::Text(_) => Self::Text,
            Value::Bytes(_) => Self::Bytes,
            Value::Keyword(_) => Self::Keyword,
            Value::Symbol(_) => Self::Symbol,
            Value::Char(_) => Self::Char,
            Value::Ratio(_) => Self::Ratio,
            Value::Decimal(_) => Self::Decimal,
            Value::Uuid(_) => Self::Uuid,
            Value::Instant(_) => Self::Inst,
            Value::List(_) => Self::List,
            Value::Set(_) => Self::Set,
            Value::Map(_) => Self::Map,
            Value::Vector(_) => Self::Vector,
            Value::Tagged(..) => Self::Tagged,
        }
    }

    /// The name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Nil => "nil",
            Self::Bool => "bool",
            Self::Int => "int",
            Self::Float => "float",
            Self::Text => "text",
            Self::Bytes => "bytes",
            Self::Keyword => "keyword",
            Self::Symbol => "symbol",
            Self::Char => "char",
            Self::Ratio => "ratio",
            Self::Decimal => "decimal",
            Self::Uuid => "uuid",
            Self::Inst => "inst",
            Self::List => "list",
            Self::Set => "set",
            Self::Map => "map",
            Self::Vector => "vector",
            Self::Tagged => "tagged",
        }
    }

    /// Whether its values are directories.
    pub fn is_directory(self) -> bool {
        matches!(self, Self::Map | Self::Vector)
    }
}

impl fmt::Display for TypeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// There is no type of that name.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("there is no type {0:?}")]
pub struct UnknownType(pub String);

impl FromStr for TypeName {
    type Err = UnknownType;

    fn from_str(name: &str) -> Result<Self, UnknownType> {
        Self::ALL
            .into_iter()
            .find(|ty| ty.as_str() == name)
            .ok_or_else(|| UnknownType(name.to_owned()))
    }
}

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
mod tests {
    #![allow(clippy::unwrap_used, reason = "test")]

    use super::*;

    fn parsed(text: &str, wanted: TypeName) -> (String, bool, bool) {
        let content = parse_as(text.as_bytes(), wanted).unwrap();
        assert_eq!(
            render(&content.value, content.newline, content.literal.as_deref()),
            text.as_bytes()
        );
        (
            edn::print(&content.value),
            content.newline,
            content.literal.is_some(),
        )
    }

    #[test]
    fn the_newline_of_a_file_is_not_part_of_its_text() {
        assert_eq!(parsed("a\n", TypeName::Text), ("\"a\"".into(), true, false));
        assert_eq!(parsed("a", TypeName::Text), ("\"a\"".into(), false, false));
        assert_eq!(
            parsed("a\n\n", TypeName::Text),
            ("\"a\\n\"".into(), true, false)
        );
        assert_eq!(parsed("", TypeName::Text), ("\"\"".into(), false, false));
        assert_eq!(parsed("\n", TypeName::Text), ("\"\"".into(), true, false));
    }

    #[test]
    fn a_text_that_ends_in_a_newline_keeps_it_in_a_file_without_one() {
        assert_eq!(render(&"a\n".into(), false, None), b"a\n\n");
        assert_eq!(render(&"a".into(), false, None), b"a");
    }

    #[test]
    fn bytes_of_a_number_that_differ_from_its_rendering_are_kept() {
        assert_eq!(parsed("42\n", TypeName::Int), ("42".into(), true, false));
        assert_eq!(parsed("42", TypeName::Int), ("42".into(), false, false));
        assert_eq!(parsed("+42\n", TypeName::Int), ("42".into(), true, true));
        assert_eq!(
            parsed("42 ; the answer\n", TypeName::Int),
            ("42".into(), true, true)
        );
        assert_eq!(
            parsed("1.50\n", TypeName::Float),
            ("1.5".into(), true, true)
        );
        assert_eq!(
            parsed("1e5\n", TypeName::Float),
            ("100000.0".into(), true, true)
        );
    }

    #[test]
    fn an_integer_may_become_a_float_and_nothing_else() {
        assert_eq!(parsed("1.5\n", TypeName::Int), ("1.5".into(), true, false));
        for text in ["1.5M\n", "1/2\n", "one\n", "nil\n"] {
            let error = parse_as(text.as_bytes(), TypeName::Int).unwrap_err();
            assert!(
                matches!(
                    error,
                    RenderError::OtherType {
                        wanted: TypeName::Int,
                        ..
                    }
                ),
                "{text}"
            );
        }
        assert!(matches!(
            parse_as(b"4 2", TypeName::Int),
            Err(RenderError::Syntax { .. })
        ));
        assert!(matches!(
            parse_as(b"\xff", TypeName::Int),
            Err(RenderError::NotUtf8 { offset: 0, .. })
        ));
    }

    #[test]
    fn what_the_declared_type_says_need_not_be_in_the_text() {
        assert_eq!(parsed("1\n", TypeName::Float), ("1.0".into(), true, true));
        assert_eq!(
            parsed("1.50\n", TypeName::Decimal),
            ("1.50M".into(), true, true)
        );
        assert_eq!(parsed("2\n", TypeName::Decimal), ("2M".into(), true, true));
        assert_eq!(
            parsed("2020-01-01\n", TypeName::Inst),
            ("#inst \"2020-01-01T00:00:00Z\"".into(), true, true)
        );
        let uuid = "00000000-0000-0000-0000-00000000000a";
        assert_eq!(
            parsed(uuid, TypeName::Uuid),
            (format!("#uuid \"{uuid}\""), false, true)
        );
    }

    #[test]
    fn nil_is_nil_only() {
        assert_eq!(parsed("nil\n", TypeName::Nil), ("nil".into(), true, false));
        for text in ["", "\n", "false\n", "()\n"] {
            assert!(parse_as(text.as_bytes(), TypeName::Nil).is_err());
        }
    }

    #[test]
    fn untyped_content_is_text_if_it_is_utf8_and_not_large() {
        assert_eq!(class(b""), TypeName::Text);
        assert_eq!(class("é".as_bytes()), TypeName::Text);
        assert_eq!(class(b"\xe9"), TypeName::Bytes);
        assert_eq!(class(&[b'x'; TEXT_MAX]), TypeName::Text);
        assert_eq!(class(&[b'x'; TEXT_MAX + 1]), TypeName::Bytes);
        assert_eq!(parse_untyped(b"42\n").value, "42".into());
    }

    #[test]
    fn too_much_is_not_parsed_except_as_bytes() {
        let much = vec![b' '; PARSE_MAX + 1];
        for ty in TypeName::ALL {
            let result = parse_as(&much, ty);
            match ty {
                TypeName::Bytes => assert!(result.is_ok()),
                _ => assert_eq!(
                    result,
                    Err(RenderError::TooBig {
                        wanted: ty,
                        size: PARSE_MAX + 1
                    })
                ),
            }
        }
    }

    #[test]
    fn only_scalars_that_render_as_the_same_bytes_are_inferred() {
        let inferred = |text: &str| TypeName::of(&infer(text.as_bytes()).value);
        for (text, ty) in [
            ("42\n", TypeName::Int),
            ("42", TypeName::Int),
            ("-1.5\n", TypeName::Float),
            ("true\n", TypeName::Bool),
            (":kw\n", TypeName::Keyword),
            ("#inst \"2020-01-01T00:00:00Z\"\n", TypeName::Inst),
            ("042\n", TypeName::Text),
            ("1.50\n", TypeName::Text),
            ("42 \n", TypeName::Text),
            ("42\n\n", TypeName::Text),
            ("word\n", TypeName::Text),
            ("[1]\n", TypeName::Text),
            ("\"quoted\"\n", TypeName::Text),
            ("", TypeName::Text),
            ("two words\n", TypeName::Text),
        ] {
            assert_eq!(inferred(text), ty, "{text:?}");
        }
    }

    #[test]
    fn a_type_is_known_by_its_name() {
        for ty in TypeName::ALL {
            assert_eq!(ty.as_str().parse(), Ok(ty));
        }
        assert!("integer".parse::<TypeName>().is_err());
    }
}
