//! Walking over all pages that entries refer to, each page once.

use std::collections::HashSet;
use std::hash::BuildHasherDefault;
use std::sync::Arc;

use super::entry::{CHUNK, Content, Entry, Node, PageAddr, PageRef};
use super::error::TreeError;
use super::live::{AddrHasher, PageKind};
use super::map::{Body, Child, Link};
use super::page::read_run;
use super::pager::{Pager, hex};
use crate::value::{Key, KeyPath, cbor};

/// Which pages a walk reads. It reads them from the backend, never from a cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// Those that refer to other pages: enough to know what is reachable.
    Runs,
    /// All of them, comparing each with its address and with what refers to it.
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

    /// The entry at `path` is a name of the linked file `id`. It comes again only where the walk
    /// comes again.
    fn link(&mut self, path: &KeyPath, id: u64) {
        let _ = (path, id);
    }
}

/// A set of pages. Keeps half of each address, which is as good as unique.
///
/// Pages of runs and of contents are told apart: a content may have the very bytes of a run, and
/// what a run refers to is reached only through the run.
#[derive(Clone, Debug, Default)]
pub struct PageSet {
    runs: Shorts,
    contents: Shorts,
}

type Shorts = HashSet<[u8; 16], BuildHasherDefault<AddrHasher>>;

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

    /// Adds a page as what it is referred to; false if it was there.
    pub fn add(&mut self, page: &PageRef) -> bool {
        match page.kind() {
            PageKind::Run => self.runs.insert(short(&page.addr)),
            PageKind::Content => self.contents.insert(short(&page.addr)),
        }
    }

    /// Whether the page is in the set as what it is referred to.
    pub fn has(&self, page: &PageRef) -> bool {
        match page.kind() {
            PageKind::Run => self.runs.contains(&short(&page.addr)),
            PageKind::Content => self.contents.contains(&short(&page.addr)),
        }
    }

    /// Adds a page.
    pub fn insert(&mut self, addr: &PageAddr) {
        self.contents.insert(short(addr));
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

/// The pages that lead to a place: they are not sound if something below is not.
struct Above {
    run: PageAddr,
    above: Through,
}

type Through = Option<Arc<Above>>;

/// What is yet to be walked over. Kept in a list of its own, because documents may nest deeper
/// than a thread's stack bears.
enum Todo {
    Entry(Entry, At, Through),
    /// The run of a directory's entries, or of a content's chunks, which are at the same place.
    Run(Link, At, Through, Items, Expected),
}

/// What the run above says of a run.
#[derive(Default)]
pub(super) struct Expected {
    pub level: Option<u32>,
    pub first: Option<Key>,
    /// The first key of the next run.
    pub before: Option<Key>,
}

impl Expected {
    /// What a branch says of its child.
    pub fn of_child(level: u32, children: &[Child], at: usize) -> Self {
        Self {
            level: level.checked_sub(1),
            first: children.get(at).map(|child| child.first.clone()),
            before: children.get(at + 1).map(|next| next.first.clone()),
        }
    }
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
        self.all(vec![Todo::Entry(entry.clone(), at, None)], visitor)
    }

    /// Walks over a page that memory refers to, and the pages below it. One that is not there is
    /// passed over: it has not been written yet, and what it will refer to is in memory as well.
    ///
    /// # Errors
    /// Those of the visitor.
    pub fn held(
        &mut self,
        addr: PageAddr,
        kind: PageKind,
        visitor: &mut dyn Visitor,
    ) -> Result<(), TreeError> {
        let seen = match kind {
            PageKind::Run => &mut self.seen.runs,
            PageKind::Content => &mut self.seen.contents,
        };
        if seen.contains(&short(&addr)) {
            return Ok(());
        }
        // As a content it counts as seen without what is below it.
        if kind == PageKind::Content {
            self.seen.insert(&addr);
            return Ok(());
        }
        let page = Arc::new(PageRef::new(addr, kind, 0, 0, 0));
        match self.pager.has(&page) {
            Ok(()) => {
                let link = Link::Page(page);
                let run = Todo::Run(link, None, None, Items::Entries, Expected::default());
                self.all(vec![run], visitor)
            }
            Err(TreeError::MissingPage { .. }) => {
                self.seen.insert(&addr);
                Ok(())
            }
            Err(e) => Err(e),
        }
    }

    fn all(&mut self, mut todo: Vec<Todo>, visitor: &mut dyn Visitor) -> Result<(), TreeError> {
        while let Some(next) = todo.pop() {
            match next {
                Todo::Entry(entry, at, through) => {
                    self.node(&entry.node, &at, &through, visitor, &mut todo)?;
                }
                Todo::Run(link, at, through, items, expected) => {
                    let found = Found {
                        at: &at,
                        through: &through,
                    };
                    self.run(&link, found, items, &expected, visitor, &mut todo)?;
                }
            }
        }
        Ok(())
    }

    fn node(
        &mut self,
        node: &Node,
        at: &At,
        through: &Through,
        visitor: &mut dyn Visitor,
        todo: &mut Vec<Todo>,
    ) -> Result<(), TreeError> {
        let found = Found { at, through };
        let run = |link: &Link, items| {
            let (at, through) = (at.clone(), through.clone());
            Todo::Run(link.clone(), at, through, items, Expected::default())
        };
        match node {
            Node::Text(Content::Page(page)) => {
                self.content(page, found, visitor, |bytes| match str::from_utf8(bytes) {
                    Ok(_) => check_content(bytes),
                    Err(e) => Err(e.to_string()),
                })?;
            }
            Node::Bytes(Content::Page(page)) => {
                self.content(page, found, visitor, check_content)?;
            }
            Node::ScalarPage(page) => self.content(page, found, visitor, |bytes| {
                cbor::decode(bytes).map(|_| ()).map_err(|e| e.to_string())
            })?,
            Node::Text(Content::Chunked(content)) | Node::Bytes(Content::Chunked(content)) => {
                todo.push(run(&content.chunks.0, Items::Chunks));
            }
            Node::Map(map) | Node::Vector(map) => todo.push(run(&map.0, Items::Entries)),
            Node::Ref(id) => visitor.link(&path(at), *id),
            Node::Text(Content::Inline(_)) | Node::Bytes(Content::Inline(_)) | Node::Scalar(_) => {}
        }
        Ok(())
    }

    fn content(
        &mut self,
        page: &PageRef,
        found: Found<'_>,
        visitor: &mut dyn Visitor,
        check: impl FnOnce(&[u8]) -> Result<(), String>,
    ) -> Result<(), TreeError> {
        if self.seen.contents.contains(&short(&page.addr)) {
            return Ok(());
        }
        if self.reading == Reading::All {
            let read = verified(self.pager, page).and_then(|bytes| {
                let length = bytes.len() as u64;
                if length != page.len {
                    let reason = format!("{length} bytes where {} are expected", page.len);
                    return Err(no_page(page, reason));
                }
                check(&bytes).map_err(|reason| no_page(page, reason))
            });
            if let Err(e) = read {
                return self.damaged(found, e, visitor);
            }
        }
        self.seen.contents.insert(short(&page.addr));
        visitor.page(page.len)
    }

    fn run(
        &mut self,
        link: &Link,
        found: Found<'_>,
        items: Items,
        expected: &Expected,
        visitor: &mut dyn Visitor,
        todo: &mut Vec<Todo>,
    ) -> Result<(), TreeError> {
        let page = match link {
            Link::Page(page) => page,
            // A run that has been written may hold more in memory than its page refers to, and less.
            Link::Mem(run) => match run.saved.get() {
                Some(page) => page,
                None => {
                    below(&run.body, found.at, found.through, items, todo);
                    return Ok(());
                }
            },
        };
        if self.seen.runs.contains(&short(&page.addr)) {
            return Ok(());
        }
        let read = match self.reading {
            Reading::Runs => self
                .pager
                .read(page)
                .and_then(|bytes| Ok((read_run(&bytes)?, bytes.len()))),
            Reading::All => verified_run(self.pager, page, expected),
        };
        match read {
            Ok((body, bytes)) => {
                self.seen.runs.insert(short(&page.addr));
                visitor.page(bytes as u64)?;
                let through = Some(Arc::new(Above {
                    run: page.addr,
                    above: found.through.clone(),
                }));
                below(&body, found.at, &through, items, todo);
                Ok(())
            }
            Err(e) => self.damaged(found, e, visitor),
        }
    }

    /// Tells of damage, and forgets the pages that led to it: whoever comes to them another way
    /// comes to the damage, too.
    fn damaged(
        &mut self,
        found: Found<'_>,
        error: TreeError,
        visitor: &mut dyn Visitor,
    ) -> Result<(), TreeError> {
        let mut through = found.through.as_deref();
        while let Some(page) = through {
            self.seen.runs.remove(&short(&page.run));
            through = page.above.as_deref();
        }
        visitor.damaged(&path(found.at), error)
    }
}

