//! Types of names that were just freed: an editor that moves a file away and creates it anew means
//! the same value.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::types::Ino;
use crate::value::Key;

/// How long a freed name remembers its type.
const LIFETIME: Duration = Duration::from_secs(60);
/// Most names remembered.
const MOST: usize = 4096;

/// Declared types by directory and name.
#[derive(Debug, Default)]
pub struct Hints(Mutex<HashMap<(Ino, Key), (String, Instant)>>);

impl Hints {
    /// A name with a declared type was freed.
    pub fn leave(&self, parent: Ino, key: &Key, declared: String) {
        let mut hints = self.0.lock();
        if hints.len() >= MOST {
            hints.retain(|_, (_, since)| since.elapsed() < LIFETIME);
            if hints.len() >= MOST {
                return;
            }
        }
        hints.insert((parent, key.clone()), (declared, Instant::now()));
    }

    /// The type that a file newly created under a name inherits.
    pub fn take(&self, parent: Ino, key: &Key) -> Option<String> {
        let mut hints = self.0.lock();
        if hints.is_empty() {
            return None;
        }
        let (declared, since) = hints.remove(&(parent, key.clone()))?;
        (since.elapsed() < LIFETIME).then_some(declared)
    }
}
