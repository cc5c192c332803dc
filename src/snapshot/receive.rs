//! Taking in a stream: see [`stream`](super::stream) for what it is, and `store::incoming` for how
//! it gets into the store as a whole or not at all.

use std::io::Read;
use std::time::Duration;

use super::SnapshotError;
use super::frame::{Frames, Kind, StreamError};
use super::stream::{self, Begin, Item};
use crate::codec::{Serializers, Settings};
use crate::crypt::Secret;
use crate::store::{
    ConnectOptions, CreateOptions, Encryption, Incoming, Location, Position, Replica, Staged,
    Store, StoreError, Version, read_parts,
};
use crate::tree::snapshots::Listed;
use crate::tree::{Entry, Fresh, PageSet, TreeError, hex, is_hidden, snapshots_key};
use crate::value::Key;

/// Documents looked at in one go.
const DOCS: usize = 256;

/// How a snapshot is received.
#[derive(Clone, Debug, Default)]
pub struct ReceiveOptions {
    /// Undo what was written since the snapshot from which the stream goes on.
    pub force: bool,
    /// How long to wait for a holder of the store that is shutting down.
    pub wait: Duration,
    /// What opens the store, if it is encrypted. One that is made is encrypted, if this is given.
    pub key: Option<Secret>,
}

/// What was received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// The snapshot's name.
    pub name: String,
    /// The name of the one from which the stream went on.
    pub from: Option<String>,
    /// Pages that came.
    pub pages: u64,
    /// Keys that came, with values or without.
    pub records: u64,
    /// Bytes of the stream.
    pub bytes: u64,
    /// Whether the store was made.
    pub created: bool,
}

/// Makes a store show what a stream has, and takes the snapshot that was sent there, too: all of it or
/// nothing. A store that is not there is made for a stream that has everything.
///
/// A stream that ends early, or is damaged, leaves the store as it was; what came of it until
/// then can be gone on with from [`resume_position`].
///
/// # Errors
/// [`SnapshotError::Stream`]; [`SnapshotError::Unfit`] if the store does not have the snapshot from which
/// the stream goes on, has changed since, or has another of this name; those of the store.
pub fn receive(
    location: &Location,
    stream: impl Read,
    options: &ReceiveOptions,
) -> Result<Received, SnapshotError> {
    let mut frames = Frames::new(stream)?;
    let (kind, payload) = frames.next()?;
    if kind != Kind::Begin {
        return Err(frames
            .damaged("it does not begin with its beginning")
            .into());
    }
    let begin = Begin::decode(&payload).map_err(|e| frames.damaged(e))?;
    super::check_name(&begin.to.name)?;
    let (store, created) = target(location, &begin, options)?;
    let id = store.id();
    let done = take_in(&store, begin, &mut frames, options);
    let is_of_use = done.is_ok() || store.incoming().is_ok_and(|mark| mark.is_some());
    match done {
        Ok(received) => {
            store.release()?;
            Ok(Received {
                created,
                ..received
            })
        }
        Err(error) => {
            drop(store);
            if created && !is_of_use {
                Store::delete(location, id)?;
            }
            Err(error)
        }
    }
}

/// Takes a stream into a store that is open.
#[cfg(test)]
pub(super) fn take_in_stream(store: &Store, stream: impl Read) -> Result<Received, SnapshotError> {
    let mut frames = Frames::new(stream)?;
    let (_, payload) = frames.next()?;
    let begin = Begin::decode(&payload).map_err(|e| frames.damaged(e))?;
    take_in(store, begin, &mut frames, &ReceiveOptions::default())
}

fn take_in(
    store: &Store,
    begin: Begin,
    frames: &mut Frames<impl Read>,
    options: &ReceiveOptions,
) -> Result<Received, SnapshotError> {
    let mut receiver = Receiver::new(store, begin, options)?;
    receiver.take_in(frames)?;
    receiver.verify()?;
    store.place_incoming(&receiver.mark)?;
    Ok(Received {
        name: receiver.begin.to.name,
        from: receiver.begin.from.map(|from| from.name),
        pages: receiver.pages,
        records: receiver.records,
        bytes: frames.offset(),
        created: false,
    })
}

/// From where a stream is to go on that was interrupted; `None` if there is none.
///
/// # Errors
/// Those of the store.
pub fn resume_position(store: &Store) -> Result<Option<Position>, SnapshotError> {
    Ok(store.incoming()?.map(|incoming| incoming.position))
}

