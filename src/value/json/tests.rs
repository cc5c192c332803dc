#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "test"
)]

use super::*;
use crate::value::cbor::MAX_DEPTH;
use crate::value::edn;
use crate::value::{Key, Value};

#[test]
fn plain_json_stays_plain() {
    for text in [
        "null",
        "true",
        "[1,-2,1.5,\"a\\n\"]",
        r#"{"a":{"b":[]},"c":{}}"#,
        r##"{"$ref":"#/definitions/a"}"##,
        r#"{"$id":1,"$schema":2}"#,
        "12345678901234567890123",
        "1.0E300",
    ] {
        assert_eq!(print(&parse(text).unwrap()), text);
    }
}

#[test]
fn what_json_lacks_has_a_notation() {
    for (value, json) in [
        ("##Inf", r#"{"$float":"Infinity"}"#),
        (":a/b", r#"{"$kw":"a/b"}"#),
        ("sym", r#"{"$sym":"sym"}"#),
        ("\\a", r#"{"$char":"a"}"#),
        ("#bytes \"ff\"", r#"{"$bytes":"ff"}"#),
        ("1/2", r#"{"$ratio":"1/2"}"#),
        ("1.50M", r#"{"$dec":"1.50"}"#),
        (
            "#inst \"2020-01-01T00:00:00Z\"",
            r#"{"$inst":"2020-01-01T00:00:00Z"}"#,
        ),
        (
            "#uuid \"00000000-0000-0000-0000-000000000007\"",
            r#"{"$uuid":"00000000-0000-0000-0000-000000000007"}"#,
        ),
        ("(1 ())", r#"{"$list":[1,{"$list":[]}]}"#),
        ("#{1 #{}}", r#"{"$set":[1,{"$set":[]}]}"#),
        ("#a/b [1]", r#"{"$tag":["a/b",[1]]}"#),
        ("{:a 1}", r#"{"$map":[[{"$kw":"a"},1]]}"#),
        (r#"{"$kw" "a"}"#, r#"{"$map":[["$kw","a"]]}"#),
        (r#"{"$map" 1, "x" 2}"#, r#"{"$map":[["x",2],["$map",1]]}"#),
    ] {
        let value = edn::parse(value).unwrap();
        assert_eq!(print(&value), json);
        assert_eq!(parse(json).unwrap(), value);
        assert_eq!(parse(&pretty(&value)).unwrap(), value);
    }
}

#[test]
fn what_is_wrong_is_told_with_line_and_column() {
    for (text, line, column) in [
        ("", 1, 1),
        ("[1,]", 1, 4),
        ("[1 2]", 1, 4),
        ("[1", 1, 1),
        ("{\n \"a\": 1,\n \"a\": 2}", 3, 2),
        ("{\"a\" 1}", 1, 6),
        ("{a: 1}", 1, 2),
        ("\"a\nb\"", 1, 3),
        ("01", 1, 1),
        ("-", 1, 1),
        ("1.", 1, 1),
        (".5", 1, 1),
        ("+1", 1, 1),
        ("1e400", 1, 1),
        ("NaN", 1, 1),
        ("nul", 1, 1),
        ("'a'", 1, 1),
        ("1 1", 1, 3),
        (r#"{"$kw":"a","b":1}"#, 1, 2),
        (r#"{"b":1,"$kw":"a"}"#, 1, 8),
        (r#"{"$kw":1}"#, 1, 8),
        (r#"{"$char":"ab"}"#, 1, 2),
        (r#"{"$inst":"2020-13-01"}"#, 1, 2),
        (r#"{"$map":[[1]]}"#, 1, 12),
        (r#"{"$map":[[1,2,3]]}"#, 1, 14),
        (r#"{"$map":[[1,2],[1,3]]}"#, 1, 16),
        (r#"{"$set":[1,1]}"#, 1, 12),
    ] {
        let error = parse(text).expect_err(text);
        assert_eq!(
            (error.line, error.column),
            (line, column),
            "{text}: {error}"
        );
    }
}

#[test]
fn the_deepest_nesting_fits_a_small_stack_and_one_more_is_refused() {
    let run = || {
        for (open, close) in [
            ("[", "]"),
            ("{\"a\":", "}"),
            ("{\"$list\":[", "]}"),
            ("{\"$tag\":[\"a\",", "]}"),
            ("{\"$map\":[[1,", "]]}"),
        ] {
            let nest =
                |n: usize| [open.repeat(n), "{\"$kw\":\"a\"}".into(), close.repeat(n)].concat();
            let value = parse(&nest(MAX_DEPTH)).unwrap();
            crate::value::cbor::check_depth(&value).unwrap();
            assert_eq!(parse(&print(&value)).unwrap(), value);
            assert_eq!(parse(&pretty(&value)).unwrap(), value);
            assert!(parse(&nest(MAX_DEPTH + 1)).is_err());
        }
        for open in [
            "[",
            "{\"a\":",
            "{\"$list\":",
            "{\"$list\":[",
            "{\"$set\":[",
            "{\"$map\":[[",
            "{\"$tag\":[\"a\",",
        ] {
            assert!(parse(&open.repeat(200_000)).is_err());
        }
    };
    std::thread::Builder::new()
        .stack_size(2 << 20)
        .spawn(run)
        .unwrap()
        .join()
        .unwrap();
}

#[test]
fn pretty_text_has_an_entry_per_line() {
    let value = edn::parse(r#"{"a" [1 2] "b" {} "c" :k}"#).unwrap();
    let expected = "{\n  \"a\": [\n    1,\n    2\n  ],\n  \"b\": {},\n  \"c\": {\"$kw\": \"k\"}\n}";
    assert_eq!(pretty(&value), expected);
}

#[test]
fn a_map_key_that_is_no_text_keeps_its_type() {
    let value = Value::Map([(Key::index(1), Value::Nil)].into());
    assert_eq!(print(&value), r#"{"$map":[[1,null]]}"#);
}
