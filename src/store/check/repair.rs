//! Taking out what is damaged, so that the rest can be used.
//!
//! Nothing damaged is thrown away: files and blobs that are replaced are kept aside first. What is
//! taken out of documents is named by key and path.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::names::Names;
use super::records::of_page;
use super::{Finding, HEADER, Report, Watcher, check, key_of, reason, record_name};
use crate::backend::embedded::{self, Embedded};
use crate::backend::encrypted::Encrypted;
use crate::backend::{Access, Backend, BackendError, Deadline, Precondition, file, replace_dir};
use crate::codec::{Codec, Compressor, Serializers, Settings};
use crate::crypt::{Cipher, CryptError, Secret};
use crate::journal::{self, Journal, JournalRecord};
use crate::store::commit::{read_payload, seal_payload, write_payload};
use crate::store::docs::Docs;
use crate::store::front;
use crate::store::header::{self, Header};
use crate::store::lifecycle::{self, JOURNAL};
use crate::store::record::{self, Doc, LIVE};
use crate::store::storage::{self, in_use};
use crate::store::{ConnectOptions, Location, Store, StoreError, clock, keys};
use crate::tree::{
    Cut, Entry, Folder, Node, Op, PATIENCE, Pager, Time, links_key, page_key, root_dirs, root_key,
    snapshots, snapshots_key,
};
use crate::value::stack::on_own_stack;
use crate::value::{Key, Value};

/// Deep documents are gone through by recursion. Only what is used of it is taken.
const STACK: usize = 512 << 20;

/// The prefix of all records.
const RECORDS: &[u8] = b"r";

/// Where what is damaged is kept, in the store's directory.
const QUARANTINE: &str = "quarantine";

/// What a repair has done.
#[derive(Debug)]
pub struct Repair {
    /// What was taken out or lost.
    pub cuts: Vec<Finding>,
    /// Where the damaged files and blobs are; `None` if there were none.
    pub aside: Option<PathBuf>,
    /// The check afterwards.
    pub report: Report,
    /// What it still found.
    pub left: Vec<Finding>,
}

/// Collects what a check finds.
#[derive(Default)]
struct Collected(Vec<Finding>);

impl Watcher for Collected {
    fn read(&mut self, _: u64) -> bool {
        true
    }

    fn found(&mut self, finding: Finding) {
        self.0.push(finding);
    }
}

/// Repairs a store that nobody uses: keeps what is damaged in `aside` (a directory in the store if
/// not given), takes it out of the store, and checks again. `key` opens it, if it is encrypted; what is
/// kept aside then is so, too.
///
/// # Errors
/// Those of [`check`]; [`StoreError::BadLocation`] for a store that is not on disk. A repair that
/// ended early can be done again.
pub fn repair(
    location: &Location,
    key: Option<&Secret>,
    aside: Option<&Path>,
) -> Result<Repair, StoreError> {
    let Some(dir) = location.directory() else {
        return Err(StoreError::BadLocation {
            location: location.to_string(),
            reason: "only a store on disk can be repaired".to_owned(),
        });
    };
    let mut found = Collected::default();
    let report = check(location, key, &mut found)?;
    if report.damaged == 0 {
        return Ok(Repair {
            cuts: Vec::new(),
            aside: None,
            report,
            left: found.0,
        });
    }
    let aside = aside.map_or_else(|| dir.join(QUARANTINE).join(stamp()), Path::to_owned);
    make_dir(&aside)?;
    // What is repaired may stand in a front as it was.
    front::take_mark(dir)?;
    let mut cuts = Vec::new();
    // What was wrong in the records may come again with the journal, which holds results: then they
    // are gone through once more.
    let mut again = true;
    loop {
        deep(|| all(location, (dir, key), &aside, &mut cuts))?;
        // Folds what the journal has: from here on the store is as any other.
        let options = ConnectOptions {
            key: key.cloned(),
            ..ConnectOptions::default()
        };
        Store::connect(location, &options)?.release()?;
        let mut left = Collected::default();
        let report = check(location, key, &mut left)?;
        if report.damaged == 0 || !std::mem::take(&mut again) {
            return Ok(Repair {
                cuts,
                aside: Some(aside),
                report,
                left: left.0,
            });
        }
    }
}

