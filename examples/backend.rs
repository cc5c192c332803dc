//! A storage of one's own, `cargo run --example backend`: all blobs in one file that only grows, and a
//! store in it.
//!
//! What the contract in [`konserve_fs::backend`] asks for is here, once each:
//!
//! * a write is in the file, with a checksum, before anybody sees it (atomicity, order);
//! * a batch is one record (all or nothing);
//! * a precondition is judged and the write done under one lock (concurrency);
//! * a record that is cut short at the end of the file was never acknowledged as durable and is
//!   dropped; anything else that is wrong is damage (never taken for absence);
//! * after a failure nothing is written any more until the file is opened again (a failed write or
//!   sync leaves it unknown what is on disk).
//!
//! Records: `length: u32 LE | first 16 bytes of the payload's BLAKE3 | payload`; the payload is the
//! list of steps: `1 | address length: u16 LE | address | blob length: u32 LE | blob` puts,
//! `0 | address length: u16 LE | address` removes.
//!
//! The test suite that all storages of the crate pass runs over this one, too.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::ops::Bound;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use konserve_fs::backend::{
    Access, Backend, BackendError, Batch, BatchOp, Blob, Capabilities, Deadline, Kind, Lock,
    MAX_ADDRESS, MAX_BATCH, MAX_BLOB, Operation, Precondition, Result, Sharing, Written,
    check_address, check_size,
};
use konserve_fs::store::{ConnectOptions, CreateOptions, Custom, Location, Store};
use konserve_fs::value::{Key, Value};

/// A storage in one file.
#[derive(Debug)]
pub struct OneFile {
    state: Mutex<State>,
    access: Access,
    /// Only one process may write.
    _lock: Lock,
}

#[derive(Debug)]
struct State {
    file: File,
    blobs: BTreeMap<Vec<u8>, Vec<u8>>,
    failed: bool,
}

impl OneFile {
    /// Opens the file, or makes it where it may be written.
    ///
    /// # Errors
    /// [`BackendError::Damage`]; an error of the system.
    pub fn open(path: &Path, access: Access, lock: Lock) -> Result<Self> {
        let failed = |e| BackendError::io(Operation::Open, path.as_os_str().as_encoded_bytes(), e);
        let writes = access == Access::ReadWrite;
        let mut options = OpenOptions::new();
        let options = options.read(true).append(writes).create(writes);
        let mut file = options.open(path).map_err(failed)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(failed)?;
        let mut blobs = BTreeMap::new();
        let mut rest = bytes.as_slice();
        while let Some((payload, after)) = split_record(rest)? {
            replay(payload, &mut blobs)?;
            rest = after;
        }
        if writes {
            let whole = (bytes.len() - rest.len()) as u64;
            file.set_len(whole).map_err(failed)?;
            file.sync_all().map_err(failed)?;
            // A new file is there only once its directory is on disk.
            let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty());
            let dir = File::open(dir.unwrap_or(Path::new(".")));
            dir.and_then(|dir| dir.sync_all()).map_err(failed)?;
        }
        let state = State {
            file,
            blobs,
            failed: false,
        };
        Ok(Self {
            state: Mutex::new(state),
            access,
            _lock: lock,
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, operation: Operation, batch: Batch, deadline: Deadline) -> Result<bool> {
        batch.check()?;
        let first = batch
            .ops()
            .first()
            .map_or(&[][..], BatchOp::address)
            .to_vec();
        deadline.check(operation, &first)?;
        if self.access == Access::Read {
            return Err(BackendError::ReadOnly {
                operation,
                address: first.as_slice().into(),
            });
        }
        let mut state = self.state();
        let mut payload = Vec::new();
        for op in batch.ops() {
            let present = state.blobs.get(op.address()).map(Vec::as_slice);
            op.precondition()
                .require(operation, op.address(), present)?;
            encode(op, &mut payload);
        }
        let existed = state.blobs.contains_key(&first);
        let fail = |e| BackendError::io(operation, &first, e);
        if state.failed {
            return Err(fail(io::Error::other(
                "an earlier write or sync failed; open it again",
            )));
        }
        if payload.is_empty() {
            return Ok(existed);
        }
        let mut record = (payload.len() as u32).to_le_bytes().to_vec();
        record.extend(checksum(&payload));
        record.extend(payload);
        if let Err(e) = state.file.write_all(&record) {
            state.failed = true;
            return Err(fail(e));
        }
        for op in batch.into_ops() {
            match op {
                BatchOp::Put { address, bytes, .. } => drop(state.blobs.insert(address, bytes)),
                BatchOp::Delete { address, .. } => drop(state.blobs.remove(&address)),
            }
        }
        Ok(existed)
    }
}

fn checksum(payload: &[u8]) -> [u8; 16] {
    let mut sum = [0; 16];
    blake3::Hasher::new()
        .update(payload)
        .finalize_xof()
        .fill(&mut sum);
    sum
}

fn damage(reason: &str) -> BackendError {
    BackendError::Damage {
        operation: Operation::Open,
        address: b"the file".as_slice().into(),
        reason: reason.to_owned(),
    }
}

/// The first record's payload and what follows; `None` at the end, also at one that is cut short.
fn split_record(bytes: &[u8]) -> Result<Option<(&[u8], &[u8])>> {
    let Some((length, rest)) = bytes.split_first_chunk::<4>() else {
        return Ok(None);
    };
    let Some((sum, rest)) = rest.split_first_chunk::<16>() else {
        return Ok(None);
    };
    let length = u32::from_le_bytes(*length) as usize;
    let Some((payload, after)) = rest.split_at_checked(length) else {
        return Ok(None);
    };
    if checksum(payload) == *sum {
        return Ok(Some((payload, after)));
    }
    // A power loss may have left the last record's place with other bytes.
    if after.is_empty() {
        return Ok(None);
    }
    Err(damage("a record's checksum is wrong, and others follow"))
}

fn encode(op: &BatchOp, payload: &mut Vec<u8>) {
    let address = op.address();
    payload.push(u8::from(matches!(op, BatchOp::Put { .. })));
    payload.extend((address.len() as u16).to_le_bytes());
    payload.extend(address);
    if let BatchOp::Put { bytes, .. } = op {
        payload.extend((bytes.len() as u32).to_le_bytes());
        payload.extend(bytes);
    }
}

fn replay(mut steps: &[u8], blobs: &mut BTreeMap<Vec<u8>, Vec<u8>>) -> Result<()> {
    fn number<const N: usize>(steps: &mut &[u8]) -> Result<[u8; N]> {
        let (number, rest) = steps.split_first_chunk().ok_or_else(cut_short)?;
        *steps = rest;
        Ok(*number)
    }
    fn take<'s>(steps: &mut &'s [u8], count: usize) -> Result<&'s [u8]> {
        let (taken, rest) = steps.split_at_checked(count).ok_or_else(cut_short)?;
        *steps = rest;
        Ok(taken)
    }
    let steps = &mut steps;
    while !steps.is_empty() {
        let [kind] = number(steps)?;
        let length = u16::from_le_bytes(number(steps)?);
        let address = take(steps, length.into())?.to_vec();
        if kind == 0 {
            blobs.remove(&address);
        } else {
            let length = u32::from_le_bytes(number(steps)?);
            blobs.insert(address, take(steps, length as usize)?.to_vec());
        }
    }
    Ok(())
}

