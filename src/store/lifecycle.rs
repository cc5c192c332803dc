//! Creating, connecting, releasing and deleting stores, with konserve's strict rules: `create` fails
//! if there is a store, `connect` if there is none.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex, RwLock};
use uuid::Uuid;

use super::commit::{misses_page, read_payload};
use super::connect::ConnectOptions;
use super::docs::{Docs, Slot};
use super::front::Tiers;
use super::header::{FORMAT, HEADER, Header, unknown};
use super::keys::{self, Encryption};
use super::meters::Meters;
use super::pages::PageWrites;
use super::record::Doc;
use super::{
    CommitState, Custom, Inner, Location, Store, StoreError, clock, fold, registry, show_key,
    storage,
};
use crate::backend::encrypted::Encrypted;
use crate::backend::metered::{Calls, Metered};
use crate::backend::{Access, Backend, Deadline, Precondition};
use crate::codec::{Serializers, Settings};
use crate::crypt::{Cipher, slots};
use crate::journal::{JournalRecord, Recovery};
use crate::tree::{
    Applier, Entry, Forest, PATIENCE, Pager, Presence, Time, TreeError, snapshots_key,
};
use crate::value::Key;

/// The journal within the directory of a store.
pub(super) const JOURNAL: &str = "journal";
/// Bytes of decoded pages and documents kept, unless told otherwise.
const CACHE: u64 = 32 << 20;

/// How a store is made.
#[derive(Clone, Debug, Default)]
pub struct CreateOptions {
    /// Its UUID; a new one if not given.
    pub id: Option<Uuid>,
    /// How its blobs are written.
    pub settings: Settings,
    /// The serializers that this program knows.
    pub serializers: Serializers,
    /// That it is encrypted, and how.
    pub encryption: Option<Encryption>,
    /// That it is to receive the snapshots of another store.
    pub replica: Option<Replica>,
}

/// What a store has in common with the one whose snapshots it receives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replica {
    /// The UUID that keys the addresses of its pages.
    pub page_id: Uuid,
    /// When it was made.
    pub created: Time,
}

/// Ends the folding thread when the last handle goes.
#[derive(Debug)]
pub struct Life(Arc<Inner>);

impl Drop for Life {
    fn drop(&mut self) {
        let store = Store {
            inner: Arc::clone(&self.0),
            _life: None,
            synced: false,
            at: None,
            fork: None,
        };
        store.stop_folding();
        // Without a journal, what is not in records would be lost with this handle.
        if self.0.journal.is_none()
            && !self.0.read_only
            && !self.0.released.load(Ordering::Acquire)
            && let Err(e) = store.settle()
        {
            tracing::warn!(error = %e, "what was not folded is lost");
        }
    }
}

impl Store {
    /// Creates a store.
    ///
    /// # Errors
    /// [`StoreError::Exists`] if there is one; [`StoreError::NotAStore`] if there is something else.
    pub fn create(location: &Location, options: &CreateOptions) -> Result<Self, StoreError> {
        let now = Time::now();
        let serializer = &options.settings.serializer;
        if options.serializers.named(serializer).is_none() {
            return Err(unknown(location, "serializer", serializer));
        }
        let (backend, guard, id): (Arc<dyn Backend>, _, _) = match location {
            Location::Memory(id) => {
                if let Some(expected) = options.id.filter(|e| e != id) {
                    return Err(StoreError::WrongId {
                        location: location.to_string(),
                        found: *id,
                        expected,
                    });
                }
                let (backend, guard) = registry::create(*id)?;
                (backend, Some(guard), *id)
            }
            Location::Embedded(dir)
            | Location::File(dir)
            | Location::Lmdb(dir)
            | Location::RocksDb(dir)
            | Location::Custom(Custom { dir, .. }) => (
                storage::create(location, dir)?,
                None,
                options.id.unwrap_or_else(Uuid::new_v4),
            ),
        };
        let deadline = Deadline::after(PATIENCE);
        let cipher = match &options.encryption {
            Some(encryption) => Some(keys::create(&*backend, location, id, encryption)?),
            None => {
                // Of a creation that was cut short.
                backend.delete(slots::ADDRESS, Precondition::Any, deadline)?;
                None
            }
        };
        let tiers = Tiers {
            cipher,
            ..Tiers::plain(location, backend)
        };
        // The addresses of pages are hashes with this: who does not know it cannot tell from them
        // whether the store has some content.
        let own = tiers.cipher.as_ref().map_or(id, |cipher| cipher.page_id());
        let header = Header {
            id,
            pages: options.replica.map_or(own, |replica| replica.page_id),
            format: FORMAT,
            created: options.replica.map_or(now, |replica| replica.created),
            settings: options.settings.clone(),
            folded: 0,
            clock: now,
        };
        let storage = tiers.readable();
        storage.put(HEADER, &header.seal()?, Precondition::Absent, deadline)?;
        storage.sync(deadline)?;
        let options = ConnectOptions {
            serializers: options.serializers.clone(),
            ..ConnectOptions::default()
        };
        Self::start_over(location, tiers, guard, &header, &options)
    }

