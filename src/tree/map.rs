//! A sorted persistent map of keys to entries: a search tree of runs whose boundaries depend on
//! the keys alone, so that equal maps mostly have equal pages whatever their history.
//!
//! A key's *rank* is the number of trailing zero bits of its XXH3 divided by [`RANK_BITS`]. A key of
//! rank 1 or more starts a leaf run, one of rank `n + 1` or more starts a branch run of level `n`.
//! A run that passes [`CAP`] without such a key is cut at the key of the highest hash in its middle.
//! Editing copies the runs above the change; everything else is shared with the version before.

use std::sync::{Arc, OnceLock};

use super::entry::{Entry, PageRef};
use super::error::TreeError;
use super::pager::Pager;
use crate::value::Key;

/// A run has 2^5 = 32 items on average.
const RANK_BITS: u32 = 5;
/// Most items of a run.
const CAP: usize = 128;

/// A map: a link to its top run. The empty map is an empty leaf.
#[derive(Clone, Debug)]
pub struct Map(pub(super) Link);

/// A run in memory or in a page.
#[derive(Clone, Debug)]
pub enum Link {
    /// In memory, perhaps written too (see [`Run::saved`]).
    Mem(Arc<Run>),
    /// In a page only.
    Page(Arc<PageRef>),
}

/// A run of items.
#[derive(Debug)]
pub struct Run {
    /// The page that holds exactly this run, once a fold has written it.
    pub(super) saved: OnceLock<Arc<PageRef>>,
    /// The items.
    pub body: Body,
}

/// The items of a run, sorted by key.
#[derive(Clone, Debug)]
pub enum Body {
    /// Entries.
    Leaf(Vec<(Key, Entry)>),
    /// Runs of the level below.
    Branch {
        /// 1 above leaves.
        level: u32,
        /// The children, each with its first key.
        children: Vec<Child>,
    },
}

/// A child of a branch.
#[derive(Clone, Debug)]
pub struct Child {
    /// The smallest key below.
    pub first: Key,
    /// Entries below.
    pub count: u64,
    /// Directories among them.
    pub dirs: u64,
    /// The run.
    pub link: Link,
}

impl Clone for Run {
    /// The copy is about to be changed: it is in no page.
    fn clone(&self) -> Self {
        Self {
            saved: OnceLock::new(),
            body: self.body.clone(),
        }
    }
}

fn rank(key: &Key) -> u32 {
    xxhash_rust::xxh3::xxh3_64(key.bytes()).trailing_zeros() / RANK_BITS
}

impl Run {
    fn of(body: Body) -> Arc<Self> {
        Arc::new(Self {
            saved: OnceLock::new(),
            body,
        })
    }

    /// A run that stands in a page.
    pub(super) fn clean(body: Body, page: &Arc<PageRef>) -> Arc<Self> {
        Arc::new(Self {
            saved: OnceLock::from(Arc::clone(page)),
            body,
        })
    }

    fn count(&self) -> u64 {
        match &self.body {
            Body::Leaf(items) => items.len() as u64,
            Body::Branch { children, .. } => children.iter().map(|c| c.count).sum(),
        }
    }

    fn dirs(&self) -> u64 {
        match &self.body {
            Body::Leaf(items) => items.iter().filter(|(_, e)| e.is_dir()).count() as u64,
            Body::Branch { children, .. } => children.iter().map(|c| c.dirs).sum(),
        }
    }

    fn first(&self) -> Option<&Key> {
        match &self.body {
            Body::Leaf(items) => items.first().map(|(k, _)| k),
            Body::Branch { children, .. } => children.first().map(|c| &c.first),
        }
    }

    fn len(&self) -> usize {
        match &self.body {
            Body::Leaf(items) => items.len(),
            Body::Branch { children, .. } => children.len(),
        }
    }

    pub(super) fn level(&self) -> u32 {
        match &self.body {
            Body::Leaf(_) => 0,
            Body::Branch { level, .. } => *level,
        }
    }

    /// Cuts the run at item `at`.
    fn split(&mut self, at: usize) -> Arc<Self> {
        match &mut self.body {
            Body::Leaf(items) => Self::of(Body::Leaf(items.split_off(at))),
            Body::Branch { level, children } => Self::of(Body::Branch {
                level: *level,
                children: children.split_off(at),
            }),
        }
    }

