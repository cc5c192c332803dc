//! Files with several names.

use konserve_fs::store::StoreError;
use konserve_fs::tree::{self, Node, Op, links};
use konserve_fs::value::Key;
use konserve_fs::view::{Attr, Time, ViewError};

use super::harness::{CALLER, Side, keys, v};

fn last_write(s: &Side, key: &str) -> Time {
    s.store
        .get_meta(&Key::text(key))
        .unwrap()
        .unwrap()
        .last_write
}

/// How many linked files the store holds.
fn linked_files(s: &Side) -> usize {
    let Some(doc) = s.store.doc(&tree::links_key()).unwrap() else {
        return 0;
    };
    let mut count = 0;
    let map = doc.entry.children().unwrap();
    map.for_each(s.store.pager(), &mut |key, _| {
        count += usize::from(key.as_index().is_some());
        Ok(())
    })
    .unwrap();
    count
}

#[track_caller]
fn are_one(s: &Side, names: &[&str]) -> Attr {
    let attrs: Vec<Attr> = names.iter().map(|name| s.attr(name)).collect();
    for attr in &attrs {
        assert_eq!(attr, &attrs[0]);
    }
    assert_eq!(attrs[0].nlink as usize, names.len());
    attrs[0]
}

#[test]
fn all_names_of_a_file_are_one_inode_also_after_a_crash() {
    let s = Side::new();
    s.mkdir("d");
    s.put("a", "1\n");
    let before = s.attr("a");
    s.link("a", "b").unwrap();
    s.link("b", "d/c").unwrap();
    let attr = are_one(&s, &["a", "b", "d/c"]);
    assert_eq!((attr.ino, attr.mtime), (before.ino, before.mtime));
    assert!(attr.ctime > before.ctime);
    s.put("d/c", "2\n");
    assert_eq!((s.read("a"), s.get("b")), ("2\n".into(), Some(v("\"2\""))));
    let s = s.killed();
    assert_eq!(are_one(&s, &["a", "b", "d/c"]).ino, before.ino);
    s.store.settle().unwrap();
    let s = s.killed();
    assert_eq!(are_one(&s, &["a", "b", "d/c"]).ino, before.ino);
    assert_eq!(s.read("d/c"), "2\n");
}

#[test]
fn a_file_goes_with_its_last_name() {
    let s = Side::new();
    s.put("a", "x");
    s.link("a", "b").unwrap();
    let ctime = s.attr("a").ctime;
    s.unlink("a").unwrap();
    let attr = are_one(&s, &["b"]);
    assert!(attr.ctime > ctime, "the other name sees it");
    assert_eq!(linked_files(&s), 1);
    let fh = s.open("b", libc::O_RDONLY);
    s.unlink("b").unwrap();
    assert_eq!(linked_files(&s), 0);
    assert_eq!(s.read_from(fh), "x");
    assert_eq!(s.view.getattr(attr.ino, Some(fh)).unwrap().nlink, 0);
    let linked = s.view.link(&CALLER, attr.ino, 1, b"again");
    assert!(matches!(linked, Err(ViewError::NotFound { .. })));
    s.close(fh);
}

