//! A view and the model of it, side by side, with what a kernel would keep: references, handles,
//! names and attributes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use konserve_fs::store::{ConnectOptions, CreateOptions, Location, Store};
use konserve_fs::value::{Key, Value, edn};
use konserve_fs::view::{
    Attr, Caller, FileKind, Invalidate, SetAttr, SetTime, Time, View, ViewError, ViewOptions,
};
use parking_lot::Mutex;

use super::harness::temporary;
use super::model::{self, Fail, Id, Kind, Model, Moves, Options, Outcome, ROOT};
use super::step::{self, MODES, NAMES, Step, TYPES};

/// What went wrong.
pub type Checked<T = ()> = Result<T, String>;

const ROOT_USER: Caller = Caller {
    uid: 0,
    gid: 0,
    pid: 1,
};
const SOMEBODY: Caller = Caller {
    uid: 1000,
    gid: 1000,
    pid: 2,
};

fn who(user: bool) -> Caller {
    if user { SOMEBODY } else { ROOT_USER }
}

fn pair(caller: Caller) -> (u32, u32) {
    (caller.uid, caller.gid)
}

/// Where and how a sequence runs.
#[derive(Clone, Copy, Debug, Default)]
pub struct Setting {
    /// On disk, else in memory.
    pub disk: bool,
    /// Everything is looked at after each step. It shows more, and hides what only goes wrong as
    /// long as nobody looks.
    pub watchful: bool,
    /// Names are looked up each time, else only when they are not known.
    pub lookups: bool,
    pub options: Options,
}

#[derive(Debug)]
struct Handle {
    fh: u64,
    id: Id,
    read: bool,
    write: bool,
}

#[derive(Debug)]
struct Listing {
    fh: u64,
    id: Id,
    offset: u64,
    seen: Vec<String>,
    /// Names that were there all the time since the beginning.
    stayed: BTreeSet<String>,
    vector: bool,
    /// The directory was removed or converted meanwhile.
    broken: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Note {
    Inode(u64),
    Entry(u64, Vec<u8>),
}

/// What the kernel is told.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<BTreeSet<Note>>>);

impl Invalidate for Told {
    fn inode(&self, ino: u64) {
        self.0.lock().insert(Note::Inode(ino));
    }
    fn entry(&self, parent: u64, name: &[u8]) {
        self.0.lock().insert(Note::Entry(parent, name.to_vec()));
    }
}

/// References that the kernel holds, the oldest first: numbers differ each time a sequence runs, and
/// what a step picks must not.
#[derive(Debug, Default)]
struct Refs(Vec<(u64, u64)>);

impl Refs {
    fn of(&self, ino: u64) -> u64 {
        let found = self.0.iter().find(|(i, _)| *i == ino);
        found.map_or(0, |(_, n)| *n)
    }

    fn add(&mut self, ino: u64) {
        match self.0.iter_mut().find(|(i, _)| *i == ino) {
            Some((_, n)) => *n += 1,
            None => self.0.push((ino, 1)),
        }
    }

    fn take(&mut self, ino: u64, n: u64) {
        if let Some((_, left)) = self.0.iter_mut().find(|(i, _)| *i == ino) {
            *left -= n;
        }
        self.0.retain(|(_, n)| *n > 0);
    }
}

/// Names and attributes as a kernel keeps them.
#[derive(Default)]
struct Cache {
    names: BTreeMap<(u64, String), u64>,
    attrs: BTreeMap<u64, Attr>,
}

pub struct World {
    setting: Setting,
    location: Location,
    store: Option<Store>,
    view: Option<Arc<View>>,
    pub model: Model,
    handles: Vec<Handle>,
    lists: Vec<Listing>,
    refs: Refs,
    told: Told,
    cache: Cache,
    /// Names that the kernel was told are not there.
    absent: BTreeSet<(u64, String)>,
    begun: Instant,
    _dir: Option<tempfile::TempDir>,
}

pub fn fail(e: &ViewError) -> Fail {
    match e {
        ViewError::NotFound { .. } => Fail::NotFound,
        ViewError::Exists { .. } => Fail::Exists,
        ViewError::NotDirectory { .. } => Fail::NotDir,
        ViewError::IsDirectory { .. } => Fail::IsDir,
        ViewError::NotEmpty { .. } => Fail::NotEmpty,
        ViewError::Invalid { .. } => Fail::Invalid,
        ViewError::TooBig { .. } => Fail::TooBig,
        ViewError::NoAttribute { .. } => Fail::NoAttribute,
        ViewError::AttributeExists { .. } => Fail::AttributeExists,
        _ => Fail::Other,
    }
}

/// What both answered, if both did or refused.
fn agree<T, U>(real: Result<T, ViewError>, model: Outcome<U>) -> Checked<Option<(T, U)>> {
    match (real, model) {
        (Ok(a), Ok(b)) => Ok(Some((a, b))),
        (Err(a), Err(b)) if fail(&a) == b => Ok(None),
        (Err(a), b) => Err(format!("the view says {a:?}, the model {:?}", b.err())),
        (Ok(_), Err(b)) => Err(format!("the view did it, the model says {b:?}")),
    }
}

fn check(what: impl Fn() -> String, ok: bool) -> Checked {
    if ok { Ok(()) } else { Err(what()) }
}

fn same<T: PartialEq + std::fmt::Debug>(what: impl Fn() -> String, real: T, model: T) -> Checked {
    let brief = |t: &T| {
        let mut text = format!("{t:?}");
        if text.len() > 300 {
            text = format!(
                "{}… ({} long)",
                text.chars().take(300).collect::<String>(),
                text.len()
            );
        }
        text
    };
    check(
        || {
            format!(
                "{}: the view has {}, the model {}",
                what(),
                brief(&real),
                brief(&model)
            )
        },
        real == model,
    )
}

impl World {
    pub fn new(setting: Setting) -> Self {
        let dir = setting.disk.then(temporary);
        let location = match &dir {
            Some(dir) => Location::parse(dir.path().join("store").to_str().unwrap()).unwrap(),
            None => Location::parse("mem:").unwrap(),
        };
        let store = Store::create(&location, &CreateOptions::default()).unwrap();
        let mut model = Model::new(setting.options);
        let root = model.node_mut(ROOT);
        (root.mtime, root.ctime) = (Moves::Anyhow, Moves::Anyhow);
        let mut world = Self {
            setting,
            location,
            store: None,
            view: None,
            model,
            handles: Vec::new(),
            lists: Vec::new(),
            refs: Refs::default(),
            told: Told::default(),
            cache: Cache::default(),
            absent: BTreeSet::new(),
            begun: Instant::now(),
            _dir: dir,
        };
        world.start(store);
        world
    }

