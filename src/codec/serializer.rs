//! The serializer stage: canonical CBOR, which is what everything here is in memory and in
//! addresses, to what stands in blobs, and back.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use super::error::{Check, Unreadable};
use crate::value::{Value, cbor, edn, json};

/// The number of CBOR. 0 to 2 are konserve's.
pub const SERIALIZER_CBOR: u8 = 3;
pub(super) const SERIALIZER_EDN: u8 = 4;
pub(super) const SERIALIZER_JSON: u8 = 5;
/// The first number for serializers that a program brings along.
const FIRST_OWN: u8 = 128;

/// The longest text, in bytes. What would take more stays CBOR, and so fits the storages.
const LONGEST: u64 = 16 << 20;

/// How the meta and the value of a blob are written down.
///
/// A program may bring its own along, with a number from 128 on, which stands in the header of each
/// blob, and a name, which stands in the header of the store: [`Serializers::with`].
///
/// What [`read`](Self::read) gives must be what [`write`](Self::write) was given. Each blob is read
/// back before it is stored; one that does not come back exactly is stored as CBOR instead.
pub trait Serializer: fmt::Debug + Send + Sync {
    /// Its number.
    fn number(&self) -> u8;

    /// Its name.
    fn name(&self) -> &str;

    /// Appends the value.
    fn write(&self, value: &Value, out: &mut Vec<u8>);

    /// The one value in `bytes`.
    ///
    /// # Errors
    /// What is wrong with them. They may be anything: nesting and sizes must be bounded.
    fn read(&self, bytes: &[u8]) -> Result<Value, Unreadable>;
}

/// [Canonical CBOR](cbor), number 3.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cbor;

impl Serializer for Cbor {
    fn number(&self) -> u8 {
        SERIALIZER_CBOR
    }

    fn name(&self) -> &'static str {
        "cbor"
    }

    fn write(&self, value: &Value, out: &mut Vec<u8>) {
        cbor::encode_into(value, out);
    }

    fn read(&self, bytes: &[u8]) -> Result<Value, Unreadable> {
        Ok(cbor::decode(bytes)?)
    }
}

/// [EDN](edn) for people, in lines of about 80 characters; number 4.
#[derive(Clone, Copy, Debug, Default)]
pub struct Edn;

impl Serializer for Edn {
    fn number(&self) -> u8 {
        SERIALIZER_EDN
    }

    fn name(&self) -> &'static str {
        "edn"
    }

    fn write(&self, value: &Value, out: &mut Vec<u8>) {
        out.extend_from_slice(edn::pretty(value).as_bytes());
        out.push(b'\n');
    }

    fn read(&self, bytes: &[u8]) -> Result<Value, Unreadable> {
        Ok(edn::parse(std::str::from_utf8(bytes)?)?)
    }
}

/// [JSON](json) in one line, with the notation drawn there for what it lacks; number 5.
#[derive(Clone, Copy, Debug, Default)]
pub struct Json;

impl Serializer for Json {
    fn number(&self) -> u8 {
        SERIALIZER_JSON
    }

    fn name(&self) -> &'static str {
        "json"
    }

    fn write(&self, value: &Value, out: &mut Vec<u8>) {
        out.extend_from_slice(json::print(value).as_bytes());
        out.push(b'\n');
    }

    fn read(&self, bytes: &[u8]) -> Result<Value, Unreadable> {
        Ok(json::parse(std::str::from_utf8(bytes)?)?)
    }
}

/// The serializers that a program knows: those here, and its own.
#[derive(Clone, Debug)]
pub struct Serializers(pub(super) Arc<[Arc<dyn Serializer>]>);

impl Default for Serializers {
    fn default() -> Self {
        Self(Arc::new([Arc::new(Cbor), Arc::new(Edn), Arc::new(Json)]))
    }
}

impl Serializers {
    /// With one of the program's own; `None` if its number is below 128, or its number or name is
    /// taken.
    #[must_use]
    pub fn with(&self, own: Arc<dyn Serializer>) -> Option<Self> {
        let (number, name) = (own.number(), own.name());
        if number < FIRST_OWN || self.numbered(number).is_some() || self.named(name).is_some() {
            return None;
        }
        let known = self.0.iter().cloned();
        Some(Self(known.chain([own]).collect()))
    }

    /// The one with this name.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<&Arc<dyn Serializer>> {
        self.0.iter().find(|one| one.name() == name)
    }

    pub(super) fn numbered(&self, number: u8) -> Option<&Arc<dyn Serializer>> {
        self.0.iter().find(|one| one.number() == number)
    }
}

/// A meta and a value that have been through a serializer.
pub struct Serialized<'a> {
    pub serializer: u8,
    pub meta: Cow<'a, [u8]>,
    pub value: Cow<'a, [u8]>,
}

impl<'a> Serialized<'a> {
    /// As they are.
    pub fn cbor(meta: &'a [u8], value: &'a [u8]) -> Self {
        Self {
            serializer: SERIALIZER_CBOR,
            meta: meta.into(),
            value: value.into(),
        }
    }

    /// Serializes both. As they are stays what would not come back exactly: what is no canonical
    /// CBOR, as the content of a file; what nests more deeply than values may; what is too long.
    pub fn write(serializer: &dyn Serializer, meta: &'a [u8], value: &'a [u8]) -> Self {
        let both = || Some((write(serializer, value)?, write(serializer, meta)?));
        match both() {
            Some((value, meta)) => Self {
                serializer: serializer.number(),
                meta: meta.into(),
                value: value.into(),
            },
            None => Self::cbor(meta, value),
        }
    }
}

/// Nothing stays nothing.
fn write(serializer: &dyn Serializer, item: &[u8]) -> Option<Vec<u8>> {
    let mut text = Vec::new();
    if item.is_empty() {
        return Some(text);
    }
    serializer.write(&cbor::decode(item).ok()?, &mut text);
    let comes_back = || read(serializer, &text).is_ok_and(|back| back == item);
    (!text.is_empty() && comes_back()).then_some(text)
}

/// The canonical CBOR of what a blob holds.
pub fn read(serializer: &dyn Serializer, bytes: &[u8]) -> Result<Vec<u8>, Check> {
    if bytes.is_empty() {
        return Ok(Vec::new());
    }
    let (size, limit) = (bytes.len() as u64, LONGEST);
    if size > limit {
        return Err(Check::Size { size, limit });
    }
    let value = serializer.read(bytes);
    let value = value.map_err(|source| Check::Deserialize {
        number: serializer.number(),
        source,
    })?;
    Ok(cbor::encode(&value))
}
