//! Types of names that were just freed: an editor that moves a file away and creates it anew, or moves
//! a new one there, means the same value.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::render::TypeName;
use super::types::Ino;
use super::typing;
use crate::tree::{Content, Entry, Node, Pager, Time};
use crate::value::Key;

/// How long a freed name remembers its type.
const LIFETIME: Duration = Duration::from_secs(60);
/// Most names remembered.
const MOST: usize = 4096;

/// What stood under a freed name.
#[derive(Clone, Debug)]
enum Freed {
    /// Something of this declared type.
    Typed(TypeName),
    /// Bytes in pages. Whether they were declared to be bytes takes reading them, which is done only
    /// if the name comes back: removing a file does not read it.
    Bytes(Entry),
}

/// Declared types by directory and name.
#[derive(Debug, Default)]
pub struct Hints(Mutex<HashMap<(Ino, Key), (Freed, Instant)>>);

impl Hints {
    /// A name was freed by a file. What cannot be read leaves nothing: that is for whoever reads it
    /// to hear.
    pub fn leave(&self, parent: Ino, key: &Key, entry: &Entry, pager: &Pager) {
        self.clear(parent, key);
        let declared = entry.attrs.as_ref().is_some_and(|a| a.declared.is_some());
        let freed = match &entry.node {
            Node::Bytes(c) if !declared && !matches!(c, Content::Inline(_)) => {
                if c.len() > typing::MAX_TEXT {
                    return;
                }
                Freed::Bytes(entry.clone())
            }
            _ => match typing::declared(entry, pager) {
                Ok(Some(declared)) => Freed::Typed(declared),
                Ok(None) | Err(_) => return,
            },
        };
        let mut hints = self.0.lock();
        if hints.len() >= MOST {
            return;
        }
        hints.insert((parent, key.clone()), (freed, Instant::now()));
    }

    /// A name was freed by something without a type: what it had been before counts no more.
    pub fn clear(&self, parent: Ino, key: &Key) {
        let mut hints = self.0.lock();
        if !hints.is_empty() {
            hints.remove(&(parent, key.clone()));
        }
    }

    /// Forgets what is too old. A hint may hold bytes, whose pages are not freed as long.
    pub fn expire(&self) {
        let mut hints = self.0.lock();
        hints.retain(|_, (_, since)| since.elapsed() < LIFETIME);
    }

    /// The type that a file newly created under a name inherits, once.
    pub fn take(&self, parent: Ino, key: &Key, pager: &Pager) -> Option<String> {
        let found = self.find(parent, key, pager);
        self.clear(parent, key);
        found.map(|t| t.as_str().to_owned())
    }

    /// The type that a name had until it was freed.
    pub fn find(&self, parent: Ino, key: &Key, pager: &Pager) -> Option<TypeName> {
        let (freed, since) = {
            let hints = self.0.lock();
            if hints.is_empty() {
                return None;
            }
            hints.get(&(parent, key.clone()))?.clone()
        };
        if since.elapsed() >= LIFETIME {
            return None;
        }
        match freed {
            Freed::Typed(declared) => Some(declared),
            Freed::Bytes(entry) => typing::declared(&entry, pager).ok().flatten(),
        }
    }
}

/// Whether something born then is so new that it may be there to be put in the place of something
/// else. An older file that is moved to a freed name is just moved.
pub fn is_new(birth: Time, now: Time) -> bool {
    u64::try_from(now.secs.saturating_sub(birth.secs)).map_or(true, |age| age < LIFETIME.as_secs())
}