    fn start(&mut self, store: Store) {
        let options = ViewOptions {
            strict: self.setting.options.strict,
            infer: self.setting.options.infer,
            ..ViewOptions::default()
        };
        let view = View::new(store.clone(), options).unwrap();
        view.set_invalidator(Box::new(self.told.clone()));
        self.store = Some(store.unsynced());
        self.view = Some(view);
    }

    fn view(&self) -> Arc<View> {
        Arc::clone(self.view.as_ref().unwrap())
    }

    fn store(&self) -> Store {
        self.store.clone().unwrap()
    }

    /// Whether so much time has passed that the view commits things by itself.
    pub fn is_late(&self) -> bool {
        self.begun.elapsed() > Duration::from_secs(4)
    }

    // --- choosing

    fn pick<T: Copy>(items: &[T], pick: u8) -> Option<T> {
        (!items.is_empty()).then(|| items[usize::from(pick) % items.len()])
    }

    fn pick_dir(&self, pick: u8) -> Id {
        let mut dirs = self.model.live();
        dirs.retain(|id| self.model.is_dir(*id));
        dirs.sort_unstable();
        Self::pick(&dirs, pick).unwrap()
    }

    /// Anything but the root; or, for `open`, something that a handle is open on.
    fn pick_node(&self, pick: u8, open: bool) -> Option<Id> {
        let mut nodes = if open {
            self.handles.iter().map(|h| h.id).collect()
        } else {
            self.model.live()
        };
        nodes.sort_unstable();
        nodes.retain(|id| *id != ROOT);
        Self::pick(&nodes, pick)
    }

    fn pick_handle(&self, pick: u8) -> Option<usize> {
        (!self.handles.is_empty()).then(|| usize::from(pick) % self.handles.len())
    }

    fn pick_list(&self, pick: u8) -> Option<usize> {
        (!self.lists.is_empty()).then(|| usize::from(pick) % self.lists.len())
    }

    // --- numbers and attributes

    fn is_loose(&self, id: Id) -> bool {
        let mut at = id;
        loop {
            let node = self.model.node(at);
            if node.loose {
                return true;
            }
            match &node.place {
                Some((dir, _)) if !node.linked => at = *dir,
                _ => return false,
            }
        }
    }

    /// A node has shown its number.
    fn saw(&mut self, id: Id, ino: u64) -> Checked {
        let loose = self.is_loose(id);
        let node = self.model.node(id);
        if let Some(before) = node.ino.filter(|before| *before != ino) {
            let known = self.refs.of(before) > 0 || node.handles > 0;
            check(
                || {
                    format!(
                        "{}: its number was {before} and is {ino}",
                        self.model.show(id)
                    )
                },
                loose && !known,
            )?;
        }
        self.model.node_mut(id).ino = Some(ino);
        Ok(())
    }

    fn counted(&mut self, ino: u64) {
        self.refs.add(ino);
    }

    /// The number of a node, as the kernel knows it or finds it.
    fn ino(&mut self, id: Id) -> Checked<u64> {
        if id == ROOT {
            return Ok(1);
        }
        let node = self.model.node(id);
        let known = node.ino.filter(|ino| self.refs.of(*ino) > 0);
        let Some((dir, name)) = node.place.clone() else {
            return node.ino.ok_or_else(|| "no number".to_owned());
        };
        if let Some(ino) = known.filter(|_| !self.setting.lookups) {
            return Ok(ino);
        }
        let parent = self.ino(dir)?;
        let attr = self
            .view()
            .lookup(&ROOT_USER, parent, name.as_bytes())
            .map_err(|e| format!("looking up {}: {e:?}", self.model.show(id)))?;
        self.counted(attr.ino);
        self.saw(id, attr.ino)?;
        self.check_attr(id, &attr)?;
        Ok(attr.ino)
    }

    fn check_attr(&self, id: Id, attr: &Attr) -> Checked {
        let node = self.model.node(id);
        let about = |what: &str| format!("{what} of {}", self.model.show(id));
        let (kind, size) = match &node.kind {
            Kind::File(f) => (FileKind::File, Some(f.bytes.len() as u64)),
            Kind::Dir { .. } => (FileKind::Dir, None),
            Kind::Link(t) => (FileKind::Symlink, Some(t.len() as u64)),
            Kind::Fifo => (FileKind::Fifo, Some(0)),
        };
        same(|| about("kind"), attr.kind, kind)?;
        same(|| about("size"), attr.size, size.unwrap_or(attr.size))?;
        let owner = self.model.visible_owner(id);
        same(
            || about("mode"),
            format!("{:o}", attr.perm),
            format!("{:o}", owner.mode),
        )?;
        same(
            || about("owner"),
            (attr.uid, attr.gid),
            (owner.uid, owner.gid),
        )?;
        let nlink = match &node.kind {
            _ if !self.model.is_live(id) => 0,
            Kind::Dir { children, .. } => {
                let dirs = children.values().filter(|c| self.model.is_dir(**c)).count();
                2 + u32::try_from(dirs).unwrap()
            }
            _ => u32::try_from(self.model.places(id).len()).unwrap(),
        };
        same(|| about("nlink"), attr.nlink, nlink)
    }

    fn check_times(&mut self, id: Id, attr: &Attr, since: Time) -> Checked {
        let now = Time::now();
        let node = self.model.node(id);
        let about = |what: &str| format!("{what} of {}", self.model.show(id));
        if let Some((mtime, ctime, born)) = node.times {
            same(|| about("birth"), attr.crtime, born)?;
            for (what, time, before, moves) in [
                ("mtime", attr.mtime, mtime, node.mtime),
                ("ctime", attr.ctime, ctime, node.ctime),
            ] {
                let ok = match moves {
                    Moves::No => time == before,
                    Moves::Now => time >= since && time <= now,
                    Moves::To(t) => time == t,
                    Moves::Anyhow => true,
                };
                let told = || {
                    format!(
                        "{} was {before:?} and is {time:?}; it should be {moves:?} ({since:?} to {now:?})",
                        about(what)
                    )
                };
                check(told, ok)?;
            }
        } else if node.mtime == Moves::Now && self.setting.watchful {
            let told = || format!("{}: new, and {:?}", about("mtime"), attr.mtime);
            check(told, attr.mtime >= since && attr.mtime <= now)?;
        }
        let node = self.model.node_mut(id);
        node.times = Some((attr.mtime, attr.ctime, attr.crtime));
        (node.mtime, node.ctime) = (Moves::No, Moves::No);
        Ok(())
    }

