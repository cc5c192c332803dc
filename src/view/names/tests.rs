#![allow(clippy::unwrap_used, reason = "test")]

use super::NameContext::{Map, Root, Vector};
use super::*;

fn name(edn: &str, context: NameContext) -> String {
    let key = Key::new(&edn::parse(edn).unwrap());
    let name = name_of(&key, context);
    assert_eq!(parse_name(&name, context), Ok(Parsed::Key(key)), "{edn}");
    String::from_utf8(name).unwrap()
}

#[test]
fn each_kind_of_key_has_its_form() {
    for (key, expected) in [
        (r#""notes.txt""#, "notes.txt"),
        (r#""100%.txt""#, "100%.txt"),
        (r#""%shello""#, "%shello"),
        (r#""%i042""#, "%i042"),
        (r#""%i+42""#, "%i+42"),
        (r#""%i42""#, "%s%25i42"),
        (r#""%s%2F""#, "%s%25s%252F"),
        (r#""%s%2f""#, "%s%2f"),
        (r#""""#, "%s"),
        (r#"".""#, "%s."),
        (r#""..""#, "%s.."),
        (r#""...""#, "..."),
        (r#""a/b""#, "%sa%2Fb"),
        (r#""a\u0000%""#, "%sa%00%25"),
        (r#"":user""#, "%s:user"),
        (r#"":user/x""#, "%s:user%2Fx"),
        (r#"":""#, ":"),
        (r#"":)""#, ":)"),
        (r#"":a b""#, ":a b"),
        (":user/name", ":user%2Fname"),
        (":a%", ":a%25"),
        (r#"#kfs/keyword """#, r#"%e#kfs%2Fkeyword """#),
        ("42", "%i42"),
        ("-42", "%i-42"),
        (
            "123456789012345678901234567890",
            "%i123456789012345678901234567890",
        ),
        (
            r#"#uuid "00000000-0000-0000-0000-00000000000a""#,
            "%u00000000-0000-0000-0000-00000000000a",
        ),
        (r#"#bytes "61""#, "%b61"),
        (r#"#bytes """#, "%b"),
        (r#"#bytes "ff2f""#, "%bff2f"),
        ("nil", "%enil"),
        ("1.5", "%e1.5"),
        ("a/b", "%ea%2Fb"),
        ("[1 \"%\"]", "%e[1 \"%25\"]"),
    ] {
        assert_eq!(name(key, Map), expected);
        assert_eq!(name(key, Root), expected);
    }
}

#[test]
fn bytes_that_are_no_text_are_their_own_name() {
    let key = Key::new(&Value::Bytes(b"caf\xe9".to_vec()));
    assert_eq!(name_of(&key, Map), b"caf\xe9");
    assert_eq!(parse_name(b"caf\xe9", Map), Ok(Parsed::Key(key)));
}

#[test]
fn in_a_vector_plain_numbers_are_indexes() {
    assert_eq!(name("0", Vector), "0");
    assert_eq!(name("18446744073709551615", Vector), "18446744073709551615");
    assert_eq!(
        name("18446744073709551616", Vector),
        "%i18446744073709551616"
    );
    assert_eq!(name("-1", Vector), "%i-1");
    assert_eq!(name(r#""0""#, Vector), "%s0");
    assert_eq!(name(r#""00""#, Vector), "00");
    assert_eq!(name(r#""%i0""#, Vector), "%i0");
    assert_eq!(name(r#""%s0""#, Vector), "%s%25s0");
    assert_eq!(
        name(r#""18446744073709551616""#, Vector),
        "18446744073709551616"
    );
    assert_eq!(name(r#""0""#, Map), "0");
    assert_eq!(name(r#""%s0""#, Map), "%s0");
}

#[test]
fn the_control_directory_keeps_its_name_at_the_root_only() {
    assert_eq!(parse_name(b".kfs", Root), Err(NameError::Reserved));
    assert_eq!(name(r#"".kfs""#, Root), "%s.kfs");
    assert_eq!(name(r#"".kfs""#, Map), ".kfs");
    assert_eq!(name(r#""%s.kfs""#, Map), "%s.kfs");
}

#[test]
fn a_long_name_is_shortened_and_its_form_is_never_free() {
    for text in [
        "x".repeat(256),
        "é".repeat(128),
        "/".repeat(86),
        format!(":{}", "x".repeat(300)),
    ] {
        let key = Key::text(&text);
        let short = name_of(&key, Map);
        assert!(short.len() <= NAME_MAX);
        let Ok(Parsed::Hashed { prefix, hash }) = parse_name(&short, Map) else {
            unreachable!()
        };
        assert!(short.starts_with(&prefix) && hash == hash_of(&key));
    }
    let short = name_of(&Key::text(&"x".repeat(256)), Map);
    let text = String::from_utf8(short).unwrap();
    assert!(name(&format!("{text:?}"), Map).starts_with("%sxxx"));
    let raw = [b"\xff".to_vec(), text.into_bytes()].concat();
    assert!(name_of(&Key::new(&Value::Bytes(raw)), Map).starts_with(b"%bff"));
    assert_eq!(name(&format!("\"{}\"", "x".repeat(255)), Map).len(), 255);
}

#[test]
fn what_no_filesystem_takes_is_refused() {
    assert_eq!(parse_name(&[b'x'; 256], Map), Err(NameError::TooLong));
    for name in [&b""[..], b".", b"..", b"a/b", b"a\0"] {
        assert_eq!(parse_name(name, Map), Err(NameError::Invalid));
    }
}
