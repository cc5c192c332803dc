//! What commands ask of whoever holds the store: this process, or the daemon of the mount.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::check::{Facts, Problem};
use super::entry::{EntryInfo, Stamp};
use super::exit::Exit;
use super::file_request::{FileFacts, FileRequest};
use super::gc::{Report, Standing};
use super::init::{Compression, Serialization};
use super::place::{Bytes, NamePath};
use super::send_request::Token;
use super::snapshot_request::{SnapshotRequest, SnapshotResponse};
use super::sweep::Before;

/// One thing to do with a store. Values travel as canonical CBOR.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Request {
    /// Who holds the store. → [`Response::Status`]
    Status,
    /// A part of a directory, or a file alone. → [`Response::Entries`]
    List {
        /// The directory.
        path: NamePath,
        /// Go on after the entry with this key.
        after: Option<Bytes>,
        /// At most about so many.
        limit: usize,
    },
    /// What is known of an entry. → [`Response::Entry`]
    Info {
        /// The entry.
        path: NamePath,
    },
    /// A value. → [`Response::Value`]
    Get {
        /// Where.
        path: NamePath,
    },
    /// The value of a top-level key. → [`Response::Value`]
    GetKey {
        /// The key: canonical CBOR.
        key: Bytes,
    },
    /// Puts a value under a top-level key. → [`Response::Done`]
    PutKey {
        /// The key: canonical CBOR.
        key: Bytes,
        /// The value.
        value: Bytes,
    },
    /// Puts a value. → [`Response::Done`]
    Put {
        /// Where. Missing maps on the way are made.
        path: NamePath,
        /// The value.
        value: Bytes,
        /// What must be there.
        expect: Expect,
    },
    /// A part of a byte string that is too large for one message. → [`Response::Value`]
    Part {
        /// Where.
        path: NamePath,
        /// From which byte on.
        offset: u64,
        /// The write that made it, as [`Response::Large`] says: parts of two versions do not mix.
        seq: u64,
    },
    /// Takes in a part of a byte string that is too large for one message. → [`Response::Done`]
    Upload {
        /// What its parts have in common.
        id: Uuid,
        /// The next part.
        data: Bytes,
    },
    /// Puts what was taken in. → [`Response::Done`]
    PutUpload {
        /// Where. Missing maps on the way are made.
        path: NamePath,
        /// What its parts have in common.
        id: Uuid,
        /// What must be there: anything or nothing.
        expect: Expect,
    },
    /// Adds one to an integer. → [`Response::Value`], the new one
    Increment {
        /// Where.
        path: NamePath,
    },
    /// Copies an entry with everything in it. → [`Response::Done`]
    Copy {
        /// From where.
        from: NamePath,
        /// To where.
        to: NamePath,
        /// What may be there.
        over: Over,
    },
    /// Moves an entry, in one step. → [`Response::Done`]
    Move {
        /// From where.
        from: NamePath,
        /// To where.
        to: NamePath,
        /// What may be there.
        over: Over,
    },
    /// Exchanges two entries, in one step. → [`Response::Done`]
    Exchange {
        /// One.
        a: NamePath,
        /// The other.
        b: NamePath,
    },
    /// Removes an entry. → [`Response::Done`]
    Remove {
        /// Where.
        path: NamePath,
        /// Also a directory with entries.
        recursive: bool,
    },
    /// Begins a check, or goes on with it. → [`Response::Checked`]
    Check {
        /// What its parts have in common.
        id: Uuid,
        /// At most so many bytes a second.
        rate: u64,
    },
    /// Frees the pages that are in use no more. → [`Response::Reclaimed`]
    Reclaim,
    /// How far the round of freeing is that is under way. → [`Response::Reclaiming`]
    Reclaiming,
    /// Evicts keys that were not written for long, a part of all. → [`Response::Swept`]
    Sweep {
        /// Those last written before this.
        before: Before,
        /// Names of keys that stay.
        keep: Vec<Bytes>,
        /// Go on after the one with this key.
        after: Option<Bytes>,
        /// Change nothing.
        dry_run: bool,
    },
    /// Changes how blobs are written from now on; what is not given stays. → [`Response::Writing`]
    Change {
        /// How values are compressed.
        compress: Option<Compression>,
        /// How values are written down.
        serializer: Option<Serialization>,
    },
    /// Brings a part of all blobs into the form in which they would be written now.
    /// → [`Response::Rewritten`]
    Rewrite {
        /// Go on after the one at this address.
        after: Option<Bytes>,
    },
    /// What changed since, of a mounted store. → [`Response::Events`]
    Watch {
        /// After which record of the journal; `None`: from now on.
        after: Option<u64>,
        /// Wait so many milliseconds for something, at most 5 s.
        wait: u64,
    },
    /// How a mounted store is doing. → [`Response::Stats`]
    Stats,
    /// Something with snapshots.
    Snapshot(SnapshotRequest),
    /// A part of the stream of a snapshot. → [`Response::Value`], empty at its end
    Send {
        /// What its parts have in common.
        id: Uuid,
        /// The snapshot to begin with.
        from: Option<String>,
        /// The snapshot to send.
        to: String,
        /// Where to go on with an interrupted stream: see [`Token`].
        resume: Option<Token>,
        /// Which part: they come one after the other.
        part: u64,
    },
    /// Something with files and directories, as the mount shows them.
    Files(FileRequest),
}