    /// Looks at everything's attributes.
    fn look(&mut self, since: Time) -> Checked {
        let view = self.view();
        let mut cache = Cache::default();
        let mut numbers = BTreeMap::new();
        // A file may have a name in a directory that comes later.
        let mut live = self.model.live();
        live.sort_by_key(|id| !self.model.is_dir(*id));
        for id in live {
            let mut attr = view.getattr(1, None);
            for (dir, name) in self.model.places(id) {
                let parent = self.model.node(dir).ino.unwrap_or(1);
                attr = view.lookup(&ROOT_USER, parent, name.as_bytes());
                if let Ok(attr) = &attr {
                    self.counted(attr.ino);
                    self.saw(id, attr.ino)?;
                    self.check_attr(id, attr)?;
                    cache.names.insert((parent, name), attr.ino);
                }
            }
            let attr = attr.map_err(|e| format!("looking at {}: {e:?}", self.model.show(id)))?;
            self.saw(id, attr.ino)?;
            self.check_attr(id, &attr)?;
            self.check_times(id, &attr, since)?;
            cache.attrs.insert(attr.ino, attr);
            if let Some(other) = numbers.insert(attr.ino, id) {
                let (a, b) = (self.model.show(other), self.model.show(id));
                return Err(format!("{a} and {b} have the same number"));
            }
        }
        self.cache = cache;
        for i in 0..self.handles.len() {
            let (fh, id) = (self.handles[i].fh, self.handles[i].id);
            let ino = self.model.node(id).ino.ok_or("no number")?;
            let attr = view
                .getattr(ino, Some(fh))
                .map_err(|e| format!("looking at the open {}: {e:?}", self.model.show(id)))?;
            self.check_attr(id, &attr)?;
            self.check_times(id, &attr, since)?;
            if numbers.insert(ino, id).is_some_and(|other| other != id) {
                return Err(format!(
                    "{} is open and has another's number",
                    self.model.show(id)
                ));
            }
        }
        Ok(())
    }

    /// Looks at everything's content and extended attributes too, and at the store's values.
    pub fn look_deep(&mut self) -> Checked {
        let view = self.view();
        let unknown = Time::default();
        self.look(unknown)?;
        for id in self.model.live() {
            let ino = self.ino(id)?;
            let about = |what: &str| format!("{what} of {}", self.model.show(id));
            let node = self.model.node(id).clone();
            let mut xattrs: BTreeSet<String> = node.xattrs.keys().cloned().collect();
            let mut type_name = None;
            match &node.kind {
                Kind::File(f) => {
                    let opened = view.open(&ROOT_USER, ino, libc::O_RDONLY);
                    let fh = opened
                        .map_err(|e| format!("{}: {e:?}", about("opening")))?
                        .fh;
                    let bytes = view.read(fh, 0, 1 << 20);
                    let bytes = bytes.map_err(|e| format!("{}: {e:?}", about("reading")))?;
                    view.release(fh).map_err(|e| format!("{e:?}"))?;
                    same(|| about("content"), Shown(bytes), Shown(f.bytes.clone()))?;
                    if f.listed() {
                        xattrs.insert("user.kfs.type".into());
                    }
                    // What is written and not committed has no type yet.
                    type_name = (f.state == model::State::Clean).then(|| f.type_name().as_str());
                }
                Kind::Dir { vector, children } => {
                    if *vector {
                        xattrs.insert("user.kfs.type".into());
                    }
                    type_name = Some(if *vector { "vector" } else { "map" });
                    let names: BTreeSet<String> = children.keys().cloned().collect();
                    let fh = view
                        .opendir(&ROOT_USER, ino)
                        .map_err(|e| format!("{e:?}"))?;
                    let mut found = BTreeSet::new();
                    view.readdir(fh, 0, false, &mut |item| {
                        found.insert(String::from_utf8(item.name.to_vec()).unwrap());
                        false
                    })
                    .map_err(|e| format!("{}: {e:?}", about("listing")))?;
                    found.retain(|n| n != "." && n != "..");
                    view.releasedir(fh).map_err(|e| format!("{e:?}"))?;
                    same(|| about("names"), found, names)?;
                }
                Kind::Link(target) => {
                    let found = view.readlink(ino).map_err(|e| format!("{e:?}"))?;
                    same(|| about("target"), &found, target)?;
                }
                Kind::Fifo => {}
            }
            let found = view
                .listxattr(&ROOT_USER, ino)
                .map_err(|e| format!("{e:?}"))?;
            let found = String::from_utf8(found).unwrap();
            let found = found.split_terminator('\0').map(str::to_owned).collect();
            same(|| about("attributes"), found, xattrs)?;
            for (name, value) in &node.xattrs {
                let found = view.getxattr(&ROOT_USER, ino, name.as_bytes());
                same(|| about(name), found.ok().as_ref(), Some(value))?;
            }
            if let Some(type_name) = type_name {
                let found = view.getxattr(&ROOT_USER, ino, b"user.kfs.type");
                let found = found.map_err(|e| format!("{}: {e:?}", about("type")))?;
                same(
                    || about("type"),
                    String::from_utf8(found).unwrap(),
                    type_name.to_owned(),
                )?;
            }
        }
        self.compare_values()
    }

    /// The store has the values that the model has.
    fn compare_values(&self) -> Checked {
        let store = self.store();
        let mut expected: BTreeMap<Key, Value> = BTreeMap::new();
        if let Value::Map(items) = self.model.value(ROOT) {
            expected.extend(items);
        }
        let found: Result<BTreeMap<Key, Value>, _> = store
            .keys()
            .map(|item| {
                let (key, _) = item?;
                let value = store.get(&key)?;
                Ok::<_, konserve_fs::store::StoreError>((key, value.unwrap_or(Value::Nil)))
            })
            .collect();
        let found = found.map_err(|e| format!("reading the store: {e:?}"))?;
        let text = |map: &BTreeMap<Key, Value>| edn::print(&Value::Map(map.clone()));
        same(
            || "the store's values".into(),
            text(&found),
            text(&expected),
        )
    }

