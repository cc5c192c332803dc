//! Removing and renaming documents and files in memory.

use std::sync::Arc;

use super::attr::{Found, missing, of_documents};
use super::file::{File, MAX_TEXT, State};
use super::save::Document;
use super::{Dir, Node, Place};
use crate::view::control::{KFS, Namespace};
use crate::view::{Result, ViewError};

/// What renameat2(2) is to do.
const NOREPLACE: u32 = 1;
const EXCHANGE: u32 = 2;

impl Namespace {
    /// Removes a document with its value, or a file in memory.
    pub(in crate::view::control) fn remove_document(&self, dir: &Node, name: &[u8]) -> Result<()> {
        self.live.writable()?;
        let Node::Dir(dir) = dir else {
            return Err(ViewError::NotDirectory { ino: KFS });
        };
        let place = Place::new(dir, name);
        match self.find_document(&place)? {
            None => Err(missing(name)),
            Some(Found::Dir(_)) => Err(ViewError::IsDirectory { ino: KFS }),
            Some(Found::Document(document)) => self.remove_value(&place, &document),
            Some(Found::Memory(file)) => {
                // What the API has put there meanwhile is not seen, and goes too.
                if let Some(document) = self.document(&place)? {
                    self.remove_value(&place, &document)?;
                }
                self.discard(&place, &file)
            }
        }
    }

    fn remove_value(&self, place: &Place, document: &Document) -> Result<()> {
        self.live.remove_whole(&document.path)?;
        self.documents.state.lock().errors.remove(place);
        Ok(())
    }

    /// Lets a file in memory go. If a document was set aside for it, its value goes.
    fn discard(&self, place: &Place, file: &Arc<File>) -> Result<()> {
        let aside = file.content.lock().aside.clone();
        if let Some(path) = aside {
            let identity = Dir {
                form: place.dir.form,
                path,
            };
            if self.is_aside_as(&identity, file) {
                self.live.remove_whole(&identity.path)?;
                self.documents.state.lock().aside.remove(&identity);
            }
        }
        file.content.lock().place = None;
        self.documents.take_file(place, file);
        self.documents.state.lock().errors.remove(place);
        Ok(())
    }

    /// Whether a document is set aside, and this file has its text.
    fn is_aside_as(&self, identity: &Dir, file: &File) -> bool {
        self.documents.state.lock().aside.get(identity) == Some(&file.id)
    }

    /// Renames within the directories of one notation.
    pub(in crate::view::control) fn rename_document(
        &self,
        (dir, name): (&Node, &[u8]),
        (new_dir, new_name): (&Node, &[u8]),
        flags: u32,
    ) -> Result<()> {
        self.live.writable()?;
        let (Node::Dir(dir), Node::Dir(new_dir)) = (dir, new_dir) else {
            return Err(ViewError::NotDirectory { ino: KFS });
        };
        if dir.form != new_dir.form {
            return Err(elsewhere());
        }
        let (from, to) = (Place::new(dir, name), Place::new(new_dir, new_name));
        let there = self.find_document(&to)?;
        let found = self.find_document(&from)?.ok_or_else(|| missing(name))?;
        match (flags, &there) {
            (EXCHANGE, None) => return Err(missing(new_name)),
            (NOREPLACE, Some(_)) => return Err(ViewError::exists(KFS, new_name)),
            (0 | NOREPLACE | EXCHANGE, _) => {}
            _ => return Err(ViewError::invalid("rename", "these flags are not possible")),
        }
        match (found, there, to.stem()) {
            (Found::Dir(_), _, _) | (_, Some(Found::Dir(_)), _) => Err(of_documents()),
            _ if from == to => Ok(()),
            (Found::Document(a), Some(Found::Document(b)), _) if flags == EXCHANGE => {
                self.live.swap_whole(&a.path, &b.path)
            }
            _ if flags == EXCHANGE => Err(ViewError::invalid(
                "rename",
                "only two documents can be exchanged",
            )),
            (Found::Memory(file), there, Some(_)) => self.save_as(&from, &file, &to, there),
            (Found::Memory(file), there, None) => self.move_file(&from, &file, to, there),
            (Found::Document(document), there, Some(_)) => {
                self.move_document(&from, &document, &to, there)
            }
            (Found::Document(document), there, None) => self.set_aside(&document, to, there),
        }
    }

