//! Everything that collects garbage, among writers, snapshots, transactions, steps of the clock and
//! deaths of the process, in an order that a seed gives.
//!
//! `KFS_SEEDS` says how many seeds are tried, `KFS_SEED` with which one to begin.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use super::*;
use crate::snapshot::{self, Transaction};
use crate::store::{ConnectOptions, CreateOptions, Location};
use crate::tree::{SET_FORWARD, Time};
use crate::value::Value;

const DAY: u32 = 24 * 3600;
const KEYS: u64 = 12;

struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }
}

/// Few, so that equal pages are written again and again.
fn value(seed: u64) -> Value {
    let text = |n: u64| Value::Text(format!("{seed} {n} ").repeat(40));
    match seed % 4 {
        0 => text(0),
        1 => Value::Bytes(seed.to_be_bytes().repeat(9_000)),
        // Goes into pages at once.
        2 => Value::Bytes(seed.to_be_bytes().repeat(35_000)),
        _ => Value::Map((0..60).map(|n| (Key::index(n), text(n))).collect()),
    }
}

type Content = BTreeMap<Key, Value>;

fn content(store: &Store) -> Content {
    let keys = store.keys().map(|found| found.unwrap().0);
    keys.map(|key| (key.clone(), store.get(&key).unwrap().unwrap()))
        .collect()
}

/// A store, and what must be in it.
struct Simulation {
    place: Location,
    store: Option<Store>,
    random: Random,
    now: Content,
    kept: HashSet<Key>,
    snapshots: BTreeMap<String, Content>,
    /// Under way: what there was when it began, and what is in it.
    transaction: Option<(Transaction, Content, Content)>,
    /// A sweep under way, and where it goes on.
    sweep: Option<(Sweep, Option<Key>)>,
    told: Vec<String>,
}

