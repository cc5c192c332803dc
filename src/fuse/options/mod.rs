//! What can be given with `-o`.

mod parse;

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

pub use parse::{OptionError, age, byte_count};

use crate::backend::tiered::Writes;
use crate::snapshot::Retention;
use crate::snapshot::automatic::Schedule;
use crate::store::{Copied, Done, FrontOptions};

/// Options of a mount, as given with `-o` in a comma-separated list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountOptions {
    /// `ro`: nothing can be changed through the mount. `rw` is the default.
    pub read_only: bool,
    /// `allow_other`, `allow_root`: who besides the mounting user may use the mount.
    pub audience: Audience,
    /// `default_permissions` (the default): the kernel checks modes, owners and ACLs.
    /// `no_default_permissions`: whoever may use the mount may do everything.
    pub default_permissions: bool,
    /// Owner and mode of entries that have none of their own.
    pub entries: EntryDefaults,
    /// `strict`, `infer`: how written content and types go together.
    pub typing: Typing,
    /// `noatime`: accepted; access times change only when set explicitly in any case.
    pub no_atime: bool,
    /// `suid`; `nosuid` is the default.
    pub suid: bool,
    /// `dev`; `nodev` is the default.
    pub dev: bool,
    /// `exec` (the default) or `noexec`.
    pub exec: bool,
    /// `fsname=NAME`: the source shown in `/proc/mounts`.
    pub fsname: Option<String>,
    /// `subtype=NAME`: the type shown in `/proc/mounts` is `fuse.NAME`.
    pub subtype: String,
    /// `writeback`: the kernel collects writes. Random small writes get faster, creating files and
    /// small reads slower.
    pub writeback: bool,
    /// `cache=BYTES`: memory for decoded pages and documents, with K, M, G for powers of 1024.
    pub cache: Option<u64>,
    /// `front=DIR`: a directory on a faster disk that keeps copies of what the store has.
    pub front: Option<PathBuf>,
    /// `key-file=FILE`: what opens an encrypted store.
    pub key_file: Option<PathBuf>,
    /// `around`: writes go around the front.
    pub around: bool,
    /// `behind`: writes are done when they are in the front.
    pub behind: bool,
    /// `overlay`: writes stay in the front, and nothing of the store is written to.
    pub overlay: bool,
    /// `front-size=BYTES`: how large its copies may be together, with K, M, G for powers of 1024.
    pub front_size: Option<u64>,
    /// `populate`: copies of everything are made in the front.
    pub populate: bool,
    /// `without-front`, with `ro`: what waits in a front is not wanted.
    pub without_front: bool,
    /// `sweep=AGE`: keys that were not written for so long are evicted.
    pub sweep: Option<Duration>,
    /// `snapshot=AGE`: a snapshot is taken so often, if something has changed.
    pub snapshot: Option<Duration>,
    /// `keep-hourly=N` and so on: which of these snapshots stay; all of them if nothing is said.
    pub keep: Retention,
    /// `nonempty`: the mountpoint may have entries, which the mount then hides.
    pub nonempty: bool,
    /// `threads=N`: threads that listen to the kernel. While all of them but one are at work, what
    /// comes is handed to others.
    pub threads: NonZeroUsize,
    /// `timeout=SECONDS`: what has not been done by then fails.
    pub timeout: Duration,
    /// How long the kernel keeps names and attributes without asking. Long, as every change is
    /// told to it; no option, but to be lowered for a store that others change too.
    pub lifetime: Duration,
}

impl MountOptions {
    /// The front of the store, if it has one.
    #[must_use]
    pub fn front(&self) -> Option<FrontOptions> {
        let writes = if self.around {
            Writes::Around
        } else {
            Writes::Through
        };
        let dir = self.front.clone()?;
        let done = match (self.overlay, self.behind) {
            (true, _) => Done::OnlyInFront,
            (false, true) => Done::InFront,
            (false, false) => Done::InStore,
        };
        let copies = if self.populate {
            Copied::All
        } else {
            Copied::AsUsed
        };
        Some(FrontOptions {
            dir,
            writes,
            done,
            size: self.front_size,
            copies,
        })
    }

    /// When snapshots are taken without being asked for, if they are.
    #[must_use]
    pub fn schedule(&self) -> Option<Schedule> {
        let (every, keep) = (self.snapshot?, self.keep);
        Some(Schedule { every, keep })
    }
}

/// Who may use a mount.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Audience {
    /// The user who mounts.
    #[default]
    Owner,
    /// The user who mounts, and root.
    OwnerAndRoot,
    /// Everybody.
    Everyone,
}

/// How written content and types go together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Typing {
    /// Content that does not parse as the declared type is text for the time being.
    #[default]
    Lenient,
    /// Content that does not parse as the declared type is refused.
    Strict,
    /// New content without a type gets one where it is rendered back exactly.
    Infer,
    /// Both of these.
    StrictInfer,
}

impl Typing {
    /// Whether content that does not parse is refused.
    #[must_use]
    pub fn is_strict(self) -> bool {
        matches!(self, Self::Strict | Self::StrictInfer)
    }

    /// Whether new content gets a type.
    #[must_use]
    pub fn infers(self) -> bool {
        matches!(self, Self::Infer | Self::StrictInfer)
    }

    fn with_strict(self) -> Self {
        if self.infers() {
            Self::StrictInfer
        } else {
            Self::Strict
        }
    }

    fn with_infer(self) -> Self {
        if self.is_strict() {
            Self::StrictInfer
        } else {
            Self::Infer
        }
    }
}

/// Owner and mode of entries that have none of their own, because they were made through the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryDefaults {
    /// `uid=N`; otherwise the mounting user.
    pub uid: Option<u32>,
    /// `gid=N`; otherwise the mounting user's group.
    pub gid: Option<u32>,
    umask: u32,
    fmask: Option<u32>,
    dmask: Option<u32>,
}

impl Default for EntryDefaults {
    fn default() -> Self {
        Self {
            uid: None,
            gid: None,
            umask: 0o022,
            fmask: None,
            dmask: None,
        }
    }
}

impl EntryDefaults {
    /// Permission bits of a file: 0666 without `fmask` (or `umask`, 022 unless given).
    #[must_use]
    pub fn file_mode(&self) -> u32 {
        0o666 & !self.fmask.unwrap_or(self.umask)
    }

    /// Permission bits of a directory: 0777 without `dmask` (or `umask`).
    #[must_use]
    pub fn dir_mode(&self) -> u32 {
        0o777 & !self.dmask.unwrap_or(self.umask)
    }
}

impl Default for MountOptions {
    fn default() -> Self {
        Self {
            read_only: false,
            audience: Audience::default(),
            default_permissions: true,
            entries: EntryDefaults::default(),
            typing: Typing::default(),
            no_atime: false,
            suid: false,
            dev: false,
            exec: true,
            fsname: None,
            subtype: "kfs".to_owned(),
            writeback: false,
            cache: None,
            front: None,
            key_file: None,
            around: false,
            behind: false,
            overlay: false,
            front_size: None,
            populate: false,
            without_front: false,
            sweep: None,
            snapshot: None,
            keep: Retention::default(),
            nonempty: false,
            threads: const { NonZeroUsize::new(4).unwrap() },
            timeout: Duration::from_secs(20),
            lifetime: Duration::from_secs(3600),
        }
    }
}
