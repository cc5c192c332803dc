//! Files' bytes and values.

use super::entropy::{Entropy, bytes, value};
use konserve_fs::value::{Value, edn};
use konserve_fs::view::render::{
    ParsedContent, TypeName, class, infer, parse_as, parse_untyped, render,
};
use proptest::prelude::*;

fn rendered(content: &ParsedContent) -> Vec<u8> {
    render(&content.value, content.newline, content.literal.as_deref())
}

/// Bytes as programs write them: renderings, with what editors add and change, and others.
fn content(entropy: &mut Entropy<'_>) -> Vec<u8> {
    const ENDS: [&str; 8] = ["", "\n", "\n", "\n\n", " ", "\r\n", " ; note\n", "0"];
    const STARTS: [&str; 6] = ["", "", "", " ", "+", "#_ x "];
    let body = match entropy.below(4) {
        0 => entropy.text(),
        1 => match entropy.value() {
            Value::Text(text) => text,
            value => edn::print(&value)
                .replace("#inst ", "")
                .replace("#uuid ", "")
                .replace('"', ""),
        },
        _ => edn::print(&entropy.value()),
    };
    let whole = [STARTS[entropy.below(6)], &body, ENDS[entropy.below(8)]]
        .concat()
        .into_bytes();
    if entropy.below(4) == 0 {
        entropy.damage(whole)
    } else {
        whole
    }
}

proptest! {
    #![proptest_config(super::config())]

    #[test]
    fn bytes_come_back_from_the_value_whatever_its_type(bytes in bytes()) {
        let content = content(&mut Entropy::new(&bytes));
        for ty in TypeName::ALL {
            if let Ok(parsed) = parse_as(&content, ty) {
                prop_assert_eq!(rendered(&parsed), &content[..], "{} {:?}", ty, parsed);
                let found = TypeName::of(&parsed.value);
                prop_assert!(found == ty || (ty, found) == (TypeName::Int, TypeName::Float));
                if let Some(literal) = &parsed.literal {
                    prop_assert_eq!(literal, &content);
                    prop_assert_ne!(render(&parsed.value, parsed.newline, None), &content[..]);
                }
                // The value alone, as another writer would put it, is the same value.
                let plain = render(&parsed.value, true, None);
                prop_assert_eq!(parse_as(&plain, found).unwrap().value, parsed.value);
            }
        }
        for parsed in [infer(&content), parse_untyped(&content)] {
            prop_assert_eq!(rendered(&parsed), &content[..], "{:?}", parsed);
            prop_assert!(parsed.literal.is_none());
        }
        prop_assert_eq!(TypeName::of(&parse_untyped(&content).value), class(&content));
    }

    #[test]
    fn arbitrary_bytes_come_back(content in prop::collection::vec(any::<u8>(), 0..40)) {
        for parsed in [infer(&content), parse_untyped(&content), parse_as(&content, TypeName::Bytes).unwrap()] {
            prop_assert_eq!(rendered(&parsed), &content[..]);
        }
    }

    #[test]
    fn a_value_comes_back_from_its_bytes(value in value(), newline in any::<bool>()) {
        let bytes = render(&value, newline, None);
        let parsed = parse_as(&bytes, TypeName::of(&value)).unwrap();
        prop_assert_eq!(&parsed.value, &value);
        prop_assert_eq!(parsed.literal, None);
        if !matches!(value, Value::Bytes(_) | Value::Text(_)) {
            prop_assert_eq!(parsed.newline, newline);
        }
    }
}
