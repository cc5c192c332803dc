//! Where a store is.

use std::fmt;
use std::path::{Path, PathBuf};

use uuid::Uuid;

use super::StoreError;

/// A kind of store in a directory, given the directory.
pub type AtPath = fn(PathBuf) -> Location;

/// Where a store is, as a program or a person writes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// `PATH` or `kfs:PATH`: a directory with the embedded engine.
    Embedded(PathBuf),
    /// `file:PATH`: a directory with a file per blob.
    File(PathBuf),
    /// `lmdb:PATH`: a directory with an LMDB database, in a build with the feature `lmdb`.
    Lmdb(PathBuf),
    /// `mem:UUID`: in this process's memory, gone with it.
    Memory(Uuid),
}

impl Location {
    /// The schemes of stores in a directory.
    pub const DIRECTORIES: [(&str, AtPath); 3] = [
        ("kfs:", Self::Embedded),
        ("file:", Self::File),
        ("lmdb:", Self::Lmdb),
    ];

    /// The store's directory, if it is in one.
    #[must_use]
    pub fn directory(&self) -> Option<&Path> {
        match self {
            Self::Embedded(path) | Self::File(path) | Self::Lmdb(path) => Some(path),
            Self::Memory(_) => None,
        }
    }

    /// Reads a location. `mem:` without a UUID makes one.
    ///
    /// # Errors
    /// [`StoreError::BadLocation`] for an unknown scheme, an empty path or a UUID that is none.
    pub fn parse(text: &str) -> Result<Self, StoreError> {
        let bad = |reason: &str| StoreError::BadLocation {
            location: text.to_owned(),
            reason: reason.to_owned(),
        };
        if let Some(id) = text.strip_prefix("mem:") {
            if id.is_empty() {
                return Ok(Self::Memory(Uuid::new_v4()));
            }
            return Uuid::parse_str(id)
                .map(Self::Memory)
                .map_err(|_| bad("after `mem:` comes a UUID"));
        }
        for (scheme, location) in Self::DIRECTORIES {
            if let Some(path) = text.strip_prefix(scheme) {
                if path.is_empty() {
                    return Err(bad(&format!(
                        "after `{scheme}` comes the path of a directory"
                    )));
                }
                return Ok(location(PathBuf::from(path)));
            }
        }
        if text.is_empty() {
            return Err(bad("it is empty"));
        }
        // A relative path with a colon in its first component looks like a scheme.
        let first = text.split('/').next().unwrap_or_default();
        if let Some((scheme, _)) = first.split_once(':')
            && !scheme.is_empty()
            && scheme.bytes().all(|b| b.is_ascii_alphanumeric())
        {
            return Err(bad(
                "the known schemes are `kfs:PATH` (the default), `file:PATH`, `lmdb:PATH` and `mem:UUID`; write ./PATH for a path with a colon",
            ));
        }
        Ok(Self::Embedded(PathBuf::from(text)))
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Embedded(path) => write!(f, "{}", path.display()),
            Self::File(path) => write!(f, "file:{}", path.display()),
            Self::Lmdb(path) => write!(f, "lmdb:{}", path.display()),
            Self::Memory(id) => write!(f, "mem:{id}"),
        }
    }
}
