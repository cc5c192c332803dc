//! Which operations move which times.

use super::harness::Side;

#[test]
fn the_root_directory_keeps_its_birth() {
    let s = Side::new();
    let born = s.attr("").crtime;
    s.mkdir("d");
    assert_eq!(s.attr("").crtime, born);
    assert!(s.attr("").mtime > born);
    assert_eq!(s.killed().attr("").crtime, born);
}
