//! The same random system calls on a mount and on ext4, side by side: results, errno, attributes,
//! which times move, listings, and everything again after a remount.
//!
//! `KFS_SEQUENCES` says how many sequences, `KFS_SEED` which. A difference is made as short as it
//! can be and printed as code for a regression test.

mod actor;
mod side;
mod step;

use std::path::Path;
use std::process::Command;

use crate::harness::{Mount, Sandbox, detach, need_root, run};
use crate::random::{Random, number, seed};
use actor::Actor;
use side::{Side, Stamps};
use step::{ACTORS, Call, Step};

/// Steps of a sequence.
const STEPS: usize = 50;
/// Sequences between two remounts.
const REMOUNT: usize = 20;

/// An ext4 of its own in a file.
struct Ext4 {
    sandbox: Sandbox,
}

impl Ext4 {
    fn new() -> Self {
        need_root();
        let sandbox = Sandbox::new();
        let dir = sandbox.make_dir("ext4");
        let image = sandbox.path("image");
        let file = std::fs::File::create(&image).unwrap();
        file.set_len(256 << 20).unwrap();
        let it = Self { sandbox };
        let sh = |script: &str| {
            run(
                it.sandbox.set_up(Command::new("sh").args(["-ec", script])),
                b"",
            )
            .ok();
        };
        sh(&format!("mkfs.ext4 -q -F '{}'", image.display()));
        sh(&format!(
            "mount -o loop,noatime,nodev,nosuid,user_xattr '{}' '{}'",
            image.display(),
            dir.display()
        ));
        // A symbolic link may lead to the root of either.
        sh(&format!("rmdir '{}/lost+found'", dir.display()));
        it
    }

    fn dir(&self) -> std::path::PathBuf {
        self.sandbox.path("ext4")
    }
}

impl Drop for Ext4 {
    fn drop(&mut self) {
        detach(&self.dir());
    }
}

struct World {
    mount: Mount,
    ext4: Ext4,
    actors: Vec<Actor>,
    /// How many trees were made.
    trees: usize,
}

impl World {
    fn new() -> Self {
        Self {
            mount: Mount::with_options("allow_other,noatime"),
            ext4: Ext4::new(),
            actors: ACTORS
                .iter()
                .map(|(uid, gid, groups)| Actor::new(*uid, *gid, groups))
                .collect(),
            trees: 0,
        }
    }

    /// Runs a sequence in new trees; the first difference, with the number of its step.
    fn differs(&mut self, steps: &[Step]) -> Option<(usize, String)> {
        self.trees += 1;
        let name = format!("t{}", self.trees);
        let mut ours = Side::new(&self.mount.path(&name));
        let mut theirs = Side::new(&self.ext4.dir().join(&name));
        let found = self.play(steps, &mut ours, &mut theirs);
        for actor in &self.actors {
            actor.run(|| Call::Umask { mask: 0o022 }.apply(&mut Side::reopen("/".into())));
        }
        drop((ours, theirs));
        if found.is_some() {
            return found;
        }
        None
    }

    fn play(&self, steps: &[Step], ours: &mut Side, theirs: &mut Side) -> Option<(usize, String)> {
        for (at, step) in steps.iter().enumerate() {
            let before = (moments(ours, &step.call), moments(theirs, &step.call));
            let (a, b) = self.actors[step.actor].run(|| step.call.on_both(ours, theirs));
            if a != b {
                return Some((at, format!("{step:?}\n  kfs:  {a:?}\n  ext4: {b:?}")));
            }
            let after = (moments(ours, &step.call), moments(theirs, &step.call));
            let moved = (changes(&before.0, &after.0), changes(&before.1, &after.1));
            if moved.0 != moved.1 {
                return Some((
                    at,
                    format!(
                        "{step:?}: {a:?}, and times moved\n  kfs:  {:?}\n  ext4: {:?}",
                        moved.0, moved.1
                    ),
                ));
            }
        }
        compare(ours, theirs).map(|text| (steps.len(), text))
    }

    /// Makes a sequence that differs as short as it can be.
    fn shorten(&mut self, mut steps: Vec<Step>) -> (Vec<Step>, String) {
        let mut why = String::new();
        if let Some((at, text)) = self.differs(&steps) {
            steps.truncate(at + 1);
            why = text;
        }
        let mut at = steps.len();
        while at > 0 {
            at -= 1;
            let mut fewer = steps.clone();
            fewer.remove(at);
            if let Some((_, text)) = self.differs(&fewer) {
                steps = fewer;
                why = text;
            }
        }
        (steps, why)
    }
}

