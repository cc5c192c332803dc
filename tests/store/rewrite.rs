//! Stores whose settings change: what is there reads as before, and can be brought into the new form.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use konserve_fs::backend::memory::Memory;
use konserve_fs::backend::{
    Access, Backend, BackendError, Batch, Blob, Capabilities, Deadline, Kind, Lock, Precondition,
    Written,
};
use konserve_fs::codec::{Compressor, Serializer, Serializers, Settings, Unreadable};
use konserve_fs::gc;
use konserve_fs::snapshot;
use konserve_fs::store::{ConnectOptions, CreateOptions, Custom, Location, Store, StoreError};
use konserve_fs::value::{Key, Value, cbor, edn};

fn settings(serializer: &str, compressor: Compressor) -> Settings {
    Settings {
        serializer: serializer.to_owned(),
        compressor,
    }
}

fn all_settings() -> Vec<Settings> {
    let of = |serializer| Compressor::ALL.map(|compressor| settings(serializer, compressor));
    ["cbor", "edn", "json"].into_iter().flat_map(of).collect()
}

/// A place for a store of each kind that this build has.
fn places(dir: &tempfile::TempDir) -> Vec<Location> {
    #[allow(unused_mut, reason = "more in other builds")]
    let mut kinds = vec!["kfs", "file"];
    #[cfg(feature = "lmdb")]
    kinds.push("lmdb");
    #[cfg(feature = "rocksdb")]
    kinds.push("rocksdb");
    let path = |kind: &str| format!("{kind}:{}", dir.path().join(kind).display());
    let mut places: Vec<String> = kinds.into_iter().map(path).collect();
    places.push("mem:".to_owned());
    places
        .iter()
        .map(|text| Location::parse(text).unwrap())
        .collect()
}

/// Everything that a store shows.
fn content(store: &Store) -> BTreeMap<Key, Value> {
    let keys = store.keys().map(|found| found.unwrap().0);
    keys.map(|key| (key.clone(), store.get(&key).unwrap().unwrap()))
        .collect()
}

/// Documents of every kind of value and page: in the record, in runs of several levels, in chunks,
/// and of their own.
fn fill(store: &Store, seed: i64) {
    let all = r#"[nil true -1.5 1/3 1.50M :a/b sym \a (1 2) #{3} #uuid "6f1c1d3e-0000-4000-8000-000000000001"
        #inst "2020-01-01T00:00:00.5Z" #my/tag {:x #bytes "00ff"} ##NaN 123456789012345678901234567890]"#;
    let put = |key: &str, value: &Value| store.assoc(&Key::text(key), value).unwrap();
    put("all", &edn::parse(all).unwrap());
    put("seed", &Value::Int(seed));
    let entry = |n: i64| {
        let key = Value::Keyword(format!("key/{n}"));
        (Key::new(&key), Value::Text(format!("value {n} of {seed}")))
    };
    put("map", &Value::Map((0..1500).map(entry).collect()));
    let lines = (0..4000).map(|n| format!("line {n} of {seed}\n"));
    put("text", &Value::Text(lines.collect()));
    put(
        "bytes",
        &Value::Bytes(
            (0..50_000u32)
                .map(|n| n.wrapping_mul(2_654_435_761) as u8)
                .collect(),
        ),
    );
    let numbers = (0..3000).map(|n| Key::new(&Value::Int(n * seed)));
    put("set", &Value::Set(numbers.collect()));
}

/// How many blobs there are of each serializer and compressor, but the header.
fn forms(store: &Store) -> BTreeMap<(u8, u8), u64> {
    let backend = store.pager().backend();
    let soon = Deadline::after(std::time::Duration::from_secs(20));
    let mut forms = BTreeMap::new();
    for prefix in [b"p", b"r"] {
        for address in backend.list(prefix, None, 1_000_000, soon).unwrap() {
            let blob = backend.get(&address, soon).unwrap().unwrap();
            *forms.entry((blob.bytes[1], blob.bytes[2])).or_default() += 1;
        }
    }
    forms
}

/// Rewrites everything; how many blobs were.
fn rewrite(store: &Store) -> u64 {
    let (mut after, mut count) = (None, 0);
    loop {
        let part = store.rewrite_some(after.as_deref(), 50).unwrap();
        assert!(part.damaged.is_empty(), "{:?}", part.damaged);
        count += part.rewritten;
        after = part.next;
        if after.is_none() {
            return count;
        }
    }
}

