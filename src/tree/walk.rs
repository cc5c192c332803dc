//! Walking over all pages that entries refer to, each page once.

use std::collections::HashSet;
use std::sync::Arc;

use super::entry::{Content, Entry, Node, PageAddr, PageRef};
use super::error::TreeError;
use super::map::{Body, Link};
use super::page::read_run;
use super::pager::{Pager, hex};
use crate::value::{Key, KeyPath, cbor};

/// Which pages a walk reads. It reads them from the backend, never from a cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// Those that refer to other pages: enough to know what is reachable.
    Runs,
    /// All of them, to verify them.
    All,
}

/// Who hears of what a walk finds.
pub trait Visitor {
    /// A page was reached for the first time; `bytes` is its length. An error ends the walk.
    ///
    /// # Errors
    /// Any, to end the walk.
    fn page(&mut self, bytes: u64) -> Result<(), TreeError>;

    /// A page below the entry at `path` does not read; the walk goes on past it. It comes again
    /// wherever else the walk meets the page.
    ///
    /// # Errors
    /// Any, to end the walk.
    fn damaged(&mut self, path: &KeyPath, error: TreeError) -> Result<(), TreeError>;
}

/// A set of pages. Keeps half of each address, which is as good as unique.
///
/// Pages of runs and of contents are told apart: a content may have the very bytes of a run, and
/// what a run refers to is reached only through the run.
#[derive(Clone, Debug, Default)]
pub struct PageSet {
    runs: HashSet<[u8; 16]>,
    contents: HashSet<[u8; 16]>,
}

fn short(addr: &PageAddr) -> [u8; 16] {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, ..] = *addr;
    [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p]
}

impl PageSet {
    /// Whether the page is in the set, as whatever it was met.
    pub fn contains(&self, addr: &PageAddr) -> bool {
        let addr = short(addr);
        self.runs.contains(&addr) || self.contents.contains(&addr)
    }

    /// How many pages there are.
    pub fn len(&self) -> usize {
        self.runs.len() + self.contents.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A walk. After each call that succeeded without damage, everything that is reachable from the
/// entries given so far is in the set.
#[derive(Debug)]
pub struct Walk<'a> {
    pager: &'a Pager,
    reading: Reading,
    seen: PageSet,
}

/// Where the walk is: the path to an entry, shared by what is below it.
struct Place {
    above: Option<Arc<Self>>,
    key: Key,
}

type At = Option<Arc<Place>>;

/// What is yet to be walked over. Kept in a list of its own, because documents may nest deeper
/// than a thread's stack bears.
enum Todo {
    Entry(Entry, At),
    /// The run of a directory's entries, or of a content's chunks, which are at the same place.
    Run(Link, At, Items),
}

#[derive(Clone, Copy)]
enum Items {
    Entries,
    Chunks,
}

impl<'a> Walk<'a> {
    /// A walk that has seen nothing.
    pub fn new(pager: &'a Pager, reading: Reading) -> Self {
        Self {
            pager,
            reading,
            seen: PageSet::default(),
        }
    }

    /// The pages seen.
    pub fn seen(&self) -> &PageSet {
        &self.seen
    }

    /// The pages seen.
    pub fn into_seen(self) -> PageSet {
        self.seen
    }

    /// Walks over the pages below the entry at a path.
    ///
    /// # Errors
    /// Those of the visitor.
    pub fn entry(
        &mut self,
        path: &[Key],
        entry: &Entry,
        visitor: &mut dyn Visitor,
    ) -> Result<(), TreeError> {
        let at = path.iter().fold(None, |above, key| {
            let key = key.clone();
            Some(Arc::new(Place { above, key }))
        });
        let mut todo = vec![Todo::Entry(entry.clone(), at)];
        while let Some(next) = todo.pop() {
            match next {
                Todo::Entry(entry, at) => self.node(&entry.node, &at, visitor, &mut todo)?,
                Todo::Run(link, at, items) => self.run(&link, &at, items, visitor, &mut todo)?,
            }
        }
        Ok(())
    }

    fn node(
        &mut self,
        node: &Node,
        at: &At,
        visitor: &mut dyn Visitor,
        todo: &mut Vec<Todo>,
    ) -> Result<(), TreeError> {
        match node {
            Node::Text(Content::Page(page)) | Node::Bytes(Content::Page(page)) => {
                self.content(page, at, visitor, |_| Ok(()))?;
            }
            Node::ScalarPage(page) => self.content(page, at, visitor, |bytes| {
                cbor::decode(bytes)?;
                Ok(())
            })?,
            Node::Text(Content::Chunked(content)) | Node::Bytes(Content::Chunked(content)) => {
                let link = content.chunks.0.clone();
                todo.push(Todo::Run(link, at.clone(), Items::Chunks));
            }
            Node::Map(map) | Node::Vector(map) => {
                todo.push(Todo::Run(map.0.clone(), at.clone(), Items::Entries));
            }
            Node::Text(Content::Inline(_))
            | Node::Bytes(Content::Inline(_))
            | Node::Scalar(_)
            | Node::Ref(_) => {}
        }
        Ok(())
    }

