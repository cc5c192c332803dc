//! What fails on purpose below a storage.

use tempfile::TempDir;

use super::*;
use crate::backend::{Backend, Deadline, Precondition};
use crate::journal::faults::{FAIL_SYNC, SHORT_WRITE, SYNCS_TO_FAILURE};

fn storage() -> (TempDir, Embedded) {
    let dir = tempfile::tempdir().unwrap();
    let storage = Embedded::create(dir.path(), Duration::ZERO).unwrap();
    (dir, storage)
}

fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(60))
}

fn put(storage: &Embedded, address: &[u8], bytes: &[u8]) -> Result<()> {
    storage
        .put(address, bytes, Precondition::Any, soon())
        .map(drop)
}

fn log(storage: &Embedded) -> &Journal {
    &storage.writing.as_ref().unwrap().log
}

#[test]
fn a_record_is_durable_only_after_the_blob_that_it_points_to() {
    let (_dir, storage) = storage();
    put(&storage, b"a", &[1; 50_000]).unwrap();
    // The packs can be synced, the log cannot.
    SYNCS_TO_FAILURE.set(Some(1));
    assert!(storage.sync(soon()).is_err());
    SYNCS_TO_FAILURE.set(None);
    assert_eq!(log(&storage).synced(), 0);
    assert_eq!(storage.packs.unsynced(), 0);
}

#[test]
fn after_a_failed_sync_of_a_pack_nothing_is_said_to_be_durable() {
    let (dir, storage) = storage();
    put(&storage, b"a", &[1; 50_000]).unwrap();
    FAIL_SYNC.set(true);
    assert!(storage.sync(soon()).is_err());
    FAIL_SYNC.set(false);
    let stopped = |outcome| assert!(matches!(outcome, Err(BackendError::Stopped { .. })));
    stopped(storage.sync(soon()));
    stopped(put(&storage, b"b", &[2; 50_000]));
    assert_eq!(log(&storage).synced(), 0);
    drop(storage);
    let storage = Embedded::open(dir.path(), Access::ReadWrite, Duration::ZERO).unwrap();
    storage.sync(soon()).unwrap();
    let blob = storage.get(b"a", soon()).unwrap().unwrap();
    assert_eq!(blob.bytes, [1; 50_000]);
}

#[test]
fn no_table_points_to_what_is_not_durable() {
    let (_dir, storage) = storage();
    put(&storage, b"a", &[1; 50_000]).unwrap();
    assert!(storage.packs.unsynced() > 0);
    for number in 0..3000_u32 {
        put(&storage, &number.to_be_bytes(), &[3; 3000]).unwrap();
    }
    assert_eq!(storage.packs.unsynced(), 0);
}

#[test]
fn a_full_disk_leaves_what_is_there() {
    let (dir, storage) = storage();
    put(&storage, b"a", &[1; 50_000]).unwrap();
    let length = || {
        let pack = dir.path().join("engine/packs/00000000000000000001.pack");
        fs::metadata(pack).unwrap().len()
    };
    let before = length();
    SHORT_WRITE.set(Some(10_000));
    let full = put(&storage, b"b", &[2; 50_000]);
    assert!(
        matches!(full, Err(BackendError::NoSpace { .. })),
        "{full:?}"
    );
    // What was written of it takes no space.
    assert_eq!(length(), before);
    assert_eq!(storage.get(b"b", soon()).unwrap(), None);
    put(&storage, b"b", &[2; 40_000]).unwrap();
    drop(storage);
    let storage = Embedded::open(dir.path(), Access::ReadWrite, Duration::ZERO).unwrap();
    let blob = |address| storage.get(address, soon()).unwrap().unwrap().bytes;
    assert_eq!(blob(b"a"), [1; 50_000]);
    assert_eq!(blob(b"b"), [2; 40_000]);
}

#[test]
fn a_reader_opens_tables_again_and_removes_nothing() {
    let (dir, storage) = storage();
    for number in 0..3_u8 {
        put(&storage, &[number], &[number; 100]).unwrap();
        storage.checkpoint().unwrap();
    }
    drop(storage);
    let tree = dir.path().join(ENGINE_DIR).join(TREE_DIR);
    for stray in ["tables/999999", "v999999"] {
        fs::write(tree.join(stray), "of no use").unwrap();
    }
    // As many as are there, and fewer.
    for open_files in [100, 1] {
        let reader = Tree::open_to_read(&tree, open_files).unwrap();
        for number in 0..3_u8 {
            let found = reader.get(Operation::Get, &[number]).unwrap();
            assert_eq!(found, Some(tree::Stored::Whole(vec![number; 100])));
        }
    }
    assert!(tree.join("tables/999999").exists());
    assert!(tree.join("v999999").exists());
}

/// The number of entries in a table of contents, with its highest bit flipped, takes 80 GiB.
#[test]
fn damage_in_the_end_of_an_engine_file_is_found_before_the_engine_reads_it() {
    let (dir, storage) = storage();
    put(&storage, b"a", &[1; 100]).unwrap();
    storage.checkpoint().unwrap();
    drop(storage);
    let tree = dir.path().join(ENGINE_DIR).join(TREE_DIR);
    let mut tables = fs::read_dir(tree.join("tables")).unwrap();
    let table = tables.next().unwrap().unwrap().path();
    let sound = fs::read(&table).unwrap();
    let contents = sound.windows(4).rposition(|bytes| bytes == b"TOC!");
    let open = |access| Embedded::open(dir.path(), access, Duration::ZERO);
    for bit in contents.unwrap() * 8..(sound.len() - 8) * 8 {
        let mut damaged = sound.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        fs::write(&table, damaged).unwrap();
        for access in [Access::Read, Access::ReadWrite] {
            let outcome = open(access).map(drop);
            let Err(BackendError::Damage { address, .. }) = &outcome else {
                panic!("bit {bit}: {outcome:?}");
            };
            assert_eq!(address.to_string(), table.display().to_string());
        }
    }
    fs::write(&table, &sound[..20]).unwrap();
    assert!(matches!(
        open(Access::Read),
        Err(BackendError::Damage { .. })
    ));
    fs::write(&table, &sound).unwrap();
    let storage = open(Access::ReadWrite).unwrap();
    assert_eq!(storage.get(b"a", soon()).unwrap().unwrap().bytes, [1; 100]);
}

#[test]
fn what_can_be_read_is_read_without_a_table_of_contents() {
    let (dir, storage) = storage();
    put(&storage, b"a", &[1; 100]).unwrap();
    storage.checkpoint().unwrap();
    drop(storage);
    let tree = dir.path().join(ENGINE_DIR).join(TREE_DIR);
    let mut tables = fs::read_dir(tree.join("tables")).unwrap();
    let table = tables.next().unwrap().unwrap().path();
    let mut bytes = fs::read(&table).unwrap();
    let contents = bytes.windows(4).rposition(|bytes| bytes == b"TOC!");
    bytes[contents.unwrap() + 7] ^= 0x80;
    fs::write(&table, bytes).unwrap();
    let aside = dir.path().join("aside");
    let lost = rebuild(dir.path(), &aside).unwrap();
    assert_eq!(lost.len(), 1, "{lost:?}");
    let storage = Embedded::open(dir.path(), Access::ReadWrite, Duration::ZERO).unwrap();
    assert_eq!(storage.get(b"a", soon()).unwrap().unwrap().bytes, [1; 100]);
}
