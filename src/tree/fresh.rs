//! The pages that a version of a tree has and another does not, found by comparing the addresses of
//! pages: the time follows the difference and not the size.

use std::collections::VecDeque;
use std::sync::Arc;

use super::entry::{Content, Entry, Node, PageRef};
use super::error::TreeError;
use super::map::Map;
use super::merge::Both;
use super::pager::Pager;
use crate::value::Key;

/// The pages of one version of a document that are not in the same place of another.
#[derive(Debug)]
pub struct Fresh {
    /// One for each map on the way; documents may nest deeper than a stack bears.
    open: Vec<Both>,
    found: VecDeque<Arc<PageRef>>,
}

impl Fresh {
    /// The pages of `new` that `old` does not have; `None` where there is no document.
    pub fn new(key: &Key, old: Option<Entry>, new: Option<Entry>) -> Self {
        Self {
            open: vec![Both::under(key, old, new)],
            found: VecDeque::new(),
        }
    }

    /// The next page. One that `wanted` refuses is passed over with all that it leads to.
    ///
    /// # Errors
    /// A page on the way that is missing or damaged; a failure of the backend.
    pub fn next(
        &mut self,
        pager: &Pager,
        wanted: &mut dyn FnMut(&PageRef) -> bool,
    ) -> Result<Option<Arc<PageRef>>, TreeError> {
        while self.found.is_empty()
            && let Some(both) = self.open.last_mut()
        {
            let found = &mut self.found;
            let mut enter = |page: &Arc<PageRef>| {
                let wanted = wanted(page);
                if wanted {
                    found.push_back(Arc::clone(page));
                }
                wanted
            };
            if both.is_passed() {
                self.open.pop();
            } else if let Some((_, old, new)) = both.next(pager, &mut enter)? {
                let below = compare(old.as_ref(), new.as_ref(), &mut enter);
                self.open.extend(below);
            }
        }
        Ok(self.found.pop_front())
    }
}

/// Tells of the page of an entry, and gives what is in it to be compared.
fn compare(
    old: Option<&Entry>,
    new: Option<&Entry>,
    enter: &mut dyn FnMut(&Arc<PageRef>) -> bool,
) -> Option<Both> {
    let new = new?;
    if let Some(page) = own_page(new) {
        let known = old.and_then(own_page);
        if known.is_none_or(|known| known.addr != page.addr) {
            enter(page);
        }
        return None;
    }
    let map = inner(new)?;
    Some(Both::of(old.and_then(inner).cloned(), Some(map.clone())))
}

/// The page that an entry consists of.
fn own_page(entry: &Entry) -> Option<&Arc<PageRef>> {
    match &entry.node {
        Node::ScalarPage(page)
        | Node::Text(Content::Page(page))
        | Node::Bytes(Content::Page(page)) => Some(page),
        _ => None,
    }
}

/// The map that an entry consists of: its entries, or the chunks of its content.
fn inner(entry: &Entry) -> Option<&Map> {
    match &entry.node {
        Node::Map(map) | Node::Vector(map) => Some(map),
        Node::Text(Content::Chunked(content)) | Node::Bytes(Content::Chunked(content)) => {
            Some(&content.chunks)
        }
        _ => None,
    }
}
