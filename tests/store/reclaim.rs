//! Writers, readers, folds and the freeing of pages at the same time.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use konserve_fs::gc;
use konserve_fs::store::{ConnectOptions, CreateOptions, Location, Store, StoreError};
use konserve_fs::tree::{Entry, PageSet, Reading, TreeError, Visitor, Walk, convert};
use konserve_fs::value::{Key, KeyPath, Value};

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

/// The value that a seed stands for. There are few, so that equal pages are written again and again.
fn value(seed: u64) -> Value {
    let text = |n: u64| Value::Text(format!("{seed} {n} ").repeat(60));
    match seed % 4 {
        0 => text(0),
        1 => Value::Bytes(seed.to_be_bytes().repeat(12_000)),
        2 => Value::List((0..800).map(|n| Value::Int(n + seed as i64)).collect()),
        _ => Value::Map((0..80).map(|n| (Key::index(n), text(n))).collect()),
    }
}

/// A value that carries its seed.
fn signed(seed: u64) -> Value {
    Value::Map(BTreeMap::from([
        (Key::text("seed"), Value::Int(seed as i64)),
        (Key::text("value"), value(seed)),
    ]))
}

fn check(found: &Value) {
    let Value::Map(map) = found else {
        panic!("not a map")
    };
    let Some(Value::Int(seed)) = map.get(&Key::text("seed")) else {
        panic!("no seed")
    };
    assert!(*found == signed(*seed as u64), "of seed {seed}");
}

const DOCS: u64 = 6;
const NAMES: u64 = 5;
const SEEDS: u64 = 24;

fn place(random: &mut Random) -> [Key; 2] {
    let doc = Key::text(&format!("doc {}", random.below(DOCS)));
    [doc, Key::text(&format!("name {}", random.below(NAMES)))]
}

/// What may fail because somebody else was faster.
fn settle_for<T>(done: Result<T, StoreError>) -> Option<T> {
    match done {
        Ok(done) => Some(done),
        Err(
            StoreError::NothingThere { .. }
            | StoreError::Contention { .. }
            | StoreError::IntoItself { .. },
        ) => None,
        Err(StoreError::Tree {
            source: TreeError::NotFound { .. },
            ..
        }) => None,
        Err(e) => panic!("{e}"),
    }
}

fn write(store: &Store, random: &mut Random, held: &mut Vec<Entry>) {
    let path = place(random);
    match random.below(10) {
        0..=3 => store.assoc_in(&path, &signed(random.below(SEEDS))).unwrap(),
        4 => drop(store.dissoc_in(&path).unwrap()),
        5 => drop(settle_for(store.rename(&path, &place(random), false))),
        6 => drop(settle_for(store.swap(&path, &place(random)))),
        7 => {
            let found = store.transact(|tx| tx.find(&path)).unwrap();
            held.extend(found.map(|found| found.entry));
        }
        8 if !held.is_empty() => {
            let entry = held.swap_remove(random.below(held.len() as u64) as usize);
            store
                .transact(|tx| {
                    if tx.find(&path[..1])?.is_none() {
                        return Ok(());
                    }
                    tx.put(KeyPath::from(path.to_vec()), entry.clone(), None)
                })
                .unwrap();
        }
        _ => store.fold_now().unwrap(),
    }
    if held.len() > 4 {
        held.swap_remove(0);
    }
}

fn read(store: &Store, random: &mut Random) {
    let path = place(random);
    let Some(doc) = store.doc(&path[0]).unwrap() else {
        return;
    };
    // Whoever has a document reads it as it was, whenever it does so.
    std::thread::sleep(Duration::from_millis(random.below(4)));
    let Value::Map(map) = convert::to_value(&doc.entry.node, store.pager()).unwrap() else {
        panic!("not a map")
    };
    map.values().for_each(check);
}

struct Sound;

impl Visitor for Sound {
    fn page(&mut self, _: u64) -> Result<(), TreeError> {
        Ok(())
    }

    fn damaged(&mut self, _: &KeyPath, error: TreeError) -> Result<(), TreeError> {
        Err(error)
    }
}

