//! What comes in from another store: it is staged first, then put in place as a whole.
//!
//! Pages are put where they belong, for nothing refers to them yet. Records stand under the last
//! epoch there could be, which no snapshot has. Beside them a mark at the address `i` says how far
//! it is; each step of staging is one batch with the mark in it, so that a crash leaves the state
//! after some step. Staging that is given up, at the latest by the next round of freeing, leaves
//! nothing but unreachable pages.
//!
//! ```text
//! value = {"version": 1, "from": identity | null, "to": identity, "name": text, "clock": time,
//!          "items": count, "hash": bytes(32), "placing": sequence | null}
//! identity = [UUID of the store (16 bytes), epoch there, time]
//! ```
//!
//! Putting it in place takes as long as what has changed, and more than one batch may hold. So the
//! mark first gets the sequence number that all these records will have: from then on nobody reads the
//! store before it is done, and whoever opens it for writing goes on with it. A record is kept for
//! the snapshots that there are, put in the place of the live one, and removed from the staging in one
//! batch; the rest can be done again from any point. At the end the snapshot is listed by a record of the
//! journal, and the mark removed.

use std::sync::atomic::Ordering;

use uuid::Uuid;

use super::header::{HEADER, Header};
use super::lifecycle::Replica;
use super::record::{self, Doc, Version};
use super::{Location, Store, StoreError};
use crate::backend::{Backend, Batch, Deadline, Precondition};
use crate::codec::{Codec, Compressor};
use crate::tree::snapshots::{self, Identity, Listed};
use crate::tree::{PageAddr, Time, TreeError, page_key, read_time, write_time};
use crate::value::Key;
use crate::value::cbor::{Reader, Writer};

/// The address of the mark.
pub(super) const INCOMING: &[u8] = b"i";
/// The epoch of staged records.
pub(super) const EPOCH: u64 = u64::MAX;
/// The version of the mark.
const VERSION: u64 = 1;
/// Records are put in place in batches of about that many bytes.
const BATCH: usize = 1 << 20;
/// Records listed in one go.
const LISTED: usize = 256;

/// A place in the sequence of everything that comes in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// Pages and records before it.
    pub items: u64,
    /// A hash of what they are.
    pub hash: [u8; 32],
}

/// A snapshot on its way in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Incoming {
    /// The snapshot from which it differs by what comes; `None`: from an empty store.
    pub from: Option<Identity>,
    /// What it is.
    pub to: Identity,
    /// Its name.
    pub name: String,
    /// The clock of the store that it comes from.
    pub clock: Time,
    /// How much of it is staged.
    pub position: Position,
    /// The sequence number of what is put in place, once that has begun.
    placing: Option<u64>,
}

/// What is staged in one step.
#[derive(Debug, Default)]
pub struct Staged {
    /// Pages, whose addresses must be those of their bytes.
    pub pages: Vec<(PageAddr, Vec<u8>)>,
    /// What stands under keys, or that nothing does.
    pub records: Vec<Version>,
}

impl Incoming {
    /// One of which nothing has come.
    pub fn new(
        from: Option<Identity>,
        (to, name): (Identity, &str),
        clock: Time,
        position: Position,
    ) -> Self {
        Self {
            from,
            to,
            name: name.to_owned(),
            clock,
            position,
            placing: None,
        }
    }

    /// Whether what comes goes on where this one is.
    pub fn is_at(&self, other: &Self) -> bool {
        let what = |mark: &Self| (mark.from, mark.to, mark.position);
        what(self) == what(other) && self.placing.is_none()
    }

