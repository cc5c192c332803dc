#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that panics has failed, as it should"
)]

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::time::Duration;

fn read_only(dir: &Path, store: &Uuid, folded: u64) -> Result<Vec<JournalRecord>> {
    Ok(Recovery::read(dir, store, folded)?.take_records())
}

use super::faults::{FAIL_SYNC, SHORT_WRITE, SLOW_SYNC, STEPS, Step};
use super::*;

const STORE: Uuid = Uuid::from_u128(7);

fn open(dir: &Path, folded: u64) -> (Journal, Vec<JournalRecord>) {
    Journal::open(dir, &STORE, folded).unwrap()
}

fn payload(seq: u64) -> Vec<u8> {
    format!("operation {seq}")
        .repeat(usize::try_from(seq % 5).unwrap())
        .into_bytes()
}

fn append(journal: &Journal, seqs: std::ops::RangeInclusive<u64>) {
    for seq in seqs {
        journal.append(seq, &payload(seq)).unwrap();
    }
}

fn records(seqs: std::ops::RangeInclusive<u64>) -> Vec<JournalRecord> {
    seqs.map(|seq| JournalRecord {
        seq,
        payload: payload(seq),
    })
    .collect()
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.retain(|file| {
        file.extension()
            .is_some_and(|extension| extension == "journal")
    });
    files.sort();
    files
}

#[test]
fn records_come_back_in_order_after_what_is_folded() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, found) = open(dir.path(), 0);
    assert!(found.is_empty());
    append(&journal, 1..=10);
    drop(journal);
    assert_eq!(read_only(dir.path(), &STORE, 0).unwrap(), records(1..=10));
    assert_eq!(read_only(dir.path(), &STORE, 4).unwrap(), records(5..=10));
    let (journal, found) = open(dir.path(), 4);
    assert_eq!(found, records(5..=10));
    assert_eq!((journal.last(), journal.synced()), (10, 10));
    append(&journal, 11..=12);
    drop(journal);
    let (journal, found) = open(dir.path(), 4);
    assert_eq!(found, records(5..=12));
    drop(journal);
    assert_eq!(open(dir.path(), 12).1, []);
    assert!(files(dir.path()).is_empty(), "what is folded is removed");
}

#[test]
fn a_record_must_follow_the_last_one() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open(dir.path(), 41);
    for seq in [0, 41, 43, u64::MAX] {
        let error = journal.append(seq, b"").unwrap_err();
        assert!(
            matches!(error, JournalError::Sequence { last: 41, .. }),
            "{error}"
        );
    }
    journal.append(42, b"").unwrap();
    assert!(matches!(
        journal.append(42, b""),
        Err(JournalError::Sequence { .. })
    ));
}

#[test]
fn the_layout_is_the_one_drawn() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open(dir.path(), 6);
    append(&journal, 7..=7);
    journal.sync().unwrap();
    append(&journal, 8..=8);
    let file = dir.path().join("00000000000000000007.journal");
    let bytes = fs::read(file).unwrap();
    assert_eq!(bytes[..16], *b"kfsjrnl\0\x02\0\0\0\0\0\0\0");
    assert_eq!(bytes[16..32], *STORE.as_bytes());
    assert_eq!(bytes[32..40], 7_u64.to_le_bytes());
    let note = fs::read(dir.path().join("synced")).unwrap();
    assert_eq!((note.len(), &note[..8]), (24, &7_u64.to_le_bytes()[..]));
    let (length, second) = (payload(7).len(), 64 + frame_length(payload(7).len()));
    assert_eq!(bytes[64..68], u32::try_from(length).unwrap().to_le_bytes());
    assert_eq!(bytes[84..92], 7_u64.to_le_bytes());
    assert_eq!(bytes[92..100], 6_u64.to_le_bytes());
    assert_eq!(bytes[100..100 + length], payload(7));
    assert_eq!(bytes[second + 20..second + 28], 8_u64.to_le_bytes());
    assert_eq!(bytes[second + 28..second + 36], 7_u64.to_le_bytes());
}

fn frame_length(payload: usize) -> usize {
    (36 + payload).div_ceil(8) * 8
}

