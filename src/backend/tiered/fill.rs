//! Filling the front with what it lacks.

use std::collections::HashSet;

use super::{LISTED, Tiered};
use crate::backend::{Backend, Deadline, Operation, Result};

impl Tiered {
    /// Brings what the back has and the front lacks into the front, of the addresses with a prefix;
    /// gives how many blobs it was. Reads and writes go on meanwhile. It ends when `go_on` says so, when
    /// the front fails, and when it has a bound and is all but full, as nothing is to go for this.
    ///
    /// # Errors
    /// Those of the back.
    pub fn populate(
        &self,
        prefix: &[u8],
        go_on: &dyn Fn() -> bool,
        deadline: Deadline,
    ) -> Result<u64> {
        let mut brought = 0;
        let mut after: Option<Vec<u8>> = None;
        loop {
            let listed = self.back.list(prefix, after.as_deref(), LISTED, deadline)?;
            let Ok(known) = self.listed_in_front(prefix, after.as_deref(), &listed, deadline)
            else {
                return Ok(brought);
            };
            for address in listed
                .iter()
                .filter(|a| !known.contains(*a) || self.is_stale(a))
            {
                if !go_on() || self.is_all_but_full() || self.stale.read().all {
                    return Ok(brought);
                }
                let found = self.fetch(address, deadline)?;
                brought += u64::from(found.is_some());
            }
            if listed.len() < LISTED {
                return Ok(brought);
            }
            after = listed.into_iter().next_back();
        }
    }

    /// The addresses after `after` that the front has, up to the last one of those `listed`.
    fn listed_in_front(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        listed: &[Vec<u8>],
        deadline: Deadline,
    ) -> Result<HashSet<Vec<u8>>> {
        let mut known = HashSet::new();
        let mut after = after.map(<[u8]>::to_vec);
        while listed.last() > after.as_ref() {
            let list =
                |front: &dyn Backend, soon| front.list(prefix, after.as_deref(), LISTED, soon);
            let more = self.ask(Operation::List, prefix, deadline, list)?;
            let Some(last) = more.last().cloned() else {
                break;
            };
            after = Some(last);
            known.extend(more);
        }
        Ok(known)
    }

    fn is_all_but_full(&self) -> bool {
        let shelf = self.shelf.as_ref().map(|shelf| shelf.lock());
        shelf.is_some_and(|shelf| shelf.is_all_but_full())
    }
}
