//! The names of types, as in the attribute `user.kfs.type`.

use crate::value::Value;
use std::fmt;
use std::str::FromStr;
use thiserror::Error;

/// A kind of value.
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
