//! The one place where errors become numbers.

use fuser::Errno;

use crate::view::ViewError;

/// What a program gets to see of an error.
///
/// `ENOSYS` is never answered: the kernel would take it for "never ask again", and for `fsync` and
/// `flush` even for success.
pub(super) fn errno(error: &ViewError) -> Errno {
    match error {
        ViewError::NotFound { .. } => Errno::ENOENT,
        ViewError::Exists { .. } | ViewError::AttributeExists { .. } => Errno::EEXIST,
        ViewError::NotDirectory { .. } => Errno::ENOTDIR,
        ViewError::IsDirectory { .. } => Errno::EISDIR,
        ViewError::NotEmpty { .. } => Errno::ENOTEMPTY,
        ViewError::NameTooLong { .. } => Errno::ENAMETOOLONG,
        ViewError::Invalid { .. } => Errno::EINVAL,
        ViewError::NotPermitted { .. } => Errno::EPERM,
        ViewError::AccessDenied { .. } => Errno::EACCES,
        ViewError::ReadOnly { .. } => Errno::EROFS,
        // `mv` copies and removes when it sees this, as between two filesystems.
        ViewError::CrossDevice { .. } => Errno::EXDEV,
        ViewError::TooBig { .. } => Errno::EFBIG,
        ViewError::AttributeTooBig { .. } => Errno::E2BIG,
        ViewError::NoSpace { .. } => Errno::ENOSPC,
        ViewError::NoAttribute { .. } => Errno::NO_XATTR,
        ViewError::Range { .. } => Errno::ERANGE,
        ViewError::NothingThere { .. } => Errno::ENXIO,
        // The kernel walks the path once more when it sees this; ENOENT would end it.
        ViewError::Stale { .. } => Errno::ESTALE,
        ViewError::BadHandle { .. } => Errno::EBADF,
        // The kernel and coreutils fall back to another way when they see this; ENOTTY and ENOSYS
        // mean other things.
        ViewError::NotSupported { .. } => Errno::EOPNOTSUPP,
        ViewError::Busy { .. } => Errno::EBUSY,
        // Not ETIMEDOUT, which no program expects of a file: an answer that did not come is an
        // I/O error, as on a disk.
        ViewError::TimedOut { .. } => Errno::EIO,
        // Only a process that is being killed, and never sees it, waits no more. The kernel forgets
        // the names concerned when it sees this, as nobody knows whether it was done.
        ViewError::Interrupted { .. } => Errno::EINTR,
        // Not EUCLEAN or EBADMSG, for the same reason.
        ViewError::Damaged { .. } => Errno::EIO,
        ViewError::Io { .. } => Errno::EIO,
        ViewError::TooManyLinks { .. } => Errno::EMLINK,
        ViewError::TooManyOpen { .. } => Errno::ENFILE,
        ViewError::WouldBlock { .. } => Errno::EAGAIN,
        // What the kernel itself answers once the daemon is gone.
        ViewError::ShuttingDown => Errno::ENOTCONN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_of_the_store_are_io_errors() {
        let damaged = ViewError::Damaged {
            key: "a".into(),
            source: "checksum".into(),
        };
        assert_eq!(errno(&damaged), Errno::EIO);
        assert_eq!(errno(&ViewError::io("read", "gone")), Errno::EIO);
    }

    #[test]
    fn what_cannot_be_done_is_never_enosys() {
        let error = ViewError::NotSupported {
            what: "setxattr".into(),
            why: "no".into(),
        };
        assert_eq!(errno(&error), Errno::EOPNOTSUPP);
    }
}