    /// Whether there is a store. Where that cannot be found out, as without permission, the answer is
    /// no, and [`Store::connect`] says why.
    pub fn exists(location: &Location) -> bool {
        match location {
            Location::Memory(id) => registry::exists(*id),
            Location::Embedded(dir)
            | Location::File(dir)
            | Location::Lmdb(dir)
            | Location::RocksDb(dir)
            | Location::Custom(Custom { dir, .. }) => {
                storage::exists(location, dir).unwrap_or(false)
            }
        }
    }

    /// Deletes a store that nobody is connected to; `id` must be its UUID.
    ///
    /// # Errors
    /// As [`Store::connect`]; nothing but what belongs to the store is removed.
    pub fn delete(location: &Location, id: Uuid) -> Result<(), StoreError> {
        let connected = Self::connect(
            location,
            &ConnectOptions {
                id: Some(id),
                ..ConnectOptions::default()
            },
        );
        let store = match connected {
            Err(StoreError::KeyNeeded { .. }) => return Self::delete_unopened(location, id),
            connected => connected?,
        };
        store.inner.released.store(true, Ordering::Release);
        store.stop_folding();
        match location {
            Location::Memory(_) => {
                let guard = store.inner.guard.lock().take();
                if let Some(guard) = guard {
                    registry::delete(guard);
                }
                Ok(())
            }
            Location::Embedded(dir)
            | Location::File(dir)
            | Location::Lmdb(dir)
            | Location::RocksDb(dir)
            | Location::Custom(Custom { dir, .. }) => {
                drop(store);
                storage::remove(location, dir, JOURNAL)
            }
        }
    }

    /// Deletes an encrypted store, for which nobody needs its key.
    fn delete_unopened(location: &Location, id: Uuid) -> Result<(), StoreError> {
        let held = keys::hold(location, Access::ReadWrite, Duration::ZERO)?;
        if held.id != id {
            return Err(StoreError::WrongId {
                location: location.to_string(),
                found: held.id,
                expected: id,
            });
        }
        match (held.guard, location.directory()) {
            (Some(guard), _) => registry::delete(guard),
            (None, Some(dir)) => return storage::remove(location, dir, JOURNAL),
            (None, None) => {}
        }
        Ok(())
    }

    /// Writes everything to disk and ends the use of the store through all handles. The store is
    /// free for others when the last handle is gone.
    ///
    /// # Errors
    /// What kept it from being written; it is then still in the journal.
    pub fn release(self) -> Result<(), StoreError> {
        if self.inner.released.load(Ordering::Acquire) {
            return Err(StoreError::Released);
        }
        if self.at.is_some() {
            return Ok(());
        }
        self.remove_write_hooks();
        self.stop_folding();
        let done = if self.inner.read_only {
            Ok(())
        } else {
            self.settle().and_then(|()| self.sync())
        };
        self.inner.released.store(true, Ordering::Release);
        if let Some(front) = self.inner.front.as_ref().filter(|_| done.is_ok()) {
            front.close();
        }
        self.inner.guard.lock().take();
        done
    }

    /// A store without a journal over a backend, that folds when it is told to and keeps nothing
    /// in caches.
    #[cfg(test)]
    pub(crate) fn over(backend: Arc<dyn Backend>, id: Uuid) -> Result<Self, StoreError> {
        let header = Header {
            id,
            pages: id,
            format: FORMAT,
            created: Time::now(),
            settings: uncompressed(),
            folded: 0,
            clock: Time::now(),
        };
        let options = ConnectOptions {
            cache: Some(0),
            ..ConnectOptions::default()
        };
        let store = Self::start(&Location::Memory(id), backend, None, &header, &options)?;
        store.stop_folding();
        Ok(store)
    }

    /// The same with a journal in `dir`; opened again over a backend it goes on with what is there.
    #[cfg(test)]
    pub(crate) fn over_with_journal(
        backend: Arc<dyn Backend>,
        id: Uuid,
        dir: &std::path::Path,
    ) -> Result<Self, StoreError> {
        let location = Location::Embedded(dir.to_owned());
        let options = ConnectOptions {
            cache: Some(0),
            ..ConnectOptions::default()
        };
        let known = Header::read(&*backend, &location, Deadline::after(PATIENCE))?;
        let header = known.unwrap_or(Header {
            id,
            pages: id,
            format: FORMAT,
            created: Time::now(),
            settings: uncompressed(),
            folded: 0,
            clock: Time::now(),
        });
        let store = Self::start(&location, backend, None, &header, &options)?;
        store.stop_folding();
        Ok(store)
    }

