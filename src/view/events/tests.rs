//! What is told of the store's operations.

use std::collections::HashSet;
use std::sync::atomic::AtomicBool;

use serde_json::Value as Json;

use super::*;
use crate::gc::{Sweep, sweep};
use crate::store::{CreateOptions, Location};
use crate::value::{Value, edn};

const AT_ONCE: Duration = Duration::ZERO;

fn store() -> Store {
    let location = Location::parse("mem:").unwrap();
    Store::create(&location, &CreateOptions::default()).unwrap()
}

fn path(keys: &str) -> Vec<Key> {
    match edn::parse(keys).unwrap() {
        Value::Vector(keys) => keys.iter().map(Key::new).collect(),
        other => panic!("{other:?}"),
    }
}

fn put(store: &Store, keys: &str, value: &str) {
    store
        .assoc_in(&path(keys), &edn::parse(value).unwrap())
        .unwrap();
}

fn parsed(text: &str) -> Vec<Json> {
    let lines = text.lines();
    lines.map(|l| serde_json::from_str(l).unwrap()).collect()
}

/// What is told of what `change` does, but for times and numbers.
fn told(store: &Store, change: impl FnOnce()) -> Vec<String> {
    let events = Events::new(store.clone(), 7);
    let before = events.after(None, AT_ONCE);
    assert_eq!((before.text.as_str(), before.seq), ("", store.last_seq()));
    change();
    let after = events.after(Some(before.seq), AT_ONCE);
    assert_eq!(after.seq, store.last_seq());
    let lines = parsed(&after.text).into_iter().map(|mut line| {
        let object = line.as_object_mut().unwrap();
        assert!(object.remove("seq").is_some() && object.remove("time").is_some());
        let line = line.to_string();
        line.replace(['"', '{', '}'], "")
    });
    lines.collect()
}

#[test]
fn each_operation_is_told_with_its_path_and_keys() {
    let store = store();
    put(&store, "[\"v\"]", "[1 {\"0\" 1, 1 2}]");
    let lines = told(&store, || {
        put(&store, "[\"user\" :age]", "36");
        put(&store, "[\"v\" 0]", "\"zero\"");
        put(&store, "[\"v\" 1 1]", "nil");
        put(&store, "[\"v\" 1 \"0\"]", "[]");
        let (a, b) = (path("[\"user\" :age]"), path("[\"v\" 0]"));
        store.rename(&a, &path("[\"x/y\"]"), false).unwrap();
        store.swap(&path("[\"x/y\"]"), &b).unwrap();
        store.dissoc_in(&b).unwrap();
    });
    let expected = [
        "key:[\\user\\ :age],kind:assoc,origin:api,path:user/:age,type:int",
        "key:[\\v\\ 0],kind:assoc,origin:api,path:v/0,size:4,type:text",
        "key:[\\v\\ 1 1],kind:assoc,origin:api,path:v/1/%i1,type:nil",
        "key:[\\v\\ 1 \\0\\],kind:assoc,origin:api,path:v/1/0,size:0,type:vector",
        "from:user/:age,from-key:[\\user\\ :age],key:[\\x/y\\],kind:rename,origin:api,path:%sx%2Fy",
        "from:%sx%2Fy,from-key:[\\x/y\\],key:[\\v\\ 0],kind:swap,origin:api,path:v/0",
        "key:[\\v\\ 0],kind:dissoc,origin:api,path:v/0",
    ];
    // A map that is made on the way is told as what was put.
    let got: Vec<&str> = lines.iter().map(String::as_str).collect();
    assert_eq!(got[1..], expected[1..]);
    assert!(got[0].contains("path:user"), "{}", got[0]);
}

