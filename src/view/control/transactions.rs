//! Transactions from a shell: a private copy of the root directory in `.kfs/tx`.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};

use super::dirs::{failed, not_found};
use super::roots::Branch;
use super::{Namespace, TRANSACTIONS};
use crate::snapshot::{self, Conflict, Transaction};
use crate::view::types::Attr;
use crate::view::{Result, View, ViewError};

/// Each keeps a thread and what the store was when it began: not more than this at once.
const MOST: usize = 100;

/// Those under way, by name.
#[derive(Debug, Default)]
pub(super) struct Transactions(Mutex<BTreeMap<String, Arc<Running>>>);

#[derive(Debug)]
struct Running {
    transaction: Transaction,
    branch: Arc<Branch>,
    /// Why it could not be committed the last time.
    conflicts: Mutex<Vec<Conflict>>,
    /// Held by who ends it, so that it ends once.
    end: Mutex<()>,
}

impl Running {
    /// For ending it, unless somebody has ended it meanwhile.
    fn to_end(&self, name: &[u8]) -> Result<MutexGuard<'_, ()>> {
        let end = self.end.lock();
        if self.branch.has_ended() {
            return Err(not_found(TRANSACTIONS, name));
        }
        Ok(end)
    }
}

impl Transactions {
    fn get(&self, name: &[u8]) -> Result<Arc<Running>> {
        let missing = || not_found(TRANSACTIONS, name);
        let text = std::str::from_utf8(name).map_err(|_| missing())?;
        self.0.lock().get(text).cloned().ok_or_else(missing)
    }

    /// Numbers and names, in the order in which they began.
    pub fn list(&self) -> Vec<(u64, String)> {
        let running = self.0.lock();
        let listed = running.iter().filter_map(|(name, running)| {
            let epoch = running.transaction.store().epoch()?;
            Some((epoch, name.clone()))
        });
        let mut listed: Vec<_> = listed.collect();
        listed.sort_unstable();
        listed
    }
}

impl Namespace {
    pub(super) fn transaction(&self, name: &[u8]) -> Result<Arc<Branch>> {
        Ok(Arc::clone(&self.transactions.get(name)?.branch))
    }

    /// Begins a transaction.
    pub(super) fn begin(&self, name: &[u8]) -> Result<Attr> {
        self.live.writable()?;
        let invalid = || ViewError::invalid("a transaction's name", "it is not UTF-8");
        let text = std::str::from_utf8(name).map_err(|_| invalid())?;
        snapshot::check_name(text).map_err(|e| failed(text, e))?;
        // What programs have written is in it, as it would be in their own next look.
        self.settle_live();
        let mut running = self.transactions.0.lock();
        if running.contains_key(text) {
            return Err(ViewError::exists(TRANSACTIONS, name));
        }
        if running.len() >= MOST {
            return Err(ViewError::TooManyOpen { open: MOST as u64 });
        }
        let transaction = Transaction::begin(self.live.store()).map_err(|e| failed(text, e))?;
        let store = transaction.store();
        let epoch = store.epoch().unwrap_or_default();
        let view = View::new(store.clone(), self.live.options)?;
        let branch = self.roots.begin(view, epoch)?;
        let begun = Running {
            transaction,
            branch,
            conflicts: Mutex::default(),
            end: Mutex::default(),
        };
        running.insert(text.to_owned(), Arc::new(begun));
        drop(running);
        self.lookup_control(TRANSACTIONS, name)
    }

    /// Gives a transaction up.
    pub(super) fn give_up(&self, name: &[u8]) -> Result<()> {
        let running = self.transactions.get(name)?;
        let _alone = running.to_end(name)?;
        let text = String::from_utf8_lossy(name);
        running.transaction.abort().map_err(|e| failed(&text, e))?;
        self.ended(&text, &running);
        Ok(())
    }

    /// Brings a transaction into the live view.
    pub(super) fn commit(&self, name: &[u8]) -> Result<()> {
        self.live.writable()?;
        let running = self.transactions.get(name)?;
        let _alone = running.to_end(name)?;
        let text = String::from_utf8_lossy(name);
        // What programs have written and not closed belongs to it; the same for the live files, so
        // that what is written there counts as a change.
        running.branch.view.commit_all()?;
        self.settle_live();
        let found = running.transaction.commit().map_err(|e| failed(&text, e))?;
        if let Some(first) = found.first() {
            let why = format!("{first}; user.kfs.error names every such entry");
            *running.conflicts.lock() = found;
            let what = format!("transaction {text}");
            *self.live.last_error.lock() = Some(format!("{what}: {why}"));
            return Err(ViewError::Busy {
                what: what.into(),
                why: why.into(),
            });
        }
        self.ended(&text, &running);
        Ok(())
    }

    fn settle_live(&self) {
        if let Err(error) = self.live.commit_all() {
            tracing::debug!(%error, "a file waits for its next commit");
        }
    }

    fn ended(&self, name: &str, running: &Running) {
        self.transactions.0.lock().remove(name);
        let known = self.roots.end(&running.branch);
        if let Some(kernel) = self.live.kernel.get() {
            known.into_iter().for_each(|ino| kernel.inode(ino));
            kernel.entry(TRANSACTIONS, name.as_bytes());
        }
    }

    /// What kept a transaction from being committed, a line for each entry.
    pub(super) fn conflicts(&self, branch: &Arc<Branch>) -> Option<Vec<u8>> {
        let running = self.transactions.0.lock();
        let running = running.values().find(|r| Arc::ptr_eq(&r.branch, branch))?;
        let conflicts = running.conflicts.lock();
        let lines = conflicts.iter().map(|conflict| format!("{conflict}\n"));
        Some(lines.collect::<String>().into_bytes()).filter(|lines| !lines.is_empty())
    }
}
