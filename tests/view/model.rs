//! What a mounted store is, in plain maps and byte strings: the mount as its processes see it, and
//! what of it is committed.

use std::collections::{BTreeMap, BTreeSet};

use konserve_fs::value::{Key, Value, edn};
use konserve_fs::view::Time;
use konserve_fs::view::render::{self, TypeName};

pub type Id = u32;
pub const ROOT: Id = 0;

/// Why an operation is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fail {
    NotFound,
    Exists,
    NotDir,
    IsDir,
    NotEmpty,
    Invalid,
    TooBig,
    NoAttribute,
    AttributeExists,
    Other,
}

pub type Outcome<T = ()> = Result<T, Fail>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    Clean,
    Touched,
    Written,
}

/// How a time is to differ from the one before the step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moves {
    No,
    Now,
    To(Time),
    /// The model does not say.
    Anyhow,
}

#[derive(Clone, Debug)]
pub struct File {
    /// What processes of the mount read.
    pub bytes: Vec<u8>,
    /// The committed value and its bytes, with the declared type where the value has another.
    pub value: Value,
    pub saved: Vec<u8>,
    pub attr: Option<TypeName>,
    pub state: State,
    /// The name is not committed.
    pub pending: bool,
    /// A write takes setuid and setgid away with its commit.
    pub kill: bool,
}

#[derive(Clone, Debug)]
pub enum Kind {
    File(File),
    Dir {
        vector: bool,
        children: BTreeMap<String, Id>,
    },
    Link(Vec<u8>),
    Fifo,
}

#[derive(Clone, Debug)]
pub struct Node {
    pub kind: Kind,
    pub owner: Owner,
    pub xattrs: BTreeMap<String, Vec<u8>>,
    pub place: Option<(Id, String)>,
    /// Its other names.
    pub more: Vec<(Id, String)>,
    /// It has, or had, several names.
    pub linked: bool,
    /// The API has written it while it was open: the view finds out when it looks.
    stale: bool,
    pub handles: u32,
    pub writers: u32,
    /// Its number, once seen.
    pub ino: Option<u64>,
    /// The number is not yet what it will be after a remount.
    pub loose: bool,
    /// Times as they were last seen.
    pub times: Option<(Time, Time, Time)>,
    pub mtime: Moves,
    pub ctime: Moves,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    pub strict: bool,
    pub infer: bool,
}

#[derive(Clone, Debug)]
pub struct Model {
    pub nodes: BTreeMap<Id, Node>,
    next: Id,
    hints: BTreeMap<(Id, Key), TypeName>,
    /// What files with several names were before the present API write.
    before: BTreeMap<Id, File>,
    /// The API has put something where a name was not committed: the view finds out when it looks.
    pub hasty: bool,
    /// A file is gone that the API has written while it was open: what the handles show depends on
    /// whether the view has looked in between.
    pub unsure: bool,
    pub options: Options,
}

const PLAIN: Owner = Owner {
    mode: 0o644,
    uid: 0,
    gid: 0,
};
const PLAIN_DIR: Owner = Owner {
    mode: 0o755,
    uid: 0,
    gid: 0,
};

pub fn index(name: &str) -> Option<u64> {
    let canonical = name == "0" || !name.starts_with('0');
    name.parse().ok().filter(|_| canonical)
}

fn clear_setid(mode: u32) -> u32 {
    let mode = mode & !0o4000;
    if mode & 0o010 != 0 {
        mode & !0o2000
    } else {
        mode
    }
}

/// The type that a value has without one being declared apart.
fn derived(value: &Value) -> Option<TypeName> {
    match value {
        Value::Text(_) => None,
        Value::Bytes(b) => (render::class(b) == TypeName::Text).then_some(TypeName::Bytes),
        other => Some(TypeName::of(other)),
    }
}

impl File {
    fn new(value: Value) -> Self {
        let bytes = render::render(&value, true, None);
        Self {
            saved: bytes.clone(),
            bytes,
            value,
            attr: None,
            state: State::Clean,
            pending: false,
            kill: false,
        }
    }

    pub fn declared(&self) -> Option<TypeName> {
        self.attr.or_else(|| derived(&self.value))
    }

    /// What `user.kfs.type` says.
    pub fn type_name(&self) -> TypeName {
        self.declared().unwrap_or_else(|| TypeName::of(&self.value))
    }

    /// Whether `user.kfs.type` is listed.
    pub fn listed(&self) -> bool {
        match self.declared() {
            None => false,
            Some(TypeName::Text) => !matches!(self.value, Value::Text(_)),
            Some(TypeName::Bytes) => match &self.value {
                Value::Bytes(b) => render::class(b) != TypeName::Bytes,
                _ => true,
            },
            Some(_) => true,
        }
    }

    fn is_bare(&self) -> bool {
        matches!(&self.value, Value::Text(t) if t.as_bytes() == self.saved)
    }

    /// Reads the saved bytes as a type.
    fn reparse(&mut self, wanted: Option<TypeName>, options: Options, infer: bool) -> Outcome {
        let (value, attr) = parse(&self.saved, wanted, options, infer)?;
        self.value = value;
        self.attr = attr;
        Ok(())
    }
}

fn parse(
    bytes: &[u8],
    wanted: Option<TypeName>,
    options: Options,
    infer: bool,
) -> Outcome<(Value, Option<TypeName>)> {
    let Some(wanted) = wanted else {
        let parsed = if infer && options.infer && bytes.ends_with(b"\n") {
            render::infer(bytes)
        } else {
            render::parse_untyped(bytes)
        };
        return Ok((parsed.value, None));
    };
    match render::parse_as(bytes, wanted) {
        Ok(parsed) => {
            let apart = TypeName::of(&parsed.value) != wanted
                || matches!(wanted, TypeName::Text | TypeName::Bytes);
            Ok((parsed.value, apart.then_some(wanted)))
        }
        Err(_) if options.strict => Err(Fail::Invalid),
        Err(_) => Ok((render::parse_untyped(bytes).value, Some(wanted))),
    }
}