#[test]
fn a_store_whose_settings_changed_reads_as_before_on_every_storage() {
    let dir = tempfile::tempdir().unwrap();
    for place in places(&dir) {
        let store = Store::create(&place, &CreateOptions::default()).unwrap();
        let mut then = Vec::new();
        for (seed, settings) in all_settings().into_iter().enumerate() {
            store.change_settings(&settings).unwrap();
            assert_eq!(store.settings(), settings);
            fill(&store, seed as i64 + 1);
            let only_here = Key::text(&format!("only {seed}"));
            store
                .assoc(&only_here, &Value::Text("and again ".repeat(60)))
                .unwrap();
            snapshot::take(&store, &format!("s{seed}")).unwrap();
            then.push(content(&store));
            store.settle().unwrap();
        }
        let serializers: Vec<u8> = forms(&store).into_keys().map(|(s, _)| s).collect();
        assert!(
            [3, 4, 5].iter().all(|n| serializers.contains(n)),
            "{place}: {serializers:?}"
        );
        let check = |store: &Store, when: &str| {
            for (seed, then) in then.iter().enumerate() {
                let snapshot = snapshot::open(store, &format!("s{seed}")).unwrap();
                assert!(
                    content(&snapshot) == *then,
                    "{place} {when}: snapshot {seed}"
                );
            }
            assert!(content(store) == *then.last().unwrap(), "{place} {when}");
        };
        check(&store, "before");
        let mut store = reopened(&place, store);
        assert_eq!(store.settings(), *all_settings().last().unwrap());
        check(&store, "opened again");
        for (wanted, number) in [
            (settings("edn", Compressor::Zstd), (4, 2)),
            (settings("json", Compressor::None), (5, 0)),
            (settings("cbor", Compressor::Lz4), (3, 1)),
        ] {
            store.change_settings(&wanted).unwrap();
            assert!(rewrite(&store) > 100, "{place}");
            assert_eq!(rewrite(&store), 0, "{place}: what is done is done");
            let found = forms(&store);
            // Content that no serializer takes is of 3, and what does not shrink of 0.
            let is_possible = |(serializer, compressor): &(u8, u8)| {
                [3, number.0].contains(serializer) && [0, number.1].contains(compressor)
            };
            assert!(found.keys().all(is_possible), "{place}: {found:?}");
            let written: u64 = found
                .iter()
                .filter(|((s, _), _)| *s == number.0)
                .map(|(_, n)| n)
                .sum();
            assert!(written > 100, "{place}: {found:?}");
            store = reopened(&place, store);
            check(&store, &wanted.serializer);
        }
        gc::reclaim(&store).unwrap();
        check(&store, "collected");
    }
}

/// The same store through another connection, as far as it is kept anywhere.
fn reopened(place: &Location, store: Store) -> Store {
    store.pager().retain(|_| false);
    if matches!(place, Location::Memory(_)) {
        return store;
    }
    let again = ConnectOptions {
        cache: Some(0),
        ..ConnectOptions::default()
    };
    let last = store.settings();
    drop(store);
    match Store::connect(place, &again) {
        Ok(store) => {
            assert_eq!(store.settings(), last);
            store
        }
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn whoever_writes_while_everything_is_rewritten_wins() {
    const WRITERS: u64 = 3;
    let dir = tempfile::tempdir().unwrap();
    let place = Location::parse(&format!("kfs:{}", dir.path().join("s").display())).unwrap();
    let store = Store::create(&place, &CreateOptions::default())
        .unwrap()
        .unsynced();
    fill(&store, 1);
    for n in 0..300 {
        store
            .assoc(&Key::new(&Value::Int(n)), &Value::Text("first ".repeat(40)))
            .unwrap();
    }
    snapshot::take(&store, "first").unwrap();
    let first = content(&store);
    store.settle().unwrap();
    let stop = AtomicBool::new(false);
    let written = AtomicU64::new(0);
    let last: Vec<BTreeMap<Key, Value>> = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let (store, stop, written) = (&store, &stop, &written);
                scope.spawn(move || {
                    let mut last = BTreeMap::new();
                    let mut random = writer + 1;
                    while !stop.load(Ordering::Relaxed) {
                        random = random
                            .wrapping_mul(6_364_136_223_846_793_005)
                            .wrapping_add(1);
                        let n = (random >> 33) % 100 * WRITERS + writer;
                        let value = Value::Text(format!("{random} ").repeat(300));
                        store
                            .assoc(&Key::new(&Value::Int(n as i64)), &value)
                            .unwrap();
                        last.insert(Key::new(&Value::Int(n as i64)), value);
                        written.fetch_add(1, Ordering::Relaxed);
                        if random.is_multiple_of(32) {
                            store.fold_now().unwrap();
                        }
                    }
                    last
                })
            })
            .collect();
        let collector = scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                gc::reclaim(&store).unwrap();
            }
        });
        for settings in all_settings().iter().cycle().take(9) {
            store.change_settings(settings).unwrap();
            let before = written.load(Ordering::Relaxed);
            rewrite(&store);
            while written.load(Ordering::Relaxed) == before {
                // Why, it says when it is joined.
                if writers.iter().any(|writer| writer.is_finished()) {
                    break;
                }
                std::thread::yield_now();
            }
        }
        stop.store(true, Ordering::Relaxed);
        collector.join().unwrap();
        writers
            .into_iter()
            .map(|writer| writer.join().unwrap())
            .collect()
    });
    let mut expected = first.clone();
    expected.extend(last.into_iter().flatten());
    store.settle().unwrap();
    store.pager().retain(|_| false);
    assert!(content(&store) == expected);
    assert!(content(&snapshot::open(&store, "first").unwrap()) == first);
    let store = reopened(&place, store);
    assert!(content(&store) == expected);
    assert!(content(&snapshot::open(&store, "first").unwrap()) == first);
}

