//! Snapshots: what every key held at one instant.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use konserve_fs::gc;
use konserve_fs::snapshot::{self, SnapshotError};
use konserve_fs::store::{ConnectOptions, CreateOptions, Location, Store, StoreError};
use konserve_fs::value::{Key, Value};

fn memory() -> Store {
    Store::create(&Location::parse("mem:").unwrap(), &CreateOptions::default()).unwrap()
}

fn key(name: &str) -> Key {
    Key::text(name)
}

fn text(n: u64, len: usize) -> Value {
    Value::Text(format!("{n} ").repeat(len))
}

/// Everything that a store shows, live or of a snapshot.
fn content(store: &Store) -> BTreeMap<Key, Value> {
    let keys = store.keys().map(|found| found.unwrap());
    keys.map(|(key, meta)| {
        let value = store.get(&key).unwrap();
        assert_eq!(store.get_meta(&key).unwrap(), Some(meta));
        (key, value.expect("a key that is listed"))
    })
    .collect()
}

#[test]
fn a_snapshot_shows_what_was_there_when_it_was_taken() {
    let s = memory();
    let (a, b, c) = (key("a"), key("b"), key("c"));
    s.assoc_in(&[a.clone(), key("x")], &text(1, 2000)).unwrap();
    s.assoc(&b, &Value::Int(1)).unwrap();
    let before = content(&s);
    for fold in [false, true] {
        let name = if fold { "folded" } else { "unfolded" };
        snapshot::take(&s, name).unwrap();
        if fold {
            s.settle().unwrap();
        }
        let then = snapshot::open(&s, name).unwrap();
        s.assoc_in(&[a.clone(), key("x")], &text(2, 2000)).unwrap();
        s.dissoc(&b).unwrap();
        s.assoc(&c, &Value::Int(3)).unwrap();
        for _ in 0..2 {
            assert_eq!(content(&then), before);
            assert_eq!(
                then.get_in(&[a.clone(), key("x")]).unwrap(),
                Some(text(1, 2000))
            );
            assert!(!then.exists_key(&c).unwrap());
            s.settle().unwrap();
        }
        s.assoc_in(&[a.clone(), key("x")], &text(1, 2000)).unwrap();
        s.assoc(&b, &Value::Int(1)).unwrap();
        s.dissoc(&c).unwrap();
    }
}

#[test]
fn a_snapshot_takes_no_writes() {
    let s = memory();
    s.assoc(&key("a"), &Value::Int(1)).unwrap();
    snapshot::take(&s, "then").unwrap();
    let then = snapshot::open(&s, "then").unwrap();
    assert!(then.is_read_only());
    let refused = then.assoc(&key("a"), &Value::Int(2)).unwrap_err();
    assert!(matches!(refused, StoreError::ReadOnly), "{refused}");
    assert_eq!(s.get(&key("a")).unwrap(), Some(Value::Int(1)));
    // Its end is not the store's.
    then.release().unwrap();
    s.assoc(&key("a"), &Value::Int(3)).unwrap();
}

#[test]
fn snapshots_have_names_that_are_theirs_alone() {
    let s = memory();
    let first = snapshot::take(&s, "first").unwrap();
    let taken = snapshot::take(&s, "first").unwrap_err();
    assert_eq!(taken.to_string(), "there is a snapshot first already");
    let second = snapshot::take(&s, "2026-11-22T10:00 häufig").unwrap();
    assert!(second.epoch > first.epoch && second.time > first.time);
    assert_eq!(snapshot::list(&s).unwrap(), [first, second.clone()]);
    for bad in [
        "",
        ".",
        "..",
        ".hidden",
        "-x",
        "a/b",
        "a@b",
        "a..b",
        "a\nb",
        &"x".repeat(256),
    ] {
        let error = snapshot::take(&s, bad).unwrap_err();
        assert!(
            matches!(error, SnapshotError::BadName { .. }),
            "{bad}: {error}"
        );
    }
    snapshot::remove(&s, "first").unwrap();
    assert_eq!(snapshot::list(&s).unwrap(), [second]);
    let gone = snapshot::remove(&s, "first").unwrap_err();
    assert_eq!(gone.to_string(), "there is no snapshot first");
    assert!(snapshot::open(&s, "first").is_err());
    // The name is free again.
    snapshot::take(&s, "first").unwrap();
}

#[test]
fn a_dropped_snapshot_is_read_by_nobody() {
    let s = memory();
    s.assoc(&key("a"), &Value::Int(1)).unwrap();
    snapshot::take(&s, "then").unwrap();
    let then = snapshot::open(&s, "then").unwrap();
    s.assoc(&key("a"), &Value::Int(2)).unwrap();
    snapshot::remove(&s, "then").unwrap();
    for _ in 0..2 {
        let error = then.get(&key("a")).unwrap_err();
        assert!(matches!(error, StoreError::NoSnapshot { .. }), "{error}");
        assert!(then.keys().next().unwrap().is_err());
        gc::reclaim(&s).unwrap();
    }
}

