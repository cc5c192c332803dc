use super::key::Key;
use super::seal::{self, Keys, Kind, Padding, What};
use super::*;

use aes::cipher::block_padding::NoPadding;
use aes::cipher::{BlockEncryptMut, KeyIvInit};
use uuid::Uuid;

const STORE: Uuid = Uuid::from_u128(7);
const CHEAP: (Cost, u64) = (Cost::LEAST, 1_800_000_000);

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
    let pairs = digits
        .chunks(2)
        .map(|pair| std::str::from_utf8(pair).unwrap());
    pairs
        .map(|pair| u8::from_str_radix(pair, 16).unwrap())
        .collect()
}

fn passphrase(text: &str) -> Secret {
    Secret::passphrase(text).unwrap()
}

fn store(secret: &Secret) -> (KeyBlob, Cipher) {
    KeyBlob::create(STORE, secret, CHEAP, Padding::None).unwrap()
}

/// NIST SP 800-38A, F.2.5.
#[test]
fn aes_256_cbc_is_that_of_nist() {
    let key: [u8; 32] = bytes("603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4")
        .try_into()
        .unwrap();
    let iv: [u8; 16] = bytes("000102030405060708090a0b0c0d0e0f")
        .try_into()
        .unwrap();
    let plain = bytes(
        "6bc1bee22e409f96e93d7e117393172a ae2d8a571e03ac9c9eb76fac45af8e51
         30c81c46a35ce411e5fbc1191a0a52ef f69f2445df4f9b17ad2b417be66c3710",
    );
    let cipher = cbc::Encryptor::<aes::Aes256>::new(&key.into(), &iv.into());
    assert_eq!(
        cipher.encrypt_padded_vec_mut::<NoPadding>(&plain),
        bytes(
            "f58c4c04d6e5f1ba779eabfb5f7bfbd6 9cfc4e967edb808d679f777bc6702c7d
             39f23369a9d9bacfa530e26304231461 b2eb05e2c39be9fcda6c19078c6a9d1b"
        )
    );
}

/// `test_vectors.json` of the BLAKE3 team, inputs of 0 and 1 byte.
#[test]
fn blake3_is_that_of_its_authors() {
    let key = b"whats the Elvish word for friend";
    assert_eq!(
        blake3::keyed_hash(key, b"").as_bytes().to_vec(),
        bytes("92b2b75604ed3c761f9d6f62392c8a9227ad0ea3f09573e783f1498a4ed60d26")
    );
    assert_eq!(
        blake3::keyed_hash(key, &[0]).as_bytes().to_vec(),
        bytes("6d7878dfff2f485635d39013278ae14f1454b8c0a3a2d34bc1ab38228a80c95b")
    );
    let context = "BLAKE3 2019-12-27 16:29:52 test vectors context";
    assert_eq!(
        blake3::derive_key(context, b"").to_vec(),
        bytes("2cc39783c223154fea8dfb7c1b1660f2ac2dcbd1c1de8277b0b0dd39b7e50d7d")
    );
}

/// RFC 9106, 5.3.
#[test]
fn argon2id_is_that_of_the_rfc() {
    use argon2::{Algorithm, Argon2, AssociatedData, ParamsBuilder, Version};
    let params = ParamsBuilder::new()
        .m_cost(32)
        .t_cost(3)
        .p_cost(4)
        .data(AssociatedData::new(&[4; 12]).unwrap())
        .output_len(32)
        .build()
        .unwrap();
    let secret = [3; 8];
    let argon =
        Argon2::new_with_secret(&secret, Algorithm::Argon2id, Version::V0x13, params).unwrap();
    let mut tag = [0; 32];
    argon
        .hash_password_into(&[1; 32], &[2; 16], &mut tag)
        .unwrap();
    assert_eq!(
        tag.to_vec(),
        bytes("0d640df58d78766c08c037a34a8b53c9d01ef0452d75b65eb52520e96b01e659")
    );
}

#[test]
fn contents_of_all_lengths_come_back() {
    for padding in [Padding::None, Padding::Padme] {
        let (_, cipher) = KeyBlob::create(STORE, &passphrase("p"), CHEAP, padding).unwrap();
        for length in (0..70).chain([255, 4095, 4096, 4097, 1 << 20]) {
            let content: Vec<u8> = (0..length).map(|n: u32| n.to_le_bytes()[0]).collect();
            let sealed = cipher.seal_blob(b"a", &content).unwrap();
            assert!(
                cipher.open_blob(b"a", &sealed).unwrap() == content,
                "{length}"
            );
            let longer = (sealed.len() - content.len()) as u64;
            let most = OVERHEAD
                + if padding == Padding::None {
                    0
                } else {
                    u64::from(length) / 8 + 1
                };
            assert!(longer <= most, "{length}: {longer}");
        }
    }
}