/// CBOR from its end.
#[derive(Debug)]
struct Backwards;

impl Serializer for Backwards {
    fn number(&self) -> u8 {
        130
    }
    fn name(&self) -> &'static str {
        "backwards"
    }
    fn write(&self, value: &Value, out: &mut Vec<u8>) {
        let mut bytes = cbor::encode(value);
        bytes.reverse();
        out.extend(bytes);
    }
    fn read(&self, bytes: &[u8]) -> Result<Value, Unreadable> {
        let forward: Vec<u8> = bytes.iter().rev().copied().collect();
        Ok(cbor::decode(&forward)?)
    }
}

#[test]
fn a_store_that_needs_a_serializer_of_a_program_says_so_to_others() {
    let dir = tempfile::tempdir().unwrap();
    let place = Location::parse(&format!("file:{}", dir.path().join("s").display())).unwrap();
    let create = |serializers: Serializers| CreateOptions {
        settings: settings("backwards", Compressor::None),
        serializers,
        ..CreateOptions::default()
    };
    let not_known = "the store's serializer is \"backwards\", which is not known to this program";
    let refused = Store::create(&place, &create(Serializers::default())).unwrap_err();
    assert!(refused.to_string().ends_with(not_known), "{refused}");
    assert!(!Store::exists(&place));
    let serializers = Serializers::default().with(Arc::new(Backwards)).unwrap();
    let store = Store::create(&place, &create(serializers.clone())).unwrap();
    fill(&store, 1);
    let before = content(&store);
    store.settle().unwrap();
    assert!(forms(&store).contains_key(&(130, 0)));
    drop(store);
    let plain = ConnectOptions::default();
    let refused = Store::connect(&place, &plain).unwrap_err();
    assert!(matches!(refused, StoreError::Setting { .. }));
    assert!(refused.to_string().ends_with(not_known), "{refused}");
    let knowing = ConnectOptions {
        serializers,
        cache: Some(0),
        ..plain.clone()
    };
    let store = Store::connect(&place, &knowing).unwrap();
    assert!(content(&store) == before);
    // What it leaves behind in a store is named, too, where it has to be read.
    store
        .change_settings(&settings("cbor", Compressor::None))
        .unwrap();
    drop(store);
    let store = Store::connect(&place, &plain).unwrap();
    let refused = store.get(&Key::text("seed")).unwrap_err();
    let says = "serializer 130 is not known: the program that wrote it has registered it";
    assert!(refused.to_string().starts_with("\"seed\": "), "{refused}");
    assert!(refused.to_string().ends_with(says), "{refused}");
    drop(store);
    let store = Store::connect(&place, &knowing).unwrap();
    rewrite(&store);
    drop(store);
    let store = Store::connect(&place, &plain).unwrap();
    assert!(content(&store) == before);
}

#[test]
fn text_that_takes_more_than_was_reserved_does_not_overfill_a_batch() {
    let store = Store::create(
        &Location::parse("mem:").unwrap(),
        &CreateOptions {
            settings: settings("json", Compressor::None),
            ..CreateOptions::default()
        },
    )
    .unwrap()
    .unsynced();
    // Keys of control characters: six times as long in JSON.
    let key = |n: u32| Key::text(&format!("{n}{}", "\u{1}".repeat(100_000)));
    for n in 0..180 {
        store.assoc(&key(n), &Value::Int(n.into())).unwrap();
    }
    store.settle().unwrap();
    let found = forms(&store);
    assert!(found[&(5, 0)] > 5 && found[&(3, 0)] > 50, "{found:?}");
    store.pager().retain(|_| false);
    for n in 0..180 {
        assert_eq!(store.get(&key(n)).unwrap(), Some(Value::Int(n.into())));
    }
}