    /// A store on disk over what `wrap` makes of its storage, that folds when it is told to and keeps
    /// as little as possible in caches.
    #[cfg(test)]
    pub(crate) fn on_disk(
        dir: &std::path::Path,
        wrap: impl FnOnce(Arc<dyn Backend>) -> Arc<dyn Backend>,
    ) -> Result<Self, StoreError> {
        let location = Location::Embedded(dir.to_owned());
        let backend = storage::open(&location, dir, Access::ReadWrite, Duration::from_secs(10))?;
        let header = Header::read(&*backend, &location, Deadline::after(PATIENCE))?;
        let header = header.ok_or(StoreError::Released)?;
        let options = ConnectOptions {
            cache: Some(0),
            ..ConnectOptions::default()
        };
        let store = Self::start(&location, wrap(backend), None, &header, &options)?;
        store.stop_folding();
        Ok(store)
    }

    #[cfg(test)]
    pub(super) fn start(
        location: &Location,
        backend: Arc<dyn Backend>,
        guard: Option<registry::Guard>,
        header: &Header,
        options: &ConnectOptions,
    ) -> Result<Self, StoreError> {
        let tiers = Tiers::plain(location, backend);
        Self::start_over(location, tiers, guard, header, options)
    }

    pub(super) fn start_over(
        location: &Location,
        tiers: Tiers,
        guard: Option<registry::Guard>,
        header: &Header,
        options: &ConnectOptions,
    ) -> Result<Self, StoreError> {
        let read_only = options.read_only;
        let cache = options.cache.unwrap_or(CACHE);
        let codec = header.codec(&options.serializers, location)?;
        let Tiers {
            backend,
            front,
            overlay,
            journal: journal_dir,
            cipher,
        } = tiers;
        let encrypted = cipher.map(|cipher| Arc::new(Encrypted::new(Arc::clone(&backend), cipher)));
        let backend = match &encrypted {
            Some(encrypted) => Arc::clone(encrypted) as Arc<dyn Backend>,
            None => backend,
        };
        let cipher = encrypted.as_ref().map(|encrypted| &**encrypted.cipher());
        let calls = Arc::new(Calls::default());
        let backend = Arc::new(Metered::new(backend, Arc::clone(&calls)));
        let pager = Arc::new(Pager::new(backend, codec, header.pages, cache - cache / 4));
        let mut recovery = journal_dir
            .as_ref()
            .map(|dir| Recovery::read(dir, &header.id, header.folded))
            .transpose()?;
        if !read_only && header.format < header.needs() {
            let deadline = pager.deadline();
            let blob = header.seal()?;
            pager
                .backend()
                .put(HEADER, &blob, Precondition::Any, deadline)?;
            pager.backend().sync(deadline)?;
        }
        let docs = Docs::new(Arc::clone(&pager), cache / 4);
        match docs.read_epochs() {
            // A value that is read is none of the snapshots' business. But none may be replaced
            // before it is known which of them must keep it.
            Err(StoreError::Damaged { .. } | StoreError::Tree { .. }) if read_only => {}
            known => known?,
        }
        let clock = clock::Clock::after(header.clock);
        let last = match &mut recovery {
            Some(recovery) => replay(recovery, header.folded, &docs, &clock, (&pager, cipher))?,
            None => header.folded,
        };
        let replayed = docs.unwritten_weight();
        // What cannot be read is for those to hear who need it.
        let links = docs
            .get(&crate::tree::links_key())
            .map_or(true, |doc| doc.is_some());
        let journal = match recovery {
            Some(recovery) if !read_only => Some(recovery.open(last)?),
            _ => None,
        };
        let inner = Arc::new(Inner {
            location: location.clone(),
            id: header.id,
            page_id: header.pages,
            created: header.created,
            read_only,
            pager,
            encrypted,
            journal_dir,
            docs,
            clock,
            journal,
            commit: Mutex::new(CommitState {
                next_seq: last + 1,
                records: replayed,
                moves: None,
            }),
            last_seq: AtomicU64::new(last),
            pages: PageWrites::default(),
            folding: Mutex::new(fold::FoldState::with_records(replayed)),
            fold_wanted: Condvar::new(),
            fold_done: Condvar::new(),
            fold_turn: Mutex::new(()),
            round_turn: Mutex::new(()),
            observers: RwLock::new(Vec::new()),
            hooks: super::hooks::Hooks::default(),
            front,
            overlay,
            meters: Meters::new(calls, header.folded),
            links: AtomicBool::new(links),
            released: AtomicBool::new(false),
            guard: Mutex::new(guard),
            folder: Mutex::new(None),
        });
        let store = Self {
            _life: Some(Arc::new(Life(Arc::clone(&inner)))),
            inner,
            synced: true,
            at: None,
            fork: None,
        };
        if !read_only {
            store.start_folding()?;
            if last > header.folded {
                store.note_unfolded(1);
            }
        }
        store.finish_incoming()?;
        store.drop_forks()?;
        Ok(store)
    }

