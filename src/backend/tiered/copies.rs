//! Making, reading and removing the copies in the front.

use xxhash_rust::xxh3::Xxh3;

use super::{Tiered, Writes};
use crate::backend::{Backend, Blob, Deadline, Operation, Precondition, Result};

/// Bytes of the checksum before a blob in the front.
const SUM: usize = 16;

impl Tiered {
    /// Whether a blob can be in the front.
    fn fits(&self, address: &[u8], bytes: &[u8]) -> bool {
        let size = (bytes.len() + SUM) as u64;
        let shelf = self.shelf.as_ref();
        size <= self.front.capabilities().max_blob
            && shelf.is_none_or(|shelf| shelf.lock().fits(size + address.len() as u64))
    }

    /// Puts a copy into the front. With the address's lock held.
    fn copy(&self, address: &[u8], bytes: &[u8], deadline: Deadline) {
        let sealed = seal(address, bytes);
        let put = self.ask(Operation::Put, address, deadline, |front, soon| {
            front.put(address, &sealed, Precondition::Any, soon)
        });
        if let Some(shelf) = &self.shelf {
            // Where it failed, the old one is there, the new one, or none.
            let size = (sealed.len() + address.len()) as u64;
            shelf.lock().put(address, size);
        }
        self.note(address, put);
    }

    /// Has the front forget an address. With its lock held.
    fn forget(&self, address: &[u8], deadline: Deadline) {
        let gone = self.ask(Operation::Delete, address, deadline, |front, soon| {
            front.delete(address, Precondition::Any, soon)
        });
        if let Some(shelf) = self.shelf.as_ref().filter(|_| gone.is_ok()) {
            shelf.lock().gone(address);
        }
        self.note(address, gone);
    }

    /// Has the front do what the back has done, or forget the address. With its lock held.
    pub(super) fn follow(&self, address: &[u8], bytes: Option<&[u8]>, deadline: Deadline) {
        if self.stale.read().all {
            return;
        }
        match bytes.filter(|bytes| self.fits(address, bytes)) {
            Some(bytes) if self.writes == Writes::Through => self.copy(address, bytes, deadline),
            _ => self.forget(address, deadline),
        }
    }

    /// What the front has: `None` if it cannot be used for the address.
    pub(super) fn in_front(&self, address: &[u8], deadline: Deadline) -> Option<Option<Vec<u8>>> {
        let get = |front: &dyn Backend, soon| front.get(address, soon);
        match self.ask(Operation::Get, address, deadline, get).ok()? {
            None => Some(None),
            Some(blob) => match open(address, blob.bytes) {
                None => {
                    self.tally.failures.add(1);
                    None
                }
                found => {
                    if let Some(shelf) = &self.shelf {
                        shelf.lock().read(address);
                    }
                    Some(found)
                }
            },
        }
    }

    /// Reads from the back, and brings it to the front.
    pub(super) fn fetch(&self, address: &[u8], deadline: Deadline) -> Result<Option<Blob>> {
        let _alone = self.lock(Operation::Get, std::iter::once(address), deadline)?;
        let found = self.back.get(address, deadline)?;
        if let Some(blob) = &found
            && self.fits(address, &blob.bytes)
            && !self.stale.read().all
        {
            self.copy(address, &blob.bytes, deadline);
        }
        Ok(found)
    }

    /// Has copies go while they are too large. With no lock of an address held.
    pub(super) fn make_room(&self, deadline: Deadline) {
        let Some(shelf) = &self.shelf else {
            return;
        };
        loop {
            let Some(address) = shelf.lock().next_out() else {
                return;
            };
            let alone = self.lock(Operation::Delete, std::iter::once(&*address), deadline);
            let gone = alone.and_then(|_alone| {
                self.ask(Operation::Delete, &address, deadline, |front, soon| {
                    front.delete(&address, Precondition::Any, soon)
                })?;
                shelf.lock().gone(&address);
                Ok(())
            });
            if gone.is_err() {
                return;
            }
            self.tally.evicted.add(1);
        }
    }
}

fn sum(address: &[u8], bytes: &[u8]) -> [u8; SUM] {
    let mut hash = Xxh3::new();
    hash.update(&(address.len() as u64).to_le_bytes());
    hash.update(address);
    hash.update(bytes);
    hash.digest128().to_le_bytes()
}

fn seal(address: &[u8], bytes: &[u8]) -> Vec<u8> {
    let mut sealed = Vec::with_capacity(SUM + bytes.len());
    sealed.extend(sum(address, bytes));
    sealed.extend(bytes);
    sealed
}

/// The bytes of a blob of the front, if they are what was put there.
fn open(address: &[u8], mut sealed: Vec<u8>) -> Option<Vec<u8>> {
    let (found, bytes) = sealed.split_first_chunk::<SUM>()?;
    if *found != sum(address, bytes) {
        return None;
    }
    sealed.drain(..SUM);
    Some(sealed)
}