/// A subtree cut off from its place.
struct Cutting {
    kind: CutKind,
    owner: Owner,
    xattrs: BTreeMap<String, Vec<u8>>,
}

enum CutKind {
    File(File),
    Dir(bool, BTreeMap<String, Cutting>),
    Link(Vec<u8>),
    Fifo,
    /// A name of a file with several stays one.
    Name(Id),
}

impl Model {
    pub fn new(options: Options) -> Self {
        let mut model = Self {
            nodes: BTreeMap::new(),
            next: 0,
            hints: BTreeMap::new(),
            before: BTreeMap::new(),
            hasty: false,
            unsure: false,
            options,
        };
        let children = BTreeMap::new();
        let root = Kind::Dir {
            vector: false,
            children,
        };
        model.add(None, root, PLAIN_DIR);
        model
    }

    fn add(&mut self, place: Option<(Id, String)>, kind: Kind, owner: Owner) -> Id {
        let id = self.next;
        self.next += 1;
        if let Some((dir, name)) = &place {
            self.children_mut(*dir).insert(name.clone(), id);
        }
        let node = Node {
            kind,
            owner,
            xattrs: BTreeMap::new(),
            place,
            more: Vec::new(),
            linked: false,
            stale: false,
            handles: 0,
            writers: 0,
            ino: None,
            loose: false,
            times: None,
            mtime: Moves::Now,
            ctime: Moves::Now,
        };
        self.nodes.insert(id, node);
        id
    }

    pub fn node(&self, id: Id) -> &Node {
        &self.nodes[&id]
    }

    pub fn node_mut(&mut self, id: Id) -> &mut Node {
        self.nodes.get_mut(&id).unwrap()
    }

    pub fn file(&self, id: Id) -> Option<&File> {
        match &self.node(id).kind {
            Kind::File(f) => Some(f),
            _ => None,
        }
    }

    fn file_mut(&mut self, id: Id) -> &mut File {
        match &mut self.node_mut(id).kind {
            Kind::File(f) => f,
            other => panic!("no file: {other:?}"),
        }
    }

    pub fn children(&self, id: Id) -> &BTreeMap<String, Id> {
        match &self.node(id).kind {
            Kind::Dir { children, .. } => children,
            other => panic!("no directory: {other:?}"),
        }
    }

    fn children_mut(&mut self, id: Id) -> &mut BTreeMap<String, Id> {
        match &mut self.node_mut(id).kind {
            Kind::Dir { children, .. } => children,
            other => panic!("no directory: {other:?}"),
        }
    }

    pub fn is_dir(&self, id: Id) -> bool {
        matches!(self.node(id).kind, Kind::Dir { .. })
    }

    pub fn is_vector(&self, id: Id) -> bool {
        matches!(self.node(id).kind, Kind::Dir { vector: true, .. })
    }

    fn is_pending(&self, id: Id) -> bool {
        self.file(id).is_some_and(|f| f.pending)
    }

    pub fn child(&self, dir: Id, name: &str) -> Option<Id> {
        self.children(dir).get(name).copied()
    }

    fn committed_child(&self, dir: Id, name: &str) -> Option<Id> {
        self.child(dir, name).filter(|c| !self.is_pending(*c))
    }

    /// Everything below the root with a name, the root first.
    pub fn live(&self) -> Vec<Id> {
        let mut found = vec![ROOT];
        let mut at = 0;
        while let Some(id) = found.get(at).copied() {
            if self.is_dir(id) {
                for child in self.children(id).values() {
                    if !found.contains(child) {
                        found.push(*child);
                    }
                }
            }
            at += 1;
        }
        found
    }

    pub fn is_live(&self, id: Id) -> bool {
        id == ROOT || self.nodes.get(&id).is_some_and(|n| n.place.is_some())
    }

    /// Every name of something.
    pub fn places(&self, id: Id) -> Vec<(Id, String)> {
        let node = self.node(id);
        node.place.iter().chain(&node.more).cloned().collect()
    }

    /// The names that lead to something.
    pub fn path(&self, id: Id) -> Vec<String> {
        let mut names = Vec::new();
        let mut at = id;
        while let Some((dir, name)) = &self.node(at).place {
            names.push(name.clone());
            at = *dir;
        }
        names.reverse();
        names
    }

    fn is_below(&self, id: Id, above: Id) -> bool {
        let mut at = id;
        loop {
            if at == above {
                return true;
            }
            match &self.node(at).place {
                Some((dir, _)) => at = *dir,
                None => return false,
            }
        }
    }

    pub fn key(&self, dir: Id, name: &str) -> Key {
        match index(name) {
            Some(i) if self.is_vector(dir) => Key::index(i),
            _ => Key::text(name),
        }
    }

    /// Mode, owner and group as processes of the mount see them.
    pub fn visible_owner(&self, id: Id) -> Owner {
        let owner = self.node(id).owner;
        match self.file(id) {
            Some(f) if f.kill => Owner {
                mode: clear_setid(owner.mode),
                ..owner
            },
            _ => owner,
        }
    }

    /// The number of committed elements of a vector, holes among them.
    fn vector_len(&self, dir: Id) -> u64 {
        let indexes = self
            .children(dir)
            .iter()
            .filter(|(_, c)| !self.is_pending(**c));
        indexes
            .filter_map(|(n, _)| index(n))
            .max()
            .map_or(0, |i| i + 1)
    }

