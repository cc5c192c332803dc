#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that panics has failed, as it should"
)]

use super::*;

fn codec() -> Codec {
    Codec::new(Uuid::from_u128(7), Compressor::Lz4)
}

fn with(compressor: Compressor) -> Codec {
    Codec::new(Uuid::from_u128(7), compressor)
}

fn compressible() -> Vec<u8> {
    b"the same words again and again, ".repeat(40)
}

fn incompressible(length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().finalize_xof().fill(&mut bytes);
    bytes
}

#[test]
fn the_layout_is_the_one_drawn() {
    let blob = codec().seal(b"a", b"meta", b"value").unwrap();
    assert_eq!(&blob[..8], &[2, 3, 0, 0, 0, 0, 0, 4]);
    assert_eq!(&blob[20..], b"metavalue");
    let key = blake3::derive_key(CHECKSUM_CONTEXT, Uuid::from_u128(7).as_bytes());
    let covered = [b"\0\0\0\x01a".as_slice(), &blob[..8], b"metavalue"].concat();
    assert_eq!(
        &blob[8..20],
        &blake3::keyed_hash(&key, &covered).as_bytes()[..12]
    );
}

#[test]
fn content_comes_back() {
    for codec in Compressor::ALL.map(with) {
        for value in [
            vec![],
            vec![1],
            compressible(),
            incompressible(300),
            incompressible(100_000),
        ] {
            for meta in [b"".as_slice(), b"m", &[7; 1000]] {
                let blob = codec.seal(b"address", meta, &value).unwrap();
                let opened = codec.open(b"address", &blob).unwrap();
                assert_eq!((&*opened.meta, &*opened.value), (meta, &*value));
                assert_eq!(codec.open_meta(b"address", &blob).unwrap(), meta);
            }
        }
    }
}

/// Each value with each compressor.
fn each(values: &[Vec<u8>]) -> Vec<(Codec, Vec<u8>)> {
    let with_one = |compressor| values.iter().map(move |v| (with(compressor), v.clone()));
    Compressor::ALL.into_iter().flat_map(with_one).collect()
}

#[test]
fn only_what_shrinks_is_compressed() {
    let compressed = |value: &[u8]| codec().seal(b"a", b"", value).unwrap()[2] == 1;
    assert!(compressed(&compressible()));
    assert!(!compressed(&incompressible(10_000)));
    assert!(!compressed(&[0; 127]));
    let zstd = with(Compressor::Zstd);
    let number = |value: &[u8]| zstd.seal(b"a", b"", value).unwrap()[2];
    assert_eq!(number(&compressible()), 2);
    assert_eq!(number(&incompressible(10_000)), 0);
    // Nothing repeats in it, but a byte has four bits only.
    let digits = incompressible(50_000);
    let hexadecimal: String = digits.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(number(hexadecimal.as_bytes()), 2);
}

#[test]
fn every_flipped_bit_is_refused() {
    for (codec, value) in each(&[compressible(), b"short".to_vec()]) {
        let blob = codec.seal(b"address", b"meta", &value).unwrap();
        for bit in 0..blob.len() * 8 {
            let mut damaged = blob.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(codec.open(b"address", &damaged).is_err(), "bit {bit}");
            assert!(codec.open_meta(b"address", &damaged).is_err(), "bit {bit}");
        }
    }
}

#[test]
fn every_cut_and_any_tail_is_refused() {
    for (codec, value) in each(&[compressible()]) {
        let mut blob = codec.seal(b"address", b"meta", &value).unwrap();
        for length in 0..blob.len() {
            let cut = &blob[..length];
            assert!(codec.open(b"address", cut).is_err(), "{length}");
        }
        blob.push(0);
        assert!(codec.open(b"address", &blob).is_err());
    }
}

#[test]
fn a_blob_is_bound_to_its_address_and_its_store() {
    let blob = codec().seal(b"one", b"meta", b"value").unwrap();
    assert!(matches!(
        codec().open(b"two", &blob).unwrap_err().check,
        Check::Checksum
    ));
    let other = Codec::new(Uuid::from_u128(8), Compressor::Lz4);
    assert!(matches!(
        other.open(b"one", &blob).unwrap_err().check,
        Check::Checksum
    ));
}

#[test]
fn an_error_names_the_check_and_the_blob() {
    let blob = codec().seal(b"page/\x01", b"meta", b"value").unwrap();
    let with = |at: usize, byte: u8| {
        let mut changed = blob.clone();
        changed[at] = byte;
        codec().open(b"page/\x01", &changed).unwrap_err()
    };
    assert!(matches!(with(0, 1).check, Check::VersionKonserve));
    assert!(matches!(with(0, 3).check, Check::Version { version: 3 }));
    assert!(matches!(with(1, 1).check, Check::Serializer { number: 1 }));
    assert!(matches!(with(2, 3).check, Check::Compressor { number: 3 }));
    assert!(matches!(with(3, 1).check, Check::Encryptor { number: 1 }));
    assert!(matches!(with(7, 200).check, Check::MetaLength));
    assert_eq!(
        with(20, 0).to_string(),
        "open blob page/\\x01: the checksum does not match content, address and store"
    );
}

