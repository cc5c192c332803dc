//! One of the two trees: makes the calls in it and tells what they gave.

#![allow(unsafe_code, reason = "system calls whose exact errno is compared")]

use std::collections::BTreeMap;
use std::ffi::CString;
use std::fmt;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::step::{Call, SLOTS};
use crate::raw;

/// What a call gave: what it returned or the errno, and what can be seen through it.
#[derive(Clone, PartialEq, Eq)]
pub struct Outcome {
    returned: Result<i64, i32>,
    seen: String,
}

impl fmt::Debug for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.returned {
            Ok(n) => write!(f, "{n} {}", self.seen),
            Err(errno) => write!(f, "{:?}", nix::errno::Errno::from_raw(errno)),
        }
    }
}

/// A tree and the files open in it.
#[derive(Debug)]
pub struct Side {
    root: PathBuf,
    dir: OwnedFd,
    open: [Option<OwnedFd>; SLOTS],
}

fn c(text: &str) -> CString {
    CString::new(text).unwrap()
}

fn checked(result: i64) -> Result<i64, i32> {
    if result < 0 {
        Err(io::Error::last_os_error().raw_os_error().unwrap_or(0))
    } else {
        Ok(result)
    }
}

fn plain(result: Result<i64, i32>) -> Outcome {
    Outcome {
        returned: result,
        seen: String::new(),
    }
}

fn with(result: Result<i64, i32>, seen: impl FnOnce() -> String) -> Outcome {
    let seen = if result.is_ok() {
        seen()
    } else {
        String::new()
    };
    Outcome {
        returned: result,
        seen,
    }
}

/// Content in short.
fn digest(bytes: &[u8]) -> String {
    let end = bytes.len().min(8);
    format!(
        "{} bytes {:?} {}",
        bytes.len(),
        &bytes[..end],
        blake3::hash(bytes).to_hex().get(..12).unwrap()
    )
}

fn shown(stat: &libc::stat) -> String {
    let is_dir = stat.st_mode & libc::S_IFMT == libc::S_IFDIR;
    // The size of a directory is each filesystem's own.
    let size = if is_dir { 0 } else { stat.st_size };
    format!(
        "mode {:o} nlink {} uid {} gid {} size {size} rdev {}",
        stat.st_mode, stat.st_nlink, stat.st_uid, stat.st_gid, stat.st_rdev
    )
}

/// Times that tell whether something changed.
pub type Stamps = (u64, (i64, i64), (i64, i64));

