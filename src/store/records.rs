//! All records and pages of the backend, for those who look after the store as a whole.

use super::record::{self, KeyedDoc};
use super::{Store, StoreError};
use crate::tree::{PageAddr, page_key};

/// The prefix of all pages.
const PAGES: &[u8] = b"p";
/// The prefix of all records, of every epoch.
const RECORDS: &[u8] = b"r";

/// A record's address, and what stands in it.
pub type Found = (Vec<u8>, Result<KeyedDoc, StoreError>);

impl Store {
    /// Up to `limit` addresses of pages after one, whether anything refers to them or not; an empty
    /// answer is the end.
    ///
    /// # Errors
    /// A failure of the backend.
    pub fn pages_after(
        &self,
        after: Option<&PageAddr>,
        limit: usize,
    ) -> Result<Vec<PageAddr>, StoreError> {
        self.check_open()?;
        let pager = &self.inner.pager;
        let after = after.map(page_key);
        let listed = pager
            .backend()
            .list(PAGES, after.as_deref(), limit, pager.deadline())?;
        let address = |key: &Vec<u8>| key.get(PAGES.len()..)?.try_into().ok();
        Ok(listed.iter().filter_map(address).collect())
    }

    /// Up to `limit` records after an address, those of hidden documents included; an empty answer
    /// is the end. A record that does not read is an error of its own. What is in memory only is
    /// not here.
    ///
    /// # Errors
    /// A failure of the backend.
    pub fn records_after(
        &self,
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Found>, StoreError> {
        self.check_open()?;
        let pager = &self.inner.pager;
        let backend = pager.backend();
        let mut from = after.map(<[u8]>::to_vec);
        loop {
            let addresses = backend.list(RECORDS, from.as_deref(), limit, pager.deadline())?;
            let present = addresses.iter().filter_map(|address| {
                let read = record::load(address, pager).transpose()?;
                // A record that went away since it was listed was deleted meanwhile.
                Some((address.clone(), read))
            });
            let found: Vec<Found> = present.collect();
            if !found.is_empty() || addresses.is_empty() {
                return Ok(found);
            }
            from = addresses.last().cloned();
        }
    }
}
