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
        "123456789112345678901234567890",
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
