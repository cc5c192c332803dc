//! Append logs: vectors that grow at the end.
//!
//! The elements are those of the vector, so they go with it, whoever removes it and however.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::slice;

use super::hooks::ApiOp;
use super::{Store, StoreError, show_key};
use crate::tree::{Map, Node, convert, edit};
use crate::value::{Key, Value};

/// Elements read in one go.
const AHEAD: usize = 256;

impl Store {
    /// Appends an element to the log under a key, in one step, and gives its index. If there is nothing
    /// under the key, a log is made.
    ///
    /// # Errors
    /// [`StoreError::NotALog`]; else as [`Store::assoc_in`].
    pub fn append(&self, key: &Key, element: &Value) -> Result<u64, StoreError> {
        self.transact(|tx| {
            tx.api_op = Some(ApiOp::Append);
            let Some(found) = tx.find(slice::from_ref(key))? else {
                let log = Value::Vector(vec![element.clone()]);
                tx.assoc_in(slice::from_ref(key), &log)?;
                return Ok(0);
            };
            let elements = elements(key, &found.entry.node)?;
            let len = edit::vector_len(elements, tx.pager());
            let len = len.map_err(|e| StoreError::tree(key, e))?;
            tx.assoc_in(&[key.clone(), Key::index(len)], element)?;
            Ok(len)
        })
    }

    /// The elements of the log under a key as they are now, as a stream; of none if there is nothing.
    ///
    /// # Errors
    /// [`StoreError::NotALog`]; damage; a failure of the backend.
    pub fn log(&self, key: &Key) -> Result<Log, StoreError> {
        let elements = match self.find(slice::from_ref(key))? {
            Some(found) => elements(key, &found.entry.node)?.clone(),
            None => Map::new(),
        };
        let len = edit::vector_len(&elements, self.pager());
        Ok(Log {
            store: self.clone(),
            key: key.clone(),
            elements,
            len: len.map_err(|e| StoreError::tree(key, e))?,
            next: 0,
            ready: VecDeque::new(),
        })
    }

    /// Reduces the elements of the log under a key, from the first one on, until `f` breaks.
    ///
    /// # Errors
    /// As [`Store::log`].
    pub fn reduce_log<T>(
        &self,
        key: &Key,
        init: T,
        mut f: impl FnMut(T, Value) -> ControlFlow<T, T>,
    ) -> Result<T, StoreError> {
        let mut reduced = init;
        for element in self.log(key)? {
            match f(reduced, element?) {
                ControlFlow::Continue(next) => reduced = next,
                ControlFlow::Break(end) => return Ok(end),
            }
        }
        Ok(reduced)
    }
}

fn elements<'n>(key: &Key, node: &'n Node) -> Result<&'n Map, StoreError> {
    match node {
        Node::Vector(elements) => Ok(elements),
        node => Err(StoreError::NotALog {
            key: show_key(key),
            found: super::binary::kind_name(node),
        }),
    }
}

/// The elements of a log. See [`Store::log`].
#[derive(Debug)]
pub struct Log {
    store: Store,
    key: Key,
    elements: Map,
    len: u64,
    next: u64,
    ready: VecDeque<(u64, Value)>,
}

impl Log {
    fn read(&mut self) -> Result<(), StoreError> {
        let after = self.next.checked_sub(1).map(Key::index);
        let pager = self.store.pager();
        let fail = |e| StoreError::tree(&self.key, e);
        let found = self.elements.page_after(after.as_ref(), AHEAD, pager);
        for (key, entry) in found.map_err(fail)? {
            // What is no element comes after all of them.
            let Some(index) = key.as_index() else { break };
            let value = self.store.with_files(&self.key, &|file| {
                convert::to_value_with(&entry.node, pager, file)
            });
            self.ready.push_back((index, value?));
        }
        Ok(())
    }
}

impl Iterator for Log {
    type Item = Result<Value, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.next >= self.len {
            return None;
        }
        if self.ready.is_empty()
            && let Err(e) = self.read()
        {
            self.next = self.len;
            return Some(Err(e));
        }
        let at = self.next;
        self.next += 1;
        match self.ready.front() {
            Some((index, _)) if *index == at => self.ready.pop_front().map(|(_, value)| Ok(value)),
            // A hole.
            _ => Some(Ok(Value::Nil)),
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = usize::try_from(self.len - self.next).ok();
        (left.unwrap_or(usize::MAX), left)
    }
}
