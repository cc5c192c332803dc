//! The records and the pages that they refer to.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use super::names::Names;
use super::{Check, Ended, Finding, Subject, key_of, reason, record_name};
use crate::backend::{Backend, BackendError, Deadline};
use crate::store::docs::Epochs;
use crate::store::header::{HEADER, Header};
use crate::store::mark::INCOMING;
use crate::store::record::{self, Doc, LIVE};
use crate::store::{Location, StoreError};
use crate::tree::{
    Entry, Node, PATIENCE, Pager, Reading, TreeError, Visitor, Walk, is_hidden, is_silence,
    links_key, root_dirs, root_key, snapshots, snapshots_key,
};
use crate::value::{Key, KeyPath};

/// The prefix of all records, live and kept.
const RECORDS: &[u8] = b"r";

/// Addresses asked for in one go.
const PAGE: usize = 512;

/// How often a record that changes all the time is looked at.
const ATTEMPTS: usize = 8;

/// The address of a page: a letter and a hash.
const PAGE_ADDRESS: usize = 33;

/// The walk through all documents.
pub(super) struct Documents<'a> {
    walk: Walk<'a>,
    /// Pages that are there and damaged.
    bad: HashSet<String>,
    /// Linked files, each with a path that leads to it.
    links: BTreeMap<u64, KeyPath>,
    /// The names of linked files, if there may be any and all can be read.
    names: Option<Names>,
    /// The addresses of all pages before the walk.
    pages: Vec<[u8; 32]>,
    /// Documents that are directories.
    dirs: u64,
    /// The hidden documents.
    hidden: BTreeMap<Key, Arc<Doc>>,
    /// Whether every record could be read.
    whole: bool,
    folded: Option<u64>,
    /// The snapshots of the records, as far as their list reads.
    epochs: Epochs,
}

/// What is wrong below an entry.
pub(super) type Flaw = (KeyPath, TreeError);

/// Keeps what a walk finds until it is sure.
struct Kept<'c, 'w> {
    check: &'c mut Check<'w>,
    links: &'c mut BTreeMap<u64, KeyPath>,
    flaws: Vec<Flaw>,
}

impl Visitor for Kept<'_, '_> {
    fn page(&mut self, bytes: u64) -> Result<(), TreeError> {
        if self.check.read(bytes) {
            return Ok(());
        }
        Err(TreeError::malformed("a check", "it was told to end"))
    }

    fn damaged(&mut self, path: &KeyPath, error: TreeError) -> Result<(), TreeError> {
        if is_silence(&error) {
            return Err(error);
        }
        self.flaws.push((path.clone(), error));
        Ok(())
    }

    fn link(&mut self, path: &KeyPath, id: u64) {
        self.links.entry(id).or_insert_with(|| path.clone());
    }
}

fn deadline() -> Deadline {
    Deadline::after(PATIENCE)
}

impl<'a> Documents<'a> {
    pub fn new(subject: &'a Subject) -> Result<Self, Ended> {
        Ok(Self {
            walk: Walk::new(&subject.pager, Reading::All),
            bad: HashSet::new(),
            links: BTreeMap::new(),
            names: may_have_links(subject).then(Names::default),
            pages: pages(&**subject.pager.backend())?,
            dirs: 0,
            hidden: BTreeMap::new(),
            whole: true,
            folded: folded(subject),
            epochs: epochs(subject),
        })
    }

    /// Walks through all records.
    pub fn records(&mut self, subject: &Subject, check: &mut Check<'_>) -> Result<(), Ended> {
        let backend = subject.pager.backend();
        let mut after: Option<Vec<u8>> = None;
        loop {
            let listed = backend.list(RECORDS, after.as_deref(), PAGE, deadline());
            let listed = match listed {
                Ok(listed) => listed,
                Err(BackendError::Damage { reason, .. }) => {
                    let path = after.as_deref().map(key_of).unwrap_or_default();
                    let what = if path.is_empty() {
                        "the records"
                    } else {
                        "the records from here on"
                    };
                    check.found(Finding::damage(&path, what, reason));
                    self.whole = false;
                    return Ok(());
                }
                Err(error) => return Err(error.into()),
            };
            let Some(last) = listed.last() else {
                return Ok(());
            };
            after = Some(last.clone());
            for address in &listed {
                if address.starts_with(LIVE) {
                    self.record(subject, address, check)?;
                } else {
                    self.kept(subject, address, check)?;
                }
            }
        }
    }