    fn key_at(&self, i: usize) -> Option<&Key> {
        match &self.body {
            Body::Leaf(items) => items.get(i).map(|(k, _)| k),
            Body::Branch { children, .. } => children.get(i).map(|c| &c.first),
        }
    }

    /// Where this run must be cut after items were added: before each item that starts a run of
    /// this level, else in the middle when it is too long.
    fn cut_point(&self) -> Option<usize> {
        let level = self.level();
        if let Some(i) = (1..self.len()).find(|&i| self.key_at(i).is_some_and(|k| rank(k) > level))
        {
            return Some(i);
        }
        if self.len() <= CAP {
            return None;
        }
        let (from, to) = (self.len() / 4, self.len() * 3 / 4);
        (from..to).max_by_key(|&i| {
            self.key_at(i)
                .map(|k| xxhash_rust::xxh3::xxh3_64(k.bytes()))
        })
    }
}

impl Child {
    fn of(run: Arc<Run>) -> Option<Self> {
        Some(Self {
            first: run.first()?.clone(),
            count: run.count(),
            dirs: run.dirs(),
            link: Link::Mem(run),
        })
    }
}

impl Link {
    /// The run behind the link.
    pub(super) fn run(&self, pager: &Pager) -> Result<Arc<Run>, TreeError> {
        match self {
            Self::Mem(run) => Ok(Arc::clone(run)),
            Self::Page(page) => pager.run(page),
        }
    }

    /// The run for changing: a private copy where others share it.
    fn edit(&mut self, pager: &Pager) -> Result<&mut Run, TreeError> {
        if let Self::Page(page) = self {
            *self = Self::Mem(pager.run(page)?);
        }
        match self {
            Self::Mem(run) => {
                let run = Arc::make_mut(run);
                run.saved = OnceLock::new();
                Ok(run)
            }
            // The branch above has just replaced the page.
            Self::Page(_) => Err(TreeError::malformed("a run", "not loaded")),
        }
    }
}

impl Default for Map {
    fn default() -> Self {
        Self::new()
    }
}

impl Map {
    /// The empty map.
    pub fn new() -> Self {
        Self(Link::Mem(Run::of(Body::Leaf(Vec::new()))))
    }

    /// A map of items that are sorted by key without repetition.
    pub fn from_sorted(items: Vec<(Key, Entry)>) -> Self {
        let mut runs = cut(items, 0, |(k, _)| k, Body::Leaf);
        let mut level = 1;
        while runs.len() > 1 {
            let children = runs.into_iter().filter_map(Child::of).collect();
            runs = cut(
                children,
                level,
                |c: &Child| &c.first,
                |children| Body::Branch { level, children },
            );
            level += 1;
        }
        runs.pop()
            .map_or_else(Self::new, |run| Self(Link::Mem(run)))
    }

