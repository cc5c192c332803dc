//! Stores in which somebody has put blobs of his own making, with checksums that hold.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use konserve_fs::backend::memory::Memory;
use konserve_fs::backend::{
    Access, Backend, Batch, Deadline, Kind, Lock, Precondition, Result as BackendResult,
};
use konserve_fs::codec::{Codec, Compressor};
use konserve_fs::journal::Journal;
use konserve_fs::store::{
    ConnectOptions, CreateOptions, Custom, Finding, Location, Store, Watcher, check, read_parts,
};
use konserve_fs::value::{Key, Value, cbor};
use uuid::Uuid;

/// A store and its blobs, and what is changed in it: the page of a large document.
struct Model {
    dir: PathBuf,
    id: Uuid,
    blobs: Vec<(Vec<u8>, Vec<u8>)>,
    record: Vec<u8>,
    parts: (Vec<u8>, Vec<u8>),
    page: [u8; 32],
    /// The last record of the journal that is in the blobs.
    folded: u64,
}

impl Model {
    fn storage(&self) -> Arc<Memory> {
        let memory = Memory::new();
        let mut batch = Batch::new();
        for (address, blob) in &self.blobs {
            batch.put(address.clone(), blob.clone(), Precondition::Any);
        }
        memory.apply(batch, soon()).expect("the storage takes it");
        Arc::new(memory)
    }
}

/// Watches a check and says nothing.
struct Silent;

impl Watcher for Silent {
    fn read(&mut self, _: u64) -> bool {
        true
    }

    fn found(&mut self, _: Finding) {}
}

/// Gives out one storage.
struct Held(Arc<Memory>);

impl Kind for Held {
    fn exists(&self, _: &Path) -> BackendResult<bool> {
        Ok(!self.0.list(b"", None, 1, soon())?.is_empty())
    }

    fn create(&self, _: &Path, _: Lock) -> BackendResult<Arc<dyn Backend>> {
        Ok(Arc::clone(&self.0) as _)
    }

    fn open(&self, _: &Path, _: Access, _: Lock) -> BackendResult<Arc<dyn Backend>> {
        Ok(Arc::clone(&self.0) as _)
    }
}

fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(60))
}

fn location(dir: &Path, memory: &Arc<Memory>) -> Location {
    Location::Custom(Custom {
        scheme: "held",
        dir: dir.to_owned(),
        kind: Arc::new(Held(Arc::clone(memory))),
    })
}

static MODEL: OnceLock<Model> = OnceLock::new();

fn model() -> &'static Model {
    MODEL.get_or_init(|| {
        let dir = std::env::temp_dir().join(format!("kfs-fuzz-{}", std::process::id()));
        let memory = Arc::new(Memory::new());
        let store = Store::create(&location(&dir, &memory), &CreateOptions::default())
            .expect("a store is made");
        let entries = (0..200).map(|n| (Key::text(&format!("key {n}")), Value::Int(n)));
        let id = store.id();
        store
            .assoc_in(&[Key::text("doc")], &Value::Map(entries.collect()))
            .expect("a document is written");
        store
            .assoc_in(&[Key::text("small")], &Value::Text("text".to_owned()))
            .expect("a document is written");
        store.release().expect("the store is folded");
        // It has nothing that is not folded, and takes long to be read.
        fs::remove_dir_all(dir.join("journal")).expect("the journal goes");
        let all = memory
            .list(b"", None, usize::MAX, soon())
            .expect("it lists");
        let get = |address: &Vec<u8>| {
            let blob = memory.get(address, soon()).expect("it reads");
            (address.clone(), blob.expect("it is there").bytes.clone())
        };
        let blobs: Vec<_> = all.iter().map(get).collect();
        let codec = Codec::new(id, Compressor::None);
        let pages: Vec<[u8; 32]> = (all.iter())
            .filter_map(|address| address.strip_prefix(b"p")?.try_into().ok())
            .collect();
        let refers = |(address, blob): &(Vec<u8>, Vec<u8>)| {
            if !address.starts_with(b"r") {
                return None;
            }
            let opened = codec.open(address, blob).ok()?;
            let is_in = |page: &&[u8; 32]| opened.value.windows(32).any(|bytes| bytes == *page);
            let page = *pages.iter().find(is_in)?;
            let parts = (opened.meta.into_owned(), opened.value.into_owned());
            Some((address.clone(), parts, page))
        };
        let found = blobs.iter().find_map(refers);
        let (record, parts, page) = found.expect("a record refers to a page");
        let header = blobs.iter().find(|(address, _)| address == b"h");
        let header = header.expect("a store has a header");
        let opened = Codec::new(Uuid::nil(), Compressor::None).open(b"h", &header.1);
        let header = cbor::decode(&opened.expect("it opens").value).expect("it is CBOR");
        let Value::Map(header) = header else {
            panic!("it is a map");
        };
        let Some(&Value::Int(folded)) = header.get(&Key::text("folded")) else {
            panic!("it says what is folded");
        };
        Model {
            dir,
            id,
            blobs,
            record,
            parts,
            page,
            folded: folded.try_into().expect("a sequence number"),
        }
    })
}

