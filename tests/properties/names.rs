//! Names of keys in directories.

use super::entropy::{Entropy, bytes};
use konserve_fs::value::{Key, Value};
use konserve_fs::view::names::{
    NAME_MAX, NameContext, NameError, Parsed, hash_of, name_of, parse_name,
};
use proptest::prelude::*;

const CONTEXTS: [NameContext; 3] = [NameContext::Root, NameContext::Map, NameContext::Vector];

fn key_comes_back(key: &Key) {
    for context in CONTEXTS {
        let name = name_of(key, context);
        assert!(name.len() <= NAME_MAX && !name.is_empty(), "{key}");
        match parse_name(&name, context) {
            Ok(Parsed::Key(back)) => assert_eq!(&back, key, "{context:?}"),
            Ok(Parsed::Hashed { prefix, hash }) => {
                assert!(name.starts_with(&prefix) && hash == hash_of(key), "{key}")
            }
            Err(error) => panic!("{context:?} {key}: {error}"),
        }
    }
}

fn name_comes_back(name: &[u8]) {
    for context in CONTEXTS {
        let shown = String::from_utf8_lossy(name);
        match parse_name(name, context) {
            Ok(Parsed::Key(key)) => {
                assert_eq!(name_of(&key, context), name, "{context:?} {shown:?} {key}")
            }
            Ok(Parsed::Hashed { .. }) => assert!(name.len() >= 34, "{shown:?}"),
            Err(NameError::TooLong) => assert!(name.len() > NAME_MAX),
            Err(NameError::Reserved) => assert!(name == b".kfs" && context == NameContext::Root),
            Err(NameError::Invalid) => {
                assert!(
                    name.contains(&0) || name.contains(&b'/') || matches!(name, b"" | b"." | b".."),
                    "{shown:?}"
                );
            }
        }
    }
}

/// What may follow an escape's letter, and other names.
fn name(entropy: &mut Entropy<'_>) -> Vec<u8> {
    const FORMS: [&str; 9] = ["", "%s", "%i", "%u", "%b", "%e", ":", "%h", "%s%s"];
    let form = FORMS[entropy.below(FORMS.len())];
    let mut name = match entropy.below(5) {
        0 => name_of(&entropy.key(), CONTEXTS[entropy.below(3)]),
        1 => name_of(&Key::text(&entropy.text()), CONTEXTS[entropy.below(3)]),
        2 => format!("{form}{}%h{:032x}", entropy.text(), entropy.byte()).into_bytes(),
        3 => [form, &entropy.text()].concat().into_bytes(),
        _ => [form, &entropy.value().to_string()].concat().into_bytes(),
    };
    if entropy.below(3) == 0 {
        name = entropy.damage(name);
    }
    name.retain(|byte| !matches!(byte, b'/' | 0));
    name
}

proptest! {
    #![proptest_config(super::config())]

    #[test]
    fn a_key_comes_back_from_its_name(bytes in bytes()) {
        key_comes_back(&Entropy::new(&bytes).key());
    }

    #[test]
    fn a_text_key_that_looks_like_a_name_of_another_comes_back(bytes in bytes()) {
        let mut entropy = Entropy::new(&bytes);
        let name = name(&mut entropy);
        key_comes_back(&match String::from_utf8(name) {
            Ok(text) => Key::text(&text),
            Err(error) => Key::new(&Value::Bytes(error.into_bytes())),
        });
    }

    #[test]
    fn a_name_that_may_be_an_escape_comes_back_from_its_key(bytes in bytes()) {
        name_comes_back(&name(&mut Entropy::new(&bytes)));
    }

    #[test]
    fn any_name_comes_back_from_its_key(name in prop::collection::vec(1..=u8::MAX, 0..40)) {
        let name: Vec<u8> = name.into_iter().filter(|byte| *byte != b'/').collect();
        name_comes_back(&name);
    }

    #[test]
    fn names_around_the_limit_come_back(bytes in bytes(), length in 200usize..300) {
        let mut entropy = Entropy::new(&bytes);
        let piece = entropy.text() + "é";
        let text: String = piece.chars().cycle().take(length).collect();
        key_comes_back(&Key::text(&text));
        key_comes_back(&Key::new(&Value::Keyword(text.clone())));
        key_comes_back(&Key::new(&Value::Bytes(text.bytes().chain([0xff]).collect())));
        name_comes_back(text.as_bytes());
    }

    #[test]
    fn two_keys_have_two_names(a in bytes(), b in bytes()) {
        let (a, b) = (Entropy::new(&a).key(), Entropy::new(&b).key());
        for context in CONTEXTS {
            prop_assert_eq!(a == b, name_of(&a, context) == name_of(&b, context), "{} {}", a, b);
        }
    }
}