/// What the records reach; every page of it reads.
fn reachable(store: &Store) -> PageSet {
    store.settle().unwrap();
    let mut walk = Walk::new(store.pager(), Reading::All);
    for (_, record) in store.records_after(None, 10_000).unwrap() {
        let (key, doc) = record.unwrap();
        walk.entry(&[key], &doc.entry, &mut Sound).unwrap();
    }
    walk.into_seen()
}

fn all_sound(store: &Store) {
    for n in 0..DOCS {
        if let Some(Value::Map(map)) = store.get(&Key::text(&format!("doc {n}"))).unwrap() {
            map.values().for_each(check);
        }
    }
}

/// Rounds of freeing amid everything else; then nothing is missing, and nothing too much is there.
fn amid_everything(location: &Location, time: Duration, seed: u64) {
    let store = Store::create(location, &CreateOptions::default()).unwrap();
    let unsynced = store.unsynced();
    let done = AtomicBool::new(false);
    let (writes, freed) = (AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for n in 1..=2 {
            let (store, writes, done) = (&unsynced, &writes, &done);
            scope.spawn(move || {
                let mut random = Random(seed * 10 + n);
                let mut held = Vec::new();
                while !done.load(Ordering::Relaxed) {
                    write(store, &mut random, &mut held);
                    writes.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let (store, done, freed) = (&unsynced, &done, &freed);
        scope.spawn(move || {
            let mut random = Random(seed * 10 + 5);
            while !done.load(Ordering::Relaxed) {
                read(store, &mut random);
            }
        });
        scope.spawn(move || {
            while !done.load(Ordering::Relaxed) {
                let round = gc::reclaim(store).unwrap();
                freed.fetch_add(round.freed, Ordering::Relaxed);
            }
        });
        let end = Instant::now() + time;
        while Instant::now() < end {
            std::thread::sleep(Duration::from_millis(50));
        }
        done.store(true, Ordering::Relaxed);
    });
    assert!(writes.into_inner() > 0 && freed.into_inner() > 0);
    all_sound(&store);
    drop(unsynced);
    store.release().unwrap();
    let store = Store::connect(location, &ConnectOptions::default()).unwrap();
    all_sound(&store);
    let reached = reachable(&store);
    gc::reclaim(&store).unwrap();
    let pages = store.pages_after(None, 1_000_000).unwrap();
    assert_eq!(pages.len(), reached.len());
    assert!(pages.iter().all(|page| reached.contains(page)));
    all_sound(&store);
    store.release().unwrap();
}

/// How long the generated loads run: `KFS_SECONDS`, else a moment.
fn time() -> Duration {
    let seconds = std::env::var("KFS_SECONDS")
        .ok()
        .and_then(|s| s.parse().ok());
    Duration::from_secs(seconds.unwrap_or(4))
}

#[test]
fn pages_are_freed_amid_writers_and_readers_in_memory() {
    amid_everything(&Location::parse("mem:").unwrap(), time(), 77);
}

#[test]
fn pages_are_freed_amid_writers_and_readers_on_disk() {
    let dir = tempfile::tempdir().unwrap();
    amid_everything(&Location::Embedded(dir.path().join("s")), time(), 78);
}

#[test]
fn recovery_does_not_ask_for_what_was_freed() {
    let dir = tempfile::tempdir().unwrap();
    let location = Location::Embedded(dir.path().join("s"));
    let store = Store::create(&location, &CreateOptions::default()).unwrap();
    let key = [Key::text("k")];
    for seed in 0..40 {
        // Large enough to be in pages before the journal refers to it.
        let bytes = Value::Bytes(vec![seed; 400_000]);
        store.assoc_in(&key, &bytes).unwrap();
        store.dissoc_in(&key).unwrap();
        gc::reclaim(&store).unwrap();
    }
    store.assoc_in(&key, &signed(7)).unwrap();
    // Not released: what the journal has is replayed.
    drop(store);
    let store = Store::connect(&location, &ConnectOptions::default()).unwrap();
    assert_eq!(store.get_in(&key).unwrap(), Some(signed(7)));
}

#[test]
fn streams_keep_what_they_read_and_what_they_have_taken_in() {
    use std::io::Read;
    let store = Store::create(&Location::parse("mem:").unwrap(), &CreateOptions::default());
    let store = Arc::new(store.unwrap());
    let (key, other) = (Key::text("k"), Key::text("other"));
    let content: Vec<u8> = (0..3_000_000u32).flat_map(u32::to_be_bytes).collect();
    store.bassoc(&key, content.as_slice()).unwrap();
    let mut reader = store.bget(&key, None).unwrap().unwrap();
    let mut writer = store.blob_writer();
    let half = content.len() / 2;
    let mut read = vec![0; half];
    reader.read_exact(&mut read).unwrap();
    writer.append(&other, &read).unwrap();
    store.dissoc(&key).unwrap();
    store.settle().unwrap();
    gc::reclaim(&store).unwrap();
    reader.read_to_end(&mut read).unwrap();
    assert!(read == content);
    writer.append(&other, &content[half..]).unwrap();
    gc::reclaim(&store).unwrap();
    let taken = writer.finish(&other).unwrap();
    store
        .transact(|tx| tx.assoc_blob_in(std::slice::from_ref(&other), &taken))
        .unwrap();
    drop((reader, taken));
    gc::reclaim(&store).unwrap();
    let mut back = Vec::new();
    let mut reader = store.bget(&other, None).unwrap().unwrap();
    reader.read_to_end(&mut back).unwrap();
    assert!(back == content);
}

#[test]
fn a_cache_keeps_nothing_from_being_freed() {
    let store = Store::create(&Location::parse("mem:").unwrap(), &CreateOptions::default());
    let store = store.unwrap();
    let key = Key::text("k");
    store.assoc(&key, &signed(3)).unwrap();
    assert_eq!(store.get(&key).unwrap(), Some(signed(3)));
    store.dissoc(&key).unwrap();
    assert!(gc::reclaim(&store).unwrap().freed > 3);
    assert_eq!(store.pages_after(None, 10).unwrap().len(), 0);
}

/// Bytes of the disk that a directory takes.
fn disk(dir: &Path) -> u64 {
    let entries = std::fs::read_dir(dir).unwrap().map(Result::unwrap);
    let of = |entry: std::fs::DirEntry| match entry.metadata().unwrap() {
        meta if meta.is_dir() => disk(&entry.path()),
        meta => meta.blocks() * 512,
    };
    entries.map(of).sum()
}

/// Bytes that do not compress.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut random = Random(seed * 2 + 1);
    let words = std::iter::repeat_with(|| random.below(u64::MAX).to_be_bytes());
    words.take(length / 8).flatten().collect()
}

#[test]
fn the_disk_gets_back_large_content_that_was_overwritten_or_removed() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("s");
    let location = Location::Embedded(place.clone());
    let store = Store::create(&location, &CreateOptions::default()).unwrap();
    let unsynced = store.unsynced();
    let big = Key::text("big");
    let mut length = 24 << 20;
    if let Some(set) = std::env::var("KFS_BYTES").ok().and_then(|n| n.parse().ok()) {
        length = set;
    }
    for round in 0..5 {
        unsynced
            .bassoc(&big, noise(round, length).as_slice())
            .unwrap();
        unsynced.settle().unwrap();
    }
    let live = length as u64;
    // The logs, the newest pack's end, and what is yet to be merged.
    let slack = 32 << 20;
    let full = disk(&place);
    assert!(full > 3 * live, "{full}");
    gc::reclaim(&store).unwrap();
    let left = disk(&place);
    assert!(left < live + slack, "{left} of {full} with {live} in use");
    store.dissoc(&big).unwrap();
    gc::reclaim(&store).unwrap();
    let left = disk(&place);
    assert!(left < slack, "{left} with nothing in use");
    println!("{full} bytes with {live} in use; {left} with nothing in use");
}
