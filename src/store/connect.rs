//! Connecting to a store: its storage, what stands before that, and what has to be done first.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use super::front::behind::{Mark, Queue};
use super::front::overlay::Layer;
use super::front::{Copies, Done, FrontOptions, Tiers, refuse, take_mark};
use super::header::Header;
use super::{Custom, Location, Store, StoreError, registry, storage};
use crate::backend::{Access, Backend, Deadline};
use crate::codec::Serializers;
use crate::crypt::Secret;
use crate::journal::Recovery;
use crate::tree::PATIENCE;

/// How a store is connected.
#[derive(Clone, Debug)]
pub struct ConnectOptions {
    /// The UUID it must have.
    pub id: Option<Uuid>,
    /// What opens it, if it is encrypted; a store that is not is refused with it.
    pub key: Option<Secret>,
    /// Whether writes are refused.
    pub read_only: bool,
    /// How long to wait for a holder that is shutting down.
    pub wait: Duration,
    /// Bytes of decoded pages and documents to keep in memory; 32 MiB if not given.
    pub cache: Option<u64>,
    /// A front before the storage. Where nothing is written, it is asked only for what waits in it, or was
    /// written over the store ([`Done::OnlyInFront`]).
    pub front: Option<FrontOptions>,
    /// Where nothing is written: that the store is wanted as it is without what waits in a front.
    pub without_front: bool,
    /// The serializers that this program knows.
    pub serializers: Serializers,
}

impl Default for ConnectOptions {
    fn default() -> Self {
        Self {
            id: None,
            key: None,
            read_only: false,
            wait: Duration::ZERO,
            cache: None,
            front: None,
            without_front: false,
            serializers: Serializers::default(),
        }
    }
}

/// What came of connecting.
enum Opened {
    /// The store.
    Asked(Store),
    /// The store as it was left, which is not as it is asked for: what waits in its journal or its
    /// queue waits in a place where it is not to wait any more.
    AsLeft(Store),
}

impl Store {
    /// Connects to a store.
    ///
    /// # Errors
    /// [`StoreError::Missing`], [`StoreError::NotAStore`], [`StoreError::Format`], [`StoreError::Setting`],
    /// [`StoreError::WrongId`], [`StoreError::InUse`], [`StoreError::Front`], [`StoreError::Behind`],
    /// [`StoreError::KeyNeeded`], [`StoreError::NotEncrypted`], [`StoreError::Key`], or damage that was
    /// found.
    pub fn connect(location: &Location, options: &ConnectOptions) -> Result<Self, StoreError> {
        let left = match Self::open(location, options)? {
            Opened::Asked(store) => return Ok(store),
            Opened::AsLeft(store) => store,
        };
        left.release()?;
        match Self::open(location, options)? {
            Opened::Asked(store) => Ok(store),
            // It could not be brought into the store.
            Opened::AsLeft(_) => Err(Mark::refusal_of(location)?),
        }
    }

