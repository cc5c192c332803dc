//! Large blobs of the embedded storage, which stand in pack files: what a crash leaves of them, and
//! that their space comes back.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use konserve_fs::backend::embedded::{Access, Embedded};
use konserve_fs::backend::{Backend, BackendError, Batch, Precondition};
use tempfile::TempDir;

use crate::basics::{get, put};
use crate::storages::{create, open, soon};

/// Larger than what the tables take.
const LARGE: usize = 60_000;

/// A blob that no other is like.
fn blob(number: u64) -> Vec<u8> {
    let mut bytes = vec![0; LARGE];
    let mut state = number + 1;
    for byte in &mut bytes {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        *byte = u8::try_from(state >> 56).unwrap();
    }
    bytes
}

fn name(number: u64) -> Vec<u8> {
    format!("blob {number}").into_bytes()
}

fn put_all(backend: &Embedded, numbers: impl Iterator<Item = u64>) {
    for number in numbers {
        put(backend, &name(number), &blob(number));
    }
}

fn packs(dir: &TempDir) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir.path().join("engine/packs")).unwrap();
    let mut packs: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    packs.sort();
    packs
}

fn change(path: &Path, damage: impl FnOnce(&fs::File)) {
    let file = OpenOptions::new().write(true).open(path).unwrap();
    damage(&file);
}

/// How many of the blobs from the first on are there; the rest must not be.
fn prefix(backend: &Embedded, count: u64) -> u64 {
    let there = (0..count)
        .take_while(|number| get(backend, &name(*number)).is_some())
        .count() as u64;
    for number in 0..count {
        let expected = (number < there).then(|| blob(number));
        assert!(
            get(backend, &name(number)) == expected,
            "{number} of {there}"
        );
    }
    there
}

/// Five blobs that were synced and five that were not, of which `damage` lost something.
fn after_a_power_loss(damage: impl FnOnce(&fs::File)) -> (TempDir, u64) {
    let dir = tempfile::tempdir().unwrap();
    let backend = create(&dir);
    put_all(&backend, 0..5);
    backend.sync(soon()).unwrap();
    put_all(&backend, 5..10);
    drop(backend);
    change(&packs(&dir)[0], damage);
    let there = prefix(&open(&dir), 10);
    (dir, there)
}

/// Where the blob of this number begins.
fn at(number: u64) -> u64 {
    64 + number * LARGE as u64
}

#[test]
fn nothing_is_lost_where_nothing_was_damaged() {
    assert_eq!(after_a_power_loss(|_| {}).1, 10);
}

#[test]
fn a_torn_end_leaves_what_came_before() {
    let (dir, there) = after_a_power_loss(|pack| pack.set_len(at(9) - 1).unwrap());
    assert_eq!(there, 8);
    // What is written afterwards takes the place of what was lost, also after another opening.
    let backend = open(&dir);
    put_all(&backend, 8..10);
    drop(backend);
    assert_eq!(prefix(&open(&dir), 10), 10);
}

#[test]
fn a_blob_that_never_reached_the_disk_takes_all_later_writes_with_it() {
    let (_dir, there) = after_a_power_loss(|pack| {
        pack.write_all_at(&[0; 512], at(6) + 20_000).unwrap();
    });
    assert_eq!(there, 6);
}

#[test]
fn reading_only_sees_the_same_after_a_power_loss() {
    let dir = tempfile::tempdir().unwrap();
    let backend = create(&dir);
    put_all(&backend, 0..4);
    drop(backend);
    change(&packs(&dir)[0], |pack| pack.set_len(at(2) + 7).unwrap());
    let reading = Embedded::open(dir.path(), Access::Read, Duration::ZERO).unwrap();
    assert_eq!(prefix(&reading, 4), 2);
    drop(reading);
    assert_eq!(prefix(&open(&dir), 4), 2);
}

#[test]
fn what_was_synced_is_damage_when_it_is_gone() {
    let damages: [fn(&Path); 4] = [
        |pack| fs::remove_file(pack).unwrap(),
        |pack| change(pack, |pack| pack.set_len(at(3)).unwrap()),
        |pack| change(pack, |pack| pack.write_all_at(&[0; 512], at(3)).unwrap()),
        |pack| change(pack, |pack| pack.write_all_at(&[0], 20).unwrap()),
    ];
    for damage in damages {
        let dir = tempfile::tempdir().unwrap();
        let backend = create(&dir);
        put_all(&backend, 0..5);
        backend.sync(soon()).unwrap();
        drop(backend);
        damage(&packs(&dir)[0]);
        let backend = open(&dir);
        assert_eq!(backend.list(b"", None, 9, soon()).unwrap().len(), 5);
        let read = backend.get(&name(3), soon());
        assert!(matches!(read, Err(BackendError::Damage { .. })), "{read:?}");
        // What is written now does not depend on what is lost.
        put_all(&backend, 3..4);
        drop(backend);
        assert!(get(&open(&dir), &name(3)) == Some(blob(3)));
    }
}