    /// What the store has.
    pub fn value(&self, id: Id) -> Value {
        match &self.node(id).kind {
            Kind::File(f) => f.value.clone(),
            Kind::Link(target) => Value::Tagged(
                "kfs/symlink".into(),
                Box::new(Value::Text(String::from_utf8(target.clone()).unwrap())),
            ),
            Kind::Fifo => Value::Tagged("kfs/fifo".into(), Box::new(Value::Nil)),
            Kind::Dir { vector, children } => {
                let there = children.iter().filter(|(_, c)| !self.is_pending(**c));
                if *vector {
                    let len = usize::try_from(self.vector_len(id)).unwrap();
                    let mut items = vec![Value::Nil; len];
                    for (name, child) in there {
                        if let Some(i) = index(name) {
                            items[usize::try_from(i).unwrap()] = self.value(*child);
                        }
                    }
                    Value::Vector(items)
                } else {
                    let items = there.map(|(n, c)| (self.key(id, n), self.value(*c)));
                    Value::Map(items.collect())
                }
            }
        }
    }

    // --- times

    fn moved(&mut self, id: Id) {
        let node = self.node_mut(id);
        (node.mtime, node.ctime) = (Moves::Now, Moves::Now);
    }

    fn changed(&mut self, id: Id) {
        self.node_mut(id).ctime = Moves::Now;
    }

    // --- names

    fn leave_hint(&mut self, dir: Id, name: &str, id: Id) {
        let declared = self.file(id).and_then(File::declared);
        let at = (dir, self.key(dir, name));
        match declared {
            Some(declared) => self.hints.insert(at, declared),
            None => self.hints.remove(&at),
        };
    }

    fn take_hint(&mut self, dir: Id, name: &str) -> Option<TypeName> {
        let at = (dir, self.key(dir, name));
        self.hints.remove(&at)
    }

    /// A node loses its only name; it lives on while it is open.
    fn orphan(&mut self, id: Id) {
        if let Some(place) = self.node(id).place.clone() {
            self.unname(id, &place);
        } else {
            self.drop_unused(id);
        }
    }

    /// A node loses a name; it lives on while it has others or is open.
    fn unname(&mut self, id: Id, place: &(Id, String)) {
        if self.is_dir(id) {
            for (name, child) in self.children(id).clone() {
                self.unname(child, &(id, name));
            }
            self.children_mut(id).clear();
        }
        let (dir, name) = place;
        if self.nodes.contains_key(dir) && self.child(*dir, name) == Some(id) {
            self.children_mut(*dir).remove(name);
        }
        let node = self.node_mut(id);
        if node.place.as_ref() == Some(place) {
            node.place = (!node.more.is_empty()).then(|| node.more.remove(0));
        } else {
            node.more.retain(|p| p != place);
        }
        if node.place.is_some() {
            self.changed(id);
            return;
        }
        if self.node(id).linked {
            // Losing one name moved it; whether that was seen depends on what took the last.
            self.node_mut(id).ctime = Moves::Anyhow;
        }
        self.unsure |= self.node(id).stale && self.node(id).handles > 0;
        if let Kind::File(f) = &mut self.node_mut(id).kind {
            f.pending = false;
        }
        self.drop_unused(id);
    }

    fn drop_unused(&mut self, id: Id) {
        let node = self.node(id);
        if id != ROOT && node.place.is_none() && node.handles == 0 {
            self.nodes.remove(&id);
        }
    }

    // --- the mount's operations

    fn new_owner(&self, dir: Id, caller: (u32, u32), mode: u32, umask: u32, is_dir: bool) -> Owner {
        let parent = self.visible_owner(dir);
        let inherits = parent.mode & 0o2000 != 0;
        let mut mode = mode & 0o7777 & !umask;
        if inherits && is_dir {
            mode |= 0o2000;
        }
        Owner {
            mode,
            uid: caller.0,
            gid: if inherits { parent.gid } else { caller.1 },
        }
    }

    /// Opens a file under a name, making it if need be. Gives whether it was made.
    pub fn create(
        &mut self,
        dir: Id,
        name: &str,
        caller: (u32, u32),
        mode: u32,
        access: (bool, bool, bool),
        exclusive: bool,
    ) -> Outcome<(Id, bool)> {
        if let Some(id) = self.child(dir, name) {
            if exclusive {
                return Err(Fail::Exists);
            }
            self.open(id, caller, access)?;
            return Ok((id, false));
        }
        let owner = self.new_owner(dir, caller, mode, 0o022, false);
        let attr = self.take_hint(dir, name);
        let mut file = File::new(Value::Text(String::new()));
        (file.bytes, file.saved) = (Vec::new(), Vec::new());
        (file.attr, file.state, file.pending) = (attr, State::Touched, true);
        let id = self.add(Some((dir, name.into())), Kind::File(file), owner);
        self.moved(dir);
        self.count_handle(id, access.1);
        Ok((id, true))
    }

    fn count_handle(&mut self, id: Id, write: bool) {
        let node = self.node_mut(id);
        node.handles += 1;
        node.writers += u32::from(write);
    }

    pub fn open_dir(&mut self, id: Id) {
        self.count_handle(id, false);
    }

    /// Opens a file for reading, writing, and cutting it off.
    pub fn open(&mut self, id: Id, caller: (u32, u32), access: (bool, bool, bool)) -> Outcome {
        match self.node(id).kind {
            Kind::File(_) => {}
            Kind::Dir { .. } => return Err(Fail::IsDir),
            _ => return Err(Fail::Invalid),
        }
        if access.2 {
            self.resize(id, 0, caller);
        }
        self.count_handle(id, access.1);
        Ok(())
    }

    pub fn resize(&mut self, id: Id, size: usize, caller: (u32, u32)) {
        let file = self.file_mut(id);
        file.bytes.resize(size, 0);
        file.state = file.state.max(State::Touched);
        file.kill |= caller.0 != 0;
        self.moved(id);
    }

