//! The storages that the suite runs over.

use std::sync::Arc;
use std::time::Duration;

use std::path::Path;

use konserve_fs::backend::behind::{Behind, Bound, Carrying};
use konserve_fs::backend::embedded::Embedded;
use konserve_fs::backend::encrypted::Encrypted;
use konserve_fs::backend::faulty::{Faults, Faulty};
use konserve_fs::backend::file::Files;
#[cfg(any(feature = "lmdb", feature = "rocksdb"))]
use konserve_fs::backend::library::Library;
use konserve_fs::backend::memory::Memory;
use konserve_fs::backend::metered::{Calls, Metered};
use konserve_fs::backend::overlay::Overlay;
use konserve_fs::backend::tiered::{Front, Tiered, Writes};
use konserve_fs::backend::{Access, Backend, Deadline, Lock, Precondition, Result};
use konserve_fs::crypt::{Cipher, Cost, KeyBlob, Padding, Secret};
use tempfile::TempDir;
use uuid::Uuid;

use crate::example::OneFile;
use crate::limited::Limited;
use crate::settled::Settled;

/// A storage, and the directory that it is in.
pub struct Storage {
    pub backend: Arc<dyn Backend>,
    _dir: Option<TempDir>,
}

impl Storage {
    fn in_memory(backend: impl Backend + 'static) -> Self {
        Self {
            backend: Arc::new(backend),
            _dir: None,
        }
    }
}

/// The storage of the example for those who make their own.
pub fn example() -> Storage {
    let dir = tempfile::tempdir().unwrap();
    let lock = Lock::acquire(dir.path(), Access::ReadWrite, Duration::ZERO).unwrap();
    let path = dir.path().join("blobs");
    let backend = Arc::new(OneFile::open(&path, Access::ReadWrite, lock).unwrap());
    Storage {
        backend,
        _dir: Some(dir),
    }
}

pub fn memory() -> Storage {
    Storage::in_memory(Memory::new())
}

pub fn embedded() -> Storage {
    Local::Embedded.storage()
}

pub fn file() -> Storage {
    Local::File.storage()
}

#[cfg(feature = "lmdb")]
pub fn lmdb() -> Storage {
    Local::Lmdb.storage()
}

#[cfg(feature = "rocksdb")]
pub fn rocksdb() -> Storage {
    Local::RocksDb.storage()
}

/// A file storage that has everything in files, and nothing in its log, when a write returns.
pub fn settled_file() -> Storage {
    let dir = tempfile::tempdir().unwrap();
    let backend = Arc::new(Settled(
        Files::create(dir.path(), Duration::ZERO).unwrap(),
        Files::settle,
    ));
    Storage {
        backend,
        _dir: Some(dir),
    }
}

/// A storage whose calls are counted.
pub fn metered_memory() -> Storage {
    let calls = Arc::new(Calls::default());
    Storage::in_memory(Metered::new(Arc::new(Memory::new()), calls))
}

/// A storage without batches and without conditional deletes.
pub fn limited() -> Storage {
    Storage::in_memory(Limited::new(Arc::new(Memory::new())))
}

/// A storage with another in front of it.
fn with_front(front: Arc<dyn Backend>, back: Storage, writes: Writes) -> Storage {
    let tiered = Tiered::open(front, back.backend, writes, Front::Unknown, soon()).unwrap();
    Storage {
        backend: Arc::new(tiered),
        _dir: back._dir,
    }
}

pub fn written_through() -> Storage {
    with_front(Arc::new(Memory::new()), embedded(), Writes::Through)
}

pub fn written_around() -> Storage {
    with_front(Arc::new(Memory::new()), file(), Writes::Around)
}

/// A front from which copies go all the time.
pub fn bounded_front() -> Storage {
    let (front, back) = (Arc::new(Memory::new()), Arc::new(Memory::new()));
    let tiered = Tiered::open(front, back, Writes::Through, Front::Unknown, soon()).unwrap();
    Storage::in_memory(tiered.bounded(100, soon()).unwrap())
}

/// A queue before a storage, carried when it is told to be.
fn queued(back: Arc<dyn Backend>) -> (Behind, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let when = Carrying::WhenTold;
    let queue = Behind::open(dir.path(), Uuid::nil(), back, Bound::default(), when);
    (queue.unwrap(), dir)
}

