//! The bytes of a page, of an entry and of attributes: canonical CBOR.
//!
//! ```text
//! page   = [0, [key, entry, key, entry, …]]                     leaf run of a map, keys ascending
//!        | [level, [key, page-ref, key, page-ref, …]]           branch run, level ≥ 1, first keys
//!        | bytes as they are                                     content: one chunk, or a scalar's CBOR
//! entry  = [kind, body] | [kind, body, attrs]
//!   kind 0 scalar       body = the value
//!        1 text         body = text           2 bytes         body = bytes
//!        3 map          body = [key, entry, …]  4 vector      body = [key, entry, …]   (small, inline)
//!        5 text page    body = page-ref       6 bytes page    body = page-ref
//!        7 scalar page  body = page-ref
//!        8 map page     body = page-ref       9 vector page   body = page-ref
//!       10 long text    body = [length, entry of the chunk map]
//!       11 long bytes   body = [length, entry of the chunk map]
//!       12 link         body = id in the document of linked files
//! page-ref = [address (32 bytes), birth, length or entries, directories]
//! attrs  = {0: [mode, uid, gid], 1: time (mtime), 2: time (ctime if not mtime), 3: time (crtime if not mtime),
//!           4: time (atime), 5: time (stamp), 6: inode, 7: [name, value, …] xattrs, 8: true (no final newline),
//!           9: literal, 10: declared type}
//! time   = nanoseconds since 1970 if they fit 64 bits, else [seconds, nanoseconds]
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;

use super::entry::{Attrs, Chunked, Content, Entry, Node, Owner, PageRef, Times};
use super::error::TreeError;
use super::live::PageKind;
use super::map::{Body, Child, Link, Map, Run};
use super::pager::Pager;
use super::time::Time;
use crate::value::cbor::{Major, Reader, Writer};
use crate::value::{Key, stack};

/// Directories nest at most this deep inside one page or journal record.
const MAX_INLINE_DEPTH: usize = 1201;

/// Writes an entry. Runs in memory are written inline, so a fold first replaces large ones by pages.
pub fn write_entry(w: &mut Writer<'_>, entry: &Entry, pager: &Pager) -> Result<(), TreeError> {
    w.array(if entry.attrs.is_some() { 3 } else { 2 });
    match &entry.node {
        Node::Scalar(v) => {
            w.uint(0);
            w.value(v);
        }
        Node::ScalarPage(p) => {
            w.uint(7);
            write_ref(w, p);
        }
        Node::Text(Content::Inline(b)) => {
            w.uint(1);
            match std::str::from_utf8(b) {
                Ok(s) => {
                    w.text(s);
                }
                Err(e) => return Err(TreeError::malformed("a text", e)),
            }
        }
        Node::Bytes(Content::Inline(b)) => {
            w.uint(2);
            w.bytes(b);
        }
        Node::Text(Content::Page(p)) => {
            w.uint(5);
            write_ref(w, p);
        }
        Node::Bytes(Content::Page(p)) => {
            w.uint(6);
            write_ref(w, p);
        }
        Node::Text(Content::Chunked(c)) => write_chunked(w, 10, c, pager)?,
        Node::Bytes(Content::Chunked(c)) => write_chunked(w, 11, c, pager)?,
        Node::Map(m) => write_map(w, 3, m, pager)?,
        Node::Vector(m) => write_map(w, 4, m, pager)?,
        Node::Ref(id) => {
            w.uint(12);
            w.uint(*id);
        }
    }
    if let Some(attrs) = &entry.attrs {
        write_attrs(w, attrs);
    }
    Ok(())
}

fn write_chunked(
    w: &mut Writer<'_>,
    kind: u64,
    c: &Chunked,
    pager: &Pager,
) -> Result<(), TreeError> {
    w.uint(kind);
    w.array(2);
    w.uint(c.len);
    write_entry(w, &Entry::plain(Node::Map(c.chunks.clone())), pager)
}

fn write_map(w: &mut Writer<'_>, kind: u64, map: &Map, pager: &Pager) -> Result<(), TreeError> {
    match &map.0 {
        Link::Page(p) => {
            w.uint(kind + 5);
            write_ref(w, p);
        }
        Link::Mem(run) if run.saved.get().is_some() => {
            w.uint(kind + 5);
            if let Some(p) = run.saved.get() {
                write_ref(w, p);
            }
        }
        Link::Mem(_) => {
            w.uint(kind);
            w.array(
                usize::try_from(map.len())
                    .unwrap_or(usize::MAX)
                    .saturating_mul(2),
            );
            map.for_each(pager, &mut |k, e| {
                w.raw(k.bytes());
                write_entry(w, e, pager)
            })?;
        }
    }
    Ok(())
}