    fn seal(&self, codec: &Codec) -> Result<Vec<u8>, StoreError> {
        let mut value = Vec::new();
        let mut w = Writer::new(&mut value);
        w.map(8);
        w.text("version");
        w.uint(VERSION);
        w.text("from");
        match &self.from {
            Some(from) => write_identity(&mut w, from),
            None => {
                w.null();
            }
        }
        w.text("to");
        write_identity(&mut w, &self.to);
        w.text("name");
        w.text(&self.name);
        w.text("clock");
        write_time(&mut w, self.clock);
        w.text("items");
        w.uint(self.position.items);
        w.text("hash");
        w.bytes(&self.position.hash);
        w.text("placing");
        match self.placing {
            Some(seq) => w.uint(seq),
            None => w.null(),
        };
        let sealed = codec.seal(INCOMING, &[], &value);
        sealed.map_err(|source| StoreError::Damaged {
            key: WHAT.to_owned(),
            source,
        })
    }

    fn open(blob: &[u8], codec: &Codec) -> Result<Self, StoreError> {
        let opened = codec
            .open(INCOMING, blob)
            .map_err(|source| StoreError::Damaged {
                key: WHAT.to_owned(),
                source,
            })?;
        decode(&opened.value).map_err(|source| StoreError::Tree {
            key: WHAT.to_owned(),
            source,
        })
    }
}

/// The mark for messages.
const WHAT: &str = "the mark of a snapshot on its way in";

fn decode(bytes: &[u8]) -> Result<Incoming, TreeError> {
    let malformed = |why: &str| TreeError::malformed("the mark", why);
    let mut r = Reader::new(bytes);
    let (mut from, mut to, mut name, mut clock) = (None, None, None, None);
    let (mut items, mut hash, mut placing) = (None, None, None);
    for _ in 0..r.map()? {
        match r.text()? {
            "version" => {
                let version = r.uint()?;
                if version != VERSION {
                    let why = format!("its version is {version}, and {VERSION} is known here");
                    return Err(malformed(&why));
                }
            }
            "from" if r.take_null() => {}
            "from" => from = Some(read_identity(&mut r)?),
            "to" => to = Some(read_identity(&mut r)?),
            "name" => name = Some(r.text()?.to_owned()),
            "clock" => clock = Some(read_time(&mut r)?),
            "items" => items = Some(r.uint()?),
            "hash" => hash = <[u8; 32]>::try_from(r.bytes()?).ok(),
            "placing" if r.take_null() => {}
            "placing" => placing = Some(r.uint()?),
            _ => {
                r.raw()?;
            }
        }
    }
    let field = || malformed("a field is missing");
    Ok(Incoming {
        from,
        to: to.ok_or_else(field)?,
        name: name.ok_or_else(field)?,
        clock: clock.ok_or_else(field)?,
        position: Position {
            items: items.ok_or_else(field)?,
            hash: hash.ok_or_else(field)?,
        },
        placing,
    })
}

/// Writes what a snapshot is.
pub fn write_identity(w: &mut Writer<'_>, identity: &Identity) {
    w.array(3);
    w.bytes(identity.store.as_bytes());
    w.uint(identity.epoch);
    write_time(w, identity.time);
}

/// Reads what a snapshot is.
pub fn read_identity(r: &mut Reader<'_>) -> Result<Identity, TreeError> {
    let malformed = |why: &str| TreeError::malformed("a snapshot's identity", why);
    if r.array()? != 3 {
        return Err(malformed("not three fields"));
    }
    let store = Uuid::from_slice(r.bytes()?).map_err(|_| malformed("no UUID"))?;
    let epoch = r.uint()?;
    let time = read_time(r)?;
    Ok(Identity { store, epoch, time })
}

/// An error where a snapshot is half in place.
pub(super) fn check_whole(
    backend: &dyn Backend,
    header: &Header,
    location: &Location,
    deadline: Deadline,
) -> Result<(), StoreError> {
    let codec = Codec::new(header.id, Compressor::None);
    // What is damaged is for the check itself to find.
    if let Ok(Some(blob)) = backend.get(INCOMING, deadline)
        && Incoming::open(&blob.bytes, &codec).is_ok_and(|mark| mark.placing.is_some())
    {
        let location = location.to_string();
        return Err(StoreError::HalfReceived { location });
    }
    Ok(())
}