/// A name for the quarantine: seconds since 1970.
fn stamp() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.unwrap_or_default().as_secs().to_string()
}

fn make_dir(dir: &Path) -> Result<(), StoreError> {
    fs::create_dir_all(dir).map_err(|source| StoreError::Io {
        what: format!("creating {}", dir.display()),
        source,
    })
}

fn deadline() -> Deadline {
    Deadline::after(PATIENCE)
}

fn all(
    location: &Location,
    (dir, key): (&Path, Option<&Secret>),
    aside: &Path,
    cuts: &mut Vec<Finding>,
) -> Result<(), StoreError> {
    match location {
        Location::Embedded(_) => engine(location, dir, aside, cuts)?,
        Location::File(_) => {
            let lost = file::repair(dir, aside).map_err(|e| in_use(location, e))?;
            cuts.extend(lost.into_iter().map(Finding::of_file));
        }
        // What another's storage has of its own cannot be made anew.
        Location::Lmdb(_) | Location::RocksDb(_) | Location::Custom(_) | Location::Memory(_) => {}
    }
    let backend = storage::open(location, dir, Access::ReadWrite, Duration::ZERO)?;
    let cipher = keys::unlock(&*backend, location, key)?;
    let below = Below { backend, cipher };
    below.remove_foreign(aside, cuts)?;
    let backend = keys::over(Arc::clone(&below.backend), below.cipher.as_ref());
    let header = header(location, (dir, &*backend), &below, aside, cuts)?;
    let codec = header.codec(&Serializers::default(), location)?;
    let pager = Arc::new(Pager::new(
        Arc::clone(&backend),
        codec,
        header.pages,
        1 << 20,
    ));
    let mut knife = Knife {
        pager: Arc::clone(&pager),
        below,
        header,
        aside: aside.to_owned(),
        files: None,
        bad: Vec::new(),
        cuts,
    };
    knife.records()?;
    knife.journal(dir)?;
    // What was written over the store as it was does not lie on what it is now.
    knife.header.clock = knife.header.clock.next();
    let header = knife.header.seal()?;
    backend.put(header::HEADER, &header, Precondition::Any, deadline())?;
    backend.sync(deadline())?;
    Ok(())
}

/// Makes a new engine of what can be read, if the present one is not sound.
fn engine(
    location: &Location,
    dir: &Path,
    aside: &Path,
    cuts: &mut Vec<Finding>,
) -> Result<(), StoreError> {
    let flaws = embedded::verify_closed(dir, &mut |_| true).map_err(|e| in_use(location, e))?;
    let opens = match Embedded::open(dir, Access::Read, Duration::ZERO) {
        Ok(_) => true,
        Err(BackendError::Damage { .. }) => false,
        Err(error) => return Err(in_use(location, error)),
    };
    if opens && flaws.iter().all(|flaw| flaw.harmless) {
        return Ok(());
    }
    let lost = embedded::rebuild(dir, aside)?;
    cuts.extend(lost.into_iter().map(Finding::of_file));
    Ok(())
}

