//! `.kfs` and the directories in it.

use std::sync::Arc;

use super::documents::{Dir, Form, Node};
use super::files::FILES;
use super::roots::Branch;
use super::{KFS, LAST_ERROR, NAME, Namespace, PRIVATE, SNAPSHOT, SNAPSHOTS, TRANSACTIONS, TX};
use crate::snapshot::{self, SnapshotError};
use crate::store::StoreError;
use crate::value::KeyPath;
use crate::view::types::{Attr, DirItem, FileKind, Ino, Lasting, ROOT, Time};
use crate::view::{Result, View, ViewError, ViewOptions};

/// Where a listing goes on after `.` and `..`.
const DOTS: u64 = 2;

impl Namespace {
    /// What has a name in a control directory.
    pub(super) fn lookup_control(&self, dir: Ino, name: &[u8]) -> Result<Attr> {
        match (dir, name) {
            (ROOT, NAME) => Ok(self.control_attr(KFS)),
            (KFS, SNAPSHOT) => Ok(self.control_attr(SNAPSHOTS)),
            (KFS, TX) => Ok(self.control_attr(TRANSACTIONS)),
            (KFS, name) => {
                if let Some((_, ino)) = FILES.iter().find(|(known, _)| *known == name) {
                    return Ok(self.file_attr(*ino));
                }
                let node = beside(name).ok_or_else(|| not_found(dir, name))?;
                let attr = self.document_node_attr(&node)?;
                self.documents.enter(&node, 1);
                Ok(attr)
            }
            (TRANSACTIONS, name) => {
                let branch = self.transaction(name)?;
                let attr = branch.view.getattr(ROOT, None)?;
                Ok(self.shown(&branch, attr, true))
            }
            (SNAPSHOTS, name) => {
                let branch = self.branch(name)?;
                let attr = branch.view.getattr(ROOT, None)?;
                Ok(self.shown(&branch, attr, true))
            }
            _ => Err(not_found(dir, name)),
        }
    }

    /// The view of the snapshot that a name stands for.
    fn branch(&self, name: &[u8]) -> Result<Arc<Branch>> {
        let missing = || not_found(SNAPSHOTS, name);
        let text = std::str::from_utf8(name).map_err(|_| missing())?;
        let store = self.live.store();
        let listed = snapshot::list(store).map_err(|e| failed(text, e))?;
        let found = listed.iter().find(|s| s.name == text).ok_or_else(missing)?;
        let is_taken = |epoch| listed.iter().any(|s| s.epoch == epoch);
        self.roots.branch(found.epoch, is_taken, || {
            let options = ViewOptions {
                read_only: true,
                ..self.live.options
            };
            View::new(store.at(found.epoch), options)
        })
    }

    /// Takes a snapshot.
    pub(super) fn take(&self, name: &[u8]) -> Result<Attr> {
        self.live.writable()?;
        let invalid = || ViewError::invalid("a snapshot's name", "it is not UTF-8");
        let text = std::str::from_utf8(name).map_err(|_| invalid())?;
        snapshot::take(self.live.store(), text).map_err(|e| failed(text, e))?;
        self.lookup_control(SNAPSHOTS, name)
    }

    /// Drops a snapshot.
    pub(super) fn drop_snapshot(&self, name: &[u8]) -> Result<()> {
        self.live.writable()?;
        let text = std::str::from_utf8(name).map_err(|_| not_found(SNAPSHOTS, name))?;
        snapshot::remove(self.live.store(), text).map_err(|e| failed(text, e))
    }

    /// The attributes of a control directory or file.
    pub(super) fn control_attr(&self, ino: Ino) -> Attr {
        if FILES.iter().any(|(_, file)| *file == ino) {
            return self.file_attr(ino);
        }
        let store = self.live.store();
        let changed = match ino {
            SNAPSHOTS => self.last_taken(),
            _ => None,
        };
        let time = changed.unwrap_or_else(|| store.created());
        Attr {
            ino,
            size: 4096,
            blocks: 8,
            atime: time,
            mtime: time,
            ctime: time,
            crtime: store.created(),
            kind: FileKind::Dir,
            perm: PRIVATE,
            nlink: 2,
            uid: self.live.options.uid,
            gid: self.live.options.gid,
            rdev: 0,
            blksize: 4096,
            lasting: Lasting::Momentary,
        }
    }

    fn last_taken(&self) -> Option<Time> {
        let listed = snapshot::list(self.live.store()).ok()?;
        listed.last().map(|snapshot| snapshot.time)
    }