/// A small journal in two segments, 1..=4 synced and 5..=12 not, as the bytes of its files.
fn small() -> Vec<(PathBuf, Vec<u8>)> {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open(dir.path(), 0);
    append(&journal, 1..=4);
    journal.sync().unwrap();
    append(&journal, 5..=7);
    {
        let mut writer = journal.writer.lock();
        let full = writer.current.take().unwrap();
        writer.closed.push(full.close());
    }
    append(&journal, 8..=12);
    let mut content = Vec::new();
    for file in files(dir.path()) {
        let mut bytes = fs::read(&file).unwrap();
        let end = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
        bytes.truncate(end.next_multiple_of(8) + 16);
        content.push((file.file_name().unwrap().into(), bytes));
    }
    content.push((
        "synced".into(),
        fs::read(dir.path().join("synced")).unwrap(),
    ));
    assert_eq!(content.len(), 3);
    content
}

/// Reads a journal with these files, and checks that what comes back is a prefix, or damage. Tells
/// the prefix's length.
fn check_reads(content: &[(PathBuf, Vec<u8>)], what: &str) -> Option<usize> {
    let dir = with_files(content);
    let flaws = inspect(dir.path(), &STORE, Some(0)).unwrap().flaws;
    let damaged = flaws.iter().any(|flaw| !flaw.harmless);
    match read_only(dir.path(), &STORE, 0) {
        Ok(found) => {
            assert_eq!(found, records(1..=found.len() as u64), "{what}");
            assert!(
                !damaged,
                "{what}: a crash may leave it, and it opens: {flaws:?}"
            );
            // What was only cut may end between two records.
            let cut = || {
                let whole = small();
                let mut files = content.iter().zip(&whole);
                content.len() < whole.len() || files.any(|(is, was)| is.1.len() < was.1.len())
            };
            assert!(found.len() == 12 || !flaws.is_empty() || cut(), "{what}");
            Some(found.len())
        }
        Err(JournalError::Damage { .. }) => {
            assert!(damaged, "{what}: {flaws:?}");
            None
        }
        Err(other) => panic!("{what}: {other}"),
    }
}

fn with_files(content: &[(PathBuf, Vec<u8>)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, bytes) in content {
        fs::write(dir.path().join(name), bytes).unwrap();
    }
    dir
}

/// The same for a journal that is opened, appended to, and read again.
fn check_survives(content: &[(PathBuf, Vec<u8>)], folded: u64, what: &str) -> Option<usize> {
    let dir = with_files(content);
    let read = read_only(dir.path(), &STORE, folded);
    match Journal::open(dir.path(), &STORE, folded) {
        Ok((journal, found)) => {
            assert_eq!(read.unwrap(), found, "{what}");
            let last = folded + found.len() as u64;
            assert_eq!(found, records(folded + 1..=last), "{what}");
            append(&journal, last + 1..=last + 2);
            drop(journal);
            let again = read_only(dir.path(), &STORE, folded).unwrap();
            assert_eq!(again, records(folded + 1..=last + 2), "{what}");
            Some(found.len())
        }
        Err(JournalError::Damage { path, .. }) => {
            assert!(read.is_err(), "{what}");
            assert!(path.exists(), "{what}");
            None
        }
        Err(other) => panic!("{what}: {other}"),
    }
}

#[test]
fn every_flipped_byte_gives_a_prefix_or_damage() {
    let content = small();
    let (mut damage, mut prefixes) = (0, [0; 13]);
    for file in 0..content.len() {
        for at in 0..content[file].1.len() {
            for flip in [0x01, 0x80, 0xFF] {
                let mut changed = content.clone();
                changed[file].1[at] ^= flip;
                let what = format!("file {file} byte {at} flip {flip}");
                let found = check_reads(&changed, &what);
                if at % 29 == 0 && flip == 0x80 {
                    assert_eq!(check_survives(&changed, 0, &what), found, "{what}");
                }
                match found {
                    Some(length) => prefixes[length] += 1,
                    None => damage += 1,
                }
            }
        }
    }
    assert!(damage > 0);
    assert_eq!(prefixes[..4], [0; 4], "synced records are not dropped");
    assert!(prefixes[4..].iter().all(|count| *count > 0), "{prefixes:?}");
}

