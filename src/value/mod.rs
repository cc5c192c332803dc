//! Values, keys and key paths, and what can be said about them without a store.
//!
//! [`Value`] covers EDN. A [`Key`] is a value in canonical CBOR ([`cbor`]), and keys compare by
//! those bytes, so that one order serves maps, sets, pages and listings.

pub mod cbor;
mod custom;
pub mod edn;
mod instant;
pub mod json;
mod key;
mod number;
mod order;
pub mod path;
pub(crate) mod stack;
mod text;

use std::collections::{BTreeMap, BTreeSet};

pub use custom::Custom;
pub use instant::Instant;
pub use key::{Key, KeyPath};
pub use number::{Decimal, Ratio};
pub use text::TextError;

/// A piece of data: everything EDN can say, and byte strings.
///
/// Equality and order are those of the canonical CBOR encoding: one NaN, `0.0` and `-0.0` differ,
/// `1` and `1.0` differ, `1.5M` and `1.50M` differ.
#[derive(Clone, Debug)]
pub enum Value {
    /// `nil`
    Nil,
    /// `true`, `false`
    Bool(bool),
    /// An integer that fits 64 bits.
    Int(i64),
    /// An integer that does not fit 64 bits (never one that does: see [`Value::integer`]).
    BigInt(Box<num_bigint::BigInt>),
    /// A double.
    Float(f64),
    /// A string.
    Text(String),
    /// A byte string.
    Bytes(Vec<u8>),
    /// A keyword without its colon; a namespace ends at the first `/`.
    Keyword(String),
    /// A symbol; a namespace ends at the first `/`.
    Symbol(String),
    /// A character.
    Char(char),
    /// A ratio in lowest terms with a denominator above 1.
    Ratio(Box<Ratio>),
    /// A decimal: unscaled integer and scale.
    Decimal(Box<Decimal>),
    /// A UUID.
    Uuid(uuid::Uuid),
    /// A point in time in nanoseconds.
    Instant(Instant),
    /// A vector.
    Vector(Vec<Value>),
    /// A list.
    List(Vec<Value>),
    /// A map.
    Map(BTreeMap<Key, Value>),
    /// A set.
    Set(BTreeSet<Key>),
    /// A tag that this crate does not interpret, and its value.
    Tagged(String, Box<Value>),
}

impl From<bool> for Value {
    fn from(bool: bool) -> Self {
        Self::Bool(bool)
    }
}

impl From<i64> for Value {
    fn from(n: i64) -> Self {
        Self::Int(n)
    }
}

impl From<f64> for Value {
    fn from(float: f64) -> Self {
        Self::Float(float)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<Vec<u8>> for Value {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(bytes)
    }
}

impl<V: Into<Value>> FromIterator<V> for Value {
    /// A vector.
    fn from_iter<I: IntoIterator<Item = V>>(elements: I) -> Self {
        Self::Vector(elements.into_iter().map(Into::into).collect())
    }
}

impl<K: Into<Key>, V: Into<Value>> FromIterator<(K, V)> for Value {
    /// A map.
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        Self::Map(
            entries
                .into_iter()
                .map(|(key, value)| (key.into(), value.into()))
                .collect(),
        )
    }
}

/// EDN text.
impl std::fmt::Display for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&edn::print(self))
    }
}
