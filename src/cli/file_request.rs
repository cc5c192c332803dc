//! What `import` and `export` ask for: files and directories as the mount would show and take them.

use serde::{Deserialize, Serialize};

use super::entry::Stamp;
use super::place::{Bytes, NamePath};
#[cfg(doc)]
use super::request::Response;

/// One thing to do with a file or directory.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum FileRequest {
    /// What it is. → [`Response::File`]
    Describe {
        /// Which.
        path: NamePath,
    },
    /// A part of its content. → [`Response::Value`]
    Read {
        /// Which.
        path: NamePath,
        /// From where.
        offset: u64,
        /// At most so many bytes; fewer come only at the end.
        length: usize,
    },
    /// Makes a directory, unless it is there. → [`Response::Done`]
    Directory {
        /// Where.
        path: NamePath,
    },
    /// Writes a part of a file's content; at offset 0 the file is made or emptied first.
    /// → [`Response::Done`]
    Write {
        /// Where.
        path: NamePath,
        /// Where in the file.
        offset: u64,
        /// The part.
        data: Bytes,
    },
    /// Makes a symbolic link, pipe, socket or device, in place of what is there.
    /// → [`Response::Done`]
    Special {
        /// Where.
        path: NamePath,
        /// What.
        special: Special,
    },
    /// Makes another name for a file, in place of what is there. → [`Response::Done`]
    Link {
        /// The new name.
        path: NamePath,
        /// The one that is there.
        existing: NamePath,
    },
    /// Sets attributes. → [`Response::Refused`]
    Attributes {
        /// Of what.
        path: NamePath,
        /// They; its size and kind are left alone.
        file: Box<FileFacts>,
    },
    /// Waits until everything is on disk. → [`Response::Done`]
    Sync,
}

/// What is neither file nor directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Special {
    /// A symbolic link to this.
    Symlink(Bytes),
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
    /// A character device with this number.
    CharDevice(u32),
    /// A block device with this number.
    BlockDevice(u32),
}

/// What a file or directory is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileFacts {
    /// What it is, beside a file or directory.
    pub special: Option<Special>,
    /// Whether it is a directory.
    pub directory: bool,
    /// Bytes of content.
    pub size: u64,
    /// Permissions.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Last change of the content.
    pub modified: Stamp,
    /// Number of names and what tells files with several names from each other.
    pub links: (u32, u64),
    /// Extended attributes.
    pub xattrs: Vec<(Bytes, Bytes)>,
}
