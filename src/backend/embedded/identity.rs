//! The file that says what the directory is. It is written last, so it also says that the
//! storage is whole.
//!
//! ```text
//! kfs engine 3
//! 6f1c0a52-…         the UUID that the log is bound to
//! 0123456789abcdef…  BLAKE3 of the two lines above, 32 hex digits
//! ```

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use uuid::Uuid;

use crate::backend::{BackendError, Operation, Result};

/// Its name in the engine's directory.
const IDENTITY_FILE: &str = "identity";

/// What every format begins with, before its number.
const FORMAT: &str = "kfs engine ";
const NUMBER: u32 = 3;

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
pub fn create(dir: &Path, id: Uuid) -> io::Result<()> {
    let temporary = dir.join("identity.new");
    let mut file = File::create(&temporary)?;
    file.write_all(text(NUMBER, id).as_bytes())?;
    file.sync_all()?;
    // What is whole once the identity is there must be durable before.
    File::open(dir)?.sync_all()?;
    fs::rename(&temporary, dir.join(IDENTITY_FILE))?;
    File::open(dir)?.sync_all()
}

/// Reads the one in `dir`.
pub fn read(dir: &Path) -> Result<Uuid> {
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
    let number = str::from_utf8(&content)
        .ok()
        .and_then(|text| text.lines().next()?.strip_prefix(FORMAT)?.parse().ok());
    match (id, number) {
        (Some(id), Some(NUMBER)) if content == text(NUMBER, id).as_bytes() => Ok(id),
        (Some(id), Some(number)) if content == text(number, id).as_bytes() => {
            Err(BackendError::Format {
                path,
                found: number,
                known: NUMBER,
            })
        }
        _ => Err(damage(format!(
            "it is not what \"{FORMAT}{NUMBER}\" writes"
        ))),
    }
}

fn text(number: u32, id: Uuid) -> String {
    let lines = format!("{FORMAT}{number}\n{id}\n");
    let hash = blake3::hash(lines.as_bytes()).to_hex();
    let check: String = hash.chars().take(32).collect();
    format!("{lines}{check}\n")
}
