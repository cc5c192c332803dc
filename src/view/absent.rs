//! Names that the kernel was told are not there, so that it can be told when the API makes them.

use std::collections::HashSet;

use parking_lot::Mutex;
use rustc_hash::FxHashMap;

use super::types::{Ino, Invalidate};

/// Most names remembered.
const MOST: usize = 65_536;

/// Absent names by directory.
#[derive(Debug, Default)]
pub struct Absent(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    names: FxHashMap<Ino, HashSet<Box<[u8]>>>,
    count: usize,
}

impl Absent {
    /// The kernel is about to hear that a directory has no such name. If these become too many, it
    /// has to forget them.
    pub fn note(&self, dir: Ino, name: &[u8], kernel: Option<&dyn Invalidate>) {
        let Some(kernel) = kernel else { return };
        let too_many = {
            let mut state = self.0.lock();
            if !state.names.entry(dir).or_default().insert(name.into()) {
                return;
            }
            state.count += 1;
            if state.count <= MOST {
                return;
            }
            std::mem::take(&mut *state)
        };
        for (dir, names) in too_many.names {
            names.iter().for_each(|name| kernel.entry(dir, name));
        }
    }

    /// A directory's value was written: the kernel forgets which names were not there.
    pub fn tell(&self, dir: Ino, kernel: &dyn Invalidate) {
        let names = {
            let mut state = self.0.lock();
            let names = state.names.remove(&dir).unwrap_or_default();
            state.count -= names.len();
            names
        };
        names.iter().for_each(|name| kernel.entry(dir, name));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Told(Mutex<Vec<(Ino, Vec<u8>)>>);

    impl Invalidate for Told {
        fn inode(&self, _: Ino) {}
        fn entry(&self, parent: Ino, name: &[u8]) {
            self.0.lock().push((parent, name.to_vec()));
        }
    }

    #[test]
    fn names_are_told_once_and_never_too_many_are_kept() {
        let (absent, told) = (Absent::default(), Told::default());
        for name in [b"a", b"a", b"b"] {
            absent.note(7, name, Some(&told));
        }
        absent.tell(8, &told);
        assert!(told.0.lock().is_empty());
        absent.tell(7, &told);
        absent.tell(7, &told);
        assert_eq!(told.0.lock().len(), 2);
        for i in 0..=MOST {
            absent.note(9, i.to_string().as_bytes(), Some(&told));
        }
        assert_eq!(told.0.lock().len(), 2 + MOST + 1);
        assert_eq!(absent.0.lock().count, 0);
    }
}
