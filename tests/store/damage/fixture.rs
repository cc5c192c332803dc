//! A small store in which there is something of everything that can be damaged.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use konserve_fs::backend::embedded::{Access, Embedded, LOCK_FILE};
use konserve_fs::backend::file::Files;
use konserve_fs::backend::{Backend, Deadline};
use konserve_fs::store::{ConnectOptions, CreateOptions, Location, Store};
use konserve_fs::value::{Key, Value, cbor, edn};

/// What the store is kept in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Embedded,
    Files,
}

impl Kind {
    pub fn all() -> &'static [Self] {
        &[Self::Embedded, Self::Files]
    }

    pub fn location(self, dir: &Path) -> Location {
        match self {
            Self::Embedded => Location::Embedded(dir.to_owned()),
            Self::Files => Location::parse(&format!("file:{}", dir.display())).unwrap(),
        }
    }

    /// The blobs of a store that nobody uses, for changing.
    pub fn backend(self, dir: &Path) -> Box<dyn Backend> {
        match self {
            Self::Embedded => {
                Box::new(Embedded::open(dir, Access::ReadWrite, Duration::from_secs(10)).unwrap())
            }
            Self::Files => {
                Box::new(Files::open(dir, Access::ReadWrite, Duration::from_secs(10)).unwrap())
            }
        }
    }

    /// Has the storage write its files out as it does when there is enough.
    fn checkpoint(self, dir: &Path) {
        match self {
            Self::Embedded => {
                let open = || Embedded::open(dir, Access::ReadWrite, Duration::from_secs(10));
                open().unwrap().checkpoint().unwrap();
                // Opening again leaves out of the log what is in tables.
                drop(open().unwrap());
            }
            Self::Files => {
                let open = Files::open(dir, Access::ReadWrite, Duration::from_secs(10));
                open.unwrap().settle(soon()).unwrap();
            }
        }
    }
}

pub type State = BTreeMap<Key, Value>;

/// The store as it lies on disk, with acknowledged operations in its journal.
pub struct Fixture {
    pub kind: Kind,
    /// Contents of all files but the lock, by name.
    pub files: BTreeMap<PathBuf, Vec<u8>>,
    /// Blobs by address.
    pub blobs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Every value that each key ever had.
    pub history: BTreeMap<Key, Vec<Value>>,
    /// What is in it after what is folded, and then after each operation of the journal.
    pub states: Vec<State>,
}

pub fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(60))
}

/// Bytes that do not compress.
fn noise(seed: u8, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new_keyed(&[seed; 32])
        .finalize_xof()
        .fill(&mut bytes);
    bytes
}

fn v(text: &str) -> Value {
    edn::parse(text).unwrap()
}

/// What was put, and all that ever was.
#[derive(Default)]
struct Written {
    state: State,
    history: Vec<State>,
}

fn put(store: &Store, written: &mut Written, key: &str, value: Value) {
    let key = Key::new(&v(key));
    store.assoc(&key, &value).unwrap();
    written.state.insert(key, value);
    written.history.push(written.state.clone());
}

fn everything(store: &Store) -> State {
    let keys = store.keys();
    keys.map(|found| {
        let key = found.unwrap().0;
        let value = store.get(&key).unwrap().unwrap();
        (key, value)
    })
    .collect()
}

