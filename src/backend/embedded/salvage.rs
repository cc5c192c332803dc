//! Getting out of damaged files what is whole, into a new engine.
//!
//! The tables are read one by one, without the engine's idea of how they belong together: of
//! several entries of an address the one with the highest sequence number counts, and over all of
//! them what the log says. The winners are found first and read then, so that memory holds
//! addresses only.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use lsm_tree::table::Scanner;
use lsm_tree::{Cache, Checksum, CompressionType, InternalValue, Table, ValueType};
use uuid::Uuid;
use xxhash_rust::xxh3::xxh3_64;

use super::archive;
use super::failure::guarded;
use super::manifest::{self, Manifest};
use super::pack::{self, Pointer};
use super::record::{self, Write};
use super::tree::{self, Stored};
use super::{Access, ENGINE_DIR, Embedded, KIND, LOG_DIR, Lock, PACK_DIR, TREE_DIR, identity};
use crate::backend::log::from_log;
use crate::backend::replace::replace_dir;
use crate::backend::{
    Backend, BackendError, Batch, Deadline, Flaw, Operation, Precondition, Result,
};
use crate::journal::{self, JournalRecord};

/// The directory in which the new engine is made, in the store's.
const FRESH: &str = "repair.new";

/// Blobs go into the new engine in batches of about so many bytes.
const BATCH: u64 = 8 << 20;

/// A table with more damaged blocks than this is given up.
const MOST_BLOCKS: usize = 100_000;

/// Puts a new engine with everything that can be read in the place of the one in `dir`, which is
/// moved to `aside`. Gives what could not be read.
///
/// # Errors
/// [`BackendError::LockHeld`], or a failure of the system; the old engine is still in its place
/// then, or the new one is.
pub fn rebuild(dir: &Path, aside: &Path) -> Result<Vec<Flaw>> {
    let _lock = Lock::acquire(dir, Access::ReadWrite, Duration::ZERO)?;
    let failed = |source| {
        BackendError::io(
            Operation::Create,
            dir.as_os_str().as_encoded_bytes(),
            source,
        )
    };
    let fresh = dir.join(FRESH);
    match fs::remove_dir_all(&fresh) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let engine = Embedded::create(&fresh, Duration::ZERO)?;
    let mut salvage = Salvage {
        dir: dir.to_owned(),
        tree: dir.join(ENGINE_DIR).join(TREE_DIR),
        lost: Vec::new(),
        packs: HashMap::new(),
    };
    salvage.run(&engine)?;
    engine.sync(soon())?;
    drop(engine);
    let (old, new) = (dir.join(ENGINE_DIR), fresh.join(ENGINE_DIR));
    replace_dir(&old, &new, &aside.join(ENGINE_DIR))
        .and_then(|()| fs::remove_dir_all(&fresh))
        .map_err(failed)?;
    Ok(salvage.lost)
}

fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(120))
}

/// A salvage under way.
struct Salvage {
    dir: PathBuf,
    tree: PathBuf,
    lost: Vec<Flaw>,
    packs: HashMap<u64, Option<File>>,
}

/// A table, and what is added to the sequence numbers in it.
type Source = (PathBuf, u64);

