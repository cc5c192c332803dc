//! A disk: files and directories, and the changes that are made to them.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::sync::{Arc, OnceLock};

pub type Ino = u64;

pub const ROOT: Ino = 1;

/// Files are kept, and shared between disks, in blocks of this size.
const BLOCK: usize = 64 * 1024;

/// A part of a file. Absent ones are zeroes.
#[derive(Debug)]
struct Block {
    bytes: Box<[u8]>,
    /// `None` for zeroes.
    hash: OnceLock<Option<blake3::Hash>>,
}

impl Clone for Block {
    fn clone(&self) -> Self {
        Self {
            bytes: self.bytes.clone(),
            hash: OnceLock::new(),
        }
    }
}

/// A file's content.
#[derive(Clone, Debug, Default)]
pub struct Content {
    length: u64,
    blocks: BTreeMap<u64, Arc<Block>>,
}

impl Content {
    pub fn len(&self) -> u64 {
        self.length
    }

    /// The bytes of a range, as far as the file goes.
    pub fn read(&self, at: u64, count: usize) -> Vec<u8> {
        let end = self.length.min(at + count as u64);
        let mut out = vec![0; usize::try_from(end.saturating_sub(at)).unwrap()];
        let mut done = 0;
        while done < out.len() {
            let here = at + done as u64;
            let start = (here % BLOCK as u64) as usize;
            let part = (BLOCK - start).min(out.len() - done);
            if let Some(block) = self.blocks.get(&(here / BLOCK as u64)) {
                out[done..done + part].copy_from_slice(&block.bytes[start..start + part]);
            }
            done += part;
        }
        out
    }

    /// Writes without making the file longer.
    pub fn put(&mut self, at: u64, data: &[u8]) {
        let mut done = 0;
        while done < data.len() {
            let here = at + done as u64;
            let start = (here % BLOCK as u64) as usize;
            let part = (BLOCK - start).min(data.len() - done);
            let block = self.blocks.entry(here / BLOCK as u64).or_insert_with(|| {
                Arc::new(Block {
                    bytes: vec![0; BLOCK].into(),
                    hash: OnceLock::new(),
                })
            });
            let block = Arc::make_mut(block);
            block.hash = OnceLock::new();
            block.bytes[start..start + part].copy_from_slice(&data[done..done + part]);
            done += part;
        }
    }

    pub fn write(&mut self, at: u64, data: &[u8]) {
        self.put(at, data);
        self.length = self.length.max(at + data.len() as u64);
    }

    /// Cuts off or adds zeroes, also where [`Content::put`] has written behind the end.
    pub fn set_len(&mut self, length: u64) {
        let kept = length.div_ceil(BLOCK as u64);
        self.blocks.split_off(&kept);
        let tail = (length % BLOCK as u64) as usize;
        if tail > 0
            && let Some(block) = self.blocks.get(&(kept - 1))
            && block.bytes[tail..].iter().any(|byte| *byte != 0)
        {
            self.put(length, &vec![0; BLOCK - tail]);
        }
        self.length = length;
    }

    /// The parts of the file that are not known to be zeroes.
    pub fn parts(&self) -> impl Iterator<Item = (u64, &[u8])> {
        self.blocks.iter().filter_map(|(number, block)| {
            let at = number * BLOCK as u64;
            let count = usize::try_from(self.length.saturating_sub(at)).unwrap();
            (count > 0).then(|| (at, &block.bytes[..count.min(BLOCK)]))
        })
    }

    /// Equal for equal contents.
    pub fn hash(&self) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.length.to_le_bytes());
        for (number, block) in &self.blocks {
            let at = number * BLOCK as u64;
            if at >= self.length {
                break;
            }
            let count = usize::try_from(self.length - at).unwrap();
            let of = |bytes: &[u8]| {
                let zeroes = bytes.iter().all(|byte| *byte == 0);
                (!zeroes).then(|| blake3::hash(bytes))
            };
            let hash = if count < BLOCK {
                of(&block.bytes[..count])
            } else {
                *block.hash.get_or_init(|| of(&block.bytes))
            };
            if let Some(hash) = hash {
                hasher.update(&number.to_le_bytes());
                hasher.update(hash.as_bytes());
            }
        }
        hasher.finalize()
    }
}

