//! The name under which a key stands in a directory, and the key that a name means: a bijection.
//!
//! | key | name |
//! |---|---|
//! | text | itself, or `%s` and the text if it cannot be a name or would be read as something else |
//! | keyword | `:` and the name, where EDN can write it: `:user%2Fname` |
//! | integer | `%i42`; in a vector, from 0 to 2⁶⁴-1, its digits alone |
//! | uuid | `%u` and the uuid |
//! | bytes | themselves if they are not UTF-8 and hold neither `/` nor NUL, else `%b` and hexadecimal |
//! | anything else | `%e` and its EDN |
//! | any key whose name would pass 255 bytes | the name's beginning, `%h`, 32 digits of the key's BLAKE3 |
//!
//! In what follows `:`, `%s` and `%e`, the bytes `%`, `/` and NUL are `%25`, `%2F` and `%00`.
//!
//! A name is read as one of these forms only if it is what that key is shown as; otherwise it is a
//! plain text (or bytes) key. So every name a program makes is shown back as it was made. Only the
//! `%h` form, and `.kfs` at the root, are never free.

use crate::value::edn::{self, is_keyword};
use crate::value::{Key, Value};
use std::borrow::Cow;
use thiserror::Error;

/// The most bytes in a name.
pub const NAME_MAX: usize = 255;

/// The name at the root that belongs to the filesystem itself.
pub const CONTROL_NAME: &[u8] = b".kfs";

const HASH_DIGITS: usize = 32;

/// The most bytes of a shortened name before its `%h`: what is left of [`NAME_MAX`] is enough for
/// the hash and for the suffix of an editor's temporary file.
const PREFIX_MAX: usize = 200;

/// What kind of directory a name stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameContext {
    /// The root: the store's top-level keys.
    Root,
    /// A map.
    Map,
    /// A vector: its elements, and whatever else was put beside them.
    Vector,
}

/// What a name means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// This key.
    Key(Key),
    /// The key among those present whose name this is, if there is one; it cannot be created.
    Hashed {
        /// The beginning of the long name.
        prefix: Vec<u8>,
        /// The first half of the BLAKE3 hash of the key's bytes.
        hash: [u8; HASH_DIGITS / 2],
    },
}

/// Why a name cannot stand in a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum NameError {
    /// More than [`NAME_MAX`] bytes.
    #[error("a name has at most 255 bytes")]
    TooLong,
    /// Empty, `.`, `..`, or with `/` or NUL in it.
    #[error("not a file name")]
    Invalid,
    /// `.kfs` at the root.
    #[error(".kfs at the root belongs to the filesystem")]
    Reserved,
}

/// The name of `key` in a directory.
pub fn name_of(key: &Key, context: NameContext) -> Vec<u8> {
    name_within(key, context, NAME_MAX)
}

/// The name of `key` where a name may have only so many bytes, which must be enough for a shortened
/// one.
pub fn name_within(key: &Key, context: NameContext, max: usize) -> Vec<u8> {
    let full = full_name(key, context);
    if full.len() <= max {
        return full;
    }
    let mut end = PREFIX_MAX;
    if let Ok(text) = std::str::from_utf8(&full) {
        end = text.floor_char_boundary(end);
    }
    let mut name = full;
    name.truncate(end);
    name.extend_from_slice(b"%h");
    name.extend(
        hash_of(key)
            .iter()
            .flat_map(|byte| format!("{byte:02x}").into_bytes()),
    );
    name
}

/// What `name` means in a directory.
pub fn parse_name(name: &[u8], context: NameContext) -> Result<Parsed, NameError> {
    if name.len() > NAME_MAX {
        return Err(NameError::TooLong);
    }
    if !is_possible(name) {
        return Err(NameError::Invalid);
    }
    if context == NameContext::Root && name == CONTROL_NAME {
        return Err(NameError::Reserved);
    }
    if let Some((prefix, hash)) = split_hashed(name) {
        return Ok(Parsed::Hashed {
            prefix: prefix.to_vec(),
            hash,
        });
    }
    Ok(Parsed::Key(match std::str::from_utf8(name) {
        Ok(text) => escaped(text, context).unwrap_or_else(|| Key::text(text)),
        Err(_) => Key::new(&Value::Bytes(name.to_vec())),
    }))
}

/// The hash in the short form of the name of `key`.
pub fn hash_of(key: &Key) -> [u8; HASH_DIGITS / 2] {
    let mut half = [0; HASH_DIGITS / 2];
    blake3::Hasher::new()
        .update(key.bytes())
        .finalize_xof()
        .fill(&mut half);
    half
}

