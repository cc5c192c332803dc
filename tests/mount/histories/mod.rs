//! What several do with one value at the same time, through the API or through files, could have been
//! done one after the other (it is *linearizable*). When some use the API and some files, that holds
//! for all that they write and for what is read through the API. Of what is read through files
//! beside it less holds, for the kernel answers from its own memory and is told of a change, or
//! comes to know that its own is done, only after those who use the API may see it: nothing is read
//! that was overwritten by something that had been acknowledged before, or that nobody wrote.
//!
//! A file is written as programs do that want it whole: another file, closed, moved over it. It is
//! read from beginning to end. `KFS_HISTORIES` says how many there are in all, over all storages;
//! `KFS_SEED` repeats what was done, though not who was faster.

mod order;

use std::fs;
use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use konserve_fs::backend::library::Library;
use konserve_fs::backend::tiered::Writes;
use konserve_fs::fuse::{Invalidator, MountOptions, Session, Stopper};
use konserve_fs::store::{
    ConnectOptions, Copied, CreateOptions, Done, FrontOptions, Location, Store,
};
use konserve_fs::value::{Key, Value};
use konserve_fs::view::{View, ViewOptions};

use crate::harness::{detach, save};
use crate::random::{Random, number, seed};
use order::{Action, Event, State, has_order};

/// Those who do something at the same time.
const ACTORS: usize = 3;
/// How many there are over all storages, unless told otherwise.
const HISTORIES: u64 = 420;
const LONG: Duration = Duration::from_secs(20);

const STORAGES: [&str; 7] = ["mem", "file", "kfs", "lmdb", "rocksdb", "front", "overlay"];

/// Who uses the API; the others use files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ways {
    Api,
    Files,
    Both,
}

impl Ways {
    fn is_api(self, actor: usize) -> bool {
        match self {
            Self::Api => true,
            Self::Files => false,
            Self::Both => actor.is_multiple_of(2),
        }
    }

    /// Actions of one actor in a history: what takes longer need not be done as often.
    fn actions(self) -> usize {
        match self {
            Self::Api => 20,
            Self::Files | Self::Both => 6,
        }
    }
}

/// A store of one kind, mounted by this process.
struct Bench {
    store: Store,
    point: PathBuf,
    invalidator: Invalidator,
    stopper: Stopper,
    served: Option<thread::JoinHandle<()>>,
    _dir: tempfile::TempDir,
}

impl Bench {
    /// `None` if its storage is not built in.
    fn new(storage: &str) -> Option<Self> {
        let library = Library::ALL
            .into_iter()
            .find(|library| library.name() == storage);
        if library.is_some_and(|library| !library.is_built()) {
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let place = match storage {
            "mem" => "mem:".to_owned(),
            "front" | "overlay" => format!("file:{}", dir.path().join("store").display()),
            other => format!("{other}:{}", dir.path().join("store").display()),
        };
        let place = Location::parse(&place).unwrap();
        let mut store = Store::create(&place, &CreateOptions::default()).unwrap();
        let done = match storage {
            "front" => Some(Done::InStore),
            "overlay" => Some(Done::OnlyInFront),
            _ => None,
        };
        if let Some(done) = done {
            store.release().unwrap();
            let options = ConnectOptions {
                front: Some(FrontOptions {
                    dir: dir.path().join("front"),
                    writes: Writes::Through,
                    done,
                    size: None,
                    copies: Copied::AsUsed,
                }),
                cache: Some(0),
                ..ConnectOptions::default()
            };
            store = Store::connect(&place, &options).unwrap();
        }
        let store = store.unsynced();
        let point = dir.path().join("mnt");
        fs::create_dir(&point).unwrap();
        let view = View::new(store.clone(), ViewOptions::default()).unwrap();
        let session = Session::mount(view, &point, &MountOptions::default()).unwrap();
        let (invalidator, stopper) = (session.invalidator(), session.stopper());
        let served = thread::spawn(move || session.serve(|| ()).unwrap());
        fs::create_dir(point.join("dir")).unwrap();
        Some(Self {
            store,
            point,
            invalidator,
            stopper,
            served: Some(served),
            _dir: dir,
        })
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.stopper.stop();
        detach(&self.point);
        if let Some(served) = self.served.take() {
            let _ = served.join();
        }
    }
}

/// One history: who does what with a value that is not there yet.
struct Round<'b> {
    bench: &'b Bench,
    ways: Ways,
    path: Vec<Key>,
    file: PathBuf,
    clock: AtomicU64,
    ready: AtomicUsize,
}

