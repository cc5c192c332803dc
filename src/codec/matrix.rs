//! Every serializer with every compressor.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that panics has failed, as it should"
)]

use std::sync::Arc;

use super::*;
use crate::value::{Value, cbor, edn};

/// What EDN cannot say without help is in it, too.
const VALUES: &[&str] = &[
    "nil",
    "[true false 0 -1 9223372036854775807 -9223372036854775808 123456789012345678901234567890]",
    "[0.0 -0.0 1.5 1e300 ##NaN ##Inf ##-Inf]",
    r#"["" "a\nb" "ü€😀" "\u0000" "$kw" "\\ \"" "<>&"]"#,
    r#"[#bytes "00ff" #bytes ""]"#,
    r#"[:a :a/b sym a.b/c #kfs/keyword "odd one" #kfs/symbol "1" \a \newline]"#,
    r#"[1/3 -22/7 1.50M 1.5M #kfs/integer "0xffffffffffffffffffff"]"#,
    r#"[#uuid "6f1c1d3e-0000-4000-8000-000000000001" #inst "2020-01-01T00:00:00.123456789Z"]"#,
    r#"[#inst "0001-01-01T00:00:00Z" #kfs/instant "99999999999999 0"]"#,
    "[[] () {} #{} [[[[]]]]]",
    "(1 (2 3) [4])",
    r#"{"a" 1, :b {:c [1 2]}, [1 2] "vector", nil nil, {} {}, 1 2, 1.0 3}"#,
    r#"{"$kw" 1, "$map" 2, "$other" 3}"#,
    r#"#{1 "1" :1 [1] #{1}}"#,
    r#"[#my/record {:x 1} #kfs/tagged ["odd tag" [1]] #kfs/tagged ["cbor/1234567" "x"]]"#,
    r#"[#kfs/tagged ["cbor/simple" 23] #kfs/tagged ["list" 1] #kfs/tagged ["inst" 5]]"#,
];

fn values() -> Vec<Vec<u8>> {
    let all = VALUES.iter().map(|text| edn::parse(text).unwrap());
    let mut all: Vec<Value> = all.collect();
    all.push(Value::Vector(all.clone()));
    all.push(Value::Text("the same words, ".repeat(3000)));
    all.push(Value::Vector((0..2000).map(Value::Int).collect()));
    all.iter().map(cbor::encode).collect()
}

