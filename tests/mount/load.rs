//! A mixed load on a mount that knows what every acknowledged operation must have left behind.
//!
//! Each worker has names of its own and keeps, in this process and not in the mount, the state
//! after its last acknowledged operation, and the one operation that may be in flight.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};

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
type Change = Vec<(PathBuf, Option<Node>)>;

/// How a worker reaches the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
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
    by: By,
    random: Random,
    names: u64,
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
type Run = Box<dyn FnOnce(&Mount) -> io::Result<()>>;

/// One operation: its kind, its effect, and how to do it.
struct Step {
    kind: &'static str,
    change: Change,
    run: Run,
}

impl Step {
    fn new(
        kind: &'static str,
        change: Change,
        run: impl FnOnce(&Mount) -> io::Result<()> + 'static,
    ) -> Option<Self> {
        let run = Box::new(run);
        Some(Self { kind, change, run })
    }
}

/// Writes through `options`, closes, and reports what any of it reports.
fn write(path: &Path, options: &mut OpenOptions, sync: bool, bytes: &[u8]) -> io::Result<()> {
    let mut file = options.write(true).mode(0o644).open(path)?;
    file.write_all(bytes)?;
    if sync {
        file.sync_all()?;
    }
    Ok(nix::unistd::close(file)?)
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

    fn content(&mut self) -> Vec<u8> {
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

    fn dirs(&self) -> Vec<PathBuf> {
        let dirs = self
            .state
            .iter()
            .filter(|(_, node)| matches!(node, Node::Dir { .. }));
        dirs.map(|(path, _)| path.clone())
            .chain([PathBuf::new()])
            .collect()
    }

    fn pick(&mut self, which: impl Fn(&Node) -> bool) -> Option<(PathBuf, Node)> {
        let all: Vec<_> = self.state.iter().filter(|(_, node)| which(node)).collect();
        if all.is_empty() {
            return None;
        }
        let (path, node) = self.random.pick(&all);
        Some(((*path).clone(), (*node).clone()))
    }

    fn file(&mut self) -> Option<(PathBuf, u32, Vec<u8>)> {
        match self.pick(|node| matches!(node, Node::File { .. }))? {
            (path, Node::File { mode, content }) => Some((path, mode, content)),
            _ => None,
        }
    }

    /// A name that was never used, in one of the directories or at the root.
    fn new_path(&mut self) -> PathBuf {
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

    fn choose(&mut self) -> Option<Step> {
        match self.by {
            By::Files => self.choose_files(),
            By::Commands => self.choose_command(),
        }
    }

    fn choose_files(&mut self) -> Option<Step> {
        if self.state.len() > 90 {
            return self.remove();
        }
        match self.random.below(100) {
            0..22 => self.create(),
            22..40 => self.overwrite(),
            40..46 => self.append(),
            46..52 => self.write_within(),
            52..56 => self.truncate(),
            56..70 => self.rename_file(),
            70..75 => self.exchange(),
            75..80 => self.make_dir(),
            80..84 => self.rename_dir(),
            84..88 => self.link(),
            88..92 => self.chmod(),
            _ => self.remove(),
        }
    }

    fn create(&mut self) -> Option<Step> {
        let (path, content) = (self.new_path(), self.content());
        let node = Node::File {
            mode: 0o644,
            content: content.clone(),
        };
        Step::new("create", vec![(path.clone(), Some(node))], move |m| {
            write(
                &m.path(path),
                OpenOptions::new().create_new(true),
                false,
                &content,
            )
        })
    }

    fn overwrite(&mut self) -> Option<Step> {
        let (path, mode, _) = self.file()?;
        let (content, sync) = (self.content(), self.random.below(8) == 0);
        let node = Node::File {
            mode,
            content: content.clone(),
        };
        let kind = if sync { "overwrite+fsync" } else { "overwrite" };
        Step::new(kind, vec![(path.clone(), Some(node))], move |m| {
            write(
                &m.path(path),
                OpenOptions::new().truncate(true),
                sync,
                &content,
            )
        })
    }

    fn append(&mut self) -> Option<Step> {
        let (path, mode, mut content) = self.file()?;
        let more = self.random.bytes(100);
        content.extend(&more);
        let node = Node::File { mode, content };
        Step::new("append", vec![(path.clone(), Some(node))], move |m| {
            write(&m.path(path), OpenOptions::new().append(true), false, &more)
        })
    }

    fn write_within(&mut self) -> Option<Step> {
        let (path, mode, mut content) = self.file()?;
        let (at, piece) = (self.random.below(content.len() + 50), self.random.bytes(60));
        content.resize(content.len().max(at + piece.len()), 0);
        content[at..at + piece.len()].copy_from_slice(&piece);
        let node = Node::File { mode, content };
        Step::new("write within", vec![(path.clone(), Some(node))], move |m| {
            let file = OpenOptions::new().write(true).open(m.path(path))?;
            file.write_all_at(&piece, at as u64)?;
            Ok(nix::unistd::close(file)?)
        })
    }

    fn truncate(&mut self) -> Option<Step> {
        let (path, mode, mut content) = self.file()?;
        let length = self.random.below(content.len() + 100);
        content.resize(length, 0);
        let node = Node::File { mode, content };
        Step::new("truncate", vec![(path.clone(), Some(node))], move |m| {
            let length = i64::try_from(length).map_err(io::Error::other)?;
            Ok(nix::unistd::truncate(&m.path(path), length)?)
        })
    }

    /// To a new name, or over another file: how programs save.
    fn rename_file(&mut self) -> Option<Step> {
        let (from, mode, content) = self.file()?;
        let over = self.random.below(2) == 0;
        let to = if over {
            self.file()?.0
        } else {
            self.new_path()
        };
        if from == to {
            return None;
        }
        let node = Node::File { mode, content };
        let change = vec![(from.clone(), None), (to.clone(), Some(node))];
        let kind = if over { "rename over" } else { "rename" };
        Step::new(kind, change, move |m| fs::rename(m.path(from), m.path(to)))
    }

    fn exchange(&mut self) -> Option<Step> {
        let (a, a_mode, a_content) = self.file()?;
        let (b, b_mode, b_content) = self.file()?;
        if a == b {
            return None;
        }
        let change = vec![
            (
                a.clone(),
                Some(Node::File {
                    mode: b_mode,
                    content: b_content,
                }),
            ),
            (
                b.clone(),
                Some(Node::File {
                    mode: a_mode,
                    content: a_content,
                }),
            ),
        ];
        Step::new("exchange", change, move |m| {
            let flags = RenameFlags::RENAME_EXCHANGE;
            Ok(renameat2(
                AT_FDCWD,
                &m.path(a),
                AT_FDCWD,
                &m.path(b),
                flags,
            )?)
        })
    }

    fn make_dir(&mut self) -> Option<Step> {
        let path = self.new_path();
        let node = Node::Dir { mode: 0o755 };
        Step::new("mkdir", vec![(path.clone(), Some(node))], move |m| {
            fs::create_dir(m.path(path))
        })
    }

    /// A directory with all that is in it, between documents too.
    fn rename_dir(&mut self) -> Option<Step> {
        let (from, _) = self.pick(|node| matches!(node, Node::Dir { .. }))?;
        let to = self.new_path();
        if to.starts_with(&from) {
            return None;
        }
        let mut change = Change::new();
        for (path, node) in self.state.range(from.clone()..) {
            let Ok(below) = path.strip_prefix(&from) else {
                continue;
            };
            let moved = match below.as_os_str().is_empty() {
                true => to.clone(),
                false => to.join(below),
            };
            change.push((path.clone(), None));
            change.push((moved, Some(node.clone())));
        }
        Step::new("rename directory", change, move |m| {
            fs::rename(m.path(from), m.path(to))
        })
    }

    fn link(&mut self) -> Option<Step> {
        let (path, target) = (self.new_path(), format!("to/{}", self.names));
        let change = vec![(path.clone(), Some(Node::Link(target.clone().into())))];
        Step::new("symlink", change, move |m| symlink(target, m.path(path)))
    }

    fn chmod(&mut self) -> Option<Step> {
        let (path, _, content) = self.file()?;
        let mode = *self.random.pick(&[0o600, 0o644, 0o640, 0o755]);
        let change = vec![(path.clone(), Some(Node::File { mode, content }))];
        Step::new("chmod", change, move |m| {
            fs::set_permissions(m.path(path), Permissions::from_mode(mode))
        })
    }

    fn remove(&mut self) -> Option<Step> {
        let (path, node) = self.pick(|_| true)?;
        let change = vec![(path.clone(), None)];
        if node != (Node::Dir { mode: 0o755 }) {
            return Step::new("unlink", change, move |m| fs::remove_file(m.path(path)));
        }
        let empty = !self
            .state
            .keys()
            .any(|other| *other != path && other.starts_with(&path));
        let rmdir = move |m: &Mount| fs::remove_dir(m.path(path));
        if empty {
            Step::new("rmdir", change, rmdir)
        } else {
            None
        }
    }

    /// A command that puts, moves or removes a text in the worker's own document.
    fn choose_command(&mut self) -> Option<Step> {
        let document = PathBuf::from(&self.prefix);
        if !self.state.contains_key(&document) {
            let change = vec![(document.clone(), Some(Node::Dir { mode: 0 }))];
            return Step::new("kfs put", change, move |m| {
                command(m, "put", &document, "{}")
            });
        }
        self.names += 1;
        let new = document.join(format!("n{}", self.names));
        match (self.random.below(10), self.file()) {
            (0, Some((path, ..))) => {
                let change = vec![(path.clone(), None)];
                Step::new("kfs rm", change, move |m| command(m, "rm", &path, ""))
            }
            (1..3, Some((path, mode, content))) => {
                let node = Node::File { mode, content };
                let change = vec![(path.clone(), None), (new.clone(), Some(node))];
                Step::new("kfs mv", change, move |m| {
                    command(m, "mv", &path, new.to_str().unwrap())
                })
            }
            (number, old) => {
                let path = match old {
                    Some((path, ..)) if number < 6 => path,
                    _ => new,
                };
                let text = format!("{} ", self.random.next()).repeat(1 + self.random.below(400));
                let content = format!("{text}\n").into_bytes();
                let change = vec![(path.clone(), Some(Node::File { mode: 0, content }))];
                Step::new("kfs put", change, move |m| {
                    command(m, "put", &path, &format!("{text:?}"))
                })
            }
        }
    }
}

/// Runs a verb of `kfs`; its exit code is the acknowledgement.
fn command(m: &Mount, verb: &str, path: &Path, argument: &str) -> io::Result<()> {
    let arguments: &[&OsStr] = match argument {
        "" => &[],
        _ => &[argument.as_ref()],
    };
    let output = m.kfs(verb, path, arguments);
    match output.code {
        0 => Ok(()),
        _ => Err(io::Error::other(output.to_string())),
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