    fn open(location: &Location, options: &ConnectOptions) -> Result<Opened, StoreError> {
        if let Some(front) = &options.front
            && front.done == Done::OnlyInFront
        {
            return Self::open_over(location, front, options).map(Opened::Asked);
        }
        let (backend, guard): (Arc<dyn Backend>, _) = match location {
            Location::Memory(id) => {
                let (backend, guard) = registry::connect(*id)?;
                (backend, Some(guard))
            }
            Location::Embedded(dir)
            | Location::File(dir)
            | Location::Lmdb(dir)
            | Location::RocksDb(dir)
            | Location::Custom(Custom { dir, .. }) => {
                let access = if options.read_only {
                    Access::Read
                } else {
                    Access::ReadWrite
                };
                (storage::open(location, dir, access, options.wait)?, None)
            }
        };
        let Some(dir) = location.directory() else {
            let tiers = Tiers::plain(location, backend).unlocked(location, options)?;
            let header = find_header(location, &tiers, options.id)?;
            let store = Self::start_over(location, tiers, guard, &header, options)?;
            return Ok(Opened::Asked(store));
        };
        if options.read_only {
            let queue = left(location, dir, options, &backend)?;
            let tiers = Tiers::waiting(location, backend, queue.as_ref());
            let tiers = tiers.unlocked(location, options)?;
            let header = find_header(location, &tiers, options.id)?;
            let store = Self::start_over(location, tiers, guard, &header, options)?;
            return Ok(Opened::Asked(store));
        }
        // Nobody else writes what waits in the front from here on.
        let copies = options.front.as_ref().map(Copies::take).transpose()?;
        let queue = left(location, dir, options, &backend)?;
        let tiers = Tiers::waiting(location, backend, queue.as_ref());
        let tiers = tiers.unlocked(location, options)?;
        let header = find_header(location, &tiers, options.id)?;
        let mark = take_mark(dir)?;
        let (Some(front), Some(copies)) = (&options.front, copies) else {
            let store = Self::start_over(location, tiers, guard, &header, options)?;
            return Ok(Opened::Asked(store));
        };
        let as_left = match (front.done, &queue) {
            (Done::InStore, Some(_)) => true,
            (Done::InFront, None) => waits_in_journal(&tiers, &header)?,
            _ => false,
        };
        let (tiers, queue) = match queue {
            None if front.done == Done::InFront && !as_left => {
                let queue = Queue::attach(&front.dir, dir, Arc::clone(&tiers.backend))?;
                let cipher = tiers.cipher;
                let tiers = Tiers::waiting(location, tiers.backend, Some(&queue));
                (Tiers { cipher, ..tiers }, Some(queue))
            }
            queue => (tiers, queue),
        };
        let tiers = tiers.with_front(copies, front, (dir, mark), queue)?;
        let store = Self::start_over(location, tiers, guard, &header, options)?;
        Ok(if as_left {
            Opened::AsLeft(store)
        } else {
            Opened::Asked(store)
        })
    }

    /// Connects to a store to which nothing is written, but to what lies over it.
    fn open_over(
        location: &Location,
        front: &FrontOptions,
        options: &ConnectOptions,
    ) -> Result<Self, StoreError> {
        let Some(dir) = location.directory() else {
            let reason = "a store in memory cannot be laid over";
            return Err(refuse(&front.dir, reason));
        };
        let backend = storage::open(location, dir, Access::Read, options.wait)?;
        if let Some(mark) = Mark::read(dir)? {
            return Err(mark.refusal(location));
        }
        let back = Tiers::plain(location, backend).unlocked(location, options)?;
        let header = find_header(location, &back, options.id)?;
        let tiers = Layer::open(front, (dir, back, &header), options)?;
        let header = find_header(location, &tiers, options.id)?;
        Self::start_over(location, tiers, None, &header, options)
    }
}

/// The queue in which something waits for the store since it was used last, if there is one.
fn left(
    location: &Location,
    dir: &Path,
    options: &ConnectOptions,
    back: &Arc<dyn Backend>,
) -> Result<Option<Queue>, StoreError> {
    let Some(mark) = Mark::read(dir)? else {
        return Ok(None);
    };
    match &options.front {
        Some(front) => {
            let (place, back) = ((location, dir), Arc::clone(back));
            Queue::resume(place, &mark, &front.dir, back, options.read_only).map(Some)
        }
        None if options.read_only && options.without_front => Ok(None),
        None => Err(mark.refusal(location)),
    }
}

/// The header of the store, which has the UUID that is expected.
fn find_header(
    location: &Location,
    tiers: &Tiers,
    expected: Option<Uuid>,
) -> Result<Header, StoreError> {
    let found = Header::read(&*tiers.readable(), location, Deadline::after(PATIENCE))?;
    let header = found.ok_or_else(|| StoreError::NotAStore {
        location: location.to_string(),
        reason: "it has no header".to_owned(),
    })?;
    if let Some(expected) = expected.filter(|expected| *expected != header.id) {
        return Err(StoreError::WrongId {
            location: location.to_string(),
            found: header.id,
            expected,
        });
    }
    Ok(header)
}

/// Whether the journal has something that is not folded.
fn waits_in_journal(tiers: &Tiers, header: &Header) -> Result<bool, StoreError> {
    let Some(journal) = &tiers.journal else {
        return Ok(false);
    };
    let mut found = Recovery::read(journal, &header.id, header.folded)?;
    Ok(!found.take_records().is_empty())
}