#[test]
fn a_batch_is_whole_or_not_there() {
    let dir = tempfile::tempdir().unwrap();
    let backend = create(&dir);
    let mut batch = Batch::new();
    for number in 0..4 {
        batch.put(name(number), blob(number), Precondition::Any);
    }
    batch.put(b"small".to_vec(), b"one".to_vec(), Precondition::Any);
    backend.apply(batch, soon()).unwrap();
    drop(backend);
    change(&packs(&dir)[0], |pack| pack.set_len(at(3) + 5).unwrap());
    let backend = open(&dir);
    assert_eq!(
        backend.list(b"", None, 9, soon()).unwrap(),
        Vec::<Vec<u8>>::new()
    );
}

/// The space that the packs take, once it is as little as `wanted`.
fn space(dir: &TempDir, wanted: u64) -> u64 {
    let started = Instant::now();
    loop {
        let sizes = packs(dir)
            .into_iter()
            .filter_map(|pack| fs::metadata(pack).ok());
        let space = sizes.map(|size| size.blocks() * 512).sum();
        if space <= wanted || started.elapsed() > Duration::from_secs(20) {
            return space;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn the_space_of_dead_blobs_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let backend = create(&dir);
    put_all(&backend, 0..100);
    // Replaced by a large one and by a small one, deleted, and twice in a batch.
    put_all(&backend, 0..25);
    for number in 25..50 {
        put(&backend, &name(number), b"small");
    }
    for number in 50..75 {
        backend
            .delete(&name(number), Precondition::Any, soon())
            .unwrap();
    }
    for number in 75..100 {
        let mut batch = Batch::new();
        batch.put(name(number), blob(0), Precondition::Any);
        batch.put(name(number), blob(number), Precondition::Any);
        backend.apply(batch, soon()).unwrap();
    }
    backend.sync(soon()).unwrap();
    let wanted = 50 * LARGE as u64 + 60 * 4096;
    assert!(space(&dir, wanted) <= wanted);
    for number in (0..25).chain(75..100) {
        assert!(get(&backend, &name(number)) == Some(blob(number)));
    }
}

#[test]
fn the_space_of_what_died_before_a_crash_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let backend = create(&dir);
    put_all(&backend, 0..50);
    backend.sync(soon()).unwrap();
    for number in 0..49 {
        backend
            .delete(&name(number), Precondition::Any, soon())
            .unwrap();
    }
    // Nothing is given back before it is durable that the blobs are dead.
    drop(backend);
    assert!(space(&dir, 0) >= 50 * LARGE as u64);
    let backend = open(&dir);
    let wanted = LARGE as u64 + 4 * 4096;
    assert!(space(&dir, wanted) <= wanted);
    assert!(get(&backend, &name(49)) == Some(blob(49)));
}

#[test]
fn a_delete_that_was_lost_with_the_power_leaves_the_blob() {
    let dir = tempfile::tempdir().unwrap();
    let backend = create(&dir);
    put_all(&backend, 0..50);
    backend.sync(soon()).unwrap();
    let log = fs::read_dir(dir.path().join("engine/log")).unwrap();
    let segment = log
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().is_some())
        .unwrap();
    let before = fs::read(&segment).unwrap();
    for number in 0..50 {
        backend
            .delete(&name(number), Precondition::Any, soon())
            .unwrap();
        put(&backend, &name(number + 100), &blob(number));
    }
    drop(backend);
    fs::write(&segment, before).unwrap();
    assert_eq!(prefix(&open(&dir), 50), 50);
}

#[test]
fn a_dead_blob_need_not_be_there_after_a_crash() {
    let dir = tempfile::tempdir().unwrap();
    let backend = create(&dir);
    put_all(&backend, 0..50);
    for number in 10..50 {
        backend
            .delete(&name(number), Precondition::Any, soon())
            .unwrap();
    }
    put(&backend, b"later", b"small");
    backend.sync(soon()).unwrap();
    let wanted = 10 * LARGE as u64 + 4 * 4096;
    assert!(space(&dir, wanted) <= wanted);
    drop(backend);
    // The note that the deletes are durable has not reached the disk.
    fs::remove_file(dir.path().join("engine/log/synced")).unwrap();
    let backend = open(&dir);
    assert_eq!(prefix(&backend, 50), 10);
    assert_eq!(get(&backend, b"later").unwrap(), b"small");
}