    // --- steps

    /// Does a step in both worlds.
    pub fn apply(&mut self, step: &Step) -> Checked {
        let since = Time::now();
        self.told.0.lock().clear();
        self.act(step)?;
        self.follow_listings();
        if self.model.unsure && !self.setting.watchful {
            return Err(String::from(ABANDON));
        }
        let hasty = std::mem::take(&mut self.model.hasty);
        if hasty && !self.setting.watchful {
            self.look(Time::default())?;
        }
        if self.setting.watchful {
            let before = std::mem::take(&mut self.cache);
            self.look(since)?;
            if is_api(step) {
                self.check_told(&before)?;
            }
            let there = &self.cache.names;
            self.absent.retain(|at| !there.contains_key(at));
            self.compare_values()?;
        } else {
            for node in self.model.nodes.values_mut() {
                if (node.mtime, node.ctime) != (Moves::No, Moves::No) {
                    node.times = None;
                    (node.mtime, node.ctime) = (Moves::No, Moves::No);
                }
            }
        }
        Ok(())
    }

    /// Whatever a kernel had kept and is no longer true, it was told of.
    fn check_told(&self, before: &Cache) -> Checked {
        let told = self.told.0.lock();
        for ((parent, name), ino) in &before.names {
            let note = Note::Entry(*parent, name.clone().into_bytes());
            let gone = !self.cache.attrs.contains_key(parent);
            let still = self.cache.names.get(&(*parent, name.clone())) == Some(ino);
            check(
                || format!("the kernel still has {name} in {parent}"),
                still || gone || told.contains(&note),
            )?;
        }
        for (parent, name) in self
            .cache
            .names
            .keys()
            .filter(|at| self.absent.contains(at))
        {
            let was = before.names.contains_key(&(*parent, name.clone()));
            let note = Note::Entry(*parent, name.clone().into_bytes());
            check(
                || format!("the kernel still has no {name} in {parent}"),
                was || told.contains(&note),
            )?;
        }
        for (ino, attr) in &self.cache.attrs {
            let same = before.attrs.get(ino).is_none_or(|b| b == attr);
            check(
                || {
                    format!(
                        "the kernel still has the old attributes of {ino}: {:?}, now {attr:?}",
                        before.attrs[ino]
                    )
                },
                same || told.contains(&Note::Inode(*ino)),
            )?;
        }
        Ok(())
    }

    fn path(&self, dir: Id, name: u8, deeper: Option<u8>) -> Vec<String> {
        let mut path = self.model.path(dir);
        path.push(NAMES[usize::from(name)].to_owned());
        path.extend(deeper.map(|n| NAMES[usize::from(n)].to_owned()));
        path
    }

    fn entered(&mut self, real: Result<Attr, ViewError>, model: Outcome<Id>) -> Checked {
        if let Some((attr, id)) = agree(real, model)? {
            self.counted(attr.ino);
            self.saw(id, attr.ino)?;
            self.check_attr(id, &attr)?;
        }
        Ok(())
    }

    fn api<T, U>(
        real: Result<T, konserve_fs::store::StoreError>,
        model: Outcome<U>,
    ) -> Checked<Option<(T, U)>> {
        match (real, model) {
            (Ok(a), Ok(b)) => Ok(Some((a, b))),
            (Err(_), Err(_)) => Ok(None),
            (Err(a), Ok(_)) => Err(format!("the store says {a:?}")),
            (Ok(_), Err(_)) => Err("the store did what the model refuses".into()),
        }
    }

