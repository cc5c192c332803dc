//! Who is told of writes.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use konserve_fs::gc;
use konserve_fs::store::{ApiOp, CreateOptions, Location, Store, Write};
use konserve_fs::value::{Key, Value, edn};
use parking_lot::Mutex;

fn memory() -> Store {
    Store::create(&Location::parse("mem:").unwrap(), &CreateOptions::default()).unwrap()
}

fn key(name: &str) -> Key {
    Key::text(name)
}

fn v(text: &str) -> Value {
    edn::parse(text).unwrap()
}

/// What is told, as one line each.
fn tells(s: &Store) -> Arc<Mutex<Vec<String>>> {
    let told = Arc::new(Mutex::new(Vec::new()));
    let to = Arc::clone(&told);
    let text = |value: Option<Value>| value.map_or("-".to_owned(), |v| edn::print(&v));
    let hook = move |w: &Write| {
        let path: Vec<_> = w
            .key_path()
            .iter()
            .map(|k| edn::print(&k.value()))
            .collect();
        to.lock().push(format!(
            "{} {} {} -> {}",
            w.api_op.name(),
            path.join("/"),
            text(w.old_value().unwrap()),
            text(w.value().unwrap()),
        ));
    };
    s.add_write_hook("tells", Arc::new(hook));
    told
}

#[test]
fn every_operation_that_writes_is_told_of_with_its_values() {
    let s = memory();
    let told = tells(&s);
    s.assoc(&key("a"), &v("{\"x\" 1}")).unwrap();
    s.assoc_in(&[key("a"), key("x")], &Value::Int(2)).unwrap();
    s.update_in(&[key("a"), key("x")], |old| match old {
        Some(Value::Int(n)) => Ok(Value::Int(n + 1)),
        _ => Err("no number"),
    })
    .unwrap();
    s.bassoc(&key("b"), &b"\x01\x02"[..]).unwrap();
    s.append(&key("l"), &Value::Int(7)).unwrap();
    s.append(&key("l"), &Value::Int(8)).unwrap();
    s.rename(&[key("b")], &[key("c")], false).unwrap();
    s.swap(&[key("a")], &[key("c")]).unwrap();
    s.dissoc_in(&[key("c"), key("x")]).unwrap();
    s.dissoc(&key("c")).unwrap();
    let expected = [
        "assoc-in \"a\" - -> {\"x\" 1}",
        "assoc-in \"a\"/\"x\" 1 -> 2",
        "update-in \"a\"/\"x\" 2 -> 3",
        "bassoc \"b\" - -> #bytes \"0102\"",
        "append \"l\" - -> [7]",
        "append \"l\"/1 - -> 8",
        "rename \"b\" #bytes \"0102\" -> -",
        "swap \"a\" {\"x\" 3} -> #bytes \"0102\"",
        "dissoc \"c\"/\"x\" 3 -> -",
        "dissoc \"c\" {} -> -",
    ];
    assert_eq!(*told.lock(), expected);
    told.lock().clear();
    // What changes nothing is told of to nobody, nor is what fails.
    s.dissoc(&key("missing")).unwrap();
    s.assoc_in(&[key("l"), key("x")], &Value::Nil).unwrap_err();
    s.update(&key("l"), |_| Err::<Value, _>("no")).unwrap_err();
    s.get(&key("l")).unwrap();
    s.fold_now().unwrap();
    gc::reclaim(&s).unwrap();
    assert_eq!(*told.lock(), Vec::<String>::new());
    assert!(s.remove_write_hook("tells"));
    assert!(!s.remove_write_hook("tells"));
    s.assoc(&key("a"), &Value::Nil).unwrap();
    assert_eq!(*told.lock(), Vec::<String>::new());
}

#[test]
fn several_keys_are_told_of_as_one_write() {
    let s = memory();
    let writes = Arc::new(Mutex::new(Vec::new()));
    let to = Arc::clone(&writes);
    s.add_write_hook("w", Arc::new(move |w: &Write| to.lock().push(w.clone())));
    let values = [(key("a"), Value::Int(1)), (key("b"), Value::Int(2))];
    s.multi_assoc(values.iter().map(|(k, v)| (k, v))).unwrap();
    s.multi_dissoc(&[key("a"), key("missing"), key("b")])
        .unwrap();
    let writes = writes.lock().clone();
    let [put, gone] = writes.as_slice() else {
        panic!("{writes:?}")
    };
    assert_eq!(
        (put.api_op, gone.api_op),
        (ApiOp::MultiAssoc, ApiOp::MultiDissoc)
    );
    assert_eq!(put.keys(), [&key("a"), &key("b")]);
    assert_eq!(put.kvs().unwrap(), values);
    assert_eq!(gone.keys(), [&key("a"), &key("b")]);
    assert_eq!(gone.kvs().unwrap(), []);
    // Also long after, a write tells its own values.
    s.assoc(&key("b"), &Value::Int(3)).unwrap();
    assert_eq!(put.new_at(&[key("b")]).unwrap(), Some(Value::Int(2)));
    assert_eq!(gone.old_at(&[key("b")]).unwrap(), Some(Value::Int(2)));
    assert!(put.seq < gone.seq && put.time < gone.time);
}

