//! The file that says what a directory is. It is written last, so it also says that the storage
//! is whole.
//!
//! ```text
//! kfs engine 3       the kind of storage and its format
//! 6f1c0a52-…         the UUID that the log is bound to
//! 0123456789abcdef…  BLAKE3 of the two lines above, 32 hex digits
//! ```

use std::fs::{self, File};
use std::io;
use std::path::Path;

use uuid::Uuid;

use super::replace::replace;
use super::{BackendError, Operation, Result};
use crate::journal::regular;

/// Three short lines.
const LONGEST: u64 = 1024;

/// Its name in the storage's directory.
pub const IDENTITY_FILE: &str = "identity";

/// A kind of storage as this program writes it.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    pub name: &'static str,
    pub format: u32,
}

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

/// Writes one, durably.
pub fn create(dir: &Path, kind: Kind, id: Uuid) -> io::Result<()> {
    // What is whole once the identity is there must be durable before.
    File::open(dir)?.sync_all()?;
    replace(dir, IDENTITY_FILE, text(kind, id).as_bytes())
}

/// Reads the one in `dir`.
pub fn read(dir: &Path, kind: Kind) -> Result<Uuid> {
    let path = dir.join(IDENTITY_FILE);
    let address = path.as_os_str().as_encoded_bytes();
    let damage = |reason| BackendError::Damage {
        operation: Operation::Open,
        address: address.into(),
        reason,
    };
    let content = regular::read(&path, LONGEST).map_err(|error| match error.kind() {
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
    let number = str::from_utf8(&content).ok().and_then(|text| {
        let line = text.lines().next()?.strip_prefix("kfs ")?;
        line.strip_prefix(kind.name)?
            .strip_prefix(' ')?
            .parse()
            .ok()
    });
    let is_whole =
        |format| id.is_some_and(|id| content == text(Kind { format, ..kind }, id).as_bytes());
    match (id, number) {
        (Some(id), Some(format)) if is_whole(format) && format == kind.format => Ok(id),
        (_, Some(found)) if is_whole(found) => Err(BackendError::Format {
            path,
            found,
            known: kind.format,
        }),
        _ => Err(damage(format!("it is not what \"{}\" writes", title(kind)))),
    }
}

fn title(kind: Kind) -> String {
    format!("kfs {} {}", kind.name, kind.format)
}

fn text(kind: Kind, id: Uuid) -> String {
    let lines = format!("{}\n{id}\n", title(kind));
    let hash = blake3::hash(lines.as_bytes()).to_hex();
    let check: String = hash.chars().take(32).collect();
    format!("{lines}{check}\n")
}