    #[expect(clippy::too_many_lines, reason = "one arm per kind of step")]
    fn act(&mut self, step: &Step) -> Checked {
        let view = self.view();
        match *step {
            Step::Create {
                dir,
                name,
                mode,
                access,
                exclusive,
                user,
            } => {
                let dir = self.pick_dir(dir);
                let name = NAMES[usize::from(name)];
                let mode = MODES[usize::from(mode)];
                let there = self.model.child(dir, name);
                if there.is_some_and(|id| {
                    matches!(self.model.node(id).kind, Kind::Link(_) | Kind::Fifo)
                }) {
                    // The kernel opens these itself.
                    return Ok(());
                }
                let parent = self.ino(dir)?;
                let (flags, read, write) = access_flags(access);
                let flags = flags | if exclusive { libc::O_EXCL } else { 0 };
                let caller = who(user);
                let real = view.create(
                    &caller,
                    parent,
                    name.as_bytes(),
                    mode,
                    0o022,
                    flags | libc::O_CREAT,
                );
                let model = self.model.create(
                    dir,
                    name,
                    pair(caller),
                    mode,
                    (read, write, false),
                    exclusive,
                );
                if let Some(((attr, opened), (id, _))) = agree(real, model)? {
                    self.counted(attr.ino);
                    self.saw(id, attr.ino)?;
                    self.check_attr(id, &attr)?;
                    self.handles.push(Handle {
                        fh: opened.fh,
                        id,
                        read,
                        write,
                    });
                }
            }
            Step::Open {
                file,
                access,
                truncate,
                user,
            } => {
                let Some(id) = self.pick_node(file, false) else {
                    return Ok(());
                };
                if !matches!(self.model.node(id).kind, Kind::File(_)) {
                    return Ok(());
                }
                let ino = self.ino(id)?;
                let (flags, read, write) = access_flags(access);
                let truncate = truncate && write;
                let flags = flags | if truncate { libc::O_TRUNC } else { 0 };
                let caller = who(user);
                let real = view.open(&caller, ino, flags);
                let model = self.model.open(id, pair(caller), (read, write, truncate));
                if let Some((opened, ())) = agree(real, model)? {
                    self.handles.push(Handle {
                        fh: opened.fh,
                        id,
                        read,
                        write,
                    });
                }
            }
            Step::Write {
                handle,
                at,
                data,
                append,
                kill,
            } => {
                let Some(i) = self.pick_handle(handle) else {
                    return Ok(());
                };
                let (fh, id, write) = (
                    self.handles[i].fh,
                    self.handles[i].id,
                    self.handles[i].write,
                );
                if !write {
                    return Ok(());
                }
                let len = self.model.file(id).unwrap().bytes.len();
                let at = if append {
                    len
                } else {
                    usize::try_from(at).unwrap()
                };
                let data = step::data(data);
                if data.is_empty() {
                    return Ok(());
                }
                let done = view.write(&who(kill), fh, at as u64, &data, kill);
                self.model.write(id, at, &data, kill);
                same(
                    || "bytes written".into(),
                    done.map_err(|e| fail(&e)),
                    Ok(u32::try_from(data.len()).unwrap()),
                )?;
            }
            Step::Resize { handle, size, user } => {
                let Some(i) = self.pick_handle(handle) else {
                    return Ok(());
                };
                let (fh, id, write) = (
                    self.handles[i].fh,
                    self.handles[i].id,
                    self.handles[i].write,
                );
                if !write {
                    return Ok(());
                }
                let ino = self.model.node(id).ino.unwrap();
                let set = SetAttr {
                    size: Some(u64::from(size)),
                    fh: Some(fh),
                    ..SetAttr::default()
                };
                let real = view.setattr(&who(user), ino, &set);
                self.model
                    .resize(id, usize::try_from(size).unwrap(), pair(who(user)));
                if let Some((attr, ())) = agree(real, Ok(()))? {
                    self.check_attr(id, &attr)?;
                }
            }
            Step::Truncate { node, size, user } => {
                let Some(id) = self.pick_node(node, false) else {
                    return Ok(());
                };
                if !matches!(self.model.node(id).kind, Kind::File(_)) {
                    return Ok(());
                }
                let ino = self.ino(id)?;
                let set = SetAttr {
                    size: Some(u64::from(size)),
                    ..SetAttr::default()
                };
                let real = view.setattr(&who(user), ino, &set);
                let model =
                    self.model
                        .truncate(id, usize::try_from(size).unwrap(), pair(who(user)));
                agree(real, model)?;
            }
            Step::Copy { from, to, at, len } => {
                let (Some(i), Some(j)) = (self.pick_handle(from), self.pick_handle(to)) else {
                    return Ok(());
                };
                if i == j || !self.handles[i].read || !self.handles[j].write {
                    return Ok(());
                }
                let (a, b) = (&self.handles[i], &self.handles[j]);
                let (source, target) = (a.id, b.id);
                if source == target {
                    return Ok(());
                }
                let (fh_in, fh_out) = (a.fh, b.fh);
                let real = view.copy_file_range(
                    &ROOT_USER,
                    fh_in,
                    0,
                    fh_out,
                    u64::from(at),
                    u64::from(len),
                );
                let bytes = &self.model.file(source).unwrap().bytes;
                let part = bytes[..bytes.len().min(usize::try_from(len).unwrap())].to_vec();
                if !part.is_empty() {
                    self.model
                        .write(target, usize::try_from(at).unwrap(), &part, false);
                }
                same(
                    || "bytes copied".into(),
                    real.map_err(|e| fail(&e)),
                    Ok(part.len() as u64),
                )?;
            }
            Step::Zero {
                handle,
                at,
                len,
                mode,
            } => {
                let Some(i) = self.pick_handle(handle) else {
                    return Ok(());
                };
                let (fh, id, write) = (
                    self.handles[i].fh,
                    self.handles[i].id,
                    self.handles[i].write,
                );
                if !write || len == 0 {
                    return Ok(());
                }
                let modes = [
                    0,
                    libc::FALLOC_FL_KEEP_SIZE,
                    libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE,
                    libc::FALLOC_FL_ZERO_RANGE,
                ];
                let done = view.fallocate(
                    &ROOT_USER,
                    fh,
                    u64::from(at),
                    u64::from(len),
                    modes[usize::from(mode)],
                );
                let (at, end) = (
                    usize::try_from(at).unwrap(),
                    usize::try_from(at + len).unwrap(),
                );
                let size = self.model.file(id).unwrap().bytes.len();
                let wanted = if mode % 3 == 0 { size.max(end) } else { size };
                let zeros = vec![0; end.min(size).saturating_sub(at)];
                let data = if mode >= 2 { zeros } else { Vec::new() };
                let at = if data.is_empty() { 0 } else { at };
                self.model.write(id, at, &data, false);
                self.model.grow(id, wanted);
                same(|| "allocated".into(), done.map_err(|e| fail(&e)), Ok(()))?;
            }
            Step::Read { handle } => {
                let Some(i) = self.pick_handle(handle) else {
                    return Ok(());
                };
                if self.handles[i].read {
                    let real = view
                        .read(self.handles[i].fh, 0, 1 << 20)
                        .map_err(|e| format!("reading: {e:?}"))?;
                    let file = self.model.file(self.handles[i].id).unwrap();
                    same(
                        || "what is read".into(),
                        Shown(real),
                        Shown(file.bytes.clone()),
                    )?;
                }
            }
            Step::Flush { handle } => {
                let Some(i) = self.pick_handle(handle) else {
                    return Ok(());
                };
                let real = view.flush(self.handles[i].fh);
                let model = self.model.flush(self.handles[i].id, self.handles[i].write);
                agree(real, model)?;
            }
            Step::Fsync { handle } => {
                let Some(i) = self.pick_handle(handle) else {
                    return Ok(());
                };
                let real = view.fsync(self.handles[i].fh, false);
                let model = self.model.commit(self.handles[i].id);
                agree(real, model)?;
            }
            Step::Release { handle } => {
                let Some(i) = self.pick_handle(handle) else {
                    return Ok(());
                };
                self.release(i)?;
            }
            Step::Mkdir {
                dir,
                name,
                mode,
                user,
            } => {
                let dir = self.pick_dir(dir);
                let name = NAMES[usize::from(name)];
                if self.model.path(dir).len() > 3 {
                    return Ok(());
                }
                let mode = MODES[usize::from(mode)] | 0o700;
                let parent = self.ino(dir)?;
                let real = view.mkdir(&who(user), parent, name.as_bytes(), mode, 0o022);
                let kind = Kind::Dir {
                    vector: false,
                    children: BTreeMap::new(),
                };
                let model = self.model.make(dir, name, pair(who(user)), mode, kind);
                self.entered(real, model)?;
            }
            Step::Mknod { dir, name, fifo } => {
                let dir = self.pick_dir(dir);
                let name = NAMES[usize::from(name)];
                let parent = self.ino(dir)?;
                let (kind, bits) = if fifo {
                    (Kind::Fifo, libc::S_IFIFO)
                } else {
                    (Model::empty_file(), libc::S_IFREG)
                };
                let real = view.mknod(&ROOT_USER, parent, name.as_bytes(), bits | 0o640, 0o022, 0);
                let model = self.model.make(dir, name, (0, 0), 0o640, kind);
                self.entered(real, model)?;
            }
            Step::Symlink { dir, name } => {
                let dir = self.pick_dir(dir);
                let name = NAMES[usize::from(name)];
                let parent = self.ino(dir)?;
                let real = view.symlink(&ROOT_USER, parent, name.as_bytes(), b"target");
                let model =
                    self.model
                        .make(dir, name, (0, 0), 0o777, Kind::Link(b"target".to_vec()));
                self.entered(real, model)?;
            }
            Step::Unlink { dir, name } => {
                let dir = self.pick_dir(dir);
                let name = NAMES[usize::from(name)];
                let parent = self.ino(dir)?;
                let real = view.unlink(&ROOT_USER, parent, name.as_bytes());
                agree(real, self.model.unlink(dir, name))?;
            }
            Step::Link {
                node,
                dir,
                name,
                open,
            } => {
                let Some(id) = self.pick_node(node, open) else {
                    return Ok(());
                };
                let dir = self.pick_dir(dir);
                let name = NAMES[usize::from(name)];
                let (ino, parent) = (self.ino(id)?, self.ino(dir)?);
                let real = view.link(&ROOT_USER, ino, parent, name.as_bytes());
                let model = self.model.link(id, dir, name);
                self.entered(real, model)?;
            }
            Step::Rmdir { dir, name } => {
                let dir = self.pick_dir(dir);
                let name = NAMES[usize::from(name)];
                let parent = self.ino(dir)?;
                let real = view.rmdir(&ROOT_USER, parent, name.as_bytes());
                agree(real, self.model.rmdir(dir, name))?;
            }
            Step::Rename {
                dir,
                name,
                to_dir,
                to_name,
                flags,
            } => {
                let (dir, to_dir) = (self.pick_dir(dir), self.pick_dir(to_dir));
                let (name, to_name) = (NAMES[usize::from(name)], NAMES[usize::from(to_name)]);
                let flags = match flags {
                    0 => libc::RENAME_NOREPLACE,
                    1 => libc::RENAME_EXCHANGE,
                    _ => 0,
                };
                if (dir, name) == (to_dir, to_name) {
                    return Ok(());
                }
                let (parent, new_parent) = (self.ino(dir)?, self.ino(to_dir)?);
                let real = view.rename(
                    &ROOT_USER,
                    parent,
                    name.as_bytes(),
                    new_parent,
                    to_name.as_bytes(),
                    flags,
                );
                agree(
                    real,
                    self.model.rename((dir, name), (to_dir, to_name), flags),
                )?;
            }
            Step::Chmod { node, mode, open } => {
                let Some(id) = self.pick_node(node, open) else {
                    return Ok(());
                };
                let mode = MODES[usize::from(mode)];
                let set = SetAttr {
                    mode: Some(mode | libc::S_IFREG),
                    ..SetAttr::default()
                };
                self.set_attrs(id, &set, Some(mode), None, None)?;
            }
            Step::Chown { node, open } => {
                let Some(id) = self.pick_node(node, open) else {
                    return Ok(());
                };
                let set = SetAttr {
                    uid: Some(7),
                    ..SetAttr::default()
                };
                self.set_attrs(id, &set, None, Some(7), None)?;
            }
            Step::Utimens { node, secs, open } => {
                let Some(id) = self.pick_node(node, open) else {
                    return Ok(());
                };
                let time = Time { secs, nanos: 5 };
                let set = SetAttr {
                    mtime: Some(SetTime::At(time)),
                    ..SetAttr::default()
                };
                self.set_attrs(id, &set, None, None, Some(time))?;
            }
            Step::SetXattr {
                node,
                name,
                value,
                flags,
                open,
            } => {
                let Some(id) = self.pick_node(node, open) else {
                    return Ok(());
                };
                let ino = self.ino(id)?;
                let name = ["user.a", "user.b"][usize::from(name)];
                let flags = [0, libc::XATTR_CREATE, libc::XATTR_REPLACE][usize::from(flags)];
                let real = view.setxattr(&ROOT_USER, ino, name.as_bytes(), &[value], flags, 0);
                agree(real, self.model.set_xattr(id, name, &[value], flags))?;
            }
            Step::RemoveXattr { node, name } => {
                let Some(id) = self.pick_node(node, false) else {
                    return Ok(());
                };
                let ino = self.ino(id)?;
                let name = ["user.a", "user.b"][usize::from(name)];
                let real = view.removexattr(&ROOT_USER, ino, name.as_bytes());
                agree(real, self.model.remove_xattr(id, name))?;
            }
            Step::SetType { node, wanted, open } => {
                let Some(id) = self.pick_node(node, open) else {
                    return Ok(());
                };
                if matches!(self.model.node(id).kind, Kind::Link(_) | Kind::Fifo) {
                    // Linux allows no such attribute there.
                    return Ok(());
                }
                let ino = self.ino(id)?;
                let wanted = TYPES[usize::from(wanted)];
                let real = view.setxattr(
                    &ROOT_USER,
                    ino,
                    b"user.kfs.type",
                    wanted.as_str().as_bytes(),
                    0,
                    0,
                );
                agree(real, self.model.set_type(id, Some(wanted)))?;
            }
            Step::RemoveType { node } => {
                let Some(id) = self.pick_node(node, false) else {
                    return Ok(());
                };
                if matches!(self.model.node(id).kind, Kind::Link(_) | Kind::Fifo) {
                    return Ok(());
                }
                let ino = self.ino(id)?;
                let real = view.removexattr(&ROOT_USER, ino, b"user.kfs.type");
                agree(real, self.model.set_type(id, None))?;
            }
            Step::OpenDir { dir } => {
                let id = self.pick_dir(dir);
                let ino = self.ino(id)?;
                let fh = view
                    .opendir(&ROOT_USER, ino)
                    .map_err(|e| format!("opendir: {e:?}"))?;
                self.model.open_dir(id);
                self.lists.push(Listing {
                    fh,
                    id,
                    offset: 0,
                    seen: Vec::new(),
                    stayed: BTreeSet::new(),
                    vector: false,
                    broken: false,
                });
            }
            Step::List {
                list,
                items,
                plus,
                rewind,
            } => {
                let Some(i) = self.pick_list(list) else {
                    return Ok(());
                };
                self.list(i, items, plus, rewind)?;
            }
            Step::CloseDir { list } => {
                let Some(i) = self.pick_list(list) else {
                    return Ok(());
                };
                let list = self.lists.remove(i);
                view.releasedir(list.fh)
                    .map_err(|e| format!("releasedir: {e:?}"))?;
                self.model.release(list.id, false);
            }
            Step::FsyncDir { list } => {
                let Some(i) = self.pick_list(list) else {
                    return Ok(());
                };
                let id = self.lists[i].id;
                let real = view.fsyncdir(self.lists[i].fh, false);
                let mut model = Ok(());
                if self.model.is_live(id) {
                    let children: Vec<Id> = self.model.children(id).values().copied().collect();
                    for child in children {
                        if self.model.file(child).is_some_and(|f| f.pending) && model.is_ok() {
                            model = self.model.commit(child);
                        }
                    }
                }
                if self.setting.options.strict && real.is_err() {
                    // Which of the children came first is the view's choice.
                    return Err(String::from(ABANDON));
                }
                agree(real, model)?;
            }
            Step::Look { node } => {
                let Some(id) = self.pick_node(node, false) else {
                    return Ok(());
                };
                let ino = self.ino(id)?;
                let attr = view
                    .getattr(ino, None)
                    .map_err(|e| format!("getattr: {e:?}"))?;
                self.check_attr(id, &attr)?;
            }
            Step::Miss { dir, name } => {
                let dir = self.pick_dir(dir);
                let name = NAMES[usize::from(name)];
                if self.model.child(dir, name).is_none() {
                    let parent = self.ino(dir)?;
                    let found = view.lookup(&ROOT_USER, parent, name.as_bytes());
                    same(
                        || format!("{name} in {}", self.model.show(dir)),
                        found.map_err(|e| fail(&e)),
                        Err(Fail::NotFound),
                    )?;
                    self.absent.insert((parent, name.to_owned()));
                }
            }
            Step::Forget { ino, all } => {
                let Some((ino, known)) = Self::pick(&self.refs.0, ino) else {
                    return Ok(());
                };
                let n = if all { known } else { 1 };
                view.forget(ino, n);
                self.refs.take(ino, n);
            }
            Step::Assoc {
                dir,
                name,
                deeper,
                value,
            } => {
                let path = self.path(self.pick_dir(dir), name, deeper);
                if path.len() > 5 {
                    return Ok(());
                }
                let value = step::value(value);
                self.assoc(&path, &value)?;
            }
            Step::AssocSame { node } => {
                let Some(id) = self.pick_node(node, false) else {
                    return Ok(());
                };
                if self.model.file(id).is_some_and(|f| f.pending) {
                    return Ok(());
                }
                let path = self.model.path(id);
                let value = self.model.value(id);
                self.assoc(&path, &value)?;
            }
            Step::Update { dir, name } => {
                let path = self.path(self.pick_dir(dir), name, None);
                let keys = self.model.keys(&path);
                let next = |old: Option<&Value>| match old {
                    Some(Value::Int(n)) => Ok::<_, std::io::Error>(Value::Int(n + 1)),
                    Some(other) => Ok(other.clone()),
                    None => Ok(Value::Int(0)),
                };
                let real = self.store().update_in(&keys, next);
                let old = self.model.get_in(&path);
                let model = old.and_then(|old| {
                    let new = next(old.as_ref()).unwrap();
                    self.model.assoc_in(&path, &new)?;
                    Ok((old, new))
                });
                if let Some((real, (old, new))) = Self::api(real, model)? {
                    same(|| "the value before".into(), real.old, old)?;
                    same(|| "the value after".into(), real.new, new)?;
                }
            }
            Step::Dissoc { dir, name } => {
                let path = self.path(self.pick_dir(dir), name, None);
                let keys = self.model.keys(&path);
                let real = self.store().dissoc_in(&keys);
                let model = self.model.dissoc_in(&path);
                if let Some((real, model)) = Self::api(real, model)? {
                    same(|| "whether it was there".into(), real, model)?;
                }
            }
            Step::ApiRename {
                dir,
                name,
                to_dir,
                to_name,
                no_replace,
            } => {
                let from = self.path(self.pick_dir(dir), name, None);
                let to = self.path(self.pick_dir(to_dir), to_name, None);
                let (a, b) = (self.model.keys(&from), self.model.keys(&to));
                let real = self.store().rename(&a, &b, no_replace);
                Self::api(real, self.model.api_rename(&from, &to, no_replace))?;
            }
            Step::ApiSwap {
                dir,
                name,
                to_dir,
                to_name,
            } => {
                let from = self.path(self.pick_dir(dir), name, None);
                let to = self.path(self.pick_dir(to_dir), to_name, None);
                let (a, b) = (self.model.keys(&from), self.model.keys(&to));
                let real = self.store().swap(&a, &b);
                Self::api(real, self.model.api_swap(&from, &to))?;
            }
            Step::Fold => self
                .store()
                .settle()
                .map_err(|e| format!("folding: {e:?}"))?,
            Step::Remount { kill, look } => {
                drop(view);
                self.remount(kill, look)?;
            }
        }
        Ok(())
    }

