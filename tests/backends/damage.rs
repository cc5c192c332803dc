//! Damage to the embedded storage's files is an error, or of no consequence. Never other content,
//! and never a blob that is no longer there.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use konserve_fs::backend::embedded::{Access, Embedded, LOCK_FILE, verify_closed};
use konserve_fs::backend::{Backend, BackendError, Precondition, Result};
use tempfile::TempDir;

use crate::basics::put;
use crate::storages::{create, soon};

type Content = BTreeMap<Vec<u8>, Vec<u8>>;

/// A closed storage, and what was in it.
struct Closed {
    dir: TempDir,
    content: Content,
}

/// What a storage says after damage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    RefusedToOpen,
    RefusedToRead,
    Unchanged,
}

impl Closed {
    /// `count` blobs of up to `longest` bytes, some replaced, some deleted, all synced.
    fn new(count: u32, longest: usize) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let backend = create(&dir);
        let mut content = Content::new();
        let mut random = Random(1);
        for round in 0..2 {
            for number in (0..count).filter(|number| round == 0 || number % 5 == 0) {
                let address = format!("blob {number}").into_bytes();
                let length = 20 + random.below(longest);
                let bytes = vec![u8::try_from(random.below(256)).unwrap(); length];
                put(&backend, &address, &bytes);
                content.insert(address, bytes);
            }
            for number in (0..count).filter(|number| number % 7 == 0) {
                let address = format!("blob {number}").into_bytes();
                backend.delete(&address, Precondition::Any, soon()).unwrap();
                content.remove(&address);
            }
        }
        backend.sync(soon()).unwrap();
        drop(backend);
        Self { dir, content }
    }

    /// The storage's files, without the lock.
    fn files(&self) -> Vec<PathBuf> {
        let mut files = Vec::new();
        walk(self.dir.path(), Path::new(""), &mut files);
        files.retain(|file| file != Path::new(LOCK_FILE));
        files.sort();
        files
    }

    /// What a copy says after `damage` was done to its file `name`.
    fn after(&self, name: &Path, damage: impl FnOnce(&Path)) -> Outcome {
        let copy = tempfile::tempdir().unwrap();
        copy_all(self.dir.path(), copy.path());
        damage(&copy.path().join(name));
        let opened = Embedded::open(copy.path(), Access::ReadWrite, Duration::ZERO);
        let backend = match opened {
            Ok(backend) => backend,
            Err(error) => return refusal(&error, Outcome::RefusedToOpen),
        };
        match read_all(&backend, &self.content) {
            Ok(read) => {
                assert!(read == self.content, "{}: other content", name.display());
                Outcome::Unchanged
            }
            Err(error) => refusal(&error, Outcome::RefusedToRead),
        }
    }
}

fn refusal(error: &BackendError, outcome: Outcome) -> Outcome {
    assert!(matches!(error, BackendError::Damage { .. }), "{error:?}");
    outcome
}

/// Everything that can be read; what cannot is asserted to be so for damage.
fn read_all(backend: &Embedded, expected: &Content) -> Result<Content> {
    let mut failure = None;
    let mut read = Content::new();
    let listed = backend.list(b"", None, usize::MAX, soon());
    if let Ok(listed) = &listed {
        assert!(listed.iter().eq(expected.keys()), "another list of blobs");
    }
    for address in expected.keys() {
        match backend.get(address, soon()) {
            Ok(Some(blob)) => {
                assert!(blob.bytes == expected[address], "other content");
                read.insert(address.clone(), blob.bytes);
            }
            Ok(None) => panic!("{} is gone", address.escape_ascii()),
            Err(error) => failure = Some(error),
        }
    }
    listed?;
    failure.map_or(Ok(read), Err)
}

fn walk(base: &Path, below: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(base.join(below)).unwrap() {
        let entry = entry.unwrap();
        let name = below.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            walk(base, &name, files);
        } else {
            files.push(name);
        }
    }
}

fn copy_all(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            fs::create_dir(&target).unwrap();
            copy_all(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        usize::try_from((z ^ (z >> 31)) % limit as u64).unwrap()
    }
}

/// Flips one bit of each file, `rounds` times, and counts what came of it.
fn flip_bits(closed: &Closed, rounds: usize) -> BTreeMap<Outcome, usize> {
    let mut random = Random(2);
    let mut counts = BTreeMap::new();
    for name in closed.files() {
        let bytes = fs::read(closed.dir.path().join(&name)).unwrap();
        // A log has reserved space behind its end, which means nothing.
        let end = bytes
            .iter()
            .rposition(|byte| *byte != 0)
            .map_or(0, |last| last + 1);
        for _ in 0..rounds.min(end) {
            let (at, bit) = (random.below(end), random.below(8));
            let outcome = closed.after(&name, |path| {
                let file = OpenOptions::new().write(true).open(path).unwrap();
                file.write_all_at(&[bytes[at] ^ (1 << bit)], at as u64)
                    .unwrap();
            });
            *counts.entry(outcome).or_default() += 1;
        }
    }
    counts
}

#[test]
fn a_flipped_bit_in_the_log_is_noticed() {
    let counts = flip_bits(&Closed::new(200, 500), 60);
    assert!(counts[&Outcome::RefusedToOpen] > 200, "{counts:?}");
}

