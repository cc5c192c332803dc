//! Extended attributes: stored ones, and those that show what the store knows.

use std::sync::Arc;

use super::super::attr::ino_of;
use super::super::inode::Inode;
use super::super::render::TypeName;
use super::super::special;
use super::super::types::{Caller, FileKind, Ino, ROOT};
use super::super::work::Work;
use super::super::{Result, View, ViewError, failure, names, typing, xattrs};
use super::check_index;
use super::create::file_type;
use crate::gc::KEEP;
use crate::tree::edit::{self, Found};
use crate::tree::{Attrs, Entry, Map, Node, Times, convert, hex};
use crate::value::{Key, cbor, edn};

const OWN: &[u8] = b"user.kfs.";
const TYPE: &[u8] = b"user.kfs.type";
/// Attributes that are answered and not listed.
const VIRTUAL: [&[u8]; 6] = [
    b"user.kfs.key",
    b"user.kfs.last-write",
    b"user.kfs.version",
    b"user.kfs.size-on-disk",
    b"user.kfs.error",
    b"user.kfs.all",
];

/// Brings an access list in step with a new mode.
pub(super) fn mode_to_acl(attrs: &mut Attrs, mode: u32) {
    xattrs::follow_mode(attrs, mode);
}

impl View {
    /// Sets an extended attribute. `user.kfs.type` gives the value another type.
    ///
    /// # Errors
    /// [`ViewError::AttributeExists`] and [`ViewError::NoAttribute`] as `flags` ask for;
    /// [`ViewError::NotPermitted`] for one that only shows something; [`ViewError::Invalid`];
    /// [`ViewError::NotSupported`] for an unknown namespace.
    pub fn setxattr(
        &self,
        _caller: &Caller,
        ino: Ino,
        name: &[u8],
        value: &[u8],
        flags: i32,
        position: u32,
    ) -> Result<()> {
        self.writable()?;
        check_name(name)?;
        if position != 0 {
            return Err(ViewError::invalid("setxattr", "a position is not possible"));
        }
        let inode = self.inode(ino)?;
        if name == TYPE {
            return self.set_type(&inode, value, flags);
        }
        let mut work = inode.work.lock();
        let acl = name == xattrs::ACCESS || name == xattrs::DEFAULT;
        if acl && !xattrs::is_valid(value) {
            return Err(ViewError::invalid("access control list", "it is malformed"));
        }
        // Setting what is set changes nothing, as in ext4.
        let found = self.current(&inode, &mut work)?;
        let present = found.entry.attrs.as_ref().and_then(|a| a.xattrs.get(name));
        if !acl && flags & libc::XATTR_CREATE == 0 && present.is_some_and(|p| p == value) {
            return Ok(());
        }
        let now = self.time();
        self.change_attrs(&inode, &mut work, &mut |found, _| {
            let mut attrs = found.entry.attrs();
            let there = attrs.xattrs.contains_key(name);
            if flags & libc::XATTR_CREATE != 0 && there {
                return Err(ViewError::AttributeExists {
                    ino,
                    name: name.into(),
                });
            }
            if flags & libc::XATTR_REPLACE != 0 && !there {
                return Err(ViewError::NoAttribute {
                    ino,
                    name: name.into(),
                });
            }
            if name == xattrs::ACCESS
                && let Some((bits, more)) = xattrs::describe(value)
            {
                let mut owner = self.owner_of(&found.entry);
                owner.mode = (owner.mode & !0o777) | bits;
                attrs.owner = Some(owner);
                if !more {
                    attrs.xattrs.remove(name);
                    return Ok(changed(found, attrs, now));
                }
            }
            attrs.xattrs.insert(name.to_vec(), value.to_vec());
            Ok(changed(found, attrs, now))
        })?;
        Ok(())
    }

    /// The value of an extended attribute.
    ///
    /// # Errors
    /// [`ViewError::NoAttribute`]; [`ViewError::NotSupported`] for an unknown namespace.
    pub fn getxattr(&self, _caller: &Caller, ino: Ino, name: &[u8]) -> Result<Vec<u8>> {
        let inode = self.inode(ino)?;
        let mut work = inode.work.lock();
        let missing = || ViewError::NoAttribute {
            ino,
            name: name.into(),
        };
        let found = self.current(&inode, &mut work)?;
        if let Some(value) = found.entry.attrs.as_ref().and_then(|a| a.xattrs.get(name)) {
            return Ok(value.clone());
        }
        if !name.starts_with(OWN) {
            check_namespace(name)?;
            return Err(missing());
        }
        self.own_attribute(&inode, &work, &found, name)?
            .ok_or_else(missing)
    }