/// A store with this record, and perhaps this page, is read and checked.
fn read(meta: &[u8], value: &[u8], page: Option<(&[u8; 32], &[u8])>) {
    let model = model();
    let codec = Codec::new(model.id, Compressor::None);
    let mut batch = Batch::new();
    let sealed = codec
        .seal(&model.record, meta, value)
        .expect("a record is sealed");
    batch.put(model.record.clone(), sealed, Precondition::Any);
    if let Some((address, bytes)) = page {
        let address = [b"p", &address[..]].concat();
        let sealed = codec
            .seal_page(&address, &[0], bytes)
            .expect("a page is sealed");
        batch.put(address, sealed, Precondition::Any);
    }
    let memory = model.storage();
    memory.apply(batch, soon()).expect("the storage takes it");
    let location = location(&model.dir, &memory);
    let options = ConnectOptions {
        read_only: true,
        cache: Some(1 << 20),
        ..ConnectOptions::default()
    };
    if let Ok(store) = Store::connect(&location, &options) {
        let keys: Vec<Key> = store
            .keys()
            .flatten()
            .map(|(key, _)| key)
            .take(10)
            .collect();
        for key in &keys {
            let _damaged = store.get_in(std::slice::from_ref(key));
            let _damaged = store.get_meta(key);
            let _damaged = store.get_in(&[key.clone(), Key::text("key 7")]);
        }
        let other = store
            .get_in(&[Key::text("small")])
            .expect("the other record is sound");
        assert_eq!(other, Some(Value::Text("text".to_owned())));
    }
    let _report = check(&location, None, &mut Silent);
}

/// The meta and the value of a record.
pub fn record(data: &[u8]) {
    let Some((&split, rest)) = data.split_first() else {
        return;
    };
    let (meta, value) = rest.split_at(usize::from(split).min(rest.len()));
    let _refused = read_parts(meta, value);
    // A fuzzer hardly finds a meta; the other half of the time it is the right one.
    let right = split % 2 == 0;
    read(
        if right { &model().parts.0 } else { meta },
        if right { rest } else { value },
        None,
    );
}

/// A page with these bytes, to which a record refers.
pub fn page(data: &[u8]) {
    let model = model();
    let key = blake3::derive_key("konserve-fs 2026 page address", model.id.as_bytes());
    let address = *blake3::keyed_hash(&key, data).as_bytes();
    let mut value = model.parts.1.clone();
    let at = value.windows(32).position(|bytes| *bytes == model.page);
    let at = at.expect("the record refers to the page");
    value[at..at + 32].copy_from_slice(&address);
    read(&model.parts.0, &value, Some((&address, data)));
}

/// The header of a store that nobody signed.
pub fn header(data: &[u8]) {
    let model = model();
    let codec = Codec::new(Uuid::nil(), Compressor::None);
    let Ok(sealed) = codec.seal(b"h", &[], data) else {
        return;
    };
    let memory = model.storage();
    let put = memory.put(b"h", &sealed, Precondition::Any, soon());
    put.expect("the storage takes it");
    let location = location(&model.dir, &memory);
    if let Ok(store) = Store::connect(&location, &ConnectOptions::default()) {
        let _refused = store.assoc_in(&[Key::text("new")], &Value::Int(1));
        let _folded = store.release();
    }
    let _report = check(&location, None, &mut Silent);
    let _none = fs::remove_dir_all(model.dir.join("journal"));
}

/// The payload of a journal's record that the store has yet to take in.
pub fn payload(data: &[u8]) {
    let model = model();
    let memory = model.storage();
    let location = location(&model.dir, &memory);
    let dir = model.dir.join("journal");
    let (journal, _) = Journal::open(&dir, &model.id, model.folded).expect("a journal is made");
    journal
        .append(model.folded + 1, data)
        .expect("a record is appended");
    drop(journal);
    if let Ok(store) = Store::connect(&location, &ConnectOptions::default()) {
        let _folded = store.release();
    }
    fs::remove_dir_all(dir).expect("the journal goes");
}
