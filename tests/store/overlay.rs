//! A store to which nothing is written, but to what lies over it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use konserve_fs::backend::tiered::Writes;
use konserve_fs::backend::{Deadline, Precondition};
use konserve_fs::snapshot;
use konserve_fs::store::{
    ConnectOptions, Copied, CreateOptions, Done, FrontOptions, Location, Store, StoreError,
};
use konserve_fs::value::{Key, Value};

struct Bench {
    dir: tempfile::TempDir,
    place: Location,
}

fn key(n: i64) -> Key {
    Key::text(&format!("k{n}"))
}

/// Large enough for pages.
fn value(n: i64) -> Value {
    Value::Text(format!("{n} ").repeat(30_000))
}

fn kinds() -> Vec<fn(PathBuf) -> Location> {
    vec![
        Location::Embedded,
        Location::File,
        #[cfg(feature = "lmdb")]
        Location::Lmdb,
        #[cfg(feature = "rocksdb")]
        Location::RocksDb,
    ]
}

fn put(s: &Store, numbers: std::ops::Range<i64>) {
    for n in numbers {
        s.assoc(&key(n), &value(n)).unwrap();
    }
}

#[track_caller]
fn has(s: &Store, numbers: std::ops::Range<i64>) {
    let mut expected: Vec<Key> = numbers.clone().map(key).collect();
    for n in numbers {
        assert_eq!(s.get(&key(n)).unwrap(), Some(value(n)), "{n}");
    }
    let mut found: Vec<Key> = s.keys().map(|item| item.unwrap().0).collect();
    expected.sort();
    found.sort();
    assert_eq!(found, expected);
}

/// What is below a directory: `None` is a directory.
type Files = BTreeMap<PathBuf, Option<Vec<u8>>>;

fn files(dir: &Path) -> Files {
    let mut found = Files::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.append(&mut files(&path));
            found.insert(path, None);
        } else {
            let bytes = fs::read(&path).unwrap();
            found.insert(path, Some(bytes));
        }
    }
    found
}

/// Makes `to` what `from` was.
fn bring_back(files: &Files, from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for (path, bytes) in files {
        let path = to.join(path.strip_prefix(from).unwrap());
        match bytes {
            None => fs::create_dir_all(path).unwrap(),
            Some(bytes) => fs::write(path, bytes).unwrap(),
        }
    }
}

