//! What type content is taken for: classed, declared, inferred, or set.

use std::fs;
use std::io::Write;

use konserve_fs::value::Value;

use crate::harness::{Mount, edn};
use crate::raw;

#[test]
fn a_type_is_listed_when_the_bytes_alone_would_give_another() {
    let m = Mount::new();
    let listed = |name: &str| {
        let names = raw::list_xattrs(&m.path(name)).unwrap();
        names.iter().any(|name| name == "user.kfs.type")
    };
    for (value, is_listed) in [
        (r#""text""#, false),
        (r#""42""#, false),
        (r#""""#, false),
        ("42", true),
        ("nil", true),
        (":kw", true),
        ("#{1}", true),
        ("[1]", true),
        ("{:a 1}", false),
    ] {
        m.put("x", value);
        assert_eq!(listed("x"), is_listed, "{value}");
        m.kfs("rm", "x", &["-r"]).ok();
    }
    m.write("x", b"\xff\xfe");
    assert!(!listed("x"), "bytes that are no text");
    m.write("y", "plain");
    raw::set_xattr(&m.path("y"), "user.kfs.type", b"bytes", 0).unwrap();
    assert!(listed("y"));
    assert_eq!(m.get("y"), Value::Bytes(b"plain".to_vec()));
}

#[test]
fn large_text_and_bytes_are_told_apart_at_one_mebibyte() {
    let m = Mount::new();
    let text = "x".repeat(1 << 20);
    m.write("text", &text);
    m.write("bytes", format!("{text}x"));
    let is_bytes = |name: &str| matches!(m.get(name), Value::Bytes(_));
    assert_eq!((is_bytes("text"), is_bytes("bytes")), (false, true));
}

#[test]
fn a_file_committed_at_one_mebibyte_is_classed_again_as_it_grows() {
    let m = Mount::new();
    let mut file = fs::File::create(m.path("f")).unwrap();
    file.write_all("x".repeat(1 << 20).as_bytes()).unwrap();
    // Any child process that closes what it inherited commits the file too.
    drop(file.try_clone().unwrap());
    assert!(matches!(m.get("f"), Value::Text(_)));
    file.write_all(b"x").unwrap();
    drop(file);
    assert!(matches!(m.get("f"), Value::Bytes(_)));
    // A text that the interface made so long stays one.
    m.put("g", &format!("\"{}\"", "x".repeat(1 << 20)));
    m.sh("printf x >> g");
    assert!(matches!(m.get("g"), Value::Text(_)));
}

#[test]
fn content_that_does_not_parse_is_text_until_it_does_again() {
    let m = Mount::new();
    m.put("n", "42");
    m.sh("echo forty-two > n");
    assert_eq!(m.get("n"), edn(r#""forty-two""#));
    m.remount();
    assert_eq!(m.sh("cat n"), "forty-two");
    m.sh("echo 43 > n");
    assert_eq!(m.get("n"), edn("43"));
}

#[test]
fn a_literal_is_kept_until_the_api_writes_another_value() {
    let m = Mount::new();
    m.put("f", "1.5");
    m.put("s", "#{1 2}");
    m.sh("echo 1.50 > f; printf '#{2,\\n 1}' > s");
    assert_eq!((m.get("f"), m.get("s")), (edn("1.5"), edn("#{1 2}")));
    m.remount();
    assert_eq!(m.read("f"), b"1.50\n");
    assert_eq!(m.read("s"), b"#{2,\n 1}");
    m.put("f", "2.5");
    assert_eq!(m.read("f"), b"2.5\n");
}

#[test]
fn a_strict_mount_refuses_what_does_not_parse_and_keeps_the_value() {
    let m = Mount::with_options("strict");
    m.put("n", "42");
    m.put("doc", "{:n 1}");
    let errno = |result: std::io::Result<()>| result.unwrap_err().raw_os_error();
    let error = |name: &str| raw::get_xattr(&m.path(name), "user.kfs.error").unwrap_or_default();
    let save = |name: &str, text: &str| crate::harness::save(&m.path(name), text.as_bytes());
    assert_eq!(errno(save("n", "forty-two\n")), Some(libc::EINVAL));
    assert_eq!(m.get("n"), edn("42"));
    assert!(!error("n").is_empty());
    m.write("t", "one\n");
    assert_eq!(
        errno(fs::rename(m.path("t"), m.path("doc/:n"))),
        Some(libc::EINVAL)
    );
    let typed = raw::set_xattr(&m.path("t"), "user.kfs.type", b"int", 0);
    assert_eq!(errno(typed), Some(libc::EINVAL));
    assert_eq!(m.get("t"), edn(r#""one""#));
    assert_eq!(m.get("doc"), edn("{:n 1}"));
    save("n", "43\n").unwrap();
    assert_eq!(m.get("n"), edn("43"));
    assert!(error("n").is_empty(), "a success did not clear the error");
    m.remount();
    assert_eq!(m.sh("cat n doc/:n"), "43\n1");
}

#[test]
fn an_inferring_mount_types_new_scalars_that_render_as_they_were_written() {
    let m = Mount::with_options("infer");
    for (number, (content, value)) in [
        ("42\n", "42"),
        ("true\n", "true"),
        (":kw\n", ":kw"),
        ("1.5\n", "1.5"),
        ("1.50\n", r#""1.50""#),
        ("042\n", r#""042""#),
        ("42", r#""42""#),
        ("hello world\n", r#""hello world""#),
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("new{number}");
        m.write(&name, content);
        assert_eq!(m.get(&name), edn(value), "{content:?}");
        assert_eq!(m.read(&name), content.as_bytes());
    }
}

#[test]
fn setting_the_type_reads_the_content_again_as_that_type() {
    let m = Mount::new();
    m.write("n", "42\n");
    assert_eq!(m.get("n"), edn(r#""42""#));
    let set = |kind: &str| raw::set_xattr(&m.path("n"), "user.kfs.type", kind.as_bytes(), 0);
    for (kind, value) in [("int", "42"), ("float", "42.0"), ("text", r#""42""#)] {
        set(kind).unwrap();
        assert_eq!(m.get("n"), edn(value));
        assert_eq!(m.read("n"), b"42\n");
    }
    // As for content that is written: text for now, and a keyword once it is one.
    set("keyword").unwrap();
    assert_eq!(m.get("n"), edn(r#""42""#));
    m.write("n", ":kw\n");
    assert_eq!(m.get("n"), edn(":kw"));
    m.write("n", "42\n");
    m.remount();
    assert_eq!(m.get("n"), edn(r#""42""#));
}

#[test]
fn a_directory_becomes_a_vector_and_a_map_again() {
    let m = Mount::new();
    m.sh("mkdir d; echo a > d/0; echo b > d/1; echo beside > d/note");
    raw::set_xattr(&m.path("d"), "user.kfs.type", b"vector", 0).unwrap();
    assert_eq!(m.get("d"), edn(r#"["a" "b"]"#));
    assert_eq!(m.sh("cat d/note d/0"), "beside\na");
    m.remount();
    raw::set_xattr(&m.path("d"), "user.kfs.type", b"map", 0).unwrap();
    assert_eq!(m.names("d"), ["0", "1", "note"]);
    assert_eq!(m.sh("cat d/note d/0"), "beside\na");
}

#[test]
fn a_renamed_file_takes_its_own_type_along_unless_the_target_had_one() {
    let m = Mount::new();
    m.put("int", "42");
    m.put("kw", ":a");
    m.write("plain", "7\n");
    m.sh("mv int moved");
    assert_eq!(m.get("moved"), edn("42"));
    m.sh("mv plain kw");
    assert_eq!(m.get("kw"), edn(r#""7""#), "7 is no keyword: text for now");
    m.sh("echo :b > kw");
    assert_eq!(
        m.get("kw"),
        edn(":b"),
        "the target's declared type came back"
    );
    m.put("a", "1");
    m.put("b", ":x");
    m.sh("mv -T a b");
    assert_eq!(m.get("b"), edn("1"), "the source had a type set by the API");
}
