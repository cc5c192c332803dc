//! A directory of a store into one of the system, file by file.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, lchown, symlink};
use std::path::{Path, PathBuf};

use nix::fcntl::AT_FDCWD;
use nix::sys::stat::{Mode, SFlag, UtimensatFlags, mknod, utimensat};
use nix::sys::time::TimeSpec;
use nix::unistd::{geteuid, mkfifo, syncfs};

use super::access::Access;
use super::entry::Stamp;
use super::error::CliError;
use super::file_request::{FileFacts, FileRequest, Special};
use super::files::PIECE;
use super::place::NamePath;
use super::progress::Progress;
use super::request::{Request, Response};

/// Names asked for in one go.
const PAGE: usize = 1000;

/// Writes what is at a path to a place in the system; a directory's content goes into the directory
/// there, which is made if it is missing.
pub(super) fn export_tree(
    access: &mut Access,
    from: &NamePath,
    to: &Path,
    progress: &mut Progress,
) -> Result<(), CliError> {
    let mut export = Export {
        access,
        progress,
        linked: HashMap::new(),
        is_root: geteuid().is_root(),
    };
    export.entry(from, to)?;
    // What a symbolic link leads to may be elsewhere, or nowhere.
    let directory = if to.is_dir() {
        to
    } else {
        to.parent()
            .filter(|p| !p.as_os_str().is_empty())
            .unwrap_or(Path::new("."))
    };
    let written = File::open(directory).and_then(|file| Ok(syncfs(&file)?));
    written.map_err(|e| at(to, e))
}

struct Export<'a> {
    access: &'a mut Access,
    progress: &'a mut Progress,
    /// Files with several names, under the first place they went to.
    linked: HashMap<u64, PathBuf>,
    /// Only root can give files away and make devices.
    is_root: bool,
}

impl Export<'_> {
    fn entry(&mut self, from: &NamePath, to: &Path) -> Result<(), CliError> {
        let request = FileRequest::Describe { path: from.clone() };
        let Response::File(file) = self.access.call(Request::Files(request))? else {
            return Err(Access::unexpected());
        };
        if file.directory {
            self.directory(from, to)?;
        } else {
            if file.links.0 > 1 && self.link(file.links.1, to)? {
                return Ok(());
            }
            make_room(to).map_err(|e| at(to, e))?;
            match &file.special {
                None => self.content(from, &file, to)?,
                Some(special) => {
                    if !self.special(special, to)? {
                        return Ok(());
                    }
                }
            }
        }
        self.attributes(&file, to)?;
        self.progress.entry();
        Ok(())
    }

    fn directory(&mut self, from: &NamePath, to: &Path) -> Result<(), CliError> {
        match fs::create_dir(to) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists && to.is_dir() => {}
            other => other.map_err(|e| at(to, e))?,
        }
        let mut after = None;
        loop {
            let request = Request::List {
                path: from.clone(),
                after,
                limit: PAGE,
            };
            let Response::Entries { entries, next, .. } = self.access.call(request)? else {
                return Err(Access::unexpected());
            };
            for entry in entries {
                self.entry(
                    &from.child(&entry.name.0),
                    &to.join(OsStr::from_bytes(&entry.name.0)),
                )?;
            }
            after = next;
            if after.is_none() {
                return Ok(());
            }
        }
    }

    /// Makes another name for a file that came before; false if it is the first.
    fn link(&mut self, file: u64, to: &Path) -> Result<bool, CliError> {
        let Some(existing) = self.linked.get(&file) else {
            self.linked.insert(file, to.to_owned());
            return Ok(false);
        };
        make_room(to)
            .and_then(|()| fs::hard_link(existing, to))
            .map_err(|e| at(to, e))?;
        self.progress.entry();
        Ok(true)
    }

    fn content(&mut self, from: &NamePath, file: &FileFacts, to: &Path) -> Result<(), CliError> {
        let mut target = File::create_new(to).map_err(|e| at(to, e))?;
        let mut offset = 0;
        while offset < file.size {
            let request = FileRequest::Read {
                path: from.clone(),
                offset,
                length: PIECE,
            };
            let Response::Value(data) = self.access.call(Request::Files(request))? else {
                return Err(Access::unexpected());
            };
            if data.0.is_empty() {
                break;
            }
            target.write_all(&data.0).map_err(|e| at(to, e))?;
            self.progress.bytes(data.0.len());
            offset += data.0.len() as u64;
        }
        Ok(())
    }

    /// False if only root could make it.
    fn special(&mut self, special: &Special, to: &Path) -> Result<bool, CliError> {
        let device = |kind, number: u32| mknod(to, kind, Mode::S_IRUSR, number.into());
        let made = match special {
            Special::Symlink(target) => symlink(OsStr::from_bytes(&target.0), to),
            Special::Fifo => mkfifo(to, Mode::S_IRUSR).map_err(io::Error::from),
            Special::Socket => {
                mknod(to, SFlag::S_IFSOCK, Mode::S_IRUSR, 0).map_err(io::Error::from)
            }
            Special::CharDevice(_) | Special::BlockDevice(_) if !self.is_root => {
                self.progress.lost(b"device");
                return Ok(false);
            }
            Special::CharDevice(number) => device(SFlag::S_IFCHR, *number).map_err(io::Error::from),
            Special::BlockDevice(number) => {
                device(SFlag::S_IFBLK, *number).map_err(io::Error::from)
            }
        };
        made.map_err(|e| at(to, e))?;
        Ok(true)
    }

    fn attributes(&mut self, file: &FileFacts, to: &Path) -> Result<(), CliError> {
        if self.is_root {
            lchown(to, Some(file.uid), Some(file.gid)).map_err(|e| at(to, e))?;
        }
        for (name, value) in &file.xattrs {
            match xattr::set(to, OsStr::from_bytes(&name.0), &value.0) {
                Ok(()) => {}
                Err(error)
                    if matches!(
                        error.kind(),
                        ErrorKind::Unsupported | ErrorKind::PermissionDenied
                    ) =>
                {
                    self.progress.lost(&name.0);
                }
                Err(error) => return Err(at(to, error)),
            }
        }
        if !matches!(file.special, Some(Special::Symlink(_))) {
            fs::set_permissions(to, Permissions::from_mode(file.mode)).map_err(|e| at(to, e))?;
        }
        let Stamp(secs, nanos) = file.modified;
        let time = TimeSpec::new(secs, nanos.into());
        utimensat(AT_FDCWD, to, &time, &time, UtimensatFlags::NoFollowSymlink)
            .map_err(|e| at(to, e.into()))
    }
}

/// Removes a file that is in the way; a directory stays and is an error further on.
fn make_room(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(meta) if !meta.is_dir() => fs::remove_file(path),
        _ => Ok(()),
    }
}

fn at(path: &Path, error: io::Error) -> CliError {
    CliError::io(path.display().to_string(), error)
}