#[test]
fn every_truncation_gives_a_prefix_or_damage() {
    let content = small();
    for file in 0..content.len() {
        for length in 0..content[file].1.len() {
            let mut changed = content.clone();
            changed[file].1.truncate(length);
            let what = format!("file {file} cut at {length}");
            let found = check_reads(&changed, &what);
            if length % 29 == 0 {
                assert_eq!(check_survives(&changed, 0, &what), found, "{what}");
            }
            assert!(
                found.is_none_or(|found| found >= 4),
                "file {file} cut at {length}"
            );
        }
    }
}

#[test]
fn a_missing_segment_gives_a_prefix_or_damage() {
    let content = small();
    assert_eq!(
        check_survives(&content[..1], 0, "the second is missing"),
        Some(7)
    );
    assert_eq!(
        check_survives(&content[1..], 0, "the first is missing"),
        None
    );
}

#[test]
fn damage_to_what_is_folded_does_not_matter() {
    let content = small();
    for at in 64..64 + frame_length(payload(1).len()) + frame_length(payload(2).len()) {
        let mut changed = content.clone();
        changed[0].1[at] ^= 1;
        assert_eq!(check_survives(&changed, 2, &format!("byte {at}")), Some(10));
    }
}

#[test]
fn damage_names_the_file_and_the_place() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open(dir.path(), 0);
    append(&journal, 1..=3);
    journal.sync().unwrap();
    drop(journal);
    let path = files(dir.path()).remove(0);
    let second = 64 + frame_length(payload(1).len()) as u64;
    let file = OpenOptions::new().write(true).open(&path).unwrap();
    file.write_all_at(b"x", second + 36).unwrap();
    let error = Journal::open(dir.path(), &STORE, 0).unwrap_err();
    let JournalError::Damage {
        path: named,
        offset,
        ..
    } = error
    else {
        panic!("{error}")
    };
    assert_eq!((named, offset), (path, second));
}

#[test]
fn a_look_calls_a_torn_end_none_of_what_was_durable() {
    let mut content = small();
    let end = content[1].1.len() - 16;
    content[1].1.truncate(end - 8);
    let dir = with_files(&content);
    let flaws = inspect(dir.path(), &STORE, Some(0)).unwrap().flaws;
    assert_eq!(flaws.len(), 1, "{flaws:?}");
    assert!(flaws[0].harmless);
    assert!(
        flaws[0].reason.starts_with("the journal ends in ")
            && flaws[0]
                .reason
                .ends_with(" bytes of an unfinished record, which the next mount drops"),
        "{flaws:?}"
    );
    // The same once the record was synced.
    let note = fs::read({
        let (journal, _) = open(dir.path(), 0);
        append(&journal, 12..=12);
        journal.sync().unwrap();
        dir.path().join("synced")
    });
    content[2].1 = note.unwrap();
    let dir = with_files(&content);
    let flaws = inspect(dir.path(), &STORE, Some(0)).unwrap().flaws;
    assert!(flaws.iter().any(|flaw| !flaw.harmless), "{flaws:?}");
}

#[test]
fn another_store_and_a_later_format_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open(dir.path(), 0);
    append(&journal, 1..=1);
    drop(journal);
    let other = Uuid::from_u128(8);
    let error = Journal::open(dir.path(), &other, 0).unwrap_err();
    assert!(matches!(error, JournalError::WrongStore { .. }), "{error}");
    assert_eq!(open(dir.path(), 0).1, records(1..=1));
}

#[test]
fn a_failed_append_leaves_nothing_and_can_be_repeated() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open(dir.path(), 0);
    append(&journal, 1..=3);
    for length in [0, 1, 20, 36, 45] {
        SHORT_WRITE.set(Some(length));
        let error = journal.append(4, &payload(4)).unwrap_err();
        assert!(matches!(error, JournalError::Io { .. }), "{error}");
        let bytes = fs::read(files(dir.path()).remove(0)).unwrap();
        let end = 64
            + (1..=3)
                .map(|seq| frame_length(payload(seq).len()))
                .sum::<usize>();
        assert_eq!(bytes.len(), end, "the tail is cut back");
    }
    append(&journal, 4..=5);
    journal.sync().unwrap();
    drop(journal);
    assert_eq!(open(dir.path(), 0).1, records(1..=5));
}