/// The store that is to receive, which may have to be made.
fn target(
    location: &Location,
    begin: &Begin,
    options: &ReceiveOptions,
) -> Result<(Store, bool), SnapshotError> {
    let connect = ConnectOptions {
        wait: options.wait,
        key: options.key.clone(),
        ..ConnectOptions::default()
    };
    let replica = Replica {
        page_id: begin.pages,
        created: begin.created,
    };
    let store = match Store::connect(location, &connect) {
        Ok(store) => store,
        // Where the making of a store was cut short, it is made.
        Err(StoreError::Missing { .. } | StoreError::NotAStore { .. })
            if begin.from.is_none() && is_whole(begin) =>
        {
            let mut settings = begin.settings.clone();
            if Serializers::default().named(&settings.serializer).is_none() {
                // What travels is CBOR in any case.
                settings.serializer = Settings::default().serializer;
            }
            let create = CreateOptions {
                settings,
                encryption: options.key.clone().map(Encryption::with),
                replica: Some(replica),
                ..CreateOptions::default()
            };
            return Ok((Store::create(location, &create)?, true));
        }
        Err(error) => return Err(error.into()),
    };
    if store.page_id() == begin.pages {
        return Ok((store, false));
    }
    if begin.from.is_none() && is_whole(begin) && store.become_replica(&replica)? {
        store.release()?;
        return Ok((Store::connect(location, &connect)?, false));
    }
    Err(unfit(
        location,
        if begin.from.is_some() {
            "it has never received a snapshot of this store; send one as a whole first"
        } else {
            "it is not empty; receive into a new store"
        },
    ))
}

/// Whether a stream begins with its first item.
fn is_whole(begin: &Begin) -> bool {
    begin.position.items == 0
}

fn unfit(location: &Location, why: impl Into<String>) -> SnapshotError {
    SnapshotError::Unfit {
        location: location.to_string(),
        why: why.into(),
    }
}

struct Receiver<'a> {
    store: &'a Store,
    begin: Begin,
    mark: Incoming,
    /// The store as the snapshot shows it from which the stream goes on.
    base: Option<Store>,
    force: bool,
    pages: u64,
    records: u64,
}

impl<'a> Receiver<'a> {
    fn new(
        store: &'a Store,
        begin: Begin,
        options: &ReceiveOptions,
    ) -> Result<Self, SnapshotError> {
        let from = begin.from.as_ref().map(|from| from.id);
        let mark = Incoming::new(
            from,
            (begin.to.id, &begin.to.name),
            begin.clock,
            begin.position,
        );
        let mut receiver = Self {
            store,
            base: None,
            mark,
            begin,
            force: options.force,
            pages: 0,
            records: 0,
        };
        receiver.check_snapshots()?;
        receiver.check_unchanged()?;
        receiver.start()?;
        Ok(receiver)
    }

    fn unfit(&self, why: impl Into<String>) -> SnapshotError {
        unfit(self.store.location(), why)
    }

    /// The snapshot that comes must not be there, that from which it goes on must.
    fn check_snapshots(&mut self) -> Result<(), SnapshotError> {
        let listed = self.store.snapshots()?;
        let id = self.store.id();
        let to = &self.begin.to;
        let is = |listed: &Listed, wanted| listed.identity(id) == Some(wanted);
        if listed.iter().any(|listed| is(listed, to.id)) {
            return Err(self.unfit(format!("snapshot {} has been received already", to.name)));
        }
        if listed.iter().any(|listed| listed.is_named(&to.name)) {
            return Err(self.unfit(format!(
                "there is another snapshot {}; drop it first",
                to.name
            )));
        }
        match &self.begin.from {
            Some(from) => {
                let base = listed.iter().find(|listed| is(listed, from.id));
                let base = base.ok_or_else(|| {
                    self.unfit(format!(
                        "it does not have snapshot {}, from which this stream goes on",
                        from.name
                    ))
                })?;
                self.base = Some(self.store.at(base.epoch));
                Ok(())
            }
            None if listed.is_empty() => Ok(()),
            None => Err(self.unfit("it has snapshots; receive into a new store")),
        }
    }

    /// Nothing may have been written that would be lost.
    fn check_unchanged(&self) -> Result<(), SnapshotError> {
        let Some(base) = self.base.as_ref().and_then(Store::epoch) else {
            return match self.store.is_blank()? {
                true => Ok(()),
                false => Err(self.unfit("it is not empty; receive into a new store")),
            };
        };
        if self.force {
            return Ok(());
        }
        let mut after: Option<Vec<u8>> = None;
        loop {
            let (changed, next) = self
                .store
                .changes_after(base, None, after.as_deref(), DOCS)?;
            if !changed.is_empty() {
                let from = self.begin.from.as_ref().map_or("", |from| &from.name);
                return Err(self.unfit(format!(
                    "it has been written to since snapshot {from}; --force undoes that"
                )));
            }
            after = next;
            if after.is_none() {
                return Ok(());
            }
        }
    }

