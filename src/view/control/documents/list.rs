//! Listing a directory of documents: of each entry its document, and its directory if it has one;
//! then the files in memory.

use std::sync::Arc;

use parking_lot::Mutex;

use super::file::File;
use super::{Dir, Node, Open, Place};
use crate::value::Key;
use crate::view::control::{KFS, Namespace};
use crate::view::directory::{Cursor, DOT, DOT_DOT};
use crate::view::names::{NAME_MAX, NameContext, name_of, name_within};
use crate::view::types::{Attr, DirItem, FileKind, Ino};
use crate::view::{Result, ViewError};

/// Where files in memory begin: they stand in the order of their numbers.
const FILES: u64 = 1 << 62;

/// An open directory. The `n`th entry has the offsets `2n` and `2n + 1`: the place after its document
/// if a directory follows, and after all of it.
#[derive(Debug)]
pub struct Listing {
    dir: Dir,
    cursor: Mutex<Cursor>,
}

/// What takes items.
struct Sink<'a> {
    plus: bool,
    emit: &'a mut dyn FnMut(&DirItem<'_>) -> bool,
}

impl Namespace {
    /// Opens a directory of documents.
    pub(in crate::view::control) fn open_documents(&self, node: &Node) -> Result<u64> {
        let Node::Dir(dir) = node else {
            return Err(ViewError::NotDirectory { ino: KFS });
        };
        let listing = Listing {
            dir: dir.clone(),
            cursor: Mutex::default(),
        };
        Ok(self.documents.opened(Open::Dir(Arc::new(listing))))
    }

    /// Closes one.
    pub(in crate::view::control) fn close_documents(&self, fh: u64) {
        self.documents.closed(fh);
    }

    /// Lists one.
    pub(in crate::view::control) fn list_documents(
        &self,
        fh: u64,
        offset: u64,
        plus: bool,
        emit: &mut dyn FnMut(&DirItem<'_>) -> bool,
    ) -> Result<()> {
        let listing = self.documents.open_dir(fh, "listing")?;
        let dir = &listing.dir;
        let mut cursor = listing.cursor.lock();
        if offset == 0 {
            cursor.rewind();
        }
        let mut sink = Sink { plus, emit };
        if self.dots(dir, offset, &mut sink) {
            return Ok(());
        }
        if offset < FILES && self.entries(dir, offset, &mut cursor, &mut sink)? {
            return Ok(());
        }
        for (place, file) in self.documents.files_in(dir) {
            let at = FILES | file.id;
            if at > offset {
                let attr = self.memory_attr(&file.content.lock());
                if self.give(&Node::File(place.clone()), attr, at, &place.name, &mut sink) {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn dots(&self, dir: &Dir, offset: u64, sink: &mut Sink<'_>) -> bool {
        let number = |dir: &Dir| self.documents.enter(&Node::Dir(dir.clone()), 0);
        let parent = match dir.path.split_last() {
            Some((_, above)) => number(&Dir {
                form: dir.form,
                path: above.to_vec().into(),
            }),
            None => KFS,
        };
        [(DOT, &b"."[..], number(dir)), (DOT_DOT, &b".."[..], parent)]
            .into_iter()
            .any(|(at, name, ino)| at > offset && (sink.emit)(&item(ino, at, name, None)))
    }

    /// Gives the documents and directories of what the store has; true once no more is wanted.
    fn entries(
        &self,
        dir: &Dir,
        offset: u64,
        cursor: &mut Cursor,
        sink: &mut Sink<'_>,
    ) -> Result<bool> {
        let Some(found) = self.live.directory(&dir.path)? else {
            return Ok(false);
        };
        // An even offset is in the middle of an entry.
        let (done, mut halfway) = match offset {
            0..=DOT_DOT => (DOT_DOT, false),
            _ if offset.is_multiple_of(2) => (offset / 2 - 1, true),
            _ => (offset / 2, false),
        };
        let (mut after, mut skip) = cursor.resume(done);
        let mut at = done - skip;
        loop {
            let (context, children) = self.live.children(&dir.path, &found, after.as_ref())?;
            if children.is_empty() {
                return Ok(false);
            }
            for (key, is_dir) in children {
                at += 1;
                if skip > 0 {
                    skip -= 1;
                } else if self.entry(dir, (&key, context, is_dir), at, halfway, sink)? {
                    return Ok(true);
                } else {
                    halfway = false;
                }
                cursor.given(at, &key);
                after = Some(key);
            }
        }
    }

    /// Gives the document of an entry and its directory.
    fn entry(
        &self,
        dir: &Dir,
        (key, context, is_dir): (&Key, NameContext, bool),
        at: u64,
        halfway: bool,
        sink: &mut Sink<'_>,
    ) -> Result<bool> {
        let form = dir.form;
        let below = Dir {
            form,
            path: dir.path.child(key.clone()),
        };
        let max = NAME_MAX - form.suffix().len();
        let name = [&name_within(key, context, max), form.suffix()].concat();
        let place = Place::new(dir, &name);
        let shown = self.documents.file(&place).is_none() && !self.is_aside(&below);
        if shown && !halfway {
            // The size takes rendering it: whoever wants it looks the name up.
            let attr = self.attr_of(FileKind::File, 0o600, 0, self.live.store().created());
            let after = 2 * at + u64::from(!is_dir);
            if self.give(&Node::File(place), attr, after, &name, sink) {
                return Ok(true);
            }
        }
        if !is_dir {
            return Ok(false);
        }
        let mut name = form.directory_name(name_of(key, context));
        if name.len() > NAME_MAX {
            name = name_within(key, context, max);
        }
        let attr = self.dir_attr(&below)?;
        Ok(self.give(&Node::Dir(below), attr, 2 * at + 1, &name, sink))
    }

    /// Gives one item, with a reference of the kernel where it gets attributes.
    fn give(&self, node: &Node, attr: Attr, offset: u64, name: &[u8], sink: &mut Sink<'_>) -> bool {
        let ino = self.documents.enter(node, u64::from(sink.plus));
        let attr = Attr { ino, ..attr };
        let shown = DirItem {
            kind: attr.kind,
            attr: sink.plus.then_some(&attr),
            ..item(ino, offset, name, None)
        };
        let full = (sink.emit)(&shown);
        if full && sink.plus {
            self.documents.forget(ino, 1);
        }
        full
    }
}

impl super::Documents {
    /// The files in memory of a directory, oldest first.
    fn files_in(&self, dir: &Dir) -> Vec<(Place, Arc<File>)> {
        let state = self.state.lock();
        let here = state.files.iter().filter(|(place, _)| place.dir == *dir);
        let mut here: Vec<_> = here.map(|(p, f)| (p.clone(), Arc::clone(f))).collect();
        here.sort_by_key(|(_, file)| file.id);
        here
    }
}

fn item<'a>(ino: Ino, offset: u64, name: &'a [u8], attr: Option<&'a Attr>) -> DirItem<'a> {
    DirItem {
        ino,
        offset,
        kind: FileKind::Dir,
        name,
        attr,
    }
}
