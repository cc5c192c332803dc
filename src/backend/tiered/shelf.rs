//! Which copies a front of a bounded size keeps.
//!
//! They stand in a row. When they are too large, the first one goes, unless it was read since it stood
//! there last: then it goes to the end, and counts as not read again (the *second chance*; a clock with one
//! hand). So what is read again and again stays, and what is read once, as by a backup, goes through
//! without driving it out. It costs an address, 50 bytes and a bit for each copy.

use std::collections::{HashMap, VecDeque};

/// A copy in the row.
#[derive(Debug)]
struct Kept {
    /// What it takes; `None` if it is gone.
    bytes: Option<u64>,
    read: bool,
}

/// The row.
#[derive(Debug)]
pub struct Shelf {
    bound: u64,
    used: u64,
    copies: HashMap<Vec<u8>, Kept>,
    row: VecDeque<Vec<u8>>,
    /// How many in the row are gone.
    gone: usize,
}

impl Shelf {
    /// An empty one, for so many bytes.
    pub fn new(bound: u64) -> Self {
        Self {
            bound,
            used: 0,
            copies: HashMap::new(),
            row: VecDeque::new(),
            gone: 0,
        }
    }

    /// What all copies take, in bytes.
    pub fn used(&self) -> u64 {
        self.used
    }

    /// Whether a copy of so many bytes can be in it at all.
    pub fn fits(&self, bytes: u64) -> bool {
        bytes <= self.bound
    }

    /// Whether less than a sixteenth of it is free.
    pub fn is_all_but_full(&self) -> bool {
        self.used > self.bound - self.bound / 16
    }

    /// There is a copy of so many bytes.
    pub fn put(&mut self, address: &[u8], bytes: u64) {
        self.used += bytes;
        if let Some(copy) = self.copies.get_mut(address) {
            match copy.bytes.replace(bytes) {
                Some(before) => self.used -= before,
                None => self.gone -= 1,
            }
            return;
        }
        let (bytes, read) = (Some(bytes), false);
        self.copies.insert(address.to_vec(), Kept { bytes, read });
        self.row.push_back(address.to_vec());
    }

    /// A copy was read.
    pub fn read(&mut self, address: &[u8]) {
        if let Some(copy) = self.copies.get_mut(address) {
            copy.read = true;
        }
    }

    /// There is no copy any more.
    pub fn gone(&mut self, address: &[u8]) {
        let Some(copy) = self.copies.get_mut(address) else {
            return;
        };
        if let Some(bytes) = copy.bytes.take() {
            self.used -= bytes;
            self.gone += 1;
        }
        if self.gone > 1000 && self.gone > self.row.len() / 2 {
            let copies = &mut self.copies;
            copies.retain(|_, copy| copy.bytes.is_some());
            self.row.retain(|address| copies.contains_key(address));
            self.gone = 0;
        }
    }

    /// The copy that is to go, if they are too large. It stays in the row until it is gone.
    pub fn next_out(&mut self) -> Option<Vec<u8>> {
        while self.used > self.bound {
            let address = self.row.pop_front()?;
            let Some(copy) = self.copies.get_mut(&address) else {
                continue;
            };
            if copy.bytes.is_none() {
                self.copies.remove(&address);
                self.gone -= 1;
                continue;
            }
            let read = std::mem::take(&mut copy.read);
            self.row.push_back(address.clone());
            if !read {
                return Some(address);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn evict(shelf: &mut Shelf) -> Vec<Vec<u8>> {
        let mut went = Vec::new();
        while let Some(address) = shelf.next_out() {
            shelf.gone(&address);
            went.push(address);
        }
        went
    }

    #[test]
    fn what_was_read_gets_a_second_chance() {
        let mut shelf = Shelf::new(30);
        for n in 0..3 {
            shelf.put(&[n], 10);
        }
        assert_eq!(shelf.next_out(), None);
        shelf.read(&[0]);
        shelf.put(&[3], 10);
        assert_eq!(evict(&mut shelf), [[1]]);
        shelf.put(&[4], 20);
        assert_eq!(evict(&mut shelf), [[2], [3]]);
        assert_eq!(shelf.used(), 30);
        // Nothing was read since: they go in turn.
        shelf.put(&[5], 10);
        assert_eq!(evict(&mut shelf), [[0]]);
    }

    #[test]
    fn what_comes_and_goes_leaves_nothing() {
        let mut shelf = Shelf::new(1000);
        for n in 0..100_000_u32 {
            shelf.put(&n.to_be_bytes(), 7);
            shelf.put(&n.to_be_bytes(), 10);
            shelf.gone(&n.to_be_bytes());
            shelf.gone(&n.to_be_bytes());
        }
        assert_eq!(shelf.used(), 0);
        assert!(shelf.row.len() < 3000 && shelf.copies.len() < 3000);
    }
}
