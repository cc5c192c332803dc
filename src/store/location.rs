//! Where a store is.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use uuid::Uuid;

use super::StoreError;
use crate::backend::Kind;

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
    /// `rocksdb:PATH`: a directory with a RocksDB database, in a build with the feature `rocksdb`.
    RocksDb(PathBuf),
    /// A directory with a storage of the program's own. No text stands for one.
    Custom(Custom),
    /// `mem:UUID`: in this process's memory, gone with it.
    Memory(Uuid),
}

/// A directory with a storage that is none of this crate's.
#[derive(Clone)]
pub struct Custom {
    /// The name of the kind, and of the storage in the directory.
    pub scheme: &'static str,
    /// The store's directory.
    pub dir: PathBuf,
    /// How such a storage is made and opened.
    pub kind: Arc<dyn Kind>,
}

impl Custom {
    /// Where the storage is.
    #[must_use]
    pub fn root(&self) -> PathBuf {
        self.dir.join(self.scheme)
    }
}

impl fmt::Debug for Custom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Custom")
            .field("scheme", &self.scheme)
            .field("dir", &self.dir)
            .finish_non_exhaustive()
    }
}

impl PartialEq for Custom {
    fn eq(&self, other: &Self) -> bool {
        (self.scheme, &self.dir) == (other.scheme, &other.dir)
    }
}

impl Eq for Custom {}

impl Location {
    /// The schemes of stores in a directory.
    pub const DIRECTORIES: [(&str, AtPath); 4] = [
        ("kfs:", Self::Embedded),
        ("file:", Self::File),
        ("lmdb:", Self::Lmdb),
        ("rocksdb:", Self::RocksDb),
    ];

    /// The store's directory, if it is in one.
    #[must_use]
    pub fn directory(&self) -> Option<&Path> {
        match self {
            Self::Embedded(path) | Self::File(path) | Self::Lmdb(path) | Self::RocksDb(path) => {
                Some(path)
            }
            Self::Custom(custom) => Some(&custom.dir),
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
                "the known schemes are `kfs:PATH` (the default), `file:PATH`, `lmdb:PATH`, `rocksdb:PATH` and `mem:UUID`; write ./PATH for a path with a colon",
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
            Self::RocksDb(path) => write!(f, "rocksdb:{}", path.display()),
            Self::Custom(custom) => write!(f, "{}:{}", custom.scheme, custom.dir.display()),
            Self::Memory(id) => write!(f, "mem:{id}"),
        }
    }
}
