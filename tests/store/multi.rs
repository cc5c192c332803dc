//! Several keys in one step, and writes on a condition.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use konserve_fs::store::{Condition, ConnectOptions, CreateOptions, Location, Store, StoreError};
use konserve_fs::value::{Key, Value};

fn key(name: &str) -> Key {
    Key::text(name)
}

fn keys(names: &[&str]) -> Vec<Key> {
    names.iter().map(|name| key(name)).collect()
}

/// A store of every kind.
fn every(dir: &tempfile::TempDir) -> Vec<Store> {
    let places = [
        Location::parse("mem:").unwrap(),
        Location::Embedded(dir.path().join("embedded")),
        Location::File(dir.path().join("file")),
    ];
    let create = |place| Store::create(place, &CreateOptions::default()).unwrap();
    places.iter().map(create).collect()
}

#[test]
fn several_keys_are_put_got_and_removed_together() {
    let dir = tempfile::tempdir().unwrap();
    for s in every(&dir) {
        assert!(s.is_multi_key());
        let values = BTreeMap::from([(key("a"), Value::Int(1)), (key("b"), Value::Nil)]);
        s.multi_assoc(&values).unwrap();
        let found = s.multi_get(&keys(&["b", "missing", "a", "a"])).unwrap();
        assert_eq!(found, values);
        let gone = s.multi_dissoc(&keys(&["a", "missing", "a"])).unwrap();
        assert_eq!(
            gone,
            BTreeMap::from([(key("a"), true), (key("missing"), false)])
        );
        assert_eq!(s.multi_get(&keys(&["a", "b"])).unwrap().len(), 1);
        s.multi_assoc(&BTreeMap::new()).unwrap();
        assert_eq!(s.multi_dissoc(&[]).unwrap(), BTreeMap::new());
    }
}

#[test]
fn if_one_of_several_keys_cannot_be_put_none_is() {
    let dir = tempfile::tempdir().unwrap();
    for s in every(&dir) {
        s.assoc(&key("a"), &Value::Int(1)).unwrap();
        let deep = (0..5000).fold(Value::Nil, |v, _| Value::Vector(vec![v]));
        let values = [
            (key("a"), Value::Int(2)),
            (key("b"), Value::Int(2)),
            (key("c"), deep),
        ];
        let refused = s
            .multi_assoc(values.iter().map(|(k, v)| (k, v)))
            .unwrap_err();
        assert!(refused.to_string().contains("\"c\""), "{refused}");
        let found = s.multi_get(&keys(&["a", "b", "c"])).unwrap();
        assert_eq!(found, BTreeMap::from([(key("a"), Value::Int(1))]));
    }
}

#[test]
fn several_keys_are_there_together_when_the_store_is_opened_again() {
    let dir = tempfile::tempdir().unwrap();
    for place in [
        Location::Embedded(dir.path().join("embedded")),
        Location::File(dir.path().join("file")),
    ] {
        let s = Store::create(&place, &CreateOptions::default()).unwrap();
        let values: BTreeMap<_, _> = (0..500)
            .map(|n| (key(&format!("k{n}")), Value::Int(n)))
            .collect();
        s.multi_assoc(&values).unwrap();
        s.release().unwrap();
        let s = Store::connect(&place, &ConnectOptions::default()).unwrap();
        let all: Vec<Key> = values.keys().cloned().collect();
        assert_eq!(s.multi_get(&all).unwrap(), values);
    }
}

#[test]
fn what_is_got_together_stood_there_together() {
    let dir = tempfile::tempdir().unwrap();
    for s in every(&dir) {
        let s = s.unsynced();
        let all = keys(&["a", "b", "c"]);
        let put = |n: i64| {
            let values: Vec<_> = all.iter().map(|k| (k.clone(), Value::Int(n))).collect();
            s.multi_assoc(values.iter().map(|(k, v)| (k, v))).unwrap();
        };
        put(0);
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for n in 1..3000 {
                    if n % 3 == 0 {
                        s.multi_dissoc(&all).unwrap();
                    } else {
                        put(n);
                    }
                    if n % 50 == 0 {
                        s.fold_now().unwrap();
                    }
                }
                done.store(true, Ordering::Release);
            });
            while !done.load(Ordering::Acquire) {
                let found = s.multi_get(&all).unwrap();
                let mut values: Vec<_> = found.values().collect();
                values.dedup();
                assert!(
                    values.len() <= 1 && [0, 3].contains(&found.len()),
                    "{found:?}"
                );
            }
        });
    }
}

#[test]
fn a_condition_is_checked_with_the_write() {
    let dir = tempfile::tempdir().unwrap();
    for s in every(&dir) {
        let path = [key("a"), key("x")];
        s.assoc_if(&path, &Value::Int(1), Condition::Absent)
            .unwrap();
        let refused = s.assoc_if(&path, &Value::Int(2), Condition::Absent);
        assert!(
            matches!(refused, Err(StoreError::Precondition { .. })),
            "{refused:?}"
        );
        let version = s.get_meta(&key("a")).unwrap().unwrap().seq;
        s.fold_now().unwrap();
        s.assoc_if(&path, &Value::Int(3), Condition::Version(version))
            .unwrap();
        let refused = s.assoc_if(&path, &Value::Int(4), Condition::Version(version));
        let refused = refused.unwrap_err().to_string();
        assert!(refused.contains(&format!("version {version}")), "{refused}");
        assert!(s.dissoc_if(&[key("a")], version).is_err());
        assert_eq!(s.get_in(&path).unwrap(), Some(Value::Int(3)));
        let version = s.get_meta(&key("a")).unwrap().unwrap().seq;
        assert!(s.dissoc_if(&[key("a")], version).unwrap());
        let gone = s.assoc_if(&path, &Value::Int(5), Condition::Version(version));
        assert!(gone.unwrap_err().to_string().contains("nothing"));
        assert_eq!(s.get(&key("a")).unwrap(), None);
    }
}

#[test]
fn of_those_who_put_what_is_absent_one_succeeds() {
    let dir = tempfile::tempdir().unwrap();
    for s in every(&dir) {
        let s = s.unsynced();
        for round in 0..50 {
            let path = [key(&format!("k{round}"))];
            let won = std::thread::scope(|scope| {
                let put = |n| {
                    let (s, path) = (&s, &path);
                    scope.spawn(move || s.assoc_if(path, &Value::Int(n), Condition::Absent))
                };
                let all: Vec<_> = (0..4).map(put).collect();
                let done = all.into_iter().map(|one| one.join().unwrap());
                done.filter(Result::is_ok).count()
            });
            assert_eq!(won, 1);
        }
    }
}
