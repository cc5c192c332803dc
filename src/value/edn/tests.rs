#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "test"
)]

use super::*;
use crate::value::cbor::MAX_DEPTH;
use crate::value::{Instant, Key, Value};
use num_bigint::BigInt;

fn kw(name: &str) -> Value {
    Value::Keyword(name.into())
}

fn sym(name: &str) -> Value {
    Value::Symbol(name.into())
}

fn tagged(tag: &str, value: Value) -> Value {
    Value::Tagged(tag.into(), Box::new(value))
}

fn ints(ints: &[i64]) -> Value {
    ints.iter().copied().collect()
}

fn instant(seconds: i64, nanos: u32) -> Value {
    Value::Instant(Instant::new(seconds, nanos).unwrap())
}

#[test]
fn every_kind_of_value_prints_as_clojure_would() {
    for (text, value) in [
        ("nil", Value::Nil),
        ("true", Value::Bool(true)),
        ("-42", Value::Int(-42)),
        (
            "9223372036854775808",
            Value::integer(BigInt::from(1u64 << 63)),
        ),
        ("1.0", Value::Float(1.0)),
        ("-0.0", Value::Float(-0.0)),
        ("0.001", Value::Float(0.001)),
        ("1.0E-4", Value::Float(0.0001)),
        ("9999999.0", Value::Float(9_999_999.0)),
        ("1.0E7", Value::Float(1e7)),
        ("1.5E300", Value::Float(1.5e300)),
        ("5.0E-324", Value::Float(5e-324)),
        ("##NaN", Value::Float(f64::NAN)),
        ("##-Inf", Value::Float(f64::NEG_INFINITY)),
        ("\"a\\\"b\\\\c\\n\\u0000é\"", Value::from("a\"b\\c\n\0é")),
        ("#bytes \"00ff\"", Value::Bytes(vec![0, 255])),
        (":a/b", kw("a/b")),
        (":1", kw("1")),
        ("a.b/c*", sym("a.b/c*")),
        ("/", sym("/")),
        ("->", sym("->")),
        ("--1", sym("--1")),
        ("\\a", Value::Char('a')),
        ("\\u", Value::Char('u')),
        ("\\newline", Value::Char('\n')),
        ("\\u00a0", Value::Char('\u{a0}')),
        ("\\(", Value::Char('(')),
        ("\\😀", Value::Char('😀')),
        ("-1/2", Value::ratio((-1).into(), 2.into()).unwrap()),
        ("1.50M", Value::decimal(150.into(), 2)),
        ("15M", Value::decimal(15.into(), 0)),
        ("-1.5E+4M", Value::decimal((-15).into(), -3)),
        ("1E-10M", Value::decimal(1.into(), 10)),
        (
            "#uuid \"00000000-0000-0000-0000-000000000007\"",
            Value::Uuid(uuid::Uuid::from_u128(7)),
        ),
        (
            "#inst \"1985-04-12T23:20:50.52Z\"",
            instant(482_196_050, 520_000_000),
        ),
        (
            "#inst \"1969-12-31T23:59:59.999999999Z\"",
            instant(-1, 999_999_999),
        ),
        (
            "#kfs/instant \"-9223372036854775808 7\"",
            instant(i64::MIN, 7),
        ),
        ("[1 2]", ints(&[1, 2])),
        ("(1 [])", Value::List(vec![Value::Int(1), ints(&[])])),
        (
            "{:a 1, \"b\" 2}",
            Value::from_iter(
                [(Key::text("b"), 2), (Key::new(&kw("a")), 1)].map(|(k, v)| (k, Value::Int(v))),
            ),
        ),
        ("#{1 2}", Value::Set([Key::index(1), Key::index(2)].into())),
        ("#my/tag [1]", tagged("my/tag", ints(&[1]))),
        ("#kfs/keyword \"\"", kw("")),
        ("#kfs/keyword \"a/b/c\"", kw("a/b/c")),
        ("#kfs/keyword \":a\"", kw(":a")),
        ("#kfs/symbol \"nil\"", sym("nil")),
        ("#kfs/symbol \"-1\"", sym("-1")),
        ("#kfs/symbol \"a b\"", sym("a b")),
        ("#kfs/tagged [\"inst\" 1]", tagged("inst", Value::Int(1))),
        (
            "#kfs/tagged [\"kfs/tagged\" [\"a\" 1]]",
            tagged("kfs/tagged", Value::Vector(vec!["a".into(), Value::Int(1)])),
        ),
        ("#kfs/tagged [\"\" nil]", tagged("", Value::Nil)),
        (
            "#kfs/symlink #bytes \"61\"",
            tagged("kfs/symlink", Value::Bytes(b"a".to_vec())),
        ),
    ] {
        let printed = print(&value);
        assert_eq!(parse(text).unwrap(), value, "{text}");
        assert_eq!(parse(&printed).unwrap(), value, "{printed}");
        if !matches!(value, Value::Map(_)) {
            assert_eq!(printed, text);
        }
    }
}

