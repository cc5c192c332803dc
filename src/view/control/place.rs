//! Where a change is made: in the live view, or in that of a transaction.

use std::sync::Arc;

use super::documents::of_documents;
use super::roots::{Branch, Handle};
use super::{At, Namespace, read_only};
use crate::view::types::{Attr, Ino, Opened, ROOT};
use crate::view::{Result, View, ViewError};

/// A view that can be changed, and an inode or a handle of it.
pub(super) struct Place<'n> {
    shown: &'n Namespace,
    branch: Option<Arc<Branch>>,
    /// Its number in the view.
    pub number: u64,
}

impl Namespace {
    /// Where an inode is to be changed.
    pub(super) fn to_change(&self, ino: Ino) -> Result<Place<'_>> {
        let (branch, number) = match self.at(ino)? {
            At::Live => (None, ino),
            At::Control(_) => {
                return Err(ViewError::NotPermitted {
                    what: ".kfs".into(),
                    why: "what is in it cannot be changed like this".into(),
                });
            }
            At::Document(_) => return Err(of_documents()),
            At::Branch(branch, _) if branch.is_snapshot() => return Err(read_only()),
            At::Branch(branch, local) => (Some(branch), local),
        };
        Ok(Place {
            shown: self,
            branch,
            number,
        })
    }

    /// Where an open file is to be changed.
    pub(super) fn to_write(&self, fh: u64) -> Result<Place<'_>> {
        let (branch, number) = match self.roots.handle(fh)? {
            Handle::Live => (None, fh),
            Handle::Branch(branch, _) if branch.has_ended() => {
                return Err(ViewError::Stale { ino: ROOT });
            }
            Handle::Branch(branch, local) if !branch.is_snapshot() => (Some(branch), local),
            Handle::Document(_) => {
                return Err(ViewError::NotSupported {
                    what: "a document".into(),
                    why: "it is a text, which is written whole".into(),
                });
            }
            Handle::Control(_) | Handle::File(_) | Handle::Branch(..) => {
                let operation = "writing";
                return Err(ViewError::BadHandle { fh, operation });
            }
        };
        Ok(Place {
            shown: self,
            branch,
            number,
        })
    }
}

impl Place<'_> {
    pub fn view(&self) -> &View {
        match &self.branch {
            Some(branch) => &branch.view,
            None => &self.shown.live,
        }
    }

    /// What an operation of the view says of an inode, as it is known outside.
    pub fn show(&self, attr: Attr, counted: bool) -> Attr {
        match &self.branch {
            Some(branch) => self.shown.shown(branch, attr, counted),
            None => attr,
        }
    }

    /// A handle of the view, as it is known outside.
    pub fn opened(&self, opened: Opened) -> Opened {
        let fh = match &self.branch {
            Some(branch) => branch.opened(opened.fh),
            None => opened.fh,
        };
        Opened { fh, ..opened }
    }

    /// That another place is in the same view, so that something can move from one to the other.
    pub fn with(&self, other: &Self) -> Result<()> {
        let tag = |place: &Self| place.branch.as_ref().map(Arc::as_ptr);
        if tag(self) == tag(other) {
            return Ok(());
        }
        let name = |place: &Self| match place.branch {
            Some(_) => "a transaction",
            None => "what is outside of it",
        };
        Err(ViewError::CrossDevice {
            from: name(self).into(),
            to: name(other).into(),
        })
    }
}