    fn content(
        &mut self,
        page: &PageRef,
        at: &At,
        visitor: &mut dyn Visitor,
        check: impl FnOnce(&[u8]) -> Result<(), TreeError>,
    ) -> Result<(), TreeError> {
        if self.seen.contents.contains(&short(&page.addr)) {
            return Ok(());
        }
        if self.reading == Reading::All {
            let found = self.pager.read(page).and_then(|bytes| {
                if bytes.len() as u64 != page.len {
                    return Err(TreeError::malformed(
                        format!("page {}", hex(&page.addr)),
                        format!("{} bytes where {} are expected", bytes.len(), page.len),
                    ));
                }
                check(&bytes)
            });
            if let Err(e) = found {
                return visitor.damaged(&path(at), e);
            }
        }
        self.seen.contents.insert(short(&page.addr));
        visitor.page(page.len)
    }

    fn run(
        &mut self,
        link: &Link,
        at: &At,
        items: Items,
        visitor: &mut dyn Visitor,
        todo: &mut Vec<Todo>,
    ) -> Result<(), TreeError> {
        let page = match link {
            Link::Page(page) => page,
            // A run that has been written may hold more in memory than its page refers to, and less.
            Link::Mem(run) => match run.saved.get() {
                Some(page) => page,
                None => {
                    below(&run.body, at, items, todo);
                    return Ok(());
                }
            },
        };
        if self.seen.runs.contains(&short(&page.addr)) {
            return Ok(());
        }
        let read = self
            .pager
            .read(page)
            .and_then(|bytes| Ok((read_run(&bytes)?, bytes.len())));
        match read {
            Ok((body, bytes)) => {
                self.seen.runs.insert(short(&page.addr));
                visitor.page(bytes as u64)?;
                below(&body, at, items, todo);
                Ok(())
            }
            Err(e) => visitor.damaged(&path(at), e),
        }
    }
}

/// Notes what has pages in the items of a run.
fn below(body: &Body, at: &At, items: Items, todo: &mut Vec<Todo>) {
    match body {
        Body::Branch { children, .. } => todo.extend(
            children
                .iter()
                .rev()
                .map(|child| Todo::Run(child.link.clone(), at.clone(), items)),
        ),
        Body::Leaf(entries) => {
            let with_pages = entries.iter().rev().filter(|(_, e)| may_have_pages(e));
            todo.extend(with_pages.map(|(key, entry)| {
                let at = match items {
                    Items::Chunks => at.clone(),
                    Items::Entries => Some(Arc::new(Place {
                        above: at.clone(),
                        key: key.clone(),
                    })),
                };
                Todo::Entry(entry.clone(), at)
            }));
        }
    }
}

fn may_have_pages(entry: &Entry) -> bool {
    match &entry.node {
        Node::Scalar(_) | Node::Ref(_) => false,
        Node::Text(content) | Node::Bytes(content) => !matches!(content, Content::Inline(_)),
        Node::ScalarPage(_) | Node::Map(_) | Node::Vector(_) => true,
    }
}

fn path(at: &At) -> KeyPath {
    let mut keys = Vec::new();
    let mut at = at.as_deref();
    while let Some(place) = at {
        keys.push(place.key.clone());
        at = place.above.as_deref();
    }
    keys.reverse();
    KeyPath::from(keys)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::{Precondition, memory::Memory};
    use crate::codec::{Codec, Compressor};
    use crate::tree::{Folder, Map, page_key};
    use crate::value::Value;

    /// Pages and damaged paths.
    #[derive(Default)]
    struct Found(usize, Vec<KeyPath>);

    impl Visitor for Found {
        fn page(&mut self, _: u64) -> Result<(), TreeError> {
            self.0 += 1;
            Ok(())
        }

        fn damaged(&mut self, path: &KeyPath, _: TreeError) -> Result<(), TreeError> {
            self.1.push(path.clone());
            Ok(())
        }
    }

    fn pager() -> Pager {
        let id = uuid::Uuid::nil();
        let codec = Codec::new(id, Compressor::None);
        Pager::new(Arc::new(Memory::new()), codec, id, 1 << 20)
    }

    /// Writes an entry's pages, and gives their addresses beside the folded entry.
    fn written(entry: &Entry, pager: &Pager) -> (Entry, Vec<PageAddr>) {
        let mut folder = Folder::new(pager, 1);
        let entry = folder.entry(entry).unwrap();
        let folded = folder.finish();
        for (addr, bytes) in &folded.pages {
            let key = page_key(addr);
            let put = pager.backend();
            put.put(&key, bytes, Precondition::Any, pager.deadline())
                .unwrap();
        }
        let addrs = folded.pages.iter().map(|(addr, _)| *addr).collect();
        (entry, addrs)
    }

    fn text(n: usize) -> Entry {
        let text = format!("{n} ").repeat(300);
        Entry::plain(Node::Text(Content::Inline(text.as_bytes().into())))
    }

    fn directory(names: std::ops::Range<usize>, of: impl Fn(usize) -> Entry) -> Entry {
        let mut map = Map::new();
        let pager = pager();
        for n in names {
            map.insert(&Key::index(n as u64), of(n), &pager).unwrap();
        }
        Entry::plain(Node::Map(map))
    }

    #[test]
    fn every_page_is_seen_once_and_nothing_else() {
        let pager = pager();
        let list = Value::List((0..3000).map(Value::Int).collect());
        let scalar = Entry::plain(Node::Scalar(Arc::new(list)));
        let tree = directory(0..300, |n| match n % 3 {
            0 => text(n / 2),
            1 => directory(0..n, text),
            _ => scalar.clone(),
        });
        let (folded, mut addrs) = written(&tree, &pager);
        addrs.sort();
        addrs.dedup();
        for reading in [Reading::Runs, Reading::All] {
            let mut walk = Walk::new(&pager, reading);
            let mut found = Found::default();
            walk.entry(&[], &folded, &mut found).unwrap();
            // What is in memory has the same pages, once they are known.
            walk.entry(&[], &tree, &mut found).unwrap();
            assert!(addrs.len() > 300);
            assert_eq!((found.0, found.1.len()), (addrs.len(), 0));
            assert!(addrs.iter().all(|addr| walk.seen().contains(addr)));
        }
    }

    #[test]
    fn a_content_that_looks_like_a_run_does_not_hide_what_the_run_refers_to() {
        let pager = pager();
        let (run, addrs) = written(&directory(0..900, text), &pager);
        let Node::Map(Map(Link::Page(page))) = &run.node else {
            panic!("not in a page")
        };
        let bytes = pager.read(page).unwrap();
        let (same, _) = written(
            &Entry::plain(Node::Bytes(Content::Inline(bytes.into()))),
            &pager,
        );
        let mut walk = Walk::new(&pager, Reading::Runs);
        let mut found = Found::default();
        walk.entry(&[], &same, &mut found).unwrap();
        assert_eq!(walk.seen().len(), 1);
        walk.entry(&[], &run, &mut found).unwrap();
        assert!(addrs.iter().all(|addr| walk.seen().contains(addr)));
    }

    #[test]
    fn a_damaged_page_is_named_by_its_path_and_the_walk_goes_on() {
        let pager = pager();
        let (tree, addrs) = written(
            &directory(0..4, |n| directory(0..200, |m| text(1000 * n + m))),
            &pager,
        );
        let all = addrs.len();
        let spoil = |path: &[u64]| {
            let keys: Vec<Key> = path.iter().copied().map(Key::index).collect();
            let found = crate::tree::edit::find(&tree, &keys, &pager).unwrap();
            let Node::Text(Content::Page(page)) = found.unwrap().entry.node else {
                panic!("not in a page")
            };
            let backend = pager.backend();
            let deadline = pager.deadline();
            backend
                .delete(&page_key(&page.addr), Precondition::Any, deadline)
                .unwrap();
        };
        spoil(&[2, 77]);
        let mut walk = Walk::new(&pager, Reading::All);
        let mut found = Found::default();
        walk.entry(&[Key::text("doc")], &tree, &mut found).unwrap();
        assert_eq!(found.0, walk.seen().len());
        assert_eq!(found.0, all - 1);
        let shown: Vec<String> = found.1.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["[\"doc\" 2 77]"]);
    }

    #[test]
    fn deep_nesting_needs_no_stack() {
        let deep = (0..900).fold(text(1), |inner, _| directory(0..1, |_| inner.clone()));
        let walk = move || {
            let pager = pager();
            let mut found = Found::default();
            let mut walk = Walk::new(&pager, Reading::All);
            walk.entry(&[], &deep, &mut found).unwrap();
            // Leaving it to the end of the process: dropping it does nest.
            std::mem::forget(deep);
        };
        let thread = std::thread::Builder::new().stack_size(48 << 10).spawn(walk);
        thread.unwrap().join().unwrap();
    }
}
