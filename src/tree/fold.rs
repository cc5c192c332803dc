//! Writing what changed: replaces what is large and only in memory by pages.

use std::sync::{Arc, OnceLock};

use super::entry::{Chunked, Content, Entry, Node, PageAddr, PageRef};
use super::error::TreeError;
use super::live::PageKind;
use super::map::{Body, Child, Link, Map, Run};
use super::page::write_run;
use super::pager::Pager;
use super::parallel;
use crate::value::cbor::Writer;
use crate::value::{Value, cbor};

/// Content up to this many bytes stands in the entry.
const INLINE_CONTENT: usize = 256;
/// A scalar up to this many bytes of CBOR stands in the entry: also a path of 4095 bytes under a
/// tag, so that special files can be told from others without reading a page.
const INLINE_SCALAR: usize = 4352;
/// A directory up to this many bytes of CBOR stands in its parent.
const INLINE_MAP: usize = 1024;

/// Collects the pages of one fold.
#[derive(Debug)]
pub struct Folder<'a> {
    pager: &'a Pager,
    birth: u64,
    pages: Vec<(PageAddr, Vec<u8>)>,
    bytes: u64,
    /// Runs with their page; with the page's length where the run goes into the cache.
    written: Vec<(Arc<Run>, Arc<PageRef>, usize)>,
}

/// What a fold has to write.
#[derive(Debug)]
pub struct Folded<'a> {
    pager: &'a Pager,
    /// Sealed pages to put into the backend before anything that refers to them.
    pub pages: Vec<(PageAddr, Vec<u8>)>,
    /// Their bytes before sealing, in all.
    pub bytes: u64,
    written: Vec<(Arc<Run>, Arc<PageRef>, usize)>,
}

impl Folded<'_> {
    /// The pages are in the backend: versions that share what was folded need not write it again.
    /// Only now, for a page that could not be written must be written by the next fold.
    pub fn done(self) {
        for (run, page, bytes) in self.written {
            let first = run.saved.set(Arc::clone(&page)).is_ok();
            if first && bytes > 0 {
                self.pager.keep(page.addr, &run, bytes);
            }
        }
    }
}

impl<'a> Folder<'a> {
    /// A folder that writes pages with this birth number.
    pub fn new(pager: &'a Pager, birth: u64) -> Self {
        Self {
            pager,
            birth,
            pages: Vec::new(),
            bytes: 0,
            written: Vec::new(),
        }
    }

