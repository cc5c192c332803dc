//! Values as canonical CBOR.

use super::entropy::{Entropy, bytes, value};
use konserve_fs::value::cbor::{Reader, decode, encode};
use konserve_fs::value::{Key, Value};
use proptest::prelude::*;
use std::hash::{DefaultHasher, Hash, Hasher};

fn hash(value: &Value) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

proptest! {
    #![proptest_config(super::config())]

    #[test]
    fn a_value_comes_back_from_its_encoding(value in value()) {
        let encoding = encode(&value);
        let back = decode(&encoding).unwrap();
        prop_assert_eq!(&back, &value);
        prop_assert_eq!(encode(&back), &encoding[..]);
        prop_assert_eq!(Reader::new(&encoding).raw().unwrap(), &encoding[..]);
        let key = Key::from_bytes(&encoding).unwrap();
        prop_assert_eq!(key.value(), value);
    }

    #[test]
    fn equality_order_and_hash_are_those_of_the_encodings(a in bytes(), b in bytes(), close in any::<bool>()) {
        let x = Entropy::new(&a).value();
        let y = if close {
            Entropy::new(&Entropy::new(&b).damage(a)).value() // often equal or nearly so
        } else {
            Entropy::new(&b).value()
        };
        let (ex, ey) = (encode(&x), encode(&y));
        prop_assert_eq!(x == y, ex == ey, "{:?} {:?}", x, y);
        prop_assert_eq!(x.cmp(&y), ex.cmp(&ey), "{:?} {:?}", x, y);
        if x == y {
            prop_assert_eq!(hash(&x), hash(&y));
        }
    }

    #[test]
    fn what_decodes_encodes_to_what_decodes_the_same(bytes in prop::collection::vec(any::<u8>(), 0..32)) {
        decode_is_sound(&bytes);
    }

    #[test]
    fn a_damaged_encoding_is_refused_or_another_value(value in value(), damage in bytes()) {
        decode_is_sound(&Entropy::new(&damage).damage(encode(&value)));
    }
}

fn decode_is_sound(bytes: &[u8]) {
    let raw = Reader::new(bytes).raw().map(<[u8]>::len);
    match decode(bytes) {
        Ok(value) => {
            assert_eq!(raw, Ok(bytes.len()));
            let encoding = encode(&value);
            assert_eq!(decode(&encoding).unwrap(), value);
            assert_eq!(Key::from_bytes(bytes).is_ok(), encoding == bytes);
        }
        Err(error) => assert!(error.offset <= bytes.len()),
    }
}