/// Where something was found.
#[derive(Clone, Copy)]
struct Found<'f> {
    at: &'f At,
    through: &'f Through,
}

fn check_content(bytes: &[u8]) -> Result<(), String> {
    if bytes.len() > CHUNK {
        return Err(format!("{} bytes, more than a chunk", bytes.len()));
    }
    Ok(())
}

fn no_page(page: &PageRef, reason: impl ToString) -> TreeError {
    TreeError::malformed(format!("page {}", hex(&page.addr)), reason)
}

/// The bytes of a page, compared with its address.
pub(super) fn verified(pager: &Pager, page: &PageRef) -> Result<Vec<u8>, TreeError> {
    let bytes = pager.read(page)?;
    if pager.address(&bytes) != page.addr {
        return Err(no_page(page, "its content is that of another page"));
    }
    Ok(bytes)
}

/// The run in a page and the page's length, compared with what refers to it.
pub(super) fn verified_run(
    pager: &Pager,
    page: &PageRef,
    expected: &Expected,
) -> Result<(Body, usize), TreeError> {
    let bytes = verified(pager, page)?;
    let body = read_run(&bytes).map_err(|e| match e {
        TreeError::Malformed { reason, .. } => no_page(page, reason),
        other => other,
    })?;
    run_fits(&body, page, expected).map_err(|reason| no_page(page, reason))?;
    Ok((body, bytes.len()))
}

