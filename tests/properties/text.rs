//! Values as EDN and JSON text.

use super::entropy::{Entropy, bytes, text, value};
use konserve_fs::value::{Value, edn, json};
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
    fn a_value_that_was_not_changed_keeps_its_numbers(value in value()) {
        prop_assert_eq!(json::keep_numbers(value.clone(), &value), value);
    }

    #[test]
    fn a_number_that_went_through_a_double_is_kept(n in any::<i64>(), float in any::<f64>()) {
        let double = |value: &Value| {
            let number: f64 = json::print(value).parse().unwrap();
            // As JavaScript writes it: an integer without a point.
            json::parse(&number.to_string()).unwrap()
        };
        let numbers = [Value::Int(n), Value::Int(n >> 20), Value::Float(n as f64), Value::Float(float)];
        for old in numbers.into_iter().filter(|v| !matches!(v, Value::Float(f) if !f.is_finite())) {
            prop_assert_eq!(json::keep_numbers(double(&old), &old), old);
        }
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