    /// Whether both are the same version, not only equal.
    pub fn is(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Link::Mem(a), Link::Mem(b)) => Arc::ptr_eq(a, b),
            (Link::Page(a), Link::Page(b)) => a == b,
            (Link::Mem(run), Link::Page(page)) | (Link::Page(page), Link::Mem(run)) => {
                run.saved.get() == Some(page)
            }
        }
    }

    /// Number of entries.
    pub fn len(&self) -> u64 {
        match &self.0 {
            Link::Mem(run) => run.count(),
            Link::Page(page) => page.len,
        }
    }

    /// Whether there are no entries.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of entries that are directories.
    pub fn dirs(&self) -> u64 {
        match &self.0 {
            Link::Mem(run) => run.dirs(),
            Link::Page(page) => page.dirs,
        }
    }

    /// The entry under a key.
    pub fn get(&self, key: &Key, pager: &Pager) -> Result<Option<Entry>, TreeError> {
        let mut link = self.0.clone();
        loop {
            let run = link.run(pager)?;
            match &run.body {
                Body::Leaf(items) => {
                    let found = items.binary_search_by(|(k, _)| k.cmp(key));
                    return Ok(found
                        .ok()
                        .and_then(|i| items.get(i))
                        .map(|(_, e)| e.clone()));
                }
                Body::Branch { children, .. } => {
                    let i = children.partition_point(|c| c.first <= *key);
                    match i.checked_sub(1).and_then(|i| children.get(i)) {
                        Some(child) => link = child.link.clone(),
                        None => return Ok(None),
                    }
                }
            }
        }
    }

    /// Puts an entry under a key; gives the entry that stood there.
    pub fn insert(
        &mut self,
        key: &Key,
        entry: Entry,
        pager: &Pager,
    ) -> Result<Option<Entry>, TreeError> {
        let (old, right) = insert(&mut self.0, key, entry, pager)?;
        self.grow(right, pager)?;
        Ok(old)
    }

    /// Puts further runs beside the top run under a new top.
    fn grow(&mut self, mut right: Vec<Arc<Run>>, pager: &Pager) -> Result<(), TreeError> {
        while !right.is_empty() {
            let left = self.0.run(pager)?;
            let level = left.level() + 1;
            let children = std::iter::once(left)
                .chain(right)
                .filter_map(Child::of)
                .collect();
            let mut runs = cut(
                children,
                level,
                |c: &Child| &c.first,
                |children| Body::Branch { level, children },
            );
            right = runs.split_off(1.min(runs.len()));
            if let Some(top) = runs.pop() {
                self.0 = Link::Mem(top);
            }
        }
        Ok(())
    }

    /// Takes the entry out that stands under a key.
    pub fn remove(&mut self, key: &Key, pager: &Pager) -> Result<Option<Entry>, TreeError> {
        if self.get(key, pager)?.is_none() {
            return Ok(None);
        }
        let removed = remove(&mut self.0, key, pager)?;
        self.grow(removed.right, pager)?;
        // A branch with a single child stands for that child.
        loop {
            let run = self.0.run(pager)?;
            match &run.body {
                Body::Branch { children, .. } if children.len() < 2 => match children.first() {
                    Some(child) => self.0 = child.link.clone(),
                    None => {
                        *self = Self::new();
                        break;
                    }
                },
                _ => break,
            }
        }
        Ok(removed.entry)
    }

    /// Changes the entry under a key in place; `None` where there is none.
    pub fn change<T>(
        &mut self,
        key: &Key,
        pager: &Pager,
        f: impl FnOnce(&mut Entry) -> Result<T, TreeError>,
    ) -> Result<Option<T>, TreeError> {
        change(&mut self.0, key, pager, f)
    }

    /// Up to `limit` entries in key order, after the given key.
    pub fn page_after(
        &self,
        after: Option<&Key>,
        limit: usize,
        pager: &Pager,
    ) -> Result<Vec<(Key, Entry)>, TreeError> {
        let mut out = Vec::new();
        collect(&self.0, after, limit, pager, &mut out)?;
        Ok(out)
    }

    /// Calls `f` with every entry in key order.
    pub fn for_each(
        &self,
        pager: &Pager,
        f: &mut dyn FnMut(&Key, &Entry) -> Result<(), TreeError>,
    ) -> Result<(), TreeError> {
        let run = self.0.run(pager)?;
        match &run.body {
            Body::Leaf(items) => items.iter().try_for_each(|(k, e)| f(k, e)),
            Body::Branch { children, .. } => children
                .iter()
                .try_for_each(|c| Self(c.link.clone()).for_each(pager, f)),
        }
    }

    /// Calls `f` with the entries that are in memory and in no page, until it gives false.
    pub fn visit_loaded(&self, f: &mut dyn FnMut(&Key, &Entry) -> bool) -> bool {
        match &self.0 {
            Link::Mem(run) if run.saved.get().is_none() => match &run.body {
                Body::Leaf(items) => items.iter().all(|(k, e)| f(k, e)),
                Body::Branch { children, .. } => children
                    .iter()
                    .all(|c| Self(c.link.clone()).visit_loaded(f)),
            },
            _ => true,
        }
    }

    /// Calls `f` with every entry that is a directory; reads no run without one.
    pub fn for_each_dir(
        &self,
        pager: &Pager,
        f: &mut dyn FnMut(&Entry) -> Result<(), TreeError>,
    ) -> Result<(), TreeError> {
        if self.dirs() == 0 {
            return Ok(());
        }
        let run = self.0.run(pager)?;
        match &run.body {
            Body::Leaf(items) => items
                .iter()
                .filter(|(_, e)| e.is_dir())
                .try_for_each(|(_, e)| f(e)),
            Body::Branch { children, .. } => children
                .iter()
                .filter(|c| c.dirs > 0)
                .try_for_each(|c| Self(c.link.clone()).for_each_dir(pager, f)),
        }
    }

    /// The last entry whose key is below `bound`.
    pub fn last_below(
        &self,
        bound: &Key,
        pager: &Pager,
    ) -> Result<Option<(Key, Entry)>, TreeError> {
        let run = self.0.run(pager)?;
        match &run.body {
            Body::Leaf(items) => {
                let i = items.partition_point(|(k, _)| k < bound);
                Ok(i.checked_sub(1).and_then(|i| items.get(i)).cloned())
            }
            Body::Branch { children, .. } => {
                let i = children.partition_point(|c| c.first < *bound);
                match i.checked_sub(1).and_then(|i| children.get(i)) {
                    Some(child) => Self(child.link.clone()).last_below(bound, pager),
                    None => Ok(None),
                }
            }
        }
    }
}

