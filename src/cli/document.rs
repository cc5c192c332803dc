//! The whole store as one document: a map of its keys, written and read value by value.

use std::io::{self, Write};

use super::access::Access;
use super::content::Notation;
use super::error::CliError;
use super::get::{decode, key_of};
use super::place::{Bytes, NamePath};
use super::progress::Progress;
use super::request::{Request, Response};
use crate::value::{Key, Value, cbor, edn, json};

/// Keys asked for in one go.
const PAGE: usize = 1000;

/// The keys of the store.
pub(super) fn keys(access: &mut Access) -> Result<Vec<Key>, CliError> {
    let mut keys = Vec::new();
    let mut after = None;
    loop {
        let request = Request::List {
            path: NamePath::default(),
            after,
            limit: PAGE,
        };
        let Response::Entries { entries, next, .. } = access.call(request)? else {
            return Err(Access::unexpected());
        };
        for entry in entries {
            keys.push(key_of(&entry.key)?);
        }
        after = next;
        if after.is_none() {
            return Ok(keys);
        }
    }
}

/// Writes the store as a map. A key that is removed meanwhile is left out.
pub(super) fn write_all(
    access: &mut Access,
    notation: Notation,
    to: &mut dyn Write,
    progress: &mut Progress,
) -> Result<(), CliError> {
    let keys = keys(access)?;
    let frame = match notation {
        Notation::Edn => EDN,
        Notation::Json if keys.iter().all(is_plain_in_json) => JSON,
        Notation::Json => JSON_WITH_KEYS,
        Notation::Text | Notation::Bytes => {
            return Err(CliError::usage(
                "a whole store is a map: export it --as edn or --as json, or to a directory",
            ));
        }
    };
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::BrokenPipe => CliError::OutputClosed,
        _ => CliError::io("writing the document", source),
    };
    to.write_all(frame.begin.as_bytes()).map_err(failed)?;
    let mut first = true;
    for key in keys {
        let value = match access.call(Request::GetKey {
            key: Bytes(key.bytes().to_vec()),
        }) {
            Ok(Response::Value(bytes)) => decode(&bytes)?,
            Ok(_) => return Err(Access::unexpected()),
            Err(error) if error.exit() == super::exit::Exit::NotFound => continue,
            Err(error) => return Err(error),
        };
        let text = (frame.entry)(&key.value(), &value);
        let separator = if first { "" } else { frame.between };
        first = false;
        to.write_all(separator.as_bytes())
            .and_then(|()| to.write_all(text.as_bytes()))
            .map_err(failed)?;
        progress.bytes(text.len());
        progress.entry();
    }
    to.write_all(frame.end.as_bytes()).map_err(failed)
}

/// Puts each entry of a map under its key. Other keys of the store stay.
pub(super) fn put_all(
    access: &mut Access,
    value: Value,
    what: &str,
    progress: &mut Progress,
) -> Result<(), CliError> {
    let Value::Map(entries) = value else {
        return Err(CliError::refused(
            what,
            "no map; what becomes a whole store must be a map of its keys",
        ));
    };
    for (key, value) in entries {
        let value = cbor::encode(&value);
        progress.bytes(value.len());
        access.done(Request::PutKey {
            key: Bytes(key.bytes().to_vec()),
            value: Bytes(value),
        })?;
        progress.entry();
    }
    Ok(())
}

/// How the entries of a map are written one after the other.
#[derive(Clone, Copy)]
struct Frame {
    begin: &'static str,
    between: &'static str,
    end: &'static str,
    entry: fn(&Value, &Value) -> String,
}

const EDN: Frame = Frame {
    begin: "{",
    between: "\n ",
    end: "}\n",
    entry: |key, value| format!("{} {}", edn::print(key), edn::print(value)),
};

const JSON: Frame = Frame {
    begin: "{",
    between: ",\n ",
    end: "}\n",
    entry: |key, value| format!("{}: {}", json::print(key), json::print(value)),
};

/// For keys that are no texts.
const JSON_WITH_KEYS: Frame = Frame {
    begin: "{\"$map\": [",
    between: ",\n ",
    end: "]}\n",
    entry: |key, value| format!("[{}, {}]", json::print(key), json::print(value)),
};

/// Whether a key can stand before a colon without making the object mean something else.
fn is_plain_in_json(key: &Key) -> bool {
    key.as_text().is_some_and(|text| !text.starts_with('$'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framed(frame: Frame, entries: &[(&str, &str)]) -> String {
        let texts: Vec<String> = entries
            .iter()
            .map(|(key, value)| {
                (frame.entry)(&edn::parse(key).unwrap(), &edn::parse(value).unwrap())
            })
            .collect();
        format!("{}{}{}", frame.begin, texts.join(frame.between), frame.end)
    }

    #[test]
    fn entries_one_by_one_make_a_map() {
        let entries = [("\"a\"", "1"), ("\"b\"", "[:x #{2}]")];
        let whole = edn::parse("{\"a\" 1 \"b\" [:x #{2}]}").unwrap();
        assert_eq!(edn::parse(&framed(EDN, &entries)).unwrap(), whole);
        assert_eq!(json::parse(&framed(JSON, &entries)).unwrap(), whole);
        assert_eq!(
            json::parse(&framed(JSON_WITH_KEYS, &entries)).unwrap(),
            whole
        );
        assert_eq!(
            edn::parse(&framed(EDN, &[])).unwrap(),
            edn::parse("{}").unwrap()
        );
        assert_eq!(
            json::parse(&framed(JSON_WITH_KEYS, &[(":k", "nil")])).unwrap(),
            edn::parse("{:k nil}").unwrap()
        );
    }

    #[test]
    fn a_key_that_json_would_read_as_a_notation_is_not_plain() {
        assert!(is_plain_in_json(&Key::text("a")));
        assert!(!is_plain_in_json(&Key::text("$kw")));
        assert!(!is_plain_in_json(&Key::index(1)));
    }
}