impl<'b> Round<'b> {
    /// Under a key of its own, or within a document in which the others are, too.
    fn new(bench: &'b Bench, ways: Ways, number: u64) -> Self {
        let name = format!("h{number}");
        let (path, file) = if number.is_multiple_of(2) {
            (vec![Key::text(&name)], bench.point.join(&name))
        } else {
            let path = vec![Key::text("dir"), Key::text(&name)];
            (path, bench.point.join("dir").join(&name))
        };
        Self {
            bench,
            ways,
            path,
            file,
            clock: AtomicU64::new(0),
            ready: AtomicUsize::new(0),
        }
    }

    fn run(&self, random: &mut Random) -> Vec<Event> {
        let seeds: Vec<u64> = (0..ACTORS).map(|_| random.next()).collect();
        thread::scope(|scope| {
            let actors: Vec<_> = seeds
                .into_iter()
                .enumerate()
                .map(|(actor, seed)| scope.spawn(move || self.act(actor, Random::new(seed))))
                .collect();
            let events = actors.into_iter().map(|actor| actor.join().unwrap());
            events.flatten().collect()
        })
    }

    fn act(&self, actor: usize, mut random: Random) -> Vec<Event> {
        // Nobody is to be done before the others have begun.
        self.ready.fetch_add(1, Ordering::SeqCst);
        while self.ready.load(Ordering::SeqCst) < ACTORS {
            thread::yield_now();
        }
        let is_api = self.ways.is_api(actor);
        let count = self.ways.actions();
        let mut events = Vec::with_capacity(count);
        for number in 0..count {
            let new = u32::try_from(1 + actor * count + number).unwrap();
            let what = random.below(if is_api { 10 } else { 8 });
            let begun = self.clock.fetch_add(1, Ordering::SeqCst);
            let action = if is_api {
                self.through_api(what, new)
            } else {
                self.through_files(what, new)
            };
            let ended = self.clock.fetch_add(1, Ordering::SeqCst);
            events.push(Event {
                actor,
                begun,
                ended,
                action,
            });
        }
        events
    }

    fn through_api(&self, what: usize, new: u32) -> Action {
        let (store, path) = (&self.bench.store, &self.path);
        let value = Value::Text(text(new));
        let action = match what {
            0..=3 => Action::Read(state(store.get_in(path).unwrap().as_ref())),
            4..=6 => {
                store.assoc_in(path, &value).unwrap();
                Action::Put(Some(new))
            }
            7 => Action::Remove {
                existed: store.dissoc_in(path).unwrap(),
            },
            _ => {
                let change = store
                    .update_in(path, |_| Ok::<_, io::Error>(value.clone()))
                    .unwrap();
                Action::Swap {
                    old: state(change.old.as_ref()),
                    new,
                }
            }
        };
        if self.ways != Ways::Api {
            // Who uses the API beside files waits for the kernel, as the daemon does for its clients.
            self.bench.invalidator.flush(LONG).unwrap();
        }
        action
    }

    fn read(&self) -> State {
        loop {
            match fs::read_to_string(&self.file) {
                Ok(text) => match text.trim_end().parse() {
                    Ok(seen) => return Some(seen),
                    Err(_) => panic!("{text:?} was read"),
                },
                Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
                // The kernel has looked twice, and each time the API had put another file there.
                Err(error) if error.kind() == io::ErrorKind::StaleNetworkFileHandle => {
                    assert_eq!(self.ways, Ways::Both);
                }
                Err(error) => panic!("{error}"),
            }
        }
    }

    fn replace(&self, new: u32) {
        let temporary = self.file.with_extension(format!("new{new}"));
        save(&temporary, format!("{}\n", text(new)).as_bytes()).unwrap();
        fs::rename(&temporary, &self.file).unwrap();
    }

    fn through_files(&self, what: usize, new: u32) -> Action {
        match what {
            0..=3 => Action::Read(self.read()),
            4..=6 => {
                self.replace(new);
                Action::Put(Some(new))
            }
            _ => match fs::remove_file(&self.file) {
                Ok(()) => Action::Remove { existed: true },
                Err(error) => {
                    assert_eq!(error.kind(), io::ErrorKind::NotFound, "{error}");
                    Action::Remove { existed: false }
                }
            },
        }
    }
}

/// What stands for a number: not always as long, so that nothing may be one cut off or filled up.
fn text(number: u32) -> String {
    number.to_string()
}

fn state(value: Option<&Value>) -> State {
    value.map(|value| match value {
        Value::Text(text) => text.parse().unwrap(),
        other => panic!("{other:?}"),
    })
}

