//! Checks and repairs of a store with snapshots.

use konserve_fs::backend::Precondition;
use konserve_fs::snapshot;
use konserve_fs::store::{ConnectOptions, Store};
use konserve_fs::value::{Key, Value};

use super::fsck::{checked, long, new_page, released, repaired, soon, spoil, store};

fn key(name: &str) -> Key {
    Key::text(name)
}

/// Addresses of the records kept for snapshots.
fn kept(store: &Store) -> Vec<Vec<u8>> {
    store.settle().unwrap();
    let backend = store.pager().backend();
    let mut all = backend.list(b"r", None, usize::MAX, soon()).unwrap();
    all.retain(|address| address[1..9] != [0; 8]);
    all
}

/// A store with the snapshots `one` and `two`; returns the page of what only `one` has.
fn two(dir: &tempfile::TempDir) -> (Store, Vec<u8>) {
    let s = store(dir);
    let page = new_page(&s, || s.assoc(&key("a"), &long("one")).unwrap());
    s.assoc(&key("b"), &Value::Int(1)).unwrap();
    snapshot::take(&s, "one").unwrap();
    s.assoc(&key("a"), &long("two")).unwrap();
    s.settle().unwrap();
    snapshot::take(&s, "two").unwrap();
    s.dissoc(&key("b")).unwrap();
    s.assoc(&key("c"), &Value::Int(1)).unwrap();
    s.settle().unwrap();
    (s, page)
}

#[test]
fn a_store_with_snapshots_is_clean_in_use_and_not() {
    let dir = tempfile::tempdir().unwrap();
    let (s, _) = two(&dir);
    assert_eq!(checked(&s).1, []);
    let (report, findings) = released(s);
    assert_eq!(
        (findings, report.garbage, report.complete),
        (vec![], 0, true)
    );
}

#[test]
fn a_damaged_page_of_a_snapshot_is_found_and_taken_out_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let (s, page) = two(&dir);
    spoil(&s, &page);
    let (_, findings) = checked(&s);
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert_eq!(findings[0].path, [key("a")]);
    assert!(findings[0].what.contains("snapshot"), "{findings:?}");
    let (s, cuts, _) = repaired(s);
    assert_eq!(cuts, [[key("a")]]);
    let one = snapshot::open(&s, "one").unwrap();
    assert_eq!(one.get(&key("a")).unwrap(), None);
    assert_eq!(one.get(&key("b")).unwrap(), Some(Value::Int(1)));
    assert_eq!(s.get(&key("a")).unwrap(), Some(long("two")));
    drop(one);
    assert_eq!(released(s).1, []);
}

#[test]
fn a_damaged_record_of_a_snapshot_is_never_something_else() {
    let dir = tempfile::tempdir().unwrap();
    let (s, _) = two(&dir);
    let records = kept(&s);
    for address in &records {
        spoil(&s, address);
    }
    for (name, keys) in [("one", ["a", "b"]), ("two", ["b", "c"])] {
        let shown = snapshot::open(&s, name).unwrap();
        for k in keys {
            assert!(shown.get(&key(k)).is_err(), "{k} in {name}");
        }
    }
    let findings = checked(&s).1;
    assert_eq!(findings.len(), records.len(), "{findings:?}");
    let (s, _, _) = repaired(s);
    let two = snapshot::open(&s, "two").unwrap();
    assert_eq!(two.get(&key("a")).unwrap(), Some(long("two")));
    assert_eq!(two.get(&key("c")).unwrap(), None);
}

#[test]
fn a_record_of_a_snapshot_that_is_lost_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let (s, _) = two(&dir);
    let backend = s.pager().backend();
    for address in kept(&s) {
        backend.delete(&address, Precondition::Any, soon()).unwrap();
    }
    let one = snapshot::open(&s, "one").unwrap();
    let error = one.get(&key("a")).unwrap_err().to_string();
    assert!(error.contains("missing"), "{error}");
    drop(one);
    let (_, findings) = released(s);
    assert!(
        findings.iter().any(|f| f.path == [key("a")]),
        "{findings:?}"
    );
}

#[test]
fn snapshots_whose_list_is_lost_come_back_under_other_names() {
    let dir = tempfile::tempdir().unwrap();
    let (s, _) = two(&dir);
    let list = [&[b'r', 0, 0, 0, 0, 0, 0, 0, 0][..], &[0x18, 2]].concat();
    spoil(&s, &list);
    let (s, _, _) = repaired(s);
    let names = snapshot::list(&s).unwrap();
    assert_eq!(names.len(), 2, "{names:?}");
    let one = snapshot::open(&s, &names[0].name).unwrap();
    assert_eq!(one.get(&key("a")).unwrap(), Some(long("one")));
    drop(one);
    assert_eq!(released(s).1, []);
}

#[test]
fn a_store_whose_list_of_snapshots_is_damaged_can_be_read() {
    let dir = tempfile::tempdir().unwrap();
    let (s, _) = two(&dir);
    let list = [&[b'r', 0, 0, 0, 0, 0, 0, 0, 0][..], &[0x18, 2]].concat();
    spoil(&s, &list);
    let location = s.location().clone();
    s.release().unwrap();
    // What a fold would replace a snapshot may have: that is not known.
    let refused = Store::connect(&location, &ConnectOptions::default()).unwrap_err();
    assert!(
        refused.to_string().contains("list of snapshots"),
        "{refused}"
    );
    let reading = ConnectOptions {
        read_only: true,
        ..ConnectOptions::default()
    };
    let s = Store::connect(&location, &reading).unwrap();
    assert_eq!(s.get(&key("a")).unwrap(), Some(long("two")));
    assert!(snapshot::list(&s).is_err());
    assert!(snapshot::open(&s, "one").is_err());
}