    fn assoc(&mut self, path: &[String], value: &Value) -> Checked {
        let keys = self.model.keys(path);
        let real = self.store().assoc_in(&keys, value);
        Self::api(real, self.model.assoc_in(path, value))?;
        Ok(())
    }

    fn set_attrs(
        &mut self,
        id: Id,
        set: &SetAttr,
        mode: Option<u32>,
        uid: Option<u32>,
        mtime: Option<Time>,
    ) -> Checked {
        let ino = self.ino(id)?;
        let real = self.view().setattr(&ROOT_USER, ino, set);
        let model = self.model.set_attrs(id, mode, uid, mtime);
        if let Some((attr, ())) = agree(real, model)? {
            self.check_attr(id, &attr)?;
        }
        Ok(())
    }

    fn release(&mut self, i: usize) -> Checked {
        let handle = self.handles.remove(i);
        let view = self.view();
        // The kernel flushes first.
        let real = view.flush(handle.fh);
        let model = self.model.flush(handle.id, handle.write);
        agree(real, model)?;
        view.release(handle.fh)
            .map_err(|e| format!("release: {e:?}"))?;
        self.model.release(handle.id, handle.write);
        Ok(())
    }

    // --- listings

    fn names(&self, dir: Id) -> BTreeSet<String> {
        self.model.children(dir).keys().cloned().collect()
    }

