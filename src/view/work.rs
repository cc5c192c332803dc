//! Working copies: what a file is for the processes of the mount, committed or not.

use super::buffer::Buffer;
use crate::tree::{Attrs, Entry, Time};

/// How far a working copy is from what is committed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// Nothing to commit.
    #[default]
    Clean,
    /// Created or truncated through a handle: committed with the first write, a sync, the last close,
    /// or after a while.
    Touched,
    /// Written.
    Written,
}

/// An inode's working copy.
#[derive(Debug, Default)]
pub struct Work {
    /// The entry, where the tree does not say it: for a file that is open, that has no name any
    /// more, or whose name is not committed yet.
    pub entry: Option<Entry>,
    /// The stamp that holds for the entry.
    pub stamp: Time,
    /// The file's bytes while it is open.
    pub buffer: Option<Buffer>,
    /// What is to be committed.
    pub state: State,
    /// When the content last changed, if that is not committed.
    pub mtime: Option<Time>,
    /// The name is not committed yet.
    pub pending: bool,
    /// The file has no name any more.
    pub orphan: bool,
    /// A write has taken the setuid and setgid bits away.
    pub kill: bool,
    /// Why the last commit failed.
    pub error: Option<String>,
}

impl Work {
    /// The working copy of a file that was just created.
    pub fn created(entry: Entry, time: Time) -> Self {
        Self {
            buffer: Some(Buffer::empty()),
            entry: Some(entry),
            stamp: time,
            state: State::Touched,
            pending: true,
            ..Self::default()
        }
    }

    /// What a change of the content changes, for [`Work::restore`].
    pub fn content(&self) -> (Option<Buffer>, State, Option<Time>, bool) {
        (self.buffer.clone(), self.state, self.mtime, self.kill)
    }

    /// Takes a change of the content back.
    pub fn restore(&mut self, before: (Option<Buffer>, State, Option<Time>, bool)) {
        (self.buffer, self.state, self.mtime, self.kill) = before;
    }

    /// Forgets everything that the tree knows too.
    pub fn settle(&mut self) {
        if !self.orphan && !self.pending && self.state == State::Clean {
            self.entry = None;
            self.buffer = None;
            self.mtime = None;
        }
    }

    /// Takes away what a write takes away now, not with the commit.
    pub fn settle_kill(&mut self) {
        if let Some(entry) = &mut self.entry
            && std::mem::take(&mut self.kill)
        {
            let mut attrs = entry.attrs();
            clear_setid(&mut attrs);
            entry.set_attrs(attrs);
        }
    }

    /// The attributes after what was written, with a new ctime.
    pub fn written_attrs(&self, entry: &Entry, stamp: Time) -> Attrs {
        let mut attrs = entry.attrs();
        if let Some(mtime) = self.mtime {
            let before = crate::tree::edit::times_of(entry, stamp);
            attrs.times = Some(crate::tree::Times {
                mtime,
                ctime: mtime.max(before.ctime),
                crtime: before.crtime,
            });
        }
        if self.state == State::Written || self.mtime.is_some() {
            attrs.xattrs.remove("security.capability".as_bytes());
        }
        if self.kill {
            clear_setid(&mut attrs);
        }
        attrs
    }
}

/// Takes away what a write by others takes away: setuid, and setgid where the group may execute.
pub fn clear_setid(attrs: &mut Attrs) {
    if let Some(owner) = &mut attrs.owner {
        owner.mode &= !0o4000;
        if owner.mode & 0o010 != 0 {
            owner.mode &= !0o2000;
        }
    }
}