/// A queue of which nothing gets into the storage.
pub fn queued_memory() -> Storage {
    let (queue, dir) = queued(Arc::new(Memory::new()));
    Storage {
        backend: Arc::new(queue),
        _dir: Some(dir),
    }
}

/// One of which everything has, when a write returns.
pub fn carried_memory() -> Storage {
    let (queue, dir) = queued(Arc::new(Memory::new()));
    Storage {
        backend: Arc::new(Settled(queue, Behind::drain)),
        _dir: Some(dir),
    }
}

/// The same before a storage that can do less.
pub fn carried_limited() -> Storage {
    let (queue, dir) = queued(Arc::new(Limited::new(Arc::new(Memory::new()))));
    Storage {
        backend: Arc::new(Settled(queue, Behind::drain)),
        _dir: Some(dir),
    }
}

/// A queue that is carried when it is time to, with copies before it.
pub fn written_behind() -> Storage {
    let dir = tempfile::tempdir().unwrap();
    let (back, when) = (Arc::new(Memory::new()), Carrying::InBackground);
    let queue = Behind::open(dir.path(), Uuid::nil(), back, Bound::default(), when).unwrap();
    let back = Storage {
        backend: Arc::new(queue),
        _dir: Some(dir),
    };
    with_front(Arc::new(Memory::new()), back, Writes::Through)
}

/// A front of which every third call fails, in one way or another.
pub fn bad_front() -> Storage {
    let faults = Faults {
        seed: 7,
        error: 100,
        lost_reply: 100,
        flip: 100,
        truncate: 50,
        ..Faults::default()
    };
    let front = Faulty::new(Arc::new(Memory::new()), faults);
    let back = Storage::in_memory(Memory::new());
    // What it has is known to be nothing.
    let tiered = Tiered::open(
        Arc::new(front),
        back.backend,
        Writes::Through,
        Front::Coherent,
        soon(),
    );
    Storage::in_memory(tiered.unwrap())
}

/// A storage over another one.
fn over(front: Storage, back: Storage) -> Storage {
    Storage {
        backend: Arc::new(Overlay::new(front.backend, back.backend)),
        _dir: front._dir,
    }
}

pub fn laid_over_memory() -> Storage {
    over(embedded(), memory())
}

/// One that can do less.
pub fn limited_over_memory() -> Storage {
    over(limited(), memory())
}

/// A storage over one that has all that the cases write, and more, of which it says that it is gone.
pub fn laid_over_full() -> Storage {
    let back = Arc::new(Memory::new());
    let names = [b"a", b"b", b"c", b"k", b"p", b"x"];
    for name in names {
        back.put(name, b"old", Precondition::Any, soon()).unwrap();
    }
    for n in 0..200_u8 {
        back.put(&[b'p', n], b"old", Precondition::Any, soon())
            .unwrap();
        back.put(&[n], b"old", Precondition::Any, soon()).unwrap();
    }
    let overlay = Overlay::new(Arc::new(Memory::new()), Arc::clone(&back) as _);
    for address in back.list(b"", None, 1000, soon()).unwrap() {
        assert!(overlay.delete(&address, Precondition::Any, soon()).unwrap());
    }
    Storage::in_memory(overlay)
}

/// Keys of a store, from a passphrase that nobody keeps.
pub fn cipher(padding: Padding) -> Arc<Cipher> {
    let secret = Secret::passphrase("of this test").unwrap();
    let made = KeyBlob::create(Uuid::nil(), &secret, (Cost::LEAST, 0), padding);
    Arc::new(made.unwrap().1)
}

/// A storage of which everything is encrypted.
fn encrypted(below: Storage, padding: Padding) -> Storage {
    Storage {
        backend: Arc::new(Encrypted::new(below.backend, cipher(padding))),
        _dir: below._dir,
    }
}

pub fn encrypted_memory() -> Storage {
    encrypted(memory(), Padding::None)
}

pub fn encrypted_embedded() -> Storage {
    encrypted(embedded(), Padding::None)
}

pub fn encrypted_limited() -> Storage {
    encrypted(limited(), Padding::None)
}

pub fn encrypted_queue() -> Storage {
    encrypted(written_behind(), Padding::None)
}

pub fn encrypted_layers() -> Storage {
    encrypted(laid_over_memory(), Padding::None)
}