    fn follow_listings(&mut self) {
        for list in &mut self.lists {
            let id = list.id;
            if list.offset == 0 || list.broken {
                continue;
            }
            if !self.model.is_live(id) || self.model.is_vector(id) != list.vector {
                list.broken = true;
                continue;
            }
            let now = self.model.children(id);
            list.stayed.retain(|n| now.contains_key(n));
        }
    }

    fn list(&mut self, i: usize, items: u8, plus: bool, rewind: bool) -> Checked {
        let view = self.view();
        let id = self.lists[i].id;
        let live = self.model.is_live(id);
        let names = if live {
            self.names(id)
        } else {
            BTreeSet::new()
        };
        let vector = live && self.model.is_vector(id);
        let list = &mut self.lists[i];
        if rewind || list.offset == 0 {
            list.offset = 0;
            list.seen.clear();
            list.stayed.clone_from(&names);
            (list.vector, list.broken) = (vector, !live);
        }
        let fits = if items == 0 {
            usize::MAX
        } else {
            usize::from(items)
        };
        let (fh, mut offset) = (list.fh, list.offset);
        let mut given = Vec::new();
        view.readdir(fh, offset, plus, &mut |item| {
            if given.len() >= fits {
                return true;
            }
            offset = item.offset;
            given.push((item.name.to_vec(), item.ino, item.kind, item.attr.copied()));
            false
        })
        .map_err(|e| format!("readdir: {e:?}"))?;
        let end = given.is_empty();
        for (name, ino, kind, attr) in given {
            let name = String::from_utf8(name).unwrap();
            if name == "." || name == ".." {
                continue;
            }
            let child = self.model.child(id, &name);
            let child = child.ok_or_else(|| format!("{name} is listed and not there"))?;
            if let Some(attr) = attr {
                self.counted(attr.ino);
                same(|| "the listed number".into(), ino, attr.ino)?;
                self.saw(child, ino)?;
                self.check_attr(child, &attr)?;
            } else if !self.is_loose(child)
                && let Some(before) = self.model.node(child).ino
            {
                same(|| format!("the listed number of {name}"), ino, before)?;
            }
            let is_dir = self.model.is_dir(child);
            same(
                || format!("the listed kind of {name}"),
                kind == FileKind::Dir,
                is_dir,
            )?;
            let list = &mut self.lists[i];
            if list.seen.contains(&name) && !list.broken {
                return Err(format!("{name} is listed twice"));
            }
            list.seen.push(name);
        }
        let list = &mut self.lists[i];
        list.offset = offset;
        if end && !list.broken {
            let missing: Vec<_> = list
                .stayed
                .iter()
                .filter(|n| !list.seen.contains(n))
                .collect();
            if !missing.is_empty() {
                return Err(format!(
                    "{missing:?} were there all the time and not listed"
                ));
            }
        }
        Ok(())
    }

