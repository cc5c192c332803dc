//! A store on the recorded disk, and the steps of a sequence on it.

use std::sync::Arc;
use std::time::Duration;

use konserve_fs::store::{ConnectOptions, CreateOptions, Location, Store};
use konserve_fs::view::{View, ViewOptions};

use crate::disk::Disk;
use crate::mount::{Event, Mount};
use crate::state::State;

/// What happened on a disk, and what the store was meanwhile.
#[derive(Debug)]
pub struct Recorded {
    /// The kind of store.
    pub kind: &'static str,
    pub base: Disk,
    pub log: Vec<Event>,
    /// The states of the store, the first one that of `base`.
    pub states: Vec<State>,
    /// The steps, for a person.
    pub steps: Vec<String>,
}

/// An open store with a view of it.
pub struct Session {
    /// Its writes wait for the disk.
    pub store: Store,
    pub view: Arc<View>,
}

impl Session {
    pub fn connect(location: &Location) -> Self {
        let wait = ConnectOptions {
            wait: Duration::from_secs(10),
            ..ConnectOptions::default()
        };
        Self::over(Store::connect(location, &wait).unwrap())
    }

    /// Closes the store without folding.
    pub fn close(self) {
        drop(self.view);
        drop(self.store);
    }

    fn over(store: Store) -> Self {
        let view = View::new(store.clone(), ViewOptions::default()).unwrap();
        Self { store, view }
    }
}

/// What a step does for those before it and itself.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Nothing.
    Later,
    /// All is synced when it returns.
    Synced,
    /// The same, unless it was refused.
    SyncedIfDone,
}

/// A sequence under way.
pub struct Run<'m> {
    mount: &'m Mount,
    kind: &'static str,
    location: Location,
    session: Option<Session>,
    base: Disk,
    states: Vec<State>,
    steps: Vec<String>,
    synced: usize,
    seq: u64,
}

/// Where a store of a kind (`kfs`, `file`) is on the recorded disk.
pub fn location(mount: &Mount, kind: &str) -> Location {
    Location::parse(&format!("{kind}:{}", mount.store().display())).unwrap()
}

impl<'m> Run<'m> {
    /// A new store on an empty disk. The creation is the first step.
    pub fn create(mount: &'m Mount, kind: &'static str) -> Self {
        mount.load(Disk::new());
        let location = location(mount, kind);
        mount.mark(Event::Begin);
        let store = Store::create(&location, &CreateOptions::default()).unwrap();
        let states = vec![State::default(), State::of(&store).unwrap()];
        let mut run = Self {
            mount,
            kind,
            location,
            base: Disk::new(),
            states,
            steps: Vec::new(),
            synced: 0,
            seq: store.last_seq(),
            session: Some(Session::over(store)),
        };
        run.end("create".to_owned(), true);
        run
    }

    /// The store that is on a disk. All of it is durable.
    pub fn open(mount: &'m Mount, kind: &'static str, disk: Disk) -> Self {
        mount.load(disk);
        let location = location(mount, kind);
        let session = Session::connect(&location);
        // Opening has synced what there is.
        drop(mount.take_log());
        Self {
            mount,
            kind,
            location,
            base: mount.disk(),
            states: vec![State::of(&session.store).unwrap()],
            steps: Vec::new(),
            synced: 0,
            seq: session.store.last_seq(),
            session: Some(session),
        }
    }

    pub fn session(&self) -> &Session {
        self.session.as_ref().unwrap()
    }

    /// One step, which makes one state at most.
    pub fn step<T>(
        &mut self,
        name: impl Into<String>,
        durability: Durability,
        f: impl FnOnce(&Session) -> T,
    ) -> T {
        self.attempt(name, f, |_, done| match durability {
            Durability::Later => false,
            Durability::Synced => true,
            Durability::SyncedIfDone => done,
        })
    }

    /// One step; `synced` says from its outcome, and whether there is a new state, whether it has
    /// promised that all is synced.
    pub fn attempt<T>(
        &mut self,
        name: impl Into<String>,
        f: impl FnOnce(&Session) -> T,
        synced: impl FnOnce(&T, bool) -> bool,
    ) -> T {
        self.mount.mark(Event::Begin);
        let session = self.session.as_ref().unwrap();
        let out = f(session);
        let seq = session.store.last_seq();
        let name = name.into();
        assert!(seq <= self.seq + 1, "{name} is {} records", seq - self.seq);
        let done = seq > self.seq;
        if done {
            let state = State::of(&session.store).unwrap();
            // What nobody sees, such as the beginning of a transaction, makes no other state.
            if self.states.last() != Some(&state) {
                self.states.push(state);
            }
        }
        self.seq = seq;
        self.end(name, synced(&out, done));
        out
    }

    /// The next sync but so many fails, as the kernel lets one fail: what it should have written is
    /// taken for written afterwards. `None`: none does.
    pub fn fail_sync(&self, after: Option<u32>) {
        self.mount.fail_sync(after);
    }

    fn end(&mut self, name: String, synced: bool) {
        if synced {
            self.synced = self.states.len() - 1;
        }
        self.steps.push(name);
        self.mount.mark(Event::End {
            states: self.states.len() - 1,
            synced: self.synced,
        });
    }

    /// Closes the store and opens it again.
    pub fn reopen(&mut self, released: bool) {
        self.mount.mark(Event::Begin);
        let session = self.session.take().unwrap();
        if released {
            session.view.shutdown();
            drop(session.view);
            session.store.release().unwrap();
        } else {
            session.close();
        }
        let session = Session::connect(&self.location);
        let state = State::of(&session.store).unwrap();
        let last = self.states.last().unwrap();
        assert_eq!(state, *last, "{}", last.difference(&state));
        self.session = Some(session);
        let name = if released {
            "release and connect"
        } else {
            "drop and connect"
        };
        self.end(name.to_owned(), true);
    }

    /// Waits until nothing more is written in the background.
    pub fn settle(&self) {
        let mut changes = usize::MAX;
        loop {
            let now = self.mount.log_len();
            if now == changes {
                break;
            }
            changes = now;
            std::thread::sleep(Duration::from_millis(60));
        }
    }

    /// The sequence is over.
    pub fn finish(mut self) -> Recorded {
        let log = self.mount.take_log();
        if let Some(session) = self.session.take() {
            session.close();
        }
        Recorded {
            kind: self.kind,
            base: self.base,
            log,
            states: self.states,
            steps: self.steps,
        }
    }
}
