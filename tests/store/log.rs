//! Append logs.

use std::ops::ControlFlow;

use konserve_fs::gc;
use konserve_fs::store::{ConnectOptions, CreateOptions, Location, Store, StoreError};
use konserve_fs::value::{Key, Value};

fn memory() -> Store {
    Store::create(&Location::parse("mem:").unwrap(), &CreateOptions::default()).unwrap()
}

fn key() -> Key {
    Key::text("log")
}

fn elements(s: &Store) -> Vec<Value> {
    s.log(&key()).unwrap().map(|e| e.unwrap()).collect()
}

#[test]
fn what_is_appended_is_read_in_order_also_after_opening_again() {
    let dir = tempfile::tempdir().unwrap();
    let place = Location::Embedded(dir.path().join("s"));
    let s = Store::create(&place, &CreateOptions::default()).unwrap();
    assert_eq!(elements(&s), []);
    let all: Vec<Value> = (0..1000)
        .map(|n| Value::Map([(Key::text("n"), Value::Int(n))].into()))
        .collect();
    for (n, element) in all.iter().enumerate() {
        assert_eq!(s.unsynced().append(&key(), element).unwrap(), n as u64);
        if n % 100 == 7 {
            s.fold_now().unwrap();
        }
    }
    assert_eq!(s.log(&key()).unwrap().size_hint(), (1000, Some(1000)));
    assert_eq!(elements(&s), all);
    s.release().unwrap();
    let s = Store::connect(&place, &ConnectOptions::default()).unwrap();
    assert_eq!(elements(&s), all);
    assert_eq!(s.append(&key(), &Value::Nil).unwrap(), 1000);
}

#[test]
fn a_log_is_read_as_it_was_when_it_was_opened() {
    let s = memory();
    s.append(&key(), &Value::Int(0)).unwrap();
    let mut log = s.log(&key()).unwrap();
    s.append(&key(), &Value::Int(1)).unwrap();
    assert_eq!(log.next().unwrap().unwrap(), Value::Int(0));
    assert!(log.next().is_none());
    s.dissoc(&key()).unwrap();
    assert_eq!(elements(&s), []);
}

#[test]
fn a_reduction_may_end_early() {
    let s = memory();
    for n in 0..600 {
        s.append(&key(), &Value::Int(n)).unwrap();
    }
    let sum = |until: i64| {
        s.reduce_log(&key(), 0, |sum, element| match element {
            Value::Int(n) if n < until => ControlFlow::Continue(sum + n),
            _ => ControlFlow::Break(sum),
        })
    };
    assert_eq!(sum(10).unwrap(), 45);
    assert_eq!(sum(1000).unwrap(), 600 * 599 / 2);
}

#[test]
fn appending_to_what_is_no_log_is_refused() {
    let s = memory();
    s.assoc(&key(), &Value::Int(1)).unwrap();
    let refused = s.append(&key(), &Value::Int(2)).unwrap_err();
    assert!(matches!(refused, StoreError::NotALog { .. }), "{refused}");
    assert!(s.log(&key()).is_err());
    assert_eq!(s.get(&key()).unwrap(), Some(Value::Int(1)));
}

#[test]
fn a_hole_of_a_log_is_nil() {
    let s = memory();
    for n in 0..3 {
        s.append(&key(), &Value::Int(n)).unwrap();
    }
    s.dissoc_in(&[key(), Key::index(1)]).unwrap();
    assert_eq!(elements(&s), [Value::Int(0), Value::Nil, Value::Int(2)]);
}

#[test]
fn no_element_is_lost_when_several_append() {
    let s = memory().unsynced();
    std::thread::scope(|scope| {
        for writer in 0..4 {
            let s = &s;
            scope.spawn(move || {
                for n in 0..250 {
                    s.append(&key(), &Value::Int(writer * 1000 + n)).unwrap();
                }
            });
        }
    });
    let found = elements(&s);
    assert_eq!(found.len(), 1000);
    for writer in 0..4 {
        let of = |v: &Value| matches!(v, Value::Int(n) if n / 1000 == writer);
        let own: Vec<_> = found.iter().filter(|v| of(v)).collect();
        let expected: Vec<_> = (0..250).map(|n| Value::Int(writer * 1000 + n)).collect();
        assert_eq!(own, expected.iter().collect::<Vec<_>>());
    }
}

/// Konserve's elements stay for ever.
#[test]
fn the_elements_of_a_log_go_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let place = Location::Embedded(dir.path().join("s"));
    let s = Store::create(&place, &CreateOptions::default())
        .unwrap()
        .unsynced();
    let large = "element ".repeat(500);
    for n in 0..200 {
        s.append(&key(), &Value::Text(format!("{n} {large}")))
            .unwrap();
    }
    s.settle().unwrap();
    assert!(gc::reclaim(&s).unwrap().live > 0);
    s.dissoc(&key()).unwrap();
    assert_eq!(gc::reclaim(&s).unwrap().live, 0);
}
