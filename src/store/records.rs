//! All records of the backend, for those who look after the store as a whole.

use super::record::{self, KeyedDoc};
use super::{Store, StoreError};

/// The prefix of all records, of every epoch.
const RECORDS: &[u8] = b"r";

/// A record's address, and what stands in it.
pub type Found = (Vec<u8>, Result<KeyedDoc, StoreError>);

impl Store {
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
                let read = match backend.get(address, pager.deadline()) {
                    Ok(blob) => record::open(address, &blob?.bytes, pager.codec()),
                    Err(e) => Err(e.into()),
                };
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