impl Salvage {
    fn run(&mut self, engine: &Embedded) -> Result<()> {
        let tables = self.tables()?;
        // The highest sequence number of each address, and how far the log is in the tables.
        let mut winners: HashMap<Vec<u8>, u64> = HashMap::new();
        let mut flushed = (0, 0);
        for table in &tables {
            let told = self.each(table, &mut |item| {
                let key = &item.key.user_key;
                if tree::is_mark(key) {
                    let number = item.value.first_chunk().copied();
                    let number = number.map_or(0, u64::from_le_bytes);
                    flushed = flushed.max((item.key.seqno, number));
                } else if !tree::is_own(key) {
                    let winner = winners.entry(key.to_vec()).or_default();
                    *winner = item.key.seqno.max(*winner);
                }
                Ok(())
            })?;
            self.lost.extend(told);
        }
        let log = self.log(flushed.1)?;
        let mut writes = Vec::new();
        for record in &log {
            match record::decode(&record.payload) {
                Some(decoded) => writes.extend(decoded),
                None => {
                    let dir = self.dir.join(ENGINE_DIR).join(LOG_DIR);
                    self.lose(&dir, format!("record {} has no valid content", record.seq));
                }
            }
        }
        // Whoever writes an address last in the log has the last word.
        let enumerated = writes.iter().enumerate();
        let last: HashMap<&[u8], usize> = enumerated.map(|(at, w)| (w.address(), at)).collect();
        let mut out = Out::new(engine);
        let mut pointers = Vec::new();
        for table in &tables {
            self.each(table, &mut |item| {
                let address = &item.key.user_key[..];
                let wins = winners.get(address) == Some(&item.key.seqno);
                if !wins || last.contains_key(address) || item.key.value_type != ValueType::Value {
                    return Ok(());
                }
                match tree::stored(&item.value) {
                    Some(Stored::Whole(bytes)) => out.put(address, &bytes)?,
                    Some(Stored::Points(pointer)) => pointers.push((address.to_vec(), pointer)),
                    None => {}
                }
                Ok(())
            })?;
        }
        for (at, write) in writes.iter().enumerate() {
            if last.get(write.address()) != Some(&at) {
                continue;
            }
            match *write {
                Write::Put { address, bytes } => out.put(address, bytes)?,
                Write::Point { address, pointer } => pointers.push((address.to_vec(), pointer)),
                Write::Delete { .. } => {}
            }
        }
        for (address, pointer) in pointers {
            match self.blob(&pointer) {
                Ok(bytes) => out.put(&address, &bytes)?,
                Err(reason) => {
                    let path = pack::path(&self.dir.join(ENGINE_DIR).join(PACK_DIR), pointer.pack);
                    self.lose(&path, format!("blob {}: {reason}", address.escape_ascii()));
                }
            }
        }
        out.flush()
    }

    fn lose(&mut self, path: &Path, reason: String) {
        let place = path.strip_prefix(&self.dir).unwrap_or(path);
        self.lost.push(Flaw {
            place: place.display().to_string(),
            reason,
            harmless: false,
        });
    }

    /// The tables that count; if that is not known, all there are.
    fn tables(&mut self) -> Result<Vec<Source>> {
        let manifest = match manifest::read_current(&self.tree) {
            Ok(manifest) => Some(manifest),
            Err(error) => {
                let place = self.tree.join("current");
                self.lose(&place, error.to_string());
                self.newest_manifest()
            }
        };
        let dir = self.tree.join("tables");
        if let Some(manifest) = manifest {
            let tables = manifest.tables.into_iter();
            return Ok(tables
                .map(|(id, (_, offset))| (dir.join(id.to_string()), offset))
                .collect());
        }
        let Ok(entries) = fs::read_dir(&dir) else {
            return Ok(Vec::new());
        };
        let mut tables: Vec<Source> = entries
            .flatten()
            .filter(|entry| {
                entry
                    .file_name()
                    .to_str()
                    .is_some_and(|n| n.parse::<u64>().is_ok())
            })
            .map(|entry| (entry.path(), 0))
            .collect();
        tables.sort();
        Ok(tables)
    }

