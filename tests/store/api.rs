//! Reading, writing, updating and removing.

use konserve_fs::store::{ConnectOptions, CreateOptions, Location, Store, StoreError};
use konserve_fs::value::{Key, Value, edn};

fn memory() -> Store {
    Store::create(&Location::parse("mem:").unwrap(), &CreateOptions::default()).unwrap()
}

fn path(text: &str) -> Vec<Key> {
    match edn::parse(text).unwrap() {
        Value::Vector(items) => items.iter().map(Key::new).collect(),
        other => panic!("no path: {other:?}"),
    }
}

fn v(text: &str) -> Value {
    edn::parse(text).unwrap()
}

#[test]
fn assoc_in_makes_missing_maps_and_get_in_finds_what_was_put() {
    let s = memory();
    s.assoc_in(&path("[:a :b 1]"), &v("42")).unwrap();
    assert_eq!(s.get_in(&path("[:a :b 1]")).unwrap(), Some(v("42")));
    assert_eq!(s.get_in(&path("[:a]")).unwrap(), Some(v("{:b {1 42}}")));
    assert_eq!(s.get_in(&path("[:a :c]")).unwrap(), None);
    assert_eq!(s.get_in(&path("[:x :c]")).unwrap(), None);
}

#[test]
fn a_stored_nil_or_false_is_a_value() {
    let s = memory();
    s.assoc_in(&path("[:a]"), &v("{:n nil :f false}")).unwrap();
    assert_eq!(s.get_in(&path("[:a :n]")).unwrap(), Some(Value::Nil));
    assert_eq!(
        s.get_in(&path("[:a :f]")).unwrap(),
        Some(Value::Bool(false))
    );
    assert_eq!(s.get_in(&path("[:a :x]")).unwrap(), None);
}

#[test]
fn a_path_through_a_scalar_is_an_error_and_changes_nothing() {
    let s = memory();
    s.assoc_in(&path("[:a]"), &v("{:n 1}")).unwrap();
    assert!(matches!(
        s.assoc_in(&path("[:a :n :x]"), &v("2")),
        Err(StoreError::Tree { .. })
    ));
    assert_eq!(s.get_in(&path("[:a]")).unwrap(), Some(v("{:n 1}")));
}

#[test]
fn a_path_through_nil_makes_a_map() {
    let s = memory();
    s.assoc_in(&path("[:a]"), &v("{:n nil}")).unwrap();
    s.assoc_in(&path("[:a :n :x]"), &v("2")).unwrap();
    assert_eq!(s.get_in(&path("[:a]")).unwrap(), Some(v("{:n {:x 2}}")));
}

#[test]
fn vectors_take_an_index_up_to_their_length() {
    let s = memory();
    s.assoc_in(&path("[:a]"), &v("[1 2 3]")).unwrap();
    s.assoc_in(&path("[:a 3]"), &v("4")).unwrap();
    s.assoc_in(&path("[:a 0]"), &v("{:x 0}")).unwrap();
    assert_eq!(s.get_in(&path("[:a]")).unwrap(), Some(v("[{:x 0} 2 3 4]")));
    assert!(s.assoc_in(&path("[:a 9]"), &v("4")).is_err());
    assert!(s.assoc_in(&path("[:a :k]"), &v("4")).is_err());
    assert!(s.dissoc_in(&path("[:a 1]")).unwrap());
    assert_eq!(
        s.get_in(&path("[:a]")).unwrap(),
        Some(v("[{:x 0} nil 3 4]"))
    );
    assert_eq!(s.get_in(&path("[:a 1]")).unwrap(), Some(Value::Nil));
}