impl Fixture {
    /// Makes it in `dir`, where workers find it.
    pub fn build(kind: Kind, dir: &Path) -> Self {
        let work = dir.join("work");
        let location = kind.location(&work);
        let connect = || Store::connect(&location, &ConnectOptions::default()).unwrap();
        let mut state = Written::default();

        let store = Store::create(&location, &CreateOptions::default()).unwrap();
        let leaves = |from: usize, to: usize| {
            let leaves: String = (from..to).map(|n| format!("{n} \"leaf {n}\" ")).collect();
            v(&format!("{{{leaves}}}"))
        };
        put(&store, &mut state, "\"map\"", leaves(0, 150));
        put(&store, &mut state, "\"gone\"", v("[1 2 3]"));
        put(
            &store,
            &mut state,
            "\"noise\"",
            Value::Bytes(noise(1, 4500)),
        );
        put(
            &store,
            &mut state,
            ":kw/a",
            v("{:deep {:er [1 {:x #{1 2}} nil 2.5]}}"),
        );
        put(&store, &mut state, "7", v("(1 :two \"three\")"));
        store.release().unwrap();
        kind.checkpoint(&work);

        let store = connect();
        let text = "a text that is longer than what stands inline. ".repeat(12);
        put(&store, &mut state, "\"text\"", Value::Text(text));
        let pattern: Vec<u8> = (0..150_000_u32).map(|n| (n / 40_000) as u8).collect();
        put(&store, &mut state, "\"chunks\"", Value::Bytes(pattern));
        let vector: String = (0..90).map(|n| format!("{{:n {n}}} ")).collect();
        put(&store, &mut state, "\"vector\"", v(&format!("[{vector}]")));
        put(
            &store,
            &mut state,
            "\"noise\"",
            Value::Bytes(noise(2, 4300)),
        );
        put(
            &store,
            &mut state,
            "\"packed\"",
            Value::Bytes(noise(3, 8300)),
        );
        store.dissoc(&Key::text("gone")).unwrap();
        state.state.remove(&Key::text("gone"));
        store.release().unwrap();
        kind.checkpoint(&work);

        let store = connect();
        put(
            &store,
            &mut state,
            "\"small\"",
            v("#inst \"2020-01-01T00:00:00Z\""),
        );
        put(&store, &mut state, "\"map\"", leaves(10, 170));
        store.settle().unwrap();

        let mut states = vec![state.state.clone()];
        let fast = store.unsynced();
        let operations: [(&Store, &str, Value); 6] = [
            (&store, "\"new\"", v("{:a 1}")),
            (&store, "\"text\"", v("\"short\"")),
            (&store, "7", v("8")),
            (&store, "\"list\"", leaves(0, 60)),
            (&fast, "\"new\"", v("{:a 2}")),
            (&fast, "\"last\"", v("true")),
        ];
        for (store, key, value) in operations {
            put(store, &mut state, key, value);
            states.push(state.state.clone());
        }
        // As a kill would leave it: nothing of that is folded yet.
        let image = dir.join("image");
        copy_all(&work, &image);
        assert_eq!(everything(&store), state.state);
        drop((store, fast));
        let _lock = fs::remove_file(image.join(LOCK_FILE));
        trim(&image);
        for (name, states) in [("states", &states), ("history", &state.history)] {
            let encoded: Vec<Value> = states.iter().map(as_value).collect();
            fs::write(dir.join(name), cbor::encode(&Value::Vector(encoded))).unwrap();
        }
        Self::load(kind, dir)
    }

    pub fn load(kind: Kind, dir: &Path) -> Self {
        let image = dir.join("image");
        let mut files = BTreeMap::new();
        for name in walk(&image) {
            files.insert(name.clone(), fs::read(image.join(name)).unwrap());
        }
        let read = |name: &str| -> Vec<State> {
            match cbor::decode(&fs::read(dir.join(name)).unwrap()).unwrap() {
                Value::Vector(states) => states.iter().map(as_state).collect(),
                _ => panic!("no states"),
            }
        };
        let states = read("states");
        let mut history: BTreeMap<Key, Vec<Value>> = BTreeMap::new();
        for (key, value) in read("history").into_iter().flatten() {
            let values = history.entry(key).or_default();
            if values.last() != Some(&value) {
                values.push(value);
            }
        }
        let copy = dir.join(format!("blobs-{}", std::process::id()));
        copy_all(&image, &copy);
        let backend = kind.backend(&copy);
        let addresses = backend.list(b"", None, usize::MAX, soon()).unwrap();
        let blob = |address: Vec<u8>| {
            let bytes = backend.get(&address, soon()).unwrap().unwrap().bytes;
            (address, bytes)
        };
        let blobs = addresses.into_iter().map(blob).collect();
        drop(backend);
        fs::remove_dir_all(copy).unwrap();
        Self {
            kind,
            files,
            blobs,
            history,
            states,
        }
    }

    /// Writes the store into `dir`.
    pub fn write(&self, dir: &Path) {
        for (name, content) in &self.files {
            let path = dir.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
    }
}

fn as_value(state: &State) -> Value {
    let pairs = state
        .iter()
        .map(|(key, value)| (key.clone(), value.clone()));
    Value::Map(pairs.collect())
}

fn as_state(value: &Value) -> State {
    let Value::Map(pairs) = value else {
        panic!("no state");
    };
    pairs.iter().map(|(k, v)| (k.clone(), v.clone())).collect()
}

/// Cuts off the space that logs have reserved behind their end.
fn trim(dir: &Path) {
    for name in walk(dir) {
        if name
            .extension()
            .is_none_or(|extension| extension != "journal")
        {
            continue;
        }
        let content = fs::read(dir.join(&name)).unwrap();
        let end = content
            .iter()
            .rposition(|byte| *byte != 0)
            .map_or(0, |at| at + 1);
        let file = fs::OpenOptions::new()
            .write(true)
            .open(dir.join(&name))
            .unwrap();
        file.set_len((end.next_multiple_of(8) + 64) as u64).unwrap();
    }
}

/// All files below `dir`, by their names from there.
pub fn walk(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut todo = vec![PathBuf::new()];
    while let Some(below) = todo.pop() {
        for entry in fs::read_dir(dir.join(&below)).unwrap() {
            let entry = entry.unwrap();
            let name = below.join(entry.file_name());
            if entry.file_type().unwrap().is_dir() {
                todo.push(name);
            } else {
                found.push(name);
            }
        }
    }
    found.sort();
    found
}

pub fn copy_all(from: &Path, to: &Path) {
    for name in walk(from) {
        let target = to.join(&name);
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::copy(from.join(name), target).unwrap();
    }
}