fn write_ref(w: &mut Writer<'_>, p: &PageRef) {
    w.array(4);
    w.bytes(&p.addr);
    w.uint(p.birth);
    w.uint(p.len);
    w.uint(p.dirs);
}

/// Writes a run whose children are pages.
pub fn write_run(w: &mut Writer<'_>, run: &Run, pager: &Pager) -> Result<(), TreeError> {
    w.array(2);
    match &run.body {
        Body::Leaf(items) => {
            w.uint(0);
            w.array(items.len() * 2);
            for (k, e) in items {
                w.raw(k.bytes());
                write_entry(w, e, pager)?;
            }
        }
        Body::Branch { level, children } => {
            w.uint(u64::from(*level));
            w.array(children.len() * 2);
            for c in children {
                w.raw(c.first.bytes());
                match &c.link {
                    Link::Page(p) => write_ref(w, p),
                    Link::Mem(run) => match run.saved.get() {
                        Some(p) => write_ref(w, p),
                        None => {
                            return Err(TreeError::malformed(
                                "a branch",
                                "a child that is in no page",
                            ));
                        }
                    },
                }
            }
        }
    }
    Ok(())
}

/// Writes attributes.
pub fn write_attrs(w: &mut Writer<'_>, a: &Attrs) {
    let times = a.times;
    let ctime = times.filter(|t| t.ctime != t.mtime).map(|t| t.ctime);
    let crtime = times.filter(|t| t.crtime != t.mtime).map(|t| t.crtime);
    let n = [
        a.owner.is_some(),
        times.is_some(),
        ctime.is_some(),
        crtime.is_some(),
        a.atime.is_some(),
        a.stamp.is_some(),
        a.ino.is_some(),
        !a.xattrs.is_empty(),
        a.bare,
        a.literal.is_some(),
        a.declared.is_some(),
    ];
    w.map(n.iter().filter(|b| **b).count());
    if let Some(o) = a.owner {
        w.uint(0);
        w.array(3);
        w.uint(u64::from(o.mode));
        w.uint(u64::from(o.uid));
        w.uint(u64::from(o.gid));
    }
    for (field, time) in [
        (1, times.map(|t| t.mtime)),
        (2, ctime),
        (3, crtime),
        (4, a.atime),
        (5, a.stamp),
    ] {
        if let Some(t) = time {
            w.uint(field);
            write_time(w, t);
        }
    }
    if let Some(ino) = a.ino {
        w.uint(6);
        w.uint(ino);
    }
    if !a.xattrs.is_empty() {
        w.uint(7);
        w.array(a.xattrs.len() * 2);
        for (k, v) in &a.xattrs {
            w.bytes(k);
            w.bytes(v);
        }
    }
    if a.bare {
        w.uint(8);
        w.bool(true);
    }
    if let Some(l) = &a.literal {
        w.uint(9);
        w.bytes(l);
    }
    if let Some(d) = &a.declared {
        w.uint(10);
        w.text(d);
    }
}

/// Writes a time.
pub fn write_time(w: &mut Writer<'_>, t: Time) {
    let ns = t
        .secs
        .checked_mul(1_000_000_000)
        .and_then(|s| s.checked_add(i64::from(t.nanos)));
    match ns {
        Some(ns) => {
            w.int(ns);
        }
        None => {
            w.array(2);
            w.int(t.secs);
            w.uint(u64::from(t.nanos));
        }
    }
}

/// Reads a time.
pub fn read_time(r: &mut Reader<'_>) -> Result<Time, TreeError> {
    if r.peek_major()? == Major::Array {
        r.array()?;
        let secs = r.int()?;
        let nanos = small(r.uint()?)?;
        return Ok(Time {
            secs,
            nanos: nanos.min(999_999_999),
        });
    }
    let ns = r.int()?;
    let nanos = u32::try_from(ns.rem_euclid(1_000_000_000)).unwrap_or(0);
    Ok(Time {
        secs: ns.div_euclid(1_000_000_000),
        nanos,
    })
}

fn small(n: u64) -> Result<u32, TreeError> {
    u32::try_from(n).map_err(|e| TreeError::malformed("an attribute", e))
}

