//! A mixed load on a mount that knows what every acknowledged operation must have left behind.
//!
//! Each worker has names of its own and keeps, in this process and not in the mount, the state
//! after its last acknowledged operation, and the one operation that may be in flight.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::harness::Mount;
use crate::random::Random;

/// What stands at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    Dir { mode: u32 },
    File { mode: u32, content: Vec<u8> },
    Link(PathBuf),
}

/// What stands at all paths, below the mountpoint.
pub type State = BTreeMap<PathBuf, Node>;

/// What an operation puts in the place of what; `None` is nothing.
pub type Change = Vec<(PathBuf, Option<Node>)>;

/// How a worker reaches the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// System calls on the mount.
    Files,
    /// `kfs` commands, through the daemon's socket.
    Commands,
}

/// One writer.
#[derive(Debug)]
pub struct Worker {
    /// What all its top-level names begin with.
    pub prefix: String,
    pub by: By,
    pub random: Random,
    pub names: u64,
    /// After the last acknowledged operation.
    pub state: State,
    /// What the operation that was not acknowledged would have done.
    pub in_flight: Option<Change>,
    /// Acknowledged operations by kind.
    pub done: BTreeMap<&'static str, u64>,
}

fn apply(state: &mut State, change: &Change) {
    for (path, node) in change {
        match node {
            Some(node) => state.insert(path.clone(), node.clone()),
            None => state.remove(path),
        };
    }
}

/// How to do an operation below a mountpoint.
pub type Run = Box<dyn FnOnce(&Mount) -> io::Result<()>>;

/// One operation: its kind, its effect, and how to do it.
pub struct Step {
    kind: &'static str,
    change: Change,
    run: Run,
}

impl Step {
    pub fn new(
        kind: &'static str,
        change: Change,
        run: impl FnOnce(&Mount) -> io::Result<()> + 'static,
    ) -> Option<Self> {
        let run = Box::new(run);
        Some(Self { kind, change, run })
    }
}

impl Worker {
    pub fn files(number: usize, seed: u64) -> Self {
        Self::new(format!("w{number}"), By::Files, seed)
    }

    pub fn commands(number: usize, seed: u64) -> Self {
        Self::new(format!("k{number}"), By::Commands, seed)
    }

    fn new(prefix: String, by: By, seed: u64) -> Self {
        Self {
            prefix,
            by,
            random: Random::new(seed),
            names: 0,
            state: State::new(),
            in_flight: None,
            done: BTreeMap::new(),
        }
    }

    /// Works until `stop`, or until an operation fails, which it must not before `stop`.
    pub fn work(&mut self, m: &Mount, stop: &AtomicBool) -> Result<(), String> {
        while !stop.load(Ordering::SeqCst) {
            let Some(step) = self.choose() else { continue };
            let kind = step.kind;
            match (step.run)(m) {
                Ok(()) => {
                    apply(&mut self.state, &step.change);
                    *self.done.entry(kind).or_insert(0) += 1;
                }
                Err(error) => {
                    let paths: Vec<_> = step.change.iter().map(|(path, _)| path.clone()).collect();
                    self.in_flight = Some(step.change);
                    return match stop.load(Ordering::SeqCst) {
                        true => Ok(()),
                        false => Err(format!("{kind} {paths:?} before the kill: {error}")),
                    };
                }
            }
        }
        Ok(())
    }

    /// The states that a crash may leave: without and with the operation in flight.
    pub fn possible(&self) -> Vec<State> {
        let mut possible = vec![self.state.clone()];
        if let Some(change) = &self.in_flight {
            let mut after = self.state.clone();
            apply(&mut after, change);
            possible.push(after);
        }
        possible
    }

    /// Goes on from what was found.
    pub fn adopt(&mut self, found: State) {
        self.state = found;
        self.in_flight = None;
    }

    pub fn content(&mut self) -> Vec<u8> {
        let length = match self.random.below(20) {
            0 => 1 + self.random.below(300_000),
            1..8 => 1 + self.random.below(20_000),
            _ => 1 + self.random.below(500),
        };
        match self.random.below(2) {
            0 => self.random.bytes(length),
            _ => format!("{} {}\n", self.prefix, self.random.next())
                .into_bytes()
                .into_iter()
                .cycle()
                .take(length)
                .collect(),
        }
    }

    pub fn dirs(&self) -> Vec<PathBuf> {
        let dirs = self
            .state
            .iter()
            .filter(|(_, node)| matches!(node, Node::Dir { .. }));
        dirs.map(|(path, _)| path.clone())
            .chain([PathBuf::new()])
            .collect()
    }

    pub fn pick(&mut self, which: impl Fn(&Node) -> bool) -> Option<(PathBuf, Node)> {
        let all: Vec<_> = self.state.iter().filter(|(_, node)| which(node)).collect();
        if all.is_empty() {
            return None;
        }
        let (path, node) = self.random.pick(&all);
        Some(((*path).clone(), (*node).clone()))
    }

    pub fn file(&mut self) -> Option<(PathBuf, u32, Vec<u8>)> {
        match self.pick(|node| matches!(node, Node::File { .. }))? {
            (path, Node::File { mode, content }) => Some((path, mode, content)),
            _ => None,
        }
    }

    /// A name that was never used, in one of the directories or at the root.
    pub fn new_path(&mut self) -> PathBuf {
        self.names += 1;
        let dirs = self.dirs();
        let dir = self.random.pick(&dirs);
        let own = if dir.as_os_str().is_empty() {
            &self.prefix
        } else {
            "n"
        };
        dir.join(format!("{own}-{}", self.names))
    }
}

/// Everything in the mount. Modes in documents of commands are not looked at: they made none.
pub fn found(m: &Mount) -> io::Result<State> {
    let mut found = State::new();
    let mut todo = vec![PathBuf::new()];
    while let Some(dir) = todo.pop() {
        for item in fs::read_dir(m.path(&dir))? {
            let path = dir.join(item?.file_name());
            let full = m.path(&path);
            let meta = fs::symlink_metadata(&full)?;
            let mode = match path.to_string_lossy().starts_with('k') {
                true => 0,
                false => meta.permissions().mode() & 0o7777,
            };
            let node = if meta.is_dir() {
                todo.push(path.clone());
                Node::Dir { mode }
            } else if meta.is_symlink() {
                Node::Link(fs::read_link(&full)?)
            } else {
                Node::File {
                    mode,
                    content: fs::read(&full)?,
                }
            };
            found.insert(path, node);
        }
    }
    Ok(found)
}