    /// The manifest with the highest number that can be read, if all its tables are there.
    fn newest_manifest(&self) -> Option<Manifest> {
        let entries = fs::read_dir(&self.tree).ok()?;
        let mut numbers: Vec<u64> = entries
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.strip_prefix('v')?.parse().ok())
            .collect();
        numbers.sort_unstable();
        numbers.iter().rev().find_map(|number| {
            let path = self.tree.join(format!("v{number}"));
            let read = guarded(Operation::Open, b"", || {
                manifest::parse_manifest(&path)
                    .map_err(|e| lsm_tree::Error::Io(io::Error::other(e.to_string())))
            });
            let manifest = read.ok()?;
            let there = |id: &u64| self.tree.join("tables").join(id.to_string()).exists();
            manifest.tables.keys().all(there).then_some(manifest)
        })
    }

    /// Tells of each entry of a table that can be read, and gives what cannot.
    fn each(
        &self,
        (path, offset): &Source,
        tell: &mut dyn FnMut(InternalValue) -> Result<()>,
    ) -> Result<Vec<Flaw>> {
        let mut lost = Vec::new();
        let place = path
            .strip_prefix(&self.dir)
            .unwrap_or(path)
            .display()
            .to_string();
        let mut lose = |reason: String| {
            lost.push(Flaw {
                place: place.clone(),
                reason,
                harmless: false,
            });
        };
        let address = place.as_bytes();
        let table = guarded(Operation::Open, address, || {
            let cache = Arc::new(Cache::with_capacity_bytes(1 << 20));
            let unchecked = Checksum::from_raw(0);
            archive::verify(path)?;
            Table::recover(
                path.clone(),
                unchecked,
                *offset,
                0,
                cache,
                None,
                false,
                false,
            )
        });
        let mut items: Box<dyn Iterator<Item = lsm_tree::Result<InternalValue>>> = match &table {
            Ok(table) => Box::new(table.iter()),
            // Without its index: the blocks from the beginning on.
            Err(error) => {
                lose(error.reason());
                let scanner = guarded(Operation::Open, address, || {
                    Scanner::new(path, usize::MAX, CompressionType::None, *offset)
                });
                match scanner {
                    Ok(scanner) => Box::new(scanner),
                    Err(_) => return Ok(lost),
                }
            }
        };
        let mut bad = 0;
        let mut before: Option<Vec<u8>> = None;
        loop {
            match guarded(Operation::Get, address, || items.next().transpose()) {
                Ok(None) => return Ok(lost),
                Ok(Some(item)) => {
                    before = Some(item.key.user_key.to_vec());
                    tell(item)?;
                }
                // Behind the blocks of a table without index comes something else.
                Err(_) if table.is_err() => return Ok(lost),
                Err(error) => {
                    bad += 1;
                    let after = before.as_ref().map_or_else(
                        || "a block at the beginning".to_owned(),
                        |address| format!("a block after {}", address.escape_ascii()),
                    );
                    lose(format!("{after}: {}", error.reason()));
                    if bad > MOST_BLOCKS {
                        return Ok(lost);
                    }
                }
            }
        }
    }

    /// What the log has that is not in the tables.
    fn log(&mut self, flushed: u64) -> Result<Vec<JournalRecord>> {
        let engine = self.dir.join(ENGINE_DIR);
        let dir = engine.join(LOG_DIR);
        let id: Option<Uuid> = match identity::read(&engine, KIND) {
            Ok(id) => Some(id),
            Err(error) => {
                self.lose(&engine.join("identity"), error.reason());
                journal::owner(&dir)
            }
        };
        let Some(id) = id else {
            return Ok(Vec::new());
        };
        let failed = |e| from_log(Operation::Open, dir.as_os_str().as_encoded_bytes(), e);
        for flaw in journal::inspect(&dir, &id, Some(flushed))
            .map_err(failed)?
            .flaws
        {
            if !flaw.harmless {
                self.lose(
                    &flaw.path,
                    format!("at byte {}: {}", flaw.offset, flaw.reason),
                );
            }
        }
        journal::salvage(&dir, &id, flushed).map_err(failed)
    }

    /// A large blob, from its pack, whatever the pack's header says.
    fn blob(&mut self, pointer: &Pointer) -> Result<Vec<u8>, String> {
        let path = pack::path(&self.dir.join(ENGINE_DIR).join(PACK_DIR), pointer.pack);
        let file = self.packs.entry(pointer.pack);
        let file = file.or_insert_with(|| File::open(path).ok());
        let file = file.as_ref().ok_or("the pack is missing")?;
        if u64::from(pointer.length) > crate::backend::MAX_BLOB {
            return Err("the pointer to it is broken".to_owned());
        }
        let mut bytes = vec![0; usize::try_from(pointer.length).unwrap_or(0)];
        file.read_exact_at(&mut bytes, pointer.offset)
            .map_err(|error| error.to_string())?;
        if xxh3_64(&bytes) != pointer.check {
            return Err("it is not what was written there".to_owned());
        }
        Ok(bytes)
    }
}

/// Blobs on their way into the new engine.
struct Out<'e> {
    engine: &'e Embedded,
    batch: Batch,
}

impl<'e> Out<'e> {
    fn new(engine: &'e Embedded) -> Self {
        Self {
            engine,
            batch: Batch::new(),
        }
    }

    fn put(&mut self, address: &[u8], bytes: &[u8]) -> Result<()> {
        self.batch
            .put(address.to_vec(), bytes.to_vec(), Precondition::Any);
        if self.batch.size() as u64 > BATCH {
            return self.flush();
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        let batch = std::mem::take(&mut self.batch);
        self.engine.apply(batch, soon())
    }
}