    /// The names of the extended attributes, each ended by NUL.
    ///
    /// # Errors
    /// [`ViewError::Stale`].
    pub fn listxattr(&self, caller: &Caller, ino: Ino) -> Result<Vec<u8>> {
        let inode = self.inode(ino)?;
        let mut work = inode.work.lock();
        let found = self.current(&inode, &mut work)?;
        let mut out = Vec::new();
        for name in found.entry.attrs.iter().flat_map(|a| a.xattrs.keys()) {
            if name.starts_with(b"trusted.") && caller.uid != 0 {
                continue;
            }
            out.extend_from_slice(name);
            out.push(0);
        }
        if typing::listed(&found.entry, self.store.pager())
            .map_err(failure::in_inode(ino))?
            .is_some()
        {
            out.extend_from_slice(TYPE);
            out.push(0);
        }
        Ok(out)
    }

    /// Removes an extended attribute. Without `user.kfs.type` the content is classed as if it were
    /// new, and a directory is a map.
    ///
    /// # Errors
    /// [`ViewError::NoAttribute`]; [`ViewError::NotPermitted`] for one that only shows something.
    pub fn removexattr(&self, _caller: &Caller, ino: Ino, name: &[u8]) -> Result<()> {
        self.writable()?;
        check_name(name)?;
        let inode = self.inode(ino)?;
        let mut work = inode.work.lock();
        let found = self.current(&inode, &mut work)?;
        if name == TYPE {
            if typing::listed(&found.entry, self.store.pager())
                .map_err(failure::in_inode(ino))?
                .is_none()
            {
                return Err(ViewError::NoAttribute {
                    ino,
                    name: name.into(),
                });
            }
            if found.entry.is_dir() {
                let orphan = work.orphan;
                drop(work);
                return if orphan {
                    Ok(())
                } else {
                    self.convert(ino, false)
                };
            }
            return self.retype(&inode, &mut work, None);
        }
        let now = self.time();
        self.change_attrs(&inode, &mut work, &mut |found, _| {
            let mut attrs = found.entry.attrs();
            if attrs.xattrs.remove(name).is_none() {
                return Err(ViewError::NoAttribute {
                    ino,
                    name: name.into(),
                });
            }
            Ok(changed(found, attrs, now))
        })?;
        Ok(())
    }

    fn own_attribute(
        &self,
        inode: &Inode,
        work: &Work,
        found: &Found,
        name: &[u8],
    ) -> Result<Option<Vec<u8>>> {
        let pager = self.store.pager();
        let fail = failure::in_inode(inode.ino);
        // A linked file may be known by a number only.
        let place = inode.names().into_iter().next();
        let path = place.and_then(|place| self.table.path_at(&place));
        Ok(match name.strip_prefix(OWN).unwrap_or_default() {
            b"type" => {
                let declared = typing::declared(&found.entry, pager).map_err(&fail)?;
                let present = typing::present(&found.entry.node, pager).map_err(&fail)?;
                declared.or(present).map(|t| t.as_str().as_bytes().to_vec())
            }
            b"key" => path
                .as_ref()
                .and_then(|p| p.last())
                .map(|k| edn::print(&k.value()).into_bytes()),
            b"last-write" => match path.as_ref().and_then(|p| p.first()) {
                Some(key) => self.store.get_meta(key)?.map(|m| {
                    format!("{}.{:09}", m.last_write.secs, m.last_write.nanos).into_bytes()
                }),
                None => None,
            },
            b"version" => {
                let value = convert::to_value(&found.entry.node, pager).map_err(&fail)?;
                Some(hex(blake3::hash(&cbor::encode(&value)).as_bytes()).into_bytes())
            }
            b"size-on-disk" => {
                let attr = self.attr_of_work(inode, work, &found.entry, found.stamp)?;
                Some((attr.blocks * 512).to_string().into_bytes())
            }
            b"error" => work.error.as_ref().map(|e| e.clone().into_bytes()),
            b"all" => {
                let mut all = serde_json::Map::new();
                for attribute in VIRTUAL
                    .iter()
                    .filter(|a| **a != b"user.kfs.all")
                    .chain(&[TYPE])
                {
                    let short =
                        String::from_utf8_lossy(attribute.strip_prefix(OWN).unwrap_or_default())
                            .into_owned();
                    if let Some(v) = self.own_attribute(inode, work, found, attribute)? {
                        all.insert(short, String::from_utf8_lossy(&v).into_owned().into());
                    }
                }
                Some(serde_json::Value::Object(all).to_string().into_bytes())
            }
            _ => None,
        })
    }

