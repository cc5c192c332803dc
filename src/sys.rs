//! System calls that no safe interface covers.
#![expect(
    unsafe_code,
    reason = "the only place for it; each use says why it is sound"
)]

use std::io::{self, IoSliceMut};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;

use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};

/// Receives one file descriptor that the other end of `socket` sends (`SCM_RIGHTS`); `None` if it
/// hangs up without sending one.
///
/// # Errors
/// What `recvmsg(2)` says.
pub(crate) fn receive_fd(socket: &UnixStream) -> io::Result<Option<OwnedFd>> {
    let mut byte = [0];
    let mut data = [IoSliceMut::new(&mut byte)];
    let mut space = nix::cmsg_space!([i32; 1]);
    let message = loop {
        let received = recvmsg::<()>(
            socket.as_raw_fd(),
            &mut data,
            Some(&mut space),
            MsgFlags::MSG_CMSG_CLOEXEC,
        );
        match received {
            Err(nix::errno::Errno::EINTR) => {}
            other => break other?,
        }
    };
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(fds) = control
            && let Some(&fd) = fds.first()
        {
            // SAFETY: the kernel has just made this descriptor for us, and nobody else knows it.
            return Ok(Some(unsafe { OwnedFd::from_raw_fd(fd) }));
        }
    }
    Ok(None)
}

/// Closes every file descriptor but standard input, output and error: those that the process
/// which started this one left open by accident, perhaps with a lock on them. Only to be called at
/// the beginning of `main`, while this process has opened nothing itself.
///
/// # Errors
/// What `close_range(2)` says.
pub(crate) fn close_inherited() -> io::Result<()> {
    // SAFETY: no descriptor from 3 on has an owner in this process yet.
    let result = unsafe { libc::close_range(3, libc::c_uint::MAX, 0) };
    nix::errno::Errno::result(result)?;
    Ok(())
}

/// Gives memory that is free within the heap back to the system, where the C library can.
pub(crate) fn trim_heap() {
    #[cfg(target_env = "gnu")]
    // SAFETY: the call takes no pointer, and it may be made at any time.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Gives the calling thread a table of file descriptors of its own, with `/dev/null` as standard
/// input, output and error and nothing else. What others own is not to be used on this thread any
/// more.
///
/// # Errors
/// What `open(2)`, `unshare(2)`, `dup2(2)` or `close_range(2)` says.
pub(crate) fn own_descriptors() -> io::Result<()> {
    use std::os::fd::IntoRawFd;
    // SAFETY: the flag is known.
    let result = unsafe { libc::unshare(libc::CLONE_FILES) };
    nix::errno::Errno::result(result)?;
    let null = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/null")?
        .into_raw_fd();
    for standard in 0..=2 {
        // SAFETY: this replaces a copy, in a table that no other thread has.
        let result = unsafe { libc::dup2(null, standard) };
        nix::errno::Errno::result(result)?;
    }
    // SAFETY: this closes copies, in a table that no other thread has: every owner elsewhere keeps
    // what it owns, and this thread owns nothing yet.
    let result = unsafe { libc::close_range(3, libc::c_uint::MAX, 0) };
    nix::errno::Errno::result(result)?;
    Ok(())
}

/// Opens an LMDB environment. The caller sees to it that nobody else has it open, but to read while
/// nobody writes.
#[cfg(feature = "lmdb")]
pub(crate) fn open_lmdb(
    options: &mut heed::EnvOpenOptions<heed::WithoutTls>,
    flags: heed::EnvFlags,
    dir: &std::path::Path,
) -> heed::Result<heed::Env<heed::WithoutTls>> {
    // SAFETY: of these flags only `NO_LOCK` is dangerous, and it comes with `READ_ONLY` while a lock
    // of this crate keeps writers out. The file is mapped: that no other program changes it is what
    // the lock says and cannot enforce, as with every mapped file.
    unsafe { options.flags(flags).open(dir) }
}

/// Changes the size of an LMDB map. `_alone` is of the lock that every transaction of the
/// environment shares.
#[cfg(feature = "lmdb")]
pub(crate) fn resize_lmdb(
    env: &heed::Env<heed::WithoutTls>,
    size: usize,
    _alone: &parking_lot::RwLockWriteGuard<'_, ()>,
) -> heed::Result<()> {
    // SAFETY: no transaction of this process is active, and no other process has it open.
    unsafe { env.resize(size) }
}

/// Keeps the memory in which `value` lies out of the swap, where the system allows it.
pub(crate) fn lock_memory<T>(value: &T) {
    let length = size_of::<T>();
    // SAFETY: the range is that of a value which is borrowed; locking its pages changes no byte of it.
    let result = unsafe { libc::mlock(std::ptr::from_ref(value).cast(), length) };
    if nix::errno::Errno::result(result).is_err() {
        tracing::debug!("a key may get into the swap: the system locks no more memory");
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Read;

    use nix::sys::socket::{ControlMessage, sendmsg};

    use super::*;

    #[test]
    fn a_descriptor_arrives() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let file = File::open("/proc/self/comm").unwrap();
        let fds = [file.as_raw_fd()];
        sendmsg::<()>(
            theirs.as_raw_fd(),
            &[io::IoSlice::new(b"x")],
            &[ControlMessage::ScmRights(&fds)],
            MsgFlags::empty(),
            None,
        )
        .unwrap();
        let mut text = String::new();
        let received = receive_fd(&ours).unwrap().unwrap();
        File::from(received).read_to_string(&mut text).unwrap();
        assert!(!text.is_empty());
    }

    #[test]
    fn hanging_up_is_no_descriptor() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        drop(theirs);
        assert!(receive_fd(&ours).unwrap().is_none());
    }
}