#[test]
fn a_flipped_bit_in_the_tables_is_noticed() {
    let closed = Closed::new(3500, 5500);
    let has = |part: &str| {
        closed
            .files()
            .iter()
            .any(|file| file.to_str().unwrap().contains(part))
    };
    assert!(has("tables/"), "{:?}", closed.files());
    let counts = flip_bits(&closed, 36);
    assert!(counts[&Outcome::RefusedToOpen] > 30, "{counts:?}");
    assert!(counts[&Outcome::RefusedToRead] > 5, "{counts:?}");
}

#[test]
fn a_flipped_bit_in_a_pack_is_noticed() {
    let closed = Closed::new(80, 30_000);
    let packed = |file: &PathBuf| file.extension().is_some_and(|is| is == "pack");
    assert!(closed.files().iter().any(packed), "{:?}", closed.files());
    let counts = flip_bits(&closed, 60);
    assert!(counts[&Outcome::RefusedToRead] > 20, "{counts:?}");
}

#[test]
fn a_file_that_was_cut_or_removed_is_noticed() {
    let closed = Closed::new(3500, 5500);
    for name in closed.files() {
        // The log's note only backs up what the log says, and the log has reserved space behind
        // its end.
        let is_note = name.ends_with("synced");
        if is_old_manifest(closed.dir.path(), &name) {
            continue;
        }
        let length = fs::metadata(closed.dir.path().join(&name)).unwrap().len();
        let last = if name.extension().is_some() {
            4096
        } else {
            length - 1
        };
        for length in [0, length / 2, last].into_iter().filter(|_| !is_note) {
            let outcome = closed.after(&name, |path| {
                OpenOptions::new()
                    .write(true)
                    .open(path)
                    .unwrap()
                    .set_len(length)
                    .unwrap();
            });
            assert_ne!(
                outcome,
                Outcome::Unchanged,
                "{} cut to {length}",
                name.display()
            );
        }
        if !is_note {
            let outcome = closed.after(&name, |path| fs::remove_file(path).unwrap());
            assert_ne!(outcome, Outcome::Unchanged, "{} removed", name.display());
        }
    }
}

/// The engine keeps earlier manifests for a while; the file `current` begins with the number of
/// the one that counts.
fn is_old_manifest(dir: &Path, name: &Path) -> bool {
    let current = fs::read(dir.join("engine/tree/current")).unwrap();
    let counts = format!("v{}", u64::from_le_bytes(current[..8].try_into().unwrap()));
    let name = name.file_name().unwrap().to_str().unwrap();
    name.starts_with('v') && name != counts
}

#[test]
fn a_storage_that_lost_its_identity_is_not_made_anew() {
    let closed = Closed::new(10, 10);
    fs::remove_file(closed.dir.path().join("engine/identity")).unwrap();
    assert!(Embedded::exists(closed.dir.path()).unwrap());
    let created = Embedded::create(closed.dir.path(), Duration::ZERO);
    assert!(
        matches!(created, Err(BackendError::Exists { .. })),
        "{created:?}"
    );
}

#[test]
fn a_look_at_the_files_finds_every_flipped_bit_of_a_table() {
    let closed = Closed::new(3500, 5500);
    let damaged = |dir: &Path| {
        let flaws = verify_closed(dir, &mut |_| true).unwrap();
        flaws.into_iter().any(|flaw| !flaw.harmless)
    };
    assert!(!damaged(closed.dir.path()));
    let tables: Vec<PathBuf> = closed
        .files()
        .into_iter()
        .filter(|name| name.to_str().unwrap().contains("tables/"))
        .collect();
    assert!(!tables.is_empty());
    let mut random = Random(3);
    for name in tables {
        let path = closed.dir.path().join(name);
        let bytes = fs::read(&path).unwrap();
        // What says where everything is stands at the end.
        let last = (1..40).map(|n| bytes.len() - n);
        let anywhere: Vec<usize> = (0..20).map(|_| random.below(bytes.len())).collect();
        for at in last.chain(anywhere) {
            let mut bad = bytes.clone();
            bad[at] ^= 1 << (at % 8);
            fs::write(&path, bad).unwrap();
            assert!(
                damaged(closed.dir.path()),
                "byte {at} of {}",
                path.display()
            );
        }
        fs::write(&path, bytes).unwrap();
    }
}

#[test]
fn a_manifest_with_a_flipped_bit_is_not_believed() {
    let closed = Closed::new(3500, 5500);
    let tree = Path::new("engine/tree");
    let is_manifest = |name: &&PathBuf| {
        let file = name.strip_prefix(tree).map(Path::to_owned);
        file.is_ok_and(|file| file.to_str().unwrap().starts_with('v'))
    };
    let files = closed.files();
    let name = files.iter().find(is_manifest).unwrap();
    let length = fs::metadata(closed.dir.path().join(name)).unwrap().len();
    for at in 0..usize::try_from(length).unwrap() {
        let outcome = closed.after(name, |path| {
            let mut bytes = fs::read(path).unwrap();
            bytes[at] ^= 1 << (at % 8);
            fs::write(path, bytes).unwrap();
        });
        assert_eq!(outcome, Outcome::RefusedToOpen, "byte {at}");
    }
}
