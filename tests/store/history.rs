//! Differences between snapshots, and what is brought back from them.

use std::collections::BTreeMap;

use konserve_fs::gc;
use konserve_fs::snapshot::{self, Difference, SnapshotError};
use konserve_fs::store::{CreateOptions, Location, Store, StoreError};
use konserve_fs::tree::convert;
use konserve_fs::value::{Key, Value, edn};

fn memory() -> Store {
    Store::create(&Location::parse("mem:").unwrap(), &CreateOptions::default()).unwrap()
}

fn key(name: &str) -> Key {
    Key::text(name)
}

fn v(text: &str) -> Value {
    edn::parse(text).unwrap()
}

fn path(text: &str) -> Vec<Key> {
    match v(text) {
        Value::Vector(items) => items.iter().map(Key::new).collect(),
        other => panic!("{other:?}"),
    }
}

fn then(store: &Store, name: &str) -> Store {
    snapshot::open(store, name).unwrap()
}

/// The differences as text: path, old value, new value.
fn differences(old: &Store, new: &Store, within: &[Key]) -> Vec<String> {
    let mut found = Vec::new();
    let show = |entry: Option<konserve_fs::tree::Entry>| match entry {
        Some(entry) => edn::print(&convert::to_value(&entry.node, old.pager()).unwrap()),
        None => "-".to_owned(),
    };
    snapshot::diff(old, new, within, &mut |d: Difference| {
        let path: Vec<String> = d.path.iter().map(|key| edn::print(&key.value())).collect();
        found.push(format!(
            "{} {} {}",
            path.join("/"),
            show(d.old),
            show(d.new)
        ));
        Ok(())
    })
    .unwrap();
    found.sort();
    found
}

#[test]
fn a_diff_names_the_paths_that_differ_with_both_values() {
    let s = memory();
    s.assoc(&key("a"), &v("{:x 1 :y {:z [1 2 3]} :e {}}"))
        .unwrap();
    s.assoc(&key("same"), &v("{:x 1}")).unwrap();
    s.assoc(&key("gone"), &v("{:k \"v\"}")).unwrap();
    snapshot::take(&s, "one").unwrap();
    s.assoc_in(&path("[\"a\" :y :z 1]"), &Value::Int(20))
        .unwrap();
    s.dissoc_in(&path("[\"a\" :e]")).unwrap();
    s.dissoc(&key("gone")).unwrap();
    s.assoc(&key("new"), &v("{:n {:m 7} :empty []}")).unwrap();
    // Written, and the same.
    s.assoc(&key("same"), &v("{:x 1}")).unwrap();
    let expected = [
        "\"a\"/:e {} -",
        "\"a\"/:y/:z/1 2 20",
        "\"gone\"/:k \"v\" -",
        "\"new\"/:empty - []",
        "\"new\"/:n/:m - 7",
    ];
    assert_eq!(differences(&then(&s, "one"), &s, &[]), expected);
    snapshot::take(&s, "two").unwrap();
    s.assoc(&key("later"), &Value::Nil).unwrap();
    s.settle().unwrap();
    let (one, two) = (then(&s, "one"), then(&s, "two"));
    assert_eq!(differences(&one, &two, &[]), expected);
    assert_eq!(differences(&one, &two, &path("[\"a\" :y]")), [expected[1]]);
    let backwards = ["\"a\"/:e - {}", "\"a\"/:y/:z/1 20 2"];
    assert_eq!(differences(&two, &one, &[key("a")]), backwards);
    assert!(differences(&one, &one, &[]).is_empty());
    assert_eq!(differences(&two, &s, &[]), ["\"later\" - nil"]);
}

#[test]
fn a_linked_file_that_changed_differs_under_each_of_its_names() {
    let s = memory();
    let (a, b) = (path("[\"a\" \"f\"]"), path("[\"b\" \"d\" \"g\"]"));
    s.assoc_in(&a, &v("\"one\"")).unwrap();
    s.assoc_in(&path("[\"b\" \"d\" \"x\"]"), &Value::Int(1))
        .unwrap();
    s.transact(|tx| {
        let (attrs, now) = (tx.moved_attrs(&a)?, tx.now);
        tx.link(&a, b.clone().into(), attrs, 77, now)
    })
    .unwrap();
    snapshot::take(&s, "one").unwrap();
    s.assoc_in(&a, &v("\"two\"")).unwrap();
    let expected = [
        "\"a\"/\"f\" \"one\" \"two\"",
        "\"b\"/\"d\"/\"g\" \"one\" \"two\"",
    ];
    let one = then(&s, "one");
    assert_eq!(differences(&one, &s, &[]), expected);
    // Restoring one name restores the file.
    snapshot::restore(&s, &one, &b).unwrap();
    assert_eq!(s.get_in(&a).unwrap(), Some(v("\"one\"")));
    assert_eq!(s.find(&a).unwrap().unwrap().link.unwrap().names, 2);
    // Of a directory that is gone both names come back as names of one file of its own.
    s.assoc_in(&path("[\"b\" \"d\" \"h\"]"), &Value::Int(1))
        .unwrap();
    s.transact(|tx| {
        let now = tx.now;
        let attrs = tx.moved_attrs(&b)?;
        tx.remove(path("[\"b\" \"d\" \"h\"]").into(), None)?;
        tx.link(&b, path("[\"b\" \"d\" \"h\"]").into(), attrs, 77, now)
    })
    .unwrap();
    snapshot::take(&s, "three").unwrap();
    s.dissoc_in(&path("[\"b\" \"d\"]")).unwrap();
    s.dissoc(&key("a")).unwrap();
    gc::reclaim(&s).unwrap();
    snapshot::restore(&s, &then(&s, "three"), &path("[\"b\" \"d\"]")).unwrap();
    assert_eq!(
        s.get(&key("b")).unwrap(),
        Some(v("{\"d\" {\"g\" \"one\" \"h\" \"one\" \"x\" 1}}"))
    );
    let names = |p: &[Key]| {
        s.find(p)
            .unwrap()
            .unwrap()
            .link
            .map(|link| (link.id, link.names))
    };
    assert_eq!(names(&b), names(&path("[\"b\" \"d\" \"h\"]")));
    assert_eq!(names(&b).map(|(_, names)| names), Some(2));
}

