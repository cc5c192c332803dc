//! A kind of storage in a directory that is not one of this crate's.

use std::path::Path;
use std::sync::Arc;

use super::{Access, Backend, Lock, Result};

/// How the storages of a kind are made and found, so that a store can be kept in one.
///
/// ```text
/// DIR/kfs.lock     taken by the store before any of these is called
/// DIR/journal/     the store's own
/// DIR/SCHEME/      the storage: everything of it is in there, and it goes with the store
/// ```
///
/// What a storage must do is in the [module above](super), and a whole one in `examples/backend.rs`.
pub trait Kind: Send + Sync {
    /// Whether there is a storage in `root`, which is `DIR/SCHEME`. One whose creation was cut short is
    /// none.
    ///
    /// # Errors
    /// That it cannot be found out, as without permission.
    fn exists(&self, root: &Path) -> Result<bool>;

    /// Makes one in `root`. What a creation that was cut short has left there is to be removed or
    /// gone on with. The storage keeps the lock as long as it is open.
    ///
    /// # Errors
    /// A failure of the system.
    fn create(&self, root: &Path, lock: Lock) -> Result<Arc<dyn Backend>>;

    /// Opens the one in `root`. With [`Access::Read`] nothing is written. The storage keeps the lock as
    /// long as it is open.
    ///
    /// # Errors
    /// [`BackendError::NotFound`](super::BackendError::NotFound),
    /// [`BackendError::Damage`](super::BackendError::Damage), a failure of the system.
    fn open(&self, root: &Path, access: Access, lock: Lock) -> Result<Arc<dyn Backend>>;
}