/// Cuts sorted items into runs of one level.
fn cut<T>(
    items: Vec<T>,
    level: u32,
    key: impl Fn(&T) -> &Key,
    body: impl Fn(Vec<T>) -> Body,
) -> Vec<Arc<Run>> {
    let mut runs = Vec::new();
    let mut run = Vec::new();
    let close = |items: Vec<T>, runs: &mut Vec<Arc<Run>>| {
        let mut run = Run {
            saved: OnceLock::new(),
            body: body(items),
        };
        let mut right = cut_all(&mut run);
        runs.push(Arc::new(run));
        runs.append(&mut right);
    };
    for item in items {
        if !run.is_empty() && rank(key(&item)) > level {
            close(std::mem::take(&mut run), &mut runs);
        }
        run.push(item);
    }
    if !run.is_empty() {
        close(run, &mut runs);
    }
    runs
}

/// Cuts a run wherever it must be; gives what comes to stand right of it.
fn cut_all(run: &mut Run) -> Vec<Arc<Run>> {
    let mut right = Vec::new();
    if let Some(at) = run.cut_point() {
        let mut rest = run.split(at);
        let more = cut_all(run);
        right.extend(more);
        if let Some(r) = Arc::get_mut(&mut rest) {
            let tail = cut_all(r);
            right.push(rest);
            right.extend(tail);
        }
    }
    right
}

type Inserted = (Option<Entry>, Vec<Arc<Run>>);

fn insert(link: &mut Link, key: &Key, entry: Entry, pager: &Pager) -> Result<Inserted, TreeError> {
    let run = link.edit(pager)?;
    let old = match &mut run.body {
        Body::Leaf(items) => match items.binary_search_by(|(k, _)| k.cmp(key)) {
            Ok(i) => {
                let old = items.get_mut(i).map(|(_, e)| std::mem::replace(e, entry));
                return Ok((old, Vec::new()));
            }
            Err(i) => {
                items.insert(i, (key.clone(), entry));
                None
            }
        },
        Body::Branch { children, .. } => {
            let i = children
                .partition_point(|c| c.first <= *key)
                .saturating_sub(1);
            let Some(child) = children.get_mut(i) else {
                return Err(TreeError::malformed("a run", "a branch without children"));
            };
            let (old, right) = insert(&mut child.link, key, entry, pager)?;
            refresh(child, pager)?;
            if right.is_empty() {
                return Ok((old, right));
            }
            children.splice(i + 1..i + 1, right.into_iter().filter_map(Child::of));
            old
        }
    };
    let right = cut_all(run);
    Ok((old, right))
}

/// Brings a child's summary up to date after an edit below.
fn refresh(child: &mut Child, pager: &Pager) -> Result<(), TreeError> {
    let run = child.link.run(pager)?;
    if let Some(first) = run.first()
        && child.first != *first
    {
        child.first = first.clone();
    }
    child.count = run.count();
    child.dirs = run.dirs();
    Ok(())
}