#[test]
fn evictions_and_transactions_are_told_of() {
    let s = memory();
    s.assoc(&key("a"), &Value::Int(1)).unwrap();
    s.assoc(&key("b"), &Value::Int(1)).unwrap();
    let told = tells(&s);
    s.transact(|tx| {
        tx.assoc_in(&[key("a")], &Value::Int(2))?;
        tx.assoc_in(&[key("b")], &Value::Int(2))
    })
    .unwrap();
    let t = konserve_fs::snapshot::Transaction::begin(&s).unwrap();
    t.store().assoc(&key("a"), &Value::Int(3)).unwrap();
    assert_eq!(told.lock().len(), 1, "a private state is nobody's");
    t.commit().unwrap();
    let sweep = gc::Sweep {
        cutoff: s.now(),
        keep: HashSet::new(),
        dry_run: false,
    };
    gc::sweep(&s, &sweep, &AtomicBool::new(false)).unwrap();
    let mut told = told.lock().clone();
    told[2..].sort();
    let expected = [
        "transaction \"a\" 1 -> 2",
        "assoc-in \"a\" 2 -> 3",
        "sweep \"a\" 3 -> -",
        "sweep \"b\" 2 -> -",
    ];
    assert_eq!(told, expected);
}

#[test]
fn a_hook_that_panics_harms_nobody() {
    let s = memory();
    s.add_write_hook("a", Arc::new(|_: &Write| panic!("a hook's own fault")));
    let told = tells(&s);
    s.assoc(&key("a"), &Value::Int(1)).unwrap();
    s.assoc(&key("b"), &Value::Int(1)).unwrap();
    assert_eq!(told.lock().len(), 2);
    assert_eq!(s.get(&key("b")).unwrap(), Some(Value::Int(1)));
}

#[test]
fn a_hook_may_write_and_its_writes_are_told_of_after() {
    let (s, other) = (memory(), memory());
    let told = tells(&s);
    let hook = {
        let (s, other) = (s.clone(), other.clone());
        move |w: &Write| {
            if w.key() == Some(&key("a")) {
                s.assoc(&key("count"), &Value::Int(1)).unwrap();
                // Its hook writes here again.
                other.assoc(&key("x"), &Value::Int(1)).unwrap();
            }
        }
    };
    s.add_write_hook("counts", Arc::new(hook));
    let back = s.clone();
    other.add_write_hook(
        "back",
        Arc::new(move |_: &Write| back.assoc(&key("back"), &Value::Nil).unwrap()),
    );
    s.assoc(&key("a"), &Value::Int(1)).unwrap();
    let expected = [
        "assoc-in \"a\" - -> 1",
        "assoc-in \"count\" - -> 1",
        "assoc-in \"back\" - -> nil",
    ];
    assert_eq!(*told.lock(), expected);
    s.release().unwrap();
    other.release().unwrap();
}

#[test]
fn stores_whose_hooks_write_to_each_other_do_not_wait_for_each_other() {
    let (a, b) = (memory().unsynced(), memory().unsynced());
    for (from, to) in [(&a, &b), (&b, &a)] {
        let to = to.clone();
        let hook = move |w: &Write| {
            if w.key() == Some(&key("n")) {
                to.assoc(&key("copy"), &w.value().unwrap().unwrap())
                    .unwrap();
            }
        };
        from.add_write_hook("copies", Arc::new(hook));
    }
    std::thread::scope(|scope| {
        for s in [&a, &b] {
            scope.spawn(|| (0..2000).for_each(|n| s.assoc(&key("n"), &Value::Int(n)).unwrap()));
        }
    });
    for s in [a, b] {
        assert_eq!(s.get(&key("copy")).unwrap(), Some(Value::Int(1999)));
        s.release().unwrap();
    }
}

#[test]
fn writes_are_told_of_in_their_order_and_each_once() {
    let s = memory().unsynced();
    let told = Arc::new(Mutex::new(Vec::new()));
    let to = Arc::clone(&told);
    let hook = move |w: &Write| {
        // Time for another to come in between.
        if w.seq.is_multiple_of(7) {
            std::thread::sleep(std::time::Duration::from_micros(50));
        }
        to.lock()
            .push((w.seq, w.old_value().unwrap(), w.value().unwrap()))
    };
    s.add_write_hook("order", Arc::new(hook));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..500 {
                    let add = |n: Option<&Value>| match n {
                        Some(Value::Int(n)) => Ok::<_, String>(Value::Int(n + 1)),
                        _ => Ok(Value::Int(1)),
                    };
                    while s.update(&key("n"), add).is_err() {}
                }
            });
        }
    });
    let told = told.lock();
    assert_eq!(told.len(), 2000);
    for (n, pair) in told.windows(2).enumerate() {
        assert!(pair[0].0 < pair[1].0);
        assert_eq!(pair[0].2, pair[1].1, "at {n}");
    }
}