/// Reads attributes.
pub fn read_attrs(r: &mut Reader<'_>) -> Result<Attrs, TreeError> {
    let mut a = Attrs::default();
    let (mut mtime, mut ctime, mut crtime) = (None, None, None);
    for _ in 0..r.map()? {
        match r.uint()? {
            0 => {
                r.array()?;
                a.owner = Some(Owner {
                    mode: small(r.uint()?)?,
                    uid: small(r.uint()?)?,
                    gid: small(r.uint()?)?,
                });
            }
            1 => mtime = Some(read_time(r)?),
            2 => ctime = Some(read_time(r)?),
            3 => crtime = Some(read_time(r)?),
            4 => a.atime = Some(read_time(r)?),
            5 => a.stamp = Some(read_time(r)?),
            6 => a.ino = Some(r.uint()?),
            7 => {
                let n = r.array()? / 2;
                let mut xattrs = BTreeMap::new();
                for _ in 0..n {
                    let name = r.bytes()?.to_vec();
                    xattrs.insert(name, r.bytes()?.to_vec());
                }
                a.xattrs = xattrs;
            }
            8 => a.bare = r.bool()?,
            9 => a.literal = Some(r.bytes()?.to_vec()),
            10 => a.declared = Some(r.text()?.to_owned()),
            other => {
                return Err(TreeError::malformed(
                    "attributes",
                    format!("unknown field {other}"),
                ));
            }
        }
    }
    a.times = mtime.map(|m| Times {
        mtime: m,
        ctime: ctime.unwrap_or(m),
        crtime: crtime.unwrap_or(m),
    });
    Ok(a)
}

fn read_ref(r: &mut Reader<'_>, kind: PageKind) -> Result<Arc<PageRef>, TreeError> {
    if r.array()? != 4 {
        return Err(TreeError::malformed("a page reference", "not four fields"));
    }
    let addr = r
        .bytes()?
        .try_into()
        .map_err(|e| TreeError::malformed("a page reference", e))?;
    let (birth, len, dirs) = (r.uint()?, r.uint()?, r.uint()?);
    Ok(Arc::new(PageRef::new(addr, kind, birth, len, dirs)))
}

/// Reads an entry.
pub fn read_entry(r: &mut Reader<'_>) -> Result<Entry, TreeError> {
    within_depth(r, read_entry_at)
}