    /// What is kept for a snapshot. In use it may be cleared away while it is looked at.
    fn kept(
        &mut self,
        subject: &Subject,
        address: &[u8],
        check: &mut Check<'_>,
    ) -> Result<(), Ended> {
        let doc = match record::load_any(address, &subject.pager) {
            Ok(Some((_, Some(doc)))) => doc,
            Ok(Some((_, None)) | None) => return Ok(()),
            Err(error) if is_failure(&error) => return Err(Ended::Failed(error)),
            Err(error) => {
                let what = record_name(address);
                check.found(Finding::damage(&key_of(address), what, reason(error)));
                return Ok(());
            }
        };
        if !check.read(doc.weight()) {
            return Err(Ended::Told);
        }
        let flaws = self.entry_of_other(&doc.entry, &key_of(address), check)?;
        let gone = || matches!(record::load_any(address, &subject.pager), Ok(None));
        if flaws.is_empty() || (subject.live && gone()) {
            return Ok(());
        }
        for flaw in flaws {
            let mut finding = of_page(flaw, Some(&doc.entry), &subject.pager);
            self.bad.insert(finding.what.clone());
            finding.what = format!("{}, in {}", finding.what, record_name(address));
            check.found(finding);
        }
        Ok(())
    }

    /// Whether snapshots still have what the live record has replaced.
    fn is_kept(&self, subject: &Subject, address: &[u8], doc: &Doc) -> Result<bool, Ended> {
        let Some(epoch) = self.epochs.before(doc.seq) else {
            return Ok(true);
        };
        let backend = subject.pager.backend();
        for epoch in self.epochs.from(epoch) {
            let kept = record::address_at(*epoch, address);
            if backend.get_range(&kept, 0..0, deadline())?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// One record. If it was replaced while its pages were read, it is looked at again.
    fn record(
        &mut self,
        subject: &Subject,
        address: &[u8],
        check: &mut Check<'_>,
    ) -> Result<(), Ended> {
        let mut loaded = record::load(address, &subject.pager);
        for attempt in 0..ATTEMPTS {
            let (key, doc) = match loaded {
                Ok(Some(loaded)) => loaded,
                // Removed since it was listed.
                Ok(None) => return Ok(()),
                Err(error) if is_failure(&error) => return Err(Ended::Failed(error)),
                Err(error) => {
                    self.lost(address, reason(error), check);
                    return Ok(());
                }
            };
            if attempt == 0 {
                check.report.records += 1;
            }
            if !check.read(doc.weight()) {
                return Err(Ended::Told);
            }
            let flaws = self.entry(&doc.entry, std::slice::from_ref(&key), check)?;
            if !flaws.is_empty() && subject.live && attempt + 1 < ATTEMPTS {
                loaded = record::load(address, &subject.pager);
                if !matches!(&loaded, Ok(Some((_, again))) if again.seq == doc.seq) {
                    continue;
                }
            }
            for flaw in flaws {
                let finding = of_page(flaw, Some(&doc.entry), &subject.pager);
                self.bad.insert(finding.what.clone());
                check.found(finding);
            }
            if !subject.live && key != snapshots_key() && !self.is_kept(subject, address, &doc)? {
                let reason = "what it was in an earlier snapshot is missing";
                check.found(Finding::damage(
                    std::slice::from_ref(&key),
                    record_name(address),
                    reason,
                ));
            }
            if is_hidden(&key) {
                self.hidden.insert(key, doc);
                return Ok(());
            }
            self.dirs += u64::from(doc.entry.is_dir());
            // The walk meets a page once, the names in it count wherever it stands.
            if let Some(names) = &mut self.names
                && names.add(&key, &doc.entry, &subject.pager).is_err()
            {
                self.names = None;
            }
            return Ok(());
        }
        Ok(())
    }

    fn lost(&mut self, address: &[u8], reason: String, check: &mut Check<'_>) {
        self.whole = false;
        check.found(Finding::damage(
            &key_of(address),
            record_name(address),
            reason,
        ));
    }

    /// Walks through an entry.
    pub fn entry(
        &mut self,
        entry: &Entry,
        path: &[Key],
        check: &mut Check<'_>,
    ) -> Result<Vec<Flaw>, Ended> {
        let mut kept = Kept {
            check,
            links: &mut self.links,
            flaws: Vec::new(),
        };
        match self.walk.entry(path, entry, &mut kept) {
            Ok(()) => Ok(kept.flaws),
            Err(_) if kept.check.told => Err(Ended::Told),
            Err(error) => {
                let key = path.first().cloned().unwrap_or_else(root_key);
                Err(Ended::Failed(StoreError::tree(&key, error)))
            }
        }
    }

    /// Walks through an entry of the journal or of a snapshot. The file that a name in it leads to
    /// stands elsewhere.
    pub fn entry_of_other(
        &mut self,
        entry: &Entry,
        path: &[Key],
        check: &mut Check<'_>,
    ) -> Result<Vec<Flaw>, Ended> {
        let links = std::mem::take(&mut self.links);
        let flaws = self.entry(entry, path, check);
        self.links = links;
        flaws
    }

    /// What can only be said once everything was seen.
    pub fn finish(mut self, subject: &Subject, check: &mut Check<'_>) -> Result<(), Ended> {
        let quiet = self.folded.is_some() && folded(subject) == self.folded;
        if quiet && self.whole {
            self.counts(check);
            self.links(subject, check);
            self.names(subject, check);
        }
        check.report.pages = self.walk.seen().len() as u64;
        let backend = subject.pager.backend();
        strays(&**backend, check)?;
        let garbage = std::mem::take(&mut self.pages);
        for page in garbage {
            if self.walk.seen().contains(&page) || self.bad.contains(&page_name(&page)) {
                continue;
            }
            let address = crate::tree::page_key(&page);
            // What is damaged in what nobody needs is no damage.
            if let Ok(Some(blob)) = backend.get(&address, deadline()) {
                check.report.garbage += 1;
                check.report.garbage_bytes += blob.bytes.len() as u64;
                if !check.read(blob.bytes.len() as u64) {
                    return Err(Ended::Told);
                }
            }
        }
        Ok(())
    }

    /// What the root directory's hidden document says.
    fn counts(&self, check: &mut Check<'_>) {
        let root = self.hidden.get(&root_key());
        let said = root.map_or(0, |doc| root_dirs(&doc.entry));
        if root.is_some() && said != self.dirs {
            let reason = format!("it counts {said} directories, and there are {}", self.dirs);
            check.found(Finding::damage(&[], "the root directory", reason));
        }
    }

    /// The hidden document counts the names of linked files. What of it does not read was told.
    fn names(&self, subject: &Subject, check: &mut Check<'_>) {
        let files = self.hidden.get(&links_key()).map(|doc| &doc.entry);
        if let Some(names) = &self.names
            && let Ok(findings) = names.compare(files, &self.links, &subject.pager)
        {
            for finding in findings {
                check.found(finding);
            }
        }
    }

    /// Names of files with several names must lead to one.
    fn links(&self, subject: &Subject, check: &mut Check<'_>) {
        let files = self.hidden.get(&links_key());
        for (id, path) in &self.links {
            let file = files
                .and_then(|doc| doc.entry.children())
                .map(|files| files.get(&Key::index(*id), &subject.pager));
            match file {
                Some(Ok(Some(_))) => {}
                Some(Err(_)) => {
                    let reason = "it cannot be read, see the linked files";
                    check.found(Finding::damage(
                        path,
                        format!("the linked file {id}"),
                        reason,
                    ));
                }
                Some(Ok(None)) | None => {
                    let reason = "there is no such file";
                    check.found(Finding::damage(
                        path,
                        format!("the linked file {id}"),
                        reason,
                    ));
                }
            }
        }
    }
}

/// The snapshots that the records are of. A list that does not read is told of as any record.
fn epochs(subject: &Subject) -> Epochs {
    let list = record::load(&record::address(&snapshots_key()), &subject.pager);
    let root = list.ok().flatten().map(|(_, doc)| doc.entry.clone());
    let listed = snapshots::list(root.as_ref(), &subject.pager);
    Epochs::of(&listed.unwrap_or_default())
}

/// Whether there is the document of linked files, readable or not.
fn may_have_links(subject: &Subject) -> bool {
    let address = record::address(&links_key());
    let found = subject.pager.backend().get(&address, deadline());
    !matches!(found, Ok(None))
}

/// A page for messages.
fn page_name(addr: &[u8]) -> String {
    format!("page {}", crate::tree::hex(addr))
}

/// A flaw as a finding; `document` is what the path leads through.
pub(super) fn of_page((path, error): Flaw, document: Option<&Entry>, pager: &Pager) -> Finding {
    let (what, reason) = match error {
        TreeError::MissingPage { page } => (format!("page {page}"), "missing".to_owned()),
        TreeError::DamagedPage { page, source } => {
            (format!("page {page}"), source.check.to_string())
        }
        TreeError::Malformed { what, reason } => (what, reason),
        TreeError::Backend(BackendError::Damage {
            address, reason, ..
        }) => match address.bytes().split_first() {
            Some((b'p', page)) => (page_name(page), reason),
            _ => (address.to_string(), reason),
        },
        other => ("a page".to_owned(), other.to_string()),
    };
    let mut finding = Finding::damage(&path, what, reason);
    let below = path.get(1..).unwrap_or_default();
    finding.in_vector = document.map_or_else(Vec::new, |entry| in_vector(entry, below, pager));
    finding
}

/// Which keys of a path are places in a vector, the document's own first.
fn in_vector(document: &Entry, path: &[Key], pager: &Pager) -> Vec<bool> {
    let mut found = vec![false];
    let mut entry = document.clone();
    for key in path {
        found.push(matches!(entry.node, Node::Vector(_)));
        let child = entry.children().map(|map| map.get(key, pager));
        match child {
            Some(Ok(Some(child))) => entry = child,
            _ => break,
        }
    }
    found
}

/// Whether an error says nothing of what was to be read.
fn is_failure(error: &StoreError) -> bool {
    matches!(error, StoreError::Backend(e) if e.is_silence())
}

/// The fold that the records are of.
fn folded(subject: &Subject) -> Option<u64> {
    let backend = subject.pager.backend();
    let unnamed = Location::Memory(subject.id);
    let header: Result<_, StoreError> = Header::read(&**backend, &unnamed, deadline());
    Some(header.ok()??.folded)
}

/// The addresses of all pages. Where the listing fails, what was found before: only garbage is
/// counted by them.
fn pages(backend: &dyn Backend) -> Result<Vec<[u8; 32]>, Ended> {
    let mut pages = Vec::new();
    let mut after: Option<Vec<u8>> = None;
    loop {
        let listed = match backend.list(b"p", after.as_deref(), PAGE, deadline()) {
            Ok(listed) => listed,
            Err(BackendError::Damage { .. }) => return Ok(pages),
            Err(error) => return Err(error.into()),
        };
        let Some(last) = listed.last() else {
            return Ok(pages);
        };
        after = Some(last.clone());
        pages.extend(listed.iter().filter_map(|address| {
            let (_, hash) = address.split_first()?;
            <[u8; 32]>::try_from(hash).ok()
        }));
    }
}

/// Blobs that are no part of a store.
fn strays(backend: &dyn Backend, check: &mut Check<'_>) -> Result<(), Ended> {
    let mut after: Option<Vec<u8>> = None;
    loop {
        let listed = match backend.list(b"", after.as_deref(), 1, deadline()) {
            Ok(listed) => listed,
            Err(BackendError::Damage { .. }) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let Some(address) = listed.into_iter().next() else {
            return Ok(());
        };
        let known = match address.first() {
            Some(b'h') => address == HEADER,
            Some(b'i') => address == INCOMING,
            Some(b'p') => address.len() == PAGE_ADDRESS,
            Some(b'r') => address.len() > LIVE.len(),
            _ => false,
        };
        after = Some(if !known {
            let mut finding =
                Finding::damage(&[], format!("blob {}", address.escape_ascii()), FOREIGN);
            finding.harmless = true;
            check.found(finding);
            address
        } else if address == HEADER || address == INCOMING {
            address
        } else {
            // Behind all others of its kind.
            let kind = address.first().copied().unwrap_or_default();
            let behind = [vec![kind], vec![0xFF; crate::backend::MAX_ADDRESS - 1]];
            behind.concat()
        });
    }
}

const FOREIGN: &str = "it does not belong to a store";
