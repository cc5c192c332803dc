//! The stores in this process's memory, by UUID.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use uuid::Uuid;

use super::{Location, StoreError};
use crate::backend::memory::Memory;

static STORES: Mutex<BTreeMap<Uuid, Place>> = Mutex::new(BTreeMap::new());

struct Place {
    backend: Arc<Memory>,
    connected: bool,
}

/// Marks a store in memory as connected while it lives.
#[derive(Debug)]
pub struct Guard(Uuid);

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(place) = STORES.lock().get_mut(&self.0) {
            place.connected = false;
        }
    }
}

/// Whether there is a store.
pub fn exists(id: Uuid) -> bool {
    STORES.lock().contains_key(&id)
}

/// Makes a store's place.
pub fn create(id: Uuid) -> Result<(Arc<Memory>, Guard), StoreError> {
    let mut stores = STORES.lock();
    if stores.contains_key(&id) {
        return Err(StoreError::Exists {
            location: Location::Memory(id).to_string(),
        });
    }
    let backend = Arc::new(Memory::new());
    stores.insert(
        id,
        Place {
            backend: Arc::clone(&backend),
            connected: true,
        },
    );
    Ok((backend, Guard(id)))
}

/// The place of a store that nobody else is connected to.
pub fn connect(id: Uuid) -> Result<(Arc<Memory>, Guard), StoreError> {
    let location = || Location::Memory(id).to_string();
    let mut stores = STORES.lock();
    let place = stores.get_mut(&id).ok_or_else(|| StoreError::Missing {
        location: location(),
    })?;
    if place.connected {
        return Err(StoreError::InUse {
            location: location(),
            pid: std::process::id().to_string(),
        });
    }
    place.connected = true;
    Ok((Arc::clone(&place.backend), Guard(id)))
}

/// Forgets a store.
pub fn delete(guard: Guard) {
    STORES.lock().remove(&guard.0);
}
