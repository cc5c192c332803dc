//! Private states, and what becomes of them.

use std::collections::BTreeMap;

use konserve_fs::gc;
use konserve_fs::snapshot::{self, Clash, Transaction};
use konserve_fs::store::{ConnectOptions, CreateOptions, Location, Store, StoreError};
use konserve_fs::value::{Key, Value};

fn memory() -> Store {
    Store::create(&Location::parse("mem:").unwrap(), &CreateOptions::default()).unwrap()
}

fn key(name: &str) -> Key {
    Key::text(name)
}

fn path(text: &str) -> Vec<Key> {
    text.split('/').map(key).collect()
}

fn content(store: &Store) -> BTreeMap<Key, Value> {
    let keys = store.keys().map(|found| found.unwrap());
    keys.map(|(key, _)| {
        let value = store.get(&key).unwrap();
        (key, value.expect("a key that is listed"))
    })
    .collect()
}

#[test]
fn a_transaction_is_seen_by_nobody_until_it_is_committed() {
    let s = memory();
    s.assoc_in(&path("a/x"), &Value::Int(1)).unwrap();
    s.assoc(&key("b"), &Value::Int(1)).unwrap();
    s.assoc(&key("c"), &Value::Int(1)).unwrap();
    let before = content(&s);
    let t = Transaction::begin(&s).unwrap();
    let large = Value::Text("large ".repeat(200_000));
    t.store().assoc_in(&path("a/y"), &Value::Int(2)).unwrap();
    t.store().assoc(&key("d"), &large).unwrap();
    t.store().dissoc(&key("b")).unwrap();
    assert_eq!(content(&s), before);
    s.assoc_in(&path("a/z"), &Value::Int(3)).unwrap();
    assert!(t.store().get_in(&path("a/z")).unwrap().is_none());
    assert_eq!(content(t.store()).len(), 3);
    gc::reclaim(&s).unwrap();
    assert_eq!(t.store().get(&key("d")).unwrap(), Some(large.clone()));
    assert_eq!(snapshot::list(&s).unwrap(), []);
    assert_eq!(t.commit().unwrap(), []);
    for _ in 0..2 {
        let now = content(&s);
        let keys: Vec<_> = now.keys().cloned().collect();
        assert_eq!(keys, [key("a"), key("c"), key("d")]);
        let a = BTreeMap::from([("x", 1), ("y", 2), ("z", 3)]);
        let a = a
            .into_iter()
            .map(|(k, n)| (key(k), Value::Int(n)))
            .collect();
        assert_eq!(now[&key("a")], Value::Map(a));
        assert_eq!(now[&key("d")], large);
        gc::reclaim(&s).unwrap();
    }
    // It has ended, and holds nothing any more.
    let refused = t.store().get(&key("c")).unwrap_err();
    assert!(matches!(refused, StoreError::Sealed), "{refused}");
    for name in ["d", "e"] {
        let refused = t.store().assoc(&key(name), &Value::Nil).unwrap_err();
        assert!(matches!(refused, StoreError::Sealed), "{refused}");
    }
}

#[test]
fn what_others_have_changed_is_not_overwritten() {
    let s = memory();
    for name in ["a/x", "a/y", "b/x/deep", "c/x", "d/x", "e/x"] {
        s.assoc_in(&path(name), &Value::Int(1)).unwrap();
    }
    let t = Transaction::begin(&s).unwrap();
    let p = t.store();
    p.assoc_in(&path("a/x"), &Value::Int(2)).unwrap();
    p.assoc_in(&path("a/new"), &Value::Int(2)).unwrap();
    p.dissoc_in(&path("b/x")).unwrap();
    p.assoc_in(&path("c/x"), &Value::Int(2)).unwrap();
    p.assoc_in(&path("d/y"), &Value::Int(2)).unwrap();
    p.assoc_in(&path("e/y"), &Value::Int(2)).unwrap();
    // Beside it nothing stands in the way.
    s.assoc_in(&path("a/y"), &Value::Int(3)).unwrap();
    s.assoc_in(&path("a/other"), &Value::Int(3)).unwrap();
    s.assoc_in(&path("a/x"), &Value::Int(3)).unwrap();
    s.assoc_in(&path("a/new"), &Value::Int(3)).unwrap();
    s.assoc_in(&path("b/x/deep"), &Value::Int(3)).unwrap();
    s.dissoc_in(&path("c/x")).unwrap();
    s.assoc(&key("d"), &Value::Int(3)).unwrap();
    s.dissoc(&key("e")).unwrap();
    let before = content(&s);
    let found = t.commit().unwrap();
    let found: Vec<_> = found
        .into_iter()
        .map(|c| (c.path.to_vec(), c.clash))
        .collect();
    let expected = [
        ("a/new", Clash::Made),
        ("a/x", Clash::Changed),
        ("b/x", Clash::Changed),
        ("c/x", Clash::Removed),
        ("d", Clash::Changed),
        ("e", Clash::Removed),
    ];
    for (name, clash) in expected {
        assert!(found.contains(&(path(name), clash)), "{name}: {found:?}");
    }
    assert!(!found.iter().any(|(p, _)| *p == path("a")), "{found:?}");
    assert_eq!(content(&s), before);
    // It goes on, and can be committed once nothing is in its way any more.
    for (name, value) in [("a/x", 1), ("b/x/deep", 1)] {
        s.assoc_in(&path(name), &Value::Int(value)).unwrap();
    }
    p.dissoc_in(&path("a/new")).unwrap();
    assert!(!t.commit().unwrap().is_empty());
    t.abort().unwrap();
    let t = Transaction::begin(&s).unwrap();
    t.store().assoc_in(&path("a/x"), &Value::Int(5)).unwrap();
    assert_eq!(t.commit().unwrap(), []);
    assert_eq!(s.get_in(&path("a/x")).unwrap(), Some(Value::Int(5)));
}

