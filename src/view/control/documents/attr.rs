//! Finding documents, and their attributes.

use std::sync::Arc;

use super::file::{Content, File};
use super::save::Document;
use super::{Dir, MAX_TEXT, Node, Place};
use crate::view::control::{KFS, Namespace, PRIVATE};
use crate::view::types::{Attr, FileKind, Ino, Lasting, SetAttr, Time};
use crate::view::{Result, ViewError};

const ERROR: &[u8] = b"user.kfs.error";

/// What a name in a directory of documents stands for.
pub enum Found {
    Memory(Arc<File>),
    Document(Document),
    Dir(Dir),
}

impl Namespace {
    /// What has a name in a directory of documents.
    pub(super) fn find_document(&self, place: &Place) -> Result<Option<Found>> {
        if let Some(file) = self.documents.file(place) {
            return Ok(Some(Found::Memory(file)));
        }
        let (form, path) = (place.dir.form, &place.dir.path);
        let Some(dir) = self.live.directory(path)? else {
            return Ok(None);
        };
        if place.stem().is_some() {
            return Ok(self.document(place)?.map(Found::Document));
        }
        let Some(name) = form.shown_directory(&place.name) else {
            return Ok(None);
        };
        let found = self.live.named(path, &dir, name)?;
        Ok(found
            .filter(|(_, found)| found.entry.is_dir())
            .map(|(key, _)| {
                Found::Dir(Dir {
                    form,
                    path: path.child(key),
                })
            }))
    }

    /// The attributes of what has a name there; counts a reference of the kernel.
    pub(in crate::view::control) fn lookup_document(
        &self,
        dir: &Node,
        name: &[u8],
    ) -> Result<Attr> {
        let Node::Dir(dir) = dir else {
            return Err(ViewError::NotDirectory { ino: KFS });
        };
        let place = Place::new(dir, name);
        let (node, attr) = match self.find_document(&place)? {
            None => return Err(missing(name)),
            Some(Found::Dir(dir)) => {
                let attr = self.dir_attr(&dir)?;
                (Node::Dir(dir), attr)
            }
            Some(Found::Memory(file)) => {
                let attr = self.memory_attr(&file.content.lock());
                (Node::File(place), attr)
            }
            Some(Found::Document(document)) => {
                let attr = self.document_attr(&document)?;
                (Node::File(place), attr)
            }
        };
        let ino = self.documents.enter(&node, 1);
        Ok(Attr { ino, ..attr })
    }

    /// The attributes of what the kernel knows by a number.
    pub(in crate::view::control) fn document_node_attr(&self, node: &Node) -> Result<Attr> {
        let ino = self.documents.enter(node, 0);
        let stale = || ViewError::Stale { ino };
        let attr = match node {
            Node::Dir(dir) => self.dir_attr(dir)?,
            Node::LastError => {
                let size = self.last_error_text().len() as u64;
                self.attr_of(FileKind::File, 0o400, size, self.live.store().created())
            }
            Node::File(place) => match self.find_document(place)? {
                Some(Found::Memory(file)) => self.memory_attr(&file.content.lock()),
                Some(Found::Document(document)) => self.document_attr(&document)?,
                Some(Found::Dir(_)) | None => return Err(stale()),
            },
        };
        Ok(Attr { ino, ..attr })
    }

    /// The attributes of a directory of documents, without its number.
    pub(super) fn dir_attr(&self, dir: &Dir) -> Result<Attr> {
        let written = self.live.last_write(&dir.path)?;
        let time = written.unwrap_or_else(|| self.live.store().created());
        Ok(self.attr_of(FileKind::Dir, PRIVATE, 4096, time))
    }

    fn document_attr(&self, document: &Document) -> Result<Attr> {
        let size = match self.text_of(document) {
            Ok(text) => text.len() as u64,
            // It cannot be opened, but be removed and replaced.
            Err(ViewError::TooBig { .. }) => 0,
            Err(e) => return Err(e),
        };
        let written = self.live.last_write(&document.path)?;
        let time = written.unwrap_or_else(|| self.live.store().created());
        Ok(self.attr_of(FileKind::File, 0o600, size, time))
    }