#[test]
fn a_segment_that_cannot_be_made_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open(dir.path(), 0);
    SHORT_WRITE.set(Some(10));
    assert!(journal.append(1, b"").is_err());
    assert!(files(dir.path()).is_empty());
    append(&journal, 1..=2);
    drop(journal);
    assert_eq!(open(dir.path(), 0).1, records(1..=2));
}

#[test]
fn after_a_failed_sync_nothing_succeeds_until_reopened() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open(dir.path(), 0);
    append(&journal, 1..=2);
    FAIL_SYNC.set(true);
    assert!(matches!(journal.sync(), Err(JournalError::Io { .. })));
    assert!(matches!(journal.sync(), Err(JournalError::Failed { .. })));
    assert!(matches!(
        journal.append(3, b""),
        Err(JournalError::Failed { .. })
    ));
    assert_eq!(journal.synced(), 0);
    drop(journal);
    let (journal, found) = open(dir.path(), 0);
    assert_eq!(found, records(1..=2));
    append(&journal, 3..=3);
    journal.sync().unwrap();
}

#[test]
fn concurrent_syncs_share_one() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open(dir.path(), 0);
    append(&journal, 1..=8);
    let before = journal.syncing.lock().rounds;
    let (journal, all) = (&journal, &std::sync::Barrier::new(8));
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(move || {
                SLOW_SYNC.set(Duration::from_millis(2));
                all.wait();
                journal.sync().unwrap();
                assert!(journal.synced() >= 8);
            });
        }
    });
    // Who comes first makes durable what all the others wait for.
    assert_eq!(journal.syncing.lock().rounds - before, 1);
}

#[test]
fn appending_goes_on_while_a_sync_is_under_way() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open(dir.path(), 0);
    append(&journal, 1..=1);
    let started = &AtomicU64::new(0);
    std::thread::scope(|scope| {
        let syncing = scope.spawn(|| {
            SLOW_SYNC.set(Duration::from_secs(2));
            started.store(1, Ordering::Release);
            journal.sync().unwrap();
        });
        while started.load(Ordering::Acquire) == 0 {
            std::thread::yield_now();
        }
        append(&journal, 2..=50);
        assert!(!syncing.is_finished());
    });
    assert!(journal.synced() >= 1);
}

#[test]
fn full_segments_are_followed_by_fresh_ones_and_released() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open(dir.path(), 0);
    let megabyte = vec![7; 1 << 20];
    for seq in 1..=40 {
        journal.append(seq, &megabyte).unwrap();
    }
    assert_eq!(files(dir.path()).len(), 3);
    assert!(journal.size() > 40 << 20);
    journal.sync().unwrap();
    journal.release(15).unwrap();
    assert_eq!(files(dir.path()).len(), 2);
    assert!(journal.size() < 26 << 20, "{}", journal.size());
    journal.release(39).unwrap();
    assert_eq!(files(dir.path()).len(), 1);
    assert!(journal.size() < 2 << 20, "{}", journal.size());
    drop(journal);
    let (journal, found) = open(dir.path(), 39);
    assert_eq!(
        found,
        [JournalRecord {
            seq: 40,
            payload: megabyte.clone()
        }]
    );
    journal.release(40).unwrap();
    assert!(files(dir.path()).is_empty());
    assert_eq!(journal.size(), 0);
    journal.append(41, &megabyte).unwrap();
    journal.release(41).unwrap();
    assert!(
        files(dir.path()).is_empty(),
        "a long segment does not wait to be filled"
    );
    journal.sync().unwrap();
    append(&journal, 42..=43);
    drop(journal);
    assert_eq!(open(dir.path(), 41).1, records(42..=43));
}

#[test]
fn a_record_larger_than_a_segment_has_one_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open(dir.path(), 0);
    append(&journal, 1..=1);
    let large = vec![3; 20 << 20];
    journal.append(2, &large).unwrap();
    append(&journal, 3..=3);
    let error = journal.append(4, &vec![0; MAX_PAYLOAD + 1]).unwrap_err();
    assert!(matches!(error, JournalError::TooLarge { .. }));
    drop(journal);
    let found = open(dir.path(), 1).1;
    assert_eq!((found.len(), &found[0].payload), (2, &large));
    assert_eq!(found[1..], records(3..=3));
}