#[test]
fn update_in_gives_old_and_new_at_the_path_and_a_failing_closure_changes_nothing() {
    let s = memory();
    let inc = |old: Option<&Value>| -> Result<Value, std::convert::Infallible> {
        Ok(Value::Int(match old {
            Some(Value::Int(i)) => i + 1,
            _ => 1,
        }))
    };
    let p = path("[:n :count]");
    assert_eq!(s.update_in(&p, inc).unwrap().old, None);
    let change = s.update_in(&p, inc).unwrap();
    assert_eq!((change.old, change.new), (Some(v("1")), v("2")));
    let top = s.update_in_top(&p, inc).unwrap();
    assert_eq!((top.old, top.new), (Some(v("{:count 2}")), v("{:count 3}")));
    let failed = s.update_in(&p, |_| -> Result<Value, String> { Err("no".to_owned()) });
    assert!(matches!(failed, Err(StoreError::Update(_))));
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        s.update_in(&p, |_| -> Result<Value, String> { panic!("closure") })
    }));
    assert!(panicked.is_err());
    assert_eq!(s.get_in(&p).unwrap(), Some(v("3")));
}

#[test]
fn dissoc_says_what_existed_and_a_removed_key_can_be_made_again() {
    let s = memory();
    s.assoc(&Key::text("a"), &v("1")).unwrap();
    s.settle().unwrap();
    assert!(s.dissoc(&Key::text("a")).unwrap());
    assert!(!s.dissoc(&Key::text("a")).unwrap());
    s.assoc(&Key::text("a"), &v("2")).unwrap();
    assert!(s.dissoc(&Key::text("a")).unwrap());
    s.settle().unwrap();
    assert_eq!(s.get(&Key::text("a")).unwrap(), None);
    s.assoc(&Key::text("a"), &v("3")).unwrap();
    assert_eq!(s.get(&Key::text("a")).unwrap(), Some(v("3")));
}

#[test]
fn swap_and_rename_are_one_step_within_and_across_documents() {
    let s = memory();
    s.assoc_in(&path("[:a]"), &v("{:x 1 :y {:z 2}}")).unwrap();
    s.assoc_in(&path("[:b]"), &v("[10 20]")).unwrap();
    s.swap(&path("[:a :y]"), &path("[:b 0]")).unwrap();
    assert_eq!(s.get_in(&path("[:a]")).unwrap(), Some(v("{:x 1 :y 10}")));
    assert_eq!(s.get_in(&path("[:b]")).unwrap(), Some(v("[{:z 2} 20]")));
    s.rename(&path("[:b 0]"), &path("[:c]"), false).unwrap();
    assert_eq!(s.get_in(&path("[:c]")).unwrap(), Some(v("{:z 2}")));
    assert_eq!(s.get_in(&path("[:b]")).unwrap(), Some(v("[nil 20]")));
    assert!(matches!(
        s.rename(&path("[:a]"), &path("[:c]"), true),
        Err(StoreError::Occupied { .. })
    ));
    assert!(matches!(
        s.rename(&path("[:a]"), &path("[:a :x]"), false),
        Err(StoreError::IntoItself { .. })
    ));
}

#[test]
fn keys_lists_every_key_once_folded_or_not() {
    let s = memory().unsynced();
    for i in 0..2500 {
        s.assoc(&Key::text(&format!("k{i}")), &Value::Int(i))
            .unwrap();
        if i == 1200 {
            s.settle().unwrap();
        }
    }
    s.dissoc(&Key::text("k7")).unwrap();
    let mut keys: Vec<String> = s
        .keys()
        .map(|k| k.unwrap().0.as_text().unwrap().to_owned())
        .collect();
    keys.sort();
    let mut expected: Vec<String> = (0..2500)
        .filter(|i| *i != 7)
        .map(|i| format!("k{i}"))
        .collect();
    expected.sort();
    assert_eq!(keys, expected);
}

#[test]
fn binaries_stream_in_and_out_by_range() {
    let s = memory();
    let bytes: Vec<u8> = (0..300_000u32).map(|i| (i % 251) as u8).collect();
    s.bassoc(&Key::text("b"), &bytes[..]).unwrap();
    let mut all = Vec::new();
    std::io::Read::read_to_end(
        &mut s.bget(&Key::text("b"), None).unwrap().unwrap(),
        &mut all,
    )
    .unwrap();
    assert_eq!(all, bytes);
    let mut part = Vec::new();
    let mut reader = s
        .bget(&Key::text("b"), Some(65_000..70_000))
        .unwrap()
        .unwrap();
    std::io::Read::read_to_end(&mut reader, &mut part).unwrap();
    assert_eq!(part, bytes[65_000..70_000]);
    assert_eq!(s.get(&Key::text("b")).unwrap(), Some(Value::Bytes(bytes)));
}