fn cut_short() -> BackendError {
    damage("a step is cut short")
}

impl Backend for OneFile {
    fn name(&self) -> &str {
        "one file"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            atomic_batch: true,
            conditional_put: true,
            conditional_delete: true,
            ordered: true,
            survives_kill: true,
            sharing: Sharing::Exclusive,
            max_address: MAX_ADDRESS,
            max_blob: MAX_BLOB,
            max_batch: MAX_BATCH,
        }
    }

    fn get(&self, address: &[u8], deadline: Deadline) -> Result<Option<Blob>> {
        check_address(Operation::Get, address)?;
        deadline.check(Operation::Get, address)?;
        Ok(self.state().blobs.get(address).cloned().map(Blob::new))
    }

    fn put(
        &self,
        address: &[u8],
        bytes: &[u8],
        precondition: Precondition,
        deadline: Deadline,
    ) -> Result<Written> {
        check_address(Operation::Put, address)?;
        check_size(Operation::Put, address, bytes)?;
        let mut batch = Batch::new();
        batch.put(address, bytes, precondition);
        self.write(Operation::Put, batch, deadline)?;
        Ok(Written::default())
    }

    fn delete(
        &self,
        address: &[u8],
        precondition: Precondition,
        deadline: Deadline,
    ) -> Result<bool> {
        check_address(Operation::Delete, address)?;
        let mut batch = Batch::new();
        batch.delete(address, precondition);
        self.write(Operation::Delete, batch, deadline)
    }

    fn list(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
        deadline: Deadline,
    ) -> Result<Vec<Vec<u8>>> {
        deadline.check(Operation::List, prefix)?;
        let start = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        let state = self.state();
        let addresses = state.blobs.range::<[u8], _>((start, Bound::Unbounded));
        let addresses = addresses.map(|(address, _)| address);
        let found = addresses.take_while(|address| address.starts_with(prefix));
        Ok(found.take(limit).cloned().collect())
    }

    fn apply(&self, batch: Batch, deadline: Deadline) -> Result<()> {
        self.write(Operation::Apply, batch, deadline).map(drop)
    }

    fn sync(&self, deadline: Deadline) -> Result<()> {
        deadline.check(Operation::Sync, b"")?;
        let mut state = self.state();
        let fail = |e| BackendError::io(Operation::Sync, b"", e);
        if state.failed {
            return Err(fail(io::Error::other(
                "an earlier write or sync failed; open it again",
            )));
        }
        state.file.sync_data().map_err(|e| {
            state.failed = true;
            fail(e)
        })
    }
}

/// Stores in such files: each is `DIR/one-file`.
#[derive(Debug)]
pub struct OneFiles;

impl Kind for OneFiles {
    fn exists(&self, root: &Path) -> Result<bool> {
        let found = root.try_exists();
        found.map_err(|e| BackendError::io(Operation::Open, root.as_os_str().as_encoded_bytes(), e))
    }

    fn create(&self, root: &Path, lock: Lock) -> Result<Arc<dyn Backend>> {
        self.open(root, Access::ReadWrite, lock)
    }

    fn open(&self, root: &Path, access: Access, lock: Lock) -> Result<Arc<dyn Backend>> {
        Ok(Arc::new(OneFile::open(root, access, lock)?))
    }
}

/// A store in the directory `dir`.
pub fn location(dir: &Path) -> Location {
    Location::Custom(Custom {
        scheme: "one-file",
        dir: dir.to_owned(),
        kind: Arc::new(OneFiles),
    })
}

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let dir = std::env::temp_dir().join(format!("kfs-one-file-{}", std::process::id()));
    let location = location(&dir);
    let store = Store::create(&location, &CreateOptions::default())?;
    let path = [Key::text("config"), Key::text("port")];
    store.assoc_in(&path, &Value::Int(80))?;
    store.release()?;

    let store = Store::connect(&location, &ConnectOptions::default())?;
    println!("{location} has {:?}", store.get_in(&path)?);
    assert_eq!(store.get_in(&path)?, Some(Value::Int(80)));
    let id = store.id();
    store.release()?;
    Store::delete(&location, id)?;
    Ok(())
}
