//! Answers of the view as replies to the kernel.

use std::time::Duration;

use fuser::{
    Errno, FileHandle, Generation, ReplyAttr, ReplyCreate, ReplyData, ReplyEmpty, ReplyEntry,
    ReplyOpen, ReplyWrite, ReplyXattr,
};

use super::convert::{bare_attr, file_attr, open_flags};
use crate::view::{Attr, FileKind, Lasting, Opened};

/// Inode numbers are never used for another file while the kernel knows them.
pub(super) const GENERATION: Generation = Generation(0);

/// How long the kernel keeps what does not change without its being told.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lifetime(pub(super) Duration);

impl Lifetime {
    /// Of a name.
    fn of_name(self, lasting: Lasting) -> Duration {
        match lasting {
            Lasting::UntilInvalidated => self.0,
            Lasting::Momentary => Duration::ZERO,
        }
    }

    /// Of attributes. Those of a setuid or setgid file are not kept at all: a write takes these
    /// bits away without the kernel's noticing, which would run the changed program with them.
    /// Expired attributes are asked for before a program is run.
    pub(super) fn of_attr(self, attr: &Attr) -> Duration {
        if attr.kind == FileKind::File && attr.perm & 0o6000 != 0 {
            Duration::ZERO
        } else {
            self.of_name(attr.lasting)
        }
    }

    pub(super) fn entry(self, answer: Result<Attr, Errno>, reply: ReplyEntry) {
        match answer {
            Ok(attr) => reply.entry_with_ttls(
                &self.of_attr(&attr),
                &self.of_name(attr.lasting),
                &file_attr(&attr),
                GENERATION,
            ),
            Err(errno) => reply.error(errno),
        }
    }

    /// Inode 0 is how the kernel is told that it may remember an absence.
    pub(super) fn absence(self, reply: ReplyEntry) {
        reply.entry(&self.0, &bare_attr(0, FileKind::File), GENERATION);
    }

    pub(super) fn attr(self, answer: Result<Attr, Errno>, reply: ReplyAttr) {
        match answer {
            Ok(attr) => reply.attr(&self.of_attr(&attr), &file_attr(&attr)),
            Err(errno) => reply.error(errno),
        }
    }

    /// Attributes as a change left them. The kernel does not see that it was told of a later one before
    /// it comes to this answer, as it does when it has asked for attributes, so it asks again.
    pub(super) fn changed(answer: Result<Attr, Errno>, reply: ReplyAttr) {
        Self(Duration::ZERO).attr(answer, reply);
    }

    /// A new name of an inode, whose attributes are as [`Lifetime::changed`] says.
    pub(super) fn linked(self, answer: Result<Attr, Errno>, reply: ReplyEntry) {
        match answer {
            Ok(attr) => reply.entry_with_ttls(
                &Duration::ZERO,
                &self.of_name(attr.lasting),
                &file_attr(&attr),
                GENERATION,
            ),
            Err(errno) => reply.error(errno),
        }
    }

    pub(super) fn created(self, answer: Result<(Attr, Opened), Errno>, reply: ReplyCreate) {
        match answer {
            Ok((attr, opened)) => reply.created(
                &self.of_attr(&attr),
                &file_attr(&attr),
                GENERATION,
                FileHandle(opened.fh),
                open_flags(&opened),
            ),
            Err(errno) => reply.error(errno),
        }
    }
}

pub(super) fn opened(answer: Result<Opened, Errno>, reply: ReplyOpen) {
    match answer {
        Ok(opened) => reply.opened(FileHandle(opened.fh), open_flags(&opened)),
        Err(errno) => reply.error(errno),
    }
}

pub(super) fn empty(answer: Result<(), Errno>, reply: ReplyEmpty) {
    match answer {
        Ok(()) => reply.ok(),
        Err(errno) => reply.error(errno),
    }
}

pub(super) fn data(answer: Result<Vec<u8>, Errno>, reply: ReplyData) {
    match answer {
        Ok(data) => reply.data(&data),
        Err(errno) => reply.error(errno),
    }
}

pub(super) fn written(answer: Result<u32, Errno>, reply: ReplyWrite) {
    match answer {
        Ok(written) => reply.written(written),
        Err(errno) => reply.error(errno),
    }
}

/// Size 0 asks how long the value is.
pub(super) fn xattr(answer: Result<Vec<u8>, Errno>, size: u32, reply: ReplyXattr) {
    match (answer, size) {
        (Err(errno), _) => reply.error(errno),
        (Ok(value), 0) => match u32::try_from(value.len()) {
            Ok(length) => reply.size(length),
            Err(_) => reply.error(Errno::E2BIG),
        },
        (Ok(value), size) if value.len() > size as usize => reply.error(Errno::ERANGE),
        (Ok(value), _) => reply.data(&value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::Time;

    fn attr(perm: u16, lasting: Lasting) -> Attr {
        let time = Time::default();
        Attr {
            ino: 2,
            size: 0,
            blocks: 0,
            atime: time,
            mtime: time,
            ctime: time,
            crtime: time,
            kind: FileKind::File,
            perm,
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: 4096,
            lasting,
        }
    }

    #[test]
    fn what_changes_without_notice_is_not_kept() {
        let long = Duration::from_secs(9);
        let lifetime = |perm, lasting| Lifetime(long).of_attr(&attr(perm, lasting));
        assert_eq!(lifetime(0o755, Lasting::UntilInvalidated), long);
        assert_eq!(lifetime(0o755, Lasting::Momentary), Duration::ZERO);
        assert_eq!(lifetime(0o4755, Lasting::UntilInvalidated), Duration::ZERO);
        assert_eq!(lifetime(0o2755, Lasting::UntilInvalidated), Duration::ZERO);
    }
}
