//! A front before the storage of a store.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use konserve_fs::backend::file::Files;
use konserve_fs::backend::tiered::Writes;
use konserve_fs::backend::{Access, Backend, Precondition};
use konserve_fs::gc;
use konserve_fs::store::{
    ConnectOptions, Copied, CreateOptions, Done, FrontOptions, Location, Store,
};
use konserve_fs::value::{Key, Value};

use super::fsck::soon;

struct Bench {
    dir: tempfile::TempDir,
    place: Location,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let place = Location::File(dir.path().join("store"));
        let s = Store::create(&place, &CreateOptions::default()).unwrap();
        for n in 0..20 {
            s.assoc(&key(n), &value(n)).unwrap();
        }
        s.release().unwrap();
        Self { dir, place }
    }

    fn front(&self) -> PathBuf {
        self.dir.path().join("front")
    }

    fn options(&self, writes: Writes) -> ConnectOptions {
        ConnectOptions {
            // What is read twice is not read from memory.
            cache: Some(0),
            front: Some(FrontOptions {
                dir: self.front(),
                writes,
                done: Done::InStore,
                size: None,
                copies: Copied::AsUsed,
            }),
            ..ConnectOptions::default()
        }
    }

    fn open(&self, writes: Writes) -> Store {
        Store::connect(&self.place, &self.options(writes)).unwrap()
    }

    fn without(&self) -> Store {
        Store::connect(&self.place, &ConnectOptions::default()).unwrap()
    }
}

fn key(n: i64) -> Key {
    Key::text(&format!("k{n}"))
}

/// Large enough for a page.
fn value(n: i64) -> Value {
    Value::Text(format!("{n} ").repeat(10_000))
}

#[track_caller]
fn has_all(s: &Store, changed: i64) {
    for n in 0..20 {
        let expected = if n < changed {
            value(n + 100)
        } else {
            value(n)
        };
        assert_eq!(s.get(&key(n)).unwrap(), Some(expected), "{n}");
    }
}

fn misses(s: &Store) -> u64 {
    s.front().unwrap().misses.get()
}

#[test]
fn what_was_read_comes_from_the_front_also_the_next_time() {
    let b = Bench::new();
    let s = b.open(Writes::Through);
    has_all(&s, 0);
    let first = misses(&s);
    assert!(first >= 20);
    has_all(&s, 0);
    assert_eq!(misses(&s), first);
    s.release().unwrap();
    assert!(b.front().join("coherent").exists());
    let s = b.open(Writes::Through);
    assert!(!b.front().join("coherent").exists());
    has_all(&s, 0);
    assert!(misses(&s) < 5, "{}", misses(&s));
    s.release().unwrap();
    assert!(b.without().front().is_none());
}

#[test]
fn everything_that_is_written_is_in_the_store() {
    for writes in [Writes::Through, Writes::Around] {
        let b = Bench::new();
        let s = b.open(writes);
        has_all(&s, 0);
        for n in 0..10 {
            s.assoc(&key(n), &value(n + 100)).unwrap();
        }
        has_all(&s, 10);
        gc::reclaim(&s).unwrap();
        s.release().unwrap();
        fs::remove_dir_all(b.front()).unwrap();
        let s = b.without();
        has_all(&s, 10);
        let mut told = super::fsck::checked(&s);
        assert_eq!(told.1.drain(..).collect::<Vec<_>>(), []);
    }
}

#[test]
fn what_is_written_without_the_front_is_seen_with_it() {
    let b = Bench::new();
    let s = b.open(Writes::Through);
    has_all(&s, 0);
    s.release().unwrap();
    let s = b.without();
    for n in 0..5 {
        s.assoc(&key(n), &value(n + 100)).unwrap();
    }
    s.release().unwrap();
    let s = b.open(Writes::Through);
    has_all(&s, 5);
    s.release().unwrap();
}