#[test]
fn padding_leaves_few_lengths() {
    let (_, cipher) = KeyBlob::create(STORE, &passphrase("p"), CHEAP, Padding::Padme).unwrap();
    let sealed = |length: usize| cipher.seal_blob(b"a", &vec![0; length]).unwrap().len();
    let lengths: std::collections::BTreeSet<_> = (100_000..110_000).map(sealed).collect();
    assert!(lengths.len() <= 6, "{lengths:?}");
}

#[test]
fn the_same_content_is_never_the_same_bytes() {
    let (_, cipher) = store(&passphrase("p"));
    let (a, b) = (
        cipher.seal_blob(b"a", &[0; 64]).unwrap(),
        cipher.seal_blob(b"a", &[0; 64]).unwrap(),
    );
    let differing = a.iter().zip(&b).filter(|(a, b)| a != b).count();
    // Everything but the first 8 bytes, by chance some of which are the same.
    assert!(
        differing > (a.len() - 8) * 9 / 10,
        "{differing} of {}",
        a.len()
    );
    let blocks: std::collections::BTreeSet<_> = a.get(24..).unwrap().chunks(16).collect();
    assert_eq!(blocks.len(), (a.len() - 24).div_ceil(16));
}

fn refused(outcome: Result<Vec<u8>, CryptError>) {
    assert!(
        matches!(outcome, Err(CryptError::Authentication)),
        "{outcome:?}"
    );
}

#[test]
fn every_flipped_bit_and_every_truncation_is_refused() {
    let (_, cipher) = store(&passphrase("p"));
    for content in [&b""[..], b"hello", &[7; 100]] {
        let sealed = cipher.seal_blob(b"a", content).unwrap();
        for at in 0..sealed.len() {
            for bit in 0..8 {
                let mut changed = sealed.clone();
                changed[at] ^= 1 << bit;
                refused(cipher.open_blob(b"a", &changed));
            }
            refused(cipher.open_blob(b"a", &sealed[..at]));
            refused(cipher.open_blob(b"a", &sealed[at + 1..]));
        }
        refused(cipher.open_blob(b"a", &[&sealed[..], &[0]].concat()));
    }
}

#[test]
fn what_stood_elsewhere_is_refused() {
    let (_, cipher) = store(&passphrase("p"));
    let sealed = cipher.seal_blob(b"a", b"content").unwrap();
    refused(cipher.open_blob(b"b", &sealed));
    refused(cipher.open_blob(b"", &sealed));
    let of_record = cipher.seal_record(5, b"content").unwrap();
    refused(cipher.open_record(6, &of_record));
    refused(cipher.open_blob(&5_u64.to_be_bytes(), &of_record));
    let (_, other) = store(&passphrase("p"));
    refused(other.open_blob(b"a", &sealed));
    // The same keys in a store of another name.
    let key = Key::random().unwrap();
    let keys = Keys::of(&key);
    let what = |store| What {
        kind: Kind::Blob,
        store,
        name: b"a",
    };
    let sealed = seal::seal(&keys, &what(STORE), 1, Padding::None, b"c").unwrap();
    assert_eq!(seal::open(&keys, &what(STORE), &sealed).unwrap(), b"c");
    refused(seal::open(&keys, &what(Uuid::nil()), &sealed));
}

#[test]
fn what_is_not_encrypted_is_refused() {
    let (_, cipher) = store(&passphrase("p"));
    let plain = crate::codec::Codec::new(STORE, crate::codec::Compressor::None)
        .seal(b"a", b"", b"content")
        .unwrap();
    refused(cipher.open_blob(b"a", &plain));
    refused(cipher.open_blob(b"a", b""));
}

#[test]
fn an_address_comes_back_and_says_nothing() {
    let (_, cipher) = store(&passphrase("p"));
    let (_, other) = store(&passphrase("p"));
    for length in [1, 9, 15, 16, 17, 300, 309, 479] {
        let address = vec![b'r'; length];
        let concealed = cipher.conceal(&address);
        assert_eq!(concealed, cipher.conceal(&address));
        assert_eq!(cipher.reveal(&concealed).as_ref(), Some(&address));
        assert_eq!(concealed.len(), Cipher::concealed_length(length));
        assert!(concealed.len() <= 512);
        assert!(!concealed.windows(3).any(|part| part == b"rrr"));
        assert_eq!(other.reveal(&concealed), None);
        for at in 0..concealed.len() {
            let mut changed = concealed.clone();
            changed[at] ^= 1;
            assert_eq!(cipher.reveal(&changed), None, "byte {at}");
            assert_eq!(cipher.reveal(&concealed[..at]), None);
        }
    }
}

