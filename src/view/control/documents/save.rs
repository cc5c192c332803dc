//! The text of a value, and the value of a text.

use std::sync::Arc;

use super::file::{Content, File, MAX_TEXT, State};
use super::{Dir, MAX_FILES, Place};
use crate::value::KeyPath;
use crate::view::control::Namespace;
use crate::view::{Name, Result, ViewError};

/// A document that is there.
#[derive(Clone, Debug)]
pub struct Document {
    pub path: KeyPath,
    /// It as the name of what it renders: its notation and its path.
    pub identity: Dir,
}

impl Namespace {
    /// The document that a name stands for, unless it is set aside.
    pub(super) fn document(&self, place: &Place) -> Result<Option<Document>> {
        let found = self.stored(place)?;
        Ok(found.filter(|it| !self.is_aside(&it.identity)))
    }

    /// The document that a name stands for, also one that is set aside.
    pub(super) fn stored(&self, place: &Place) -> Result<Option<Document>> {
        let Dir { form, path } = &place.dir;
        let Some(stem) = place.stem() else {
            return Ok(None);
        };
        let Some(dir) = self.live.directory(path)? else {
            return Ok(None);
        };
        let found = self.live.named(path, &dir, stem)?;
        Ok(found.map(|(key, _)| document(*form, path.child(key))))
    }

    /// The document that a name stands for or that is made under it.
    pub(super) fn target(&self, place: &Place) -> Result<Document> {
        if let Some(document) = self.stored(place)? {
            return Ok(document);
        }
        let Dir { form, path } = &place.dir;
        let stem = place.stem().unwrap_or_default();
        let dir = self.live.directory(path)?.ok_or(ViewError::Stale {
            ino: super::super::KFS,
        })?;
        let key = self.live.new_name(path, &dir, stem)?;
        Ok(document(*form, path.child(key)))
    }

    pub(super) fn is_aside(&self, identity: &Dir) -> bool {
        self.documents.state.lock().aside.contains_key(identity)
    }

    /// The text of a document as it is now.
    ///
    /// # Errors
    /// [`ViewError::TooBig`].
    pub(super) fn text_of(&self, document: &Document) -> Result<Arc<Vec<u8>>> {
        let writes = self.live.store().writes();
        if let Some(text) = self.documents.kept(&document.identity, writes) {
            return Ok(text);
        }
        let value = self.live.whole(&document.path, MAX_TEXT)?;
        let value = value.ok_or_else(|| super::attr::missing(b""))?;
        let text = document.identity.form.show(&value).into_bytes();
        if text.len() as u64 > MAX_TEXT {
            return Err(ViewError::TooBig {
                what: "the text of the value".into(),
                size: text.len() as u64,
                limit: MAX_TEXT,
            });
        }
        let text = Arc::new(text);
        self.documents.keep(&document.identity, writes, &text);
        Ok(text)
    }

    /// Saves a file, if it is at a document's place and has something to be saved.
    pub(super) fn save(&self, file: &Arc<File>) -> Result<()> {
        let mut content = file.content.lock();
        let Some(place) = content.place.clone() else {
            return Ok(());
        };
        if content.state != State::Written || place.stem().is_none() {
            return Ok(());
        }
        self.save_to(&place, &content)?;
        content.state = State::Clean;
        self.documents.take_file(&place, file);
        Ok(())
    }

    /// Makes a text the value of a document, in one step.
    pub(super) fn save_to(&self, place: &Place, content: &Content) -> Result<()> {
        self.live.writable()?;
        let form = place.dir.form;
        let done = self.target(place).and_then(|document| {
            let value = form
                .read(content.text())
                .map_err(|why| ViewError::invalid("the text", why))?;
            let path = &document.path;
            self.live.put_whole(path, MAX_TEXT, &|old| match old {
                Some(old) => form.over(value.clone(), old),
                None => value.clone(),
            })?;
            Ok(document)
        });
        match done {
            Ok(document) => {
                let mut state = self.documents.state.lock();
                state.errors.remove(place);
                state.aside.remove(&document.identity);
                Ok(())
            }
            Err(e) => {
                self.note(place, &e);
                Err(e)
            }
        }
    }

    /// Keeps what was wrong with a save.
    pub(super) fn note(&self, place: &Place, e: &ViewError) {
        let why = match (e, std::error::Error::source(e)) {
            (ViewError::Invalid { why, .. }, _) => why.to_string(),
            (e, Some(source)) => format!("{e}: {source}"),
            (e, None) => e.to_string(),
        };
        let name = self.full_name(place);
        self.live.keep_error(format!("{name}: {why}"));
        let mut state = self.documents.state.lock();
        if state.errors.len() >= MAX_FILES {
            state.errors.clear();
        }
        state.errors.insert(place.clone(), why);
    }

    /// A place as one would write it, from the root of the mount.
    fn full_name(&self, place: &Place) -> String {
        let Dir { form, path } = &place.dir;
        let mut shown = [b".kfs/", form.directory(), b"/"].concat();
        for name in self.live.shown_path(path).unwrap_or_default() {
            shown.extend(form.directory_name(name));
            shown.push(b'/');
        }
        shown.extend_from_slice(&place.name);
        Name::from(&*shown).to_string()
    }

    /// What `.kfs/last-error` says.
    pub(in crate::view::control) fn last_error_text(&self) -> Vec<u8> {
        let mut text = self.live.last_error().unwrap_or_default();
        if !text.is_empty() {
            text.push('\n');
        }
        text.into_bytes()
    }
}

fn document(form: super::Form, path: KeyPath) -> Document {
    let identity = Dir {
        form,
        path: path.clone(),
    };
    Document { path, identity }
}