/// Reads what may have [`MAX_INLINE_DEPTH`] levels of entries.
fn within_depth<T: Send>(
    r: &mut Reader<'_>,
    read: impl Fn(&mut Reader<'_>, usize) -> Result<T, TreeError> + Send + Sync,
) -> Result<T, TreeError> {
    let start = r.clone();
    let again = |levels| {
        *r = start.clone();
        read(r, levels)
    };
    stack::read(MAX_INLINE_DEPTH, again, |error| {
        matches!(error, TreeError::TooDeep { .. })
    })
}

/// An entry of at most so many levels.
fn read_entry_at(r: &mut Reader<'_>, levels: usize) -> Result<Entry, TreeError> {
    let levels = levels.checked_sub(1).ok_or(TreeError::TooDeep {
        limit: MAX_INLINE_DEPTH,
    })?;
    let n = r.array()?;
    if n != 2 && n != 3 {
        return Err(TreeError::malformed(
            "an entry",
            "neither two nor three fields",
        ));
    }
    let node = match r.uint()? {
        0 => Node::Scalar(Arc::new(r.value()?)),
        1 => Node::Text(Content::Inline(Arc::from(r.text()?.as_bytes()))),
        2 => Node::Bytes(Content::Inline(Arc::from(r.bytes()?))),
        3 => Node::Map(read_items(r, levels)?),
        4 => Node::Vector(read_items(r, levels)?),
        5 => Node::Text(Content::Page(read_ref(r, PageKind::Content)?)),
        6 => Node::Bytes(Content::Page(read_ref(r, PageKind::Content)?)),
        7 => Node::ScalarPage(read_ref(r, PageKind::Content)?),
        8 => Node::Map(Map(Link::Page(read_ref(r, PageKind::Run)?))),
        9 => Node::Vector(Map(Link::Page(read_ref(r, PageKind::Run)?))),
        10 => Node::Text(read_chunked(r, levels)?),
        11 => Node::Bytes(read_chunked(r, levels)?),
        12 => Node::Ref(r.uint()?),
        other => {
            return Err(TreeError::malformed(
                "an entry",
                format!("unknown kind {other}"),
            ));
        }
    };
    let attrs = if n == 3 {
        Some(Arc::new(read_attrs(r)?))
    } else {
        None
    };
    Ok(Entry { attrs, node })
}

fn read_chunked(r: &mut Reader<'_>, levels: usize) -> Result<Content, TreeError> {
    if r.array()? != 2 {
        return Err(TreeError::malformed("a long content", "not two fields"));
    }
    let len = r.uint()?;
    match read_entry_at(r, levels)?.node {
        Node::Map(chunks) => Ok(Content::Chunked(Arc::new(Chunked { len, chunks }))),
        _ => Err(TreeError::malformed(
            "a long content",
            "its chunks are no map",
        )),
    }
}

fn read_items(r: &mut Reader<'_>, levels: usize) -> Result<Map, TreeError> {
    let n = r.array()?;
    Ok(Map::from_sorted(read_pairs(r, n, levels)?))
}

fn read_pairs(r: &mut Reader<'_>, n: usize, levels: usize) -> Result<Vec<(Key, Entry)>, TreeError> {
    if !n.is_multiple_of(2) {
        return Err(TreeError::malformed("a run", "a key without an entry"));
    }
    let mut items: Vec<(Key, Entry)> = Vec::with_capacity((n / 2).min(1024));
    for _ in 0..n / 2 {
        let key = read_key(r)?;
        if items.last().is_some_and(|(last, _)| *last >= key) {
            return Err(TreeError::malformed("a run", "keys out of order"));
        }
        items.push((key, read_entry_at(r, levels)?));
    }
    Ok(items)
}

fn read_key(r: &mut Reader<'_>) -> Result<Key, TreeError> {
    Ok(Key::from_canonical(r.raw()?))
}

/// Reads the run of a page.
pub fn read_run(bytes: &[u8]) -> Result<Body, TreeError> {
    let mut r = Reader::new(bytes);
    if r.array()? != 2 {
        return Err(TreeError::malformed("a run", "not two fields"));
    }
    let level = small(r.uint()?)?;
    let n = r.array()?;
    let body = if level == 0 {
        Body::Leaf(within_depth(&mut r, |r, levels| read_pairs(r, n, levels))?)
    } else {
        let mut children: Vec<Child> = Vec::with_capacity((n / 2).min(1024));
        for _ in 0..n / 2 {
            let first = read_key(&mut r)?;
            let page = read_ref(&mut r, PageKind::Run)?;
            if children.last().is_some_and(|c| c.first >= first) {
                return Err(TreeError::malformed("a branch", "keys out of order"));
            }
            children.push(Child {
                first,
                count: page.len,
                dirs: page.dirs,
                link: Link::Page(page),
            });
        }
        Body::Branch { level, children }
    };
    if !r.at_end() {
        return Err(TreeError::malformed("a run", "bytes after its end"));
    }
    Ok(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A run of one entry in which directories, or the chunks of contents, nest.
    fn nested(open: &[u8], depth: usize) -> Vec<u8> {
        let start: &[u8] = &[0x82, 0x00, 0x82, 0x61, b'a'];
        [start, &open.repeat(depth), &[0x82, 0x00, 0x00]].concat()
    }

    /// `[3, ["a", …]]`, `[10, [1, …]]`.
    const OPEN: [&[u8]; 2] = [&[0x82, 0x03, 0x82, 0x61, b'a'], &[0x82, 0x0a, 0x82, 0x01]];

    #[test]
    fn a_page_that_nests_too_deeply_is_refused_on_a_small_stack() {
        let run = || {
            for open in OPEN {
                let refused = read_run(&nested(open, 100_000));
                assert!(
                    matches!(refused, Err(TreeError::TooDeep { .. })),
                    "{open:x?}"
                );
                let page = nested(open, 100_000);
                let refused = read_entry(&mut Reader::new(&page[5..]));
                assert!(
                    matches!(refused, Err(TreeError::TooDeep { .. })),
                    "{open:x?}"
                );
            }
        };
        let thread = std::thread::Builder::new().stack_size(256 << 10);
        thread.spawn(run).unwrap().join().unwrap();
    }

    #[test]
    fn a_page_nests_as_deeply_as_a_value() {
        let [directories, _] = OPEN;
        assert!(read_run(&nested(directories, MAX_INLINE_DEPTH - 1)).is_ok());
        assert!(read_run(&nested(directories, MAX_INLINE_DEPTH)).is_err());
    }

    #[test]
    fn counts_that_promise_more_than_there_is_allocate_nothing() {
        let most = [0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
        for start in [&[0x82, 0x00][..], &[0x82, 0x01]] {
            assert!(read_run(&[start, &most].concat()).is_err());
        }
        assert!(read_run(&most).is_err());
    }
}
