//! Opening what a power loss left.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use konserve_fs::store::{ConnectOptions, CreateOptions, Finding, Location, Store, Watcher, check};
use konserve_fs::value::{Key, Value};

use crate::disk::Disk;
use crate::state::State;

/// Nothing takes this long but something that waits for ever.
const HANG: Duration = Duration::from_secs(120);

/// Panics of any thread; those that the store itself has caught count, too.
static PANICS: AtomicU64 = AtomicU64::new(0);

/// What opening an image gave: the state, by its number, or what is wrong.
pub type Outcome = Result<usize, String>;

/// Puts images onto a real filesystem in memory and opens them there.
pub struct Checker {
    dir: tempfile::TempDir,
    written: BTreeMap<PathBuf, Written>,
    seen: HashMap<blake3::Hash, Outcome>,
    /// All images, of all sequences.
    pub distinct: HashSet<blake3::Hash>,
    watch: mpsc::Sender<()>,
    /// What the watch says if it must.
    now: Arc<parking_lot::Mutex<String>>,
}

/// A file as it was put there.
struct Written {
    content: blake3::Hash,
    stamp: (u64, u64, i64, i64),
}

fn stamp(path: &Path) -> Option<(u64, u64, i64, i64)> {
    let meta = fs::metadata(path).ok()?;
    let ctime = (meta.ctime(), meta.ctime_nsec());
    Some((meta.ino(), meta.len(), ctime.0, ctime.1))
}

impl Checker {
    pub fn new() -> Self {
        let prefix = "kfs-image.";
        let dir = tempfile::Builder::new()
            .prefix(prefix)
            .tempdir_in("/dev/shm");
        let (watch, ticks) = mpsc::channel();
        let now = Arc::new(parking_lot::Mutex::new(String::new()));
        let what = Arc::clone(&now);
        thread::spawn(move || {
            loop {
                match ticks.recv_timeout(HANG) {
                    Ok(()) => {}
                    Err(mpsc::RecvTimeoutError::Disconnected) => return,
                    Err(mpsc::RecvTimeoutError::Timeout) => {
                        eprintln!("hangs: {}", what.lock());
                        std::process::abort();
                    }
                }
            }
        });
        Self {
            dir: dir.or_else(|_| tempfile::tempdir()).unwrap(),
            written: BTreeMap::new(),
            seen: HashMap::new(),
            distinct: HashSet::new(),
            watch,
            now,
        }
    }

    /// Another sequence begins.
    pub fn forget(&mut self) {
        self.seen.clear();
    }

    /// Does something whose states are others than those of the present sequence.
    pub fn apart<T>(&mut self, f: impl FnOnce(&mut Self) -> T) -> T {
        let seen = std::mem::take(&mut self.seen);
        let out = f(self);
        self.seen = seen;
        out
    }

    /// Lets `open` open an image, or says what it gave before.
    pub fn check(
        &mut self,
        image: &Disk,
        kind: &str,
        case: &str,
        open: impl FnOnce(&Location) -> Outcome,
    ) -> Outcome {
        let hash = image.hash();
        if let Some(outcome) = self.seen.get(&hash) {
            return outcome.clone();
        }
        self.distinct.insert(hash);
        self.materialise(image);
        case.clone_into(&mut self.now.lock());
        self.watch.send(()).unwrap();
        let place = self.dir.path().join("store");
        let location = Location::parse(&format!("{kind}:{}", place.display())).unwrap();
        let panics = PANICS.load(Ordering::Relaxed);
        let outcome = catch_unwind(AssertUnwindSafe(|| open(&location)));
        let mut outcome = outcome.unwrap_or_else(|_| Err("it panicked".to_owned()));
        if PANICS.load(Ordering::Relaxed) > panics {
            outcome = Err(format!("a thread panicked; else {outcome:?}"));
        }
        self.seen.insert(hash, outcome.clone());
        outcome
    }

    /// Makes the directory what the image is; what is there and untouched stays.
    fn materialise(&mut self, image: &Disk) {
        let base = self.dir.path().to_owned();
        let tree = image.tree();
        let mut written = std::mem::take(&mut self.written);
        sweep(
            &base,
            Path::new(""),
            &mut |path, is_dir| match tree.get(path) {
                Some(None) => is_dir,
                Some(Some(content)) => {
                    !is_dir
                        && written.get(path).is_some_and(|w| {
                            Some(w.stamp) == stamp(&base.join(path)) && w.content == content.hash()
                        })
                }
                None => false,
            },
        );
        for (path, content) in tree {
            let full = base.join(&path);
            let Some(content) = content else {
                if !full.is_dir() {
                    fs::create_dir_all(&full).unwrap();
                }
                continue;
            };
            if let Some(kept) = written.remove(&path)
                && full.exists()
            {
                self.written.insert(path, kept);
                continue;
            }
            let file = File::create(&full).unwrap();
            for (at, bytes) in content.parts() {
                file.write_all_at(bytes, at).unwrap();
            }
            file.set_len(content.len()).unwrap();
            drop(file);
            let stamp = stamp(&full).unwrap();
            let content = content.hash();
            self.written.insert(path, Written { content, stamp });
        }
    }
}

