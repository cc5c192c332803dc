//! Documents and files in memory, open.

use std::sync::Arc;

use super::attr::{Found, missing, of_documents};
use super::file::{File, State};
use super::{Handle, Node, Open, Place};
use crate::view::control::{KFS, Namespace};
use crate::view::types::{Attr, Caller, Opened};
use crate::view::{Result, ViewError};

impl Namespace {
    /// Opens a document, a file in memory, or what tells of the last failure.
    pub(in crate::view::control) fn open_document(
        &self,
        node: &Node,
        flags: i32,
    ) -> Result<Opened> {
        let write = flags & libc::O_ACCMODE != libc::O_RDONLY || flags & libc::O_TRUNC != 0;
        if write {
            self.live.writable()?;
        }
        let place = match node {
            Node::File(place) => place,
            Node::Dir(_) => return Err(ViewError::IsDirectory { ino: KFS }),
            Node::LastError if write => return Err(of_documents()),
            Node::LastError => {
                let text = Arc::new(self.last_error_text());
                let id = self.documents.next();
                let file = self.documents.memory.file(id, None, text, State::Clean)?;
                return Ok(self.opened(file, flags, write));
            }
        };
        let empty = flags & libc::O_TRUNC != 0;
        let file = match self.find_document(place)? {
            None | Some(Found::Dir(_)) => return Err(missing(&place.name)),
            Some(Found::Memory(file)) => {
                if empty {
                    file.content.lock().resize(0)?;
                }
                file
            }
            Some(Found::Document(document)) => {
                let (text, state) = if empty {
                    (Arc::default(), State::Emptied)
                } else {
                    (self.text_of(&document)?, State::Clean)
                };
                let id = self.documents.next();
                let place = write.then(|| place.clone());
                self.documents.memory.file(id, place, text, state)?
            }
        };
        Ok(self.opened(file, flags, write))
    }

    fn opened(&self, file: Arc<File>, flags: i32, write: bool) -> Opened {
        let handle = Handle {
            file,
            write,
            append: flags & libc::O_APPEND != 0,
        };
        Opened {
            fh: self.documents.opened(Open::File(Arc::new(handle))),
            direct_io: true,
            keep_cache: false,
            no_flush: !write,
        }
    }

    /// Makes a file in memory under a name and opens it; or opens what is there.
    pub(in crate::view::control) fn create_document(
        &self,
        caller: &Caller,
        dir: &Node,
        name: &[u8],
        mode: u32,
        flags: i32,
    ) -> Result<(Attr, Opened)> {
        self.make_file(caller, dir, name, mode, flags & libc::O_EXCL != 0)?;
        let attr = self.lookup_document(dir, name)?;
        let opened = match self.documents.get(attr.ino) {
            Some(node) => self.open_document(&node, flags),
            None => Err(ViewError::Stale { ino: attr.ino }),
        };
        match opened {
            Ok(opened) => Ok((attr, opened)),
            Err(e) => {
                self.documents.forget(attr.ino, 1);
                Err(e)
            }
        }
    }

    /// Makes a file in memory under a name where there is nothing.
    pub(in crate::view::control) fn make_file(
        &self,
        caller: &Caller,
        dir: &Node,
        name: &[u8],
        mode: u32,
        exclusive: bool,
    ) -> Result<()> {
        self.live.writable()?;
        let Node::Dir(dir) = dir else {
            return Err(ViewError::NotDirectory { ino: KFS });
        };
        let place = Place::new(dir, name);
        if self.find_document(&place)?.is_some() {
            return if exclusive {
                Err(ViewError::exists(KFS, name))
            } else {
                Ok(())
            };
        }
        if self.live.directory(&dir.path)?.is_none() {
            return Err(missing(name));
        }
        if place.stem().is_some() {
            self.target(&place)?;
        }
        let id = self.documents.next();
        let at = Some(place.clone());
        let file = self
            .documents
            .memory
            .file(id, at, Arc::default(), State::Emptied)?;
        {
            let mut content = file.content.lock();
            content.mode = mode & 0o7777;
            (content.uid, content.gid) = (caller.uid, caller.gid);
        }
        self.documents.put_file(place, file)?;
        Ok(())
    }