#[test]
fn each_slot_opens_the_store_and_nothing_else_does() {
    let (first, second) = (passphrase("one"), Secret::key_file([7; 32]).unwrap());
    let (mut blob, cipher) = store(&first);
    let number = blob.add(&cipher, &second, CHEAP).unwrap();
    let read = KeyBlob::decode(&blob.encode()).unwrap();
    assert_eq!(read, blob);
    let sealed = cipher.seal_blob(b"a", b"content").unwrap();
    for (secret, opened) in [(&first, 0), (&second, number)] {
        let (cipher, slot) = read.open(secret).unwrap();
        assert_eq!(slot, opened);
        assert_eq!(cipher.open_blob(b"a", &sealed).unwrap(), b"content");
    }
    // The bytes of a key file are no passphrase.
    let same = Secret::passphrase([7; 32]).unwrap();
    for secret in [&passphrase("two"), &same] {
        assert!(matches!(read.open(secret), Err(CryptError::WrongKey)));
    }
}

#[test]
fn a_slot_that_was_removed_opens_nothing_and_its_number_is_not_used_again() {
    let (first, second) = (passphrase("one"), passphrase("two"));
    let (mut blob, cipher) = store(&first);
    assert!(matches!(
        blob.remove(&cipher, 0),
        Err(CryptError::Slot { .. })
    ));
    assert!(matches!(
        blob.remove(&cipher, 9),
        Err(CryptError::Slot { .. })
    ));
    let number = blob.add(&cipher, &second, CHEAP).unwrap();
    blob.remove(&cipher, 0).unwrap();
    assert!(matches!(blob.open(&first), Err(CryptError::WrongKey)));
    blob.open(&second).unwrap();
    assert_ne!(blob.add(&cipher, &first, CHEAP).unwrap(), number);
}

#[test]
fn no_changed_slot_opens_the_store() {
    let secret = passphrase("one");
    let (mut blob, cipher) = store(&secret);
    blob.add(&cipher, &passphrase("two"), CHEAP).unwrap();
    let encoded = blob.encode();
    for at in 0..encoded.len() {
        let mut changed = encoded.clone();
        changed[at] ^= 1;
        if let Ok(read) = KeyBlob::decode(&changed) {
            assert!(read.open(&secret).is_err(), "byte {at}");
        }
        if let Ok(read) = KeyBlob::decode(&encoded[..at]) {
            assert!(read.open(&secret).is_err(), "cut at {at}");
        }
    }
    // A slot of an older state of the same store is none of this one's.
    let older = blob.clone();
    blob.remove(&cipher, 1).unwrap();
    let newer = blob.encode();
    let ring = newer.get(32 + 148..).unwrap();
    let forged = [&older.encode()[..32 + 2 * 148], ring].concat();
    assert!(
        KeyBlob::decode(&forged)
            .unwrap()
            .open(&passphrase("two"))
            .is_err()
    );
}

#[test]
fn slots_that_ask_for_too_much_are_refused_before_they_are_tried() {
    let (blob, _) = store(&passphrase("one"));
    let encoded = blob.encode();
    for (at, value) in [
        (32 + 8, (64 << 10) + 1),
        (32 + 12, 17),
        (32 + 16, 17),
        (28, 33_u32),
        (28, 0),
    ] {
        let mut greedy = encoded.clone();
        greedy[at..at + 4].copy_from_slice(&value.to_be_bytes());
        let outcome = KeyBlob::decode(&greedy);
        assert!(
            matches!(outcome, Err(CryptError::Slots { .. })),
            "{at}: {outcome:?}"
        );
    }
    let mut newer = encoded;
    newer[11] = 2;
    assert!(matches!(
        KeyBlob::decode(&newer),
        Err(CryptError::Version { version: 2, .. })
    ));
}

#[test]
fn secrets_have_a_length_and_are_never_shown() {
    assert!(Secret::passphrase("").is_err());
    assert!(Secret::key_file([0; 31]).is_err());
    assert!(Secret::key_file(vec![0; (1 << 20) + 1]).is_err());
    let shown = format!(
        "{:?} {:?}",
        passphrase("tell nobody"),
        Key::of(b"tell nobody tell nobody tell nob")
    );
    assert!(!shown.contains("tell"), "{shown}");
    let error = Secret::key_file("tell nobody").unwrap_err().to_string();
    assert!(!error.contains("tell"), "{error}");
}