    /// Everything that is to be written.
    pub fn finish(self) -> Folded<'a> {
        Folded {
            pager: self.pager,
            pages: self.pages,
            bytes: self.bytes,
            written: self.written,
        }
    }

    /// The same entry with everything large in pages.
    pub fn entry(&mut self, entry: &Entry) -> Result<Entry, TreeError> {
        let node = match &entry.node {
            Node::Text(c) => Node::Text(self.content(c)?),
            Node::Bytes(c) => Node::Bytes(self.content(c)?),
            Node::Map(m) => Node::Map(self.map(m)?),
            Node::Vector(m) => Node::Vector(self.map(m)?),
            Node::Scalar(v) => self.scalar(v)?,
            Node::ScalarPage(_) | Node::Ref(_) => entry.node.clone(),
        };
        Ok(Entry {
            attrs: entry.attrs.clone(),
            node,
        })
    }

    fn scalar(&mut self, value: &Arc<Value>) -> Result<Node, TreeError> {
        let may_be_large = matches!(
            **value,
            Value::List(_)
                | Value::Set(_)
                | Value::Tagged(..)
                | Value::BigInt(_)
                | Value::Decimal(_)
                | Value::Ratio(_)
                | Value::Keyword(_)
                | Value::Symbol(_)
        );
        if may_be_large {
            let bytes = cbor::encode(value);
            if bytes.len() > INLINE_SCALAR {
                return Ok(Node::ScalarPage(self.page(&bytes)?));
            }
        }
        Ok(Node::Scalar(Arc::clone(value)))
    }

    /// The same content with everything large in pages.
    pub fn content(&mut self, content: &Content) -> Result<Content, TreeError> {
        Ok(match content {
            Content::Inline(b) if b.len() > INLINE_CONTENT => Content::Page(self.page(b)?),
            Content::Inline(_) | Content::Page(_) => content.clone(),
            Content::Chunked(c) => Content::Chunked(Arc::new(Chunked {
                len: c.len,
                chunks: self.map(&c.chunks)?,
            })),
        })
    }

    /// Writes a page of content.
    pub fn page(&mut self, bytes: &[u8]) -> Result<Arc<PageRef>, TreeError> {
        self.write(bytes, PageKind::Content, bytes.len() as u64, 0)
    }

    fn write(
        &mut self,
        bytes: &[u8],
        kind: PageKind,
        len: u64,
        dirs: u64,
    ) -> Result<Arc<PageRef>, TreeError> {
        let addr = self.pager.address(bytes);
        let page = Arc::new(PageRef::new(addr, kind, self.birth, len, dirs));
        let sealed = self.pager.seal(&addr, self.birth, bytes)?;
        self.bytes += bytes.len() as u64;
        self.pages.push((addr, sealed));
        Ok(page)
    }

    /// Writes pages of these bytes, which are prepared by several threads if there are many.
    pub fn chunks(&mut self, chunks: &[&[u8]]) -> Result<Vec<Arc<PageRef>>, TreeError> {
        let (pager, birth) = (self.pager, self.birth);
        let prepare = |bytes: &&[u8]| {
            let addr = pager.address(bytes);
            Ok::<_, TreeError>((addr, pager.seal(&addr, birth, bytes)?))
        };
        let mut refs = Vec::with_capacity(chunks.len());
        for (bytes, prepared) in chunks.iter().zip(parallel::map(chunks, prepare)) {
            let (addr, sealed) = prepared?;
            let len = bytes.len() as u64;
            let page = PageRef::new(addr, PageKind::Content, birth, len, 0);
            refs.push(Arc::new(page));
            self.bytes += len;
            self.pages.push((addr, sealed));
        }
        Ok(refs)
    }

    fn map(&mut self, map: &Map) -> Result<Map, TreeError> {
        Ok(Map(self.link(&map.0, true)?))
    }

    fn link(&mut self, link: &Link, top: bool) -> Result<Link, TreeError> {
        let run = match link {
            Link::Page(_) => return Ok(link.clone()),
            Link::Mem(run) => run,
        };
        if let Some(page) = run.saved.get() {
            return Ok(Link::Page(Arc::clone(page)));
        }
        let body = match &run.body {
            Body::Leaf(items) => Body::Leaf(
                items
                    .iter()
                    .map(|(k, e)| Ok((k.clone(), self.entry(e)?)))
                    .collect::<Result<_, TreeError>>()?,
            ),
            Body::Branch { level, children } => Body::Branch {
                level: *level,
                children: children
                    .iter()
                    .map(|c| {
                        Ok(Child {
                            link: self.link(&c.link, false)?,
                            ..c.clone()
                        })
                    })
                    .collect::<Result<_, TreeError>>()?,
            },
        };
        let compact = Run {
            saved: OnceLock::new(),
            body,
        };
        let mut bytes = Vec::new();
        write_run(&mut Writer::new(&mut bytes), &compact, self.pager)?;
        if top && bytes.len() <= INLINE_MAP && matches!(compact.body, Body::Leaf(_)) {
            return Ok(Link::Mem(Arc::new(compact)));
        }
        let whole = Map(Link::Mem(Arc::clone(run)));
        let page = self.write(&bytes, PageKind::Run, whole.len(), whole.dirs())?;
        let compact = Arc::new(compact);
        self.written
            .push((Arc::clone(&compact), Arc::clone(&page), bytes.len()));
        self.written.push((Arc::clone(run), Arc::clone(&page), 0));
        Ok(Link::Page(page))
    }
}