    /// Lists a control directory. The place of a snapshot or transaction is its epoch, so that a listing goes on where it
    /// was whatever comes and goes.
    pub(super) fn list_control(
        &self,
        dir: Ino,
        offset: u64,
        plus: bool,
        emit: &mut dyn FnMut(&DirItem<'_>) -> bool,
    ) -> Result<()> {
        let parent = if dir == KFS { ROOT } else { KFS };
        let dots = [(1, &b"."[..], dir), (DOTS, &b".."[..], parent)];
        for (at, name, ino) in dots.into_iter().filter(|(at, ..)| *at > offset) {
            if emit(&item(ino, at, name, None)) {
                return Ok(());
            }
        }
        if dir == KFS {
            return self.list_kfs(offset, plus, emit);
        }
        let listed: Vec<(u64, String)> = match dir {
            TRANSACTIONS => self.transactions.list(),
            _ => {
                let listed =
                    snapshot::list(self.live.store()).map_err(|e| failed("snapshot", e))?;
                listed.into_iter().map(|s| (s.epoch, s.name)).collect()
            }
        };
        for (epoch, name) in listed {
            let at = epoch.saturating_add(DOTS);
            if at <= offset {
                continue;
            }
            let name = name.as_bytes();
            let branch = match dir {
                TRANSACTIONS => self.transaction(name),
                _ => self.branch(name),
            };
            let branch = match branch {
                // It ended meanwhile.
                Err(ViewError::NotFound { .. }) => continue,
                branch => branch?,
            };
            let attr = branch.view.getattr(ROOT, None)?;
            let attr = self.shown(&branch, attr, plus);
            if emit(&item(attr.ino, at, name, plus.then_some(&attr))) {
                if plus {
                    self.roots.forget(attr.ino, 1);
                }
                return Ok(());
            }
        }
        Ok(())
    }

    fn list_kfs(
        &self,
        offset: u64,
        plus: bool,
        emit: &mut dyn FnMut(&DirItem<'_>) -> bool,
    ) -> Result<()> {
        let fixed = [(SNAPSHOT, SNAPSHOTS), (TX, TRANSACTIONS)].into_iter();
        let fixed = fixed.chain(FILES.iter().copied());
        let others = [LAST_ERROR].into_iter();
        let others = others.chain(Form::ALL.map(Form::directory));
        let names = fixed
            .map(|(name, ino)| (name, Some(ino)))
            .chain(others.map(|name| (name, None)));
        for (at, (name, ino)) in (DOTS + 1..).zip(names).filter(|(at, _)| *at > offset) {
            let attr = match (ino, beside(name)) {
                (None, Some(node)) => {
                    let attr = self.document_node_attr(&node)?;
                    self.documents.enter(&node, u64::from(plus));
                    attr
                }
                (ino, _) => self.control_attr(ino.unwrap_or(KFS)),
            };
            let shown = DirItem {
                kind: attr.kind,
                ..item(attr.ino, at, name, plus.then_some(&attr))
            };
            if emit(&shown) {
                if plus {
                    self.forget(attr.ino, 1);
                }
                return Ok(());
            }
        }
        Ok(())
    }
}

/// What stands in `.kfs` beside snapshots and transactions.
fn beside(name: &[u8]) -> Option<Node> {
    if name == LAST_ERROR {
        return Some(Node::LastError);
    }
    let form = Form::ALL
        .into_iter()
        .find(|form| form.directory() == name)?;
    let path = KeyPath::new();
    Some(Node::Dir(Dir { form, path }))
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

/// Names in control directories come and go without the kernel being told.
pub(super) fn not_found(parent: Ino, name: &[u8]) -> ViewError {
    ViewError::NotFound {
        parent,
        name: name.into(),
        lasting: Lasting::Momentary,
    }
}

pub(super) fn failed(name: &str, error: SnapshotError) -> ViewError {
    match error {
        SnapshotError::BadName { why, .. } => ViewError::invalid("a snapshot's name", why),
        SnapshotError::Store(StoreError::SnapshotExists { .. }) => {
            ViewError::exists(SNAPSHOTS, name.as_bytes())
        }
        SnapshotError::Store(StoreError::NoSnapshot { .. }) => {
            not_found(SNAPSHOTS, name.as_bytes())
        }
        SnapshotError::Store(error) => error.into(),
        other => ViewError::io("a snapshot", other),
    }
}