    /// A file in memory becomes a document: its text is saved there.
    fn save_as(
        &self,
        from: &Place,
        file: &Arc<File>,
        to: &Place,
        there: Option<Found>,
    ) -> Result<()> {
        let identity = self.target(to)?.identity;
        let mut content = file.content.lock();
        let aside = content.aside.clone();
        let back = aside.as_ref() == Some(&identity.path) && self.is_aside_as(&identity, file);
        if back && content.state == State::Clean {
            // It comes back as it was; that is no save.
            self.documents.state.lock().aside.remove(&identity);
        } else {
            self.save_to(to, &content)
                .inspect_err(|e| self.note(from, e))?;
        }
        content.state = State::Clean;
        content.place = Some(to.clone());
        content.aside = None;
        drop(content);
        self.documents.take_file(from, file);
        if let Some(Found::Memory(there)) = there {
            self.discard(to, &there)?;
        }
        // Another document that was set aside as this file has been moved here.
        if let Some(path) = aside.filter(|path| *path != identity.path) {
            let moved = Dir {
                form: from.dir.form,
                path,
            };
            if self.is_aside_as(&moved, file) {
                self.live.remove_whole(&moved.path)?;
                self.documents.state.lock().aside.remove(&moved);
            }
        }
        Ok(())
    }

    /// A file in memory gets another name.
    fn move_file(
        &self,
        from: &Place,
        file: &Arc<File>,
        to: Place,
        there: Option<Found>,
    ) -> Result<()> {
        if let Some(Found::Memory(there)) = there {
            self.discard(&to, &there)?;
        }
        self.documents.take_file(from, file);
        self.documents.put_file(to.clone(), Arc::clone(file))?;
        file.content.lock().place = Some(to);
        Ok(())
    }

    /// A value moves, and where there is one already it is saved there.
    fn move_document(
        &self,
        from: &Place,
        document: &Document,
        to: &Place,
        there: Option<Found>,
    ) -> Result<()> {
        let target = self.target(to)?;
        let form = document.identity.form;
        let moved = self
            .live
            .move_whole(&document.path, &target.path, MAX_TEXT, &|new, old| {
                form.over(new, old)
            });
        moved.inspect_err(|e| self.note(to, e))?;
        if let Some(Found::Memory(there)) = there {
            self.discard(to, &there)?;
        }
        let mut state = self.documents.state.lock();
        state.aside.remove(&target.identity);
        state.errors.remove(from);
        state.errors.remove(to);
        Ok(())
    }

    /// A document gets the name of a file in memory, which has its text from now on.
    fn set_aside(&self, document: &Document, to: Place, there: Option<Found>) -> Result<()> {
        let text = self.text_of(document)?;
        if let Some(Found::Memory(there)) = there {
            self.discard(&to, &there)?;
        }
        let (id, at) = (self.documents.next(), Some(to.clone()));
        let file = self.documents.memory.file(id, at, text, State::Clean)?;
        {
            let mut content = file.content.lock();
            content.aside = Some(document.path.clone());
            let options = &self.live.options;
            (content.uid, content.gid) = (options.uid, options.gid);
        }
        self.documents.put_file(to, file)?;
        let mut state = self.documents.state.lock();
        state.aside.insert(document.identity.clone(), id);
        Ok(())
    }
}

/// Programs that rename copy and remove when they see this.
pub fn elsewhere() -> ViewError {
    ViewError::CrossDevice {
        from: "a document".into(),
        to: "what is none of the same notation".into(),
    }
}
