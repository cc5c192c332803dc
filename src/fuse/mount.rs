//! Mountpoints: checking, mounting, unmounting.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::mount::{MntFlags, MsFlags};
use nix::sys::stat::Mode;
use nix::unistd::{getegid, geteuid};

use super::error::MountError;
use super::helper;
use super::mountinfo::{self, MountEntry};
use super::options::{Audience, MountOptions};

/// A mount that stands.
#[derive(Clone, Debug)]
pub(super) struct Mounted {
    point: PathBuf,
    /// `None` if the mount does not show, as in another mount namespace.
    device: Option<String>,
}

/// Mounts at `point` after checking it; also the connection to the kernel, at which nobody
/// listens yet.
pub(super) fn mount(
    point: &Path,
    options: &MountOptions,
) -> Result<(Mounted, OwnedFd), MountError> {
    let fs_type = format!("fuse.{}", options.subtype);
    let point = check(point, &fs_type, options)?;
    let source = options.fsname.as_deref().unwrap_or(&options.subtype);
    let direct = if geteuid().is_root() {
        mount_directly(&point, source, &fs_type, options)?
    } else {
        None
    };
    let connection = match direct {
        Some(connection) => connection,
        None => helper::mount(&point, source, options)?,
    };
    let device = mountinfo::find(&point)
        .ok()
        .flatten()
        .map(|entry| entry.device);
    Ok((Mounted { point, device }, connection))
}

/// Unmounts whatever is mounted at `point`; when `lazy`, it vanishes from there at once even if it
/// is in use.
///
/// # Errors
/// [`MountError::NotMounted`] if nothing is; [`MountError::Unmount`] or [`MountError::Helper`]
/// above all if the mount is in use.
pub fn unmount(point: &Path, lazy: bool) -> Result<(), MountError> {
    let path = resolve(point)?;
    if !matches!(mountinfo::find(&path), Ok(Some(_))) {
        return Err(MountError::NotMounted {
            point: point.to_owned(),
        });
    }
    take_away(&path, lazy)
}

/// Ends a connection to the kernel whose daemon cannot: everybody who waits for an answer is told
/// "connection aborted". The mount stays, dead.
///
/// # Errors
/// What keeps it from being ended; a user may end the own ones where fusectl is mounted.
pub fn abort(entry: &MountEntry) -> io::Result<()> {
    let number = entry.device.rsplit(':').next().unwrap_or_default();
    let path = format!("/sys/fs/fuse/connections/{number}/abort");
    fs::write(path, "1").or_else(|_| {
        // With somebody in it it stays. This asks the mount nothing.
        let inside = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let _inside = open(&entry.point, inside, Mode::empty())?;
        let flags = MntFlags::MNT_FORCE | MntFlags::UMOUNT_NOFOLLOW;
        match nix::mount::umount2(&entry.point, flags) {
            Ok(()) | Err(Errno::EBUSY) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    })
}

fn take_away(point: &Path, lazy: bool) -> Result<(), MountError> {
    let flags = if lazy {
        MntFlags::MNT_DETACH
    } else {
        MntFlags::empty()
    };
    // A symlink put here meanwhile is not followed to some other mount.
    match nix::mount::umount2(point, flags | MntFlags::UMOUNT_NOFOLLOW) {
        Ok(()) => Ok(()),
        Err(Errno::EPERM) => helper::unmount(point, lazy),
        Err(errno) => Err(MountError::Unmount {
            point: point.to_owned(),
            source: errno.into(),
        }),
    }
}

impl Mounted {
    pub(super) fn point(&self) -> &Path {
        &self.point
    }

    /// Takes the mount away, in use or not. Does nothing if it is gone already; another mount at
    /// the same place stays.
    pub(super) fn detach(&self) -> Result<(), MountError> {
        let there = mountinfo::find(&self.point)
            .ok()
            .flatten()
            .map(|entry| entry.device);
        if there.is_some() && there == self.device {
            take_away(&self.point, true)
        } else {
            Ok(())
        }
    }

    /// Writes back what the kernel holds in its cache, through the connection.
    pub(super) fn sync(&self) -> io::Result<()> {
        let directory = File::open(&self.point)?;
        Ok(nix::unistd::syncfs(&directory)?)
    }

    /// Lets the kernel read ahead 1 MiB, which makes cold sequential reads 40 % faster than with
    /// the usual 128 KiB. Only root can; that it fails matters to nobody.
    pub(super) fn read_far_ahead(&self) {
        let Some(device) = &self.device else { return };
        let path = format!("/sys/class/bdi/{device}/read_ahead_kb");
        if let Err(error) = fs::write(&path, "1024") {
            tracing::debug!(%path, %error, "reading ahead stays at the default");
        }
    }
}

/// Whether `point` can be mounted on; its absolute path. A dead mount of ours is cleared away.
fn check(point: &Path, fs_type: &str, options: &MountOptions) -> Result<PathBuf, MountError> {
    let path = resolve(point)?;
    clear_dead(&path, fs_type)?;
    if let Ok(Some(entry)) = mountinfo::find(&path)
        && entry.fs_type == fs_type
    {
        return Err(MountError::AlreadyMounted {
            point: point.to_owned(),
            mounted: entry.source,
        });
    }
    let unusable = |source| MountError::Mountpoint {
        point: point.to_owned(),
        source,
    };
    if !fs::metadata(&path).map_err(unusable)?.is_dir() {
        return Err(MountError::NotDirectory {
            point: point.to_owned(),
        });
    }
    if !options.nonempty && fs::read_dir(&path).map_err(unusable)?.next().is_some() {
        return Err(MountError::NotEmpty {
            point: point.to_owned(),
        });
    }
    Ok(path)
}

/// Removes mounts of ours whose daemon is gone. Several can lie on one another.
fn clear_dead(path: &Path, fs_type: &str) -> Result<(), MountError> {
    const AT_MOST: usize = 64;
    for _ in 0..AT_MOST {
        // Opening asks the daemon; attributes may come from the kernel's memory even without one.
        let alive = !fs::read_dir(path).is_err_and(|error| is_dead(&error));
        let entry = match mountinfo::find(path) {
            Ok(Some(entry)) if !alive => entry,
            _ => return Ok(()),
        };
        let MountEntry {
            fs_type: found,
            source,
            ..
        } = entry;
        if found != fs_type {
            return Err(MountError::Dead {
                point: path.to_owned(),
                fs_type: found,
            });
        }
        tracing::warn!(point = %path.display(), source = %source.display(), "removing a dead mount");
        take_away(path, true)?;
    }
    Ok(())
}

/// Nobody serves the mount. Whoever asks while its daemon is ending, and still waits for an answer
/// then, is told "connection aborted"; everybody after that, "transport endpoint is not connected".
fn is_dead(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::ENOTCONN | libc::ECONNABORTED)
    )
}