    pub(in crate::view::control) fn read_document(
        &self,
        fh: u64,
        offset: u64,
        size: u32,
    ) -> Result<Vec<u8>> {
        let handle = self.documents.open_file(fh, "reading")?;
        let content = handle.file.content.lock();
        Ok(content.read(offset, size))
    }

    pub(in crate::view::control) fn write_document(
        &self,
        fh: u64,
        offset: u64,
        data: &[u8],
    ) -> Result<u32> {
        const OPERATION: &str = "writing";
        let handle = self.documents.open_file(fh, OPERATION)?;
        if !handle.write {
            return Err(ViewError::BadHandle {
                fh,
                operation: OPERATION,
            });
        }
        let offset = (!handle.append).then_some(offset);
        handle.file.content.lock().write(offset, data)?;
        Ok(u32::try_from(data.len()).unwrap_or(u32::MAX))
    }

    /// Saves what was written through a handle.
    pub(in crate::view::control) fn flush_document(&self, fh: u64) -> Result<()> {
        let handle = self.documents.open_file(fh, "flushing")?;
        if handle.write {
            self.save(&handle.file)?;
        }
        Ok(())
    }

    /// Saves what was written through a handle and makes it durable.
    pub(in crate::view::control) fn sync_document(&self, fh: u64) -> Result<()> {
        let handle = self.documents.open_file(fh, "syncing")?;
        if !handle.write {
            return Ok(());
        }
        self.refuse_emptied(&handle)?;
        self.save(&handle.file)?;
        self.live.store().sync().map_err(ViewError::from)
    }

    /// Makes what has been saved in a directory durable.
    pub(in crate::view::control) fn sync_documents(&self) -> Result<()> {
        if self.live.writable().is_err() {
            return Ok(());
        }
        self.live.store().sync().map_err(ViewError::from)
    }

    /// Closes a handle.
    pub(in crate::view::control) fn release_document(&self, fh: u64) -> Result<()> {
        let handle = self.documents.open_file(fh, "releasing")?;
        self.documents.closed(fh);
        if !handle.write {
            return Ok(());
        }
        // What a mapping wrote after the last close.
        self.save(&handle.file)?;
        let place = handle.file.content.lock().place.clone();
        // One that was only created waits for its text.
        if place.is_some_and(|place| self.documents.file(&place).is_none()) {
            self.refuse_emptied(&handle)?;
        }
        Ok(())
    }

    /// An empty text is no value; it is refused when nothing more can come.
    fn refuse_emptied(&self, handle: &Handle) -> Result<()> {
        let mut content = handle.file.content.lock();
        match content.place.clone() {
            Some(place) if content.state == State::Emptied && place.stem().is_some() => {
                let refused = self.save_to(&place, &content);
                content.state = State::Clean;
                refused
            }
            _ => Ok(()),
        }
    }

    /// Finds data, which is all of the text, or the hole after it.
    pub(in crate::view::control) fn seek_document(
        &self,
        fh: u64,
        offset: i64,
        whence: i32,
    ) -> Result<u64> {
        let handle = self.documents.open_file(fh, "seeking")?;
        let len = handle.file.content.lock().len();
        let inside = u64::try_from(offset).ok().filter(|offset| *offset < len);
        match (inside, whence) {
            (Some(offset), libc::SEEK_DATA) => Ok(offset),
            (Some(_), libc::SEEK_HOLE) => Ok(len),
            _ => Err(ViewError::NothingThere {
                ino: KFS,
                offset: u64::try_from(offset).unwrap_or(0),
            }),
        }
    }
}
