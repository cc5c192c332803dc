#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test"
)]

use super::*;
use crate::value::{Instant, Key, Value};
use num_bigint::BigInt;
use std::collections::{BTreeMap, BTreeSet};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap())
        .collect()
}

fn tagged(name: &str, value: Value) -> Value {
    Value::Tagged(name.into(), Box::new(value))
}

fn assert_identity(value: &Value) {
    let bytes = encode(value);
    let back = decode(&bytes).unwrap();
    assert_eq!(&back, value, "{}", hex(&bytes));
    assert_eq!(encode(&back), bytes);
    assert_eq!(Reader::new(&bytes).raw().unwrap(), bytes);
}

#[test]
fn the_examples_of_rfc_8949_come_out_as_printed_there() {
    let big = |digits: &str| Value::integer(digits.parse().unwrap());
    for (value, expected) in [
        (Value::Int(0), "00"),
        (Value::Int(23), "17"),
        (Value::Int(24), "1818"),
        (Value::Int(1000), "1903e8"),
        (Value::Int(1_000_000_000_000), "1b000000e8d4a51000"),
        (big("18446744073709551615"), "1bffffffffffffffff"),
        (big("18446744073709551616"), "c249010000000000000000"),
        (big("-18446744073709551616"), "3bffffffffffffffff"),
        (big("-18446744073709551617"), "c349010000000000000000"),
        (Value::Int(-1), "20"),
        (Value::Int(-1000), "3903e7"),
        (Value::Float(0.0), "f90000"),
        (Value::Float(-0.0), "f98000"),
        (Value::Float(1.1), "fb3ff199999999999a"),
        (Value::Float(1.5), "f93e00"),
        (Value::Float(100_000.0), "fa47c35000"),
        (Value::Float(3.402_823_466_385_288_6e38), "fa7f7fffff"),
        (Value::Float(5.960_464_477_539_063e-8), "f90001"),
        (Value::Float(-4.1), "fbc010666666666666"),
        (Value::Float(f64::NEG_INFINITY), "f9fc00"),
        (Value::Float(-f64::NAN), "f97e00"),
        (Value::Text("ü".into()), "62c3bc"),
        (Value::Bytes(vec![1, 2]), "420102"),
        (tagged("cbor/simple", Value::Int(23)), "f7"),
        (tagged("cbor/simple", Value::Int(255)), "f8ff"),
        (
            tagged("cbor/32", Value::from("http://www.example.com")),
            "d82076687474703a2f2f7777772e6578616d706c652e636f6d",
        ),
        (
            [("a", 1), ("b", 2)]
                .into_iter()
                .map(|(k, v)| (k, i64::from(v)))
                .collect(),
            "a2616101616202",
        ),
    ] {
        assert_eq!(hex(&encode(&value)), expected);
        assert_eq!(decode(&unhex(expected)).unwrap(), value);
        assert_identity(&value);
    }
}

#[test]
fn indefinite_lengths_and_long_forms_of_other_writers_are_read() {
    let vector = |elements: &[i64]| elements.iter().copied().collect::<Value>();
    for (bytes, value) in [
        ("1b0000000000000001", Value::Int(1)),
        ("9f0102ff", vector(&[1, 2])),
        ("bf616101ff", [("a", 1i64)].into_iter().collect()),
        ("5f42010243030405ff", Value::Bytes(vec![1, 2, 3, 4, 5])),
        ("7f657374726561646d696e67ff", Value::from("streaming")),
        ("c2420001", Value::Int(1)),
        ("fb3ff8000000000000", Value::Float(1.5)),
        (
            "c074323031332d30332d32315432303a30343a30305a",
            Value::Instant(Instant::new(1_363_896_240, 0).unwrap()),
        ),
        (
            "c11a514b67b0",
            Value::Instant(Instant::new(1_363_896_240, 0).unwrap()),
        ),
        (
            "c1fbc1d452d9ec200000",
            Value::Instant(Instant::new(-1_363_896_241, 500_000_000).unwrap()),
        ),
        ("d903e9a10105", Value::Instant(Instant::new(5, 0).unwrap())),
        (
            "d903e9a20105221907cf",
            tagged(
                "cbor/1001",
                [(1u64, 5)]
                    .into_iter()
                    .map(|(k, v)| (Key::index(k), Value::Int(v)))
                    .chain([(Key::new(&Value::Int(-3)), Value::Int(1999))])
                    .collect(),
            ),
        ),
        (
            "d81b9f646c697374820102ff",
            Value::List(vec![Value::Int(1), Value::Int(2)]),
        ),
        ("d81e820204", Value::ratio(1.into(), 2.into()).unwrap()),
    ] {
        assert_eq!(decode(&unhex(bytes)).unwrap(), value, "{bytes}");
        assert_eq!(hex(Reader::new(&unhex(bytes)).raw().unwrap()), bytes);
        assert_identity(&value);
    }
}

