//! Pages in and out of the backend: verified when read, cached by address.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use super::entry::{PageAddr, PageRef};
use super::error::TreeError;
use super::map::Run;
use super::page::read_run;
use crate::backend::{Backend, Deadline};
use crate::codec::Codec;
use crate::meter::Counter;

/// How long one call of the backend may take before the operation fails.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// What a decoded run takes beside its bytes, roughly: keys and entries are several times larger
/// in memory than in a page.
const DECODED_FACTOR: usize = 4;

/// Reads pages.
pub struct Pager {
    backend: Arc<dyn Backend>,
    codec: Codec,
    address_key: [u8; 32],
    runs: quick_cache::sync::Cache<PageAddr, Cached, Weight>,
    found: Counter,
    missed: Counter,
}

/// How a cache has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheUse {
    /// What was looked for and there.
    pub found: u64,
    /// What was looked for and not there.
    pub missed: u64,
    /// What is in it, in bytes of memory, roughly.
    pub bytes: u64,
    /// What can be in it.
    pub capacity: u64,
}

#[derive(Clone)]
enum Cached {
    Run(Arc<Run>, u32),
    Blob(Arc<[u8]>),
}

#[derive(Clone)]
struct Weight;

impl quick_cache::Weighter<PageAddr, Cached> for Weight {
    fn weight(&self, _: &PageAddr, page: &Cached) -> u64 {
        match page {
            Cached::Run(_, bytes) => u64::from(*bytes),
            Cached::Blob(b) => b.len() as u64 + 64,
        }
    }
}

impl std::fmt::Debug for Pager {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pager")
            .field("backend", &self.backend)
            .finish_non_exhaustive()
    }
}

/// The backend address of a page: `p` and the page's address.
pub fn page_key(addr: &PageAddr) -> Vec<u8> {
    let mut key = Vec::with_capacity(33);
    key.push(b'p');
    key.extend_from_slice(addr);
    key
}

impl Pager {
    /// A pager with a cache of about `cache` bytes. The addresses of pages are those of the store
    /// `of`: its own, or the one from which it got its first pages.
    pub fn new(backend: Arc<dyn Backend>, codec: Codec, of: uuid::Uuid, cache: u64) -> Self {
        let items = usize::try_from(cache / 4096).unwrap_or(1024).max(64);
        Self {
            backend,
            codec,
            address_key: blake3::derive_key("konserve-fs 2026 page address", of.as_bytes()),
            runs: quick_cache::sync::Cache::with_weighter(items, cache, Weight),
            found: Counter::default(),
            missed: Counter::default(),
        }
    }

    /// The backend below.
    pub fn backend(&self) -> &Arc<dyn Backend> {
        &self.backend
    }

    /// The codec of this store's blobs.
    pub fn codec(&self) -> &Codec {
        &self.codec
    }

    /// The deadline of a call that starts now.
    pub fn deadline(&self) -> Deadline {
        Deadline::after(PATIENCE)
    }

    /// The address of a page with these bytes.
    pub fn address(&self, bytes: &[u8]) -> PageAddr {
        *blake3::keyed_hash(&self.address_key, bytes).as_bytes()
    }

    /// The blob of a page with these bytes, as the backend stores it.
    pub fn seal(&self, addr: &PageAddr, birth: u64, bytes: &[u8]) -> Result<Vec<u8>, TreeError> {
        let mut meta = Vec::new();
        crate::value::cbor::Writer::new(&mut meta).uint(birth);
        self.codec
            .seal_page(&page_key(addr), &meta, bytes)
            .map_err(|source| TreeError::DamagedPage {
                page: hex(addr),
                source,
            })
    }

    /// The run in a page.
    pub fn run(&self, page: &Arc<PageRef>) -> Result<Arc<Run>, TreeError> {
        if let Some(Cached::Run(run, _)) = self.runs.get(&page.addr) {
            self.found.add(1);
            return Ok(run);
        }
        self.missed.add(1);
        let bytes = self.read(page)?;
        let run = Run::clean(read_run(&bytes)?, page);
        self.keep(page.addr, &run, bytes.len());
        Ok(run)
    }

    /// Remembers a run that a fold has just written.
    pub fn keep(&self, addr: PageAddr, run: &Arc<Run>, bytes: usize) {
        let weight = u32::try_from(bytes.saturating_mul(DECODED_FACTOR) + 256).unwrap_or(u32::MAX);
        self.runs.insert(addr, Cached::Run(Arc::clone(run), weight));
    }

    /// How the cache of pages has done.
    pub fn cache_use(&self) -> CacheUse {
        CacheUse {
            found: self.found.get(),
            missed: self.missed.get(),
            bytes: self.runs.weight(),
            capacity: self.runs.capacity(),
        }
    }