    pub fn truncate(&mut self, id: Id, size: usize, caller: (u32, u32)) -> Outcome {
        match self.node(id).kind {
            Kind::File(_) => {}
            Kind::Dir { .. } => return Err(Fail::IsDir),
            _ => return Err(Fail::Invalid),
        }
        let before = self.nodes.clone();
        self.resize(id, size, caller);
        self.commit(id).inspect_err(|_| self.nodes = before)
    }

    fn revert(&mut self, id: Id) {
        let file = self.file_mut(id);
        file.bytes = file.saved.clone();
        file.state = State::Clean;
        file.kill = false;
        let node = self.node_mut(id);
        (node.mtime, node.ctime) = (Moves::Anyhow, Moves::Anyhow);
    }

    pub fn write(&mut self, id: Id, at: usize, data: &[u8], kill: bool) {
        let file = self.file_mut(id);
        if file.bytes.len() < at + data.len() {
            file.bytes.resize(at + data.len(), 0);
        }
        file.bytes[at..at + data.len()].copy_from_slice(data);
        file.state = State::Written;
        file.kill |= kill;
        self.moved(id);
    }

    pub fn grow(&mut self, id: Id, size: usize) {
        let file = self.file_mut(id);
        if file.bytes.len() < size {
            file.bytes.resize(size, 0);
        }
    }

    pub fn commit(&mut self, id: Id) -> Outcome {
        let options = self.options;
        let orphan = !self.is_live(id);
        let Some(file) = self.file(id) else {
            return Ok(());
        };
        if file.state == State::Clean {
            return Ok(());
        }
        let killed = self.visible_owner(id);
        let file = self.file_mut(id);
        if !orphan {
            let (value, attr) = parse(&file.bytes, file.declared(), options, file.pending)?;
            (file.value, file.attr) = (value, attr);
        }
        file.saved = file.bytes.clone();
        file.state = State::Clean;
        file.pending = false;
        file.kill = false;
        let node = self.node_mut(id);
        node.owner = killed;
        // The number is stored with the commit where it was another than that of the entry.
        if !orphan {
            node.loose = false;
        }
        Ok(())
    }

    pub fn flush(&mut self, id: Id, write: bool) -> Outcome {
        let written = self.file(id).is_some_and(|f| f.state == State::Written);
        if write && written {
            self.commit(id)
        } else {
            Ok(())
        }
    }

    pub fn release(&mut self, id: Id, write: bool) {
        let node = self.node_mut(id);
        node.writers -= u32::from(write);
        node.handles -= 1;
        if node.handles == 0 && self.file(id).is_some() && self.commit(id).is_err() {
            // Refused content that nobody has open any more.
            if self.is_pending(id) {
                let dir = self.node(id).place.as_ref().unwrap().0;
                self.node_mut(dir).mtime = Moves::Anyhow;
                self.node_mut(dir).ctime = Moves::Anyhow;
                self.orphan(id);
                return;
            }
            self.revert(id);
        }
        self.drop_unused(id);
    }

    pub fn make(
        &mut self,
        dir: Id,
        name: &str,
        caller: (u32, u32),
        mode: u32,
        kind: Kind,
    ) -> Outcome<Id> {
        if self.child(dir, name).is_some() {
            return Err(Fail::Exists);
        }
        let (umask, mut kind) = match kind {
            Kind::Link(_) => (0, kind),
            _ => (0o022, kind),
        };
        if let Kind::File(file) = &mut kind {
            file.attr = self.take_hint(dir, name);
        }
        let is_dir = matches!(kind, Kind::Dir { .. });
        let owner = self.new_owner(dir, caller, mode, umask, is_dir);
        self.moved(dir);
        Ok(self.add(Some((dir, name.into())), kind, owner))
    }

    pub fn empty_file() -> Kind {
        let mut file = File::new(Value::Text(String::new()));
        (file.bytes, file.saved) = (Vec::new(), Vec::new());
        Kind::File(file)
    }

    pub fn unlink(&mut self, dir: Id, name: &str) -> Outcome {
        let id = self.child(dir, name).ok_or(Fail::NotFound)?;
        if self.is_dir(id) {
            return Err(Fail::IsDir);
        }
        self.leave_hint(dir, name, id);
        self.changed(id);
        self.moved(dir);
        self.unname(id, &(dir, name.into()));
        Ok(())
    }

    pub fn link(&mut self, id: Id, dir: Id, name: &str) -> Outcome<Id> {
        self.commit(id)?;
        if !self.is_live(id) {
            return Err(Fail::NotFound);
        }
        if self.child(dir, name).is_some() {
            return Err(Fail::Exists);
        }
        if self.is_dir(id) {
            return Err(Fail::Other);
        }
        self.children_mut(dir).insert(name.into(), id);
        let node = self.node_mut(id);
        node.more.push((dir, name.into()));
        (node.linked, node.loose) = (true, false);
        self.changed(id);
        self.moved(dir);
        Ok(id)
    }

    pub fn rmdir(&mut self, dir: Id, name: &str) -> Outcome {
        let id = self.child(dir, name).ok_or(Fail::NotFound)?;
        if !self.is_dir(id) {
            return Err(Fail::NotDir);
        }
        if !self.children(id).is_empty() {
            return Err(Fail::NotEmpty);
        }
        self.leave_hint(dir, name, id);
        self.changed(id);
        self.moved(dir);
        self.orphan(id);
        Ok(())
    }