#[test]
fn restoring_is_one_write_whatever_the_size() {
    let s = memory();
    let large: BTreeMap<Key, Value> = (0..5000)
        .map(|n| (Key::index(n), Value::Text(format!("leaf {n}"))))
        .collect();
    let large = Value::Map(large);
    s.assoc_in(&path("[\"a\" :large]"), &large).unwrap();
    s.assoc_in(&path("[\"a\" :n]"), &Value::Int(1)).unwrap();
    snapshot::take(&s, "one").unwrap();
    let one = then(&s, "one");
    s.assoc_in(&path("[\"a\" :large]"), &Value::Nil).unwrap();
    s.assoc_in(&path("[\"a\" :n]"), &Value::Int(2)).unwrap();
    gc::reclaim(&s).unwrap();
    let (seq, pages) = (s.last_seq(), s.pages_after(None, 10_000).unwrap().len());
    snapshot::restore(&s, &one, &path("[\"a\" :large]")).unwrap();
    assert_eq!(s.last_seq(), seq + 1);
    assert_eq!(s.get_in(&path("[\"a\" :large]")).unwrap(), Some(large));
    assert_eq!(s.get_in(&path("[\"a\" :n]")).unwrap(), Some(Value::Int(2)));
    s.settle().unwrap();
    assert!(s.pages_after(None, 10_000).unwrap().len() < pages + 3);
    // What was not there, and where there is no place for it.
    let error = snapshot::restore(&s, &one, &path("[\"a\" :no]")).unwrap_err();
    assert!(matches!(error, SnapshotError::NotThen { .. }), "{error}");
    s.dissoc(&key("a")).unwrap();
    let error = snapshot::restore(&s, &one, &path("[\"a\" :n]")).unwrap_err();
    let nothing = SnapshotError::Store(StoreError::NothingThere {
        path: String::new(),
    });
    assert_eq!(
        std::mem::discriminant(&error),
        std::mem::discriminant(&nothing)
    );
    snapshot::restore(&s, &one, &[key("a")]).unwrap();
    assert_eq!(differences(&one, &s, &[]), [""; 0]);
}

#[test]
fn a_store_is_rolled_back_with_its_root_and_its_links() {
    let dir = tempfile::tempdir().unwrap();
    let place = Location::Embedded(dir.path().join("s"));
    let s = Store::create(&place, &CreateOptions::default()).unwrap();
    let (a, b) = (path("[\"a\" \"f\"]"), path("[\"b\" \"g\"]"));
    s.assoc_in(&a, &v("\"one\"")).unwrap();
    s.assoc_in(&path("[\"b\" \"x\"]"), &Value::Int(1)).unwrap();
    s.assoc(&key("c"), &Value::Int(1)).unwrap();
    s.transact(|tx| {
        let (attrs, now) = (tx.moved_attrs(&a)?, tx.now);
        tx.link(&a, b.clone().into(), attrs, 77, now)
    })
    .unwrap();
    snapshot::take(&s, "one").unwrap();
    s.dissoc_in(&a).unwrap();
    s.dissoc(&key("b")).unwrap();
    s.assoc(&key("d"), &v("{:x {}}")).unwrap();
    s.assoc(&key("c"), &v("{:y {}}")).unwrap();
    s.settle().unwrap();
    snapshot::take(&s, "two").unwrap();
    let (one, two) = (then(&s, "one"), then(&s, "two"));
    for (back, other) in [(&one, &two), (&two, &one), (&one, &two)] {
        let seq = s.last_seq();
        snapshot::roll_back(&s, back).unwrap();
        assert_eq!(s.last_seq(), seq + 1);
        assert_eq!(differences(back, &s, &[]), [""; 0]);
        assert_eq!(differences(other, &s, &[]), differences(other, back, &[]));
        gc::reclaim(&s).unwrap();
    }
    s.assoc_in(&a, &v("\"two\"")).unwrap();
    assert_eq!(s.get_in(&b).unwrap(), Some(v("\"two\"")));
    drop((one, two));
    let (_, findings) = super::fsck::released(s);
    assert_eq!(findings, []);
}

#[test]
fn the_history_of_a_path_has_the_versions_that_snapshots_have() {
    let s = memory();
    let at = path("[\"a\" :n]");
    snapshot::take(&s, "before").unwrap();
    for n in [1, 1, 2, 3] {
        s.assoc_in(&at, &Value::Int(n)).unwrap();
        if n != 3 {
            let count = snapshot::list(&s).unwrap().len();
            snapshot::take(&s, &format!("s{count}")).unwrap();
        }
    }
    let versions = snapshot::history(&s, &at).unwrap();
    let found: Vec<(Option<String>, Value)> = versions
        .into_iter()
        .map(|version| {
            let entry = version.entry.unwrap();
            let value = convert::to_value(&entry.node, s.pager()).unwrap();
            (version.since.map(|snapshot| snapshot.name), value)
        })
        .collect();
    let named = |name: &str, n| (Some(name.to_owned()), Value::Int(n));
    assert_eq!(
        found,
        [(None, Value::Int(3)), named("s3", 2), named("s1", 1)]
    );
}
