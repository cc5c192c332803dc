//! A view without a mount, driven by paths.
#![allow(dead_code, reason = "not every case needs all of it")]

use std::sync::Arc;
use std::time::Duration;

use konserve_fs::store::{ConnectOptions, CreateOptions, Location, Store};
use konserve_fs::value::{Key, Value, edn};
use konserve_fs::view::{
    Attr, Caller, Ino, Invalidate, ROOT, SetAttr, SetTime, Time, View, ViewError, ViewOptions,
};
use parking_lot::Mutex;

pub const CALLER: Caller = Caller {
    uid: 0,
    gid: 0,
    pid: 1,
};

/// A store with a view of it.
pub struct Side {
    pub store: Store,
    pub view: Arc<View>,
    options: ViewOptions,
    dir: tempfile::TempDir,
}

/// A directory whose syncs cost nothing, if there is one.
pub fn temporary() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .unwrap()
}

pub fn v(text: &str) -> Value {
    edn::parse(text).unwrap()
}

/// The names of a path as text keys, numbers as indexes.
pub fn keys(path: &str) -> Vec<Key> {
    let key = |name: &str| name.parse().map_or_else(|_| Key::text(name), Key::index);
    path.split('/').map(key).collect()
}

/// The names that the kernel is told of.
type Told = Arc<Mutex<Vec<(Ino, String)>>>;

struct Listener(Told);

impl Invalidate for Listener {
    fn inode(&self, _: Ino) {}
    fn entry(&self, parent: Ino, name: &[u8]) {
        let name = String::from_utf8(name.to_vec()).unwrap();
        self.0.lock().push((parent, name));
    }
}

impl Side {
    /// Listens to what the kernel is told.
    pub fn listen(&self) -> Told {
        let told = Told::default();
        self.view
            .set_invalidator(Box::new(Listener(Arc::clone(&told))));
        told
    }

    pub fn new() -> Self {
        Self::with(ViewOptions::default())
    }

    pub fn with(options: ViewOptions) -> Self {
        let dir = temporary();
        let location = Self::location(&dir);
        let store = Store::create(&location, &CreateOptions::default()).unwrap();
        let view = View::new(store.clone(), options).unwrap();
        Self {
            store: store.unsynced(),
            view,
            options,
            dir,
        }
    }

    fn location(dir: &tempfile::TempDir) -> Location {
        Location::parse(dir.path().join("store").to_str().unwrap()).unwrap()
    }

    /// Another daemon after this one was killed.
    pub fn killed(self) -> Self {
        let Self {
            store,
            view,
            options,
            dir,
        } = self;
        drop(view);
        drop(store);
        let wait = ConnectOptions {
            wait: Duration::from_secs(10),
            ..ConnectOptions::default()
        };
        let store = Store::connect(&Self::location(&dir), &wait).unwrap();
        let view = View::new(store.clone(), options).unwrap();
        Self {
            store: store.unsynced(),
            view,
            options,
            dir,
        }
    }

    pub fn try_lookup(&self, path: &str) -> Result<Attr, ViewError> {
        let mut attr = self.view.getattr(ROOT, None)?;
        for name in path.split('/').filter(|n| !n.is_empty()) {
            attr = self.view.lookup(&CALLER, attr.ino, name.as_bytes())?;
        }
        Ok(attr)
    }

    #[track_caller]
    pub fn attr(&self, path: &str) -> Attr {
        self.try_lookup(path).unwrap()
    }

    #[track_caller]
    pub fn ino(&self, path: &str) -> Ino {
        self.attr(path).ino
    }