#[test]
fn sweeps_and_snapshots_are_told_as_such() {
    let store = store();
    put(&store, "[\"old\"]", "1");
    store.take_snapshot("before").unwrap();
    let lines = told(&store, || {
        store.take_snapshot("then").unwrap();
        store.drop_snapshot("before").unwrap();
        let all = Sweep {
            cutoff: store.now(),
            keep: HashSet::new(),
            dry_run: false,
        };
        sweep(&store, &all, &AtomicBool::new(false)).unwrap();
    });
    assert_eq!(
        lines,
        [
            "epoch:3,kind:snapshot,name:then,origin:api",
            "epoch:2,kind:snapshot-drop,name:before,origin:api",
            "key:[\\old\\],kind:dissoc,origin:sweep,path:old",
        ]
    );
}

#[test]
fn what_was_before_is_said_to_be_lost() {
    let store = store();
    for value in ["1", "2", "3"] {
        put(&store, "[\"a\"]", value);
    }
    let events = Events::new(store.clone(), 7);
    let lost = parsed(&events.after(Some(1), AT_ONCE).text);
    assert_eq!(
        (&lost[0]["kind"], &lost[0]["after"], &lost[0]["seq"]),
        (&"lost".into(), &1.into(), &3.into())
    );
    put(&store, "[\"a\"]", "4");
    // Who knows all that was before has lost nothing.
    let rest = parsed(&events.after(Some(3), AT_ONCE).text);
    assert_eq!((rest.len(), &rest[0]["seq"]), (1, &4.into()));
    let both = parsed(&events.after(Some(2), AT_ONCE).text);
    assert_eq!((both.len(), &both[0]["kind"]), (2, &"lost".into()));
}

#[test]
fn nothing_is_kept_before_anybody_asks() {
    let store = store();
    let events = Events::new(store.clone(), 7);
    put(&store, "[\"a\"]", "1");
    assert_eq!(events.told(), None);
    assert_eq!(events.after(None, AT_ONCE).seq, 1);
    assert!(events.told().is_some());
}

#[test]
fn who_waits_hears_of_the_next_change_and_of_the_end() {
    let store = store();
    let events = Arc::new(Events::new(store.clone(), 7));
    let seq = events.after(None, AT_ONCE).seq;
    let waiting = Arc::clone(&events);
    let long = Duration::from_secs(100);
    let waiter = std::thread::spawn(move || {
        let change = waiting.after(Some(seq), long);
        let end = waiting.after(Some(change.seq), long);
        (change, end)
    });
    put(&store, "[\"a\"]", "1");
    while !waiter.is_finished() {
        if store.last_seq() == 1 {
            events.close();
        }
        std::thread::yield_now();
    }
    let (change, end) = waiter.join().unwrap();
    assert_eq!((parsed(&change.text).len(), change.seq), (1, 1));
    assert_eq!((end.text.as_str(), end.closed), ("", true));
    assert_eq!(events.wait_after(u64::MAX), None);
}