impl Simulation {
    fn new(dir: &std::path::Path, kind: &str, seed: u64) -> Self {
        let place = Location::parse(&format!("{kind}:{}", dir.join("s").display())).unwrap();
        let store = Store::create(&place, &CreateOptions::default()).unwrap();
        Self {
            place,
            store: Some(store.unsynced()),
            random: Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1),
            now: Content::new(),
            kept: HashSet::new(),
            snapshots: BTreeMap::new(),
            transaction: None,
            sweep: None,
            told: Vec::new(),
        }
    }

    fn store(&self) -> Store {
        self.store.clone().unwrap()
    }

    fn key(&mut self) -> Key {
        Key::text(&format!("k{}", self.random.below(KEYS)))
    }

    fn tell(&mut self, what: String) {
        self.told.push(what);
    }

    /// One step of anybody but who frees pages.
    fn step(&mut self) {
        let key = self.key();
        let store = self.store();
        let seed = self.random.below(30);
        match self.random.below(24) {
            0..=6 => {
                store.assoc(&key, &value(seed)).unwrap();
                self.now.insert(key.clone(), value(seed));
                self.look_whether_kept(&store, &key);
                self.tell(format!("write {key}"));
            }
            7 | 8 => {
                let path = [key.clone(), Key::text("leaf")];
                if store.assoc_in(&path, &value(seed)).is_ok() {
                    let map = self.now.entry(key.clone());
                    let map = map.or_insert_with(|| Value::Map(BTreeMap::new()));
                    if let Value::Map(map) = map {
                        map.insert(Key::text("leaf"), value(seed));
                    }
                }
                self.tell(format!("write below {key}"));
            }
            9 => {
                store.dissoc(&key).unwrap();
                self.now.remove(&key);
                self.kept.remove(&key);
                self.tell(format!("remove {key}"));
            }
            10 => self.keep(&store, &key),
            11..=13 => self.sweep_some(&store),
            14 | 15 => {
                let name = format!("s{}", self.random.below(3));
                if snapshot::take(&store, &name).is_ok() {
                    self.snapshots.insert(name.clone(), self.now.clone());
                    self.tell(format!("take {name}"));
                }
            }
            16 => {
                let name = format!("s{}", self.random.below(3));
                let dropped = snapshot::remove(&store, &name).is_ok();
                assert_eq!(dropped, self.snapshots.remove(&name).is_some());
                self.tell(format!("drop {name}"));
            }
            17 => {
                let forward = self.random.below(3) as u32 * DAY;
                SET_FORWARD.set(forward);
                self.tell(format!("the clock is {forward} s ahead"));
            }
            18 => store.fold_now().unwrap(),
            19 | 20 => self.transact(&store, &key, seed),
            21 => self.restore(&store, &key),
            _ => {
                if let Some(value) = store.get(&key).unwrap() {
                    assert_eq!(Some(&value), self.now.get(&key));
                }
            }
        }
    }

    fn keep(&mut self, store: &Store, key: &Key) {
        if !self.now.contains_key(key) {
            return;
        }
        let keep = self.kept.insert(key.clone());
        if !keep {
            self.kept.remove(key);
        }
        let path = [key.clone()];
        store
            .transact(|tx| {
                let mut attrs = tx.find(&path)?.unwrap().entry.attrs();
                match keep {
                    true => attrs.xattrs.insert(KEEP.to_vec(), Vec::new()),
                    false => attrs.xattrs.remove(KEEP),
                };
                tx.set_attrs(path.to_vec().into(), attrs)
            })
            .unwrap();
        self.tell(format!("keep {key}: {keep}"));
    }

    /// What is put in the place of a file keeps its attributes, of a directory not.
    fn look_whether_kept(&mut self, store: &Store, key: &Key) {
        let doc = store.doc(key).unwrap().unwrap();
        match doc.entry.attrs().xattrs.contains_key(KEEP) {
            true => self.kept.insert(key.clone()),
            false => self.kept.remove(key),
        };
    }

    fn last_write(store: &Store, key: &Key) -> Option<Time> {
        Some(store.doc(key).unwrap()?.last_write)
    }

    fn sweep_some(&mut self, store: &Store) {
        let (what, after) = match self.sweep.take() {
            Some(under_way) => under_way,
            None => {
                // The last write of some key: that one stays, and all later ones.
                let key = self.key();
                let Some(cutoff) = Self::last_write(store, &key) else {
                    return;
                };
                let keep = HashSet::from([self.key()]);
                self.tell(format!("sweep before {key}, but {keep:?}"));
                let what = Sweep {
                    cutoff,
                    keep,
                    dry_run: false,
                };
                (what, None)
            }
        };
        let written: BTreeMap<Key, Option<Time>> = self
            .now
            .keys()
            .map(|key| (key.clone(), Self::last_write(store, key)))
            .collect();
        let part = sweep_part(store, &what, after.as_ref(), 3).unwrap();
        for key in &part.keys {
            assert!(written[key].is_some_and(|at| at < what.cutoff), "{key}");
            assert!(
                !what.keep.contains(key) && !self.kept.contains(key),
                "{key}"
            );
            self.now.remove(key);
        }
        self.tell(format!("evicted {:?}", part.keys));
        self.sweep = part.next.map(|next| (what, Some(next)));
    }

    fn transact(&mut self, store: &Store, key: &Key, seed: u64) {
        let Some((transaction, _, private)) = &mut self.transaction else {
            let begun = Transaction::begin(store).unwrap();
            self.transaction = Some((begun, self.now.clone(), self.now.clone()));
            self.tell("begin".to_owned());
            return;
        };
        if self.random.below(3) > 0 {
            transaction.store().assoc(key, &value(seed)).unwrap();
            private.insert(key.clone(), value(seed));
            self.told.push(format!("write {key} in the transaction"));
            return;
        }
        assert_eq!(content(transaction.store()), *private);
        let Some((transaction, base, private)) = self.transaction.take() else {
            return;
        };
        let changed: Vec<Key> = transaction
            .store()
            .seal()
            .unwrap()
            .into_iter()
            .map(|changed| changed.key)
            .collect();
        let done = transaction.commit().unwrap().is_empty();
        self.tell(format!("commit {changed:?}: {done}"));
        if done {
            for key in changed {
                if let Some(value) = private.get(&key) {
                    // Others may have changed other entries of the same map.
                    let both =
                        matches!(value, Value::Map(_)) && self.now.get(&key) != base.get(&key);
                    let value = match both {
                        true => store.get(&key).unwrap().unwrap(),
                        false => value.clone(),
                    };
                    self.now.insert(key.clone(), value);
                    self.look_whether_kept(store, &key);
                }
            }
        } else {
            transaction.abort().unwrap();
        }
    }

    fn restore(&mut self, store: &Store, key: &Key) {
        let name = format!("s{}", self.random.below(3));
        let Some(then) = self.snapshots.get(&name) else {
            return;
        };
        let shown = snapshot::open(store, &name).unwrap();
        let Some(value) = then.get(key) else {
            return;
        };
        self.now.insert(key.clone(), value.clone());
        snapshot::restore(store, &shown, std::slice::from_ref(key)).unwrap();
        // It comes back with what it had, the mark to be kept included.
        self.look_whether_kept(store, key);
        self.tell(format!("restore {key} from {name}"));
    }

    fn steps(&mut self, most: u64) {
        for _ in 0..self.random.below(most) {
            self.step();
        }
    }

    /// A round of freeing with others at work between its steps. It may be cut off at each.
    fn reclaim(&mut self) {
        let store = self.store();
        let never = AtomicBool::new(false);
        let cutoff = Guard::new(&store, &never).cutoff().unwrap();
        self.tell("the cutoff".to_owned());
        self.steps(8);
        if self.random.below(8) == 0 {
            return;
        }
        let reachable = mark(cutoff).unwrap();
        self.tell("marked".to_owned());
        self.steps(8);
        if self.random.below(8) == 0 {
            return;
        }
        let done = free(reachable).unwrap();
        self.tell(format!("freed {}", done.freed));
        self.look();
    }

    /// The process dies, at once or after it has brought everything to its place.
    fn die(&mut self) {
        self.transaction = None;
        self.sweep = None;
        let store = self.store.take().unwrap();
        let released = self.random.below(2) == 0;
        match released {
            true => store.release().unwrap(),
            false => drop(store),
        }
        let wait = ConnectOptions {
            wait: Duration::from_secs(10),
            ..ConnectOptions::default()
        };
        self.store = Some(Store::connect(&self.place, &wait).unwrap().unsynced());
        self.tell(format!("a new process; released: {released}"));
        self.look();
    }

    /// Everything is what it must be.
    fn look(&self) {
        let store = self.store();
        let found = content(&store);
        let differ = |key: &&Key| found.get(*key) != self.now.get(*key);
        let wrong: Vec<&Key> = found.keys().chain(self.now.keys()).filter(differ).collect();
        assert!(wrong.is_empty(), "{wrong:?}");
        let listed = snapshot::list(&store).unwrap();
        assert_eq!(listed.len(), self.snapshots.len());
        for (name, then) in &self.snapshots {
            assert!(
                content(&snapshot::open(&store, name).unwrap()) == *then,
                "{name}"
            );
        }
    }

    fn run(&mut self) {
        for _ in 0..12 {
            self.steps(14);
            match self.random.below(3) {
                0 => self.die(),
                _ => self.reclaim(),
            }
        }
        self.look();
        self.transaction = None;
        self.sweep = None;
        // Nothing is left once those are gone who need it.
        for name in std::mem::take(&mut self.snapshots).keys() {
            snapshot::remove(&self.store(), name).unwrap();
        }
        self.die();
        let store = self.store();
        reclaim(&store).unwrap();
        assert_eq!(reclaim(&store).unwrap().freed, 0);
        let pages = unreachable(&store);
        assert_eq!(pages, 0);
    }
}

