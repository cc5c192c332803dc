//! Lists of addresses where a log has later writes than what is below it.

use std::collections::BTreeMap;

use crate::backend::{Result, end_of_prefix};

/// A part of what a log has: the addresses from one on, in order.
#[derive(Debug, Default)]
pub struct Changes {
    /// Whether there is a blob.
    there: BTreeMap<Vec<u8>, bool>,
    blobs: usize,
}

impl Changes {
    /// Adds the next address.
    pub fn add(&mut self, address: &[u8], there: bool) {
        self.blobs += usize::from(there);
        self.there.insert(address.to_vec(), there);
    }

    /// How many addresses have a blob.
    pub fn blobs(&self) -> usize {
        self.blobs
    }

    /// How many addresses have no blob any more.
    fn deleted(&self) -> usize {
        self.there.len() - self.blobs
    }

    /// The addresses that have a blob, given those `below`: up to `limit`, in order.
    fn over(mut self, below: Vec<Vec<u8>>, limit: usize) -> Vec<Vec<u8>> {
        for address in below {
            self.there.entry(address).or_insert(true);
        }
        let there = self.there.into_iter().filter(|(_, there)| *there);
        there.map(|(address, _)| address).take(limit).collect()
    }
}

/// A page of a list. `changes` gives those from an address on, before another, up to the one that makes
/// a number of blobs; `below` what is listed below the log, from and to these, up to a number.
pub fn list(
    (prefix, after, limit): (&[u8], Option<&[u8]>, usize),
    changes: impl FnOnce(&[u8], Option<&[u8]>, usize) -> Changes,
    below: impl FnOnce(&[u8], Option<&[u8]>, usize) -> Result<Vec<Vec<u8>>>,
) -> Result<Vec<Vec<u8>>> {
    // The address next to `after` is the one with a zero at its end.
    let start = match after {
        Some(after) if after >= prefix => [after, &[0]].concat(),
        _ => prefix.to_vec(),
    };
    let end = end_of_prefix(prefix);
    let end = end.as_deref();
    if end.is_some_and(|end| end <= start.as_slice()) {
        return Ok(Vec::new());
    }
    // The log first: meanwhile what it has may get below.
    let changes = changes(&start, end, limit);
    let count = limit.saturating_add(changes.deleted());
    Ok(changes.over(below(&start, end, count)?, limit))
}