    pub fn rename(&mut self, from: (Id, &str), to: (Id, &str), flags: u32) -> Outcome {
        let (source, target) = (self.child(from.0, from.1), self.child(to.0, to.1));
        if from == to {
            return Ok(());
        }
        if let Some(id) = source {
            self.commit(id)?;
        }
        if let Some(id) = target {
            // What is about to be replaced need not be fit to be kept.
            let done = self.commit(id);
            if flags == libc::RENAME_EXCHANGE || self.is_pending(id) {
                done?;
            }
        }
        let into =
            |model: &Self, dir, moved: Option<Id>| moved.is_some_and(|m| model.is_below(dir, m));
        if flags == libc::RENAME_EXCHANGE {
            if into(self, to.0, source) || into(self, from.0, target) {
                return Err(Fail::Invalid);
            }
            let (a, b) = (source.ok_or(Fail::NotFound)?, target.ok_or(Fail::NotFound)?);
            if a == b {
                return Ok(());
            }
            self.children_mut(from.0).remove(from.1);
            self.children_mut(to.0).remove(to.1);
            self.place(a, from, to);
            self.place(b, to, from);
            for dir in [from.0, to.0] {
                self.moved(dir);
            }
            self.changed(a);
            self.changed(b);
            return Ok(());
        }
        if into(self, to.0, source) {
            return Err(Fail::Invalid);
        }
        let source = source.ok_or(Fail::NotFound)?;
        let was = self.file(source).and_then(File::declared);
        if let Some(target) = target {
            if flags == libc::RENAME_NOREPLACE {
                return Err(Fail::Exists);
            }
            match (self.is_dir(source), self.is_dir(target)) {
                (true, false) => return Err(Fail::NotDir),
                (false, true) => return Err(Fail::IsDir),
                (true, true) if !self.children(target).is_empty() => return Err(Fail::NotEmpty),
                _ if source == target => return Ok(()),
                _ => {}
            }
            let wanted = self.file(target).and_then(File::declared);
            let options = self.options;
            if self.file(source).is_some() && was.is_none() && wanted.is_some() {
                self.file_mut(source).reparse(wanted, options, false)?;
            }
            self.changed(target);
            self.unname(target, &(to.0, to.1.into()));
            self.take_hint(to.0, to.1);
        } else if let Some(wanted) = self.take_hint(to.0, to.1)
            && self.file(source).is_some()
            && was.is_none()
        {
            let strict = Options {
                strict: true,
                ..self.options
            };
            // What does not parse has nothing to do with what had the name.
            let _ = self.file_mut(source).reparse(Some(wanted), strict, false);
        }
        // The hint is what stood under the old name, not what it became under the new one.
        let at = (from.0, self.key(from.0, from.1));
        match was {
            Some(declared) => self.hints.insert(at, declared),
            None => self.hints.remove(&at),
        };
        self.children_mut(from.0).remove(from.1);
        self.place(source, from, to);
        self.changed(source);
        self.moved(from.0);
        self.moved(to.0);
        Ok(())
    }

    /// Gives a node another name in place of one; its number is stored with it.
    fn place(&mut self, id: Id, from: (Id, &str), (dir, name): (Id, &str)) {
        self.children_mut(dir).insert(name.into(), id);
        let node = self.node_mut(id);
        let names = node.place.iter_mut().chain(&mut node.more);
        for place in names {
            if (place.0, place.1.as_str()) == from {
                *place = (dir, name.into());
            }
        }
        node.loose = false;
    }

    /// Mode, owner and times in one step.
    pub fn set_attrs(
        &mut self,
        id: Id,
        mode: Option<u32>,
        uid: Option<u32>,
        mtime: Option<Time>,
    ) -> Outcome {
        if self.is_live(id) && !self.is_pending(id) {
            self.commit(id)?;
        }
        self.changed(id);
        let mut owner = self.visible_owner(id);
        if let Kind::File(f) = &mut self.node_mut(id).kind {
            f.kill = false;
        }
        owner.mode = mode.unwrap_or(owner.mode);
        if let Some(uid) = uid {
            owner.uid = uid;
            if mode.is_none() && !self.is_dir(id) {
                owner.mode = clear_setid(owner.mode);
            }
        }
        let node = self.node_mut(id);
        node.owner = owner;
        if let Some(time) = mtime {
            node.mtime = Moves::To(time);
        }
        Ok(())
    }

    pub fn set_xattr(&mut self, id: Id, name: &str, value: &[u8], flags: i32) -> Outcome {
        let there = self.node(id).xattrs.contains_key(name);
        if flags == libc::XATTR_CREATE && there {
            return Err(Fail::AttributeExists);
        }
        if flags == libc::XATTR_REPLACE && !there {
            return Err(Fail::NoAttribute);
        }
        self.changed(id);
        self.node_mut(id).xattrs.insert(name.into(), value.to_vec());
        Ok(())
    }

    pub fn remove_xattr(&mut self, id: Id, name: &str) -> Outcome {
        if self.node_mut(id).xattrs.remove(name).is_none() {
            return Err(Fail::NoAttribute);
        }
        self.changed(id);
        Ok(())
    }

    /// `user.kfs.type`, set or (`None`) removed.
    pub fn set_type(&mut self, id: Id, wanted: Option<TypeName>) -> Outcome {
        let live = self.is_live(id);
        match &self.node(id).kind {
            Kind::Dir { vector, .. } => {
                let vector = *vector;
                let Some(wanted) = wanted else {
                    if !vector {
                        return Err(Fail::NoAttribute);
                    }
                    return self.convert(id, false);
                };
                match wanted {
                    TypeName::Map | TypeName::Vector if id == ROOT => {
                        if wanted == TypeName::Map {
                            Ok(())
                        } else {
                            Err(Fail::Invalid)
                        }
                    }
                    TypeName::Map => self.convert(id, false),
                    TypeName::Vector => self.convert(id, true),
                    _ => Err(Fail::Invalid),
                }
            }
            Kind::File(file) => {
                if wanted.is_none() && !file.listed() {
                    return Err(Fail::NoAttribute);
                }
                if wanted.is_some_and(TypeName::is_directory) {
                    return Err(Fail::Invalid);
                }
                let pending = file.pending;
                if live && !pending {
                    self.commit(id)?;
                }
                let options = self.options;
                let file = self.file_mut(id);
                if pending || !live {
                    file.attr = wanted;
                } else {
                    file.reparse(wanted, options, false)?;
                }
                self.changed(id);
                Ok(())
            }
            _ => Err(Fail::Invalid),
        }
    }