/// Not released: as if the process had been killed.
#[test]
fn a_front_without_a_proper_end_is_not_believed() {
    let b = Bench::new();
    let s = b.open(Writes::Through);
    has_all(&s, 0);
    s.assoc(&key(0), &value(100)).unwrap();
    drop(s);
    assert!(!b.front().join("coherent").exists());
    let s = b.open(Writes::Through);
    has_all(&s, 1);
    assert!(misses(&s) >= 20);
    s.release().unwrap();
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(|entry| entry.unwrap()) {
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

#[test]
fn the_front_of_another_store_is_not_believed() {
    let (a, b) = (Bench::new(), Bench::new());
    let s = a.open(Writes::Through);
    for n in 0..20 {
        s.assoc(&key(n), &value(7)).unwrap();
    }
    s.settle().unwrap();
    s.release().unwrap();
    copy(&a.front(), &b.front());
    let s = b.open(Writes::Through);
    has_all(&s, 0);
    s.release().unwrap();
}

#[test]
fn what_is_no_front_is_neither_used_nor_touched() {
    let b = Bench::new();
    let other = Bench::new();
    for dir in [other.dir.path().join("store"), other.dir.path().to_owned()] {
        let options = ConnectOptions {
            front: Some(FrontOptions {
                dir,
                writes: Writes::Through,
                done: Done::InStore,
                size: None,
                copies: Copied::AsUsed,
            }),
            ..ConnectOptions::default()
        };
        let refused = Store::connect(&b.place, &options).unwrap_err().to_string();
        assert!(refused.contains("no front"), "{refused}");
    }
    has_all(&other.without(), 0);
    fs::create_dir(b.front()).unwrap();
    fs::write(b.front().join("kfs-front"), "2\n").unwrap();
    let refused = Store::connect(&b.place, &b.options(Writes::Through)).unwrap_err();
    assert!(refused.to_string().contains("format"), "{refused}");
    has_all(&b.without(), 0);
}

#[test]
fn a_front_has_a_bound_and_is_filled() {
    let b = Bench::new();
    let mut options = b.options(Writes::Through);
    let open = |options: &ConnectOptions| Store::connect(&b.place, options).unwrap();
    let set = |options: &mut ConnectOptions, size, copies| {
        let front = options.front.as_mut().unwrap();
        (front.size, front.copies) = (size, copies);
    };
    set(&mut options, None, Copied::All);
    let s = open(&options);
    let filled = || s.front().unwrap().hits.get();
    // It goes on in the background: in the end nothing is a miss any more.
    loop {
        let (before, missed) = (filled(), misses(&s));
        has_all(&s, 0);
        if misses(&s) == missed {
            assert!(filled() > before);
            break;
        }
    }
    s.release().unwrap();
    set(&mut options, Some(1500), Copied::All);
    let s = open(&options);
    has_all(&s, 0);
    assert!(s.standing().front.unwrap().evicted > 0);
    s.assoc(&key(0), &value(100)).unwrap();
    has_all(&s, 1);
    s.release().unwrap();
    set(&mut options, None, Copied::AsUsed);
    let s = open(&options);
    has_all(&s, 1);
    assert!(misses(&s) > 0, "it did not keep all");
    s.release().unwrap();
}

/// It may have repaired or received, of which the header says nothing.
#[test]
fn whoever_opens_the_store_for_writing_makes_the_front_unbelieved() {
    let b = Bench::new();
    for (write, believed) in [(false, true), (true, false)] {
        let s = b.open(Writes::Through);
        has_all(&s, 0);
        s.release().unwrap();
        let options = ConnectOptions {
            read_only: !write,
            ..ConnectOptions::default()
        };
        Store::connect(&b.place, &options)
            .unwrap()
            .release()
            .unwrap();
        let s = b.open(Writes::Through);
        has_all(&s, 0);
        assert_eq!(misses(&s) < 20, believed, "{}", misses(&s));
        s.release().unwrap();
    }
    let (dir, id) = (b.dir.path().join("store"), b.without().id());
    Store::delete(&b.place, id).unwrap();
    assert!(!dir.exists());
}

#[test]
fn a_check_looks_at_the_store_and_not_at_the_front() {
    let b = Bench::new();
    let s = b.open(Writes::Through);
    has_all(&s, 0);
    s.release().unwrap();
    let dir = b.dir.path().join("store");
    let back = Files::open(&dir, Access::ReadWrite, Duration::ZERO).unwrap();
    let pages = back.list(b"p", None, 1, soon()).unwrap();
    back.put(&pages[0], b"damaged", Precondition::Any, soon())
        .unwrap();
    back.sync(soon()).unwrap();
    drop(back);
    let s = b.open(Writes::Through);
    has_all(&s, 0);
    assert_eq!(super::fsck::checked(&s).1.len(), 1);
    has_all(&s, 0);
    s.release().unwrap();
}
