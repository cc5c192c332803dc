//! Text that people and programs write: values, names, files, options.

use konserve_fs::fuse::MountOptions;
use konserve_fs::value::{Key, Value, cbor, edn, json};
use konserve_fs::view::names::{self, NameContext, Parsed};
use konserve_fs::view::render::{self, ParsedContent, TypeName};

fn same(a: &Value, b: &Value) {
    assert_eq!(cbor::encode(a), cbor::encode(b), "{a:?} became {b:?}");
}

/// EDN: what is read is printed so that it is read as the same.
pub fn edn(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let Ok(value) = edn::parse(text) else {
        return;
    };
    for printed in [edn::print(&value), edn::pretty(&value)] {
        same(
            &value,
            &edn::parse(&printed).expect("what was printed is EDN"),
        );
    }
}

/// JSON, likewise; and every value has a JSON form.
pub fn json(data: &[u8]) {
    let text = std::str::from_utf8(data).ok();
    let read = text.and_then(|text| json::parse(text).ok());
    let values = [read, cbor::decode(data).ok()];
    for value in values.into_iter().flatten() {
        for printed in [json::print(&value), json::pretty(&value)] {
            same(
                &value,
                &json::parse(&printed).expect("what was printed is JSON"),
            );
        }
    }
}

const CONTEXTS: [NameContext; 3] = [NameContext::Root, NameContext::Map, NameContext::Vector];

fn check_key(key: &Key, context: NameContext) {
    let name = names::name_of(key, context);
    assert!(name.len() <= names::NAME_MAX && !name.is_empty());
    assert!(!name.iter().any(|byte| matches!(byte, b'/' | 0)));
    assert!(name != b"." && name != b"..");
    match names::parse_name(&name, context).expect("a key's name is one") {
        Parsed::Key(found) => assert_eq!(&found, key),
        Parsed::Hashed { hash, .. } => assert_eq!(hash, names::hash_of(key)),
    }
}

/// A name as the kernel gives it: if it means a key, that key has this name.
pub fn name(data: &[u8]) {
    for context in CONTEXTS {
        if let Ok(Parsed::Key(key)) = names::parse_name(data, context) {
            assert_eq!(names::name_of(&key, context), data);
            check_key(&key, context);
        }
    }
}

/// A key of any kind.
pub fn key(data: &[u8]) {
    let text = std::str::from_utf8(data).ok();
    let read = text.and_then(|text| edn::parse(text).ok());
    let values = [
        read,
        cbor::decode(data).ok(),
        text.map(|text| Value::Text(text.to_owned())),
    ];
    for value in values.into_iter().flatten() {
        for context in CONTEXTS {
            check_key(&Key::new(&value), context);
        }
    }
}

/// A file's bytes, whatever they are taken for, are read back as they were written.
pub fn render(data: &[u8]) {
    let show = |content: &ParsedContent| {
        render::render(&content.value, content.newline, content.literal.as_deref())
    };
    for content in [render::parse_untyped(data), render::infer(data)] {
        assert_eq!(show(&content), data);
    }
    let Some((&kind, data)) = data.split_first() else {
        return;
    };
    let wanted = TypeName::ALL[usize::from(kind) % TypeName::ALL.len()];
    if let Ok(content) = render::parse_as(data, wanted) {
        assert_eq!(show(&content), data);
    }
}

/// The options of a mount.
pub fn options(data: &[u8]) {
    if let Ok(list) = std::str::from_utf8(data) {
        let _refused = MountOptions::parse(list);
    }
}
