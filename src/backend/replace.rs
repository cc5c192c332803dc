//! Replacing a file or a directory as a whole, durably.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};

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

/// Puts the directory `new` in the place of `old`, which is moved to `aside`.
///
/// # Errors
/// A failure of the system.
pub fn replace_dir(old: &Path, new: &Path, aside: &Path) -> io::Result<()> {
    match renameat2(AT_FDCWD, old, AT_FDCWD, new, RenameFlags::RENAME_EXCHANGE) {
        Ok(()) => {}
        Err(Errno::ENOENT) => fs::rename(new, old)?,
        // A filesystem that cannot do it in one step.
        Err(_) => {
            let between = new.with_extension("old");
            fs::rename(old, &between)?;
            fs::rename(new, old)?;
            fs::rename(between, new)?;
        }
    }
    old.parent().map_or(Ok(()), sync_dir)?;
    match fs::rename(new, aside) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        // On another disk.
        Err(_) => {
            copy_all(new, aside)?;
            fs::remove_dir_all(new)
        }
        Ok(()) => Ok(()),
    }
}

fn copy_all(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_all(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
