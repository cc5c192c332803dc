//! Files and directories of a store without a mount, for `import` and `export`: what the mount would
//! show and take, to the last attribute.

use super::entry::Stamp;
use super::error::CliError;
use super::file_request::{FileFacts, FileRequest, Special};
use super::holder::Holder;
use super::place::{Bytes, NamePath};
use super::request::Response;
use crate::view::{Attr, Caller, FileKind, Ino, ROOT, SetAttr, SetTime, Time, View, ViewError};

/// The most content in one message.
pub(super) const PIECE: usize = 1 << 20;

/// Answers [`FileRequest`]s.
pub(super) fn answer(holder: &Holder, request: &FileRequest) -> Result<Response, CliError> {
    let view = holder.view()?;
    let files = Files {
        view: &view,
        caller: caller(),
    };
    match request {
        FileRequest::Describe { path } => Ok(Response::File(Box::new(
            files.at(path, |ino| files.describe(ino))?,
        ))),
        FileRequest::Read {
            path,
            offset,
            length,
        } => {
            let data = files.at(path, |ino| files.read(ino, *offset, (*length).min(PIECE)))?;
            Ok(Response::Value(Bytes(data)))
        }
        FileRequest::Directory { path } => files.directory(path),
        FileRequest::Write { path, offset, data } => files.write(path, *offset, &data.0),
        FileRequest::Special { path, special } => files.special(path, special),
        FileRequest::Link { path, existing } => files.link(path, existing),
        FileRequest::Attributes { path, file } => files
            .at(path, |ino| files.set(ino, file))
            .map(Response::Refused),
        FileRequest::Sync => {
            holder.store().sync()?;
            Ok(Response::Done)
        }
    }
}

fn caller() -> Caller {
    let (uid, gid) = (
        nix::unistd::geteuid().as_raw(),
        nix::unistd::getegid().as_raw(),
    );
    Caller {
        uid,
        gid,
        pid: std::process::id(),
    }
}

struct Files<'a> {
    view: &'a View,
    caller: Caller,
}