    /// Forgets the cached pages of which `keep` is false.
    pub fn retain(&self, keep: impl Fn(&PageAddr) -> bool) {
        self.runs.retain(|addr, _| keep(addr));
    }

    /// The bytes of a content page.
    pub fn blob(&self, page: &PageRef) -> Result<Arc<[u8]>, TreeError> {
        if let Some(Cached::Blob(bytes)) = self.runs.get(&page.addr) {
            self.found.add(1);
            return Ok(bytes);
        }
        self.missed.add(1);
        let bytes: Arc<[u8]> = self.load(page, |bytes| Arc::from(&*bytes))?;
        if bytes.len() as u64 != page.len {
            return Err(TreeError::malformed(
                format!("page {}", hex(&page.addr)),
                format!("{} bytes where {} are expected", bytes.len(), page.len),
            ));
        }
        self.runs
            .insert(page.addr, Cached::Blob(Arc::clone(&bytes)));
        Ok(bytes)
    }

    /// An error unless the page is there.
    pub fn has(&self, page: &PageRef) -> Result<(), TreeError> {
        match self
            .backend
            .get_range(&page_key(&page.addr), 0..0, self.deadline())?
        {
            Some(_) => Ok(()),
            None => Err(TreeError::MissingPage {
                page: hex(&page.addr),
            }),
        }
    }

    /// The bytes of a page, verified, from the backend.
    ///
    /// # Errors
    /// [`TreeError::MissingPage`], [`TreeError::DamagedPage`]; a failure of the backend.
    pub fn read(&self, page: &PageRef) -> Result<Vec<u8>, TreeError> {
        self.load(page, |bytes| bytes.into_owned())
    }

    /// Reads a page, verifies it, and makes something of its bytes.
    fn load<T>(
        &self,
        page: &PageRef,
        make: impl FnOnce(Cow<'_, [u8]>) -> T,
    ) -> Result<T, TreeError> {
        let key = page_key(&page.addr);
        let blob =
            self.backend
                .get(&key, self.deadline())?
                .ok_or_else(|| TreeError::MissingPage {
                    page: hex(&page.addr),
                })?;
        let belongs = |bytes: &[u8]| self.address(bytes) == page.addr;
        let opened = self
            .codec
            .open_page(&key, &blob.bytes, belongs)
            .map_err(|source| TreeError::DamagedPage {
                page: hex(&page.addr),
                source,
            })?;
        Ok(make(opened.value))
    }
}

/// Bytes in hex, for messages.
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut s, b| {
            let _ = write!(s, "{b:02x}");
            s
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Precondition;
    use crate::backend::memory::Memory;
    use crate::codec::Compressor;
    use crate::tree::live::PageKind;

    /// A pager, and a page that somebody who knows all about the format puts at an address.
    fn planted(addr: PageAddr, content: &[u8]) -> (Pager, Arc<PageRef>) {
        let id = uuid::Uuid::from_u128(9);
        let codec = Codec::new(id, Compressor::None);
        let backend = Arc::new(Memory::new());
        let sealed = codec.seal_page(&page_key(&addr), &[1], content).unwrap();
        let pager = Pager::new(backend, codec, id, 1 << 20);
        let deadline = pager.deadline();
        let backend = pager.backend();
        backend
            .put(&page_key(&addr), &sealed, Precondition::Any, deadline)
            .unwrap();
        (pager, Arc::new(PageRef::new(addr, PageKind::Run, 1, 1, 0)))
    }

    /// A branch with one child.
    fn branch(child: &PageAddr) -> Vec<u8> {
        let mut content = vec![0x82, 0x01, 0x82, 0x61, b'a', 0x84, 0x58, 32];
        content.extend_from_slice(child);
        content.extend_from_slice(&[1, 1, 0]);
        content
    }

    #[test]
    fn pages_in_a_circle_are_refused() {
        // A page at the address that it refers to: the address would have to be the hash of itself.
        let (pager, page) = planted([7; 32], &branch(&[7; 32]));
        let refused = pager.run(&page).unwrap_err();
        assert!(
            matches!(refused, TreeError::DamagedPage { .. }),
            "{refused}"
        );
        assert!(refused.to_string().contains(&hex(&[7; 32])), "{refused}");
    }

    #[test]
    fn a_missing_child_is_named() {
        let content = branch(&[7; 32]);
        let address = planted([0; 32], &content).0.address(&content);
        let (pager, page) = planted(address, &content);
        let run = pager.run(&page).unwrap();
        let super::super::map::Body::Branch { children, .. } = &run.body else {
            panic!("no branch");
        };
        let super::super::map::Link::Page(child) = &children[0].link else {
            panic!("no page");
        };
        let refused = pager.run(child).unwrap_err();
        assert!(matches!(&refused, TreeError::MissingPage { page } if *page == hex(&[7; 32])));
    }
}