impl Store {
    /// What is on its way in.
    ///
    /// # Errors
    /// Damage of the mark, or a failure of the backend.
    pub fn incoming(&self) -> Result<Option<Incoming>, StoreError> {
        let pager = self.pager();
        let blob = pager.backend().get(INCOMING, pager.deadline())?;
        let codec = pager.codec();
        blob.map_or(Ok(None), |blob| {
            Incoming::open(&blob.bytes, codec).map(Some)
        })
    }

    /// Gives up what is on its way in.
    ///
    /// # Errors
    /// Those of the backend.
    pub fn discard_incoming(&self) -> Result<(), StoreError> {
        let pager = self.pager();
        let backend = pager.backend();
        loop {
            let prefix = record::epoch_prefix(EPOCH);
            let listed = backend.list(&prefix, None, LISTED, pager.deadline())?;
            if listed.is_empty() {
                break;
            }
            let mut batch = Batch::new();
            for address in listed {
                batch.delete(address, Precondition::Any);
            }
            self.apply(batch)?;
        }
        backend.delete(INCOMING, Precondition::Any, pager.deadline())?;
        Ok(())
    }

    /// Takes in a part of a snapshot; with the mark, which says how far it is then.
    ///
    /// # Errors
    /// [`StoreError::ReadOnly`]; a page that is none of this store; those of the backend.
    pub fn stage(&self, staged: Staged, mark: &Incoming) -> Result<(), StoreError> {
        self.check_open()?;
        if self.is_read_only() {
            return Err(StoreError::ReadOnly);
        }
        let pager = self.pager();
        let mut batch = Batch::new();
        let (key, birth) = (crate::tree::root_key(), self.last_seq());
        for (addr, bytes) in staged.pages {
            let sealed = pager.seal(&addr, birth, &bytes);
            let sealed = sealed.map_err(|e| StoreError::tree(&key, e))?;
            batch.put(page_key(&addr), sealed, Precondition::Any);
        }
        for (key, doc) in staged.records {
            let address = record::address_at(EPOCH, &record::address(&key));
            // Of a store that was read as it was left the sender had some in its journal only.
            let doc = doc.map(|doc| self.in_pages(&key, &doc, birth));
            let blob = record::seal_at(&address, &key, doc.transpose()?.as_ref(), pager)?;
            batch.put(address, blob, Precondition::Any);
        }
        batch.put(
            INCOMING.to_vec(),
            mark.seal(pager.codec())?,
            Precondition::Any,
        );
        self.apply(batch)
    }

    /// Whether nothing was ever written to it, or all of it is gone without a trace but garbage.
    ///
    /// # Errors
    /// A failure of the backend or the journal.
    pub fn is_blank(&self) -> Result<bool, StoreError> {
        self.settle()?;
        let pager = self.pager();
        let live = pager
            .backend()
            .list(record::LIVE, None, 1, pager.deadline())?;
        Ok(live.is_empty())
    }

    /// Makes a store in which nothing is one that is to receive the snapshots of another, once it
    /// is connected again; false if there is something.
    ///
    /// # Errors
    /// A failure of the backend or the journal.
    pub fn become_replica(&self, replica: &Replica) -> Result<bool, StoreError> {
        self.settle()?;
        let pager = self.pager();
        let backend = pager.backend();
        for prefix in [b"p", b"r", b"i"] {
            if !backend.list(prefix, None, 1, pager.deadline())?.is_empty() {
                return Ok(false);
            }
        }
        let found = Header::read(&**backend, self.location(), pager.deadline())?;
        let header = found.map(|header| Header {
            pages: replica.page_id,
            created: replica.created,
            ..header
        });
        if let Some(header) = header {
            let blob = header.seal()?;
            backend.put(HEADER, &blob, Precondition::Any, pager.deadline())?;
            backend.sync(pager.deadline())?;
        }
        Ok(true)
    }

