//! Whether the backend has every page that an entry refers to.

use std::collections::HashSet;

use super::entry::{Content, Entry, Node, PageAddr, PageRef};
use super::error::TreeError;
use super::map::{Body, Link};
use super::pager::Pager;

/// Looks for pages, for each once: a journal tells of the same document again and again.
#[derive(Debug)]
pub struct Presence<'a> {
    pager: &'a Pager,
    /// Content pages and runs apart: a content may have the very bytes of a run.
    contents: HashSet<PageAddr>,
    runs: HashSet<PageAddr>,
}

impl<'a> Presence<'a> {
    /// Nothing has been looked for.
    pub fn new(pager: &'a Pager) -> Self {
        Self {
            pager,
            contents: HashSet::new(),
            runs: HashSet::new(),
        }
    }

    /// Looks for all pages of an entry.
    ///
    /// # Errors
    /// [`TreeError::MissingPage`], or what kept a page from being read.
    pub fn check(&mut self, entry: &Entry) -> Result<(), TreeError> {
        match &entry.node {
            Node::Text(content) | Node::Bytes(content) => match content {
                Content::Inline(_) => Ok(()),
                Content::Page(page) => self.page(page),
                Content::Chunked(chunked) => self.link(&chunked.chunks.0),
            },
            Node::ScalarPage(page) => self.page(page),
            Node::Map(map) | Node::Vector(map) => self.link(&map.0),
            Node::Scalar(_) | Node::Ref(_) => Ok(()),
        }
    }

    fn page(&mut self, page: &PageRef) -> Result<(), TreeError> {
        if !self.contents.contains(&page.addr) {
            self.pager.has(page)?;
            self.contents.insert(page.addr);
        }
        Ok(())
    }

    fn link(&mut self, link: &Link) -> Result<(), TreeError> {
        match link {
            Link::Mem(run) => self.body(&run.body),
            Link::Page(page) if self.runs.contains(&page.addr) => Ok(()),
            Link::Page(page) => {
                self.body(&self.pager.run(page)?.body)?;
                self.runs.insert(page.addr);
                Ok(())
            }
        }
    }

    fn body(&mut self, body: &Body) -> Result<(), TreeError> {
        match body {
            Body::Leaf(items) => items.iter().try_for_each(|(_, entry)| self.check(entry)),
            Body::Branch { children, .. } => {
                children.iter().try_for_each(|child| self.link(&child.link))
            }
        }
    }
}