    fn convert(&mut self, id: Id, to_vector: bool) -> Outcome {
        if !self.is_live(id) || self.is_vector(id) == to_vector {
            return Ok(());
        }
        for child in self.children(id).clone().into_values() {
            if self.is_pending(child) {
                self.commit(child)?;
            }
        }
        let stay: Vec<Id> = self.children(id).values().copied().collect();
        for child in stay {
            let node = self.node_mut(child);
            node.loose &= node.linked;
        }
        if let Kind::Dir { vector, .. } = &mut self.node_mut(id).kind {
            *vector = to_vector;
        }
        self.changed(id);
        Ok(())
    }

    // --- the API

    /// Where the keys of a path are, as the store has it: the deepest entry on it and how many names
    /// lead there.
    fn committed(&self, path: &[String]) -> Outcome<(Id, usize)> {
        let mut at = ROOT;
        for (depth, name) in path.iter().enumerate() {
            match &self.node(at).kind {
                Kind::Dir { .. } => {}
                Kind::File(f) if f.value == Value::Nil => return Ok((at, depth)),
                _ => return Err(Fail::Other),
            }
            match self.committed_child(at, name) {
                Some(child) => at = child,
                None => return Ok((at, depth)),
            }
        }
        Ok((at, path.len()))
    }

    /// Keys of a path.
    pub fn keys(&self, path: &[String]) -> Vec<Key> {
        let mut at = Some(ROOT);
        let mut keys = Vec::new();
        for name in path {
            let dir = at.filter(|d| self.is_dir(*d));
            keys.push(dir.map_or_else(|| Key::text(name), |d| self.key(d, name)));
            at = dir.and_then(|d| self.committed_child(d, name));
        }
        keys
    }

    fn check_index(&self, dir: Id, name: &str) -> Outcome {
        if self.is_vector(dir) && index(name).is_none_or(|i| i > self.vector_len(dir)) {
            return Err(Fail::Other);
        }
        Ok(())
    }

    /// The value at a path, as an update sees it.
    pub fn get_in(&self, path: &[String]) -> Outcome<Option<Value>> {
        let (id, depth) = self.committed(path)?;
        if depth == path.len() {
            let (name, above) = path.split_last().unwrap();
            let dir = self.committed(above)?.0;
            // What stands beside the elements of a vector is no part of its value.
            let beside = self.is_vector(dir) && index(name).is_none();
            return Ok((!beside).then(|| self.value(id)));
        }
        let hole = depth + 1 == path.len()
            && self.is_dir(id)
            && self.is_vector(id)
            && index(&path[depth]).is_some_and(|i| i < self.vector_len(id));
        Ok(hole.then_some(Value::Nil))
    }

    pub fn assoc_in(&mut self, path: &[String], value: &Value) -> Outcome {
        let linked = self.nodes.iter().filter(|(_, node)| node.linked);
        self.before = linked
            .filter_map(|(id, _)| Some((*id, self.file(*id)?.clone())))
            .collect();
        let mut at = ROOT;
        for (depth, name) in path.iter().enumerate() {
            self.check_index(at, name)?;
            let rest = &path[depth + 1..];
            let nested = || {
                rest.iter().rev().fold(value.clone(), |value, name| {
                    Value::Map(BTreeMap::from([(Key::text(name), value)]))
                })
            };
            let Some(child) = self.committed_child(at, name) else {
                self.moved(at);
                self.put(at, name, &nested());
                return Ok(());
            };
            let place = (at, name.clone());
            if rest.is_empty() {
                self.merge(child, &place, value);
                return Ok(());
            }
            match &self.node(child).kind {
                Kind::Dir { .. } => at = child,
                Kind::File(f) if f.value == Value::Nil => {
                    self.merge(child, &place, &nested());
                    return Ok(());
                }
                _ => return Err(Fail::Other),
            }
        }
        Ok(())
    }

    /// A new entry; a name that is not committed yet becomes it if somebody writes there.
    fn put(&mut self, dir: Id, name: &str, value: &Value) {
        let container = matches!(value, Value::Map(_) | Value::Vector(_));
        if let Some(pending) = self.child(dir, name) {
            self.hasty = true;
            if self.node(pending).writers > 0 && !container {
                let node = self.node_mut(pending);
                node.kind = Kind::File(File::new(value.clone()));
                node.owner = PLAIN;
                node.xattrs.clear();
                node.loose = true;
                node.times = None;
                self.moved(pending);
                return;
            }
            self.orphan(pending);
        }
        self.fresh(dir, name, value);
    }

    fn fresh(&mut self, dir: Id, name: &str, value: &Value) -> Id {
        let place = Some((dir, name.to_owned()));
        let items: Vec<(String, &Value)> = match value {
            Value::Map(m) => m
                .iter()
                .map(|(k, v)| (k.as_text().unwrap().to_owned(), v))
                .collect(),
            Value::Vector(v) => v
                .iter()
                .enumerate()
                .map(|(i, v)| (i.to_string(), v))
                .collect(),
            other => return self.add(place, Kind::File(File::new(other.clone())), PLAIN),
        };
        let kind = Kind::Dir {
            vector: matches!(value, Value::Vector(_)),
            children: BTreeMap::new(),
        };
        let id = self.add(place, kind, PLAIN_DIR);
        for (name, value) in items {
            self.fresh(id, &name, value);
        }
        id
    }

    fn replace(&mut self, id: Id, place: &(Id, String), value: &Value) {
        self.unname(id, place);
        self.fresh(place.0, &place.1, value);
    }

