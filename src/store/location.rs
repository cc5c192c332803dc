//! Where a store is.

use std::fmt;
use std::path::PathBuf;

use uuid::Uuid;

use super::StoreError;

/// Where a store is, as a program or a person writes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// `PATH` or `kfs:PATH`: a directory with the embedded engine.
    Embedded(PathBuf),
    /// `mem:UUID`: in this process's memory, gone with it.
    Memory(Uuid),
}

impl Location {
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
        if let Some(path) = text.strip_prefix("kfs:") {
            if path.is_empty() {
                return Err(bad("after `kfs:` comes the path of a directory"));
            }
            return Ok(Self::Embedded(PathBuf::from(path)));
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
                "the known schemes are `kfs:PATH` (the default) and `mem:UUID`; write ./PATH for a path with a colon",
            ));
        }
        Ok(Self::Embedded(PathBuf::from(text)))
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Embedded(path) => write!(f, "{}", path.display()),
            Self::Memory(id) => write!(f, "mem:{id}"),
        }
    }
}
