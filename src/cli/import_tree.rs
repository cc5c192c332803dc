//! A directory of the system into a store, file by file.

use std::collections::HashMap;
use std::fs::{self, File, Metadata};
use std::io::Read;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use super::access::Access;
use super::entry::Stamp;
use super::error::CliError;
use super::exit::Exit;
use super::file_request::{FileFacts, FileRequest, Special};
use super::files::PIECE;
use super::place::{Bytes, NamePath};
use super::progress::Progress;
use super::request::{Request, Response};

/// Puts the content of a directory into the directory at a path, which is made if it is missing.
pub(super) fn import_tree(
    access: &mut Access,
    from: &Path,
    to: &NamePath,
    progress: &mut Progress,
) -> Result<(), CliError> {
    let mut import = Import {
        access,
        progress,
        linked: HashMap::new(),
    };
    // The directory itself may be a symbolic link to one.
    let meta = fs::metadata(from).map_err(|e| at(from, e))?;
    import.directory(from, &meta, to)?;
    import.ask(FileRequest::Sync)
}

struct Import<'a> {
    access: &'a mut Access,
    progress: &'a mut Progress,
    /// Files with several names, by device and inode, under the first name they came with.
    linked: HashMap<(u64, u64), NamePath>,
}

impl Import<'_> {
    fn ask(&mut self, request: FileRequest) -> Result<(), CliError> {
        self.access.done(Request::Files(request))
    }

    fn directory(&mut self, from: &Path, meta: &Metadata, to: &NamePath) -> Result<(), CliError> {
        self.ask(FileRequest::Directory { path: to.clone() })?;
        let entries = fs::read_dir(from).map_err(|e| at(from, e))?;
        let mut names = entries
            .map(|entry| entry.map(|entry| entry.file_name()))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|e| at(from, e))?;
        names.sort();
        for name in names {
            let path = from.join(&name);
            let child = to.child(name.as_bytes());
            let meta = fs::symlink_metadata(&path).map_err(|e| at(&path, e))?;
            if meta.is_dir() {
                self.directory(&path, &meta, &child)?;
            } else {
                self.file(&path, &meta, &child)?;
            }
        }
        // Last: what was put into it moved its times, and its type counts the entries.
        self.attributes(from, meta, to, None)
    }

    fn file(&mut self, from: &Path, meta: &Metadata, to: &NamePath) -> Result<(), CliError> {
        if meta.nlink() > 1 && self.link(meta, to)? {
            return Ok(());
        }
        let kind = meta.file_type();
        let special = if kind.is_file() {
            None
        } else if kind.is_symlink() {
            let target = fs::read_link(from).map_err(|e| at(from, e))?;
            Some(Special::Symlink(Bytes(target.into_os_string().into_vec())))
        } else if kind.is_fifo() {
            Some(Special::Fifo)
        } else if kind.is_socket() {
            Some(Special::Socket)
        } else if kind.is_char_device() {
            Some(Special::CharDevice(number(meta)))
        } else {
            Some(Special::BlockDevice(number(meta)))
        };
        match &special {
            None => self.content(from, to)?,
            Some(special) => self.ask(FileRequest::Special {
                path: to.clone(),
                special: special.clone(),
            })?,
        }
        self.attributes(from, meta, to, special)
    }

    /// Makes another name for a file that came before; false if it is the first.
    fn link(&mut self, meta: &Metadata, to: &NamePath) -> Result<bool, CliError> {
        let file = (meta.dev(), meta.ino());
        let Some(existing) = self.linked.get(&file).cloned() else {
            self.linked.insert(file, to.clone());
            return Ok(false);
        };
        match self.ask(FileRequest::Link {
            path: to.clone(),
            existing,
        }) {
            Ok(()) => {
                self.progress.entry();
                Ok(true)
            }
            // A copy has the same content.
            Err(error) if error.exit() == Exit::Unsupported => {
                self.progress.lost(b"hard link");
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    fn content(&mut self, from: &Path, to: &NamePath) -> Result<(), CliError> {
        let mut file = File::open(from).map_err(|e| at(from, e))?;
        let mut offset = 0;
        loop {
            let mut data = Vec::new();
            let length = (&mut file)
                .take(PIECE as u64)
                .read_to_end(&mut data)
                .map_err(|e| at(from, e))?;
            if length == 0 && offset > 0 {
                return Ok(());
            }
            self.ask(FileRequest::Write {
                path: to.clone(),
                offset,
                data: Bytes(data),
            })?;
            self.progress.bytes(length);
            if length < PIECE {
                return Ok(());
            }
            offset += length as u64;
        }
    }

    fn attributes(
        &mut self,
        from: &Path,
        meta: &Metadata,
        to: &NamePath,
        special: Option<Special>,
    ) -> Result<(), CliError> {
        let file = FileFacts {
            directory: meta.is_dir(),
            size: meta.len(),
            mode: meta.mode() & 0o7777,
            uid: meta.uid(),
            gid: meta.gid(),
            modified: Stamp(meta.mtime(), u32::try_from(meta.mtime_nsec()).unwrap_or(0)),
            links: (1, meta.ino()),
            xattrs: xattrs(from, special.is_some())?,
            special,
        };
        let request = FileRequest::Attributes {
            path: to.clone(),
            file: Box::new(file),
        };
        match self.access.call(Request::Files(request))? {
            Response::Refused(names) => names.iter().for_each(|name| self.progress.lost(&name.0)),
            _ => return Err(Access::unexpected()),
        }
        self.progress.entry();
        Ok(())
    }
}

fn number(meta: &Metadata) -> u32 {
    // Linux encodes device numbers in 32 bits.
    u32::try_from(meta.rdev()).unwrap_or(0)
}

/// The extended attributes that a copy carries. Those of other filesystems' own (`system.*` but ACLs)
/// mean nothing elsewhere.
fn xattrs(path: &Path, special: bool) -> Result<Vec<(Bytes, Bytes)>, CliError> {
    let names = match xattr::list(path) {
        Ok(names) => names,
        Err(error) if error.kind() == std::io::ErrorKind::Unsupported => return Ok(Vec::new()),
        Err(error) => return Err(at(path, error)),
    };
    let mut found = Vec::new();
    for name in names {
        let bytes = name.as_bytes();
        let is_own = bytes.starts_with(b"system.") && !bytes.starts_with(b"system.posix_acl_");
        // Linux knows no user attributes of symbolic links and special files.
        if is_own || special && bytes.starts_with(b"user.") {
            continue;
        }
        if let Some(value) = xattr::get(path, &name).map_err(|e| at(path, e))? {
            found.push((Bytes(name.into_vec()), Bytes(value)));
        }
    }
    Ok(found)
}

fn at(path: &Path, error: std::io::Error) -> CliError {
    CliError::io(path.display().to_string(), error)
}