#[test]
fn a_pack_goes_when_all_in_it_is_dead_and_its_number_is_not_used_again() {
    let dir = tempfile::tempdir().unwrap();
    let backend = create(&dir);
    let batch = |numbers: std::ops::Range<u64>| {
        let mut batch = Batch::new();
        for number in numbers {
            batch.put(name(number), vec![7; 1 << 20], Precondition::Any);
        }
        backend.apply(batch, soon()).unwrap();
    };
    for part in 0..10 {
        batch(part * 20..part * 20 + 20);
    }
    let before = packs(&dir);
    assert_eq!(before.len(), 3);
    for number in 0..200 {
        backend
            .delete(&name(number), Precondition::Any, soon())
            .unwrap();
    }
    backend.sync(soon()).unwrap();
    let started = Instant::now();
    while packs(&dir).len() > 1 && started.elapsed() < Duration::from_secs(20) {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(packs(&dir), before[2..]);
    drop(backend);
    let backend = open(&dir);
    assert_eq!(packs(&dir), before[2..]);
    put_all(&backend, 0..5);
    assert_eq!(prefix(&backend, 5), 5);
    drop(backend);
    assert_eq!(prefix(&open(&dir), 5), 5);
}

#[test]
fn packs_are_known_when_the_log_tells_nothing_of_them_any_more() {
    let dir = tempfile::tempdir().unwrap();
    let backend = create(&dir);
    put_all(&backend, 0..5);
    put_all(&backend, 0..3);
    for number in 0..8000_u32 {
        put(&backend, &number.to_be_bytes(), &[3; 3000]);
    }
    drop(backend);
    let backend = open(&dir);
    put_all(&backend, 5..10);
    backend.sync(soon()).unwrap();
    drop(backend);
    let backend = open(&dir);
    assert_eq!(prefix(&backend, 10), 10);
    for number in 0..10 {
        backend
            .delete(&name(number), Precondition::Any, soon())
            .unwrap();
    }
    backend.sync(soon()).unwrap();
    assert!(space(&dir, 4 * 4096) <= 4 * 4096);
}

#[test]
fn who_reads_while_a_blob_is_replaced_gets_one_or_the_other() {
    let dir = tempfile::tempdir().unwrap();
    let backend = create(&dir);
    put(&backend, b"a", &blob(0));
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for round in 1..600 {
                put(&backend, b"a", &blob(round % 2));
                backend.sync(soon()).unwrap();
            }
        });
        while !writer.is_finished() {
            let read = get(&backend, b"a").unwrap();
            assert!(read == blob(0) || read == blob(1));
        }
    });
}

#[test]
fn a_part_of_a_blob_is_read_alone() {
    let dir = tempfile::tempdir().unwrap();
    let backend = create(&dir);
    put_all(&backend, 0..2);
    let part = |range| backend.get_range(&name(1), range, soon()).unwrap().unwrap();
    let whole = blob(1);
    assert!(part(0..64) == whole[..64]);
    assert!(part(100..200) == whole[100..200]);
    assert!(part(59_000..70_000) == whole[59_000..]);
    assert!(part(0..u64::MAX) == whole);
    assert!(part(70_000..80_000).is_empty());
    #[expect(clippy::reversed_empty_ranges, reason = "it must be empty too")]
    let reversed = part(9..3);
    assert!(reversed.is_empty());
}

#[test]
fn another_format_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    drop(create(&dir));
    let path = dir.path().join("engine/identity");
    let id = fs::read_to_string(&path)
        .unwrap()
        .lines()
        .nth(1)
        .unwrap()
        .to_owned();
    let lines = format!("kfs engine 4\n{id}\n");
    let check = &blake3::hash(lines.as_bytes()).to_hex()[..32];
    fs::write(&path, format!("{lines}{check}\n")).unwrap();
    let opened = Embedded::open(dir.path(), Access::ReadWrite, Duration::ZERO);
    let error = opened.unwrap_err();
    assert!(
        matches!(error, BackendError::Format { found: 4, .. }),
        "{error:?}"
    );
    assert!(error.to_string().contains("format 4"), "{error}");
}