#[test]
fn the_lifecycle_is_strict() {
    let dir = tempfile::tempdir().unwrap();
    let place = Location::parse(dir.path().join("s").to_str().unwrap()).unwrap();
    assert!(!Store::exists(&place));
    assert!(matches!(
        Store::connect(&place, &ConnectOptions::default()),
        Err(StoreError::Missing { .. })
    ));
    let s = Store::create(&place, &CreateOptions::default()).unwrap();
    let id = s.id();
    assert!(matches!(
        Store::create(&place, &CreateOptions::default()),
        Err(StoreError::Exists { .. })
    ));
    assert!(matches!(
        Store::connect(&place, &ConnectOptions::default()),
        Err(StoreError::InUse { .. })
    ));
    assert!(matches!(
        Store::delete(&place, id),
        Err(StoreError::InUse { .. })
    ));
    s.assoc(&Key::text("a"), &v("{:x [1 2.5 \"three\"]}"))
        .unwrap();
    s.release().unwrap();
    let other = ConnectOptions {
        id: Some(uuid::Uuid::new_v4()),
        ..ConnectOptions::default()
    };
    assert!(matches!(
        Store::connect(&place, &other),
        Err(StoreError::WrongId { .. })
    ));
    let s = Store::connect(
        &place,
        &ConnectOptions {
            id: Some(id),
            ..ConnectOptions::default()
        },
    )
    .unwrap();
    assert_eq!(
        s.get(&Key::text("a")).unwrap(),
        Some(v("{:x [1 2.5 \"three\"]}"))
    );
    drop(s);
    Store::delete(&place, id).unwrap();
    assert!(!Store::exists(&place));
    assert!(!dir.path().join("s").exists());
}

#[test]
fn eight_threads_lose_no_update() {
    let s = memory().unsynced();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..200 {
                    s.update_in(&path("[:n :x]"), |old| -> Result<Value, String> {
                        Ok(Value::Int(if let Some(Value::Int(i)) = old {
                            i + 1
                        } else {
                            1
                        }))
                    })
                    .unwrap();
                }
            });
        }
    });
    assert_eq!(s.get_in(&path("[:n :x]")).unwrap(), Some(Value::Int(1600)));
}

#[test]
fn values_nest_a_thousand_deep() {
    let dir = tempfile::tempdir().unwrap();
    let place = Location::Embedded(dir.path().join("s"));
    let s = Store::create(&place, &CreateOptions::default()).unwrap();
    let keys: Vec<Key> = (0..1000).map(|i| Key::text(&format!("k{i}"))).collect();
    s.assoc_in(&keys, &v("1")).unwrap();
    s.settle().unwrap();
    s.assoc_in(&keys, &v("2")).unwrap();
    let whole = s.get(&keys[0]).unwrap().unwrap();
    s.assoc(&Key::text("copy"), &whole).unwrap();
    s.release().unwrap();
    let s = Store::connect(&place, &ConnectOptions::default()).unwrap();
    assert_eq!(s.get_in(&keys).unwrap(), Some(v("2")));
    assert_eq!(s.get(&Key::text("copy")).unwrap(), Some(whole));
    assert!(s.dissoc_in(&keys[..500]).unwrap());
}

#[test]
fn what_is_too_deep_to_be_read_back_is_refused() {
    let s = memory();
    let deep = (0..3000).fold(Value::Nil, |inner, _| Value::List(vec![inner]));
    assert!(matches!(
        s.assoc(&Key::text("a"), &deep),
        Err(StoreError::Tree { .. })
    ));
    assert_eq!(s.get(&Key::text("a")).unwrap(), None);
    let keys: Vec<Key> = (0..3000).map(|_| Key::text("k")).collect();
    assert!(s.assoc_in(&keys, &Value::Nil).is_err());
}
