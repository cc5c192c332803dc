//! The addresses that a storage of ciphertext cannot list in order.

use std::collections::BTreeSet;
use std::ops::Bound;

use crate::backend::{Backend, BackendError, Deadline, Result};
use crate::crypt::Cipher;

/// So many are asked for together.
const LISTED: usize = 4096;

/// All addresses but those of pages.
#[derive(Debug)]
pub struct Names {
    /// Once they are known.
    known: Option<BTreeSet<Box<[u8]>>>,
    /// Whether others write, too.
    shared: bool,
}

impl Names {
    pub fn new(shared: bool) -> Self {
        Self {
            known: None,
            shared,
        }
    }

    /// Whether an address is among them, if there is a blob.
    pub fn has_room_for(address: &[u8]) -> bool {
        !is_page(address)
    }

    /// Takes note of a write that has been done.
    pub fn wrote(&mut self, address: &[u8], there: bool) {
        let Some(known) = &mut self.known else {
            return;
        };
        if !there {
            known.remove(address);
        } else if !known.contains(address) {
            known.insert(address.into());
        }
    }

    /// Takes note of a write that has failed: perhaps it has been done.
    pub fn failed(&mut self, error: &BackendError) {
        if !matches!(error, BackendError::Conflict { .. }) {
            self.known = None;
        }
    }

    /// Up to `limit` that begin with `prefix` and come after `after`.
    pub fn list(
        &mut self,
        (storage, cipher): (&dyn Backend, &Cipher),
        (prefix, after): (&[u8], Option<&[u8]>),
        limit: usize,
        deadline: Deadline,
    ) -> Result<Vec<Vec<u8>>> {
        if self.shared {
            self.known = None;
        }
        let known = match &mut self.known {
            Some(known) => known,
            unknown => unknown.insert(read(storage, cipher, deadline)?),
        };
        let from = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        let found = known.range::<[u8], _>((from, Bound::Unbounded));
        Ok(found
            .take_while(|address| address.starts_with(prefix))
            .take(limit)
            .map(|address| address.to_vec())
            .collect())
    }
}

/// Whether an address is in order in the storage.
pub fn is_page(address: &[u8]) -> bool {
    address.first() == Some(&b'p') && Cipher::is_open(address)
}

fn read(storage: &dyn Backend, cipher: &Cipher, deadline: Deadline) -> Result<BTreeSet<Box<[u8]>>> {
    let mut found = BTreeSet::new();
    for mark in [b"h", b"i"] {
        if storage.get_range(mark, 0..0, deadline)?.is_some() {
            found.insert(Box::from(&mark[..]));
        }
    }
    let mut unknown = 0_u64;
    each(
        storage,
        Cipher::CONCEALED,
        deadline,
        |concealed| match cipher.reveal(&concealed) {
            Some(address) => drop(found.insert(address.into())),
            None => unknown += 1,
        },
    )?;
    if unknown > 0 {
        tracing::warn!(
            unknown,
            "blobs under addresses that no key of the store has made"
        );
    }
    Ok(found)
}

/// Goes through the addresses of a storage.
pub fn each(
    storage: &dyn Backend,
    prefix: &[u8],
    deadline: Deadline,
    mut hear: impl FnMut(Vec<u8>),
) -> Result<()> {
    let mut after: Option<Vec<u8>> = None;
    loop {
        let listed = storage.list(prefix, after.as_deref(), LISTED, deadline)?;
        let end = listed.len() < LISTED;
        after = listed.last().cloned();
        listed.into_iter().for_each(&mut hear);
        if end {
            return Ok(());
        }
    }
}
