//! Files in a directory that others may have put something else into.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// What stands where a file should be is something else.
pub(crate) const OTHER: &str = "it is no regular file";

/// Opens a file for reading; `None` if something else is in its place, which is not touched: to open
/// a device may do something, to open a pipe may take for ever, and a symbolic link may lead
/// anywhere.
pub(crate) fn open(path: &Path) -> io::Result<Option<File>> {
    if !fs::symlink_metadata(path)?.is_file() {
        return Ok(None);
    }
    // It may have changed since.
    let mut options = OpenOptions::new();
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY;
    let file = options.read(true).custom_flags(flags).open(path)?;
    Ok(file.metadata()?.is_file().then_some(file))
}

/// The content of a file of at most `most` bytes.
///
/// # Errors
/// That it is something else, or longer.
pub(crate) fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let file = open(path)?.ok_or_else(|| io::Error::other(OTHER))?;
    let mut content = Vec::new();
    file.take(most.saturating_add(1))
        .read_to_end(&mut content)?;
    if content.len() as u64 > most {
        return Err(io::Error::other("it is longer than it can be"));
    }
    Ok(content)
}

/// Whether there is a directory, and not only a link to one.
pub(crate) fn is_directory(path: &Path) -> io::Result<bool> {
    Ok(fs::symlink_metadata(path)?.is_dir())
}
