//! A store that is written behind: what it was told last is in its front.

use std::fs;
use std::path::PathBuf;

use konserve_fs::backend::tiered::Writes;
use konserve_fs::store::{
    ConnectOptions, Copied, CreateOptions, Done, FrontOptions, Location, Store, StoreError, check,
};
use konserve_fs::value::{Key, Value};

use super::fsck::Told;

struct Bench {
    dir: tempfile::TempDir,
    place: Location,
}

fn key(n: i64) -> Key {
    Key::text(&format!("k{n}"))
}

/// Large enough for a page.
fn value(n: i64) -> Value {
    Value::Text(format!("{n} ").repeat(5000))
}

fn kinds() -> [fn(PathBuf) -> Location; 2] {
    [Location::Embedded, Location::File]
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

    fn front(&self) -> PathBuf {
        self.dir.path().join("front")
    }

    fn mark(&self) -> PathBuf {
        self.dir.path().join("store/kfs.behind")
    }

    fn with(&self, dir: PathBuf, done: Done) -> ConnectOptions {
        ConnectOptions {
            front: Some(FrontOptions {
                dir,
                writes: Writes::Through,
                done,
                size: None,
                copies: Copied::AsUsed,
            }),
            ..ConnectOptions::default()
        }
    }

    fn open(&self, done: Done) -> Result<Store, StoreError> {
        Store::connect(&self.place, &self.with(self.front(), done))
    }

    fn without(&self) -> Result<Store, StoreError> {
        Store::connect(&self.place, &ConnectOptions::default())
    }

    /// Has ten more values in its front, and was killed.
    fn killed(kind: fn(PathBuf) -> Location) -> Self {
        let b = Self::new(kind);
        let s = b.open(Done::InFront).unwrap();
        put(&s, 10..20);
        drop(s);
        b
    }
}

fn put(s: &Store, numbers: std::ops::Range<i64>) {
    for n in numbers {
        s.assoc(&key(n), &value(n)).unwrap();
    }
}

#[track_caller]
fn has(s: &Store, count: i64) {
    for n in 0..count {
        assert_eq!(s.get(&key(n)).unwrap(), Some(value(n)), "{n}");
    }
    assert_eq!(s.get(&key(count)).unwrap(), None);
}

#[track_caller]
fn is_refused(done: Result<Store, StoreError>) {
    assert!(matches!(done, Err(StoreError::Behind { .. })), "{done:?}");
}

#[test]
fn after_a_proper_end_everything_is_in_the_store() {
    for kind in kinds() {
        let b = Bench::new(kind);
        for round in 1..4 {
            let s = b.open(Done::InFront).unwrap();
            assert!(b.mark().exists());
            has(&s, 10 * round);
            put(&s, 10 * round..10 * round + 10);
            has(&s, 10 * round + 10);
            s.settle().unwrap();
            has(&s, 10 * round + 10);
            let standing = s.standing().front.unwrap().queue.unwrap();
            assert!(standing.records + standing.carried > 0, "{standing:?}");
            s.release().unwrap();
            assert!(!b.mark().exists());
            let left = ["behind", "queue", "journal"].map(|name| b.front().join(name).exists());
            assert_eq!(left, [false; 3]);
        }
        fs::remove_dir_all(b.front()).unwrap();
        let s = b.without().unwrap();
        has(&s, 40);
        let (report, told) = super::fsck::checked(&s);
        assert!(report.complete && told.is_empty(), "{told:?}");
    }
}

#[test]
fn what_was_acknowledged_is_there_after_a_kill_with_the_front() {
    for kind in kinds() {
        let b = Bench::killed(kind);
        let s = b.open(Done::InFront).unwrap();
        has(&s, 20);
        put(&s, 20..25);
        s.settle().unwrap();
        drop(s);
        let s = b.open(Done::InFront).unwrap();
        has(&s, 25);
        s.release().unwrap();
        has(&b.without().unwrap(), 25);
    }
}

