//! The files of the blobs.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::sys::statfs::{self, fstatfs};
use parking_lot::Mutex;
use uuid::Uuid;

use super::blob::{self, Seal};
use super::list::Window;
use super::name::{BLOBS, Place};
use crate::backend::{BackendError, Deadline, Operation, Result};
use crate::journal::regular;

/// The directory of files that are being written.
const NEW: &str = "new";

/// The files of one storage. One thread at a time may change them.
#[derive(Debug)]
pub struct Disk {
    root: PathBuf,
    seal: Seal,
    /// Held while the names change, and while they are looked at: a directory that changes
    /// meanwhile may hide names that stay.
    window: Mutex<Window>,
}

/// Changes that are made durable together.
#[derive(Debug)]
struct Round {
    /// The storage's directory, opened before the first change, so that any error that the
    /// filesystem meets from then on is reported.
    root: File,
    /// Whether the whole filesystem is synced at the end, rather than file by file.
    together: bool,
    /// The directories whose names change.
    dirs: BTreeSet<PathBuf>,
}

impl Disk {
    pub fn new(root: &Path, id: Uuid) -> Self {
        Self {
            root: root.to_owned(),
            seal: Seal::new(id),
            window: Mutex::default(),
        }
    }

    /// Makes the directories in an empty one.
    pub fn create(root: &Path) -> io::Result<()> {
        fs::create_dir(root.join(BLOBS))?;
        fs::create_dir(root.join(NEW))
    }

    /// Refuses a storage that has lost the directory of its blobs.
    pub fn check(&self) -> Result<()> {
        let path = self.root.join(BLOBS);
        match regular::is_directory(&path) {
            Ok(true) => Ok(()),
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(failed(Operation::Open, &path, e)),
            _ => Err(BackendError::Damage {
                operation: Operation::Open,
                address: path.as_os_str().as_encoded_bytes().into(),
                reason: "the directory of the blobs is missing".to_owned(),
            }),
        }
    }

    /// Removes what a process that was killed has left unfinished.
    pub fn remove_unfinished(&self) -> Result<()> {
        let dir = self.root.join(NEW);
        let failed = |e| failed(Operation::Open, &dir, e);
        if let Err(e) = fs::create_dir(&dir)
            && e.kind() != io::ErrorKind::AlreadyExists
        {
            return Err(failed(e));
        }
        if !regular::is_directory(&dir).map_err(failed)? {
            return Err(failed(led_away(&dir)));
        }
        for entry in fs::read_dir(&dir).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            if entry.file_name() == TEMPORARY {
                fs::remove_file(entry.path()).map_err(failed)?;
            }
        }
        Ok(())
    }

    /// The blob at `address`.
    pub fn read(&self, operation: Operation, address: &[u8]) -> Result<Option<Vec<u8>>> {
        let path = Place::of(address).path(&self.root);
        let damage = |reason: &str| BackendError::Damage {
            operation,
            address: address.into(),
            reason: format!("{}: {reason}", path.display()),
        };
        let file = match regular::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(|e| failed(operation, &path, e))?,
        };
        let file = file.ok_or_else(|| damage(regular::OTHER))?;
        let found = file.metadata().map_err(|e| failed(operation, &path, e))?;
        if found.len() > blob::LONGEST {
            return Err(damage("it is larger than a blob can be"));
        }
        let mut content = Vec::with_capacity(usize::try_from(found.len()).unwrap_or(0) + 1);
        file.take(blob::LONGEST + 1)
            .read_to_end(&mut content)
            .map_err(|e| failed(operation, &path, e))?;
        let opened = self.seal.open(address, content);
        opened.map(Some).map_err(|reason| damage(&reason))
    }

    /// Whether there is a blob at `address`.
    pub fn contains(&self, operation: Operation, address: &[u8]) -> Result<bool> {
        let path = Place::of(address).path(&self.root);
        match fs::symlink_metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            found => found.map(|_| true).map_err(|e| failed(operation, &path, e)),
        }
    }

    /// Up to `count` addresses from `at` on, before `end`.
    pub fn list(
        &self,
        at: &[u8],
        end: Option<&[u8]>,
        count: usize,
        deadline: Deadline,
    ) -> Result<Vec<Vec<u8>>> {
        let mut window = self.window.lock();
        window.page(&self.root, at, end, count, deadline)
    }

    /// Does these writes, durably. After a failure any of them may have been done; each file is
    /// old or new.
    pub fn write<'a>(
        &self,
        writes: impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)>,
    ) -> Result<()> {
        let mut round = Round::begin(&self.root).map_err(|e| failed_sync(&self.root, e))?;
        for (address, content) in writes {
            match content {
                Some(content) => self.replace(&mut round, address, content)?,
                None => self.remove(&mut round, address)?,
            }
        }
        round.end().map_err(|e| failed_sync(&self.root, e))
    }

    fn replace(&self, round: &mut Round, address: &[u8], content: &[u8]) -> Result<()> {
        let place = Place::of(address);
        let temporary = self.root.join(NEW).join(TEMPORARY);
        let head = self.seal.head(address, content);
        let target = place.path(&self.root);
        let replaced = round
            .write(&temporary, &head, content)
            .and_then(|()| self.rename(round, &temporary, &place, address));
        if replaced.is_err() {
            // It may take the space that is missing.
            let _gone = fs::remove_file(&temporary);
        }
        replaced.map_err(|e| failed(Operation::Put, &target, e))
    }

    fn rename(&self, round: &mut Round, from: &Path, to: &Place, address: &[u8]) -> io::Result<()> {
        let target = to.path(&self.root);
        self.stay_within(to)?;
        let mut window = self.window.lock();
        match fs::rename(from, &target) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                fs::create_dir_all(to.dir(&self.root))?;
                fs::rename(from, &target)?;
            }
            done => done?,
        }
        window.note(address, true);
        round.touched(&self.root, to);
        Ok(())
    }

    /// Refuses to write where a symbolic link leads.
    fn stay_within(&self, place: &Place) -> io::Result<()> {
        let fan = place.dir(&self.root);
        for dir in [fan.parent().unwrap_or(&fan), &fan] {
            match regular::is_directory(dir) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
                Err(error) => return Err(error),
                Ok(true) => {}
                Ok(false) => return Err(led_away(dir)),
            }
        }
        Ok(())
    }

    fn remove(&self, round: &mut Round, address: &[u8]) -> Result<()> {
        let place = Place::of(address);
        let path = place.path(&self.root);
        self.stay_within(&place)
            .map_err(|e| failed(Operation::Delete, &path, e))?;
        let mut window = self.window.lock();
        match fs::remove_file(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            done => done.map_err(|e| failed(Operation::Delete, &path, e))?,
        }
        window.note(address, false);
        round.touched(&self.root, &place);
        Ok(())
    }
}