/// Removes what is not to be kept.
fn sweep(base: &Path, below: &Path, keep: &mut dyn FnMut(&Path, bool) -> bool) {
    let Ok(entries) = fs::read_dir(base.join(below)) else {
        return;
    };
    for entry in entries {
        let entry = entry.unwrap();
        let path = below.join(entry.file_name());
        let is_dir = entry.file_type().unwrap().is_dir();
        match (keep(&path, is_dir), is_dir) {
            (true, true) => sweep(base, &path, keep),
            (true, false) => {}
            (false, true) => fs::remove_dir_all(base.join(&path)).unwrap(),
            (false, false) => fs::remove_file(base.join(&path)).unwrap(),
        }
    }
}

/// Counts panics of all threads. One test at a time: it lasts until what this gives is dropped.
pub fn count_panics() -> parking_lot::MutexGuard<'static, ()> {
    static ONE: parking_lot::Mutex<()> = parking_lot::Mutex::new(());
    let alone = ONE.lock();
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        PANICS.fetch_add(1, Ordering::Relaxed);
        usual(info);
    }));
    alone
}

/// What is damaged.
#[derive(Default)]
pub struct Findings(pub Vec<Finding>);

impl Watcher for Findings {
    fn read(&mut self, _: u64) -> bool {
        true
    }

    fn found(&mut self, finding: Finding) {
        if !finding.harmless {
            self.0.push(finding);
        }
    }
}

/// Says which of these states a store is in. `thorough`: also writes to it, closes it and opens it
/// again.
pub fn open(location: &Location, states: &[State], thorough: bool) -> Outcome {
    let options = ConnectOptions::default();
    let store = Store::connect(location, &options).map_err(|e| format!("connect: {e}"))?;
    let found = State::of(&store).map_err(|e| format!("reading: {e}"))?;
    let number = states.iter().rposition(|state| *state == found);
    let number = number.ok_or_else(|| {
        let nearest = states.iter().min_by_key(|state| state.distance(&found));
        let difference = nearest.map(|state| state.difference(&found));
        format!("a state that never was: {}", difference.unwrap_or_default())
    })?;
    if thorough {
        // What is written now is written for good.
        let path = [Key::text("after the crash")];
        let fail = |e| format!("the store is of no use: {e}");
        store.assoc_in(&path, &Value::Bool(true)).map_err(fail)?;
        let before = State::of(&store).map_err(fail)?;
        store.release().map_err(fail)?;
        let mut findings = Findings::default();
        check(location, None, &mut findings).map_err(fail)?;
        if !findings.0.is_empty() {
            return Err(format!("damage: {:?}", findings.0));
        }
        let store = Store::connect(location, &options).map_err(fail)?;
        let after = State::of(&store).map_err(fail)?;
        if before != after {
            return Err(format!("changed by closing: {}", before.difference(&after)));
        }
        // No page is missed that was taken for one nobody needs.
        konserve_fs::gc::reclaim(&store).map_err(|e| format!("freeing: {e}"))?;
        let after = State::of(&store).map_err(fail)?;
        if before != after {
            return Err(format!("changed by freeing: {}", before.difference(&after)));
        }
    }
    Ok(number)
}

/// The same for a creation: there is the new store, or one can be created.
pub fn open_or_create(location: &Location, states: &[State], _thorough: bool) -> Outcome {
    match Store::connect(location, &ConnectOptions::default()) {
        Ok(store) => {
            let found = State::of(&store).map_err(|e| format!("reading: {e}"))?;
            if found != states[1] {
                return Err(format!(
                    "not what was created: {}",
                    states[1].difference(&found)
                ));
            }
            Ok(1)
        }
        Err(why) => {
            let created = Store::create(location, &CreateOptions::default());
            let store =
                created.map_err(|e| format!("neither a store ({why}) nor room for one: {e}"))?;
            let path = [Key::text("in the new store")];
            let fail = |e| format!("the new store is of no use: {e}");
            store.assoc_in(&path, &Value::Bool(true)).map_err(fail)?;
            Ok(0)
        }
    }
}