#[test]
fn what_a_snapshot_needs_stays_and_what_it_alone_needed_goes_with_it() {
    let s = memory();
    s.assoc(&key("a"), &text(1, 5000)).unwrap();
    snapshot::take(&s, "old").unwrap();
    s.assoc(&key("a"), &text(2, 5000)).unwrap();
    s.settle().unwrap();
    snapshot::take(&s, "new").unwrap();
    s.assoc(&key("a"), &text(3, 5000)).unwrap();
    s.dissoc(&key("b")).unwrap();
    gc::reclaim(&s).unwrap();
    let old = snapshot::open(&s, "old").unwrap();
    assert_eq!(old.get(&key("a")).unwrap(), Some(text(1, 5000)));
    snapshot::remove(&s, "new").unwrap();
    let with_old = gc::reclaim(&s).unwrap();
    assert!(with_old.freed > 0);
    assert_eq!(old.get(&key("a")).unwrap(), Some(text(1, 5000)));
    snapshot::remove(&s, "old").unwrap();
    assert!(gc::reclaim(&s).unwrap().freed > 0);
    assert_eq!(gc::reclaim(&s).unwrap().freed, 0);
    // Live records, those of hidden documents included, and no others.
    let kept = s.records_after(None, 1000).unwrap();
    let live = kept.iter().filter(|(address, _)| address[1..9] == [0; 8]);
    assert_eq!(live.count(), kept.len());
    assert_eq!(s.get(&key("a")).unwrap(), Some(text(3, 5000)));
}

#[test]
fn taking_a_snapshot_touches_no_record_but_the_list() {
    let s = memory();
    for n in 0..500 {
        s.assoc(&Key::index(n), &Value::Int(1)).unwrap();
    }
    s.settle().unwrap();
    let records = |s: &Store| {
        let all = s.records_after(None, 10_000).unwrap().into_iter();
        let seqs = all.map(|(address, found)| (address, found.unwrap().1.seq));
        seqs.collect::<BTreeMap<_, _>>()
    };
    let before = records(&s);
    snapshot::take(&s, "a").unwrap();
    s.settle().unwrap();
    let mut after = records(&s);
    after.retain(|address, seq| before.get(address) != Some(seq));
    assert_eq!(after.len(), 1, "{after:?}");
}

#[test]
fn a_hard_link_is_in_the_snapshot_as_it_was() {
    let s = memory();
    let (a, b) = ([key("a"), key("f")], [key("b"), key("g")]);
    s.assoc_in(&a, &text(1, 3000)).unwrap();
    s.assoc_in(&[key("b"), key("x")], &Value::Int(1)).unwrap();
    s.transact(|tx| {
        let attrs = tx.moved_attrs(&a)?;
        let now = tx.now;
        tx.link(&a, b.to_vec().into(), attrs, 77, now)
    })
    .unwrap();
    snapshot::take(&s, "then").unwrap();
    s.assoc_in(&b, &text(2, 3000)).unwrap();
    s.dissoc_in(&a).unwrap();
    s.settle().unwrap();
    s.dissoc(&key("b")).unwrap();
    gc::reclaim(&s).unwrap();
    let then = snapshot::open(&s, "then").unwrap();
    for path in [&a, &b] {
        assert_eq!(then.get_in(path).unwrap(), Some(text(1, 3000)));
        let found = then.find(path).unwrap().unwrap();
        assert_eq!(found.link.unwrap().names, 2);
    }
}

/// A generator that repeats itself from the same seed.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }
}

#[derive(Default)]
struct Model {
    live: BTreeMap<Key, Value>,
    snapshots: BTreeMap<String, BTreeMap<Key, Value>>,
}

impl Model {
    fn compare(&self, store: &Store, what: &str) {
        assert!(content(store) == self.live, "{what}: the present");
        let names: Vec<String> = snapshot::list(store)
            .unwrap()
            .into_iter()
            .map(|snapshot| snapshot.name)
            .collect();
        assert_eq!(names.len(), self.snapshots.len(), "{what}: {names:?}");
        for (name, then) in &self.snapshots {
            let shown = snapshot::open(store, name).unwrap();
            assert!(content(&shown) == *then, "{what}: snapshot {name}");
        }
    }
}