fn run_fits(body: &Body, page: &PageRef, expected: &Expected) -> Result<(), String> {
    let (level, entries, dirs) = match body {
        Body::Leaf(items) => {
            let dirs = items.iter().filter(|(_, entry)| entry.is_dir()).count();
            (0, items.len() as u64, dirs as u64)
        }
        Body::Branch { level, children } => {
            let sum = |count: fn(&Child) -> u64| {
                let counts = children.iter().map(count);
                counts.fold(0_u64, u64::saturating_add)
            };
            (*level, sum(|c| c.count), sum(|c| c.dirs))
        }
    };
    if expected.level.is_some_and(|expected| expected != level) {
        return Err(format!("a run of level {level} in the place of another"));
    }
    if (entries, dirs) != (page.len, page.dirs) {
        return Err(format!(
            "{entries} entries and {dirs} directories where {} and {} are expected",
            page.len, page.dirs
        ));
    }
    let (first, last) = match body {
        Body::Leaf(items) => (items.first().map(|i| &i.0), items.last().map(|i| &i.0)),
        Body::Branch { children, .. } => (
            children.first().map(|c| &c.first),
            children.last().map(|c| &c.first),
        ),
    };
    let too_early = expected.first.is_some() && first != expected.first.as_ref();
    let too_late = last.zip(expected.before.as_ref());
    if too_early || too_late.is_some_and(|(last, before)| last >= before) {
        return Err("keys that belong into another run".to_owned());
    }
    Ok(())
}

/// Notes what the walk goes on to in the items of a run.
fn below(body: &Body, at: &At, through: &Through, items: Items, todo: &mut Vec<Todo>) {
    match body {
        Body::Branch { level, children } => {
            todo.extend(children.iter().enumerate().rev().map(|(n, child)| {
                let expected = Expected::of_child(*level, children, n);
                let (at, through) = (at.clone(), through.clone());
                Todo::Run(child.link.clone(), at, through, items, expected)
            }));
        }
        Body::Leaf(entries) => {
            let with_pages = entries
                .iter()
                .rev()
                .filter(|(_, e)| may_have_pages(e) || matches!(e.node, Node::Ref(_)));
            todo.extend(with_pages.map(|(key, entry)| {
                let at = match items {
                    Items::Chunks => at.clone(),
                    Items::Entries => Some(Arc::new(Place {
                        above: at.clone(),
                        key: key.clone(),
                    })),
                };
                Todo::Entry(entry.clone(), at, through.clone())
            }));
        }
    }
}

/// Whether there may be pages at or below an entry.
pub(super) fn may_have_pages(entry: &Entry) -> bool {
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