    /// Begins to stage, or goes on with what is staged.
    fn start(&mut self) -> Result<(), SnapshotError> {
        let from = self.begin.from.as_ref().map(|from| &from.id);
        if self.begin.position == stream::origin(from, &self.begin.to.id) {
            self.store.discard_incoming()?;
        } else if !(self.store.incoming()?).is_some_and(|found| found.is_at(&self.mark)) {
            return Err(SnapshotError::NotResumable {
                why: "the stream does not go on where this store has stopped",
            });
        }
        Ok(())
    }

    /// Stages all that comes.
    fn take_in(&mut self, frames: &mut Frames<impl Read>) -> Result<(), SnapshotError> {
        loop {
            let (kind, payload) = frames.next()?;
            match kind {
                Kind::Begin => return Err(frames.damaged("a second beginning").into()),
                Kind::Items => {
                    let staged = self.items(&payload).map_err(|e| frames.damaged(e))?;
                    self.store.stage(staged, &self.mark)?;
                }
                Kind::End => {
                    let end = stream::read_end(&payload).map_err(|e| frames.damaged(e))?;
                    if end != self.mark.position {
                        return Err(frames.damaged("it lacks something").into());
                    }
                    return Ok(frames.end()?);
                }
            }
        }
    }

    /// What a frame has, verified.
    fn items(&mut self, payload: &[u8]) -> Result<Staged, TreeError> {
        let mut staged = Staged::default();
        stream::read_items(payload, &mut |item| {
            let position = &mut self.mark.position;
            match item {
                Item::Page(addr, bytes) => {
                    *position = stream::after_page(*position, &addr);
                    if self.store.pager().address(bytes) != addr {
                        let what = format!("page {}", hex(&addr));
                        return Err(TreeError::malformed(
                            what,
                            "it is not what its address says",
                        ));
                    }
                    staged.pages.push((addr, bytes.to_vec()));
                    self.pages += 1;
                }
                Item::Record { meta, value } => {
                    *position = stream::after_record(*position, meta, value);
                    let (key, doc) = read_parts(meta, value)?;
                    if key == snapshots_key() || !is_key(&key) {
                        return Err(TreeError::malformed("a record", "no key has such a one"));
                    }
                    staged.records.push((key, doc));
                    self.records += 1;
                }
            }
            Ok(())
        })?;
        Ok(staged)
    }

    /// Makes sure that every page is there which what is staged needs, and stages what undoes
    /// everything else.
    fn verify(&self) -> Result<(), SnapshotError> {
        let mut seen = PageSet::default();
        let mut after: Option<Vec<u8>> = None;
        loop {
            let staged = self.store.staged_after(after.as_deref(), DOCS)?;
            let Some((last, _)) = staged.last() else {
                break;
            };
            after = Some(last.clone());
            for (_, (key, doc)) in staged {
                let old = match &self.base {
                    Some(base) => base.doc(&key)?.map(|doc| doc.entry.clone()),
                    None => None,
                };
                let new = doc.map(|doc| doc.entry.clone());
                self.verify_pages(&key, old, new, &mut seen)?;
            }
        }
        if self.force {
            self.undo()?;
        }
        Ok(())
    }

    fn verify_pages(
        &self,
        key: &Key,
        old: Option<Entry>,
        new: Option<Entry>,
        seen: &mut PageSet,
    ) -> Result<(), SnapshotError> {
        let pager = self.store.pager();
        let fail = |e: TreeError| match e {
            TreeError::MissingPage { .. } => StreamError::Incomplete {
                reason: StoreError::tree(key, e).to_string(),
            }
            .into(),
            e => SnapshotError::Store(StoreError::tree(key, e)),
        };
        let mut fresh = Fresh::new(key, old, new);
        while let Some(page) = fresh
            .next(pager, &mut |page| seen.add(page))
            .map_err(fail)?
        {
            pager.has(&page).map_err(fail)?;
        }
        Ok(())
    }

    /// Stages what the base has wherever something was written since.
    fn undo(&self) -> Result<(), SnapshotError> {
        let Some(base) = self.base.as_ref().and_then(Store::epoch) else {
            return Ok(());
        };
        let mut after: Option<Vec<u8>> = None;
        loop {
            let (changed, next) = self
                .store
                .changes_after(base, None, after.as_deref(), DOCS)?;
            let mut staged = Staged::default();
            for changed in changed {
                if !self.store.is_staged(&changed.key)? {
                    staged.records.push((changed.key, changed.old) as Version);
                }
            }
            self.store.stage(staged, &self.mark)?;
            after = next;
            if after.is_none() {
                return Ok(());
            }
        }
    }
}

/// Whether a key can be one of a store.
fn is_key(key: &Key) -> bool {
    is_hidden(key) || Key::from_bytes(key.bytes()).is_ok()
}
