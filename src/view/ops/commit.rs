//! Committing a working copy: its bytes become the value.

use std::sync::Arc;

use super::super::attr::ino_of;
use super::super::buffer::Buffer;
use super::super::inode::{Inode, Place};
use super::super::typing::{self, TypingError};
use super::super::work::Work;
use super::super::{Result, View, ViewError, failure};
use super::create::is_dirty;
use super::join;
use crate::tree::edit;
use crate::tree::{Entry, links};

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
        let mut entry = Entry::plain(typed.node).with_attrs(attrs.clone());
        let number = |place: Place| ino_of(&entry, place.parent, &place.key, found.stamp);
        if inode.place().map(number) != Some(inode.ino) {
            // Another inode had the number of the entry, or its directory became a vector: it stays
            // what it is known by.
            attrs.ino = Some(inode.ino);
            entry.set_attrs(attrs);
        }
        let committed = self.put_file(inode, work, &entry)?;
        let Some(entry) = committed else {
            return Ok(false);
        };
        let (content, newline) =
            typing::file_bytes(&entry, pager).map_err(failure::in_inode(inode.ino))?;
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

    /// Puts a file's new entry; `None` if it has lost its place.
    fn put_file(&self, inode: &Arc<Inode>, work: &Work, entry: &Entry) -> Result<Option<Entry>> {
        let Some(place) = inode.place() else {
            return Ok(None);
        };
        if let Some(id) = inode.link() {
            return self.put_linked(inode, id, entry);
        }
        let created = work.pending.then_some(work.stamp);
        // Long content goes into pages once, not in each attempt.
        let prepared: std::cell::RefCell<Option<Entry>> = std::cell::RefCell::new(None);
        self.transact(|tx| {
            if inode.marked().is_some() {
                return Ok(None);
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
            let mut slot = prepared.borrow_mut();
            let entry = match &*slot {
                Some(entry) => entry.clone(),
                None => {
                    let entry = self.in_pages(tx, &at, entry)?;
                    slot.insert(entry).clone()
                }
            };
            // The directory changed when the name was created: what happened to it since stands.
            let since = edit::times_of(&dir.entry, dir.stamp).ctime;
            let moves = created.filter(|birth| there.is_none() && *birth > since);
            tx.put(at, entry.clone(), moves)?;
            let marked = Arc::clone(inode);
            tx.require(move || marked.marked().is_none());
            if created.is_some() {
                let (table, inode) = (Arc::clone(&self.table), Arc::clone(inode));
                tx.on_commit(move || table.committed(&inode));
            }
            Ok(Some(entry))
        })
    }

    /// Puts a linked file's new entry; `None` if it has lost its last name.
    fn put_linked(&self, inode: &Arc<Inode>, id: u64, entry: &Entry) -> Result<Option<Entry>> {
        let prepared: std::cell::RefCell<Option<Entry>> = std::cell::RefCell::new(None);
        self.transact(|tx| {
            if inode.marked().is_some() || tx.linked(id)?.is_none() {
                return Ok(None);
            }
            let at = links::file(id);
            let mut slot = prepared.borrow_mut();
            let entry = match &*slot {
                Some(entry) => entry.clone(),
                None => {
                    let entry = self.in_pages(tx, &at, entry)?;
                    slot.insert(entry).clone()
                }
            };
            tx.put(at, entry.clone(), None)?;
            let marked = Arc::clone(inode);
            tx.require(move || marked.marked().is_none());
            Ok(Some(entry))
        })
    }

    fn in_pages(
        &self,
        tx: &mut crate::store::Tx<'_>,
        at: &[crate::value::Key],
        entry: &Entry,
    ) -> Result<Entry> {
        use crate::tree::{Content, Node};
        match &entry.node {
            Node::Text(Content::Chunked(_)) | Node::Bytes(Content::Chunked(_)) => {
                Ok(tx.write_pages(at, entry)?)
            }
            _ => Ok(entry.clone()),
        }
    }
}