#[test]
fn what_was_written_as_it_was_is_written() {
    let s = memory();
    let map = Value::Map([(key("x"), Value::Int(1))].into());
    for value in [Value::Int(1), map] {
        for evicted in [false, true] {
            s.assoc(&key("a"), &value).unwrap();
            let last_write = |s: &Store| s.doc(&key("a")).unwrap().unwrap().last_write;
            let before = last_write(&s);
            let t = Transaction::begin(&s).unwrap();
            t.store().assoc(&key("a"), &value).unwrap();
            if evicted {
                s.dissoc(&key("a")).unwrap();
                let found = t.commit().unwrap();
                assert_eq!(found[0].clash, Clash::Removed, "{value:?}");
                t.abort().unwrap();
                assert_eq!(s.get(&key("a")).unwrap(), None);
            } else {
                assert_eq!(t.commit().unwrap(), []);
                assert_eq!(s.get(&key("a")).unwrap(), Some(value.clone()));
                assert!(last_write(&s) > before, "{value:?}");
            }
        }
    }
}

#[test]
fn nothing_is_left_of_a_transaction_that_was_given_up_or_cut_off() {
    let dir = tempfile::tempdir().unwrap();
    let place = Location::parse(&dir.path().join("s").display().to_string()).unwrap();
    let s = Store::create(&place, &CreateOptions::default()).unwrap();
    let page = |n: u8| Value::Bytes((0..100_000_u32).map(|i| (i % 251) as u8 ^ n).collect());
    s.assoc(&key("a"), &page(1)).unwrap();
    let begun = Transaction::begin(&s).unwrap();
    begun.store().assoc(&key("a"), &page(2)).unwrap();
    begun.store().assoc(&key("b"), &page(3)).unwrap();
    begun.abort().unwrap();
    let cut_off = Transaction::begin(&s).unwrap();
    cut_off.store().assoc(&key("b"), &page(4)).unwrap();
    s.assoc(&key("a"), &page(5)).unwrap();
    s.settle().unwrap();
    drop(cut_off);
    drop(begun);
    drop(s);
    let s = Store::connect(&place, &ConnectOptions::default()).unwrap();
    let content = content(&s);
    assert_eq!(content.len(), 1);
    assert_eq!(content[&key("a")], page(5));
    let done = gc::reclaim(&s).unwrap();
    assert!(done.freed > 0);
    assert!(done.live_bytes < 150_000, "{done:?}");
    assert!(!s.has_dropped());
}

#[test]
fn many_changes_leave_memory_before_the_end() {
    let s = memory();
    s.assoc_in(&path("d/first"), &Value::Int(0)).unwrap();
    let t = Transaction::begin(&s).unwrap();
    let text = |n: usize| Value::Text(format!("{n} ").repeat(20_000));
    for n in 0..300 {
        let name = path(&format!("d/{n}"));
        t.store().assoc_in(&name, &text(n)).unwrap();
    }
    gc::reclaim(&s).unwrap();
    assert_eq!(t.commit().unwrap(), []);
    gc::reclaim(&s).unwrap();
    for n in 0..300 {
        let name = path(&format!("d/{n}"));
        assert_eq!(s.get_in(&name).unwrap(), Some(text(n)));
    }
}