#[test]
fn values_that_look_like_the_encoding_of_others_stay_themselves() {
    let uuid = uuid::Uuid::from_u128(7);
    let text = |s: &str| Value::Text(s.into());
    let pair = |a: i64, b: i64| Value::Vector(vec![Value::Int(a), Value::Int(b)]);
    let mut all = vec![
        Value::Keyword(String::new()),
        Value::Keyword(":".into()),
        Value::Keyword("a".into()),
        Value::Symbol(String::new()),
        Value::Symbol(":".into()),
        Value::Symbol(":a".into()),
        Value::Symbol("::a".into()),
        Value::Symbol("a".into()),
        text("a"),
        text(":a"),
        Value::Char('a'),
        Value::Char('\0'),
        Value::List(vec![]),
        Value::List(vec![text("a")]),
        Value::Vector(vec![]),
        Value::Vector(vec![text("list"), Value::Vector(vec![])]),
        Value::Uuid(uuid),
        Value::Bytes(uuid.as_bytes().to_vec()),
        Value::Instant(Instant::new(0, 0).unwrap()),
        Value::Instant(Instant::new(i64::MIN, 999_999_999).unwrap()),
        Value::Set([Key::text("a")].into()),
        Value::Set(BTreeSet::new()),
        Value::decimal(0.into(), 0),
        Value::decimal(15.into(), i32::MIN),
        Value::ratio((-1).into(), 2.into()).unwrap(),
        Value::BigInt(Box::new(BigInt::from(u64::MAX) * 5)),
    ];
    for name in [
        "",
        "list",
        "char",
        "symbol",
        "tagged",
        "x",
        "cbor/simple",
        "cbor/0",
        "cbor/1",
        "cbor/2",
        "cbor/3",
        "cbor/4",
        "cbor/27",
        "cbor/30",
        "cbor/37",
        "cbor/39",
        "cbor/258",
        "cbor/1001",
        "cbor/99",
        "cbor/007",
        "cbor/+7",
        "cbor/-1",
        "cbor/18446744073709551615",
        "cbor/18446744073709551616",
        "cbor/",
    ] {
        for content in [
            text("a"),
            text("ab"),
            text(":a"),
            text("1970-01-01T00:00:00Z"),
            Value::Bytes(vec![0]),
            Value::Bytes(vec![0; 16]),
            Value::Int(0),
            Value::Int(20),
            Value::Int(23),
            Value::Int(300),
            Value::Float(0.5),
            Value::Float(f64::NAN),
            pair(1, 2),
            pair(2, 4),
            pair(1, 0),
            Value::Vector(vec![text("list"), pair(1, 2)]),
            Value::Vector(vec![text("x"), Value::Nil]),
            Value::Vector(vec![]),
            Value::List(vec![text("x"), Value::Nil]),
            Value::Vector(vec![Value::Int(1), Value::Int(1)]),
            Value::Set([Key::text("a")].into()),
            Value::Map(BTreeMap::from([(Key::index(1), Value::Int(2))])),
            tagged("list", pair(1, 2)),
            tagged("tagged", pair(1, 2)),
            tagged("cbor/2", Value::Bytes(vec![1])),
        ] {
            all.push(tagged(name, content.clone()));
            all.push(tagged("tagged", tagged(name, content)));
        }
    }
    for value in &all {
        assert_identity(value);
    }
    let distinct: BTreeSet<_> = all.iter().map(|value| format!("{value:?}")).collect();
    let mut encodings: Vec<_> = all.iter().map(encode).collect();
    encodings.sort();
    encodings.dedup();
    assert_eq!(
        encodings.len(),
        distinct.len(),
        "two values share an encoding"
    );
}

