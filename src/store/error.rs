//! What can go wrong with a store.

use crate::backend::BackendError;
use crate::codec::CodecError;
use crate::crypt::CryptError;
use crate::journal::JournalError;
use crate::tree::TreeError;

/// An error of the store layer.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// `create` found a store.
    #[error("{location}: there is a store already; connect to it, or choose another place")]
    Exists {
        /// Where.
        location: String,
    },
    /// `connect` or `delete` found no store.
    #[error("{location}: no store here; create one with `kfs init {location}`")]
    Missing {
        /// Where.
        location: String,
    },
    /// There is something, and it is no store.
    #[error("{location}: not a store: {reason}")]
    NotAStore {
        /// Where.
        location: String,
        /// Why not.
        reason: String,
    },
    /// The location cannot be understood.
    #[error("{location:?} is no store location: {reason}")]
    BadLocation {
        /// As given.
        location: String,
        /// Why not.
        reason: String,
    },
    /// The store has another UUID than the caller expects.
    #[error("{location}: this store is {found}, not {expected}")]
    WrongId {
        /// Where.
        location: String,
        /// Its UUID.
        found: uuid::Uuid,
        /// The UUID asked for.
        expected: uuid::Uuid,
    },
    /// The store was written by another version of the program.
    #[error("{location}: format {found}, and this program reads format {supported}; {remedy}")]
    Format {
        /// Where.
        location: String,
        /// The store's format version.
        found: u64,
        /// The format version of this program.
        supported: u64,
        /// What to do.
        remedy: &'static str,
    },
    /// The store needs something that this program does not have.
    #[error("{location}: the store's {setting} is {name:?}, which is not known to this program")]
    Setting {
        /// Where.
        location: String,
        /// What is unknown.
        setting: &'static str,
        /// Its name.
        name: String,
    },
    /// The store is connected already, by this process or another.
    #[error("{location}: the store is in use by process {pid}; unmount or end it first")]
    InUse {
        /// Where.
        location: String,
        /// The holder.
        pid: String,
    },
    /// The front of a store cannot be used.
    #[error("{dir}: cannot be the front of a store: {reason}")]
    Front {
        /// Its directory.
        dir: String,
        /// Why not.
        reason: String,
    },
    /// What a store was told last waits in its front, which is not given.
    #[error(
        "{location}: what was written last waits in its front {front}: give that, too, as with \
         kfs mount -o front={front},behind; if it is lost, remove {mark}, and the store is as it was \
         before that"
    )]
    Behind {
        /// Where the store is.
        location: String,
        /// The directory of the front, as it was called then.
        front: String,
        /// The file in the store that says so.
        mark: String,
    },
    /// The store is encrypted, and no key is given.
    #[error(
        "{location}: the store is encrypted; give --key-file FILE or --passcommand COMMAND, or run this \
         where a passphrase can be asked for"
    )]
    KeyNeeded {
        /// Where.
        location: String,
    },
    /// A key is given for a store that is not encrypted.
    #[error(
        "{location}: a key is given, and this store is not encrypted; if it should be, it has been \
         exchanged for another one: do not use it"
    )]
    NotEncrypted {
        /// Where.
        location: String,
    },
    /// The keys of a store cannot be had or changed.
    #[error("{location}: {source}")]
    Key {
        /// Where.
        location: String,
        /// Why not.
        source: CryptError,
    },
    /// The handle was opened for reading only.
    #[error("the store is open for reading only")]
    ReadOnly,
    /// The store has been released.
    #[error("the store has been released")]
    Released,
    /// A private state that is being committed, or has been.
    #[error("the transaction is being committed, or has ended")]
    Sealed,
    /// There is a snapshot of this name.
    #[error("there is a snapshot {name} already")]
    SnapshotExists {
        /// The name.
        name: String,
    },
    /// There is no snapshot of this name, or none any more.
    #[error("there is no snapshot {name}")]
    NoSnapshot {
        /// The name; the number of the one that was dropped while it was read.
        name: String,
    },
    /// A snapshot that was received is only half in place.
    #[error(
        "{location}: a received snapshot was cut short while it was put in place; \
         whatever opens the store for writing finishes it, as kfs gc {location}"
    )]
    HalfReceived {
        /// Where.
        location: String,
    },
    /// The empty path names no value.
    #[error("the path is empty; a value of the store has at least a key")]
    EmptyPath,
    /// A document does not read.
    #[error("{key}: damaged: {source}")]
    Damaged {
        /// The top-level key, as EDN.
        key: String,
        /// What the check found.
        source: CodecError,
    },
    /// An operation on the tree of a key failed.
    #[error("{key}: {source}")]
    Tree {
        /// The top-level key, as EDN.
        key: String,
        /// What happened.
        source: TreeError,
    },
    /// Something is already at the target of a rename that must not replace.
    #[error("{path}: something is there already")]
    Occupied {
        /// The target as EDN.
        path: String,
    },
    /// Nothing is at the source of a rename or swap.
    #[error("{path}: nothing is there")]
    NothingThere {
        /// The path as EDN.
        path: String,
    },
    /// A path was to be moved into itself.
    #[error("{path}: cannot be moved below itself")]
    IntoItself {
        /// The path as EDN.
        path: String,
    },
    /// The value at a path is no byte string.
    #[error("{key}: a {found}, not a byte string")]
    NotBinary {
        /// The key as EDN.
        key: String,
        /// What it is.
        found: &'static str,
    },
    /// The value under a key is no log.
    #[error("{key}: a {found}, and only to a vector something can be appended")]
    NotALog {
        /// The key as EDN.
        key: String,
        /// What it is.
        found: &'static str,
    },
    /// The condition of a write does not hold.
    #[error("{path}: {expected} was expected, and there is {found}; read it again")]
    Precondition {
        /// The path as EDN.
        path: String,
        /// What should be there.
        expected: String,
        /// What is there.
        found: String,
    },
    /// Several keys in one step where that is not possible.
    #[error("this store cannot write several keys in one step; write them one by one")]
    NotMultiKey,
    /// Others changed the document again and again while an operation tried to.
    #[error("{key}: changed by others {attempts} times during the operation; try again")]
    Contention {
        /// The key as EDN.
        key: String,
        /// How often the operation was tried.
        attempts: usize,
    },
    /// Folding cannot keep up or fails, and too much is unwritten.
    #[error("the store takes no more writes until what it holds is written: {reason}")]
    Backlog {
        /// Why writing does not go on.
        reason: String,
    },
    /// The source of a streamed value failed.
    #[error("reading the new value: {0}")]
    Source(#[source] std::io::Error),
    /// The closure of an update failed.
    #[error("the update was given up: {0}")]
    Update(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The journal failed.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The backend failed.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// The file system below failed.
    #[error("{what}: {source}")]
    Io {
        /// The file and what was done.
        what: String,
        /// The cause.
        source: std::io::Error,
    },
}

impl StoreError {
    pub(crate) fn tree(key: &crate::value::Key, source: TreeError) -> Self {
        match source {
            TreeError::Backend(e) => Self::Backend(e),
            source => Self::Tree {
                key: super::show_key(key),
                source,
            },
        }
    }
}
