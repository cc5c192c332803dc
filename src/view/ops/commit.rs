//! Committing a working copy: its bytes become the value.

use std::sync::Arc;

use super::super::attr::ino_of;
use super::super::buffer::Buffer;
use super::super::inode::{Inode, Place};
use super::super::render::TypeName;
use super::super::typing::{self, TypingError};
use super::super::work::Work;
use super::super::{Result, View, ViewError, failure};
use super::create::is_dirty;
use super::join;
use crate::store::Tx;
use crate::tree::edit::{self, Found};
use crate::tree::{Content, Entry, Node, Time, links};
use crate::value::{Key, KeyPath};

/// Content up to this many bytes goes into the journal and with the next fold into pages, so that a
/// sync is one of the journal alone.
const IN_JOURNAL: u64 = 64 * 1024;

impl View {
    /// Commits what an inode's working copy has.
    pub(in super::super) fn commit(&self, inode: &Arc<Inode>) -> Result<()> {
        let mut work = inode.work.lock();
        self.commit_work(inode, &mut work)
    }

    /// Commits a working copy. If that fails it stays as it is, to be tried again.
    pub(super) fn commit_work(&self, inode: &Arc<Inode>, work: &mut Work) -> Result<()> {
        loop {
            self.refresh(inode, work)?;
            if !is_dirty(work) {
                return Ok(());
            }
            // A file without a name has nothing to commit to.
            if work.orphan || inode.place().is_none() {
                self.lose(inode, work);
                return Ok(());
            }
            match self.try_commit(inode, work) {
                Ok(true) => {
                    work.error = None;
                    return Ok(());
                }
                Ok(false) if inode.marked().is_some() => {}
                // What came to stand there, or went away, did so unnoticed.
                Ok(false) => self.lose(inode, work),
                Err(e) => {
                    self.note_failure(inode, work, &e);
                    return Err(e);
                }
            }
        }
    }

    /// Commits; false if the file has lost its place meanwhile.
    fn try_commit(&self, inode: &Arc<Inode>, work: &mut Work) -> Result<bool> {
        let pager = self.store.pager();
        let found = self.current(inode, work)?;
        let declared =
            typing::declared(&found.entry, pager).map_err(failure::in_inode(inode.ino))?;
        if let Some(done) = self.try_patch(inode, work, &found, declared)? {
            return Ok(done);
        }
        let Some(buffer) = &mut work.buffer else {
            self.clean(inode, work);
            return Ok(true);
        };
        if typing::stays_bytes(buffer.len(), declared) {
            // Its chunks are pages anyway, and these are made without a copy.
            buffer.spill(&self.store)?;
        }
        let infer = self.options.infer && work.pending;
        let typed = typing::typed(buffer, declared, self.options.strict, infer, pager).map_err(
            |e| match e {
                TypingError::Parse(e) => ViewError::invalid("content", e.to_string()),
                TypingError::TooBig { size, .. } => ViewError::TooBig {
                    what: "the content of a typed file".into(),
                    size,
                    limit: typing::MAX_PARSED,
                },
                TypingError::Tree(e) => failure::from_tree(format!("inode {}", inode.ino), e),
            },
        )?;
        let mut attrs = work.written_attrs(&found.entry, found.stamp);
        typing::apply(&typed, &mut attrs);
        let mut entry = Entry::plain(typed.node).with_attrs(attrs);
        keep_number(inode, &mut entry, found.stamp);
        match self.put_file(inode, work, &entry)? {
            Some(entry) => self.committed(inode, work, entry),
            None => Ok(false),
        }
    }

    /// A working copy is what is committed.
    fn committed(&self, inode: &Arc<Inode>, work: &mut Work, entry: Entry) -> Result<bool> {
        let (content, newline) =
            typing::file_bytes(&entry, self.store.pager()).map_err(failure::in_inode(inode.ino))?;
        work.buffer = Some(Buffer::new(content, newline));
        work.entry = Some(entry);
        work.pending = false;
        inode.set_number(inode.ino);
        self.clean(inode, work);
        if !inode.is_open() {
            work.settle();
        }
        Ok(true)
    }

    /// Commits what was written if it is little and the file stays what it is, at a cost that does
    /// not depend on its length; `None` if that cannot be.
    fn try_patch(
        &self,
        inode: &Arc<Inode>,
        work: &mut Work,
        found: &Found,
        declared: Option<TypeName>,
    ) -> Result<Option<bool>> {
        let pager = self.store.pager();
        let fail = failure::in_inode(inode.ino);
        let Some(buffer) = work.buffer.as_ref().filter(|_| !work.pending) else {
            return Ok(None);
        };
        let typed = typing::unchanged(buffer, &found.entry, declared, pager);
        let Some((bare, declared)) = typed.map_err(&fail)? else {
            return Ok(None);
        };
        let mut entry = Entry {
            attrs: None,
            ..found.entry.clone()
        };
        let mut attrs = work.written_attrs(&found.entry, found.stamp);
        attrs.bare = bare;
        attrs.literal = None;
        attrs.declared = declared;
        entry.set_attrs(attrs);
        keep_number(inode, &mut entry, found.stamp);
        let newline = matches!(entry.node, Node::Text(_)) && !bare;
        let patch = buffer.patch(newline, entry.attrs(), pager);
        let Some(patch) = patch.map_err(&fail)? else {
            return Ok(None);
        };
        let place = inode.place();
        let done = self.transact(|tx| {
            let Some(spot) = self.spot_in(tx, inode, place.as_ref(), None)? else {
                return Ok(None);
            };
            // It only means something over the very content that it was written over.
            let is_base = match &spot.there {
                Some(there) => {
                    same_kind(there, &entry) && {
                        let (content, newline) = typing::file_bytes(there, pager).map_err(&fail)?;
                        buffer.is_over(&content, newline, pager)
                    }
                }
                None => false,
            };
            if !is_base {
                return Ok(None);
            }
            tx.write(spot.at.clone(), patch.clone())?;
            Ok(Self::find(tx, &spot.at)?.map(|found| found.entry))
        })?;
        match done {
            Some(entry) => self.committed(inode, work, entry).map(Some),
            None => Ok(None),
        }
    }