    fn merge(&mut self, id: Id, place: &(Id, String), value: &Value) {
        let (vector, items): (bool, Vec<(String, &Value)>) = match (&self.node(id).kind, value) {
            (Kind::Dir { .. }, Value::Map(items)) => (
                false,
                items
                    .iter()
                    .map(|(k, v)| (k.as_text().unwrap().to_owned(), v))
                    .collect(),
            ),
            (Kind::Dir { .. }, Value::Vector(items)) => (
                true,
                items
                    .iter()
                    .enumerate()
                    .map(|(i, v)| (i.to_string(), v))
                    .collect(),
            ),
            (Kind::File(_), Value::Map(_) | Value::Vector(_)) | (Kind::Dir { .. }, _) => {
                return self.replace(id, place, value);
            }
            (Kind::File(_), _) => return self.merge_file(id, value),
            _ => {
                if self.value(id) != *value {
                    self.replace(id, place, value);
                }
                return;
            }
        };
        let committed = |model: &Self| -> Vec<(String, Id)> {
            let all = model
                .children(id)
                .iter()
                .filter(|(_, c)| !model.is_pending(**c));
            all.map(|(n, c)| (n.clone(), *c)).collect()
        };
        if self.is_vector(id) != vector {
            for (name, child) in committed(self) {
                self.unname(child, &(id, name));
            }
            if let Kind::Dir { vector: v, .. } = &mut self.node_mut(id).kind {
                *v = vector;
            }
            for (name, value) in items {
                self.put(id, &name, value);
            }
            self.moved(id);
            return;
        }
        let len = if vector { self.vector_len(id) } else { 0 };
        let names: BTreeSet<&String> = items.iter().map(|(n, _)| n).collect();
        for (name, child) in committed(self) {
            let beside = vector && index(&name).is_none();
            if !names.contains(&name) && !beside {
                self.unname(child, &(id, name));
                self.moved(id);
            }
        }
        let hole = |i: u64| vector && i < len && i + 1 < items.len() as u64;
        for (name, value) in &items {
            match self.committed_child(id, name) {
                Some(child) => self.merge(child, &(id, name.clone()), value),
                // A hole that stays nil stays a hole.
                None if **value == Value::Nil && index(name).is_some_and(hole) => {}
                None => {
                    self.put(id, name, value);
                    self.moved(id);
                }
            }
        }
    }

    fn merge_file(&mut self, id: Id, value: &Value) {
        // Of several names of one file those count whose value the write changes.
        let file = self.before.get(&id).or_else(|| self.file(id)).unwrap();
        if file.attr.is_none() && file.value == *value {
            return;
        }
        let bare = file.is_bare() && matches!(value, Value::Text(t) if !t.ends_with('\n'));
        let mut new = File::new(value.clone());
        if bare {
            new.bytes.pop();
            new.saved = new.bytes.clone();
        }
        let node = self.node(id);
        if node.handles > 0 && node.writers == 0 {
            // Readers keep what they opened; the name gets another inode.
            let (owner, xattrs, linked) = (node.owner, node.xattrs.clone(), node.linked);
            let (place, more) = (node.place.clone(), node.more.clone());
            let before = self.before.get(&id).cloned();
            let moves = (node.mtime, node.ctime);
            for place in self.places(id) {
                self.unname(id, &place);
            }
            if let Some(node) = self.nodes.get_mut(&id) {
                (node.mtime, node.ctime) = moves;
            }
            let id = self.add(place, Kind::File(new), owner);
            for (dir, name) in &more {
                self.children_mut(*dir).insert(name.clone(), id);
            }
            self.before.extend(before.map(|file| (id, file)));
            let node = self.node_mut(id);
            (node.xattrs, node.linked, node.more) = (xattrs, linked, more);
            node.loose = true;
            return;
        }
        self.node_mut(id).kind = Kind::File(new);
        self.node_mut(id).stale = true;
        self.moved(id);
    }

    pub fn dissoc_in(&mut self, path: &[String]) -> Outcome<bool> {
        let (id, depth) = self.committed(path)?;
        if depth < path.len() {
            return Ok(false);
        }
        let (name, above) = path.split_last().unwrap();
        let dir = self.committed(above)?.0;
        self.unname(id, &(dir, name.clone()));
        self.moved(dir);
        Ok(true)
    }

    fn cut(&self, id: Id) -> Cutting {
        let node = self.node(id);
        let kind = match &node.kind {
            _ if node.linked => CutKind::Name(id),
            Kind::File(f) => {
                let mut file = f.clone();
                file.bytes = file.saved.clone();
                (file.state, file.kill) = (State::Clean, false);
                CutKind::File(file)
            }
            Kind::Dir { vector, children } => {
                let there = children.iter().filter(|(_, c)| !self.is_pending(**c));
                CutKind::Dir(
                    *vector,
                    there.map(|(n, c)| (n.clone(), self.cut(*c))).collect(),
                )
            }
            Kind::Link(t) => CutKind::Link(t.clone()),
            Kind::Fifo => CutKind::Fifo,
        };
        Cutting {
            kind,
            owner: node.owner,
            xattrs: node.xattrs.clone(),
        }
    }

