//! Types of files: kept, inherited, refused.

use konserve_fs::view::{ViewError, ViewOptions};

use super::harness::{CALLER, Side, v};

fn strict() -> Side {
    Side::with(ViewOptions {
        strict: true,
        ..ViewOptions::default()
    })
}

#[test]
fn a_truncation_that_strict_types_refuse_has_not_happened() {
    let s = strict();
    s.assoc("n", "42");
    let before = s.attr("n");
    assert!(matches!(s.truncate("n", 0), Err(ViewError::Invalid { .. })));
    assert_eq!(s.attr("n"), before);
    assert_eq!(s.read("n"), "42\n");
    assert_eq!(s.view.known()[3], 0, "nothing to commit");

    let fh = s.open("n", libc::O_RDWR);
    s.write(fh, 0, "77");
    assert!(matches!(
        s.truncate("n", 100),
        Err(ViewError::Invalid { .. })
    ));
    assert_eq!(s.read_from(fh), "77\n");
    s.close(fh);
    assert_eq!(s.get("n"), Some(v("77")));
}

#[test]
fn a_typed_file_written_without_a_newline_is_read_without_one() {
    let s = Side::new();
    for (path, value, written) in [("n", "42", "43"), ("k", ":a", ":b"), ("l", "(1)", "(2)")] {
        s.assoc(path, value);
        s.put(path, written);
        assert_eq!(s.get(path), Some(v(written)));
        assert_eq!(s.read(path), written);
        assert_eq!(s.attr(path).size, written.len() as u64);
    }
    let s = s.killed();
    assert_eq!(s.read("n"), "43");
    s.assoc("n", "44");
    assert_eq!(s.read("n"), "44\n", "written by the API, it is printed");
}

#[test]
fn a_vector_without_its_type_is_a_map() {
    let s = Side::new();
    s.assoc("d", r#"["a" {"b" 1}]"#);
    let (d, child) = (s.ino("d"), s.ino("d/1"));
    s.view.removexattr(&CALLER, d, b"user.kfs.type").unwrap();
    assert_eq!(s.get("d"), Some(v(r#"{"0" "a" "1" {"b" 1}}"#)));
    assert_eq!(s.ino("d/1"), child);
    assert!(matches!(
        s.view.removexattr(&CALLER, d, b"user.kfs.type"),
        Err(ViewError::NoAttribute { .. })
    ));
}

#[test]
fn a_freed_name_leaves_the_type_that_stood_there_and_not_what_became_of_it() {
    let s = Side::new();
    s.assoc("n", "1");
    s.assoc("text", r#""hello""#);
    s.put("tmp", "2\n");
    s.rename("tmp", "n").unwrap();
    assert_eq!(s.get("n"), Some(v("2")), "the target's type");
    s.put("tmp", "3\n");
    assert_eq!(
        s.get("tmp"),
        Some(v(r#""3""#)),
        "another temporary file of the same name"
    );
    s.rename("tmp", "text").unwrap();
    assert_eq!(s.get("text"), Some(v(r#""3""#)));
}

#[test]
fn only_what_freed_a_name_last_leaves_its_type() {
    let s = Side::new();
    s.assoc("n", "1");
    s.unlink("n").unwrap();
    s.mkdir("n");
    s.rmdir("n").unwrap();
    s.put("n", "2\n");
    assert_eq!(s.get("n"), Some(v(r#""2""#)));
    s.assoc("m", "1");
    s.rename("m", "elsewhere").unwrap();
    s.put("n", "two\n");
    s.rename("n", "m").unwrap();
    s.unlink("m").unwrap();
    s.put("m", "3\n");
    assert_eq!(s.get("m"), Some(v(r#""3""#)));
}

#[test]
fn a_new_file_moved_to_a_freed_name_takes_the_type_that_it_parses_as() {
    for s in [Side::new(), strict()] {
        for name in ["n", "m", "b"] {
            s.assoc(name, "1");
            s.rename(name, "backup").unwrap();
        }
        s.put("tmp", "2\n");
        s.rename("tmp", "n").unwrap();
        assert_eq!(s.get("n"), Some(v("2")));
        s.put("tmp", "two\n");
        s.rename("tmp", "m").unwrap();
        s.put("m", "3\n");
        assert_eq!(s.get("m"), Some(v(r#""3""#)), "it was not of the type");
        // A type of its own.
        s.assoc("kw", ":k");
        s.rename("kw", "b").unwrap();
        assert_eq!(s.get("b"), Some(v(":k")));
    }
}

#[test]
fn what_strict_types_refuse_may_be_replaced_while_it_is_open() {
    let s = strict();
    s.assoc("n", "42");
    s.put("good", "43\n");
    let fh = s.open("n", libc::O_WRONLY | libc::O_TRUNC);
    s.write(fh, 0, "no number");
    assert!(s.view.flush(fh).is_err());
    s.rename("good", "n").unwrap();
    assert_eq!(s.get("n"), Some(v("43")));
    s.view.release(fh).unwrap();
    assert_eq!(s.get("n"), Some(v("43")));
}