#[test]
fn a_transaction_takes_no_changes_while_it_is_committed() {
    let s = memory();
    let t = Transaction::begin(&s).unwrap();
    t.store().assoc(&key("a"), &Value::Int(1)).unwrap();
    assert!(!t.store().seal().unwrap().is_empty());
    let refused = t.store().assoc(&key("a"), &Value::Int(2)).unwrap_err();
    assert!(matches!(refused, StoreError::Sealed), "{refused}");
    t.store().unseal();
    t.store().assoc(&key("b"), &Value::Int(2)).unwrap();
    assert_eq!(t.commit().unwrap(), []);
    assert_eq!(content(&s).len(), 2);
}

/// Random changes in a transaction and beside it: either it is refused, for something that both have
/// changed, or all of it is there and all of the others', too.
#[test]
fn a_commit_is_all_or_nothing_beside_others() {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut random = move |n: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % n
    };
    let (mut refused, mut done) = (0, 0);
    for round in 0..400 {
        let s = memory();
        let place = |random: &mut dyn FnMut(u64) -> u64| {
            let depth = 1 + random(3) as usize;
            let names = (0..depth).map(|_| key(["p", "q", "r", "s"][random(4) as usize]));
            names.collect::<Vec<_>>()
        };
        let change = |store: &Store, n: i64, random: &mut dyn FnMut(u64) -> u64| {
            let at = place(random);
            let changed = match random(4) {
                0 => store.dissoc_in(&at).map(|_| ()),
                _ => store.assoc_in(&at, &Value::Int(n)),
            };
            changed.is_ok().then_some(at)
        };
        for n in 0..random(12) {
            change(&s, n as i64, &mut random);
        }
        if random(2) == 0 {
            s.settle().unwrap();
        }
        let base = content(&s);
        let t = Transaction::begin(&s).unwrap();
        for n in 0..random(6) {
            change(t.store(), 100 + n as i64, &mut random);
        }
        for n in 0..random(4) {
            change(&s, 200 + n as i64, &mut random);
        }
        if random(2) == 0 {
            s.settle().unwrap();
        }
        let (own, others) = (content(t.store()), content(&s));
        let leaves = |content: &BTreeMap<Key, Value>| {
            let mut found = BTreeMap::new();
            for (key, value) in content {
                leaves_of(&mut vec![key.clone()], value, &mut found);
            }
            found
        };
        let (base, own, others) = (leaves(&base), leaves(&own), leaves(&others));
        let changed = |to: &BTreeMap<Vec<Key>, Value>| {
            let all = base.keys().chain(to.keys());
            let differ = all.filter(|at| base.get(*at) != to.get(*at));
            differ.cloned().collect::<std::collections::BTreeSet<_>>()
        };
        let (by_own, by_others) = (changed(&own), changed(&others));
        let conflicts = t.commit().unwrap();
        let now = leaves(&content(&s));
        if conflicts.is_empty() {
            done += 1;
            let mut expected = others.clone();
            for at in &by_own {
                match own.get(at) {
                    Some(value) => expected.insert(at.clone(), value.clone()),
                    None => expected.remove(at),
                };
            }
            assert_eq!(now, expected, "round {round}");
        } else {
            refused += 1;
            assert_eq!(now, others, "round {round}");
            let meet = |a: &Vec<Key>, b: &Vec<Key>| a.starts_with(b) || b.starts_with(a);
            let met = by_own.iter().any(|a| {
                by_others.iter().any(|b| {
                    a[0] == b[0]
                        && (meet(a, b)
                            || a.len() != b.len()
                            || a[..a.len() - 1] == b[..b.len() - 1])
                })
            });
            assert!(met, "round {round}: {conflicts:?} {by_own:?} {by_others:?}");
        }
    }
    assert!(refused > 20 && done > 100, "{refused} refused, {done} done");
}

/// Everything below a value; a map counts for itself, too.
fn leaves_of(at: &mut Vec<Key>, value: &Value, found: &mut BTreeMap<Vec<Key>, Value>) {
    let Value::Map(map) = value else {
        found.insert(at.clone(), value.clone());
        return;
    };
    found.insert(at.clone(), Value::Map(BTreeMap::new()));
    for (key, value) in map {
        at.push(key.clone());
        leaves_of(at, value, found);
        at.pop();
    }
}