fn change<T>(
    link: &mut Link,
    key: &Key,
    pager: &Pager,
    f: impl FnOnce(&mut Entry) -> Result<T, TreeError>,
) -> Result<Option<T>, TreeError> {
    let run = link.edit(pager)?;
    match &mut run.body {
        Body::Leaf(items) => match items.binary_search_by(|(k, _)| k.cmp(key)) {
            Ok(i) => items.get_mut(i).map(|(_, e)| f(e)).transpose(),
            Err(_) => Ok(None),
        },
        Body::Branch { children, .. } => {
            let i = children.partition_point(|c| c.first <= *key);
            let Some(child) = i.checked_sub(1).and_then(|i| children.get_mut(i)) else {
                return Ok(None);
            };
            let out = change(&mut child.link, key, pager, f)?;
            refresh(child, pager)?;
            Ok(out)
        }
    }
}

struct Removed {
    entry: Option<Entry>,
    /// The run lost its first key, and with it perhaps its reason to be cut from the run before.
    headless: bool,
    right: Vec<Arc<Run>>,
}

fn remove(link: &mut Link, key: &Key, pager: &Pager) -> Result<Removed, TreeError> {
    let run = link.edit(pager)?;
    let (entry, headless) = match &mut run.body {
        Body::Leaf(items) => match items.binary_search_by(|(k, _)| k.cmp(key)) {
            Ok(i) => (Some(items.remove(i).1), i == 0),
            Err(_) => (None, false),
        },
        Body::Branch { children, .. } => {
            let i = children
                .partition_point(|c| c.first <= *key)
                .saturating_sub(1);
            let Some(child) = children.get_mut(i) else {
                return Err(TreeError::malformed("a run", "a branch without children"));
            };
            let removed = remove(&mut child.link, key, pager)?;
            refresh(child, pager)?;
            let empty = child.count == 0;
            let right: Vec<Child> = removed.right.into_iter().filter_map(Child::of).collect();
            children.splice(i + 1..i + 1, right);
            if empty {
                children.remove(i);
            } else if removed.headless && i > 0 {
                merge_at(children, i - 1, pager)?;
            }
            (removed.entry, removed.headless && i == 0)
        }
    };
    let right = cut_all(run);
    Ok(Removed {
        entry,
        headless,
        right,
    })
}

/// Joins child `i` with the one after it, cutting again where a boundary remains.
fn merge_at(children: &mut Vec<Child>, i: usize, pager: &Pager) -> Result<(), TreeError> {
    if i + 1 >= children.len() {
        return Ok(());
    }
    let right = children.remove(i + 1).link.run(pager)?;
    let Some(left) = children.get_mut(i) else {
        return Ok(());
    };
    let run = left.link.edit(pager)?;
    match (&mut run.body, &right.body) {
        (Body::Leaf(a), Body::Leaf(b)) => a.extend(b.iter().cloned()),
        (Body::Branch { children: a, .. }, Body::Branch { children: b, .. }) => {
            let seam = a.len().checked_sub(1);
            a.extend(b.iter().cloned());
            if let Some(seam) = seam {
                merge_at(a, seam, pager)?;
            }
        }
        _ => {
            return Err(TreeError::malformed(
                "a run",
                "children of different levels",
            ));
        }
    }
    let more = cut_all(run);
    refresh(left, pager)?;
    children.splice(i + 1..i + 1, more.into_iter().filter_map(Child::of));
    Ok(())
}

fn collect(
    link: &Link,
    after: Option<&Key>,
    limit: usize,
    pager: &Pager,
    out: &mut Vec<(Key, Entry)>,
) -> Result<(), TreeError> {
    let run = link.run(pager)?;
    match &run.body {
        Body::Leaf(items) => {
            let from = after.map_or(0, |a| items.partition_point(|(k, _)| k <= a));
            let room = limit.saturating_sub(out.len());
            out.extend(items.iter().skip(from).take(room).cloned());
        }
        Body::Branch { children, .. } => {
            let from = after.map_or(0, |a| {
                children
                    .partition_point(|c| c.first <= *a)
                    .saturating_sub(1)
            });
            for child in children.iter().skip(from) {
                if out.len() >= limit {
                    break;
                }
                collect(&child.link, after, limit, pager, out)?;
            }
        }
    }
    Ok(())
}