#[test]
fn an_integer_kept_big_by_hand_equals_the_small_one() {
    let odd = Value::BigInt(Box::new(5.into()));
    assert_eq!(odd, Value::Int(5));
    assert_eq!(odd.cmp(&Value::Int(5)), std::cmp::Ordering::Equal);
    assert_identity(&odd);
}

#[test]
fn broken_input_is_refused_with_its_offset() {
    use CborErrorKind as Kind;
    for (bytes, offset, kind) in [
        ("", 0, Kind::UnexpectedEnd),
        ("8201", 0, Kind::UnexpectedEnd),
        ("820119", 2, Kind::UnexpectedEnd),
        ("82001c", 2, Kind::Malformed(0x1c)),
        ("ff", 0, Kind::Malformed(0xff)),
        ("9bffffffffffffffff", 0, Kind::UnexpectedEnd),
        ("a101", 0, Kind::UnexpectedEnd),
        ("a201020102", 0, Kind::DuplicateKey),
        ("82d90102820101", 4, Kind::DuplicateElement),
        ("61ff", 0, Kind::NotUtf8),
        ("0000", 1, Kind::TrailingBytes),
        ("f818", 0, Kind::Malformed(0xf8)),
        ("5f01ff", 1, Kind::Malformed(0x01)),
        ("bf01ff", 2, Kind::Malformed(0xff)),
    ] {
        let error = decode(&unhex(bytes)).unwrap_err();
        assert_eq!(error, CborError { offset, kind }, "{bytes}");
    }
}

#[test]
fn keys_must_be_canonical() {
    assert_eq!(
        Key::from_bytes(&unhex("1801")).unwrap_err().kind,
        CborErrorKind::NotCanonical
    );
    assert_eq!(Key::from_bytes(&unhex("1818")).unwrap(), Key::index(24));
    assert_eq!(
        Key::from_bytes(&unhex("7803616263")).unwrap_err().kind,
        CborErrorKind::NotCanonical
    );
    let foreign = decode(&unhex("a1780361626301")).unwrap();
    assert_eq!(foreign, [("abc", 1i64)].into_iter().collect());
}

#[test]
fn the_deepest_nesting_fits_a_small_stack_and_one_more_is_refused() {
    let nest: [(&str, usize, &[u8], &[u8]); 6] = [
        ("vector", 1, &[0x81], &[0x81]),
        ("indefinite vector", 1, &[0x9f], &[0x81]),
        ("map", 1, &[0xa1, 0x00], &[0xa1, 0x00]),
        (
            "list",
            1,
            b"\xd8\x1b\x82\x64list\x81",
            b"\xd8\x1b\x82\x64list\x81",
        ),
        ("tagged", 1, b"\xd8\x1b\x82\x61x", b"\xd8\x1b\x82\x61x"),
        (
            "set",
            KEY_LEVELS,
            &[0xd9, 0x01, 0x02, 0x81],
            &[0xd9, 0x01, 0x02, 0x81],
        ),
    ];
    let run = move || {
        for (name, levels, open, canonical) in nest {
            let most = MAX_DEPTH / levels;
            let close = if open == [0x9f] {
                [0xff].repeat(most)
            } else {
                vec![]
            };
            let bytes = [open.repeat(most), vec![0x01], close].concat();
            let value = decode(&bytes).unwrap_or_else(|e| panic!("{name}: {e}"));
            check_depth(&value).unwrap();
            assert_eq!(
                encode(&value),
                [canonical.repeat(most), vec![0x01]].concat(),
                "{name}"
            );
            assert_eq!(value, value.clone());
            let beyond = [open.repeat(most + 1), vec![0x01]].concat();
            assert_eq!(
                decode(&beyond).unwrap_err().kind,
                CborErrorKind::TooDeep,
                "{name}"
            );
            let endless = open.repeat(100_000);
            assert!(decode(&endless).is_err(), "{name}");
            let tags = [0xc2].repeat(100_000);
            assert!(decode(&tags).is_err());
            let deeper = (0..levels).fold(value, |value, _| Value::Vector(vec![value]));
            assert!(check_depth(&deeper).is_err(), "{name}");
        }
    };
    std::thread::Builder::new()
        .stack_size(2 << 20)
        .spawn(run)
        .unwrap()
        .join()
        .unwrap();
}