    fn start_folding(&self) -> Result<(), StoreError> {
        let own = Self {
            inner: Arc::clone(&self.inner),
            _life: None,
            synced: false,
            at: None,
            fork: None,
        };
        let thread = std::thread::Builder::new()
            .name("kfs-fold".to_owned())
            .spawn(move || own.fold_loop())
            .map_err(|source| StoreError::Io {
                what: "starting the folding thread".to_owned(),
                source,
            })?;
        *self.inner.folder.lock() = Some(thread);
        Ok(())
    }
}

/// What tests of the store's own use.
#[cfg(test)]
fn uncompressed() -> Settings {
    Settings {
        compressor: crate::codec::Compressor::None,
        ..Settings::default()
    }
}

struct ReplayForest<'a> {
    docs: &'a Docs,
    changed: BTreeMap<Key, Option<Entry>>,
    error: Option<StoreError>,
}

impl Forest for ReplayForest<'_> {
    fn document(&mut self, key: &Key) -> Result<&mut Option<Entry>, TreeError> {
        use std::collections::btree_map::Entry as Place;
        match self.changed.entry(key.clone()) {
            Place::Occupied(o) => Ok(o.into_mut()),
            Place::Vacant(v) => match self.docs.get(key) {
                Ok(doc) => Ok(v.insert(doc.map(|d| d.entry.clone()))),
                Err(e) => {
                    let text = e.to_string();
                    self.error = Some(e);
                    Err(TreeError::malformed("a document", text))
                }
            },
        }
    }
}

/// Applies the records that no fold has seen and gives the last one that counts.
pub(super) fn replay(
    recovery: &mut Recovery,
    folded: u64,
    docs: &Docs,
    clock: &clock::Clock,
    pages: (&Pager, Option<&Cipher>),
) -> Result<u64, StoreError> {
    let durable = recovery.durable();
    let records = recovery.take_records();
    replay_records(&records, (durable, folded), docs, clock, pages)
}

/// Applies records that follow `folded`. Those known to be durable when a later one was written
/// must not miss a page.
pub(super) fn replay_records(
    records: &[JournalRecord],
    (durable, folded): (u64, u64),
    docs: &Docs,
    clock: &clock::Clock,
    (pager, cipher): (&Pager, Option<&Cipher>),
) -> Result<u64, StoreError> {
    let mut last = folded;
    let mut presence = Presence::new(pager);
    for record in records {
        let at = || format!("record {} of the journal", record.seq);
        let malformed = |source: TreeError| StoreError::Tree { key: at(), source };
        let replay = read_payload(record, cipher).map_err(malformed)?;
        for op in &replay.ops {
            if misses_page(op, &mut presence)? {
                if record.seq <= durable {
                    return Err(malformed(TreeError::malformed(
                        "a journal record",
                        "a page it refers to is missing",
                    )));
                }
                tracing::warn!(
                    seq = record.seq,
                    "pages of unsynced writes were lost with the power"
                );
                return Ok(last);
            }
        }
        let mut forest = ReplayForest {
            docs,
            changed: BTreeMap::new(),
            error: None,
        };
        let mut applier = Applier::default();
        for op in &replay.ops {
            let done = applier.step(op, &mut forest, pager);
            if let Some(e) = forest.error.take() {
                return Err(e);
            }
            done.map_err(|source| StoreError::Tree {
                key: format!(
                    "{} ({})",
                    at(),
                    op.path().first().map_or_else(String::new, show_key)
                ),
                source,
            })?;
        }
        let listed = forest.changed.contains_key(&snapshots_key());
        let slots = forest.changed.into_iter().map(|(key, entry)| Slot {
            key,
            seq: record.seq,
            doc: entry.map(|entry| {
                Arc::new(Doc {
                    entry,
                    last_write: replay.time,
                    seq: record.seq,
                })
            }),
        });
        docs.publish(slots.collect::<Vec<_>>());
        if listed {
            docs.read_epochs()?;
        }
        clock.at_least(replay.time);
        last = record.seq;
    }
    Ok(last)
}