    fn set_type(&self, inode: &Arc<Inode>, value: &[u8], flags: i32) -> Result<()> {
        let mut guard = inode.work.lock();
        let work = &mut *guard;
        let name = std::str::from_utf8(value)
            .unwrap_or("(not UTF-8)")
            .trim_end_matches('\0');
        let wanted: TypeName = name.parse().map_err(|_| {
            let known: Vec<&str> = TypeName::ALL.iter().map(|t| t.as_str()).collect();
            ViewError::invalid(
                "user.kfs.type",
                format!("{name:?} is no type; the types are {}", known.join(", ")),
            )
        })?;
        let found = self.current(inode, work)?;
        let listed = typing::listed(&found.entry, self.store.pager())
            .map_err(failure::in_inode(inode.ino))?;
        if flags & libc::XATTR_CREATE != 0 && listed.is_some() {
            return Err(ViewError::AttributeExists {
                ino: inode.ino,
                name: TYPE.into(),
            });
        }
        if flags & libc::XATTR_REPLACE != 0 && listed.is_none() {
            return Err(ViewError::NoAttribute {
                ino: inode.ino,
                name: TYPE.into(),
            });
        }
        match (special::kind(&found.entry.node).0, wanted.is_directory()) {
            (FileKind::Dir, true) if work.orphan => Ok(()),
            (FileKind::Dir, true) => {
                // Its children are committed: no two working copies are locked in that order.
                drop(guard);
                self.convert(inode.ino, wanted == TypeName::Vector)
            }
            (FileKind::File, false) => self.retype(inode, work, file_type(name)),
            (FileKind::Dir, false) => Err(ViewError::invalid(
                "user.kfs.type",
                format!("a directory cannot be of type {name}"),
            )),
            _ => Err(ViewError::invalid(
                "user.kfs.type",
                format!("this cannot be of type {name}"),
            )),
        }
    }

    /// Reads the present content of a file as another type, or classes it anew.
    fn retype(&self, inode: &Arc<Inode>, work: &mut Work, wanted: Option<TypeName>) -> Result<()> {
        if !work.pending && !work.orphan {
            self.commit_work(inode, work)?;
        }
        let ino = inode.ino;
        if work.pending || work.orphan {
            let found = self.current(inode, work)?;
            let mut attrs = changed(&found, found.entry.attrs(), self.time());
            attrs.declared = wanted.map(|t| t.as_str().to_owned());
            if let Some(entry) = &mut work.entry {
                entry.set_attrs(attrs);
            }
            return Ok(());
        }
        let pager = self.store.pager();
        let now = self.time();
        let found = self.transact(|tx| {
            let path = self.path(ino)?;
            let found = Self::find(tx, &path)?.ok_or(ViewError::Stale { ino })?;
            let (content, newline) =
                typing::file_bytes(&found.entry, pager).map_err(failure::in_inode(ino))?;
            let buffer = super::super::buffer::Buffer::new(content, newline);
            let typed = typing::typed(&buffer, wanted, self.options.strict, false, pager)
                .map_err(|e| ViewError::invalid("user.kfs.type", e.to_string()))?;
            let mut attrs = changed(&found, found.entry.attrs(), now);
            typing::apply(&typed, &mut attrs);
            let entry = Entry::plain(typed.node).with_attrs(attrs);
            tx.put(path.clone().into(), entry.clone(), None)?;
            let table = Arc::clone(&self.table);
            tx.require(move || table.path(ino).as_ref() == Some(&path));
            Ok(Found { entry, ..found })
        })?;
        if work.entry.is_some() {
            self.load(inode, work, found)?;
        }
        Ok(())
    }

    /// Turns a map into a vector or back.
    fn convert(&self, ino: Ino, vector: bool) -> Result<()> {
        if ino == ROOT && vector {
            return Err(ViewError::invalid(
                "user.kfs.type",
                "the root directory is a map",
            ));
        }
        while !self.try_convert(ino, vector)? {
            for (_, child) in self.table.pending(ino) {
                self.commit(&child)?;
            }
        }
        Ok(())
    }