/// Whether all is as it should be.
fn judge(ways: Ways, events: &[Event]) -> Result<(), String> {
    let from_kernel = |event: &&Event| {
        let looks = matches!(
            event.action,
            Action::Read(_) | Action::Remove { existed: false }
        );
        ways == Ways::Both && !ways.is_api(event.actor) && looks
    };
    let (looks, others): (Vec<&Event>, Vec<&Event>) = events.iter().partition(from_kernel);
    let others: Vec<Event> = others.into_iter().copied().collect();
    if !has_order(&others) {
        return Err("it has no order".to_owned());
    }
    let writes = others.iter().filter_map(|event| {
        let action = event.action.blind()?;
        Some(Event { action, ..*event })
    });
    let writes: Vec<Event> = writes.collect();
    for look in looks {
        let mut with: Vec<Event> = writes.clone();
        with.push(*look);
        if !has_order(&with) {
            return Err(format!(
                "what was seen from {} on is out of date",
                look.begun
            ));
        }
    }
    Ok(())
}

/// A line for each event: from when to when who did what.
fn show(ways: Ways, events: &[Event]) -> String {
    let line = |event: &Event| {
        let way = if ways.is_api(event.actor) {
            "API"
        } else {
            "file"
        };
        let (begun, ended) = (event.begun, event.ended);
        format!(
            "{begun:3} to {ended:3}, {} {way}: {:?}\n",
            event.actor, event.action
        )
    };
    events.iter().map(line).collect()
}

/// Runs histories in a new store, and says in how many of them several acted at the same time.
fn run(storage: &str, ways: Ways, histories: u64, random: &mut Random) -> Option<u64> {
    let bench = Bench::new(storage)?;
    let done = AtomicBool::new(false);
    let mut overlapping = 0;
    thread::scope(|scope| {
        // All the while what was written goes from the journal into pages and records.
        let folding = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                bench.store.fold_now().unwrap();
                thread::sleep(Duration::from_millis(1));
            }
        });
        let all = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for number in 0..histories {
                let mut events = Round::new(&bench, ways, number).run(random);
                events.sort_by_key(|event| event.begun);
                if let Err(why) = judge(ways, &events) {
                    panic!(
                        "{storage}, {ways:?}, history {number}: {why}:\n{}",
                        show(ways, &events)
                    );
                }
                overlapping += u64::from(events.windows(2).any(|two| two[1].begun < two[0].ended));
            }
        }));
        done.store(true, Ordering::Relaxed);
        folding.join().unwrap();
        if let Err(failure) = all {
            std::panic::resume_unwind(failure);
        }
    });
    Some(overlapping)
}

#[test]
fn every_history_of_a_value_has_an_order() {
    let mut random = Random::new(seed());
    let cells = STORAGES.len() as u64 * 3;
    let each = number("KFS_HISTORIES").unwrap_or(HISTORIES).div_ceil(cells);
    let (mut all, mut overlapping) = (0, 0);
    for storage in STORAGES {
        for ways in [Ways::Api, Ways::Files, Ways::Both] {
            match run(storage, ways, each, &mut random) {
                Some(count) => {
                    println!("{storage}, {ways:?}: {each} histories, {count} with overlap");
                    all += each;
                    overlapping += count;
                }
                None => println!("{storage} is not built in"),
            }
        }
    }
    assert!(
        overlapping * 2 > all,
        "in {overlapping} of {all} histories several acted at the same time"
    );
}

/// While the daemon wakes those who watch a file it has it open for writing, as it seems.
#[test]
fn who_reads_keeps_what_was_opened_while_watchers_are_woken() {
    let bench = Bench::new("mem").unwrap();
    let (path, file) = ([Key::text("f")], bench.point.join("f"));
    let put = |text: &str| bench.store.assoc_in(&path, &Value::Text(text.to_owned()));
    put("0").unwrap();
    let mut kept = 0;
    for number in 0..300 {
        bench.invalidator.flush(LONG).unwrap();
        assert!(file.exists());
        put(&format!("{number}, opened")).unwrap();
        let opened = fs::File::open(&file);
        put(&format!("{number}")).unwrap();
        let mut opened = match opened {
            Err(error) if error.kind() == io::ErrorKind::StaleNetworkFileHandle => continue,
            opened => opened.unwrap(),
        };
        let mut seen = String::new();
        opened.read_to_string(&mut seen).unwrap();
        assert_eq!(seen, format!("{number}, opened\n"));
        kept += 1;
    }
    assert!(kept > 100, "only {kept} could be opened");
}