impl Files<'_> {
    /// Does something with what is at a path.
    fn at<T>(
        &self,
        path: &NamePath,
        act: impl FnOnce(Ino) -> Result<T, ViewError>,
    ) -> Result<T, CliError> {
        self.walk(&path.0, act)
            .map_err(|error| at_path(path, error))
    }

    /// Walks down the names; each step counts a reference, given back on the way up.
    fn walk<T>(
        &self,
        names: &[Bytes],
        act: impl FnOnce(Ino) -> Result<T, ViewError>,
    ) -> Result<T, ViewError> {
        let mut walked = Vec::new();
        let mut here = ROOT;
        let mut missing = None;
        for name in names {
            match self.view.lookup(&self.caller, here, &name.0) {
                Ok(attr) => {
                    here = attr.ino;
                    walked.push(here);
                }
                Err(error) => {
                    missing = Some(error);
                    break;
                }
            }
        }
        let done = match missing {
            Some(error) => Err(error),
            None => act(here),
        };
        for ino in walked {
            self.view.forget(ino, 1);
        }
        done
    }

    /// Does something with the directory that a path's last name is in.
    fn in_parent<T>(
        &self,
        path: &NamePath,
        act: impl FnOnce(Ino, &[u8]) -> Result<T, ViewError>,
    ) -> Result<T, CliError> {
        let Some((name, above)) = path.0.split_last() else {
            return Err(CliError::refused("/", "the root is a directory"));
        };
        self.walk(above, |parent| act(parent, &name.0))
            .map_err(|error| at_path(path, error))
    }

    fn describe(&self, ino: Ino) -> Result<FileFacts, ViewError> {
        let attr = self.view.getattr(ino, None)?;
        let special = match attr.kind {
            FileKind::File | FileKind::Dir => None,
            FileKind::Symlink => Some(Special::Symlink(Bytes(self.view.readlink(ino)?))),
            FileKind::Fifo => Some(Special::Fifo),
            FileKind::Socket => Some(Special::Socket),
            FileKind::CharDev => Some(Special::CharDevice(attr.rdev)),
            FileKind::BlockDev => Some(Special::BlockDevice(attr.rdev)),
        };
        let names = self.view.listxattr(&self.caller, ino)?;
        let mut xattrs = Vec::new();
        for name in names
            .split(|byte| *byte == 0)
            .filter(|name| !name.is_empty())
        {
            xattrs.push((
                Bytes(name.to_vec()),
                Bytes(self.view.getxattr(&self.caller, ino, name)?),
            ));
        }
        Ok(FileFacts {
            special,
            directory: attr.kind == FileKind::Dir,
            size: attr.size,
            mode: u32::from(attr.perm),
            uid: attr.uid,
            gid: attr.gid,
            modified: Stamp(attr.mtime.secs, attr.mtime.nanos),
            links: (attr.nlink, attr.ino),
            xattrs,
        })
    }

    fn read(&self, ino: Ino, offset: u64, length: usize) -> Result<Vec<u8>, ViewError> {
        let opened = self.view.open(&self.caller, ino, libc::O_RDONLY)?;
        let data = self
            .view
            .read(opened.fh, offset, u32::try_from(length).unwrap_or(u32::MAX));
        self.view.release(opened.fh)?;
        data
    }

    fn directory(&self, path: &NamePath) -> Result<Response, CliError> {
        if path.is_root() {
            return Ok(Response::Done);
        }
        self.in_parent(path, |parent, name| {
            match self.view.mkdir(&self.caller, parent, name, 0o755, 0) {
                Ok(attr) => {
                    self.view.forget(attr.ino, 1);
                    Ok(Response::Done)
                }
                Err(ViewError::Exists { .. }) => {
                    let attr = self.found(parent, name)?;
                    if attr.kind == FileKind::Dir {
                        Ok(Response::Done)
                    } else {
                        Err(ViewError::NotDirectory { ino: attr.ino })
                    }
                }
                Err(error) => Err(error),
            }
        })
    }

    fn found(&self, parent: Ino, name: &[u8]) -> Result<Attr, ViewError> {
        let attr = self.view.lookup(&self.caller, parent, name)?;
        self.view.forget(attr.ino, 1);
        Ok(attr)
    }

    fn write(&self, path: &NamePath, offset: u64, data: &[u8]) -> Result<Response, CliError> {
        self.in_parent(path, |parent, name| {
            if offset == 0 {
                self.replace_special(parent, name)?;
            }
            let (ino, opened) = match self.view.lookup(&self.caller, parent, name) {
                Ok(attr) => {
                    let flags = libc::O_WRONLY | if offset == 0 { libc::O_TRUNC } else { 0 };
                    (attr.ino, self.view.open(&self.caller, attr.ino, flags))
                }
                Err(ViewError::NotFound { .. }) if offset == 0 => {
                    let (attr, opened) =
                        self.view
                            .create(&self.caller, parent, name, 0o644, 0, libc::O_WRONLY)?;
                    (attr.ino, Ok(opened))
                }
                Err(error) => return Err(error),
            };
            let done = opened.and_then(|opened| {
                let done = self
                    .write_all(opened.fh, offset, data)
                    .and_then(|()| self.view.flush(opened.fh));
                let released = self.view.release(opened.fh);
                done.and(released)
            });
            self.view.forget(ino, 1);
            done.map(|()| Response::Done)
        })
    }

    fn write_all(&self, fh: u64, offset: u64, data: &[u8]) -> Result<(), ViewError> {
        let mut rest = data;
        let mut at = offset;
        while !rest.is_empty() {
            let written = self.view.write(&self.caller, fh, at, rest, false)?;
            let count = (written as usize).min(rest.len()).max(1);
            rest = rest.get(count..).unwrap_or_default();
            at += count as u64;
        }
        Ok(())
    }

    /// Removes what is neither file nor directory, which a new entry takes the place of.
    fn replace_special(&self, parent: Ino, name: &[u8]) -> Result<(), ViewError> {
        match self.found(parent, name) {
            Ok(attr) if !matches!(attr.kind, FileKind::File | FileKind::Dir) => {
                self.view.unlink(&self.caller, parent, name)
            }
            Ok(_) | Err(ViewError::NotFound { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn replace(&self, parent: Ino, name: &[u8]) -> Result<(), ViewError> {
        match self.view.unlink(&self.caller, parent, name) {
            Err(ViewError::NotFound { .. }) => Ok(()),
            other => other,
        }
    }

    fn special(&self, path: &NamePath, special: &Special) -> Result<Response, CliError> {
        self.in_parent(path, |parent, name| {
            self.replace(parent, name)?;
            let node = |kind: libc::mode_t, device| {
                self.view
                    .mknod(&self.caller, parent, name, kind | 0o644, 0, device)
            };
            let made = match special {
                Special::Symlink(target) => {
                    self.view.symlink(&self.caller, parent, name, &target.0)
                }
                Special::Fifo => node(libc::S_IFIFO, 0),
                Special::Socket => node(libc::S_IFSOCK, 0),
                Special::CharDevice(number) => node(libc::S_IFCHR, *number),
                Special::BlockDevice(number) => node(libc::S_IFBLK, *number),
            }?;
            self.view.forget(made.ino, 1);
            Ok(Response::Done)
        })
    }

    fn link(&self, path: &NamePath, existing: &NamePath) -> Result<Response, CliError> {
        self.in_parent(path, |parent, name| {
            self.replace(parent, name)?;
            self.walk(&existing.0, |ino| {
                let made = self.view.link(&self.caller, ino, parent, name)?;
                self.view.forget(made.ino, 1);
                Ok(Response::Done)
            })
        })
    }

    /// Sets attributes and gives the extended ones that are not possible here.
    fn set(&self, ino: Ino, file: &FileFacts) -> Result<Vec<Bytes>, ViewError> {
        // Owners before modes, which lose setuid with them; the type before the times, which it moves.
        let owner = SetAttr {
            uid: Some(file.uid),
            gid: Some(file.gid),
            ..SetAttr::default()
        };
        self.view.setattr(&self.caller, ino, &owner)?;
        let mut refused = Vec::new();
        for (name, value) in &file.xattrs {
            match self
                .view
                .setxattr(&self.caller, ino, &name.0, &value.0, 0, 0)
            {
                Err(ViewError::NotSupported { .. } | ViewError::NotPermitted { .. }) => {
                    refused.push(name.clone())
                }
                other => other?,
            }
        }
        let is_symlink = matches!(file.special, Some(Special::Symlink(_)));
        let Stamp(secs, nanos) = file.modified;
        let rest = SetAttr {
            mode: (!is_symlink).then_some(file.mode),
            mtime: Some(SetTime::At(Time { secs, nanos })),
            ..SetAttr::default()
        };
        self.view.setattr(&self.caller, ino, &rest)?;
        Ok(refused)
    }
}

/// The view speaks of inodes; commands speak of paths.
fn at_path(path: &NamePath, error: ViewError) -> CliError {
    CliError::View {
        path: path.to_string(),
        source: error,
    }
}
