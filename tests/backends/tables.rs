//! Small blobs of the embedded storage, which stand in its tables: that their space comes back.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use konserve_fs::backend::{Backend, Precondition};

use crate::basics::{get, put};
use crate::storages::{create, soon};

const COUNT: u32 = 6000;
const SIZE: u64 = 5000;

/// What the files in a directory take on disk, in bytes.
fn space(dir: &Path) -> u64 {
    let entries = fs::read_dir(dir).unwrap();
    let spaces = entries.map(|entry| {
        let entry = entry.unwrap();
        match entry.metadata() {
            Ok(found) if found.is_dir() => space(&entry.path()),
            Ok(found) => found.blocks() * 512,
            // It has been removed since.
            Err(_) => 0,
        }
    });
    spaces.sum()
}

fn name(number: u32) -> [u8; 4] {
    number.wrapping_mul(0x9E37_79B1).to_be_bytes()
}

fn blob(number: u32) -> Vec<u8> {
    number.to_be_bytes().repeat(SIZE as usize / 4)
}

#[test]
fn the_space_of_deleted_small_blobs_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let backend = create(&dir);
    for number in 0..COUNT {
        put(&backend, &name(number), &blob(number));
    }
    assert!(space(dir.path()) >= u64::from(COUNT) * SIZE);
    let kept = |number: &u32| number.is_multiple_of(10);
    for number in (0..COUNT).filter(|number| !kept(number)) {
        backend
            .delete(&name(number), Precondition::Any, soon())
            .unwrap();
    }
    backend.tidy(soon()).unwrap();
    let used = u64::from(COUNT) / 10 * SIZE;
    let found = space(dir.path());
    assert!(found <= used + used / 2, "{found} bytes for {used}");
    for number in 0..COUNT {
        let expected = kept(&number).then(|| blob(number));
        assert_eq!(get(&backend, &name(number)), expected);
    }
}
