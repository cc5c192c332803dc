//! What can go wrong in an operation on files and directories.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;

use super::types::{Ino, Lasting};

/// A failed operation. Every variant is an answer of its own to the program that asked.
#[derive(Debug, thiserror::Error)]
pub enum ViewError {
    /// There is no such name.
    #[error("{name} is not in directory {parent}")]
    NotFound {
        /// The directory.
        parent: Ino,
        /// The name looked for.
        name: Name,
        /// Whether the kernel may remember that.
        lasting: Lasting,
    },
    /// The name is taken.
    #[error("{name} is already in directory {parent}")]
    Exists {
        /// The directory.
        parent: Ino,
        /// The name.
        name: Name,
    },
    /// A directory is needed.
    #[error("inode {ino} is no directory")]
    NotDirectory {
        /// What was given.
        ino: Ino,
    },
    /// A directory cannot be used like this.
    #[error("inode {ino} is a directory")]
    IsDirectory {
        /// The directory.
        ino: Ino,
    },
    /// A directory to be removed or replaced has entries.
    #[error("directory {name} in {parent} is not empty")]
    NotEmpty {
        /// The directory it is in.
        parent: Ino,
        /// Its name.
        name: Name,
    },
    /// A name of more than 255 bytes.
    #[error("{name}: a name has at most 255 bytes")]
    NameTooLong {
        /// The name.
        name: Name,
    },
    /// The request cannot mean anything, or its content does not parse.
    #[error("{what}: {why}")]
    Invalid {
        /// The object or argument.
        what: Cow<'static, str>,
        /// What is wrong with it.
        why: Cow<'static, str>,
    },
    /// Nobody may do this, or only root.
    #[error("{what}: {why}")]
    NotPermitted {
        /// The object or argument.
        what: Cow<'static, str>,
        /// The rule.
        why: Cow<'static, str>,
    },
    /// This caller may not do this to this object.
    #[error("{what}: user {uid} has no permission")]
    AccessDenied {
        /// The object.
        what: Cow<'static, str>,
        /// The caller.
        uid: u32,
    },
    /// Mounted or opened for reading only, or a snapshot.
    #[error("{what} is for reading only")]
    ReadOnly {
        /// The store, snapshot or file.
        what: Cow<'static, str>,
    },
    /// It cannot be done as one atomic step between these two places.
    #[error("{from} and {to} have no atomic rename or link between them")]
    CrossDevice {
        /// One place.
        from: Cow<'static, str>,
        /// The other.
        to: Cow<'static, str>,
    },
    /// A file larger than what is possible for it.
    #[error("{what}: {size} is more than the possible {limit}")]
    TooBig {
        /// The file.
        what: Cow<'static, str>,
        /// The size or index asked for.
        size: u64,
        /// The largest possible.
        limit: u64,
    },
    /// An attribute larger than what is possible.
    #[error("attribute {name} of inode {ino}: {size} bytes, at most {limit} are possible")]
    AttributeTooBig {
        /// The file or directory.
        ino: Ino,
        /// The attribute.
        name: Name,
        /// Bytes given.
        size: u64,
        /// Bytes possible.
        limit: u64,
    },
    /// The storage is full.
    #[error("{what}: no space left in the storage")]
    NoSpace {
        /// What was being written.
        what: Cow<'static, str>,
    },
    /// There is no such extended attribute.
    #[error("inode {ino} has no attribute {name}")]
    NoAttribute {
        /// The file or directory.
        ino: Ino,
        /// The attribute.
        name: Name,
    },
    /// An extended attribute that was to be created is there.
    #[error("inode {ino} already has an attribute {name}")]
    AttributeExists {
        /// The file or directory.
        ino: Ino,
        /// The attribute.
        name: Name,
    },
    /// A result does not fit where the caller wants it.
    #[error("{what} does not fit")]
    Range {
        /// The result.
        what: Cow<'static, str>,
    },
    /// There is no data, or no hole, at or after this offset.
    #[error("inode {ino}: nothing to seek at or after {offset}")]
    NothingThere {
        /// The file.
        ino: Ino,
        /// Where the search began.
        offset: u64,
    },
    /// An inode that the kernel still names is gone.
    #[error("inode {ino} is gone")]
    Stale {
        /// The inode.
        ino: Ino,
    },
    /// No such handle, or not open for this.
    #[error("handle {fh} is not open for {operation}")]
    BadHandle {
        /// The handle.
        fh: u64,
        /// What it was used for.
        operation: &'static str,
    },
    /// This kind of object or store cannot do it.
    #[error("{what}: {why}")]
    NotSupported {
        /// The object or operation.
        what: Cow<'static, str>,
        /// What is missing.
        why: Cow<'static, str>,
    },
    /// The object is in use in a way that forbids this.
    #[error("{what} is in use: {why}")]
    Busy {
        /// The object.
        what: Cow<'static, str>,
        /// By whom or for what.
        why: Cow<'static, str>,
    },
    /// The answer did not come in time. A write may have been done all the same.
    #[error("{what}: not done in time")]
    TimedOut {
        /// What was being done.
        what: Cow<'static, str>,
    },
    /// Whoever asked waits no more. A write may have been done all the same.
    #[error("{what}: given up, as nobody waits for it any more")]
    Interrupted {
        /// What was being done.
        what: Cow<'static, str>,
    },
    /// Stored data is not what was written; it is never returned.
    #[error("{key} is damaged")]
    Damaged {
        /// The document or path.
        key: String,
        /// What the check found.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// The layers below failed.
    #[error("{what}: {source}")]
    Io {
        /// What was being done, and to what.
        what: Cow<'static, str>,
        /// What they said.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// A file has as many names as it can have.
    #[error("inode {ino} has {limit} names, the most that are possible")]
    TooManyLinks {
        /// The file.
        ino: Ino,
        /// The most names.
        limit: u32,
    },
    /// More files are open than there is room for.
    #[error("{open} files are open, the most that are possible")]
    TooManyOpen {
        /// How many.
        open: u64,
    },
    /// It would have to wait, and the caller does not want that.
    #[error("{what} would have to wait")]
    WouldBlock {
        /// What was being done.
        what: Cow<'static, str>,
    },
    /// The view is being shut down.
    #[error("the filesystem is shutting down")]
    ShuttingDown,
}

impl ViewError {
    /// Whether the content itself is refused, so that trying again would not help.
    pub(super) fn is_refusal(&self) -> bool {
        matches!(self, Self::Invalid { .. } | Self::TooBig { .. })
    }

    /// There is no such name, and the kernel may remember it until told otherwise.
    #[must_use]
    pub fn not_found(parent: Ino, name: &[u8]) -> Self {
        Self::NotFound {
            parent,
            name: name.into(),
            lasting: Lasting::UntilInvalidated,
        }
    }

    /// The name is taken.
    #[must_use]
    pub fn exists(parent: Ino, name: &[u8]) -> Self {
        Self::Exists {
            parent,
            name: name.into(),
        }
    }

    /// The request cannot mean anything.
    pub fn invalid(what: impl Into<Cow<'static, str>>, why: impl Into<Cow<'static, str>>) -> Self {
        Self::Invalid {
            what: what.into(),
            why: why.into(),
        }
    }

    /// The layers below failed.
    pub fn io(
        what: impl Into<Cow<'static, str>>,
        source: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> Self {
        Self::Io {
            what: what.into(),
            source: source.into(),
        }
    }

    /// Whether the store or the machine is at fault, not the request: worth a line in the log.
    #[must_use]
    pub fn is_fault(&self) -> bool {
        matches!(
            self,
            Self::Damaged { .. } | Self::Io { .. } | Self::TimedOut { .. } | Self::NoSpace { .. }
        )
    }
}

/// A file's or attribute's name that can be printed: UTF-8 as it is, other bytes as `\xNN`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Name(Box<[u8]>);

impl Name {
    /// The name itself.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl From<&[u8]> for Name {
    fn from(bytes: &[u8]) -> Self {
        Self(bytes.into())
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            for c in chunk.valid().chars() {
                if c.is_control() {
                    write!(f, "{}", c.escape_default())?;
                } else {
                    fmt::Write::write_char(f, c)?;
                }
            }
            write!(f, "{}", chunk.invalid().escape_ascii())?;
        }
        Ok(())
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_print_on_one_line_whatever_bytes_they_hold() {
        let name = Name::from(&b"caf\xc3\xa9\n\xff"[..]);
        assert_eq!(name.to_string(), "café\\n\\xff");
    }

    #[test]
    fn errors_name_what_where_and_why() {
        let e = ViewError::not_found(7, b"a");
        assert_eq!(e.to_string(), "a is not in directory 7");
        let e = ViewError::invalid("type", "\"flaot\" is no type");
        assert_eq!(e.to_string(), "type: \"flaot\" is no type");
    }
}