    /// The directory of a path and the name in it.
    #[track_caller]
    fn split<'p>(&self, path: &'p str) -> (Ino, &'p [u8]) {
        let (dir, name) = path.rsplit_once('/').unwrap_or(("", path));
        (self.ino(dir), name.as_bytes())
    }

    /// A new file, open for reading and writing.
    #[track_caller]
    pub fn create(&self, path: &str) -> u64 {
        let (dir, name) = self.split(path);
        let flags = libc::O_RDWR | libc::O_CREAT | libc::O_EXCL;
        let made = self.view.create(&CALLER, dir, name, 0o644, 0o022, flags);
        made.unwrap().1.fh
    }

    #[track_caller]
    pub fn open(&self, path: &str, flags: i32) -> u64 {
        self.view.open(&CALLER, self.ino(path), flags).unwrap().fh
    }

    #[track_caller]
    pub fn write(&self, fh: u64, at: u64, data: &str) {
        self.view
            .write(&CALLER, fh, at, data.as_bytes(), false)
            .unwrap();
    }

    #[track_caller]
    pub fn close(&self, fh: u64) {
        self.view.flush(fh).unwrap();
        self.view.release(fh).unwrap();
    }

    #[track_caller]
    pub fn read_from(&self, fh: u64) -> String {
        String::from_utf8(self.view.read(fh, 0, 1 << 20).unwrap()).unwrap()
    }

    /// Writes a whole file, new or not, as a shell does.
    #[track_caller]
    pub fn put(&self, path: &str, data: &str) {
        let fh = match self.try_lookup(path) {
            Ok(attr) => {
                let flags = libc::O_WRONLY | libc::O_TRUNC;
                self.view.open(&CALLER, attr.ino, flags).unwrap().fh
            }
            Err(_) => self.create(path),
        };
        self.write(fh, 0, data);
        self.close(fh);
    }

    #[track_caller]
    pub fn read(&self, path: &str) -> String {
        let fh = self.open(path, libc::O_RDONLY);
        let text = self.read_from(fh);
        self.close(fh);
        text
    }

    #[track_caller]
    pub fn mkdir(&self, path: &str) {
        let (dir, name) = self.split(path);
        self.view.mkdir(&CALLER, dir, name, 0o755, 0o022).unwrap();
    }

    pub fn unlink(&self, path: &str) -> Result<(), ViewError> {
        let (dir, name) = self.split(path);
        self.view.unlink(&CALLER, dir, name)
    }

    pub fn rmdir(&self, path: &str) -> Result<(), ViewError> {
        let (dir, name) = self.split(path);
        self.view.rmdir(&CALLER, dir, name)
    }

    pub fn rename(&self, from: &str, to: &str) -> Result<(), ViewError> {
        let ((dir, name), (to_dir, to_name)) = (self.split(from), self.split(to));
        self.view.rename(&CALLER, dir, name, to_dir, to_name, 0)
    }

    pub fn link(&self, from: &str, to: &str) -> Result<Attr, ViewError> {
        let (ino, (dir, name)) = (self.ino(from), self.split(to));
        self.view.link(&CALLER, ino, dir, name)
    }

    pub fn set_type(&self, path: &str, name: &str) -> Result<(), ViewError> {
        let (ino, name) = (self.ino(path), name.as_bytes());
        self.view
            .setxattr(&CALLER, ino, b"user.kfs.type", name, 0, 0)
    }

    #[track_caller]
    pub fn type_of(&self, path: &str) -> String {
        let found = self
            .view
            .getxattr(&CALLER, self.ino(path), b"user.kfs.type");
        String::from_utf8(found.unwrap()).unwrap()
    }

    #[track_caller]
    pub fn touch(&self, path: &str, secs: i64) {
        let set = SetAttr {
            mtime: Some(SetTime::At(Time { secs, nanos: 0 })),
            ..SetAttr::default()
        };
        self.view.setattr(&CALLER, self.ino(path), &set).unwrap();
    }

    #[track_caller]
    pub fn truncate(&self, path: &str, size: u64) -> Result<Attr, ViewError> {
        let set = SetAttr {
            size: Some(size),
            ..SetAttr::default()
        };
        self.view.setattr(&CALLER, self.ino(path), &set)
    }

    #[track_caller]
    pub fn chmod(&self, ino: Ino, mode: u32) {
        let set = SetAttr {
            mode: Some(mode),
            ..SetAttr::default()
        };
        self.view.setattr(&CALLER, ino, &set).unwrap();
    }

    /// The names in a directory.
    #[track_caller]
    pub fn names(&self, path: &str) -> Vec<String> {
        let fh = self.view.opendir(&CALLER, self.ino(path)).unwrap();
        let mut names = Vec::new();
        self.view
            .readdir(fh, 0, false, &mut |item| {
                names.push(String::from_utf8(item.name.to_vec()).unwrap());
                false
            })
            .unwrap();
        self.view.releasedir(fh).unwrap();
        names.retain(|n| n != "." && n != "..");
        names.sort();
        names
    }

    /// The value that the store has at a path.
    #[track_caller]
    pub fn get(&self, path: &str) -> Option<Value> {
        self.store.get_in(&keys(path)).unwrap()
    }

    /// Writes a value through the API.
    #[track_caller]
    pub fn assoc(&self, path: &str, value: &str) {
        self.store.assoc_in(&keys(path), &v(value)).unwrap();
    }

    #[track_caller]
    pub fn dissoc(&self, path: &str) {
        assert!(self.store.dissoc_in(&keys(path)).unwrap(), "nothing there");
    }
}
