//! Names and keys: every name that a program creates is shown back, every key can be reached.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use crate::harness::{Mount, edn};

/// Names that are, or look like, what a key that is no text is shown as.
const ESCAPES: &[&str] = &[
    "100%.txt",
    "%",
    "%%",
    "%shello",
    "%s",
    "%s.",
    "%i42",
    "%i042",
    "%i-42",
    "%i-0",
    "%i",
    "%i99999999999999999999",
    "%u123e4567-e89b-12d3-a456-426614174000",
    "%u123E4567-e89b-12d3-a456-426614174000",
    "%unothing",
    "%b00ff",
    "%b00FF",
    "%b0",
    "%etrue",
    "%enil",
    "%e1.5",
    "%e(1 2)",
    "%e%28",
    ":kw",
    ":user%2Fname",
    ":user%2fname",
    ":",
    "::a",
    ":a b",
    "42",
    "nil",
    ".kfs-not",
];

#[test]
fn every_byte_may_be_in_a_name() {
    let m = Mount::new();
    fs::create_dir(m.path("d")).unwrap();
    let mut expected: Vec<OsString> = Vec::new();
    for byte in (1..=255u8).filter(|byte| *byte != b'/') {
        for name in [vec![byte], vec![b'x', byte], vec![byte, b'x', byte]] {
            if name != b"." && name != b".." {
                expected.push(OsString::from_vec(name));
            }
        }
    }
    expected.sort();
    expected.dedup();
    for name in &expected {
        m.write(m.path("d").join(name), name.as_bytes());
    }
    for _ in 0..2 {
        assert_eq!(m.names("d"), expected);
        for name in &expected {
            assert_eq!(m.read(m.path("d").join(name)), name.as_bytes(), "{name:?}");
        }
        m.remount();
    }
}

#[test]
fn a_name_that_looks_like_an_escape_is_shown_back_unchanged() {
    let m = Mount::new();
    fs::create_dir(m.path("d")).unwrap();
    let mut expected: Vec<OsString> = ESCAPES.iter().map(OsString::from).collect();
    expected.sort();
    for name in ESCAPES {
        m.write(name, name);
        m.write(m.path("d").join(name), name);
    }
    for _ in 0..2 {
        assert_eq!(m.names("d"), expected);
        for name in ESCAPES {
            assert_eq!(m.read(name), name.as_bytes());
            assert_eq!(m.read(m.path("d").join(name)), name.as_bytes());
        }
        m.remount();
    }
}

#[test]
fn a_name_is_the_key_that_it_is_shown_for() {
    let m = Mount::new();
    let keys = [
        (":kw", ":kw"),
        (":user%2Fname", ":user/name"),
        ("%i42", "42"),
        ("%i-7", "-7"),
        ("%i042", r#""%i042""#),
        ("plain", r#""plain""#),
        ("100%.txt", r#""100%.txt""#),
        (
            "%u123e4567-e89b-12d3-a456-426614174000",
            r#"#uuid "123e4567-e89b-12d3-a456-426614174000""#,
        ),
    ];
    m.sh("mkdir d");
    for (name, key) in keys {
        m.write(m.path("d").join(name), "x");
        assert_eq!(m.get("d"), edn(&format!(r#"{{{key} "x"}}"#)), "{name}");
        m.sh("rm d/*");
    }
}

#[test]
fn every_key_has_a_name_by_which_it_can_be_read_and_removed() {
    let m = Mount::new();
    let long = "k".repeat(300);
    let keys = [
        r#""""#,
        r#"".""#,
        r#""..""#,
        r#""a/b""#,
        r#""%i42""#,
        r#"":kw""#,
        "42",
        "-1",
        "123456789012345678901234567890",
        ":a",
        ":a/b",
        "sym",
        "a/b",
        r"\x",
        "nil",
        "true",
        "1.5",
        "1/2",
        "1.50M",
        "##NaN",
        "[1 2]",
        "(1)",
        "#{1}",
        "{:a 1}",
        "#my/tag 1",
        r#"#uuid "123e4567-e89b-12d3-a456-426614174000""#,
        r#"#inst "2024-01-01T00:00:00Z""#,
        &format!("{long:?}"),
        &format!("[{long:?}]"),
        &format!(":{long}"),
    ];
    let map: String = keys.iter().map(|key| format!("{key} 42 ")).collect();
    m.put("d", &format!("{{{map}}}"));
    let names = m.names("d");
    assert_eq!(names.len(), keys.len(), "{names:?}");
    for name in &names {
        assert!(name.len() <= 255, "{name:?}");
        assert_eq!(m.read(m.path("d").join(name)), b"42\n", "{name:?}");
        m.write(m.path("d").join(name), "43");
    }
    m.remount();
    let map: String = keys.iter().map(|key| format!("{key} 43 ")).collect();
    assert_eq!(m.get("d"), edn(&format!("{{{map}}}")));
    for name in &names {
        fs::remove_file(m.path("d").join(name)).unwrap();
    }
    assert_eq!(m.get("d"), edn("{}"));
}

#[test]
fn keys_of_every_type_stand_at_the_top_too() {
    let m = Mount::new();
    let paths = [
        ":kw", ":a%2Fb", "%i42", "%b00ff", "%enil", "%s", "%s.", "plain",
    ];
    for path in paths {
        m.put(path, "{:x 1}");
    }
    for _ in 0..2 {
        let mut expected = paths.map(OsString::from);
        expected.sort();
        assert_eq!(m.names(""), expected);
        for path in paths {
            assert_eq!(m.get(path), edn("{:x 1}"));
            assert_eq!(m.read(m.path(path).join(":x")), b"1\n");
        }
        m.remount();
    }
}

#[test]
fn a_name_has_255_bytes_at_most() {
    let m = Mount::new();
    for name in ["n".repeat(255), "é".repeat(127), "%".repeat(255)] {
        m.write(&name, "x");
        assert_eq!(m.read(&name), b"x");
    }
    let name = OsStr::from_bytes(&[0xfe; 255]);
    m.write(name, "x");
    m.remount();
    assert_eq!(m.read(name), b"x");
    assert_eq!(m.names("").len(), 4);
    let error = fs::write(m.path("n".repeat(256)), b"x").unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::ENAMETOOLONG));
}
