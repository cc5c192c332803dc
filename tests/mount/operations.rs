//! The operations of the mixed load, each with what it must leave behind.

use std::ffi::OsStr;
use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};

use crate::harness::Mount;
use crate::load::{By, Change, Node, Step, Worker};

impl Worker {
    /// The next operation; sometimes there is nothing to do it to.
    pub fn choose(&mut self) -> Option<Step> {
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

/// Writes through `options`, closes, and reports what any of it reports.
fn write(path: &Path, options: &mut OpenOptions, sync: bool, bytes: &[u8]) -> io::Result<()> {
    let mut file = options.write(true).mode(0o644).open(path)?;
    file.write_all(bytes)?;
    if sync {
        file.sync_all()?;
    }
    Ok(nix::unistd::close(file)?)
}