/// The store's header, made anew if it cannot be read: the journal knows the store's id, and the
/// records how far they are.
fn header(
    location: &Location,
    (dir, backend): (&Path, &dyn Backend),
    below: &Below,
    aside: &Path,
    cuts: &mut Vec<Finding>,
) -> Result<Header, StoreError> {
    let why = match Header::read(backend, location, deadline()) {
        Ok(Some(header)) => return Ok(header),
        Ok(None) => "missing".to_owned(),
        Err(error @ (StoreError::Format { .. } | StoreError::Setting { .. })) => return Err(error),
        Err(error) => reason(error),
    };
    below.keep(header::HEADER, aside)?;
    let Some(id) = journal::owner(&dir.join(JOURNAL)) else {
        return Err(StoreError::NotAStore {
            location: location.to_string(),
            reason: format!(
                "its header cannot be read ({why}), and nothing else says which store it is; \
                 bring back a backup"
            ),
        });
    };
    cuts.push(Finding::damage(&[], HEADER, why));
    let codec = Codec::new(id, Compressor::Lz4);
    let mut header = Header {
        id,
        pages: below.cipher.as_ref().map_or(id, |cipher| cipher.page_id()),
        format: header::FORMAT,
        created: Time::now(),
        settings: Settings::default(),
        folded: 0,
        clock: Time::default(),
    };
    for address in addresses(backend)? {
        let blob = match backend.get(&address, deadline()) {
            Ok(Some(blob)) => blob,
            _ => continue,
        };
        if let Ok((_, Some(doc))) = record::decode_any(&address, &blob.bytes, &codec) {
            header.folded = header.folded.max(doc.seq);
            header.clock = header.clock.max(doc.last_write);
            header.created = header.created.min(doc.last_write);
        }
    }
    // What was folded last may have been removals, which leave no record.
    let records = journal::salvage(&dir.join(JOURNAL), &id, header.folded)?;
    if let Some(first) = records.first() {
        header.folded = header.folded.max(first.seq.saturating_sub(1));
    }
    backend.put(
        header::HEADER,
        &header.seal()?,
        Precondition::Any,
        deadline(),
    )?;
    Ok(header)
}

/// The addresses of all records, live and kept.
fn addresses(backend: &dyn Backend) -> Result<Vec<Vec<u8>>, StoreError> {
    let mut found: Vec<Vec<u8>> = Vec::new();
    loop {
        let after = found.last().map(Vec::as_slice);
        let mut more = backend.list(RECORDS, after, 1000, deadline())?;
        if more.is_empty() {
            return Ok(found);
        }
        found.append(&mut more);
    }
}

/// The storage itself, where everything is encrypted if there are keys.
struct Below {
    backend: Arc<dyn Backend>,
    cipher: Option<Arc<Cipher>>,
}

impl Below {
    /// Keeps a blob aside, as far as it can be read.
    fn keep(&self, address: &[u8], aside: &Path) -> Result<(), StoreError> {
        match &self.cipher {
            Some(cipher) => keep(&*self.backend, &cipher.conceal(address), aside),
            None => keep(&*self.backend, address, aside),
        }
    }

    /// Takes away what stands under addresses that no key of the store has made.
    fn remove_foreign(&self, aside: &Path, cuts: &mut Vec<Finding>) -> Result<(), StoreError> {
        let Some(cipher) = &self.cipher else {
            return Ok(());
        };
        let encrypted = Encrypted::new(Arc::clone(&self.backend), Arc::clone(cipher));
        for address in encrypted.foreign(deadline())? {
            keep(&*self.backend, &address, aside)?;
            self.backend
                .delete(&address, Precondition::Any, deadline())?;
            let what = format!("the blob at {}", address.escape_ascii());
            cuts.push(Finding::damage(&[], what, CryptError::Authentication));
        }
        Ok(())
    }
}

/// Keeps what stands at an address of a storage aside, as far as it can be read.
fn keep(backend: &dyn Backend, address: &[u8], aside: &Path) -> Result<(), StoreError> {
    let Ok(Some(blob)) = backend.get(address, deadline()) else {
        return Ok(());
    };
    let dir = aside.join("blobs");
    make_dir(&dir)?;
    // Long addresses do not fit into a name.
    let name: String = crate::tree::hex(address).chars().take(200).collect();
    let path = dir.join(name);
    fs::write(&path, &blob.bytes).map_err(|source| StoreError::Io {
        what: format!("writing {}", path.display()),
        source,
    })
}

/// Takes damage out of the records and the journal of an open engine.
struct Knife<'c> {
    pager: Arc<Pager>,
    below: Below,
    header: Header,
    aside: PathBuf,
    /// The linked files, once they are sound.
    files: Option<Entry>,
    /// Pages that are damaged.
    bad: Vec<Vec<u8>>,
    cuts: &'c mut Vec<Finding>,
}