pub fn padded_memory() -> Storage {
    encrypted(memory(), Padding::Padme)
}

pub fn tiered_limited() -> Storage {
    with_front(Arc::new(Memory::new()), limited(), Writes::Through)
}

pub fn faulty_memory() -> Storage {
    Storage::in_memory(Faulty::new(Arc::new(Memory::new()), Faults::default()))
}

pub fn faulty_embedded() -> Storage {
    Local::Embedded.faulty()
}

#[cfg(feature = "lmdb")]
pub fn faulty_lmdb() -> Storage {
    Local::Lmdb.faulty()
}

pub fn faulty_file() -> Storage {
    Local::File.faulty()
}

/// The storages in a directory, which one process at a time holds.
#[derive(Clone, Copy, Debug)]
pub enum Local {
    Embedded,
    File,
    #[cfg(feature = "lmdb")]
    Lmdb,
    #[cfg(feature = "rocksdb")]
    RocksDb,
}

impl Local {
    const COUNT: usize = 2 + cfg!(feature = "lmdb") as usize + cfg!(feature = "rocksdb") as usize;

    pub const ALL: [Self; Self::COUNT] = [
        Self::Embedded,
        Self::File,
        #[cfg(feature = "lmdb")]
        Self::Lmdb,
        #[cfg(feature = "rocksdb")]
        Self::RocksDb,
    ];

    pub fn of_name(name: &str) -> Self {
        Self::ALL
            .into_iter()
            .find(|local| local.name() == name)
            .unwrap()
    }

    pub fn name(self) -> String {
        format!("{self:?}")
    }

    pub fn create(self, dir: &TempDir) -> Arc<dyn Backend> {
        self.try_create(dir.path()).unwrap()
    }

    pub fn try_create(self, dir: &Path) -> Result<Arc<dyn Backend>> {
        let wait = Duration::ZERO;
        Ok(match self {
            Self::Embedded => Arc::new(Embedded::create(dir, wait)?),
            Self::File => Arc::new(Files::create(dir, wait)?),
            #[cfg(feature = "lmdb")]
            Self::Lmdb => Library::Lmdb.create(dir, wait)?,
            #[cfg(feature = "rocksdb")]
            Self::RocksDb => Library::RocksDb.create(dir, wait)?,
        })
    }

    pub fn open(self, dir: &TempDir) -> Arc<dyn Backend> {
        let wait = Duration::from_secs(10);
        self.try_open(dir.path(), Access::ReadWrite, wait).unwrap()
    }

    pub fn try_open(self, dir: &Path, access: Access, wait: Duration) -> Result<Arc<dyn Backend>> {
        Ok(match self {
            Self::Embedded => Arc::new(Embedded::open(dir, access, wait)?),
            Self::File => Arc::new(Files::open(dir, access, wait)?),
            #[cfg(feature = "lmdb")]
            Self::Lmdb => Library::Lmdb.open(dir, access, wait)?,
            #[cfg(feature = "rocksdb")]
            Self::RocksDb => Library::RocksDb.open(dir, access, wait)?,
        })
    }

    pub fn exists(self, dir: &TempDir) -> bool {
        match self {
            Self::Embedded => Embedded::exists(dir.path()),
            Self::File => Files::exists(dir.path()),
            #[cfg(feature = "lmdb")]
            Self::Lmdb => Library::Lmdb.exists(dir.path()),
            #[cfg(feature = "rocksdb")]
            Self::RocksDb => Library::RocksDb.exists(dir.path()),
        }
        .unwrap()
    }

    fn storage(self) -> Storage {
        let dir = tempfile::tempdir().unwrap();
        let backend = self.create(&dir);
        Storage {
            backend,
            _dir: Some(dir),
        }
    }

    fn faulty(self) -> Storage {
        let dir = tempfile::tempdir().unwrap();
        let backend = Arc::new(Faulty::new(self.create(&dir), Faults::default()));
        Storage {
            backend,
            _dir: Some(dir),
        }
    }
}

pub fn create(dir: &TempDir) -> Embedded {
    Embedded::create(dir.path(), Duration::ZERO).unwrap()
}

/// A deadline that no case reaches.
pub fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(60))
}

pub fn open(dir: &TempDir) -> Embedded {
    Embedded::open(dir.path(), Access::ReadWrite, Duration::from_secs(10)).unwrap()
}
