//! One pack file; drawn in the [module above](super).

use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSlice};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use nix::fcntl::{FallocateFlags, fallocate};
use nix::sys::uio::pwritev;
use uuid::Uuid;

use crate::backend::embedded::sync_dir;
use crate::journal::faults;

/// Where the first blob begins.
pub const HEADER: u64 = 64;

const EXTENSION: &str = "pack";
const MAGIC: [u8; 8] = *b"kfspack\0";
const FORMAT: u32 = 1;
/// What the check covers.
const COVERED: usize = 40;
const CHECK: usize = 16;

/// How many buffers one call of the system takes.
const MOST_BUFFERS: usize = 1024;

pub fn path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:020}.{EXTENSION}"))
}

/// The numbers of the packs in `dir`; none if there is no directory.
pub fn list(dir: &Path) -> io::Result<Vec<u64>> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut numbers = Vec::new();
    for entry in entries {
        let name = PathBuf::from(entry?.file_name());
        let stem = name.file_stem().and_then(|stem| stem.to_str());
        if name.extension().is_some_and(|is| is == EXTENSION)
            && let Some(number) = stem.and_then(|stem| stem.parse().ok())
        {
            numbers.push(number);
        }
    }
    Ok(numbers)
}

/// An open pack.
#[derive(Debug)]
pub struct PackFile {
    file: File,
}

impl PackFile {
    /// Makes an empty pack, durably.
    pub fn create(dir: &Path, storage: &Uuid, number: u64) -> io::Result<Self> {
        let path = path(dir, number);
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true).create(true).truncate(true);
        let file = options.open(&path)?;
        let written = file
            .write_all_at(&header(FORMAT, storage, number), 0)
            .and_then(|()| file.sync_all())
            .and_then(|()| sync_dir(dir));
        if let Err(error) = written {
            // An unfinished file is no harm, but it takes space that may be what is missing.
            drop(fs::remove_file(&path));
            return Err(error);
        }
        Ok(Self { file })
    }

    /// Opens a pack, for writing too if that is allowed.
    pub fn open(dir: &Path, storage: &Uuid, number: u64) -> io::Result<Self> {
        let path = path(dir, number);
        let both = OpenOptions::new().read(true).write(true).open(&path);
        let file = match both {
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem
                ) =>
            {
                File::open(&path)?
            }
            other => other?,
        };
        let mut found = [0; HEADER as usize];
        file.read_exact_at(&mut found, 0)?;
        if found != header(FORMAT, storage, number) {
            let reason = explain(&found, storage, number);
            return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
        }
        Ok(Self { file })
    }

    pub fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(bytes, offset)
    }

    /// Writes buffers one after the other.
    pub fn write_at(&self, buffers: &[&[u8]], mut offset: u64) -> io::Result<()> {
        for buffers in buffers.chunks(MOST_BUFFERS) {
            let mut slices: Vec<IoSlice<'_>> = buffers.iter().map(|b| IoSlice::new(b)).collect();
            let mut rest = slices.as_mut_slice();
            IoSlice::advance_slices(&mut rest, 0);
            while !rest.is_empty() {
                if let Some(first) = rest.first() {
                    faults::write(&self.file, first, offset)?;
                }
                let at = i64::try_from(offset).map_err(|_| io::ErrorKind::FileTooLarge)?;
                match pwritev(&self.file, rest, at) {
                    Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                    Ok(written) => {
                        offset += written as u64;
                        IoSlice::advance_slices(&mut rest, written);
                    }
                    Err(nix::errno::Errno::EINTR) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(())
    }

    pub fn length(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    pub fn set_length(&self, length: u64) -> io::Result<()> {
        self.file.set_len(length)
    }

    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// Gives back the space of a range, which reads as zeroes then.
    pub fn punch(&self, offset: u64, length: u64) -> io::Result<()> {
        let flags = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
        let range = |number| i64::try_from(number).map_err(|_| io::ErrorKind::FileTooLarge);
        fallocate(&self.file, flags, range(offset)?, range(length)?)?;
        Ok(())
    }
}

fn header(format: u32, storage: &Uuid, number: u64) -> [u8; HEADER as usize] {
    let parts: [&[u8]; 5] = [
        &MAGIC,
        &format.to_le_bytes(),
        &[0; 4],
        storage.as_bytes(),
        &number.to_le_bytes(),
    ];
    let mut header = [0; HEADER as usize];
    let (covered, rest) = header.split_at_mut(COVERED);
    covered.copy_from_slice(&parts.concat());
    let (check, _) = rest.split_at_mut(CHECK);
    let hash = blake3::hash(covered);
    check.copy_from_slice(hash.as_bytes().split_at(CHECK).0);
    header
}

/// What is wrong with a header.
fn explain(found: &[u8; HEADER as usize], storage: &Uuid, number: u64) -> String {
    let format = found
        .get(8..12)
        .and_then(|bytes| bytes.first_chunk().copied())
        .map_or(0, u32::from_le_bytes);
    if *found == header(format, storage, number) {
        return format!("its format is {format}, and only {FORMAT} is known here");
    }
    "its header is not valid".to_owned()
}