#[test]
fn what_is_written_through_one_name_is_committed_under_all() {
    let s = Side::new();
    s.assoc("doc", r#"{"in" {"n" 41}}"#);
    s.link("doc/in/n", "n").unwrap();
    let fh = s.open("n", libc::O_RDWR);
    s.write(fh, 0, "42");
    assert_eq!(s.read("doc/in/n"), "42\n", "one working copy");
    s.unlink("n").unwrap();
    s.write(fh, 0, "43");
    s.close(fh);
    assert_eq!(s.get("doc"), Some(v(r#"{"in" {"n" 43}}"#)));
}

#[test]
fn the_api_writes_through_every_name_and_keeps_the_file() {
    let s = Side::new();
    s.assoc("doc", r#"{"a" 1 "b" {"c" 2}}"#);
    s.link("doc/a", "top").unwrap();
    s.link("doc/a", "doc/b/d").unwrap();
    let ino = s.ino("top");
    s.assoc("top", "5");
    assert_eq!(s.get("doc"), Some(v(r#"{"a" 5 "b" {"c" 2 "d" 5}}"#)));
    // The name whose value the write changes counts.
    s.assoc("doc", r#"{"a" 5 "b" {"c" 3 "d" 6}}"#);
    assert_eq!(s.get("top"), Some(v("6")));
    let change = s.store.update_in(&keys("doc/a"), |old| match old {
        Some(konserve_fs::value::Value::Int(n)) => Ok(konserve_fs::value::Value::Int(n + 1)),
        _ => Err("no number"),
    });
    assert_eq!(change.unwrap().old, Some(v("6")));
    assert_eq!(s.get("doc/b/d"), Some(v("7")));
    assert_eq!(are_one(&s, &["top", "doc/a", "doc/b/d"]).ino, ino);
}

#[test]
fn a_map_put_over_a_name_takes_the_place_of_that_name_only() {
    let s = Side::new();
    s.put("a", "x");
    s.link("a", "b").unwrap();
    s.assoc("a", r#"{"k" 1}"#);
    assert_eq!(s.get("a/k"), Some(v("1")));
    assert_eq!(s.read("b"), "x");
    assert_eq!(s.attr("b").nlink, 1);
    s.assoc("c", "nil");
    s.link("c", "d").unwrap();
    assert_eq!(s.get("d/k"), None, "in nil there is nothing");
    s.assoc("d/k", "1");
    assert_eq!(
        (s.get("c"), s.get("d")),
        (Some(v("nil")), Some(v(r#"{"k" 1}"#)))
    );
}

#[test]
fn removing_a_document_removes_its_names_only() {
    let s = Side::new();
    s.assoc("doc", r#"{"a" {"b" "x"} "c" "y" "v" ["z"]}"#);
    for (from, to) in [("doc/a/b", "b"), ("doc/c", "doc/a/c"), ("doc/v/0", "z")] {
        s.link(from, to).unwrap();
    }
    assert_eq!(linked_files(&s), 3);
    s.dissoc("doc");
    assert_eq!((s.read("b"), s.read("z")), ("x\n".into(), "z\n".into()));
    assert_eq!((s.attr("b").nlink, s.attr("z").nlink), (1, 1));
    assert_eq!(linked_files(&s), 2, "the one with both names in it is gone");
    s.assoc("b", r#"{"now" "a map"}"#);
    s.dissoc("z");
    assert_eq!(linked_files(&s), 0);
}

#[test]
fn a_write_moves_the_last_write_of_every_document_that_holds_a_name() {
    let s = Side::new();
    s.assoc("one", r#"{"a" 1}"#);
    s.assoc("two", "{}");
    s.assoc("other", r#"{"a" 1}"#);
    s.link("one/a", "two/b").unwrap();
    let before = ["one", "two", "other"].map(|key| last_write(&s, key));
    s.put("two/b", "2\n");
    let after = ["one", "two", "other"].map(|key| last_write(&s, key));
    assert!(after[0] > before[0] && after[1] > before[1]);
    assert_eq!(after[2], before[2]);
    let times = after;
    let s = s.killed();
    assert_eq!(
        ["one", "two", "other"].map(|key| last_write(&s, key)),
        times
    );
    s.unlink("two/b").unwrap();
    let gone = last_write(&s, "two");
    s.assoc("one/a", "3");
    assert_eq!(last_write(&s, "two"), gone, "it holds no name any more");
}

#[test]
fn names_move_with_the_directory_that_they_are_in() {
    let s = Side::new();
    s.assoc("one", r#"{"d" {"deep" {"a" 1} "x" 2}}"#);
    s.assoc("two", "{}");
    s.link("one/d/deep/a", "b").unwrap();
    s.rename("one/d", "two/e").unwrap();
    are_one(&s, &["two/e/deep/a", "b"]);
    let before = ["one", "two"].map(|key| last_write(&s, key));
    s.assoc("b", "7");
    assert_eq!(last_write(&s, "one"), before[0]);
    assert!(last_write(&s, "two") > before[1]);
    assert_eq!(s.get("two"), Some(v(r#"{"e" {"deep" {"a" 7} "x" 2}}"#)));
    s.rename("two/e", "two/f").unwrap();
    s.store.rename(&keys("two/f"), &keys("top"), false).unwrap();
    s.store.swap(&keys("top"), &keys("one")).unwrap();
    are_one(&s, &["one/deep/a", "b"]);
    s.dissoc("one");
    assert_eq!((s.attr("b").nlink, s.read("b")), (1, "7\n".into()));
    s.dissoc("b");
    assert_eq!(linked_files(&s), 0);
}

#[test]
fn renaming_one_name_to_another_of_the_same_file_does_nothing() {
    let s = Side::new();
    s.put("a", "x");
    s.link("a", "b").unwrap();
    let before = s.attr("a");
    s.rename("a", "b").unwrap();
    assert_eq!(are_one(&s, &["a", "b"]), before);
}

#[test]
fn renaming_over_a_name_leaves_the_others() {
    let s = Side::new();
    s.put("a", "x");
    s.put("new", "y");
    s.link("a", "b").unwrap();
    let (ino, new) = (s.ino("a"), s.ino("new"));
    s.rename("new", "a").unwrap();
    assert_eq!((s.read("a"), s.ino("a")), ("y".into(), new));
    assert_eq!(
        (s.read("b"), s.ino("b"), s.attr("b").nlink),
        ("x".into(), ino, 1)
    );
    s.rename("b", "a").unwrap();
    assert_eq!((s.read("a"), s.ino("a")), ("x".into(), ino));
    let s = s.killed();
    assert_eq!(
        (s.read("a"), s.ino("a"), s.attr("a").nlink),
        ("x".into(), ino, 1)
    );
}

#[test]
fn a_name_keeps_the_type_of_the_file() {
    let s = Side::new();
    s.assoc("v", "[1 :kw 1.5]");
    s.link("v/1", "kw").unwrap();
    s.link("v/1", "v/5").unwrap();
    assert_eq!(s.type_of("kw"), "keyword");
    s.put("v/5", ":other\n");
    assert_eq!(s.get("v"), Some(v("[1 :other 1.5 nil nil :other]")));
    s.set_type("kw", "text").unwrap();
    assert_eq!(s.get("v/1"), Some(v("\":other\"")));
    s.set_type("v", "map").unwrap();
    s.set_type("v", "vector").unwrap();
    are_one(&s, &["kw", "v/1", "v/5"]);
}

#[test]
fn a_directory_has_one_name() {
    let s = Side::new();
    s.mkdir("d");
    s.put("f", "x");
    assert!(matches!(
        s.link("d", "e"),
        Err(ViewError::NotPermitted { .. })
    ));
    assert!(matches!(s.link("f", "d"), Err(ViewError::Exists { .. })));
}

#[test]
fn a_file_that_is_not_committed_yet_is_with_its_second_name() {
    let s = Side::new();
    let fh = s.create("a");
    s.write(fh, 0, "x");
    s.link("a", "b").unwrap();
    assert_eq!(s.get("b"), Some(v("\"x\"")));
    s.write(fh, 1, "y");
    s.unlink("a").unwrap();
    s.close(fh);
    assert_eq!((s.get("a"), s.read("b")), (None, "xy".into()));
}

#[test]
fn the_kernel_hears_of_all_names_when_the_api_writes_through_one() {
    let s = Side::new();
    s.assoc("d", r#"{"a" 1}"#);
    s.link("d/a", "b").unwrap();
    let d = s.ino("d");
    s.attr("b");
    let told = s.listen();
    s.assoc("b", "2");
    for name in [(d, "a".to_owned()), (1, "b".to_owned())] {
        assert!(told.lock().contains(&name), "{name:?} of {:?}", told.lock());
    }
}

#[test]
fn an_open_file_stays_when_the_api_removes_one_of_its_names() {
    let s = Side::new();
    s.put("a", "x");
    s.link("a", "b").unwrap();
    let fh = s.open("a", libc::O_RDWR);
    s.dissoc("a");
    s.write(fh, 0, "y");
    s.close(fh);
    assert!(matches!(s.try_lookup("a"), Err(ViewError::NotFound { .. })));
    assert_eq!((s.read("b"), s.attr("b").nlink), ("y".into(), 1));
}

#[test]
fn a_reader_keeps_the_file_when_the_api_removes_one_of_its_names() {
    let s = Side::new();
    s.put("a", "x");
    s.link("a", "b").unwrap();
    let (ino, ctime) = (s.ino("a"), s.attr("a").ctime);
    let fh = s.open("a", libc::O_RDONLY);
    s.dissoc("b");
    let attr = s.view.getattr(ino, Some(fh)).unwrap();
    assert_eq!((attr.nlink, s.ino("a")), (1, ino));
    assert!(attr.ctime > ctime);
    s.close(fh);
}

#[test]
fn a_name_whose_file_is_missing_is_damage_and_not_absence() {
    let s = Side::new();
    s.put("a", "x");
    s.link("a", "b").unwrap();
    let id = s.ino("a");
    let taken = s.store.transact(|tx| {
        let path = links::file(id);
        tx.push(Op::Take { path, time: None })
    });
    taken.unwrap();
    assert!(matches!(
        s.store.get(&Key::text("b")),
        Err(StoreError::Tree { .. })
    ));
    let s = s.killed();
    assert!(matches!(s.try_lookup("b"), Err(ViewError::Damaged { .. })));
    let doc = s.store.doc(&Key::text("b")).unwrap().unwrap();
    assert!(matches!(doc.entry.node, Node::Ref(found) if found == id));
}
