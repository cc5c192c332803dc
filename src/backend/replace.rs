//! Replacing a file as a whole, durably.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

/// Makes `bytes` the content of `dir/name`. Whoever looks sees the old file or the new one, after
/// a power loss too, and once this has returned the new one. A failure leaves the old one.
pub fn replace(dir: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let temporary = dir.join(format!("{name}.new"));
    let written = write(&temporary, bytes)
        .and_then(|file| file.sync_all())
        .and_then(|()| fs::rename(&temporary, dir.join(name)));
    if written.is_err() {
        // It may take the space that is missing.
        let _gone = fs::remove_file(&temporary);
    }
    written?;
    File::open(dir)?.sync_all()
}

/// A new file with this content.
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<File> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    Ok(file)
}

/// Makes the names in `dir` durable, and its own name in its parent.
pub fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()?;
    match dir.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => File::open(parent)?.sync_all(),
        Some(_) => File::open(".")?.sync_all(),
        None => Ok(()),
    }
}
