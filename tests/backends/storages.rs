//! The storages that the suite runs over.

use std::sync::Arc;
use std::time::Duration;

use konserve_fs::backend::embedded::{Access, Embedded};
use konserve_fs::backend::faulty::{Faults, Faulty};
use konserve_fs::backend::memory::Memory;
use konserve_fs::backend::{Backend, Deadline};
use tempfile::TempDir;

use crate::limited::Limited;

/// A storage, and the directory that it is in.
pub struct Storage {
    pub backend: Box<dyn Backend>,
    _dir: Option<TempDir>,
}

impl Storage {
    fn in_memory(backend: impl Backend + 'static) -> Self {
        Self {
            backend: Box::new(backend),
            _dir: None,
        }
    }
}

pub fn memory() -> Storage {
    Storage::in_memory(Memory::new())
}

pub fn embedded() -> Storage {
    let dir = tempfile::tempdir().unwrap();
    let backend = Box::new(create(&dir));
    Storage {
        backend,
        _dir: Some(dir),
    }
}

/// A storage without batches and without conditional deletes.
pub fn limited() -> Storage {
    Storage::in_memory(Limited::new(Memory::new()))
}

pub fn faulty_memory() -> Storage {
    Storage::in_memory(Faulty::new(Arc::new(Memory::new()), Faults::default()))
}

pub fn faulty_embedded() -> Storage {
    let dir = tempfile::tempdir().unwrap();
    let backend = Box::new(Faulty::new(Arc::new(create(&dir)), Faults::default()));
    Storage {
        backend,
        _dir: Some(dir),
    }
}

pub fn create(dir: &TempDir) -> Embedded {
    Embedded::create(dir.path(), Duration::ZERO).unwrap()
}

pub fn open(dir: &TempDir) -> Embedded {
    Embedded::open(dir.path(), Access::ReadWrite, Duration::from_secs(10)).unwrap()
}

/// A deadline that no case reaches.
pub fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(60))
}