#[test]
fn a_reader_gets_every_line_once_whatever_the_pieces() {
    let store = store();
    let events = Arc::new(Events::new(store.clone(), 7));
    let (slow, fast) = (events.reader(), events.reader());
    let (mut by_seven, mut at_once) = (Vec::new(), Vec::new());
    for n in 0..50 {
        put(&store, "[\"a\"]", &n.to_string());
        assert!(fast.has_more());
        let part = fast.read(at_once.len() as u64, 1 << 20);
        at_once.extend(part);
        assert!(!fast.has_more());
        by_seven.extend(slow.read(by_seven.len() as u64, 7));
        assert!(slow.has_more());
    }
    while slow.has_more() {
        by_seven.extend(slow.read(by_seven.len() as u64, 7));
    }
    assert_eq!(by_seven, at_once);
    let lines = parsed(&String::from_utf8(at_once).unwrap());
    let numbers: Vec<u64> = lines.iter().map(|l| l["seq"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (0..=50).collect::<Vec<_>>());
}

#[test]
fn a_reader_that_is_left_behind_is_told_so_once_and_goes_on() {
    let store = store();
    let events = Arc::new(Events::new(store.clone(), 7));
    let reader = events.reader();
    let push = |from: u64, to: u64| {
        let mut ring = events.begin().ring.lock();
        for seq in from..=to {
            let time = Time::default();
            ring.push(seq, time, line::start(seq, time));
        }
    };
    let mut got = reader.read(0, 10);
    push(1, 100_000);
    let all = |got: &mut Vec<u8>, piece: usize| {
        loop {
            let part = reader.read(got.len() as u64, piece);
            if part.is_empty() {
                break;
            }
            got.extend(part);
        }
    };
    // The line of which it has the beginning is gone, too.
    all(&mut got, 33);
    push(100_001, 100_010);
    all(&mut got, 4096);
    let text = String::from_utf8(got).unwrap();
    let lines = parsed(&text[10..]);
    assert_eq!(
        (&lines[0]["kind"], &lines[0]["seq"]),
        (&"lost".into(), &(100_000 - 65_536).into())
    );
    let numbers: Vec<u64> = lines.iter().map(|l| l["seq"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (100_000 - 65_536..=100_010).collect::<Vec<_>>());
    assert!(!reader.has_more());
}

#[test]
fn a_transaction_is_told_when_it_is_committed_and_not_before() {
    let store = store();
    put(&store, "[\"a\"]", "1");
    let lines = told(&store, || {
        let transaction = snapshot::Transaction::begin(&store).unwrap();
        put(transaction.store(), "[\"a\"]", "2");
        put(transaction.store(), "[\"b\"]", "3");
        snapshot::Transaction::begin(&store)
            .unwrap()
            .abort()
            .unwrap();
        assert_eq!(transaction.commit().unwrap(), []);
    });
    let kinds: Vec<&str> = lines
        .iter()
        .map(|line| line.split("kind:").nth(1).unwrap())
        .collect();
    assert_eq!(
        kinds,
        [
            "internal,origin:api",
            "internal,origin:api",
            "internal,origin:api",
            "assoc,more:true,origin:api,path:a,type:int",
            "assoc,more:true,origin:api,path:b,type:int",
            // It has a new name in it.
            "attrs,origin:api,path:",
        ]
    );
}

#[test]
fn what_nobody_reads_is_kept_within_bounds_and_what_went_is_told() {
    let store = store();
    let events = Arc::new(Events::new(store.clone(), 7));
    let reader = events.reader();
    let mut got = reader.read(0, 1 << 20);
    let read = |got: &mut Vec<u8>| {
        let before = got.len();
        while reader.has_more() {
            got.extend(reader.read(got.len() as u64, 1 << 20));
        }
        parsed(str::from_utf8(&got[before..]).unwrap())
    };
    let push = |numbers: std::ops::RangeInclusive<u64>, key: &str| {
        let path: crate::value::KeyPath = vec![Key::text(key)].into();
        for seq in numbers {
            let step = change::Step {
                path: path.clone(),
                in_vectors: Vec::new(),
                what: change::What::SetAttrs,
            };
            events.begin().pending.lock().push(Change {
                seq,
                time: Time::default(),
                origin: 7,
                steps: [step].into(),
            });
        }
    };
    let numbers =
        |lines: &[Json]| -> Vec<u64> { lines.iter().map(|l| l["seq"].as_u64().unwrap()).collect() };
    push(1..=3, "a");
    assert_eq!(numbers(&read(&mut got)), [1, 2, 3]);
    // By number: the line of the kind `lost` names the last that went.
    push(4..=70_003, "a");
    let lines = read(&mut got);
    assert_eq!(lines[0]["kind"], "lost");
    let gone = 70_003 - 65_536;
    assert_eq!(numbers(&lines), (gone..=70_003).collect::<Vec<_>>());
    let followed = parsed(&events.after(Some(3), AT_ONCE).text);
    assert_eq!(
        (&followed[0]["kind"], &followed[0]["seq"]),
        (&"lost".into(), &gone.into())
    );
    // By weight.
    push(70_004..=70_103, &"x".repeat(1 << 20));
    let lines = read(&mut got);
    assert_eq!(lines[0]["kind"], "lost");
    let kept = numbers(&lines);
    assert!(
        (10..=16).contains(&kept.len()) && kept.last() == Some(&70_103),
        "{kept:?}"
    );
    assert!(!reader.has_more());
}