    /// Up to `limit` staged records after an address; an empty answer is the end.
    ///
    /// # Errors
    /// Damage, or a failure of the backend.
    pub fn staged_after(
        &self,
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Vec<u8>, Version)>, StoreError> {
        let pager = self.pager();
        let prefix = record::epoch_prefix(EPOCH);
        let listed = pager
            .backend()
            .list(&prefix, after, limit, pager.deadline())?;
        let mut found = Vec::new();
        for address in listed {
            found.extend(record::load_any(&address, pager)?.map(|version| (address, version)));
        }
        Ok(found)
    }

    /// Whether something is staged for a key.
    ///
    /// # Errors
    /// A failure of the backend.
    pub fn is_staged(&self, key: &Key) -> Result<bool, StoreError> {
        self.is_there(&record::address_at(EPOCH, &record::address(key)))
    }

    /// Puts what is staged in place, and lists the snapshot that the store is then. Nobody else may
    /// use the store meanwhile.
    ///
    /// # Errors
    /// Those of the backend and the journal. Once it has begun, whoever opens the store for writing
    /// goes on with it.
    pub fn place_incoming(&self, mark: &Incoming) -> Result<(), StoreError> {
        self.settle()?;
        let placing = Some(self.last_seq() + 1);
        let mark = Incoming {
            placing,
            ..mark.clone()
        };
        let pager = self.pager();
        // What is staged before what says that all of it is.
        pager.backend().sync(pager.deadline())?;
        self.stage(Staged::default(), &mark)?;
        pager.backend().sync(pager.deadline())?;
        self.finish_incoming()
    }

    /// Goes on with putting in place what is staged, if that has begun.
    pub(super) fn finish_incoming(&self) -> Result<(), StoreError> {
        let Some(mark) = self.incoming()? else {
            return Ok(());
        };
        let Some(seq) = mark.placing else {
            return Ok(());
        };
        if self.is_read_only() {
            let location = self.location().to_string();
            return Err(StoreError::HalfReceived { location });
        }
        self.settle()?;
        while self.place_some(seq)? {}
        let pager = self.pager();
        pager.backend().sync(pager.deadline())?;
        self.inner.clock.at_least(mark.clock);
        let links = self.doc(&crate::tree::links_key())?.is_some();
        self.inner.links.store(links, Ordering::Release);
        let is_listed = |listed: &Listed| listed.identity(self.id()) == Some(mark.to);
        if !self.snapshots()?.iter().any(is_listed) {
            self.enlist(&mark.name, &|_| snapshots::received(&mark.name, &mark.to))?;
        }
        self.settle()?;
        let backend = pager.backend();
        backend.delete(INCOMING, Precondition::Any, pager.deadline())?;
        Ok(backend.sync(pager.deadline())?)
    }

    /// Puts some of what is staged in place; false if nothing is left.
    fn place_some(&self, seq: u64) -> Result<bool, StoreError> {
        let pager = self.pager();
        let docs = &self.inner.docs;
        let epochs = docs.epochs();
        let _nothing_moves = docs.keeping.read();
        let staged = self.staged_after(None, LISTED)?;
        let more = !staged.is_empty();
        let mut batch = Batch::new();
        let mut placed = Vec::new();
        for (address, (key, doc)) in staged {
            let live = record::address(&key);
            if let Some(epoch) = epochs.before(seq)
                && let Some(blob) = self.to_keep(&key, &live, epoch, &epochs)?
            {
                let kept = record::address_at(epoch, &live);
                batch.put(kept, blob, Precondition::Any);
            }
            let doc = doc.map(|doc| Doc {
                seq,
                ..Doc::clone(&doc)
            });
            match &doc {
                Some(doc) => batch.put(live, record::seal(&key, doc, pager)?, Precondition::Any),
                None => batch.delete(live, Precondition::Any),
            };
            batch.delete(address, Precondition::Any);
            placed.push((key, doc.map(std::sync::Arc::new)));
            if batch.size() > BATCH {
                self.apply(std::mem::take(&mut batch))?;
                docs.folded(std::mem::take(&mut placed));
            }
        }
        self.apply(batch)?;
        docs.folded(placed);
        Ok(more)
    }
}
