//! Looking for damage: everything that a store consists of is read and compared with everything
//! that refers to it. Nothing is changed.
//!
//! A store that nobody uses is checked by [`check`], which needs no more of it than a directory:
//! what cannot be opened is a finding as well. One that is in use is checked beside its writers by
//! [`Store::check`]. There a record may be replaced and its pages freed while they are looked at:
//! what is wrong counts only if the record is still the same afterwards.

mod journal;
mod names;
mod records;
mod repair;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

pub use repair::{Repair, repair};

use super::front::behind::Mark;
use super::header::Header;
use super::lifecycle::JOURNAL;
use super::storage::{self, in_use, missing_or_other};
use super::{Location, Store, StoreError, keys, show_key};
use crate::backend::embedded;
use crate::backend::tiered::past_the_front;
use crate::backend::{Access, BackendError, Deadline, Flaw};
use crate::codec::{Codec, Compressor, Serializers};
use crate::crypt::{Cipher, Secret};
use crate::tree::{PATIENCE, Pager};
use crate::value::Key;

/// Something that is not as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The keys that lead to it, the document's own first; empty if it belongs to no document.
    pub path: Vec<Key>,
    /// Which of them are places in a vector.
    pub in_vector: Vec<bool>,
    /// What it is: a record, a page, a file.
    pub what: String,
    /// What is wrong with it.
    pub reason: String,
    /// Whether nothing depends on it.
    pub harmless: bool,
}

impl Finding {
    fn damage(path: &[Key], what: impl Into<String>, reason: impl ToString) -> Self {
        Self {
            path: path.to_vec(),
            in_vector: Vec::new(),
            what: what.into(),
            reason: reason.to_string(),
            harmless: false,
        }
    }

    fn of_file(flaw: Flaw) -> Self {
        Self {
            path: Vec::new(),
            in_vector: Vec::new(),
            what: flaw.place,
            reason: flaw.reason,
            harmless: flaw.harmless,
        }
    }
}

/// What a check looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Documents, the hidden ones included.
    pub records: u64,
    /// Pages that they refer to and that are sound.
    pub pages: u64,
    /// Journal records not yet folded.
    pub journal: u64,
    /// Bytes read.
    pub bytes: u64,
    /// Pages that nothing refers to. Beside writers it is about so many.
    pub garbage: u64,
    /// Bytes of those.
    pub garbage_bytes: u64,
    /// What is damaged.
    pub damaged: u64,
    /// What is odd and does no harm.
    pub odd: u64,
    /// Whether everything could be looked at.
    pub complete: bool,
}

/// Hears of a check as it goes on.
pub trait Watcher {
    /// So many bytes were read. Sets the pace by the time that it takes, and ends the check by
    /// giving false.
    fn read(&mut self, bytes: u64) -> bool;
    /// Something is wrong.
    fn found(&mut self, finding: Finding);
}

/// Checks a store that nobody uses, with what opens it, if it is encrypted.
///
/// # Errors
/// [`StoreError::Missing`], [`StoreError::NotAStore`], [`StoreError::InUse`],
/// [`StoreError::Format`], [`StoreError::KeyNeeded`], [`StoreError::NotEncrypted`],
/// [`StoreError::Key`], or a failure of the system. Damage is a [`Finding`].
pub fn check(
    location: &Location,
    key: Option<&Secret>,
    watcher: &mut dyn Watcher,
) -> Result<Report, StoreError> {
    let Some(dir) = location.directory() else {
        let options = super::ConnectOptions {
            key: key.cloned(),
            ..super::ConnectOptions::default()
        };
        return Store::connect(location, &options)?.check(watcher);
    };
    if !storage::exists(location, dir)? {
        return Err(missing_or_other(dir, location));
    }
    if let Some(mark) = Mark::read(dir)? {
        return Err(mark.refusal(location));
    }
    let mut check = Check::new(watcher);
    if let Some(subject) = open(location, (dir, key), &mut check)? {
        check.all(&subject)?;
    }
    Ok(check.report)
}

