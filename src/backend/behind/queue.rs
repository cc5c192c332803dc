//! What waits, in memory: in the order of the log, and by address.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use crate::backend::log::changes::Changes;
use crate::backend::log::record::Write;

/// What a write leaves at an address; `None` is no blob.
pub type Content = Option<Arc<[u8]>>;

/// Memory taken by a write beside its address and its content, in bytes.
const BESIDE: u64 = 200;

/// One write that waits.
pub type Waiting = (Arc<[u8]>, Content);

/// A record of the log.
#[derive(Clone, Debug)]
pub struct Record {
    pub seq: u64,
    pub writes: Arc<[Waiting]>,
    /// About the memory it takes, in bytes.
    pub size: u64,
}

/// All records that wait.
#[derive(Debug, Default)]
pub struct Queue {
    records: VecDeque<Record>,
    /// The last write to each address, and its record.
    last: BTreeMap<Arc<[u8]>, (u64, Content)>,
    size: u64,
}

/// About the memory that writes take, in bytes.
pub fn size(writes: &[Write<'_>]) -> u64 {
    let size = |write: &Write<'_>| match write {
        Write::Put { address, bytes } => address.len() + bytes.len(),
        Write::Delete { address } => address.len(),
    };
    writes.iter().map(|w| size(w) as u64 + BESIDE).sum()
}

impl Queue {
    /// Adds the next record.
    pub fn push(&mut self, seq: u64, writes: &[Write<'_>]) {
        let size = size(writes);
        let writes: Arc<[Waiting]> = writes
            .iter()
            .map(|write| match *write {
                Write::Put { address, bytes } => (address.into(), Some(bytes.into())),
                Write::Delete { address } => (address.into(), None),
            })
            .collect();
        for (address, content) in writes.iter() {
            self.last
                .insert(Arc::clone(address), (seq, content.clone()));
        }
        self.size += size;
        self.records.push_back(Record { seq, writes, size });
    }

    /// The bytes that wait.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The records that wait.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// What was written to an address last, if it waits.
    pub fn get(&self, address: &[u8]) -> Option<Content> {
        self.last.get(address).map(|(_, content)| content.clone())
    }

    /// The first records, of up to `most` bytes, or one.
    pub fn portion(&self, most: u64) -> Vec<Record> {
        let mut size = 0;
        let fits = |record: &&Record| {
            let first = size == 0;
            size += record.size;
            first || size <= most
        };
        self.records.iter().take_while(fits).cloned().collect()
    }

    /// Forgets the records up to and including `seq`.
    pub fn forget(&mut self, seq: u64) {
        while let Some(record) = self.records.pop_front_if(|record| record.seq <= seq) {
            self.size -= record.size;
            for (address, _) in record.writes.iter() {
                if self.last.get(address).is_some_and(|(at, _)| *at <= seq) {
                    self.last.remove(address);
                }
            }
        }
    }

    /// The addresses from `start` on, before `end`, and whether there is a blob now: in order, up to
    /// the one that makes `blobs` of them.
    pub fn changes(&self, start: &[u8], end: Option<&[u8]>, blobs: usize) -> Changes {
        let end = end.map_or(Bound::Unbounded, Bound::Excluded);
        let mut changes = Changes::default();
        for (address, (_, content)) in self.last.range::<[u8], _>((Bound::Included(start), end)) {
            if changes.blobs() >= blobs {
                break;
            }
            changes.add(address, content.is_some());
        }
        changes
    }
}