/// A storage in which something happens between the reading of a blob and its replacement.
#[derive(Debug)]
struct Between(
    Memory,
    Arc<Hook>,
    #[expect(dead_code, reason = "held")] Lock,
);

/// What happens, once.
#[derive(Default)]
struct Hook(Mutex<Option<Box<dyn FnOnce() + Send>>>);

impl std::fmt::Debug for Hook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hook")
    }
}

impl Backend for Between {
    fn name(&self) -> &str {
        self.0.name()
    }
    fn capabilities(&self) -> Capabilities {
        self.0.capabilities()
    }
    fn get(&self, address: &[u8], deadline: Deadline) -> Result<Option<Blob>, BackendError> {
        self.0.get(address, deadline)
    }
    fn put(
        &self,
        address: &[u8],
        bytes: &[u8],
        precondition: Precondition,
        deadline: Deadline,
    ) -> Result<Written, BackendError> {
        self.0.put(address, bytes, precondition, deadline)
    }
    fn delete(
        &self,
        address: &[u8],
        precondition: Precondition,
        deadline: Deadline,
    ) -> Result<bool, BackendError> {
        self.0.delete(address, precondition, deadline)
    }
    fn list(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
        deadline: Deadline,
    ) -> Result<Vec<Vec<u8>>, BackendError> {
        self.0.list(prefix, after, limit, deadline)
    }
    fn apply(&self, batch: Batch, deadline: Deadline) -> Result<(), BackendError> {
        let hook = self.1.0.lock().unwrap().take();
        if let Some(hook) = hook {
            hook();
        }
        self.0.apply(batch, deadline)
    }
    fn sync(&self, deadline: Deadline) -> Result<(), BackendError> {
        self.0.sync(deadline)
    }
}

struct Betweens(Arc<Hook>);

impl Kind for Betweens {
    fn exists(&self, _: &Path) -> Result<bool, BackendError> {
        Ok(false)
    }
    fn create(&self, _: &Path, lock: Lock) -> Result<Arc<dyn Backend>, BackendError> {
        Ok(Arc::new(Between(Memory::new(), Arc::clone(&self.0), lock)))
    }
    fn open(&self, root: &Path, _: Access, lock: Lock) -> Result<Arc<dyn Backend>, BackendError> {
        self.create(root, lock)
    }
}

#[test]
fn what_is_written_between_the_reading_of_a_blob_and_its_replacement_stays() {
    let dir = tempfile::tempdir().unwrap();
    let hook = Arc::new(Hook::default());
    let place = Location::Custom(Custom {
        scheme: "between",
        dir: dir.path().join("s"),
        kind: Arc::new(Betweens(Arc::clone(&hook))),
    });
    let options = CreateOptions {
        settings: settings("cbor", Compressor::None),
        ..CreateOptions::default()
    };
    let store = Store::create(&place, &options).unwrap();
    let (other, key) = (Key::text("other"), Key::text("a"));
    store.assoc(&other, &Value::Int(7)).unwrap();
    store.assoc(&key, &Value::Int(1)).unwrap();
    store.settle().unwrap();
    let backend = store.pager().backend();
    let soon = Deadline::after(std::time::Duration::from_secs(20));
    let records = backend.list(b"r", None, 10, soon).unwrap();
    let address = records
        .into_iter()
        .find(|address| address.ends_with(b"a"))
        .unwrap();
    // What another write of the same record leaves.
    store.assoc(&key, &Value::Int(2)).unwrap();
    let old = backend.get(&address, soon).unwrap().unwrap().bytes;
    store.settle().unwrap();
    let new = backend.get(&address, soon).unwrap().unwrap().bytes;
    backend
        .put(&address, &old, Precondition::Any, soon)
        .unwrap();
    store
        .change_settings(&settings("json", Compressor::None))
        .unwrap();
    let (writer, at, won) = (Arc::clone(backend), address.clone(), new.clone());
    *hook.0.lock().unwrap() = Some(Box::new(move || {
        writer.put(&at, &won, Precondition::Any, soon).unwrap();
    }));
    assert!(rewrite(&store) > 0);
    assert!(hook.0.lock().unwrap().is_none());
    assert!(backend.get(&address, soon).unwrap().unwrap().bytes == new);
    // The other was rewritten all the same, and this one is the next time.
    assert_eq!(forms(&store).get(&(5, 0)), Some(&1));
    assert_eq!(rewrite(&store), 1);
    assert_eq!(store.get(&other).unwrap(), Some(Value::Int(7)));
}