/// Opens what a check needs. Where that is not possible it is told why, and there is nothing more
/// to look at.
fn open(
    location: &Location,
    (dir, key): (&Path, Option<&Secret>),
    check: &mut Check<'_>,
) -> Result<Option<Subject>, StoreError> {
    let backend = match storage::open_backend(location, dir, Access::Read, Duration::ZERO) {
        Ok(backend) => backend,
        Err(BackendError::Damage { reason, .. }) => {
            let flaws = match location {
                Location::Embedded(_) => {
                    embedded::verify_closed(dir, &mut |bytes| check.read(bytes))?
                }
                // What it says of itself when it is opened is all there is to say.
                Location::File(_)
                | Location::Lmdb(_)
                | Location::RocksDb(_)
                | Location::Custom(_)
                | Location::Memory(_) => Vec::new(),
            };
            let known = flaws.iter().any(|flaw| !flaw.harmless);
            for flaw in flaws {
                check.found(Finding::of_file(flaw));
            }
            if !known {
                check.found(Finding::damage(&[], "the engine", reason));
            }
            return Ok(None);
        }
        Err(error) => return Err(in_use(location, error)),
    };
    let cipher = keys::unlock(&*backend, location, key)?;
    let backend = keys::over(backend, cipher.as_ref());
    let journal = dir.join(JOURNAL);
    let header = match Header::read(&*backend, location, Deadline::after(PATIENCE)) {
        Ok(Some(header)) => Some(header),
        Ok(None) => {
            check.found(Finding::damage(&[], HEADER, "missing"));
            None
        }
        Err(error @ (StoreError::Format { .. } | StoreError::Setting { .. })) => return Err(error),
        Err(error) => {
            check.found(Finding::damage(&[], HEADER, reason(error)));
            None
        }
    };
    if let Some(header) = &header {
        let deadline = Deadline::after(PATIENCE);
        super::mark::check_whole(&*backend, header, location, deadline)?;
    }
    let id = header.as_ref().map(|header| header.id);
    let Some(id) = id.or_else(|| crate::journal::owner(&journal)) else {
        for flaw in backend.verify(&mut |bytes| check.read(bytes))? {
            check.found(Finding::of_file(flaw));
        }
        return Ok(None);
    };
    let codec = match &header {
        Some(header) => header.codec(&Serializers::default(), location)?,
        None => Codec::new(id, Compressor::None),
    };
    let pages = header.as_ref().map_or(id, |header| header.pages);
    let pager = Pager::new(backend, codec, pages, 1 << 20);
    Ok(Some(Subject {
        pager: Arc::new(pager),
        id,
        header,
        cipher,
        journal: Some(journal),
        live: false,
    }))
}

const HEADER: &str = "the store's header";

/// What is checked.
struct Subject {
    pager: Arc<Pager>,
    id: Uuid,
    /// If it can be read.
    header: Option<Header>,
    /// What its journal is encrypted with.
    cipher: Option<Arc<Cipher>>,
    journal: Option<std::path::PathBuf>,
    /// Whether it is in use.
    live: bool,
}

/// A check under way.
struct Check<'w> {
    watcher: &'w mut dyn Watcher,
    report: Report,
    told: bool,
}

impl<'w> Check<'w> {
    fn new(watcher: &'w mut dyn Watcher) -> Self {
        Self {
            watcher,
            report: Report::default(),
            told: false,
        }
    }

    fn read(&mut self, bytes: u64) -> bool {
        self.report.bytes += bytes;
        self.told |= !self.watcher.read(bytes);
        !self.told
    }

    fn found(&mut self, finding: Finding) {
        if finding.harmless {
            self.report.odd += 1;
        } else {
            self.report.damaged += 1;
        }
        self.watcher.found(finding);
    }

