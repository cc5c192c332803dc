//! The file that says what a directory is. It is written last, so it also says that the storage
//! is whole.
//!
//! ```text
//! kfs engine 1       or `kfs files 1`: the kind of storage and its format
//! 6f1c0a52-…         the UUID that the log is bound to
//! 0123456789abcdef…  BLAKE3 of the two lines above, 32 hex digits
//! ```

use std::fs;
use std::io;
use std::path::Path;

use uuid::Uuid;

use super::replace::replace;
use super::{BackendError, Operation, Result};

/// Its name in the storage's directory.
const IDENTITY_FILE: &str = "identity";

/// The format of all kinds of storages so far.
const FORMAT: u32 = 1;

/// Whether `dir` has one. That it cannot be looked at, as without permission, says neither.
pub fn exists(dir: &Path) -> io::Result<bool> {
    match fs::metadata(dir.join(IDENTITY_FILE)) {
        Ok(_) => Ok(true),
        Err(error) => match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Ok(false),
            _ => Err(error),
        },
    }
}

/// Writes one for a storage of a `kind`, durably.
pub fn create(dir: &Path, kind: &str, id: Uuid) -> io::Result<()> {
    replace(dir, IDENTITY_FILE, text(kind, id).as_bytes())
}

/// Reads the one in `dir`, of a storage of a `kind`.
pub fn read(dir: &Path, kind: &str) -> Result<Uuid> {
    let path = dir.join(IDENTITY_FILE);
    let address = path.as_os_str().as_encoded_bytes();
    let damage = |reason| BackendError::Damage {
        operation: Operation::Open,
        address: address.into(),
        reason,
    };
    let content = fs::read(&path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => damage("it is missing".to_owned()),
        _ => BackendError::io(Operation::Open, address, error),
    })?;
    let id = content
        .split(|byte| *byte == b'\n')
        .nth(1)
        .and_then(|line| {
            let line = str::from_utf8(line).ok()?;
            Uuid::parse_str(line).ok()
        });
    match id {
        Some(id) if content == text(kind, id).as_bytes() => Ok(id),
        _ => Err(damage(match newer_format(&content, kind) {
            Some(format) => format!(
                "its format is {format}, and this kfs knows {FORMAT} at most: use a newer kfs"
            ),
            None => format!("it is not what \"{}\" writes", title(kind)),
        })),
    }
}

/// The format that a newer program wrote.
fn newer_format(content: &[u8], kind: &str) -> Option<u32> {
    let line = content.split(|byte| *byte == b'\n').next()?;
    let format = str::from_utf8(line).ok()?.strip_prefix("kfs ")?;
    let format = format.strip_prefix(kind)?.strip_prefix(' ')?.parse().ok()?;
    (format > FORMAT).then_some(format)
}

fn title(kind: &str) -> String {
    format!("kfs {kind} {FORMAT}")
}

fn text(kind: &str, id: Uuid) -> String {
    let lines = format!("{}\n{id}\n", title(kind));
    let hash = blake3::hash(lines.as_bytes()).to_hex();
    let check: String = hash.chars().take(32).collect();
    format!("{lines}{check}\n")
}
