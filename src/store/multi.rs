//! Several keys in one step, and writes on a condition.

use std::collections::BTreeMap;
use std::slice;
use std::sync::atomic::Ordering;

use super::hooks::ApiOp;
use super::meters::Call;
use super::{Store, StoreError, Tx, show_key, show_path};
use crate::tree::links_key;
use crate::value::{Key, KeyPath, Value};

/// How often keys are read again when one of them was written meanwhile.
const ATTEMPTS: usize = 1000;

/// What must be so for a write to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Nothing is at the path.
    Absent,
    /// The key has this version: [`Meta::seq`](super::Meta::seq).
    Version(u64),
}

impl std::fmt::Display for Condition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Absent => f.write_str("nothing"),
            Self::Version(seq) => write!(f, "version {seq}"),
        }
    }
}

impl Store {
    /// Whether several keys can be written in one step. Where they cannot, what would write more than
    /// one is [`StoreError::NotMultiKey`], and nothing is written.
    pub fn is_multi_key(&self) -> bool {
        self.inner.journal.is_some() || self.pager().backend().capabilities().atomic_batch
    }

    /// The values under those of the keys that are there, as they stood at one moment.
    ///
    /// # Errors
    /// Damage, or a failure of the backend; [`StoreError::Contention`].
    pub fn multi_get(&self, keys: &[Key]) -> Result<BTreeMap<Key, Value>, StoreError> {
        self.time(Call::Get, || {
            let mut tx = self.at_one_moment(keys)?;
            let mut found = BTreeMap::new();
            for key in keys {
                if let Some(value) = tx.value(slice::from_ref(key))? {
                    found.insert(key.clone(), value);
                }
            }
            Ok(found)
        })
    }

    /// Puts values under keys: all or none.
    ///
    /// # Errors
    /// [`StoreError::NotMultiKey`]; else as [`Store::assoc`]. The old values stay.
    pub fn multi_assoc<'v>(
        &self,
        values: impl IntoIterator<Item = (&'v Key, &'v Value)>,
    ) -> Result<(), StoreError> {
        let values: Vec<_> = values.into_iter().collect();
        self.transact(|tx| {
            tx.api_op = Some(ApiOp::MultiAssoc);
            for (key, value) in &values {
                tx.assoc_in(slice::from_ref(*key), value)?;
            }
            Ok(())
        })
    }

    /// Removes keys, all or none, and says which of them were there.
    ///
    /// # Errors
    /// [`StoreError::NotMultiKey`]; else as [`Store::dissoc`]. The old values stay.
    pub fn multi_dissoc(&self, keys: &[Key]) -> Result<BTreeMap<Key, bool>, StoreError> {
        self.transact(|tx| {
            tx.api_op = Some(ApiOp::MultiDissoc);
            let mut existed = BTreeMap::new();
            for key in keys {
                if existed.contains_key(key) {
                    continue;
                }
                let path = slice::from_ref(key);
                let there = tx.find_name(path)?.is_some();
                if there {
                    let now = tx.now;
                    tx.remove(KeyPath::from(path.to_vec()), Some(now))?;
                }
                existed.insert(key.clone(), there);
            }
            Ok(existed)
        })
    }

    /// Puts a value at a path if a condition holds.
    ///
    /// # Errors
    /// [`StoreError::Precondition`] if it does not; else as [`Store::assoc_in`]. The old value stays.
    pub fn assoc_if(
        &self,
        path: &[Key],
        value: &Value,
        condition: Condition,
    ) -> Result<(), StoreError> {
        self.transact(|tx| {
            tx.api_op = Some(ApiOp::AssocIn);
            tx.require_condition(path, condition)?;
            tx.assoc_in(path, value)
        })
    }

    /// Removes what is at a path if the key has a version.
    ///
    /// # Errors
    /// [`StoreError::Precondition`] if it has another; else as [`Store::dissoc_in`].
    pub fn dissoc_if(&self, path: &[Key], version: u64) -> Result<bool, StoreError> {
        self.transact(|tx| {
            tx.api_op = Some(ApiOp::Dissoc);
            tx.require_condition(path, Condition::Version(version))?;
            tx.dissoc_in(path)
        })
    }

    /// A transaction that has read these documents, all of which were current at one moment.
    fn at_one_moment(&self, keys: &[Key]) -> Result<Tx<'_>, StoreError> {
        self.check_open()?;
        for _ in 0..ATTEMPTS {
            let mut tx = Tx::new(self);
            if self.inner.links.load(Ordering::Acquire) {
                tx.draft(&links_key())?;
            }
            for key in keys {
                tx.draft(key)?;
            }
            let mut same = true;
            for (key, draft) in &tx.drafts {
                same = same && self.version(key)?.0 == draft.seq;
            }
            // A removal that a fold has written is forgotten: what is absent now and was before may
            // have been there in between.
            if same && self.inner.docs.generation() == tx.generation {
                return Ok(tx);
            }
        }
        Err(StoreError::Contention {
            key: keys.first().map_or_else(String::new, show_key),
            attempts: ATTEMPTS,
        })
    }
}

impl Tx<'_> {
    /// Fails unless a condition holds for what the transaction sees.
    ///
    /// # Errors
    /// [`StoreError::Precondition`]; as [`Tx::find`].
    pub fn require_condition(
        &mut self,
        path: &[Key],
        condition: Condition,
    ) -> Result<(), StoreError> {
        let key = path.first().ok_or(StoreError::EmptyPath)?;
        let found = match condition {
            Condition::Absent => match self.find(path)? {
                None => return Ok(()),
                Some(_) => "a value".to_owned(),
            },
            Condition::Version(seq) => match self.draft(key)? {
                draft if draft.absent => "nothing".to_owned(),
                draft if draft.seq == seq => return Ok(()),
                draft => format!("version {}", draft.seq),
            },
        };
        Err(StoreError::Precondition {
            path: show_path(path),
            expected: condition.to_string(),
            found,
        })
    }

    /// Removes what is at a path and says whether it was there, as [`Store::dissoc_in`].
    ///
    /// # Errors
    /// As [`Store::dissoc_in`].
    pub fn dissoc_in(&mut self, path: &[Key]) -> Result<bool, StoreError> {
        if path.is_empty() {
            return Err(StoreError::EmptyPath);
        }
        if self.find(path)?.is_none() {
            return Ok(false);
        }
        let now = self.now;
        self.remove(KeyPath::from(path.to_vec()), Some(now))?;
        Ok(true)
    }
}
