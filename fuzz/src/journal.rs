//! Journals.

use std::fs;
use std::path::PathBuf;
use std::sync::OnceLock;

use konserve_fs::journal::{self, Recovery};
use uuid::Uuid;

static DIR: OnceLock<PathBuf> = OnceLock::new();

fn dir() -> &'static PathBuf {
    DIR.get_or_init(|| {
        let dir = std::env::temp_dir().join(format!("kfs-fuzz-{}", std::process::id()));
        fs::create_dir_all(&dir).expect("a directory is made");
        dir
    })
}

/// The file of a journal's first segment, under the name that it asks for.
pub fn segment(data: &[u8]) {
    let dir = dir().join("segment");
    fs::create_dir_all(&dir).expect("a directory is made");
    let first = data.get(32..40).and_then(|first| first.try_into().ok());
    let first = u64::from_le_bytes(first.unwrap_or_default());
    let path = dir.join(format!("{first:020}.journal"));
    fs::write(&path, data).expect("a file is written");
    let id = journal::owner(&dir).unwrap_or(Uuid::nil());
    let _damaged = Recovery::read(&dir, &id, 0);
    let _found = journal::inspect(&dir, &id, Some(0));
    let _left = journal::salvage(&dir, &id, 0);
    fs::remove_file(&path).expect("the file goes");
}