#[test]
fn a_value_above_the_limit_is_refused_both_ways() {
    for (codec, value) in each(&[compressible()]) {
        let blob = codec.seal(b"a", b"", &value).unwrap();
        let refused = codec.with_limit(1000).open(b"a", &blob).unwrap_err();
        assert!(matches!(refused.check, Check::Size { .. }));
    }
    let small = codec().with_limit(1000);
    assert!(matches!(
        small.seal(b"a", b"", &compressible()).unwrap_err().check,
        Check::Size {
            size: 1280,
            limit: 1000
        }
    ));
}

/// A page, and what stands for its address: its value.
fn page() -> (Vec<u8>, Vec<u8>) {
    let value = compressible();
    let blob = codec().seal_page(b"page", b"meta", &value).unwrap();
    (value, blob)
}

#[test]
fn a_page_comes_back() {
    let (value, blob) = page();
    assert_eq!(blob[2], 1);
    let opened = codec().open_page(b"page", &blob, |found| found == value);
    let opened = opened.unwrap();
    assert_eq!((&*opened.meta, &*opened.value), (&b"meta"[..], &*value));
    // It is no other blob's layout.
    assert!(codec().open(b"page", &blob).is_err());
    let other = codec().seal(b"page", b"meta", &value).unwrap();
    assert!(codec().open_page(b"page", &other, |_| true).is_err());
}

#[test]
fn no_damage_of_a_page_gives_another_value_or_meta() {
    for codec in Compressor::ALL.map(with) {
        no_damage_of_a_page_of(&codec);
    }
}

fn no_damage_of_a_page_of(codec: &Codec) {
    let value = compressible();
    let blob = codec.seal_page(b"page", b"meta", &value).unwrap();
    let opens = |address: &[u8], blob: &[u8]| {
        let opened = codec.open_page(address, blob, |found| found == value);
        opened.is_ok_and(|opened| (&*opened.meta, &*opened.value) != (&b"meta"[..], &*value))
    };
    let refused = |blob: &[u8]| {
        codec
            .open_page(b"page", blob, |found| found == value)
            .is_err()
    };
    for bit in 0..blob.len() * 8 {
        let mut damaged = blob.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        assert!(!opens(b"page", &damaged), "bit {bit}");
        assert!(bit >= 24 * 8 || refused(&damaged), "bit {bit}");
    }
    for length in 0..blob.len() {
        assert!(refused(&blob[..length]), "{length}");
    }
    assert!(codec.open_page(b"other", &blob, |_| true).is_err());
}

#[test]
fn what_is_compressible_only_in_places_is_compressed() {
    let compressed = |value: &[u8]| codec().seal(b"a", b"", value).unwrap()[2] == 1;
    let random = incompressible(65_536);
    assert!(!compressed(&random));
    for (start, end) in [(0, 16_384), (24_576, 40_960), (49_152, 65_536)] {
        let mut value = random.clone();
        value[start..end].fill(0);
        assert!(compressed(&value), "{start}");
    }
}

/// What a program of the system makes of this input.
pub(super) fn piped(program: &str, arguments: &[&str], input: &[u8]) -> Vec<u8> {
    use std::io::Write;
    use std::process::{Command, Stdio};
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|e| panic!("{program} (see scripts/install-tools.sh): {e}"));
    let mut stdin = child.stdin.take().unwrap();
    let output = std::thread::scope(|scope| {
        scope.spawn(move || stdin.write_all(input));
        child.wait_with_output().unwrap()
    });
    assert!(output.status.success(), "{program} {arguments:?}");
    output.stdout
}

const TOOLS: [(Compressor, &str); 2] = [(Compressor::Lz4, "lz4"), (Compressor::Zstd, "zstd")];

#[test]
fn the_programs_of_the_system_read_what_is_compressed() {
    for (compressor, program) in TOOLS {
        for value in [compressible(), b"1234567890".repeat(700_000)] {
            let blob = with(compressor).seal(b"a", b"", &value).unwrap();
            assert_eq!(Some(blob[2]), Some(compressor.number()));
            let read = piped(program, &["-dc"], &blob[HEADER_LENGTH..]);
            assert!(read == value, "{program}");
        }
    }
}

#[test]
fn what_the_programs_of_the_system_compress_is_read() {
    let value = b"1234567890".repeat(70_000);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("value");
    std::fs::write(&file, &value).unwrap();
    let path = file.to_str().unwrap();
    for (compressor, program) in TOOLS {
        let stating: &[&str] = match compressor {
            Compressor::Lz4 => &["-c", "--content-size", path],
            _ => &["-c", "--long=27", "-19", path],
        };
        let frame = piped(program, stating, b"");
        let stored = Compressed::stored(compressor, &frame);
        let size = value.len() as u64;
        assert!(*stored.decompress(size).unwrap() == value, "{program}");
        // From a pipe, they do not know the size beforehand.
        let frame = piped(program, &["-c"], &value);
        let refused = Compressed::stored(compressor, &frame).decompress(size);
        assert!(matches!(refused, Err(Check::ContentSize)), "{program}");
    }
}