#[test]
fn syncing_asks_the_kernel() {
    // It refuses to sync these, so a sync that does not ask is found out.
    let file = SegmentFile::open("/dev/null".into(), 1).unwrap();
    assert!(file.sync().is_err());
    assert!(sync_dir(Path::new("/proc/self")).is_err());
}

#[test]
fn a_segment_is_durable_with_its_name_before_its_first_record() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open(dir.path(), 0);
    STEPS.take();
    append(&journal, 1..=1);
    let header = [Step::Write, Step::Sync, Step::SyncDirectory];
    assert_eq!(STEPS.take(), [&header[..], &[Step::Write]].concat());
    append(&journal, 2..=2);
    journal.sync().unwrap();
    assert_eq!(STEPS.take(), [Step::Write, Step::Sync]);
}

/// A journal whose segment is made of the spare one, with the records 1001 to 1020 of equal length
/// over the places of older ones. Gives its directory and the bytes that were there before.
fn over_a_spare() -> (tempfile::TempDir, Vec<u8>) {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open(dir.path(), 0);
    for seq in 1..=1000 {
        journal.append(seq, &[1; 2000]).unwrap();
    }
    journal.sync().unwrap();
    let before = fs::read(files(dir.path()).remove(0)).unwrap();
    journal.release(1000).unwrap();
    assert!(files(dir.path()).is_empty());
    STEPS.take();
    for seq in 1001..=1020 {
        journal.append(seq, &[2; 2000]).unwrap();
    }
    let made = [Step::Write, Step::Sync, Step::SyncDirectory, Step::Write];
    assert_eq!(STEPS.take()[..4], made, "durable before its first record");
    (dir, before)
}

#[test]
fn a_segment_made_of_the_spare_one_shows_nothing_of_it() {
    let (dir, before) = over_a_spare();
    let path = files(dir.path()).remove(0);
    let bytes = fs::read(&path).unwrap();
    let (first, length) = (64, frame_length(2000));
    let end = first + 20 * length;
    assert!(bytes.len() > 1 << 20, "it is not truncated");
    assert_eq!(bytes[end..end + 36], [0; 36], "the end shows");
    assert_eq!(bytes[end + 36..], before[end + 36..bytes.len()]);
    assert_eq!(read_only(dir.path(), &STORE, 1000).unwrap().len(), 20);
    assert_eq!(
        inspect(dir.path(), &STORE, Some(1000)).unwrap().flaws,
        [],
        "what follows the end is no damage"
    );
    assert_eq!(inspect(dir.path(), &STORE, None).unwrap().flaws, []);
}

#[test]
fn what_a_power_loss_leaves_of_the_spare_segment_is_no_record() {
    let (dir, before) = over_a_spare();
    let path = files(dir.path()).remove(0);
    let bytes = fs::read(&path).unwrap();
    let end = 64 + 20 * frame_length(2000);
    // What was written in some sectors has not come to the disk.
    for sector in (512..end).step_by(512) {
        for lost in [sector..sector + 512, sector..bytes.len()] {
            let mut torn = bytes.clone();
            torn[lost.clone()].copy_from_slice(&before[lost.clone()]);
            fs::write(&path, &torn).unwrap();
            let whole = (lost.start - 64) / frame_length(2000);
            let found = read_only(dir.path(), &STORE, 1000).unwrap();
            assert_eq!(found.len(), whole.min(20), "lost {lost:?}");
            assert!(
                found
                    .iter()
                    .zip(1001..)
                    .all(|(record, seq)| record.seq == seq && record.payload == [2; 2000])
            );
            let flaws = inspect(dir.path(), &STORE, Some(1000)).unwrap().flaws;
            assert!(flaws.iter().all(|flaw| flaw.harmless), "{flaws:?}");
        }
    }
    fs::write(&path, &bytes).unwrap();
    let (journal, found) = open(dir.path(), 1000);
    assert_eq!(found.len(), 20);
    journal.append(1021, b"").unwrap();
}

#[test]
fn a_segment_with_the_number_zero_is_looked_at_like_any() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("00000000000000000000.journal");
    fs::write(&path, [1; 200]).unwrap();
    for folded in [None, Some(0), Some(u64::MAX)] {
        let found = inspect(dir.path(), &STORE, folded).unwrap();
        assert!(!found.flaws.is_empty(), "{folded:?}");
    }
}