impl Knife<'_> {
    fn records(&mut self) -> Result<(), StoreError> {
        let links = record::address(&links_key());
        let files = self.record(&links)?;
        self.files = files.as_ref().map(|doc| doc.entry.clone());
        let mut dirs = 0;
        let mut names = Names::default();
        let backend = Arc::clone(self.pager.backend());
        let root = record::address(&root_key());
        let list = record::address(&snapshots_key());
        for address in addresses(&*backend)? {
            if *address == *links || *address == *root {
                continue;
            }
            let Some(doc) = self.record(&address)? else {
                continue;
            };
            if !address.starts_with(LIVE) || *address == *list {
                continue;
            }
            dirs += u64::from(doc.entry.is_dir());
            if self.files.is_some()
                && let Some(key) = key_of(&address).first()
            {
                let counted = names.add(key, &doc.entry, &self.pager);
                counted.map_err(|error| StoreError::tree(key, error))?;
            }
        }
        self.root(&root, dirs)?;
        self.snapshots()?;
        if let Some(files) = files {
            self.names(&names, &files)?;
        }
        for address in std::mem::take(&mut self.bad) {
            self.below.keep(&address, &self.aside)?;
            backend.delete(&address, Precondition::Any, deadline())?;
        }
        Ok(())
    }

    /// Whether there is no linked file of this number.
    fn is_gone(files: Option<&Entry>, id: u64, pager: &Pager) -> bool {
        let files = files.and_then(Entry::children);
        let file = files.map(|files| files.get(&Key::index(id), pager));
        !matches!(file, Some(Ok(Some(_))))
    }

    /// The record at an address without what is damaged in it.
    fn record(&mut self, address: &[u8]) -> Result<Option<Arc<Doc>>, StoreError> {
        let (key, doc) = match record::load_any(address, &self.pager) {
            Ok(Some((key, Some(doc)))) => (key, doc),
            Ok(Some((_, None)) | None) => return Ok(None),
            Err(StoreError::Backend(error)) if error.is_silence() => return Err(error.into()),
            Err(error) => {
                self.below.keep(address, &self.aside)?;
                let what = record_name(address);
                let cut = Finding::damage(&key_of(address), what, reason(error));
                self.cuts.push(cut);
                self.take_away(address)?;
                return Ok(None);
            }
        };
        // The file that a name in a snapshot leads to is the snapshot's.
        let files = address.starts_with(LIVE).then(|| self.files.clone());
        let path = std::slice::from_ref(&key);
        let (kept, whole) = self.cut(&doc.entry, path, Some(&doc.entry), files)?;
        if whole {
            return Ok(Some(doc));
        }
        let Some(entry) = kept else {
            self.take_away(address)?;
            return Ok(None);
        };
        let doc = Doc { entry, ..*doc };
        self.put_at(address, &key, doc).map(Some)
    }

    /// Takes a record out of the store: what is kept for a snapshot becomes absent there, for without
    /// a record it would be looked for in a later one.
    fn take_away(&self, address: &[u8]) -> Result<(), StoreError> {
        let backend = self.pager.backend();
        match key_of(address).first() {
            Some(key)
                if !address.starts_with(LIVE) && record::address(key).len() == address.len() =>
            {
                let blob = record::seal_at(address, key, None, &self.pager)?;
                backend.put(address, &blob, Precondition::Any, deadline())?;
            }
            _ => drop(backend.delete(address, Precondition::Any, deadline())?),
        }
        Ok(())
    }

    /// The list of snapshots, if records are kept for one that is not on it: then it was lost, and
    /// they get other names.
    fn snapshots(&mut self) -> Result<(), StoreError> {
        let key = snapshots_key();
        let fail = |error| StoreError::tree(&key, error);
        let address = record::address(&key);
        let doc = record::load(&address, &self.pager)?.map(|(_, doc)| doc);
        let list = doc.map_or_else(snapshots::empty, |doc| doc.entry.clone());
        let known = snapshots::list(Some(&list), &self.pager).map_err(fail)?;
        let mut epochs: Vec<u64> = Vec::new();
        for address in addresses(&**self.pager.backend())? {
            let epoch = record::split(&address).map_or(0, |(epoch, _)| epoch);
            let lost = epoch > 0 && epoch <= self.header.folded;
            if lost && !known.iter().any(|snapshot| snapshot.epoch == epoch) {
                epochs.push(epoch);
            }
        }
        epochs.dedup();
        let Node::Map(mut map) = list.node else {
            return Ok(());
        };
        for epoch in &epochs {
            let name = format!("recovered-{epoch}");
            let entry = snapshots::taken(&name, self.header.clock);
            let done = map.insert(&Key::index(*epoch), entry, &self.pager);
            done.map_err(fail)?;
            let reason = format!("its name was lost; it is {name} now");
            let what = format!("snapshot number {epoch}");
            self.cuts.push(Finding::damage(&[], what, reason));
        }
        if epochs.is_empty() {
            return Ok(());
        }
        let doc = Doc {
            entry: Entry::plain(Node::Map(map)),
            last_write: self.header.clock,
            seq: self.header.folded,
        };
        self.put_at(&address, &key, doc).map(drop)
    }

    /// An entry without what is damaged in it, and whether that is all of it; `files` are the linked
    /// files if names must lead to one.
    fn cut(
        &mut self,
        entry: &Entry,
        path: &[Key],
        document: Option<&Entry>,
        files: Option<Option<Entry>>,
    ) -> Result<(Option<Entry>, bool), StoreError> {
        let pager = Arc::clone(&self.pager);
        let is_gone = |id| {
            let files = files.as_ref();
            files.is_some_and(|files| Self::is_gone(files.as_ref(), id, &pager))
        };
        let mut cut = Cut::new(&pager, &is_gone);
        let kept = cut.entry(entry, &mut path.to_vec());
        let kept = kept.map_err(|error| {
            let key = path.first().cloned().unwrap_or_else(root_key);
            StoreError::tree(&key, error)
        })?;
        let whole = cut.lost.is_empty();
        for lost in cut.lost {
            let finding = of_page(lost, document, &pager);
            let page = finding.what.strip_prefix("page ").and_then(unhex);
            self.bad.extend(page.map(|addr| page_key(&addr)));
            self.cuts.push(finding);
        }
        Ok((kept, whole))
    }

    /// Writes a document.
    fn put(&self, key: &Key, doc: Doc) -> Result<Arc<Doc>, StoreError> {
        self.put_at(&record::address(key), key, doc)
    }

    fn put_at(&self, address: &[u8], key: &Key, doc: Doc) -> Result<Arc<Doc>, StoreError> {
        let backend = self.pager.backend();
        let fail = |e| StoreError::tree(key, e);
        let mut folder = Folder::new(&self.pager, self.header.folded);
        let entry = folder.entry(&doc.entry).map_err(fail)?;
        for (addr, bytes) in folder.finish().pages {
            backend.put(&page_key(&addr), &bytes, Precondition::Any, deadline())?;
        }
        let doc = Doc { entry, ..doc };
        let blob = record::seal_at(address, key, Some(&doc), &self.pager)?;
        backend.put(address, &blob, Precondition::Any, deadline())?;
        Ok(Arc::new(doc))
    }

    /// The root directory, which counts the documents that are directories.
    fn root(&mut self, address: &[u8], dirs: u64) -> Result<(), StoreError> {
        let doc = self.record(address)?;
        if doc.as_ref().map_or(0, |doc| root_dirs(&doc.entry)) == dirs {
            return Ok(());
        }
        let count = i64::try_from(dirs).unwrap_or(i64::MAX);
        let node = Node::Scalar(Arc::new(Value::Int(count)));
        let attrs = doc.as_ref().and_then(|doc| doc.entry.attrs.clone());
        let doc = Doc {
            entry: Entry { attrs, node },
            last_write: self.header.clock,
            // Snapshots may share it.
            seq: doc.map_or(0, |doc| doc.seq),
        };
        self.put(&root_key(), doc).map(drop)
    }

    /// The hidden document of linked files, which counts their names.
    fn names(&mut self, names: &Names, files: &Doc) -> Result<(), StoreError> {
        let key = links_key();
        let fail = |error| StoreError::tree(&key, error);
        let Some(entry) = names.correct(&files.entry, &self.pager).map_err(fail)? else {
            return Ok(());
        };
        self.below.keep(&record::address(&key), &self.aside)?;
        let what = "the counts of linked files";
        let reason = "they were not those of the names, and are set right";
        self.cuts.push(Finding::damage(&[], what, reason));
        let doc = Doc { entry, ..*files };
        self.put(&key, doc).map(drop)
    }

    /// Keeps of the journal what can be applied, up to the first record that cannot.
    fn journal(&mut self, dir: &Path) -> Result<(), StoreError> {
        let (old, fresh) = (dir.join(JOURNAL), dir.join("journal.new"));
        let (id, folded) = (self.header.id, self.header.folded);
        let sound = journal::inspect(&old, &id, Some(folded))
            .is_ok_and(|found| found.flaws.iter().all(|flaw| flaw.harmless));
        let records = journal::salvage(&old, &id, folded)?;
        let docs = Docs::new(Arc::clone(&self.pager), 1 << 20);
        docs.read_epochs()?;
        let clock = clock::Clock::after(self.header.clock);
        let mut good: Vec<JournalRecord> = Vec::new();
        let mut same = true;
        for record in &records {
            let last = good.last().map_or(folded, |record| record.seq);
            if record.seq != last + 1 {
                break;
            }
            let Some((record, whole)) = self.journal_record(record)? else {
                break;
            };
            let applied = lifecycle::replay_records(
                std::slice::from_ref(&record),
                (u64::MAX, last),
                &docs,
                &clock,
                (&self.pager, self.below.cipher.as_deref()),
            );
            if !matches!(applied, Ok(seq) if seq == record.seq) {
                break;
            }
            same &= whole;
            good.push(record);
        }
        if sound && same && good.len() == records.len() {
            return Ok(());
        }
        let last = good.last().map_or(folded, |record| record.seq);
        if !sound || good.len() < records.len() {
            let reason = match records.len() - good.len() {
                0 => format!("it ends with record {last}"),
                more => format!("it ends with record {last}; {more} later ones are kept aside"),
            };
            self.cuts.push(Finding::damage(&[], JOURNAL, reason));
        }
        let failed = |source| StoreError::Io {
            what: format!("replacing {}", old.display()),
            source,
        };
        match fs::remove_dir_all(&fresh) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(failed(error));
            }
            _ => {}
        }
        let (journal, _) = Journal::open(&fresh, &id, folded)?;
        for record in &good {
            journal.append(record.seq, &record.payload)?;
        }
        journal.sync()?;
        drop(journal);
        replace_dir(&old, &fresh, &self.aside.join(JOURNAL)).map_err(failed)
    }

    /// A journal record without what is damaged in it, and whether that is all of it; `None` if it
    /// cannot be read.
    fn journal_record(
        &mut self,
        record: &JournalRecord,
    ) -> Result<Option<(JournalRecord, bool)>, StoreError> {
        let Ok(replay) = read_payload(record, self.below.cipher.as_deref()) else {
            return Ok(None);
        };
        let (mut ops, mut all) = (Vec::new(), true);
        for op in replay.ops {
            let Op::Put { path, entry, time } = op else {
                ops.push(op);
                continue;
            };
            let (kept, whole) = self.cut(&entry, &path, None, Some(self.files.clone()))?;
            all &= whole;
            ops.extend(kept.map(|entry| Op::Put { path, entry, time }));
        }
        if all {
            return Ok(Some((record.clone(), true)));
        }
        let written = write_payload(replay.time, &ops, &self.pager);
        let payload = written.map_err(|e| StoreError::tree(&root_key(), e))?;
        let seq = record.seq;
        let payload = seal_payload(self.below.cipher.as_deref(), seq, &payload)?.into_owned();
        Ok(Some((JournalRecord { seq, payload }, false)))
    }
}

/// An address from its hex digits.
fn unhex(text: &str) -> Option<[u8; 32]> {
    let digits = text.as_bytes().as_chunks::<2>().0;
    let mut addr = [0; 32];
    if digits.len() != addr.len() {
        return None;
    }
    for (to, pair) in addr.iter_mut().zip(digits) {
        *to = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(addr)
}

/// Runs what may go deep on a stack that is large enough.
fn deep<T: Send>(f: impl FnOnce() -> Result<T, StoreError> + Send) -> Result<T, StoreError> {
    let done = on_own_stack(STACK, f).map_err(|source| StoreError::Io {
        what: "starting a thread for the repair".to_owned(),
        source,
    });
    done.and_then(|done| done)
}
