//! Types survive every way in which programs save a file.

use std::fmt::Write as _;
use std::fs;

use konserve_fs::value::{Value, edn as edn_text};

use crate::harness::{Mount, edn};
use crate::raw;

/// A value of a type, and another one that differs by one substitution in the text.
struct Row {
    /// The type's name in the table.
    name: &'static str,
    /// How the first value comes into the store.
    start: Start,
    /// `sed` would say `s/from/to/`.
    from: &'static str,
    to: &'static str,
    /// The second value.
    then: Then,
    /// Whether the file ends without a newline.
    no_newline: bool,
}

enum Start {
    /// By `kfs put`.
    Put(&'static str),
    /// By `kfs put` of bytes.
    PutBytes(&'static [u8]),
    /// By writing a file.
    Write(&'static [u8]),
}

enum Then {
    Edn(&'static str),
    Bytes(&'static [u8]),
}

impl Then {
    fn value(&self) -> Value {
        match self {
            Self::Edn(text) => edn(text),
            Self::Bytes(bytes) => Value::Bytes(bytes.to_vec()),
        }
    }
}

const fn put(
    name: &'static str,
    start: &'static str,
    from: &'static str,
    to: &'static str,
    then: &'static str,
) -> Row {
    Row {
        name,
        start: Start::Put(start),
        from,
        to,
        then: Then::Edn(then),
        no_newline: false,
    }
}

const ROWS: &[Row] = &[
    put("nil", "nil", "nil", "nil", "nil"),
    put("bool", "true", "true", "false", "false"),
    put("int", "42", "42", "43", "43"),
    put(
        "bigint",
        "123456789012345678901234567890",
        "890",
        "891",
        "123456789012345678901234567891",
    ),
    put("float", "1.5", "1", "2", "2.5"),
    put("float-to-integral", "1.5", "1.5", "3", "3.0"),
    put("ratio", "1/2", "2", "3", "1/3"),
    put("decimal", "1.50M", "1", "2", "2.50M"),
    put("char", r"\a", "a", "b", r"\b"),
    put("keyword", ":user/name", "name", "nick", ":user/nick"),
    put("symbol", "foo", "foo", "bar", "bar"),
    put(
        "uuid",
        r#"#uuid "123e4567-e89b-12d3-a456-426614174000""#,
        "4000",
        "4001",
        r#"#uuid "123e4567-e89b-12d3-a456-426614174001""#,
    ),
    put(
        "inst",
        r#"#inst "2024-01-01T00:00:00.000-00:00""#,
        "2024",
        "2025",
        r#"#inst "2025-01-01T00:00:00.000-00:00""#,
    ),
    put("list", "(1 2)", "2", "3", "(1 3)"),
    put("set", "#{1 2}", "2", "3", "#{1 3}"),
    put("tagged", "#my/tag 1", "1", "2", "#my/tag 2"),
    put("text", r#""abc""#, "c", "d", r#""abd""#),
    put("text-of-digits", r#""42""#, "42", "43", r#""43""#),
    Row {
        name: "text-without-newline",
        start: Start::Write(b"abc"),
        from: "c",
        to: "d",
        then: Then::Edn(r#""abd""#),
        no_newline: true,
    },
    Row {
        name: "bytes",
        start: Start::PutBytes(b"\0\xffabc\n"),
        from: "c",
        to: "d",
        then: Then::Bytes(b"\0\xffabd\n"),
        no_newline: false,
    },
    Row {
        name: "bytes-that-could-be-text",
        start: Start::PutBytes(b"abc\n"),
        from: "c",
        to: "d",
        then: Then::Bytes(b"abd\n"),
        no_newline: false,
    },
];

/// A way of saving: a shell command that replaces `$F` by `$R` in the file `$f`.
struct Way {
    name: &'static str,
    command: &'static str,
    /// The program ends the last line if it was not ended.
    adds_newline: bool,
}

const fn way(name: &'static str, command: &'static str) -> Way {
    Way {
        name,
        command,
        adds_newline: false,
    }
}

const WAYS: &[Way] = &[
    way("sed", r#"sed -i "s/$F/$R/" "$f""#),
    Way {
        // Without `backupskip` vim saves differently below /tmp: in place.
        name: "vim",
        command: r#"vim -N -u NONE -i NONE -es -c 'set backupskip=' -c "%s/$F/$R/" -c wq "$f""#,
        adds_newline: true,
    },
    way(
        "move",
        r#"sed "s/$F/$R/" "$f" > "$f.tmp"; mv "$f.tmp" "$f""#,
    ),
    way(
        "redirect",
        r#"sed "s/$F/$R/" "$f" > "$T/new"; cat "$T/new" > "$f""#,
    ),
    way(
        "copy",
        r#"sed "s/$F/$R/" "$f" > "$T/new"; cp "$T/new" "$f""#,
    ),
    way(
        "copy-anew",
        r#"sed "s/$F/$R/" "$f" > "$T/new"; cp --remove-destination "$T/new" "$f""#,
    ),
    way(
        "rsync",
        r#"sed "s/$F/$R/" "$f" > "$T/new"; rsync -I "$T/new" "$f""#,
    ),
    way(
        "in-place",
        r#"sed "s/$F/$R/" "$f" > "$T/new"
           dd if="$T/new" of="$f" conv=notrunc status=none
           truncate -s "$(stat -c %s "$T/new")" "$f""#,
    ),
    Way {
        name: "ed",
        command: r#"printf ',s/%s/%s/\nw\nq\n' "$F" "$R" | ed -s "$f" 2> /dev/null"#,
        adds_newline: true,
    },
    way("perl", r#"perl -pi -e "s/$F/$R/" "$f""#),
];

fn kfs_type(m: &Mount, name: &str) -> Option<Vec<u8>> {
    raw::get_xattr(&m.path(name), "user.kfs.type").ok()
}

fn replace(bytes: &[u8], from: &str, to: &str) -> Vec<u8> {
    let at = bytes
        .windows(from.len())
        .position(|window| window == from.as_bytes());
    let at = at.unwrap_or_else(|| panic!("no {from} in {}", bytes.escape_ascii()));
    [&bytes[..at], to.as_bytes(), &bytes[at + from.len()..]].concat()
}

/// A file of the table while it goes through it.
struct Case<'a> {
    name: String,
    row: &'a Row,
    way: &'a Way,
    kind: Option<Vec<u8>>,
    bytes: Vec<u8>,
}

/// What is wrong with a file after it was saved, if anything.
fn complaint(m: &Mount, case: &Case) -> Option<String> {
    let bytes = m.read(&case.name);
    if bytes != case.bytes {
        return Some(format!("content {}", bytes.escape_ascii()));
    }
    let text = m.kfs::<&str>("get", &case.name, &[]).text();
    if edn_text::parse(&text).ok() != Some(case.row.then.value()) {
        return Some(format!("value {text}"));
    }
    let kind = kfs_type(m, &case.name);
    let show = |kind: &Option<Vec<u8>>| kind.as_deref().map(|kind| kind.escape_ascii().to_string());
    (kind != case.kind).then(|| format!("type {:?}, was {:?}", show(&kind), show(&case.kind)))
}

/// Puts the first value of `row` into the store and says how it looks as a file.
fn start<'a>(m: &Mount, dir: &str, row: &'a Row, way: &'a Way) -> Case<'a> {
    let name = format!("{dir}{}.{}", row.name, way.name);
    match row.start {
        Start::Put(text) => m.put(&name, text),
        Start::PutBytes(bytes) => {
            let file = m.sandbox.path("bytes");
            fs::write(&file, bytes).unwrap();
            let file = file.to_str().unwrap();
            m.kfs("put", &name, &["--file", file, "--as", "bytes"]).ok();
        }
        Start::Write(bytes) => m.write(&name, bytes),
    }
    let kind = kfs_type(m, &name);
    let mut bytes = replace(&m.read(&name), row.from, row.to);
    if row.no_newline && way.adds_newline {
        bytes.push(b'\n');
    }
    Case {
        name,
        row,
        way,
        kind,
        bytes,
    }
}

#[test]
fn every_type_survives_every_way_of_saving_and_a_remount() {
    let m = Mount::new();
    m.sh("mkdir nested");
    let mut cases = Vec::new();
    for dir in ["", "nested/"] {
        for row in ROWS {
            for way in WAYS {
                cases.push(start(&m, dir, row, way));
            }
        }
    }
    for case in &cases {
        let (from, to) = (case.row.from, case.row.to);
        let (name, command) = (&case.name, case.way.command);
        m.sh(&format!("F='{from}' R='{to}' f='{name}'\n{command}"));
    }
    let before: Vec<Option<String>> = cases.iter().map(|case| complaint(&m, case)).collect();
    m.remount();
    let after: Vec<Option<String>> = cases.iter().map(|case| complaint(&m, case)).collect();

    let mut table = String::new();
    for (index, row) in ROWS.iter().enumerate() {
        write!(table, "{:26}", row.name).unwrap();
        for (column, way) in WAYS.iter().enumerate() {
            let bad = [0, ROWS.len() * WAYS.len()].map(|offset| {
                let at = offset + index * WAYS.len() + column;
                before[at].is_some() || after[at].is_some()
            });
            let mark = if bad == [false, false] { "ok" } else { "BAD" };
            write!(
                table,
                "{:>10}",
                format!("{}:{mark}", &way.name[..way.name.len().min(6)])
            )
            .unwrap();
        }
        table.push('\n');
    }
    println!("{table}");
    let wrong: Vec<String> = cases
        .iter()
        .zip(before.iter().zip(&after))
        .filter_map(|(case, (before, after))| match (before, after) {
            (Some(what), _) => Some(format!("{}: {what}", case.name)),
            (None, Some(what)) => Some(format!("{}, after the remount: {what}", case.name)),
            (None, None) => None,
        })
        .collect();
    assert!(
        wrong.is_empty(),
        "{table}\n{} wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

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
        m.kfs::<&str>("rm", "x", &[]).ok();
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
    for (kind, value) in [("int", "42"), ("float", "42.0"), ("text", r#""42""#)] {
        raw::set_xattr(&m.path("n"), "user.kfs.type", kind.as_bytes(), 0).unwrap();
        assert_eq!(m.get("n"), edn(value));
        assert_eq!(m.read("n"), b"42\n");
    }
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