impl Side {
    pub fn new(root: &Path) -> Self {
        fs::create_dir(root).unwrap();
        fs::set_permissions(root, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
        let dir = fs::File::open(root).unwrap().into();
        Self {
            root: root.to_owned(),
            dir,
            open: [const { None }; SLOTS],
        }
    }

    fn fd(&self, slot: usize) -> RawFd {
        // A number that is surely not open, where nothing is.
        self.open[slot].as_ref().map_or(-1, AsRawFd::as_raw_fd)
    }

    /// What a path names and when it changed, for whoever may see everything.
    pub fn stamps(&self, path: &str) -> Option<Stamps> {
        let m = fs::symlink_metadata(self.root.join(path)).ok()?;
        Some((
            m.ino(),
            (m.mtime(), m.mtime_nsec()),
            (m.ctime(), m.ctime_nsec()),
        ))
    }

    #[allow(clippy::too_many_lines, reason = "a table of calls")]
    pub fn call(&mut self, call: &Call) -> Outcome {
        let dir = self.dir.as_raw_fd();
        let nofollow = |follow: bool| if follow { 0 } else { libc::AT_SYMLINK_NOFOLLOW };
        // SAFETY (of the whole table): every string ends in NUL, and every length is that of the
        // buffer it goes with; descriptors are numbers, wrong ones are EBADF.
        match call {
            Call::Open {
                slot,
                path,
                flags,
                mode,
            } => {
                let fd = checked(
                    unsafe { libc::openat(dir, c(path).as_ptr(), *flags | libc::O_CLOEXEC, *mode) }
                        .into(),
                );
                if let Ok(fd) = fd {
                    let fd = RawFd::try_from(fd).unwrap();
                    // SAFETY: just opened, and nobody else has it.
                    self.open[*slot] = Some(unsafe { OwnedFd::from_raw_fd(fd) });
                }
                plain(fd.map(|_| 0))
            }
            Call::Close { slot } => match self.open[*slot].take() {
                None => plain(Err(libc::EBADF)),
                Some(fd) => {
                    let fd = std::os::fd::IntoRawFd::into_raw_fd(fd);
                    plain(checked(unsafe { libc::close(fd) }.into()))
                }
            },
            Call::Read { slot, len } => {
                let mut buffer = vec![0u8; *len];
                let n =
                    checked(
                        unsafe { libc::read(self.fd(*slot), buffer.as_mut_ptr().cast(), *len) }
                            as i64,
                    );
                with(n, || digest(&buffer))
            }
            Call::Pread { slot, at, len } => {
                let mut buffer = vec![0u8; *len];
                let n = checked(unsafe {
                    libc::pread(self.fd(*slot), buffer.as_mut_ptr().cast(), *len, *at)
                } as i64);
                with(n, || digest(&buffer))
            }
            Call::Write { slot, len, fill } => {
                let buffer = vec![*fill; *len];
                plain(checked(
                    unsafe { libc::write(self.fd(*slot), buffer.as_ptr().cast(), *len) } as i64,
                ))
            }
            Call::Pwrite {
                slot,
                at,
                len,
                fill,
            } => {
                let buffer = vec![*fill; *len];
                plain(checked(unsafe {
                    libc::pwrite(self.fd(*slot), buffer.as_ptr().cast(), *len, *at)
                } as i64))
            }
            Call::Seek { slot, at, whence } => {
                // The end of a directory is each filesystem's own.
                if self.is_dir(*slot) {
                    return plain(Ok(0));
                }
                plain(checked(unsafe {
                    libc::lseek(self.fd(*slot), *at, *whence)
                }))
            }
            Call::Ftruncate { slot, len } => plain(checked(
                unsafe { libc::ftruncate(self.fd(*slot), *len) }.into(),
            )),
            Call::Truncate { path, len } => {
                let path = self.absolute(path);
                plain(checked(
                    unsafe { libc::truncate(path.as_ptr(), *len) }.into(),
                ))
            }
            Call::Fallocate {
                slot,
                mode,
                at,
                len,
            } => plain(checked(
                unsafe { libc::fallocate(self.fd(*slot), *mode, *at, *len) }.into(),
            )),
            Call::Sync { slot, data } => {
                let fd = self.fd(*slot);
                plain(checked(
                    if *data {
                        unsafe { libc::fdatasync(fd) }
                    } else {
                        unsafe { libc::fsync(fd) }
                    }
                    .into(),
                ))
            }
            Call::Mkdir { path, mode } => plain(checked(
                unsafe { libc::mkdirat(dir, c(path).as_ptr(), *mode) }.into(),
            )),
            Call::Rmdir { path } => plain(checked(
                unsafe { libc::unlinkat(dir, c(path).as_ptr(), libc::AT_REMOVEDIR) }.into(),
            )),
            Call::Unlink { path } => plain(checked(
                unsafe { libc::unlinkat(dir, c(path).as_ptr(), 0) }.into(),
            )),
            Call::Rename { from, to, flags } => plain(checked(
                unsafe { libc::renameat2(dir, c(from).as_ptr(), dir, c(to).as_ptr(), *flags) }
                    .into(),
            )),
            Call::Link { from, to, follow } => {
                let flags = if *follow { libc::AT_SYMLINK_FOLLOW } else { 0 };
                plain(checked(
                    unsafe { libc::linkat(dir, c(from).as_ptr(), dir, c(to).as_ptr(), flags) }
                        .into(),
                ))
            }
            Call::Symlink { target, path } => plain(checked(
                unsafe { libc::symlinkat(c(target).as_ptr(), dir, c(path).as_ptr()) }.into(),
            )),
            Call::Readlink { path } => {
                let mut buffer = vec![0u8; 4096];
                let n = checked(unsafe {
                    libc::readlinkat(dir, c(path).as_ptr(), buffer.as_mut_ptr().cast(), 4096)
                } as i64);
                with(n, || {
                    String::from_utf8_lossy(&buffer)
                        .trim_end_matches('\0')
                        .to_owned()
                })
            }
            Call::Mknod { path, mode } => plain(checked(
                unsafe { libc::mknodat(dir, c(path).as_ptr(), *mode, libc::makedev(1, 3)) }.into(),
            )),
            Call::Chmod { path, mode } => plain(checked(
                unsafe { libc::fchmodat(dir, c(path).as_ptr(), *mode, 0) }.into(),
            )),
            Call::Fchmod { slot, mode } => plain(checked(
                unsafe { libc::fchmod(self.fd(*slot), *mode) }.into(),
            )),
            Call::Chown {
                path,
                uid,
                gid,
                follow,
            } => plain(checked(
                unsafe { libc::fchownat(dir, c(path).as_ptr(), *uid, *gid, nofollow(*follow)) }
                    .into(),
            )),
            Call::Utimens {
                path,
                times,
                follow,
            } => {
                let times = times.map(|(tv_sec, tv_nsec)| libc::timespec { tv_sec, tv_nsec });
                plain(checked(
                    unsafe {
                        libc::utimensat(dir, c(path).as_ptr(), times.as_ptr(), nofollow(*follow))
                    }
                    .into(),
                ))
            }
            Call::Stat { path, follow } => {
                let mut stat = unsafe { std::mem::zeroed::<libc::stat>() };
                let n = checked(
                    unsafe {
                        libc::fstatat(dir, c(path).as_ptr(), &raw mut stat, nofollow(*follow))
                    }
                    .into(),
                );
                with(n, || shown(&stat))
            }
            Call::Fstat { slot } => {
                let mut stat = unsafe { std::mem::zeroed::<libc::stat>() };
                let n = checked(unsafe { libc::fstat(self.fd(*slot), &raw mut stat) }.into());
                with(n, || shown(&stat))
            }
            Call::Access { path, mode } => plain(checked(
                unsafe { libc::faccessat(dir, c(path).as_ptr(), *mode, libc::AT_EACCESS) }.into(),
            )),
            Call::SetXattr {
                path,
                name,
                len,
                flags,
            } => {
                let (path, value) = (self.absolute(path), vec![b'v'; *len]);
                plain(checked(
                    unsafe {
                        libc::lsetxattr(
                            path.as_ptr(),
                            c(name).as_ptr(),
                            value.as_ptr().cast(),
                            *len,
                            *flags,
                        )
                    }
                    .into(),
                ))
            }
            Call::GetXattr { path, name } => {
                let (path, mut value) = (self.absolute(path), vec![0u8; 256]);
                let n = checked(unsafe {
                    libc::lgetxattr(
                        path.as_ptr(),
                        c(name).as_ptr(),
                        value.as_mut_ptr().cast(),
                        256,
                    )
                } as i64);
                with(n, || digest(&value))
            }
            Call::ListXattr { path } => {
                let path = self.absolute(path);
                let mut names = vec![0u8; 4096];
                let n = checked(unsafe {
                    libc::llistxattr(path.as_ptr(), names.as_mut_ptr().cast(), 4096)
                } as i64);
                names.truncate(usize::try_from(n.unwrap_or(0)).unwrap());
                let mut names: Vec<_> = names
                    .split(|b| *b == 0)
                    .map(String::from_utf8_lossy)
                    .collect();
                names.sort();
                with(n.map(|_| 0), || format!("{names:?}"))
            }
            Call::RemoveXattr { path, name } => {
                let path = self.absolute(path);
                plain(checked(
                    unsafe { libc::lremovexattr(path.as_ptr(), c(name).as_ptr()) }.into(),
                ))
            }
            Call::List { path } => match nix::dir::Dir::openat(
                &self.dir,
                path.as_str(),
                nix::fcntl::OFlag::O_DIRECTORY,
                nix::sys::stat::Mode::empty(),
            ) {
                Err(errno) => plain(Err(errno as i32)),
                Ok(mut dir) => {
                    let mut names: Vec<String> = dir
                        .iter()
                        .map(|e| {
                            e.map_or_else(
                                |e| e.to_string(),
                                |e| format!("{:?} {:?}", e.file_name(), e.file_type()),
                            )
                        })
                        .collect();
                    names.sort();
                    with(Ok(0), || names.join(" "))
                }
            },
            Call::CopyRange {
                from,
                from_at,
                to,
                to_at,
                len,
            } => {
                let (mut a, mut b) = (*from_at, *to_at);
                let n = unsafe {
                    libc::copy_file_range(
                        self.fd(*from),
                        &raw mut a,
                        self.fd(*to),
                        &raw mut b,
                        *len,
                        0,
                    )
                };
                plain(checked(n as i64))
            }
            Call::MapWrite { slot, at, fill } => self.map_write(*slot, *at, *fill),
            Call::Umask { mask } => plain(Ok(unsafe { libc::umask(*mask) }.into())),
        }
    }

    fn absolute(&self, path: &str) -> CString {
        c(&format!("{}/{path}", self.root.display()))
    }

    fn is_dir(&self, slot: usize) -> bool {
        let mut stat = unsafe { std::mem::zeroed::<libc::stat>() };
        // SAFETY: the buffer is one `stat`.
        let result = unsafe { libc::fstat(self.fd(slot), &raw mut stat) };
        result == 0 && stat.st_mode & libc::S_IFMT == libc::S_IFDIR
    }

    /// Writes one byte through a shared mapping, where the file has one.
    fn map_write(&self, slot: usize, at: usize, fill: u8) -> Outcome {
        let mut stat = unsafe { std::mem::zeroed::<libc::stat>() };
        // SAFETY: the buffer is one `stat`.
        let result = unsafe { libc::fstat(self.fd(slot), &raw mut stat) };
        let size = usize::try_from(stat.st_size).unwrap_or(0);
        if result != 0 || at >= size || stat.st_mode & libc::S_IFMT != libc::S_IFREG {
            return plain(Ok(0));
        }
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: the mapping lies within the file, and is removed below.
        unsafe {
            let place = libc::mmap(
                std::ptr::null_mut(),
                size,
                protection,
                libc::MAP_SHARED,
                self.fd(slot),
                0,
            );
            if place == libc::MAP_FAILED {
                return plain(checked(-1));
            }
            *place.cast::<u8>().add(at) = fill;
            let synced = libc::msync(place, size, libc::MS_SYNC);
            libc::munmap(place, size);
            plain(checked(synced.into()))
        }
    }

    /// Everything in the tree, by path.
    pub fn tree(&self) -> BTreeMap<String, String> {
        let mut found = BTreeMap::new();
        self.collect(Path::new("."), &mut found);
        found
    }

    fn collect(&self, at: &Path, found: &mut BTreeMap<String, String>) {
        let path = self.root.join(at);
        let m = fs::symlink_metadata(&path).unwrap();
        let kind = m.mode() & libc::S_IFMT;
        let size = if kind == libc::S_IFDIR { 0 } else { m.size() };
        let content = match kind {
            libc::S_IFREG => digest(&fs::read(&path).unwrap()),
            libc::S_IFLNK => fs::read_link(&path).unwrap().display().to_string(),
            _ => String::new(),
        };
        let xattrs: Vec<_> = raw::list_xattrs(&path)
            .unwrap()
            .into_iter()
            .map(|name| {
                let value = raw::get_xattr(&path, &name).unwrap();
                format!("{name}={}", digest(&value))
            })
            .collect();
        let text = format!(
            "mode {:o} nlink {} uid {} gid {} size {size} rdev {} {content} {xattrs:?}",
            m.mode(),
            m.nlink(),
            m.uid(),
            m.gid(),
            m.rdev(),
        );
        found.insert(at.display().to_string(), text);
        if kind == libc::S_IFDIR {
            for entry in fs::read_dir(&path).unwrap() {
                self.collect(&at.join(entry.unwrap().file_name()), found);
            }
        }
    }

    /// Closes all files, for a remount.
    pub fn close(self) -> PathBuf {
        self.root
    }

    /// The tree again, with nothing open.
    pub fn reopen(root: PathBuf) -> Self {
        let dir = fs::File::open(&root).unwrap().into();
        Self {
            root,
            dir,
            open: [const { None }; SLOTS],
        }
    }
}