impl Call {
    fn apply(&self, side: &mut Side) {
        side.call(self);
    }

    fn on_both(&self, ours: &mut Side, theirs: &mut Side) -> (side::Outcome, side::Outcome) {
        let a = ours.call(self);
        // The mask is the thread's: the second call sees what the first one set.
        if matches!(self, Self::Umask { .. }) {
            return (a.clone(), a);
        }
        (a, theirs.call(self))
    }

    /// The paths it names.
    fn paths(&self) -> Vec<&str> {
        match self {
            Self::Open { path, .. }
            | Self::Truncate { path, .. }
            | Self::Mkdir { path, .. }
            | Self::Rmdir { path }
            | Self::Unlink { path }
            | Self::Symlink { path, .. }
            | Self::Readlink { path }
            | Self::Mknod { path, .. }
            | Self::Chmod { path, .. }
            | Self::Chown { path, .. }
            | Self::Utimens { path, .. }
            | Self::Stat { path, .. }
            | Self::Access { path, .. }
            | Self::SetXattr { path, .. }
            | Self::GetXattr { path, .. }
            | Self::ListXattr { path }
            | Self::RemoveXattr { path, .. }
            | Self::List { path } => vec![path],
            Self::Rename { from, to, .. } | Self::Link { from, to, .. } => vec![from, to],
            _ => vec![],
        }
    }
}

/// The times of what a call names, and of the directories that hold it.
fn moments(side: &Side, call: &Call) -> Vec<(String, Option<Stamps>)> {
    let mut found = vec![];
    for path in call.paths() {
        let parent = Path::new(path)
            .parent()
            .map_or(".", |p| p.to_str().unwrap());
        let parent = if parent.is_empty() { "." } else { parent };
        for path in [path, parent] {
            found.push((path.to_owned(), side.stamps(path)));
        }
    }
    found
}

/// Which of them are the same file with other times: whether mtime and ctime moved.
fn changes(
    before: &[(String, Option<Stamps>)],
    after: &[(String, Option<Stamps>)],
) -> Vec<(String, bool, bool)> {
    before
        .iter()
        .zip(after)
        .filter_map(|((path, a), (_, b))| {
            let ((ino, m, c), (ino2, m2, c2)) = ((*a)?, (*b)?);
            (ino == ino2).then(|| (path.clone(), m != m2, c != c2))
        })
        .collect()
}

/// The first path at which the trees differ.
fn compare(ours: &Side, theirs: &Side) -> Option<String> {
    let (a, b) = (ours.tree(), theirs.tree());
    let path = a
        .keys()
        .chain(b.keys())
        .find(|path| a.get(*path) != b.get(*path))?;
    Some(format!(
        "the trees differ at {path}\n  kfs:  {:?}\n  ext4: {:?}",
        a.get(path),
        b.get(path)
    ))
}

#[test]
fn random_calls_do_on_a_mount_what_they_do_on_ext4() {
    let seed = seed();
    let sequences = usize::try_from(number("KFS_SEQUENCES").unwrap_or(1000)).unwrap();
    let mut world = World::new();
    let mut kept: Vec<(usize, std::path::PathBuf, std::path::PathBuf)> = vec![];
    for sequence in 0..sequences {
        let mut r = Random::new(seed.wrapping_add(sequence as u64));
        let steps: Vec<Step> = (0..STEPS).map(|_| step::random(&mut r)).collect();
        let name = format!("t{}", world.trees + 1);
        if world.differs(&steps).is_some() {
            let (steps, why) = world.shorten(steps);
            panic!("sequence {sequence} of seed {seed} differs:\n{steps:#?}\n{why}");
        }
        kept.push((
            sequence,
            world.mount.path(&name),
            world.ext4.dir().join(&name),
        ));
        if kept.len() == REMOUNT || sequence + 1 == sequences {
            world.mount.remount();
            for (sequence, a, b) in kept.drain(..) {
                let (a, b) = (Side::reopen(a), Side::reopen(b));
                if let Some(why) = compare(&a, &b) {
                    panic!("sequence {sequence} of seed {seed} differs after a remount:\n{why}");
                }
                for side in [a, b] {
                    std::fs::remove_dir_all(side.close()).unwrap();
                }
            }
        }
    }
}