/// The name, however long it is.
fn full_name(key: &Key, context: NameContext) -> Vec<u8> {
    if let Some(text) = key.as_text() {
        return if is_plain(text, context) {
            text.into()
        } else {
            escape("%s", text)
        };
    }
    if context == NameContext::Vector
        && let Some(index) = key.as_index()
    {
        return index.to_string().into_bytes();
    }
    match key.value() {
        Value::Keyword(name) if is_keyword(&name) => escape(":", &name),
        Value::Int(n) => format!("%i{n}").into_bytes(),
        Value::BigInt(n) => format!("%i{n}").into_bytes(),
        Value::Uuid(uuid) => format!("%u{uuid}").into_bytes(),
        Value::Bytes(bytes) => {
            let is_raw = is_possible(&bytes)
                && std::str::from_utf8(&bytes).is_err()
                && split_hashed(&bytes).is_none();
            if is_raw {
                bytes
            } else {
                format!("%b{}", edn::hex(&bytes)).into_bytes()
            }
        }
        value => escape("%e", &edn::print(&value)),
    }
}

/// Whether a filesystem could have the name at all.
fn is_possible(name: &[u8]) -> bool {
    !matches!(name, b"" | b"." | b"..") && !name.iter().any(|byte| matches!(byte, b'/' | 0))
}

/// The index that a name stands for in a vector.
pub fn parse_index(name: &[u8]) -> Option<u64> {
    match parse_name(name, NameContext::Vector) {
        Ok(Parsed::Key(key)) => key.as_index(),
        _ => None,
    }
}

/// Whether a text can be its own name.
fn is_plain(text: &str, context: NameContext) -> bool {
    let is_free = is_possible(text.as_bytes())
        && !(context == NameContext::Root && text.as_bytes() == CONTROL_NAME)
        && split_hashed(text.as_bytes()).is_none();
    // Beyond the limit no form is read: the name is shortened, and then never free.
    is_free && (text.len() > NAME_MAX || escaped(text, context).is_none())
}

/// The key other than the text itself that is shown as `name`.
fn escaped(name: &str, context: NameContext) -> Option<Key> {
    if context == NameContext::Vector && is_canonical_decimal(name) {
        return name.parse().ok().map(Key::index);
    }
    let key = if let Some(keyword) = name.strip_prefix(':') {
        Key::new(&Value::Keyword(unescape(keyword)?.into_owned()))
    } else {
        let (form, rest) = name.strip_prefix('%')?.split_at_checked(1)?;
        match form {
            "s" => Key::text(&unescape(rest)?),
            "i" => Key::new(&Value::integer(rest.parse().ok()?)),
            "u" => Key::new(&Value::Uuid(uuid::Uuid::try_parse(rest).ok()?)),
            "b" => Key::new(&Value::Bytes(edn::unhex(rest)?)),
            "e" => Key::new(&edn::parse(&unescape(rest)?).ok()?),
            _ => return None,
        }
    };
    // Comparing is what makes it a bijection: of all spellings of a key, one is its name. A text
    // in a text is shorter by two characters each time, so this ends.
    (full_name(&key, context) == name.as_bytes()).then_some(key)
}

fn is_canonical_decimal(name: &str) -> bool {
    name == "0"
        || !name.starts_with('0') && !name.is_empty() && name.bytes().all(|c| c.is_ascii_digit())
}

fn split_hashed(name: &[u8]) -> Option<(&[u8], [u8; HASH_DIGITS / 2])> {
    let (rest, digits) = name.split_at_checked(name.len().checked_sub(HASH_DIGITS)?)?;
    let prefix = rest.strip_suffix(b"%h")?;
    let is_digit = |c: &u8| matches!(c, b'0'..=b'9' | b'a'..=b'f');
    let digits = std::str::from_utf8(digits)
        .ok()
        .filter(|digits| digits.as_bytes().iter().all(is_digit))?;
    Some((prefix, edn::unhex(digits)?.try_into().ok()?))
}

fn escape(form: &str, text: &str) -> Vec<u8> {
    let mut name = String::with_capacity(form.len() + text.len());
    name.push_str(form);
    for c in text.chars() {
        match c {
            '%' => name.push_str("%25"),
            '/' => name.push_str("%2F"),
            '\0' => name.push_str("%00"),
            c => name.push(c),
        }
    }
    name.into_bytes()
}

fn unescape(text: &str) -> Option<Cow<'_, str>> {
    if !text.contains('%') {
        return Some(text.into());
    }
    let mut parts = text.split('%');
    let mut plain = parts.next()?.to_owned();
    for part in parts {
        let (digits, rest) = part.split_at_checked(2)?;
        plain.push(match digits {
            "25" => '%',
            "2F" => '/',
            "00" => '\0',
            _ => return None,
        });
        plain.push_str(rest);
    }
    Some(plain.into())
}

#[cfg(test)]
mod tests;