/// How many pages there are that no record reaches.
fn unreachable(store: &Store) -> usize {
    let (never, seen) = (AtomicBool::new(false), Counter::default());
    let mut finder = Finder {
        bytes: 0,
        unreadable: None,
        held: false,
        pages: 0,
        throttle: Throttle::new(Budget::default(), &never),
        seen: &seen,
    };
    let mut walk = Walk::new(store.pager(), Reading::Runs);
    for (_, record) in store.records_after(None, usize::MAX).unwrap() {
        let (key, doc) = record.unwrap();
        walk.entry(&[key], &doc.entry, &mut finder).unwrap();
    }
    let reached = walk.into_seen();
    let there = store.pages_after(None, usize::MAX).unwrap();
    there.iter().filter(|addr| !reached.contains(addr)).count()
}

#[test]
fn nothing_is_lost_and_nothing_is_left() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let first: u64 = number("KFS_SEED").unwrap_or(1);
    let seeds: u64 = number("KFS_SEEDS").unwrap_or(12);
    for seed in first..first + seeds {
        let shm = std::path::Path::new("/dev/shm");
        let dir = match shm.is_dir() {
            true => tempfile::tempdir_in(shm).unwrap(),
            false => tempfile::tempdir().unwrap(),
        };
        let kind = ["kfs", "file"][(seed % 2) as usize];
        let mut simulation = Simulation::new(dir.path(), kind, seed);
        SET_FORWARD.set(DAY);
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| simulation.run()));
        if let Err(panic) = done {
            eprintln!(
                "KFS_SEED={seed} KFS_SEEDS=1\n{}",
                simulation.told.join("\n")
            );
            std::panic::resume_unwind(panic);
        }
    }
    println!("{seeds} seeds from {first}");
}