impl Bench {
    /// A store that has the first ten values.
    fn new(kind: fn(PathBuf) -> Location) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let place = kind(dir.path().join("store"));
        let s = Store::create(&place, &CreateOptions::default()).unwrap();
        put(&s, 0..10);
        s.release().unwrap();
        Self { dir, place }
    }

    /// One that was killed when it had five of these in its journal only.
    fn killed(kind: fn(PathBuf) -> Location) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let there = kind(dir.path().join("there"));
        let s = Store::create(&there, &CreateOptions::default()).unwrap();
        put(&s, 0..5);
        s.settle().unwrap();
        put(&s, 5..10);
        s.sync().unwrap();
        let place = kind(dir.path().join("store"));
        let from = there.directory().unwrap();
        bring_back(&files(from), from, &dir.path().join("store"));
        Self { dir, place }
    }

    fn store(&self) -> &Path {
        self.place.directory().unwrap()
    }

    fn front(&self) -> PathBuf {
        self.dir.path().join("front")
    }

    fn over(&self, dir: PathBuf) -> ConnectOptions {
        ConnectOptions {
            front: Some(FrontOptions {
                dir,
                writes: Writes::Through,
                done: Done::OnlyInFront,
                size: None,
                copies: Copied::AsUsed,
            }),
            ..ConnectOptions::default()
        }
    }

    fn open(&self) -> Result<Store, StoreError> {
        Store::connect(&self.place, &self.over(self.front()))
    }

    fn without(&self) -> Result<Store, StoreError> {
        Store::connect(&self.place, &ConnectOptions::default())
    }

    fn read_only(&self, options: ConnectOptions) -> Result<Store, StoreError> {
        let read_only = true;
        Store::connect(
            &self.place,
            &ConnectOptions {
                read_only,
                ..options
            },
        )
    }

    /// Why the front is refused.
    #[track_caller]
    fn refusal(&self) -> String {
        match self.open() {
            Err(error @ StoreError::Front { .. }) => error.to_string(),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn what_is_written_over_a_store_is_there_again_with_the_same_front_and_the_store_as_it_was() {
    for kind in kinds() {
        for b in [Bench::new(kind), Bench::killed(kind)] {
            let before = files(b.store());
            let id = {
                let s = b.open().unwrap();
                has(&s, 0..10);
                put(&s, 10..15);
                for n in 0..5 {
                    s.dissoc(&key(n)).unwrap();
                }
                has(&s, 5..15);
                assert_eq!(s.overlay(), Some(&*b.front().canonicalize().unwrap()));
                assert!(s.standing().overlay.unwrap().bytes > 0);
                let id = s.id();
                s.release().unwrap();
                id
            };
            assert_eq!(files(b.store()), before);
            // Killed, when a part is folded and a part is not.
            let s = b.open().unwrap();
            assert_eq!(s.id(), id);
            has(&s, 5..15);
            put(&s, 15..18);
            s.settle().unwrap();
            put(&s, 18..20);
            drop(s);
            has(&b.read_only(b.over(b.front())).unwrap(), 5..20);
            let s = b.open().unwrap();
            has(&s, 5..20);
            s.release().unwrap();
            assert_eq!(files(b.store()), before);
            // Several at a time, of which none sees the other, beside those who only read.
            let (one, two) = (b.open().unwrap(), b.over(b.dir.path().join("other")));
            let two = Store::connect(&b.place, &two).unwrap();
            put(&two, 10..11);
            has(&b.read_only(ConnectOptions::default()).unwrap(), 0..10);
            has(&one, 5..20);
            has(&two, 0..11);
            let busy = b.without();
            assert!(matches!(busy, Err(StoreError::InUse { .. })), "{busy:?}");
            let busy = b.open();
            assert!(matches!(busy, Err(StoreError::InUse { .. })), "{busy:?}");
            one.release().unwrap();
            two.release().unwrap();
            assert_eq!(files(b.store()), before);
            has(&b.without().unwrap(), 0..10);
        }
    }
}

#[test]
fn snapshots_and_collecting_work_over_a_store_and_take_nothing_from_it() {
    for kind in kinds() {
        let b = Bench::new(kind);
        let before = files(b.store());
        let s = b.open().unwrap();
        snapshot::take(&s, "first").unwrap();
        for n in 0..9 {
            s.dissoc(&key(n)).unwrap();
        }
        put(&s, 20..30);
        s.settle().unwrap();
        for n in 21..30 {
            s.dissoc(&key(n)).unwrap();
        }
        let freed = konserve_fs::gc::reclaim(&s).unwrap();
        assert!(freed.freed > 0, "{freed:?}");
        let at = snapshot::open(&s, "first").unwrap();
        has(&at, 0..10);
        drop(at);
        snapshot::remove(&s, "first").unwrap();
        let freed = konserve_fs::gc::reclaim(&s).unwrap();
        assert!(freed.freed > 0, "{freed:?}");
        let again = konserve_fs::gc::reclaim(&s).unwrap();
        assert_eq!(again.freed, 0, "what is gone is not found again");
        let (report, told) = super::fsck::checked(&s);
        assert!(report.complete && told.is_empty(), "{told:?}");
        assert_eq!(report.garbage, 0);
        // What is gone can be written again.
        put(&s, 0..2);
        s.release().unwrap();
        let s = b.open().unwrap();
        assert_eq!(s.get(&key(0)).unwrap(), Some(value(0)));
        assert_eq!(s.get(&key(2)).unwrap(), None);
        assert_eq!(s.get(&key(9)).unwrap(), Some(value(9)));
        assert_eq!(s.get(&key(20)).unwrap(), Some(value(20)));
        s.release().unwrap();
        assert_eq!(files(b.store()), before);
        has(&b.without().unwrap(), 0..10);
    }
}

#[test]
fn a_front_is_refused_over_another_state_of_the_store_and_over_another_store() {
    for kind in kinds() {
        let b = Bench::new(kind);
        let s = b.open().unwrap();
        put(&s, 10..11);
        s.release().unwrap();
        // Opened for writing, and collected, is not written to.
        let s = b.without().unwrap();
        konserve_fs::gc::reclaim(&s).unwrap();
        s.release().unwrap();
        let s = b.open().unwrap();
        has(&s, 0..11);
        s.release().unwrap();
        let kept = files(&b.front());
        let copy = files(b.store());
        // What is in the journal only counts, too.
        let s = b.without().unwrap();
        s.assoc(&key(0), &Value::Int(1)).unwrap();
        drop(s);
        let why = b.refusal();
        for part in [
            "written to since",
            "removing it",
            &b.front().display().to_string(),
        ] {
            assert!(why.contains(part), "{why}");
        }
        let refused = b.read_only(b.over(b.front()));
        assert!(
            matches!(refused, Err(StoreError::Front { .. })),
            "{refused:?}"
        );
        b.without().unwrap().release().unwrap();
        b.refusal();
        let s = b.without().unwrap();
        s.assoc(&key(0), &value(0)).unwrap();
        s.release().unwrap();
        b.refusal();
        assert_eq!(files(&b.front()), kept, "what is refused stays as it is");
        // The state comes back from a backup.
        fs::remove_dir_all(b.store()).unwrap();
        bring_back(&copy, b.store(), b.store());
        let s = b.open().unwrap();
        has(&s, 0..11);
        s.release().unwrap();
        let other = Bench::new(kind);
        let refused = Store::connect(&other.place, &other.over(b.front())).unwrap_err();
        assert!(refused.to_string().contains("over the store"), "{refused}");
        // Half a snapshot on its way in, which leaves the header as it is.
        let deadline = Deadline::after(Duration::from_secs(60));
        let s = b.without().unwrap();
        let backend = s.pager().backend();
        backend
            .put(b"i", b"staged", Precondition::Any, deadline)
            .unwrap();
        drop(s);
        assert!(b.refusal().contains("written to since"));
        // A newer format.
        let lies_on = b.front().join("overlay/lies-on");
        let text = fs::read_to_string(&lies_on).unwrap();
        fs::write(&lies_on, text.replacen('1', "2", 1)).unwrap();
        assert!(b.refusal().contains("use the kfs that wrote it"));
    }
}

#[test]
fn a_store_that_was_repaired_is_another_state() {
    for kind in kinds() {
        let b = Bench::new(kind);
        let s = b.open().unwrap();
        put(&s, 10..11);
        s.release().unwrap();
        let s = b.without().unwrap();
        let (backend, deadline) = (
            s.pager().backend(),
            Deadline::after(Duration::from_secs(60)),
        );
        let page = backend.list(b"p", None, 1, deadline).unwrap().remove(0);
        backend
            .put(&page, b"damaged", Precondition::Any, deadline)
            .unwrap();
        let (s, cuts, _) = super::fsck::repaired(s);
        assert!(!cuts.is_empty());
        s.release().unwrap();
        b.refusal();
    }
}

#[test]
fn a_front_that_was_half_made_is_made_again() {
    let b = Bench::new(Location::Embedded);
    for part in ["blobs", "journal", "blobs/engine"] {
        fs::create_dir_all(b.front().join("overlay.new").join(part)).unwrap();
        fs::write(b.front().join("overlay.new/lies-on"), "1 ").unwrap();
    }
    let s = b.open().unwrap();
    has(&s, 0..10);
    s.release().unwrap();
    assert!(!b.front().join("overlay.new").exists());
}

#[test]
fn a_front_is_refused_where_it_would_be_something_else() {
    let b = Bench::new(Location::File);
    let refused = |options: &ConnectOptions, part: &str| {
        let refused = Store::connect(&b.place, options).unwrap_err();
        assert!(matches!(refused, StoreError::Front { .. }), "{refused}");
        assert!(refused.to_string().contains(part), "{refused}");
    };
    // For reading only nothing is made.
    let mut reading = b.over(b.front());
    reading.read_only = true;
    refused(&reading, "nothing was written over");
    assert!(!b.front().exists());
    // What says something of copies.
    for change in [
        |f: &mut FrontOptions| f.size = Some(1 << 20),
        |f: &mut FrontOptions| f.writes = Writes::Around,
        |f: &mut FrontOptions| f.copies = Copied::All,
    ] {
        let mut options = b.over(b.front());
        change(options.front.as_mut().unwrap());
        refused(&options, "no copy");
    }
    refused(
        &b.over(b.store().join("front")),
        "the store's own directory",
    );
    let mine = b.dir.path().join("mine");
    fs::create_dir(&mine).unwrap();
    fs::write(mine.join("file"), "mine").unwrap();
    refused(&b.over(mine.clone()), "there is file in it");
    assert_eq!(files(&mine).len(), 1);
    // Neither is a front with copies one to which alone is written, nor the reverse.
    let copies = |dir| {
        let mut options = b.over(dir);
        options.front.as_mut().unwrap().done = Done::InStore;
        options
    };
    let cache = b.dir.path().join("cache");
    let s = Store::connect(&b.place, &copies(cache.clone())).unwrap();
    s.release().unwrap();
    let before = files(&cache);
    refused(&b.over(cache.clone()), "in it, which is of something else");
    assert_eq!(files(&cache), before);
    let s = b.open().unwrap();
    put(&s, 10..11);
    s.release().unwrap();
    let before = files(&b.front());
    refused(&copies(b.front()), "no front");
    let alone = Store::connect(&Location::Embedded(b.front()), &ConnectOptions::default());
    let alone = alone.unwrap_err().to_string();
    assert!(alone.contains("front=DIR,overlay"), "{alone}");
    assert_eq!(files(&b.front()), before);
    let memory = Location::parse("mem:").unwrap();
    let kept = Store::create(&memory, &CreateOptions::default()).unwrap();
    let error = Store::connect(&memory, &b.over(b.front())).unwrap_err();
    assert!(error.to_string().contains("in memory"), "{error}");
    drop(kept);
    // What waits elsewhere belongs below it.
    let mut behind = copies(b.dir.path().join("behind"));
    behind.front.as_mut().unwrap().done = Done::InFront;
    let s = Store::connect(&b.place, &behind).unwrap();
    put(&s, 10..11);
    drop(s);
    let waits = b.open();
    assert!(matches!(waits, Err(StoreError::Behind { .. })), "{waits:?}");
}

/// What was written over the store is damaged: then it is read as it was written or is an error, and what
/// the store has, which is older, is never read in its place.
#[test]
fn damage_to_what_was_written_over_a_store_is_never_the_older_state() {
    let b = Bench::new(Location::Embedded);
    let s = b.open().unwrap();
    let new = |n: i64| Value::Text(format!("new {n} ").repeat(30_000));
    for n in 0..4 {
        s.assoc(&key(n), &new(n)).unwrap();
    }
    for n in 4..6 {
        s.dissoc(&key(n)).unwrap();
    }
    s.settle().unwrap();
    for n in 6..8 {
        s.assoc(&key(n), &new(n)).unwrap();
    }
    s.sync().unwrap();
    let front = b.front();
    // As a kill leaves it.
    let kept = files(&front);
    s.release().unwrap();
    let released = files(&front);
    let expected = |n: i64| match n {
        4 | 5 => None,
        0..8 => Some(new(n)),
        _ => Some(value(n)),
    };
    let errors = std::cell::Cell::new(0);
    let check = |what: &str| {
        let Ok(s) = b.open() else {
            errors.set(errors.get() + 1);
            return;
        };
        for n in 0..10 {
            match s.get(&key(n)) {
                Ok(found) => assert!(found == expected(n), "{what}: {n} is not as it was written"),
                Err(_) => errors.set(errors.get() + 1),
            }
        }
    };
    for state in [&kept, &released] {
        for (path, bytes) in state {
            let name = path.file_name().unwrap().to_str().unwrap();
            let Some(bytes) = bytes.as_ref().filter(|bytes| !bytes.is_empty()) else {
                continue;
            };
            if name == "kfs.lock" || name == "spare" {
                continue;
            }
            let places = (0..4).map(|part| part * (bytes.len() - 1) / 3);
            let mut flawed: Vec<Option<Vec<u8>>> = places
                .map(|at| {
                    let mut bytes = bytes.clone();
                    bytes[at] ^= 1;
                    Some(bytes)
                })
                .collect();
            flawed.push(Some(bytes[..bytes.len() / 2].to_vec()));
            flawed.push(None);
            for flawed in flawed {
                fs::remove_dir_all(&front).unwrap();
                bring_back(state, &front, &front);
                match flawed {
                    Some(bytes) => fs::write(path, bytes).unwrap(),
                    None => fs::remove_file(path).unwrap(),
                }
                check(&path.display().to_string());
            }
        }
    }
    assert!(errors.get() > 10, "{}", errors.get());
    fs::remove_dir_all(&front).unwrap();
    bring_back(&released, &front, &front);
    check("as it was");
}