#[test]
fn other_notations_of_the_same_value_are_read() {
    for (text, same) in [
        ("+5", "5"),
        ("-0", "0"),
        ("5N", "5"),
        ("4/2", "2"),
        ("1e3", "1000.0"),
        ("1.", "1.0"),
        ("1.5e+2", "150.0"),
        ("0M", "0M"),
        ("1e2M", "1E+2M"),
        (" ,; comment\n[1,2 ,, 3] ; more", "[1 2 3]"),
        ("[1 #_ 2 #_#_ 3 4 #_[5 #{6 6.0}] 7]", "[1 7]"),
        ("\"\\u00e9\\ud83d\\ude00 \n\"", "\"é😀 \\n\""),
        ("\\u00e9", "\\é"),
        (
            "#:user{:name 1 :_/id 2 :x/y 3 x 4 \"t\" 5}",
            "{:user/name 1 :id 2 :x/y 3 user/x 4 \"t\" 5}",
        ),
        (
            "#inst \"1985-04-13T01:20:50.520+02:00\"",
            "#inst \"1985-04-12T23:20:50.52Z\"",
        ),
        (
            "#inst \"1985-04-12T23:20:50.520-00:00\"",
            "#inst \"1985-04-12T23:20:50.52Z\"",
        ),
        ("#inst \"2020\"", "#inst \"2020-01-01T00:00:00Z\""),
        ("#inst \"2020-02\"", "#inst \"2020-02-01T00:00:00Z\""),
        ("#inst \"2020-02-03\"", "#inst \"2020-02-03T00:00:00Z\""),
        ("#bytes \"FF\"", "#bytes \"ff\""),
        ("\u{feff}1", "1"),
        ("[[][]\"\"\"\"{}#{}()]", "[[] [] \"\" \"\" {} #{} ()]"),
    ] {
        assert_eq!(parse(text).unwrap(), parse(same).unwrap(), "{text}");
    }
}

#[test]
fn what_is_wrong_is_told_with_line_and_column() {
    for (text, line, column) in [
        ("", 1, 1),
        ("[1\n 2", 1, 1),
        ("[1\n  }", 2, 3),
        ("\n\"ab", 2, 1),
        ("1 2", 1, 3),
        ("{:a 1 :a 2}", 1, 7),
        ("{:a 1 :b}", 1, 7),
        ("#{1 2 1}", 1, 7),
        ("é \"\\q\"", 1, 3),
        ("\"é\\q\"", 1, 3),
        ("[01]", 1, 2),
        ("1.5N", 1, 1),
        ("1/0", 1, 1),
        ("1/-2", 1, 1),
        ("0x10", 1, 1),
        ("1e400", 1, 1),
        ("1e", 1, 1),
        (".5", 1, 1),
        (":", 1, 1),
        ("::a", 1, 1),
        (":a/", 1, 1),
        ("a/b/c", 1, 1),
        ("@a", 1, 1),
        ("\\ud800", 1, 1),
        ("\\abc", 1, 1),
        ("\"\\ud800\"", 1, 2),
        ("#inst \"yesterday\"", 1, 1),
        ("#inst \"2020-13-01\"", 1, 1),
        ("#uuid \"1\"", 1, 1),
        ("#bytes \"0\"", 1, 1),
        ("#bytes [1]", 1, 1),
        ("#kfs/tagged [1 2]", 1, 1),
        ("#foo", 1, 5),
        ("#1 2", 1, 1),
        ("##Foo", 1, 1),
        ("1e99999999999M", 1, 1),
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
            ("(", ")"),
            ("{1 ", "}"),
            ("#a ", ""),
            ("#kfs/tagged [\"\" ", "]"),
            ("#_ 1 [", "]"),
        ] {
            let nest = |n: usize| [open.repeat(n), "\\a".into(), close.repeat(n)].concat();
            let value = parse(&nest(MAX_DEPTH)).unwrap();
            crate::value::cbor::check_depth(&value).unwrap();
            assert_eq!(parse(&print(&value)).unwrap(), value);
            assert_eq!(parse(&pretty(&value)).unwrap(), value);
            assert!(parse(&nest(MAX_DEPTH + 1)).is_err());
        }
        for open in [
            "[",
            "{[",
            "#{",
            "#_",
            "#_ #_ ",
            "#a ",
            "#inst ",
            "#kfs/tagged ",
            "#kfs/tagged [",
            "#:a{",
            "[#_",
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
fn numbers_of_any_length_come_back_in_reasonable_time() {
    let huge = BigInt::from(-3).pow(400_000);
    for value in [
        Value::integer(huge.clone()),
        Value::decimal(huge.clone(), -7),
        Value::ratio(BigInt::from(3).pow(5000), BigInt::from(1) << 8000).unwrap(),
        Value::integer(BigInt::from(1) << 33_000),
        Value::integer((BigInt::from(1) << 33_000) - 1),
        Value::decimal((BigInt::from(1) << 33_000) - 1, 9_940),
    ] {
        assert_eq!(parse(&print(&value)).unwrap(), value);
    }
    assert!(parse(&"9".repeat(20_000)).is_err());
}

#[test]
fn a_pretty_map_has_an_entry_per_line_once_it_does_not_fit() {
    let value = parse(r#"{:name "Ada" :tags #{:a :b}}"#).unwrap();
    assert_eq!(pretty(&value), r#"{:name "Ada", :tags #{:a :b}}"#);
    let long = "x".repeat(40);
    let value = parse(&format!("{{:a [\"{long}\" \"{long}\"] :b 1}}")).unwrap();
    assert_eq!(
        pretty(&value),
        format!("{{:a [\"{long}\"\n     \"{long}\"]\n :b 1}}")
    );
    assert_eq!(parse(&pretty(&value)).unwrap(), value);
}