    /// Turns a map into a vector or back; false if there are names in it that are not committed.
    fn try_convert(&self, ino: Ino, vector: bool) -> Result<bool> {
        let pager = self.store.pager();
        let now = self.time();
        self.transact(|tx| {
            let (path, found) = self.dir_in(tx, ino)?;
            let map = match &found.entry.node {
                Node::Map(map) if vector => map,
                Node::Vector(map) if !vector => map,
                _ => return Ok(true),
            };
            if self.table.pending_time(ino).is_some() {
                return Ok(false);
            }
            let fail = failure::in_inode(ino);
            let mut items: Vec<(Key, Entry)> = Vec::new();
            let mut clash = None;
            map.for_each(pager, &mut |key, entry| {
                let to = if vector {
                    element_key(key)
                } else {
                    name_key(key)
                };
                let Some(to) = to else {
                    clash = Some(edn::print(&key.value()));
                    return Ok(());
                };
                if matches!(entry.node, Node::Ref(_)) {
                    items.push((to, entry.clone()));
                    return Ok(());
                }
                // The number would follow the key; it is kept instead.
                let mut attrs = entry.attrs();
                let stamp = edit::stamp_of(entry, found.stamp);
                attrs.ino = Some(self.table.number(ino, key, ino_of(entry, ino, key, stamp)));
                items.push((to, entry.clone().with_attrs(attrs)));
                Ok(())
            })
            .map_err(&fail)?;
            if let Some(key) = clash {
                return Err(ViewError::invalid(
                    "user.kfs.type",
                    format!("the key {key} would be mistaken for another one; rename it first"),
                ));
            }
            items.sort_by(|a, b| a.0.cmp(&b.0));
            let mut len = 0;
            for index in items.iter().filter_map(|(key, _)| key.as_index()) {
                check_index(index, len)?;
                len = index + 1;
            }
            let map = Map::from_sorted(items);
            let node = if vector {
                Node::Vector(map)
            } else {
                Node::Map(map)
            };
            let entry = Entry::plain(node).with_attrs(changed(&found, found.entry.attrs(), now));
            tx.put(path.into(), entry, None)?;
            let table = Arc::clone(&self.table);
            tx.require({
                let table = Arc::clone(&table);
                move || table.pending_time(ino).is_none()
            });
            tx.on_commit(move || table.rekey(ino, if vector { element_key } else { name_key }));
            Ok(true)
        })
    }
}

/// The key in a vector of an entry of a map: an index where the name is one. `None` for an integer
/// key, which would be taken for an element.
fn element_key(key: &Key) -> Option<Key> {
    if key.as_index().is_some() {
        return None;
    }
    match key.as_text().and_then(|t| names::parse_index(t.as_bytes())) {
        Some(index) => Some(Key::index(index)),
        None => Some(key.clone()),
    }
}

/// The key in a map of an entry of a vector: the index as text. `None` for a text that looks like one.
fn name_key(key: &Key) -> Option<Key> {
    match (key.as_index(), key.as_text()) {
        (Some(index), _) => Some(Key::text(&index.to_string())),
        (None, Some(t)) if names::parse_index(t.as_bytes()).is_some() => None,
        _ => Some(key.clone()),
    }
}

/// Attributes with a new ctime.
fn changed(found: &Found, mut attrs: Attrs, now: crate::tree::Time) -> Attrs {
    let times = edit::times_of(&found.entry, found.stamp);
    attrs.times = Some(Times {
        ctime: now,
        ..times
    });
    attrs
}

fn check_name(name: &[u8]) -> Result<()> {
    if name.starts_with(OWN) {
        if name == TYPE || name == KEEP {
            return Ok(());
        }
        return Err(ViewError::NotPermitted {
            what: "this attribute".into(),
            why: "attributes user.kfs.* other than type and keep only show what the store knows"
                .into(),
        });
    }
    check_namespace(name)
}

/// The errno that the kernel gives where it judges the names itself, as for ext4.
fn check_namespace(name: &[u8]) -> Result<()> {
    let namespaces = [&b"user."[..], b"trusted.", b"security."];
    if namespaces.contains(&name) {
        return Err(ViewError::invalid("an attribute", "its name is empty"));
    }
    let known = namespaces.iter().any(|space| name.starts_with(space));
    if known || name == xattrs::ACCESS || name == xattrs::DEFAULT {
        return Ok(());
    }
    Err(ViewError::NotSupported {
        what: "this attribute".into(),
        why: "its namespace is unknown".into(),
    })
}
