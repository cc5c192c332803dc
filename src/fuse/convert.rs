//! The view's types as the kernel interface has them, and back.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{FileAttr, FileType, FopenFlags, INodeNo, TimeOrNow};

use crate::view::{Attr, FileKind, Ino, Opened, SetTime, Time};

pub(super) fn file_attr(attr: &Attr) -> FileAttr {
    FileAttr {
        ino: INodeNo(attr.ino),
        size: attr.size,
        blocks: attr.blocks,
        atime: system_time(attr.atime),
        mtime: system_time(attr.mtime),
        ctime: system_time(attr.ctime),
        crtime: system_time(attr.crtime),
        kind: file_type(attr.kind),
        perm: attr.perm,
        nlink: attr.nlink,
        uid: attr.uid,
        gid: attr.gid,
        rdev: attr.rdev,
        blksize: attr.blksize,
        flags: 0,
    }
}

/// Attributes that say nothing but number and kind: for negative entries (inode 0) and for `.` and
/// `..`, of which the kernel takes no more than that.
pub(super) fn bare_attr(ino: Ino, kind: FileKind) -> FileAttr {
    FileAttr {
        ino: INodeNo(ino),
        size: 0,
        blocks: 0,
        atime: UNIX_EPOCH,
        mtime: UNIX_EPOCH,
        ctime: UNIX_EPOCH,
        crtime: UNIX_EPOCH,
        kind: file_type(kind),
        perm: 0,
        nlink: 0,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: 0,
        flags: 0,
    }
}

pub(super) fn file_type(kind: FileKind) -> FileType {
    match kind {
        FileKind::File => FileType::RegularFile,
        FileKind::Dir => FileType::Directory,
        FileKind::Symlink => FileType::Symlink,
        FileKind::Fifo => FileType::NamedPipe,
        FileKind::Socket => FileType::Socket,
        FileKind::CharDev => FileType::CharDevice,
        FileKind::BlockDev => FileType::BlockDevice,
    }
}

pub(super) fn open_flags(opened: &Opened) -> FopenFlags {
    let mut flags = FopenFlags::empty();
    flags.set(FopenFlags::FOPEN_DIRECT_IO, opened.direct_io);
    flags.set(FopenFlags::FOPEN_KEEP_CACHE, opened.keep_cache);
    flags.set(FopenFlags::FOPEN_NOFLUSH, opened.no_flush);
    flags
}

/// A time for the kernel. `SystemTime` spans all of `i64` seconds on Linux; were it ever narrower,
/// 1970 is shown.
fn system_time(time: Time) -> SystemTime {
    let whole = Duration::from_secs(time.secs.unsigned_abs());
    let second = if time.secs < 0 {
        UNIX_EPOCH.checked_sub(whole)
    } else {
        UNIX_EPOCH.checked_add(whole)
    };
    second
        .and_then(|s| s.checked_add(Duration::from_nanos(time.nanos.into())))
        .unwrap_or(UNIX_EPOCH)
}

pub(super) fn set_time(time: TimeOrNow) -> SetTime {
    match time {
        TimeOrNow::Now => SetTime::Now,
        TimeOrNow::SpecificTime(t) => SetTime::At(requested_time(t)),
    }
}

/// A time from the kernel. fuser hands over (−2 s, 800 000 000 ns), which is 1.2 s before 1970, as
/// 2.8 s before 1970; so the two parts are taken back as they came.
fn requested_time(time: SystemTime) -> Time {
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => Time {
            secs: i64::try_from(after.as_secs()).unwrap_or(i64::MAX),
            nanos: after.subsec_nanos(),
        },
        Err(before) => Time {
            secs: 0_i64
                .checked_sub_unsigned(before.duration().as_secs())
                .unwrap_or(i64::MIN),
            nanos: before.duration().subsec_nanos(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_before_1970_go_out_with_their_nanoseconds() {
        let time = Time {
            secs: -2,
            nanos: 800_000_000,
        };
        assert_eq!(
            UNIX_EPOCH.duration_since(system_time(time)).unwrap(),
            Duration::from_millis(1200)
        );
    }

    #[test]
    fn the_first_and_last_second_go_out() {
        for secs in [i64::MIN, i64::MAX] {
            let shown = system_time(Time { secs, nanos: 0 });
            assert_ne!(shown, UNIX_EPOCH);
        }
    }

    #[test]
    fn times_before_1970_come_in_as_the_kernel_sent_them() {
        let from_fuser = UNIX_EPOCH - Duration::new(2, 800_000_000);
        let sent = Time {
            secs: -2,
            nanos: 800_000_000,
        };
        assert_eq!(requested_time(from_fuser), sent);
    }
}