impl Request {
    /// Whether the values of the store may be others afterwards.
    pub(super) fn may_write(&self) -> bool {
        if let Self::Snapshot(request) = self {
            return request.may_write();
        }
        !matches!(
            self,
            Self::Status
                | Self::List { .. }
                | Self::Info { .. }
                | Self::Get { .. }
                | Self::GetKey { .. }
                | Self::Part { .. }
                | Self::Check { .. }
                | Self::Reclaim
                | Self::Reclaiming
                | Self::Rewrite { .. }
                | Self::Send { .. }
                | Self::Watch { .. }
                | Self::Stats
                | Self::Sweep { dry_run: true, .. }
                | Self::Files(FileRequest::Describe { .. } | FileRequest::Read { .. })
        )
    }
}

/// What a write requires of the value that it replaces.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Expect {
    /// Anything or nothing.
    Any,
    /// Nothing.
    Absent,
    /// This value.
    Value(Bytes),
}

/// What a copy or move may replace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Over {
    /// Nothing.
    Nothing,
    /// A file or an empty directory.
    Files,
    /// Anything.
    Anything,
}

/// The answer to a [`Request`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Response {
    /// It is done.
    Done,
    /// Who holds the store.
    Status(Box<Status>),
    /// Entries of a directory.
    Entries {
        /// They.
        entries: Vec<EntryInfo>,
        /// Where the listing goes on; `None` at its end.
        next: Option<Bytes>,
        /// Whether the path is a directory.
        directory: bool,
    },
    /// An entry.
    Entry(Box<EntryInfo>),
    /// A value, or bytes of a file.
    Value(Bytes),
    /// A byte string that is to be asked for in parts.
    Large {
        /// Its length.
        length: u64,
        /// The write that made it.
        seq: u64,
    },
    /// A file or directory.
    File(Box<FileFacts>),
    /// What a check has found since the last time.
    Checked {
        /// What is wrong.
        problems: Vec<Problem>,
        /// What was looked at, once it has ended.
        facts: Option<Box<Facts>>,
    },
    /// Keys were evicted.
    Swept {
        /// Their names.
        names: Vec<Bytes>,
        /// Where it goes on; `None` at the end.
        next: Option<Bytes>,
        /// The moment before which those were written.
        cutoff: Stamp,
    },
    /// How blobs are written: the names of serializer and compressor.
    Writing {
        /// The serializer.
        serializer: String,
        /// The compressor.
        compressor: String,
    },
    /// Blobs were written anew.
    Rewritten {
        /// Those that were looked at.
        blobs: u64,
        /// Those that were written.
        rewritten: u64,
        /// What does not read.
        damaged: Vec<String>,
        /// Where it goes on; `None` at the end.
        next: Option<Bytes>,
    },
    /// About snapshots.
    Snapshot(SnapshotResponse),
    /// What changed.
    Events {
        /// Lines of JSON.
        lines: String,
        /// The record that they go up to.
        seq: u64,
        /// Whether the mount has ended.
        closed: bool,
    },
    /// How a mounted store is doing: JSON.
    Stats(String),
    /// Done but for these extended attributes.
    Refused(Vec<Bytes>),
    /// Pages were freed.
    Reclaimed(Box<Report>),
    /// So far is a round.
    Reclaiming(Standing),
}

/// Who holds a store.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Where it is.
    pub location: String,
    /// Its UUID.
    pub id: Uuid,
    /// The process.
    pub pid: u32,
    /// Where it is mounted.
    pub mountpoint: Option<Bytes>,
    /// Whether writes are refused.
    pub read_only: bool,
    /// Whether what the store keeps is encrypted.
    #[serde(default)]
    pub encrypted: bool,
    /// The store over which it lies, and to which nothing is written.
    pub lies_over: Option<String>,
    /// The sequence number of the last write.
    pub seq: u64,
    /// The version of the program.
    pub version: String,
}

/// A failure as it travels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Failure {
    /// How the command ends.
    pub exit: Exit,
    /// What to tell.
    pub message: String,
}