fn step(store: &Store, model: &mut Model, random: &mut Random, n: u64) {
    let k = Key::index(random.below(7));
    match random.below(16) {
        0..=5 => {
            let value = text(n, 1 + random.below(3) as usize * 400);
            store.assoc(&k, &value).unwrap();
            model.live.insert(k, value);
        }
        6..=7 => {
            store.dissoc(&k).unwrap();
            model.live.remove(&k);
        }
        8 => {
            let to = Key::index(random.below(7));
            let (from, to) = ([k], [to]);
            match store.rename(&from, &to, false) {
                Ok(()) => {
                    if let Some(value) = model.live.remove(&from[0]) {
                        model.live.insert(to[0].clone(), value);
                    }
                }
                Err(StoreError::NothingThere { .. }) => assert!(!model.live.contains_key(&from[0])),
                Err(e) => panic!("{e}"),
            }
        }
        9..=10 => {
            let name = format!("s{n}");
            snapshot::take(store, &name).unwrap();
            model.snapshots.insert(name, model.live.clone());
        }
        11 => {
            let at = random.below(model.snapshots.len().max(1) as u64) as usize;
            if let Some(name) = model.snapshots.keys().nth(at).cloned() {
                snapshot::remove(store, &name).unwrap();
                model.snapshots.remove(&name);
            }
        }
        12 => drop(gc::reclaim(store).unwrap()),
        13 => store.clear_dropped(&|| false).unwrap(),
        _ => store.fold_now().unwrap(),
    }
}

#[test]
fn snapshots_show_what_a_model_says() {
    let seeds = std::env::var("KFS_SEEDS").map_or(60, |n| n.parse().unwrap());
    for seed in 1..=seeds {
        let mut random = Random(0x9E37_79B9_7F4A_7C15_u64.wrapping_mul(seed) | 1);
        let dir = tempfile::tempdir().unwrap();
        let place = Location::Embedded(dir.path().join("s"));
        let mut store = Store::create(&place, &CreateOptions::default())
            .unwrap()
            .unsynced();
        let mut model = Model::default();
        for n in 0..120 {
            step(&store, &mut model, &mut random, n);
            if random.below(12) == 0 {
                model.compare(&store, &format!("seed {seed} after {n}"));
            }
            // What a handle leaves behind that is not released comes back from the journal.
            if random.below(25) == 0 {
                drop(store);
                let again = Store::connect(&place, &ConnectOptions::default());
                store = again.unwrap().unsynced();
                model.compare(&store, &format!("seed {seed} reopened after {n}"));
            }
        }
        model.compare(&store, &format!("seed {seed} at the end"));
        for name in model.snapshots.keys() {
            snapshot::remove(&store, name).unwrap();
        }
        gc::reclaim(&store).unwrap();
        assert_eq!(gc::reclaim(&store).unwrap().freed, 0, "seed {seed}");
        let records = store.records_after(None, 1000).unwrap();
        let kept = records
            .iter()
            .filter(|(address, _)| address[1..9] != [0; 8]);
        assert_eq!(kept.count(), 0, "seed {seed}");
    }
}

/// Ends the other threads, also of a test that fails.
struct Ending<'a>(&'a AtomicBool);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn every_snapshot_is_one_instant_while_amounts_move_between_keys() {
    const ACCOUNTS: i64 = 12;
    let s = memory().unsynced();
    let account = |n: u64| [Key::index(n), key("amount")];
    for n in 0..ACCOUNTS as u64 {
        s.assoc_in(&account(n), &Value::Int(100)).unwrap();
    }
    let total = |store: &Store| -> i64 {
        let amounts = (0..ACCOUNTS as u64).map(|n| match store.get_in(&account(n)).unwrap() {
            Some(Value::Int(amount)) => amount,
            other => panic!("{other:?}"),
        });
        amounts.sum()
    };
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for writer in 1..=3 {
            let (s, done) = (&s, &done);
            scope.spawn(move || {
                let mut random = Random(writer);
                while !done.load(Ordering::Relaxed) {
                    let (from, to) = (random.below(ACCOUNTS as u64), random.below(ACCOUNTS as u64));
                    let moved = s.transact(|tx| {
                        for (n, by) in [(from, -1), (to, 1)] {
                            let Some(Value::Int(amount)) = tx.value(&account(n))? else {
                                panic!("no amount")
                            };
                            tx.assoc_in(&account(n), &Value::Int(amount + by))?;
                        }
                        Ok(())
                    });
                    if let Err(e) = moved {
                        assert!(matches!(e, StoreError::Contention { .. }), "{e}");
                    }
                }
            });
        }
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                s.fold_now().unwrap();
            }
        });
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                gc::reclaim(&s).unwrap();
            }
        });
        let _ending = Ending(&done);
        let mut taken = Vec::new();
        for n in 0..60 {
            let name = format!("s{n}");
            snapshot::take(&s, &name).unwrap();
            let shown = snapshot::open(&s, &name).unwrap();
            assert_eq!(total(&shown), 100 * ACCOUNTS, "{name} at once");
            taken.push((name, shown));
            if n % 3 == 2 {
                let (name, _) = taken.remove(0);
                snapshot::remove(&s, &name).unwrap();
            }
            for (name, shown) in &taken {
                assert_eq!(total(shown), 100 * ACCOUNTS, "{name} after s{n}");
            }
        }
    });
}
