//! Keys: values in canonical CBOR, compared by those bytes.

use super::cbor::{self, CborError, CborErrorKind, Major, Reader, Writer};
use super::{Value, edn};
use std::borrow::Borrow;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

/// A value in the role of a key: cheap to clone, ordered by its canonical encoding.
///
/// That order is by length first among texts, and puts integers before byte strings, texts,
/// arrays, maps, tagged values and simple ones.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Arc<[u8]>);

impl Key {
    /// The key that stands for `value`.
    pub fn new(value: &Value) -> Self {
        match value {
            Value::Text(text) => Self::text(text),
            _ => Self(cbor::encode(value).into()),
        }
    }

    /// The key for a text.
    pub fn text(text: &str) -> Self {
        let mut bytes = Vec::with_capacity(text.len() + 9);
        Writer::new(&mut bytes).text(text);
        Self(bytes.into())
    }

    /// The key for a place in a vector.
    pub fn index(index: u64) -> Self {
        let mut bytes = Vec::with_capacity(9);
        Writer::new(&mut bytes).uint(index);
        Self(bytes.into())
    }

    /// The key whose encoding these bytes are; they must be canonical.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, CborError> {
        let key = Self::new(&cbor::decode(bytes)?);
        if key.bytes() == bytes {
            Ok(key)
        } else {
            Err(CborError {
                offset: 0,
                kind: CborErrorKind::NotCanonical,
            })
        }
    }

    /// For bytes already known to be canonical.
    pub(crate) fn from_canonical(bytes: &[u8]) -> Self {
        Self(bytes.into())
    }

    /// The canonical encoding.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The value that this key stands for.
    ///
    /// A key made from a value beyond [`cbor::MAX_DEPTH`] cannot be read back; it appears as the
    /// bytes of its encoding.
    pub fn value(&self) -> Value {
        cbor::decode(&self.0).unwrap_or_else(|_| Value::Bytes(self.0.to_vec()))
    }

    /// The text, if the key is one.
    pub fn as_text(&self) -> Option<&str> {
        Reader::new(&self.0).text().ok()
    }

    /// The integer, if the key is one of 0 to 2⁶⁴-1: a place in a vector.
    pub fn as_index(&self) -> Option<u64> {
        Reader::new(&self.0).uint().ok()
    }

    /// Whether it is a number, text, byte string, boolean or nil, with nothing nested in it.
    pub(super) fn is_scalar(&self) -> bool {
        !matches!(
            Reader::new(&self.0).peek_major(),
            Ok(Major::Array | Major::Map | Major::Tag)
        )
    }
}

impl Borrow<[u8]> for Key {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl From<&Value> for Key {
    fn from(value: &Value) -> Self {
        Self::new(value)
    }
}

impl From<&str> for Key {
    fn from(text: &str) -> Self {
        Self::text(text)
    }
}

impl From<String> for Key {
    fn from(text: String) -> Self {
        Self::text(&text)
    }
}

impl From<u64> for Key {
    fn from(index: u64) -> Self {
        Self::index(index)
    }
}

/// EDN text.
impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&edn::print(&self.value()))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({self})")
    }
}

/// The way to a nested value: one key per step. Empty, it means the value itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyPath(Vec<Key>);

impl KeyPath {
    /// The empty path.
    pub fn new() -> Self {
        Self::default()
    }

    /// This path and one more step.
    #[must_use]
    pub fn child(&self, key: Key) -> Self {
        let mut keys = Vec::with_capacity(self.0.len() + 1);
        keys.extend_from_slice(&self.0);
        keys.push(key);
        Self(keys)
    }

    /// The keys.
    pub fn into_keys(self) -> Vec<Key> {
        self.0
    }
}

impl Deref for KeyPath {
    type Target = Vec<Key>;

    fn deref(&self) -> &Vec<Key> {
        &self.0
    }
}

impl DerefMut for KeyPath {
    fn deref_mut(&mut self) -> &mut Vec<Key> {
        &mut self.0
    }
}

impl From<Vec<Key>> for KeyPath {
    fn from(keys: Vec<Key>) -> Self {
        Self(keys)
    }
}

impl<K: Into<Key>> FromIterator<K> for KeyPath {
    fn from_iter<I: IntoIterator<Item = K>>(keys: I) -> Self {
        Self(keys.into_iter().map(Into::into).collect())
    }
}

/// An EDN vector of the keys.
impl fmt::Display for KeyPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        for (i, key) in self.0.iter().enumerate() {
            let space = if i == 0 { "" } else { " " };
            write!(f, "{space}{key}")?;
        }
        f.write_str("]")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "test")]

    use super::*;

    #[test]
    fn a_key_made_in_any_way_is_the_same() {
        assert_eq!(Key::text("a"), Key::new(&Value::Text("a".into())));
        assert_eq!(Key::index(7), Key::new(&Value::Int(7)));
        assert_eq!(
            Key::from_bytes(Key::text("a").bytes()).unwrap(),
            Key::text("a")
        );
    }

    #[test]
    fn only_a_text_is_a_text_and_only_an_integer_from_0_an_index() {
        assert_eq!(Key::text("ab").as_text(), Some("ab"));
        assert_eq!(Key::index(u64::MAX).as_index(), Some(u64::MAX));
        for value in [
            Value::Int(-1),
            Value::Float(1.0),
            Value::Keyword("a".into()),
            Value::Nil,
        ] {
            let key = Key::new(&value);
            assert_eq!((key.as_text(), key.as_index()), (None, None), "{key}");
        }
        assert_eq!(
            (Key::index(1).as_text(), Key::text("1").as_index()),
            (None, None)
        );
    }

    #[test]
    fn a_key_too_deep_to_be_read_back_appears_as_its_bytes() {
        let deep = (0..=cbor::MAX_DEPTH).fold(Value::Nil, |value, _| Value::Vector(vec![value]));
        let key = Key::new(&deep);
        assert_eq!(key.value(), Value::Bytes(key.bytes().to_vec()));
        assert!(cbor::check_depth(&Value::Set([key].into())).is_err());
    }

    #[test]
    fn a_path_shows_as_its_keys() {
        let path: KeyPath = ["a", "b"].into_iter().collect();
        assert_eq!(path.child(Key::index(0)).to_string(), r#"["a" "b" 0]"#);
    }
}