    pub(super) fn memory_attr(&self, content: &Content) -> Attr {
        let mtime = content.mtime;
        Attr {
            perm: u16::try_from(content.mode).unwrap_or(0o600),
            uid: content.uid,
            gid: content.gid,
            atime: content.atime,
            ..self.attr_of(FileKind::File, 0o600, content.len(), mtime)
        }
    }

    pub(super) fn attr_of(&self, kind: FileKind, perm: u16, size: u64, time: Time) -> Attr {
        Attr {
            ino: 0,
            size,
            blocks: size.div_ceil(512),
            atime: time,
            mtime: time,
            ctime: time,
            crtime: time,
            kind,
            perm,
            nlink: if kind == FileKind::Dir { 2 } else { 1 },
            uid: self.live.options.uid,
            gid: self.live.options.gid,
            rdev: 0,
            blksize: 4096,
            lasting: Lasting::Momentary,
        }
    }

    /// Changes the attributes of a file in memory, or cuts what is open. A document has only its own:
    /// who is saving one may set what programs set then, to no effect.
    pub(in crate::view::control) fn set_document_attr(
        &self,
        node: &Node,
        set: &SetAttr,
    ) -> Result<Attr> {
        self.live.writable()?;
        let Node::File(place) = node else {
            return Err(of_documents());
        };
        if let (Some(size), Some(fh)) = (set.size, set.fh) {
            let handle = self.documents.open_file(fh, "cutting")?;
            handle.file.content.lock().resize(size)?;
            let attr = self.memory_attr(&handle.file.content.lock());
            let ino = self.documents.enter(node, 0);
            return Ok(Attr { ino, ..attr });
        }
        match self.find_document(place)? {
            Some(Found::Memory(file)) => {
                let mut content = file.content.lock();
                if let Some(size) = set.size {
                    content.resize(size)?;
                }
                content.set(set);
            }
            _ => {
                let attr = self.document_node_attr(node)?;
                if set.size.is_some_and(|size| size != attr.size) {
                    return Err(ViewError::invalid(
                        "truncate",
                        format!("a document is written whole, at most {MAX_TEXT} bytes"),
                    ));
                }
                let same = set
                    .mode
                    .is_none_or(|mode| mode & 0o7777 == u32::from(attr.perm))
                    && set.uid.is_none_or(|uid| uid == attr.uid)
                    && set.gid.is_none_or(|gid| gid == attr.gid)
                    && set.atime.is_none()
                    && set.mtime.is_none();
                if !same && !self.documents.is_written(place) {
                    return Err(of_documents());
                }
            }
        }
        self.document_node_attr(node)
    }

    /// What was wrong with the last save.
    pub(in crate::view::control) fn document_xattr(
        &self,
        ino: Ino,
        node: &Node,
        name: &[u8],
    ) -> Result<Vec<u8>> {
        let error = match node {
            Node::File(place) if name == ERROR => {
                self.documents.state.lock().errors.get(place).cloned()
            }
            _ => None,
        };
        error
            .map(String::into_bytes)
            .ok_or_else(|| ViewError::NoAttribute {
                ino,
                name: name.into(),
            })
    }
}

/// Names come and go without the kernel being told.
pub fn missing(name: &[u8]) -> ViewError {
    ViewError::NotFound {
        parent: KFS,
        name: name.into(),
        lasting: Lasting::Momentary,
    }
}

/// What is done to files does not suit documents.
pub fn of_documents() -> ViewError {
    ViewError::NotPermitted {
        what: "a document".into(),
        why: "it has a name and a text, and no links, attributes or directories of its own; its \
              directories are the maps and vectors of the store"
            .into(),
    }
}