fn meta() -> Vec<u8> {
    cbor::encode(&edn::parse(r#"{"key" :k, "seq" 5, "type" "edn", "last-write" 1700}"#).unwrap())
}

/// All pairs: what the header says of them, and a codec that writes so.
fn all() -> Vec<([u8; 2], Codec)> {
    let pair = |name: &str, number: u8, compressor: Compressor| {
        let settings = Settings {
            serializer: name.to_owned(),
            compressor,
        };
        let serializers = Serializers::default();
        let codec = Codec::with_settings(Uuid::from_u128(7), &settings, &serializers).unwrap();
        ([number, compressor.number()], codec)
    };
    let mut all = Vec::new();
    for (name, number) in [("cbor", 3), ("edn", 4), ("json", 5)] {
        all.extend(Compressor::ALL.map(|compressor| pair(name, number, compressor)));
    }
    all
}

#[test]
fn every_value_comes_back_from_every_pair_byte_by_byte() {
    for (_, reader) in all() {
        for (number, writer) in all() {
            for value in values() {
                let blob = writer.seal(b"r", &meta(), &value).unwrap();
                assert_eq!(blob[1], number[0], "{}", edn_of(&value));
                // Whatever the reader would write itself.
                let opened = reader.open(b"r", &blob).unwrap();
                assert_eq!((&*opened.meta, &*opened.value), (&*meta(), &*value));
                assert_eq!(reader.open_meta(b"r", &blob).unwrap(), meta());
                let page = writer.seal_page(b"p", &[7], &value).unwrap();
                let opened = reader.open_page(b"p", &page, |found| found == value);
                assert_eq!(*opened.unwrap().value, *value);
            }
        }
    }
}

fn edn_of(value: &[u8]) -> String {
    cbor::decode(value).unwrap().to_string()
}

#[test]
fn what_is_no_canonical_cbor_stays_as_it_is() {
    let not_canonical = [0x18, 5];
    let deep = [vec![0x81; 1300], vec![0]].concat();
    for (_, codec) in all() {
        for content in [
            &b"a text that is no item"[..],
            &not_canonical,
            &deep,
            &[0xFF],
        ] {
            let blob = codec.seal_page(b"p", &[7], content).unwrap();
            assert_eq!(blob[1], SERIALIZER_CBOR);
            let opened = codec.open_page(b"p", &blob, |found| found == content);
            assert_eq!(*opened.unwrap().value, *content);
        }
    }
}

#[test]
fn any_damage_of_any_blob_of_any_pair_is_refused() {
    let values = VALUES.iter().map(|text| edn::parse(text).unwrap());
    let repeated = Value::Text("the same words, ".repeat(40));
    let values: Vec<_> = values.chain([repeated]).collect();
    let value = cbor::encode(&Value::Vector(values));
    for (number, codec) in all() {
        let blob = codec.seal(b"r", &meta(), &value).unwrap();
        assert_eq!(blob[1..3], number);
        let page = codec.seal_page(b"p", &[7], &value).unwrap();
        let opens = |blob: &[u8]| codec.open(b"r", blob).is_ok();
        // Another way to compress the same is no damage to what comes back.
        let opens_page = |page: &[u8]| {
            let opened = codec.open_page(b"p", page, |found| found == value);
            opened.is_ok_and(|opened| (&*opened.meta, &*opened.value) != (&[7][..], &*value))
        };
        for at in 0..blob.len() {
            for change in [0x01, 0x80, 0x0C, 0xFF] {
                let mut damaged = blob.clone();
                damaged[at] ^= change;
                assert!(!opens(&damaged), "{number:?} byte {at}");
            }
            assert!(!opens(&blob[..at]), "{number:?} {at} bytes");
        }
        for at in 0..page.len() {
            for change in [0x01, 0x80, 0x0C, 0xFF] {
                let mut damaged = page.clone();
                damaged[at] ^= change;
                assert!(!opens_page(&damaged), "{number:?} byte {at}");
                let is_text = number[0] != SERIALIZER_CBOR;
                let accepted = codec.open_page(b"p", &damaged, |found| found == value);
                assert!(
                    accepted.is_err() || !is_text && at >= 21,
                    "{number:?} byte {at}"
                );
            }
            let cut = codec.open_page(b"p", &page[..at], |found| found == value);
            assert!(cut.is_err(), "{number:?} {at} bytes");
        }
        // Swapped: with what stands elsewhere, and record for page.
        assert!(codec.open(b"r2", &blob).is_err());
        assert!(codec.open_page(b"p2", &page, |_| true).is_err());
        let is_text = number[0] != SERIALIZER_CBOR;
        assert!(is_text || codec.open(b"p", &page).is_err());
        // Edited headers: every other serializer, compressor, encryptor and length.
        for (field, byte) in (0..8).flat_map(|at| (0..=255).map(move |byte| (at, byte))) {
            let mut edited = blob.clone();
            if std::mem::replace(&mut edited[field], byte) != byte {
                assert!(!opens(&edited), "{number:?} byte {field} is {byte}");
            }
        }
    }
}

#[test]
fn text_that_does_not_read_is_an_error_that_names_the_serializer_and_the_blob() {
    // A program that writes nonsense, with a checksum that holds.
    let (_, codec) = all().remove(3);
    let serializers = Serializers([Arc::new(Broken) as Arc<dyn Serializer>].into());
    let settings = Settings {
        serializer: "broken".to_owned(),
        compressor: Compressor::None,
    };
    let broken = Codec::with_settings(Uuid::from_u128(7), &settings, &serializers).unwrap();
    let blob = broken
        .seal(b"r/x", &[0x63, b'a', b'b', b'c'], &[1])
        .unwrap();
    let refused = codec.open(b"r/x", &blob).unwrap_err();
    assert!(
        matches!(refused.check, Check::Deserialize { .. }),
        "{refused}"
    );
    assert!(
        refused
            .to_string()
            .starts_with("open blob r/x: it is no valid EDN: "),
        "{refused}"
    );
}

/// Claims to be EDN.
#[derive(Debug)]
struct Broken;

impl Serializer for Broken {
    fn number(&self) -> u8 {
        4
    }
    fn name(&self) -> &'static str {
        "broken"
    }
    fn write(&self, value: &Value, out: &mut Vec<u8>) {
        out.push(b'[');
        cbor::encode_into(value, out);
    }
    fn read(&self, bytes: &[u8]) -> Result<Value, Unreadable> {
        Ok(cbor::decode(&bytes[1..])?)
    }
}

/// What a program may bring along.
#[derive(Debug)]
struct Own(u8, &'static str);

impl Serializer for Own {
    fn number(&self) -> u8 {
        self.0
    }
    fn name(&self) -> &str {
        self.1
    }
    fn write(&self, value: &Value, out: &mut Vec<u8>) {
        cbor::encode_into(value, out);
        out.reverse();
    }
    fn read(&self, bytes: &[u8]) -> Result<Value, Unreadable> {
        let forward: Vec<u8> = bytes.iter().rev().copied().collect();
        Ok(cbor::decode(&forward)?)
    }
}

#[test]
fn a_program_brings_its_own_serializer_along() {
    let known = Serializers::default();
    for (number, name) in [(127, "own"), (4, "own"), (128, "edn")] {
        assert!(known.with(Arc::new(Own(number, name))).is_none());
    }
    let more = known.with(Arc::new(Own(200, "own"))).unwrap();
    assert!(more.with(Arc::new(Own(200, "other"))).is_none());
    let settings = Settings {
        serializer: "own".to_owned(),
        compressor: Compressor::Zstd,
    };
    assert!(Codec::with_settings(Uuid::from_u128(7), &settings, &known).is_none());
    let codec = Codec::with_settings(Uuid::from_u128(7), &settings, &more).unwrap();
    for value in values() {
        let blob = codec.seal(b"r", &meta(), &value).unwrap();
        assert_eq!(blob[1], 200);
        assert_eq!(*codec.open(b"r", &blob).unwrap().value, *value);
        let (_, without) = all().remove(0);
        let refused = without.open(b"r", &blob).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "open blob r: serializer 200 is not known: the program that wrote it has registered it"
        );
    }
}

/// Loses the sign of every integer.
#[derive(Debug)]
struct Lossy;

impl Serializer for Lossy {
    fn number(&self) -> u8 {
        201
    }
    fn name(&self) -> &'static str {
        "lossy"
    }
    fn write(&self, value: &Value, out: &mut Vec<u8>) {
        match value {
            Value::Int(n) => cbor::encode_into(&Value::Int(n.saturating_abs()), out),
            other => cbor::encode_into(other, out),
        }
    }
    fn read(&self, bytes: &[u8]) -> Result<Value, Unreadable> {
        Ok(cbor::decode(bytes)?)
    }
}