    /// Puts a file's new entry; `None` if it has lost its place.
    fn put_file(&self, inode: &Arc<Inode>, work: &Work, entry: &Entry) -> Result<Option<Entry>> {
        let place = inode.place();
        let created = work.pending.then_some(work.stamp);
        // Long content goes into pages once, not in each attempt.
        let prepared: std::cell::RefCell<Option<Entry>> = std::cell::RefCell::new(None);
        self.transact(|tx| {
            let Some(spot) = self.spot_in(tx, inode, place.as_ref(), created)? else {
                return Ok(None);
            };
            let mut slot = prepared.borrow_mut();
            let entry = match &*slot {
                Some(entry) => entry.clone(),
                None => {
                    let entry = self.in_pages(tx, &spot.at, entry)?;
                    slot.insert(entry).clone()
                }
            };
            tx.put(spot.at, entry.clone(), spot.moves)?;
            if created.is_some() {
                let (table, inode) = (Arc::clone(&self.table), Arc::clone(inode));
                tx.on_commit(move || table.committed(&inode));
            }
            Ok(Some(entry))
        })
    }

    /// Where a file's entry goes; `None` if it has lost its place, or its last name. `created` is
    /// when it was, if it is not committed yet.
    fn spot_in(
        &self,
        tx: &mut Tx<'_>,
        inode: &Arc<Inode>,
        place: Option<&Place>,
        created: Option<Time>,
    ) -> Result<Option<Target>> {
        let Some(place) = place.filter(|_| inode.marked().is_none()) else {
            return Ok(None);
        };
        let marked = Arc::clone(inode);
        if let Some(id) = inode.link() {
            let Some(there) = tx.linked(id)? else {
                return Ok(None);
            };
            tx.require(move || marked.marked().is_none());
            return Ok(Some(Target {
                at: links::file(id),
                there: Some(there.entry),
                moves: None,
            }));
        }
        let (path, dir) = match self.dir_in(tx, place.parent) {
            Ok(dir) => dir,
            // The directory was taken away through the API.
            Err(ViewError::Stale { .. } | ViewError::NotDirectory { .. }) => return Ok(None),
            Err(e) => return Err(e),
        };
        let at = join(&path, &place.key);
        let there = Self::find(tx, &at)?;
        // Where a name of a linked file stands now it is not the file that was there.
        if there
            .as_ref()
            .is_some_and(|f| f.entry.is_dir() || f.link.is_some())
            || (there.is_none() && created.is_none())
        {
            return Ok(None);
        }
        tx.require(move || marked.marked().is_none());
        // The directory changed when the name was created: what happened to it since stands.
        let since = edit::times_of(&dir.entry, dir.stamp).ctime;
        let moves = created.filter(|birth| there.is_none() && *birth > since);
        Ok(Some(Target {
            at,
            there: there.map(|found| found.entry),
            moves,
        }))
    }

    fn in_pages(&self, tx: &mut Tx<'_>, at: &[Key], entry: &Entry) -> Result<Entry> {
        match &entry.node {
            Node::Text(Content::Chunked(c)) | Node::Bytes(Content::Chunked(c))
                if c.len > IN_JOURNAL =>
            {
                Ok(tx.write_pages(at, entry)?)
            }
            _ => Ok(entry.clone()),
        }
    }
}

/// Where an entry goes.
struct Target {
    at: KeyPath,
    /// What is there.
    there: Option<Entry>,
    /// The directory's new change time.
    moves: Option<Time>,
}

/// Gives an entry the number that its inode is known by, if it would have another: because another
/// inode had it, or because its directory became a vector.
fn keep_number(inode: &Inode, entry: &mut Entry, stamp: Time) {
    let number = |place: Place| ino_of(entry, place.parent, &place.key, stamp);
    if inode.place().map(number) != Some(inode.ino) {
        let mut attrs = entry.attrs();
        attrs.ino = Some(inode.ino);
        entry.set_attrs(attrs);
    }
}

fn same_kind(a: &Entry, b: &Entry) -> bool {
    matches!(
        (&a.node, &b.node),
        (Node::Text(_), Node::Text(_)) | (Node::Bytes(_), Node::Bytes(_))
    )
}
