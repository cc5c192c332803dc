//! Values as EDN and JSON text.

use super::entropy::{Entropy, bytes, text, value};
use konserve_fs::value::{edn, json};
use proptest::prelude::*;

proptest! {
    #![proptest_config(super::config())]

    #[test]
    fn a_value_comes_back_from_its_edn(value in value()) {
        let printed = edn::print(&value);
        prop_assert!(!printed.contains(['\n', '\r']));
        prop_assert_eq!(edn::parse(&printed).unwrap(), value, "{}", printed);
    }

    #[test]
    fn a_value_comes_back_from_its_pretty_edn(value in value()) {
        let printed = edn::pretty(&value);
        prop_assert_eq!(edn::parse(&printed).unwrap(), value, "{}", printed);
    }

    #[test]
    fn a_value_comes_back_from_its_json(value in value()) {
        let printed = json::print(&value);
        prop_assert!(!printed.contains(['\n', '\r']));
        prop_assert_eq!(json::parse(&printed).unwrap(), value, "{}", printed);
    }

    #[test]
    fn a_value_comes_back_from_its_pretty_json(value in value()) {
        let printed = json::pretty(&value);
        prop_assert_eq!(json::parse(&printed).unwrap(), value, "{}", printed);
    }

    #[test]
    fn serde_json_reads_what_is_printed_as_json(value in value()) {
        let printed = json::print(&value);
        prop_assert!(serde_json::from_str::<serde::de::IgnoredAny>(&printed).is_ok(), "{}", printed);
    }

    #[test]
    fn any_text_is_a_value_that_comes_back_or_an_error(text in text()) {
        text_is_sound(&text);
    }

    #[test]
    fn damaged_text_is_a_value_that_comes_back_or_an_error(value in value(), damage in bytes()) {
        for text in [edn::print(&value), json::print(&value)] {
            text_is_sound(&String::from_utf8_lossy(&Entropy::new(&damage).damage(text.into_bytes())));
        }
    }
}

fn text_is_sound(text: &str) {
    if let Ok(value) = edn::parse(text) {
        assert_eq!(edn::parse(&edn::print(&value)).unwrap(), value, "{text}");
    }
    if let Ok(value) = json::parse(text) {
        assert_eq!(json::parse(&json::print(&value)).unwrap(), value, "{text}");
    }
}