    /// Looks at everything.
    fn all(&mut self, subject: &Subject) -> Result<(), StoreError> {
        match self.parts(subject) {
            Ok(()) => {
                self.report.complete = true;
                Ok(())
            }
            Err(Ended::Told) => Ok(()),
            Err(Ended::Failed(error)) => Err(error),
        }
    }

    fn parts(&mut self, subject: &Subject) -> Result<(), Ended> {
        let backend = subject.pager.backend();
        let flaws = backend.verify(&mut |bytes| self.read(bytes))?;
        for flaw in flaws {
            self.found(Finding::of_file(flaw));
        }
        self.go_on()?;
        let mut documents = records::Documents::new(subject)?;
        documents.records(subject, self)?;
        self.journal(subject, &mut documents)?;
        documents.finish(subject, self)
    }

    fn go_on(&self) -> Result<(), Ended> {
        if self.told { Err(Ended::Told) } else { Ok(()) }
    }
}

/// Why a check ended early.
enum Ended {
    /// It was told to.
    Told,
    /// The storage failed.
    Failed(StoreError),
}

impl From<BackendError> for Ended {
    fn from(error: BackendError) -> Self {
        Self::Failed(error.into())
    }
}

impl Store {
    /// Checks the store beside its writers.
    ///
    /// # Errors
    /// A failure of the storage. Damage is a [`Finding`].
    pub fn check(&self, watcher: &mut dyn Watcher) -> Result<Report, StoreError> {
        // A front may have what the store has lost.
        past_the_front(|| self.check_storage(watcher))
    }

    fn check_storage(&self, watcher: &mut dyn Watcher) -> Result<Report, StoreError> {
        let backend = self.pager().backend();
        let mut check = Check::new(watcher);
        let deadline = Deadline::after(PATIENCE);
        let header = match Header::read(&**backend, self.location(), deadline) {
            Ok(Some(header)) => Some(header),
            Ok(None) => {
                check.found(Finding::damage(&[], HEADER, "missing"));
                None
            }
            Err(error) => {
                check.found(Finding::damage(&[], HEADER, reason(error)));
                None
            }
        };
        let subject = Subject {
            pager: Arc::clone(&self.inner.pager),
            id: self.id(),
            header,
            cipher: self
                .inner
                .encrypted
                .as_ref()
                .map(|e| Arc::clone(e.cipher())),
            journal: self.inner.journal_dir.clone(),
            live: true,
        };
        check.all(&subject)?;
        Ok(check.report)
    }
}

/// What is wrong, without the name of what it is wrong with.
fn reason(error: StoreError) -> String {
    match error {
        StoreError::Damaged { source, .. } => source.check.to_string(),
        StoreError::Tree { source, .. } => source.to_string(),
        StoreError::NotAStore { reason, .. } => reason,
        StoreError::Backend(BackendError::Damage { reason, .. }) => reason,
        other => other.to_string(),
    }
}

/// The key that stands in a record's address, as far as it does.
fn key_of(address: &[u8]) -> Vec<Key> {
    let key = address.get(super::record::LIVE.len()..).unwrap_or_default();
    let known = [
        crate::tree::root_key(),
        crate::tree::links_key(),
        crate::tree::snapshots_key(),
    ];
    if let Some(hidden) = known.into_iter().find(|hidden| hidden.bytes() == key) {
        return vec![hidden];
    }
    Key::from_bytes(key).map_or_else(|_| Vec::new(), |key| vec![key])
}

/// A record for messages.
fn record_name(address: &[u8]) -> String {
    if let Some((epoch, _)) = super::record::split(address).filter(|(epoch, _)| *epoch > 0) {
        if epoch == super::incoming::EPOCH {
            return "a record on its way in".to_owned();
        }
        return format!("the record kept for snapshot number {epoch}");
    }
    match key_of(address).first() {
        Some(key) if crate::tree::is_hidden(key) => format!("the record of {}", show_key(key)),
        Some(_) => "the record".to_owned(),
        None => format!("the record {}", address.escape_ascii()),
    }
}