/// One thing done to a disk.
#[derive(Clone, Debug)]
pub enum Change {
    Write {
        ino: Ino,
        at: u64,
        data: Arc<[u8]>,
    },
    /// Truncation, or making a file longer without writing.
    Length {
        ino: Ino,
        to: u64,
    },
    /// A name comes into a directory.
    Enter {
        dir: Ino,
        name: OsString,
        ino: Ino,
        is_dir: bool,
    },
    /// A name goes.
    Leave {
        dir: Ino,
        name: OsString,
    },
    /// A name moves, perhaps over another.
    Move {
        from: (Ino, OsString),
        to: (Ino, OsString),
        ino: Ino,
    },
    /// The content and length of a file are durable.
    SyncFile {
        ino: Ino,
    },
    /// The names in a directory are durable.
    SyncDir {
        ino: Ino,
    },
    /// A sync failed: what it should have written need not ever be, and no later sync tells.
    LoseSync {
        ino: Ino,
    },
}

/// Files and directories by number.
#[derive(Clone, Debug)]
pub struct Disk {
    pub files: BTreeMap<Ino, Content>,
    pub dirs: BTreeMap<Ino, BTreeMap<OsString, Ino>>,
}

impl Disk {
    pub fn new() -> Self {
        Self {
            files: BTreeMap::new(),
            dirs: BTreeMap::from([(ROOT, BTreeMap::new())]),
        }
    }

    /// Does a change. What it needs and is not there, as after the loss of an earlier one, is left out.
    pub fn apply(&mut self, change: &Change) {
        match change {
            Change::Write { ino, at, data } => {
                self.files.entry(*ino).or_default().write(*at, data);
            }
            Change::Length { ino, to } => self.files.entry(*ino).or_default().set_len(*to),
            Change::Enter {
                dir,
                name,
                ino,
                is_dir,
            } => {
                if *is_dir {
                    self.dirs.entry(*ino).or_default();
                } else {
                    self.files.entry(*ino).or_default();
                }
                self.dirs
                    .entry(*dir)
                    .or_default()
                    .insert(name.clone(), *ino);
            }
            Change::Leave { dir, name } => {
                self.dirs.entry(*dir).or_default().remove(name);
            }
            Change::Move { from, to, ino } => {
                let old = self.dirs.entry(from.0).or_default();
                if old.get(&from.1) == Some(ino) {
                    old.remove(&from.1);
                }
                self.dirs
                    .entry(to.0)
                    .or_default()
                    .insert(to.1.clone(), *ino);
            }
            Change::SyncFile { .. } | Change::SyncDir { .. } | Change::LoseSync { .. } => {}
        }
    }

    pub fn lookup(&self, dir: Ino, name: &std::ffi::OsStr) -> Option<Ino> {
        self.dirs.get(&dir)?.get(name).copied()
    }

    /// Everything that can be reached from the root, with paths: files with their content.
    pub fn tree(&self) -> BTreeMap<std::path::PathBuf, Option<&Content>> {
        let mut found = BTreeMap::new();
        let mut todo = vec![(std::path::PathBuf::new(), ROOT)];
        while let Some((path, ino)) = todo.pop() {
            for (name, child) in &self.dirs[&ino] {
                let path = path.join(name);
                if self.dirs.contains_key(child) {
                    todo.push((path.clone(), *child));
                    found.insert(path, None);
                } else if let Some(content) = self.files.get(child) {
                    found.insert(path, Some(content));
                }
            }
        }
        found
    }

    /// Equal for disks that look the same.
    pub fn hash(&self) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new();
        for (path, content) in self.tree() {
            let path = path.as_os_str().as_encoded_bytes();
            hasher.update(&(path.len() as u64).to_le_bytes());
            hasher.update(path);
            match content {
                Some(content) => hasher.update(content.hash().as_bytes()),
                None => hasher.update(&[0; 32]),
            };
        }
        hasher.finalize()
    }
}