#[test]
fn a_serializer_that_loses_something_is_not_used_for_it() {
    let serializers = Serializers::default().with(Arc::new(Lossy)).unwrap();
    let settings = Settings {
        serializer: "lossy".to_owned(),
        compressor: Compressor::None,
    };
    let codec = Codec::with_settings(Uuid::from_u128(7), &settings, &serializers).unwrap();
    for (value, number) in [(5, 201), (-5, SERIALIZER_CBOR)] {
        let value = cbor::encode(&Value::Int(value));
        let blob = codec.seal(b"r", &meta(), &value).unwrap();
        assert_eq!(blob[1], number);
        assert_eq!(*codec.open(b"r", &blob).unwrap().value, *value);
    }
}

#[test]
fn settings_change_for_all_clones() {
    let (_, codec) = all().remove(0);
    let clone = codec.clone();
    let settings = Settings {
        serializer: "edn".to_owned(),
        compressor: Compressor::Zstd,
    };
    assert!(codec.set(&settings));
    assert_eq!(clone.settings(), settings);
    let value = cbor::encode(&Value::Text("again and ".repeat(100)));
    let blob = clone.seal(b"r", &meta(), &value).unwrap();
    assert!(codec.is_present(&blob));
    assert_eq!(blob[1..3], [4, 2]);
    let unknown = Settings {
        serializer: "unknown".to_owned(),
        ..settings.clone()
    };
    assert!(!codec.set(&unknown));
    assert_eq!(codec.settings(), settings);
}

/// Reads each item and writes it again, as another library does both.
const ECHO: &str = "
import sys, cbor2
items = sys.stdin.buffer
while True:
    length = items.read(4)
    if not length:
        break
    value = cbor2.loads(items.read(int.from_bytes(length, 'big')))
    again = cbor2.dumps(value)
    sys.stdout.buffer.write(len(again).to_bytes(4, 'big') + again)
";

#[test]
fn another_cbor_library_reads_every_value_and_writes_what_is_read_here() {
    let mut items = Vec::new();
    for value in values() {
        items.extend_from_slice(&u32::try_from(value.len()).unwrap().to_be_bytes());
        items.extend_from_slice(&value);
    }
    let echoed = tests::piped("python3", &["-c", ECHO], &items);
    let mut rest = &echoed[..];
    for value in values() {
        let (length, items) = rest.split_first_chunk::<4>().unwrap();
        let (item, others) = items.split_at(u32::from_be_bytes(*length) as usize);
        rest = others;
        assert_eq!(edn_of(item), edn_of(&value));
        assert_eq!(cbor::encode(&cbor::decode(item).unwrap()), value);
    }
    assert!(rest.is_empty());
}

#[test]
fn text_in_another_program_is_the_value() {
    let value = edn::parse(r#"{"a" [1 2.5 nil true], "b" {"c" "\u00fc"}}"#).unwrap();
    let (_, codec) = all().remove(6);
    let blob = codec.seal(b"r", &meta(), &cbor::encode(&value)).unwrap();
    let text = &blob[HEADER_LENGTH..];
    let (meta, value) = (text.iter().position(|byte| *byte == b'\n'))
        .map(|at| text.split_at(at + 1))
        .unwrap();
    let script = "import sys, json; print(sorted(json.load(sys.stdin).items()))";
    let read = |text| String::from_utf8(tests::piped("python3", &["-c", script], text)).unwrap();
    assert_eq!(
        read(value),
        "[('a', [1, 2.5, None, True]), ('b', {'c': 'ü'})]\n"
    );
    assert!(read(meta).starts_with("[('key', {'$kw': 'k'}), ('last-write', 1700)"));
}