#[test]
fn a_store_is_not_opened_without_the_front_in_which_something_waits() {
    for kind in kinds() {
        let b = Bench::killed(kind);
        let other = b.dir.path().join("other");
        let reading = |front: Option<PathBuf>, without_front| {
            let front = front.and_then(|dir| b.with(dir, Done::InFront).front);
            let options = ConnectOptions {
                read_only: true,
                front,
                without_front,
                ..ConnectOptions::default()
            };
            Store::connect(&b.place, &options)
        };
        is_refused(b.without());
        is_refused(Store::connect(
            &b.place,
            &b.with(other.clone(), Done::InFront),
        ));
        is_refused(reading(None, false));
        is_refused(reading(Some(other), false));
        is_refused(reading(Some(b.dir.path().join("missing")), false));
        let why = b.without().unwrap_err().to_string();
        for word in [&b.front().display().to_string(), "behind", "kfs.behind"] {
            assert!(why.contains(word), "{why}");
        }
        let mut told = Told::default();
        let checked = check(&b.place, None, &mut told);
        assert!(
            matches!(checked, Err(StoreError::Behind { .. })),
            "{checked:?}"
        );
        let id = reading(None, true).unwrap().id();
        let deleted = Store::delete(&b.place, id);
        assert!(matches!(deleted, Err(StoreError::Behind { .. })));
        // As it was, and as it is.
        has(&reading(None, true).unwrap(), 10);
        has(&reading(Some(b.front()), false).unwrap(), 20);
        let s = b.open(Done::InFront).unwrap();
        has(&s, 20);
        s.release().unwrap();
        has(&reading(None, false).unwrap(), 20);
        Store::delete(&b.place, id).unwrap();
        assert!(!b.dir.path().join("store").exists());
    }
}

#[test]
fn what_waits_in_a_front_that_is_lost_can_be_given_up() {
    for kind in kinds() {
        let b = Bench::killed(kind);
        fs::rename(b.front(), b.dir.path().join("lost")).unwrap();
        is_refused(b.without());
        is_refused(b.open(Done::InFront));
        fs::remove_file(b.mark()).unwrap();
        let s = b.without().unwrap();
        has(&s, 10);
        put(&s, 10..12);
        s.release().unwrap();
        // Found again, it is of no use any more, and nothing of it is brought to the store.
        fs::remove_dir_all(b.front()).unwrap();
        fs::rename(b.dir.path().join("lost"), b.front()).unwrap();
        let refused = b.open(Done::InFront).unwrap_err();
        assert!(matches!(refused, StoreError::Front { .. }), "{refused}");
        let s = b.open(Done::InStore).unwrap();
        has(&s, 12);
        s.release().unwrap();
        fs::remove_dir_all(b.front()).unwrap();
        let s = b.open(Done::InFront).unwrap();
        has(&s, 12);
        s.release().unwrap();
    }
}

#[test]
fn a_store_that_was_killed_can_be_written_behind_and_one_written_behind_otherwise() {
    for kind in kinds() {
        let b = Bench::new(kind);
        let s = b.without().unwrap();
        put(&s, 10..15);
        drop(s);
        let s = b.open(Done::InFront).unwrap();
        has(&s, 15);
        put(&s, 15..20);
        drop(s);
        let s = b.open(Done::InStore).unwrap();
        assert!(!b.mark().exists());
        has(&s, 20);
        s.release().unwrap();
        has(&b.without().unwrap(), 20);
    }
}

/// Each step of making a queue and of removing it may have been the last one.
#[test]
fn a_queue_that_was_half_made_or_half_removed_is_no_obstacle() {
    let b = Bench::killed(Location::File);
    let text = fs::read(b.mark()).unwrap();
    let s = b.open(Done::InFront).unwrap();
    s.release().unwrap();
    fs::create_dir_all(b.front().join("queue/log")).unwrap();
    for here in [false, true] {
        if here {
            fs::write(b.front().join("behind"), &text).unwrap();
        }
        let s = b.open(Done::InFront).unwrap();
        has(&s, 20);
        s.release().unwrap();
    }
    fs::write(b.front().join("behind"), &text).unwrap();
    fs::write(b.mark(), &text).unwrap();
    let s = b.open(Done::InFront).unwrap();
    has(&s, 20);
    s.release().unwrap();
    has(&b.without().unwrap(), 20);
    fs::write(b.mark(), "2 future\n").unwrap();
    let why = b.without().unwrap_err().to_string();
    assert!(why.contains("a newer kfs"), "{why}");
}