/// The absolute path without symlinks, also of a dead mount.
fn resolve(point: &Path) -> Result<PathBuf, MountError> {
    let absolute = match (fs::canonicalize(point), point.parent(), point.file_name()) {
        (Err(error), Some(parent), Some(name)) if is_dead(&error) => {
            let parent = if parent.as_os_str().is_empty() {
                Path::new(".")
            } else {
                parent
            };
            fs::canonicalize(parent).map(|parent| parent.join(name))
        }
        (other, _, _) => other,
    };
    absolute.map_err(|source| MountError::Mountpoint {
        point: point.to_owned(),
        source,
    })
}

/// mount(2); `None` where root may not, as in some containers, and the helper might.
fn mount_directly(
    point: &Path,
    source: &str,
    fs_type: &str,
    options: &MountOptions,
) -> Result<Option<OwnedFd>, MountError> {
    let device = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_CLOEXEC)
        .open("/dev/fuse")
        .map_err(|source| MountError::Device { source })?;
    let failed = |source| MountError::Mount {
        point: point.to_owned(),
        source,
    };
    let root_mode = fs::metadata(point).map_err(failed)?.mode();
    let mut data = format!(
        "fd={},rootmode={root_mode:o},user_id={},group_id={}",
        device.as_raw_fd(),
        geteuid(),
        getegid()
    );
    if options.default_permissions {
        data.push_str(",default_permissions");
    }
    if options.audience != Audience::Owner {
        data.push_str(",allow_other");
    }
    match nix::mount::mount(
        Some(source),
        point,
        Some(fs_type),
        flags(options),
        Some(data.as_str()),
    ) {
        Ok(()) => Ok(Some(device.into())),
        Err(Errno::EPERM) => Ok(None),
        Err(errno) => Err(failed(errno.into())),
    }
}

fn flags(options: &MountOptions) -> MsFlags {
    let mut flags = MsFlags::empty();
    flags.set(MsFlags::MS_RDONLY, options.read_only);
    flags.set(MsFlags::MS_NOSUID, !options.suid);
    flags.set(MsFlags::MS_NODEV, !options.dev);
    flags.set(MsFlags::MS_NOEXEC, !options.exec);
    flags.set(MsFlags::MS_NOATIME, options.no_atime);
    flags
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(point: &Path) -> MountError {
        check(point, "fuse.kfs", &MountOptions::default()).unwrap_err()
    }

    #[test]
    fn a_missing_mountpoint_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let error = refusal(&dir.path().join("none"));
        assert!(matches!(error, MountError::Mountpoint { .. }), "{error}");
        assert!(error.to_string().contains("none"), "{error}");
    }

    #[test]
    fn a_mountpoint_that_is_a_file_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(matches!(
            refusal(file.path()),
            MountError::NotDirectory { .. }
        ));
    }

    #[test]
    fn a_mountpoint_with_entries_is_refused_unless_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("entry"), "").unwrap();
        assert!(matches!(refusal(dir.path()), MountError::NotEmpty { .. }));
        let options = MountOptions::parse("nonempty").unwrap();
        assert!(check(dir.path(), "fuse.kfs", &options).is_ok());
    }

    #[test]
    fn a_symlink_to_a_directory_is_a_mountpoint() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("target");
        let link = dir.path().join("link");
        fs::create_dir(&target).unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        let found = check(&link, "fuse.kfs", &MountOptions::default()).unwrap();
        assert_eq!(found, fs::canonicalize(target).unwrap());
    }

    #[test]
    fn what_is_not_mounted_is_not_unmounted() {
        let dir = tempfile::tempdir().unwrap();
        let error = unmount(dir.path(), true).unwrap_err();
        assert!(matches!(error, MountError::NotMounted { .. }));
    }
}
