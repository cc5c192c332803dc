//! Vectors as directories.

use konserve_fs::view::ViewError;

use super::harness::{Side, v};

#[test]
fn a_map_with_a_name_far_beyond_is_made_no_vector() {
    let s = Side::new();
    s.mkdir("d");
    s.put("d/0", "a");
    s.put("d/99999999999", "far");
    assert!(matches!(
        s.set_type("d", "vector"),
        Err(ViewError::TooBig { .. })
    ));
    assert_eq!(s.type_of("d"), "map");
    assert_eq!(s.names("d"), ["0", "99999999999"]);
    s.unlink("d/99999999999").unwrap();
    s.put("d/70", "near");
    s.set_type("d", "vector").unwrap();
    assert_eq!(s.read("d/70"), "near");
}

#[test]
fn giving_a_directory_the_type_that_it_has_changes_nothing() {
    let s = Side::new();
    s.mkdir("d");
    let fh = s.create("d/f");
    let before = s.attr("d");
    s.set_type("d", "map").unwrap();
    assert_eq!(s.attr("d"), before);
    assert_eq!(
        s.get("d"),
        Some(v("{}")),
        "what is created is committed no sooner"
    );
    s.close(fh);
}

#[test]
fn a_file_written_while_its_directory_becomes_a_vector_keeps_its_number() {
    let s = Side::new();
    s.assoc("d", r#"{"0" "a"}"#);
    let ino = s.ino("d/0");
    let fh = s.open("d/0", libc::O_WRONLY);
    s.write(fh, 0, "b");
    s.set_type("d", "vector").unwrap();
    s.close(fh);
    let s = s.killed();
    assert_eq!((s.ino("d/0"), s.get("d")), (ino, Some(v(r#"["b"]"#))));
}

#[test]
fn a_hole_that_the_api_writes_nil_to_stays_one() {
    let s = Side::new();
    s.assoc("d", "[]");
    s.put("d/3", "x");
    let before = s.attr("d");
    s.assoc("d", r#"[nil nil nil "x"]"#);
    assert_eq!((s.names("d"), s.attr("d")), (vec!["3".into()], before));
    s.assoc("d", r#"[nil 1 nil nil]"#);
    assert_eq!(s.get("d"), Some(v("[nil 1 nil nil]")));
    assert_eq!(s.names("d"), ["1", "3"]);
}
