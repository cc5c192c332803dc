#![allow(clippy::unwrap_used, reason = "test")]

use super::*;

fn parsed(text: &str, wanted: TypeName) -> (String, bool, bool) {
    let content = parse_as(text.as_bytes(), wanted).unwrap();
    assert_eq!(
        render(&content.value, content.newline, content.literal.as_deref()),
        text.as_bytes()
    );
    (
        edn::print(&content.value),
        content.newline,
        content.literal.is_some(),
    )
}

#[test]
fn the_newline_of_a_file_is_not_part_of_its_text() {
    assert_eq!(parsed("a\n", TypeName::Text), ("\"a\"".into(), true, false));
    assert_eq!(parsed("a", TypeName::Text), ("\"a\"".into(), false, false));
    assert_eq!(
        parsed("a\n\n", TypeName::Text),
        ("\"a\\n\"".into(), true, false)
    );
    assert_eq!(parsed("", TypeName::Text), ("\"\"".into(), false, false));
    assert_eq!(parsed("\n", TypeName::Text), ("\"\"".into(), true, false));
}

#[test]
fn a_text_that_ends_in_a_newline_keeps_it_in_a_file_without_one() {
    assert_eq!(render(&"a\n".into(), false, None), b"a\n\n");
    assert_eq!(render(&"a".into(), false, None), b"a");
}

#[test]
fn bytes_of_a_number_that_differ_from_its_rendering_are_kept() {
    assert_eq!(parsed("42\n", TypeName::Int), ("42".into(), true, false));
    assert_eq!(parsed("42", TypeName::Int), ("42".into(), false, false));
    assert_eq!(parsed("+42\n", TypeName::Int), ("42".into(), true, true));
    assert_eq!(
        parsed("42 ; the answer\n", TypeName::Int),
        ("42".into(), true, true)
    );
    assert_eq!(
        parsed("1.50\n", TypeName::Float),
        ("1.5".into(), true, true)
    );
    assert_eq!(
        parsed("1e5\n", TypeName::Float),
        ("100000.0".into(), true, true)
    );
}

#[test]
fn an_integer_may_become_a_float_and_nothing_else() {
    assert_eq!(parsed("1.5\n", TypeName::Int), ("1.5".into(), true, false));
    for text in ["1.5M\n", "1/2\n", "one\n", "nil\n"] {
        let error = parse_as(text.as_bytes(), TypeName::Int).unwrap_err();
        assert!(
            matches!(
                error,
                RenderError::OtherType {
                    wanted: TypeName::Int,
                    ..
                }
            ),
            "{text}"
        );
    }
    assert!(matches!(
        parse_as(b"4 2", TypeName::Int),
        Err(RenderError::Syntax { .. })
    ));
    assert!(matches!(
        parse_as(b"\xff", TypeName::Int),
        Err(RenderError::NotUtf8 { offset: 0, .. })
    ));
}

#[test]
fn what_the_declared_type_says_need_not_be_in_the_text() {
    assert_eq!(parsed("1\n", TypeName::Float), ("1.0".into(), true, true));
    assert_eq!(
        parsed("1.50\n", TypeName::Decimal),
        ("1.50M".into(), true, true)
    );
    assert_eq!(parsed("2\n", TypeName::Decimal), ("2M".into(), true, true));
    assert_eq!(
        parsed("2020-01-01\n", TypeName::Inst),
        ("#inst \"2020-01-01T00:00:00Z\"".into(), true, true)
    );
    let uuid = "00000000-0000-0000-0000-00000000000a";
    assert_eq!(
        parsed(uuid, TypeName::Uuid),
        (format!("#uuid \"{uuid}\""), false, true)
    );
}

#[test]
fn nil_is_nil_only() {
    assert_eq!(parsed("nil\n", TypeName::Nil), ("nil".into(), true, false));
    for text in ["", "\n", "false\n", "()\n"] {
        assert!(parse_as(text.as_bytes(), TypeName::Nil).is_err());
    }
}

#[test]
fn untyped_content_is_text_if_it_is_utf8_and_not_large() {
    assert_eq!(class(b""), TypeName::Text);
    assert_eq!(class("é".as_bytes()), TypeName::Text);
    assert_eq!(class(b"\xe9"), TypeName::Bytes);
    assert_eq!(class(&[b'x'; TEXT_MAX]), TypeName::Text);
    assert_eq!(class(&[b'x'; TEXT_MAX + 1]), TypeName::Bytes);
    assert_eq!(parse_untyped(b"42\n").value, "42".into());
}

#[test]
fn too_much_is_not_parsed_except_as_bytes() {
    let much = vec![b' '; PARSE_MAX + 1];
    for ty in TypeName::ALL {
        let result = parse_as(&much, ty);
        match ty {
            TypeName::Bytes => assert!(result.is_ok()),
            _ => assert_eq!(
                result,
                Err(RenderError::TooBig {
                    wanted: ty,
                    size: PARSE_MAX + 1
                })
            ),
        }
    }
}

#[test]
fn only_scalars_that_render_as_the_same_bytes_are_inferred() {
    let inferred = |text: &str| TypeName::of(&infer(text.as_bytes()).value);
    for (text, ty) in [
        ("42\n", TypeName::Int),
        ("42", TypeName::Int),
        ("-1.5\n", TypeName::Float),
        ("true\n", TypeName::Bool),
        (":kw\n", TypeName::Keyword),
        ("#inst \"2020-01-01T00:00:00Z\"\n", TypeName::Inst),
        ("042\n", TypeName::Text),
        ("1.50\n", TypeName::Text),
        ("42 \n", TypeName::Text),
        ("42\n\n", TypeName::Text),
        ("word\n", TypeName::Text),
        ("[1]\n", TypeName::Text),
        ("\"quoted\"\n", TypeName::Text),
        ("", TypeName::Text),
        ("two words\n", TypeName::Text),
    ] {
        assert_eq!(inferred(text), ty, "{text:?}");
    }
}

#[test]
fn a_type_is_known_by_its_name() {
    for ty in TypeName::ALL {
        assert_eq!(ty.as_str().parse(), Ok(ty));
    }
    assert!("integer".parse::<TypeName>().is_err());
}