/// The name of a file that is being written: there is one at a time.
const TEMPORARY: &str = "0";

impl Round {
    fn begin(root: &Path) -> io::Result<Self> {
        let root = File::open(root)?;
        Ok(Self {
            together: syncs_together(&root),
            root,
            dirs: BTreeSet::new(),
        })
    }

    fn write(&self, path: &Path, head: &[u8], content: &[u8]) -> io::Result<()> {
        let mut options = OpenOptions::new();
        let options = options.write(true).create(true).truncate(true);
        let mut file = options.custom_flags(libc::O_NOFOLLOW).open(path)?;
        file.write_all(head)?;
        file.write_all(content)?;
        if self.together {
            Ok(())
        } else {
            file.sync_all()
        }
    }

    fn touched(&mut self, root: &Path, place: &Place) {
        if !self.together {
            let blobs = root.join(BLOBS);
            // Until both directories of a rename are synced it need not have happened.
            self.dirs.insert(root.join(NEW));
            // Those above it may be new as well, if only to a round that failed.
            self.dirs.insert(place.dir(root));
            self.dirs.insert(blobs.join(&place.group));
            self.dirs.insert(blobs);
        }
    }

    fn end(self) -> io::Result<()> {
        if self.together {
            return Ok(nix::unistd::syncfs(&self.root)?);
        }
        for dir in &self.dirs {
            match File::open(dir) {
                // Where the last file was removed from what was never made.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                opened => opened?.sync_all()?,
            }
        }
        Ok(())
    }
}

/// Whether `syncfs(2)` on this filesystem writes everything and tells all errors. It does where the
/// kernel has the disk; a network filesystem or one in user space may not even hear of it.
fn syncs_together(root: &File) -> bool {
    const KNOWN: [statfs::FsType; 5] = [
        statfs::EXT4_SUPER_MAGIC,
        statfs::XFS_SUPER_MAGIC,
        statfs::BTRFS_SUPER_MAGIC,
        statfs::F2FS_SUPER_MAGIC,
        statfs::TMPFS_MAGIC,
    ];
    fstatfs(root).is_ok_and(|found| KNOWN.contains(&found.filesystem_type()))
}

fn led_away(dir: &Path) -> io::Error {
    io::Error::other(format!("{} is no directory", dir.display()))
}

fn failed(operation: Operation, path: &Path, source: io::Error) -> BackendError {
    BackendError::io(operation, path.as_os_str().as_encoded_bytes(), source)
}

fn failed_sync(path: &Path, source: io::Error) -> BackendError {
    failed(Operation::Sync, path, source)
}