    fn plant(&mut self, dir: Id, name: &str, cutting: Cutting) {
        let place = Some((dir, name.to_owned()));
        self.hasty |= self.child(dir, name).is_some();
        let (kind, children) = match cutting.kind {
            CutKind::Name(id) => {
                if let Some(pending) = self.child(dir, name) {
                    self.orphan(pending);
                }
                self.children_mut(dir).insert(name.into(), id);
                let node = self.node_mut(id);
                match &node.place {
                    None => node.place = place,
                    Some(_) => node.more.extend(place),
                }
                node.ctime = Moves::Anyhow;
                return;
            }
            CutKind::File(f) => (Kind::File(f), BTreeMap::new()),
            CutKind::Link(t) => (Kind::Link(t), BTreeMap::new()),
            CutKind::Fifo => (Kind::Fifo, BTreeMap::new()),
            CutKind::Dir(vector, items) => {
                let children = BTreeMap::new();
                (Kind::Dir { vector, children }, items)
            }
        };
        let id = match self.child(dir, name) {
            // A name that is not committed yet becomes it if somebody writes there.
            Some(pending) if self.node(pending).writers > 0 && matches!(kind, Kind::File(_)) => {
                let node = self.node_mut(pending);
                (node.kind, node.owner) = (kind, cutting.owner);
                node.times = None;
                pending
            }
            Some(pending) => {
                self.orphan(pending);
                self.add(place, kind, cutting.owner)
            }
            None => self.add(place, kind, cutting.owner),
        };
        let node = self.node_mut(id);
        node.xattrs = cutting.xattrs;
        // Its number is known only once what was there is forgotten.
        node.loose = true;
        (node.mtime, node.ctime) = (Moves::Anyhow, Moves::Anyhow);
        for (name, child) in children {
            self.plant(id, &name, child);
        }
    }

    fn there(&self, path: &[String]) -> Outcome<Id> {
        let (id, depth) = self.committed(path)?;
        if depth < path.len() {
            Err(Fail::Other)
        } else {
            Ok(id)
        }
    }

    /// The directory and name that a path ends with.
    fn place_of(&self, path: &[String]) -> (Id, String) {
        let (name, above) = path.split_last().unwrap();
        (self.committed(above).unwrap().0, name.clone())
    }

    /// Keeps files with several names while they have none.
    fn keep_linked(&mut self) -> Vec<Id> {
        let linked = self.nodes.iter_mut().filter(|(_, node)| node.linked);
        linked
            .map(|(id, node)| {
                node.handles += 1;
                *id
            })
            .collect()
    }

    fn drop_kept(&mut self, kept: Vec<Id>) {
        for id in kept {
            self.node_mut(id).handles -= 1;
            self.drop_unused(id);
        }
    }

    pub fn api_rename(&mut self, from: &[String], to: &[String], no_replace: bool) -> Outcome {
        if from.starts_with(to) || to.starts_with(from) {
            return if from == to { Ok(()) } else { Err(Fail::Other) };
        }
        let source = self.there(from)?;
        let target = self.committed(to)?;
        let occupied = target.1 == to.len();
        if no_replace && occupied {
            return Err(Fail::Other);
        }
        let (name, above) = to.split_last().unwrap();
        let dir = self.there(above)?;
        if !self.is_dir(dir) {
            return Err(Fail::Other);
        }
        self.check_index(dir, name)?;
        let cutting = self.cut(source);
        let place = self.place_of(from);
        let old = place.0;
        let kept = self.keep_linked();
        self.unname(source, &place);
        if let Some(there) = self.committed_child(dir, name) {
            self.unname(there, &(dir, name.clone()));
        }
        self.plant(dir, name, cutting);
        self.drop_kept(kept);
        self.moved(old);
        self.moved(dir);
        Ok(())
    }

    pub fn api_swap(&mut self, a: &[String], b: &[String]) -> Outcome {
        if a.starts_with(b) || b.starts_with(a) {
            return if a == b { Ok(()) } else { Err(Fail::Other) };
        }
        let (first, second) = (self.there(a)?, self.there(b)?);
        let (cut_a, cut_b) = (self.cut(first), self.cut(second));
        let (place_a, place_b) = (self.place_of(a), self.place_of(b));
        let kept = self.keep_linked();
        self.unname(first, &place_a);
        self.unname(second, &place_b);
        self.plant(place_b.0, &place_b.1, cut_a);
        self.plant(place_a.0, &place_a.1, cut_b);
        self.drop_kept(kept);
        self.moved(place_a.0);
        self.moved(place_b.0);
        Ok(())
    }

    // --- the end of a process

    /// Everything is committed, as at an orderly end.
    pub fn shut_down(&mut self) {
        for id in self.live() {
            if self.commit(id).is_err() {
                // Strict types: what was refused is lost.
                self.lose(id);
            }
        }
        self.end();
    }

    /// What is not committed is lost.
    pub fn kill(&mut self) {
        for id in self.live() {
            self.lose(id);
        }
        self.end();
    }

    fn lose(&mut self, id: Id) {
        let Some(file) = self.file(id) else { return };
        if file.pending {
            let dir = self.node(id).place.as_ref().unwrap().0;
            let dir = self.node_mut(dir);
            (dir.mtime, dir.ctime) = (Moves::Anyhow, Moves::Anyhow);
            self.orphan(id);
        } else if file.state != State::Clean {
            self.revert(id);
        }
    }

    fn end(&mut self) {
        self.hints.clear();
        self.nodes.retain(|id, n| *id == ROOT || n.place.is_some());
        for node in self.nodes.values_mut() {
            (node.handles, node.writers) = (0, 0);
        }
        for id in self.live() {
            let node = self.node(id);
            let dir = node.place.as_ref().filter(|_| !node.linked);
            let above = dir.is_some_and(|(d, _)| self.node(*d).loose);
            if above || self.node(id).loose {
                let node = self.node_mut(id);
                (node.ino, node.loose) = (None, true);
            }
        }
        for node in self.nodes.values_mut() {
            node.loose = false;
        }
    }

    /// A short picture for messages.
    pub fn show(&self, id: Id) -> String {
        let mut value: String = edn::print(&self.value(id));
        if value.len() > 80 {
            value = format!("{}…", value.chars().take(80).collect::<String>());
        }
        format!("/{} ({value})", self.path(id).join("/"))
    }
}