    // --- ends

    fn disconnect(&mut self) {
        self.view = None;
        self.store = None;
        self.handles.clear();
        self.lists.clear();
        self.refs = Refs::default();
        self.absent.clear();
    }

    /// Ends the daemon, orderly or not, and starts another.
    pub fn remount(&mut self, kill: bool, look: bool) -> Checked {
        if look {
            self.look_deep()?;
        }
        if kill {
            self.disconnect();
            self.model.kill();
        } else {
            let (view, store) = (self.view(), self.store());
            view.shutdown();
            self.disconnect();
            drop(view);
            store
                .release()
                .map_err(|e| format!("releasing the store: {e:?}"))?;
            self.model.shut_down();
        }
        let options = ConnectOptions {
            wait: Duration::from_secs(10),
            ..ConnectOptions::default()
        };
        let begun = Instant::now();
        let store = loop {
            match Store::connect(&self.location, &options) {
                Ok(store) => break store,
                // The commit thread may hold the view for a moment.
                Err(konserve_fs::store::StoreError::InUse { .. })
                    if begun.elapsed() < options.wait =>
                {
                    std::thread::sleep(Duration::from_millis(1));
                }
                Err(e) => return Err(format!("connecting again: {e:?}")),
            }
        };
        self.start(store);
        self.begun = Instant::now();
        self.look_deep()
    }

    /// Closes and forgets everything: then the view knows nothing but the root.
    pub fn let_go(&mut self) -> Checked {
        self.look_deep()?;
        let view = self.view();
        while !self.handles.is_empty() {
            self.release(0)?;
        }
        for list in std::mem::take(&mut self.lists) {
            view.releasedir(list.fh)
                .map_err(|e| format!("releasedir: {e:?}"))?;
            self.model.release(list.id, false);
        }
        self.look_deep()?;
        for (ino, n) in std::mem::take(&mut self.refs).0 {
            view.forget(ino, n);
        }
        same(|| "what the view still knows".into(), view.known(), [0; 4])?;
        self.look_deep()
    }
}

fn is_api(step: &Step) -> bool {
    matches!(
        step,
        Step::Assoc { .. }
            | Step::AssocSame { .. }
            | Step::Update { .. }
            | Step::Dissoc { .. }
            | Step::ApiRename { .. }
            | Step::ApiSwap { .. }
            | Step::Fold
    )
}

/// What a sequence ends with that the model cannot follow.
pub const ABANDON: &str = "(the model cannot follow)";

fn access_flags(access: u8) -> (i32, bool, bool) {
    match access {
        0 => (libc::O_RDONLY, true, false),
        1 => (libc::O_WRONLY, false, true),
        _ => (libc::O_RDWR, true, true),
    }
}

/// Bytes as they are shown in messages.
#[derive(PartialEq)]
struct Shown(Vec<u8>);

impl std::fmt::Debug for Shown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{:?} of {} bytes",
            String::from_utf8_lossy(&self.0),
            self.0.len()
        )
    }
}
