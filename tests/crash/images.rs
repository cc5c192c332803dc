//! The disks that a power loss may leave.
//!
//! What was forced is there. Of the rest, each 512 byte sector of a file holds what one of the writes
//! since left in it, or what it held before; a file has one of its lengths since; each name that came,
//! went or moved has done so or not. Nothing ties one of these to another.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::disk::{Change, Content, Disk, Ino};
use crate::random::Random;

const SECTOR: u64 = 512;

/// Up to so many ways are all tried, and up to four times as many as are asked for; where there are
/// more, a choice of them.
const ALL: usize = 48;

/// A disk with what is not yet durable on it.
#[derive(Clone, Debug)]
pub struct Volatile {
    durable: Disk,
    /// Changes that are not forced, in order.
    pending: Vec<Pending>,
}

#[derive(Clone, Debug)]
struct Pending {
    change: Change,
    /// The directory of the two that is not yet synced after a move, once the other is.
    left: Option<Ino>,
    /// A sync of it has failed: no other will write it.
    lost: bool,
}

/// Something that is in one of several states after the power loss; 0 is the durable one.
#[derive(Debug)]
struct Unit {
    what: What,
    /// The pending change that leads to each of the states from 1 on.
    causes: Vec<usize>,
}

#[derive(Debug)]
enum What {
    Sector(Ino, u64, Vec<Vec<u8>>),
    Length(Ino, Vec<u64>),
    Name,
}

/// The ways in which a disk can come out of a power loss.
pub struct Ways<'v> {
    volatile: &'v Volatile,
    units: Vec<Unit>,
}

/// One way: the state of each unit.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Way(Vec<u16>);

impl fmt::Debug for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for state in &self.0 {
            write!(f, "{state}.")?;
        }
        Ok(())
    }
}

impl Pending {
    /// Whether this changes the content or length of a file.
    fn is_of(&self, ino: Ino) -> bool {
        match self.change {
            Change::Write { ino: of, .. } | Change::Length { ino: of, .. } => of == ino,
            _ => false,
        }
    }
}

impl Volatile {
    pub fn new(durable: Disk) -> Self {
        Self {
            durable,
            pending: Vec::new(),
        }
    }

    /// A change reaches the page cache, or a sync ends.
    pub fn change(&mut self, change: &Change) {
        match change {
            Change::SyncFile { ino } => self.force(|pending| pending.is_of(*ino) && !pending.lost),
            Change::LoseSync { ino } => {
                for pending in self.pending.iter_mut().filter(|p| p.is_of(*ino)) {
                    pending.lost = true;
                }
            }
            Change::SyncDir { ino } => self.force(|pending| match &pending.change {
                Change::Enter { dir, .. } | Change::Leave { dir, .. } => dir == ino,
                Change::Move { from, to, .. } if from.0 == to.0 => from.0 == *ino,
                Change::Move { from, to, .. } if from.0 == *ino || to.0 == *ino => {
                    let other = if from.0 == *ino { to.0 } else { from.0 };
                    let was = pending.left.replace(other);
                    was == Some(*ino)
                }
                _ => false,
            }),
            other => self.pending.push(Pending {
                change: other.clone(),
                left: None,
                lost: false,
            }),
        }
    }

    fn force(&mut self, mut forced: impl FnMut(&mut Pending) -> bool) {
        let durable = &mut self.durable;
        self.pending.retain_mut(|pending| {
            let done = forced(pending);
            if done {
                durable.apply(&pending.change);
            }
            !done
        });
    }

    pub fn ways(&self) -> Ways<'_> {
        let mut units = Vec::new();
        let mut files: BTreeMap<Ino, Vec<usize>> = BTreeMap::new();
        for (at, pending) in self.pending.iter().enumerate() {
            match &pending.change {
                Change::Write { ino, .. } | Change::Length { ino, .. } => {
                    files.entry(*ino).or_default().push(at);
                }
                _ => units.push(Unit {
                    what: What::Name,
                    causes: vec![at],
                }),
            }
        }
        for (ino, changes) in files {
            self.file_units(ino, &changes, &mut units);
        }
        Ways {
            volatile: self,
            units,
        }
    }

    /// The sectors and lengths of a file that are not durable.
    fn file_units(&self, ino: Ino, changes: &[usize], units: &mut Vec<Unit>) {
        let mut file = self.durable.files.get(&ino).cloned().unwrap_or_default();
        let mut sectors: BTreeMap<u64, (Vec<usize>, Vec<Vec<u8>>)> = BTreeMap::new();
        let mut lengths: (Vec<usize>, Vec<u64>) = Default::default();
        for &at in changes {
            let before = file.len();
            let range = match &self.pending[at].change {
                Change::Write { at, data, .. } => {
                    file.write(*at, data);
                    *at..*at + data.len() as u64
                }
                Change::Length { to, .. } => {
                    file.set_len(*to);
                    *to..before.max(*to)
                }
                _ => continue,
            };
            if file.len() != before {
                lengths.0.push(at);
                lengths.1.push(file.len());
            }
            // What lies behind the old end and is not written is zeroes before and after.
            let longer =
                file.len() > before && matches!(self.pending[at].change, Change::Length { .. });
            if range.is_empty() || longer {
                continue;
            }
            for sector in range.start / SECTOR..range.end.div_ceil(SECTOR) {
                let (causes, versions) = sectors.entry(sector).or_default();
                let mut bytes = file.read(sector * SECTOR, SECTOR as usize);
                bytes.resize(SECTOR as usize, 0);
                causes.push(at);
                versions.push(bytes);
            }
        }
        for (sector, (causes, versions)) in sectors {
            units.push(Unit {
                what: What::Sector(ino, sector, versions),
                causes,
            });
        }
        if !lengths.0.is_empty() {
            units.push(Unit {
                what: What::Length(ino, lengths.1),
                causes: lengths.0,
            });
        }
    }
}

impl Ways<'_> {
    /// Ways to try: all where they are few, else the ones most likely to be told apart and `random`
    /// others.
    pub fn choose(&self, random: &mut Random, count: usize) -> BTreeSet<Way> {
        let states = |unit: &Unit| unit.causes.len() + 1;
        let most = ALL.min(4 * count);
        let all = self.units.iter().try_fold(1usize, |n, unit| {
            n.checked_mul(states(unit)).filter(|n| *n <= most)
        });
        if let Some(all) = all {
            return (0..all).map(|code| self.nth(code)).collect();
        }
        let pending = self.volatile.pending.len();
        let mut ways = BTreeSet::new();
        ways.insert(self.up_to(0));
        ways.insert(self.up_to(pending));
        let mut others: Vec<Way> = Vec::new();
        let last = pending.saturating_sub(1);
        for at in 0..pending {
            others.push(self.up_to(at));
            others.push(self.way(|unit| unit.last(|cause| cause == at)));
            others.push(self.way(|unit| unit.last(|cause| cause != at)));
        }
        let files: BTreeSet<Ino> = self.units.iter().filter_map(Unit::file).collect();
        for file in files {
            let all = |unit: &Unit, keep: bool| if keep { unit.causes.len() } else { 0 };
            others.push(self.way(|unit| all(unit, unit.file() == Some(file))));
            others.push(self.way(|unit| all(unit, unit.file() != Some(file))));
        }
        // Names without data, lengths without data, data without lengths and names.
        let kinds: [fn(&What) -> bool; 4] = [
            |what| matches!(what, What::Name),
            |what| !matches!(what, What::Name),
            |what| !matches!(what, What::Sector(..)),
            |what| !matches!(what, What::Length(..)),
        ];
        for kind in kinds {
            others.push(self.way(|unit| {
                if kind(&unit.what) {
                    unit.causes.len()
                } else {
                    0
                }
            }));
        }
        // The last change torn at each place.
        let torn: Vec<usize> = (0..self.units.len())
            .filter(|at| self.units[*at].causes.last() == Some(&last))
            .collect();
        for cut in torn.iter().skip(1) {
            for head in [true, false] {
                let mut way = self.up_to(pending);
                for &at in torn.iter().filter(|at| (*at < cut) != head) {
                    way.0[at] -= 1;
                }
                others.push(way);
            }
        }
        while ways.len() < count && !others.is_empty() {
            let at = random.below(others.len());
            ways.insert(others.swap_remove(at));
        }
        for _ in 0..count {
            if ways.len() >= count + count / 2 {
                break;
            }
            // Most of it there, about half of it, or little.
            let rare = 2 + random.below(6) as u64;
            let mostly = random.next().is_multiple_of(2);
            ways.insert(self.way(|unit| {
                let rarely = random.next().is_multiple_of(rare);
                match (rarely, mostly) {
                    (false, true) => unit.causes.len(),
                    (false, false) => 0,
                    (true, _) => random.below(unit.causes.len() + 1),
                }
            }));
        }
        ways
    }

    fn way(&self, state: impl FnMut(&Unit) -> usize) -> Way {
        let states = self.units.iter().map(state);
        Way(states.map(|state| u16::try_from(state).unwrap()).collect())
    }

    /// The first so many changes, whole.
    fn up_to(&self, changes: usize) -> Way {
        self.way(|unit| unit.last(|cause| cause < changes))
    }

    fn nth(&self, mut code: usize) -> Way {
        self.way(|unit| {
            let states = unit.causes.len() + 1;
            let state = code % states;
            code /= states;
            state
        })
    }

    /// The disk that comes out.
    pub fn disk(&self, way: &Way) -> Disk {
        let mut disk = self.volatile.durable.clone();
        for (unit, &state) in self.units.iter().zip(&way.0) {
            let Some(state) = usize::from(state).checked_sub(1) else {
                continue;
            };
            match &unit.what {
                What::Name => disk.apply(&self.volatile.pending[unit.causes[0]].change),
                What::Sector(ino, sector, versions) => {
                    let file = disk.files.entry(*ino).or_default();
                    file.put(sector * SECTOR, &versions[state]);
                }
                What::Length(..) => {}
            }
        }
        // What was written behind the end that a file comes out with is gone.
        let mut ends: BTreeMap<Ino, u64> = BTreeMap::new();
        for (unit, &state) in self.units.iter().zip(&way.0) {
            match (&unit.what, usize::from(state).checked_sub(1)) {
                (What::Length(ino, lengths), Some(state)) => {
                    ends.insert(*ino, lengths[state]);
                }
                (What::Length(ino, _) | What::Sector(ino, ..), _) => {
                    let end = disk.files.get(ino).map_or(0, Content::len);
                    ends.entry(*ino).or_insert(end);
                }
                (What::Name, _) => {}
            }
        }
        for (ino, end) in ends {
            disk.files.entry(ino).or_default().set_len(end);
        }
        disk
    }

    /// What a way means, for a person.
    pub fn explain(&self, way: &Way) -> String {
        let mut lines = Vec::new();
        for (at, pending) in self.volatile.pending.iter().enumerate() {
            let (mut kept, mut lost) = (0, 0);
            for (unit, &state) in self.units.iter().zip(&way.0) {
                if let Some(place) = unit.causes.iter().position(|cause| *cause == at) {
                    if usize::from(state) > place {
                        kept += 1;
                    } else {
                        lost += 1;
                    }
                }
            }
            let change = show(&pending.change, &self.volatile.durable);
            lines.push(format!("    {kept} kept, {lost} lost of {change}"));
        }
        lines.join("\n")
    }
}

impl Unit {
    /// The state after the last of the changes for which `kept` holds.
    fn last(&self, kept: impl Fn(usize) -> bool) -> usize {
        let found = self.causes.iter().rposition(|cause| kept(*cause));
        found.map_or(0, |at| at + 1)
    }

    fn file(&self) -> Option<Ino> {
        match self.what {
            What::Sector(ino, ..) | What::Length(ino, _) => Some(ino),
            What::Name => None,
        }
    }
}

/// A change, with a file's name where it has one.
pub fn show(change: &Change, disk: &Disk) -> String {
    let name = |ino: &Ino| -> String {
        let names = disk.dirs.values().flatten();
        let found = names.filter(|(_, of)| *of == ino).map(|(name, _)| name);
        let found: Vec<_> = found.map(|name| name.to_string_lossy()).collect();
        format!("{ino} {}", found.join(" "))
    };
    match change {
        Change::Write { ino, at, data } => {
            format!("write {} at {at}, {} bytes", name(ino), data.len())
        }
        Change::Length { ino, to } => format!("length of {}: {to}", name(ino)),
        Change::SyncFile { ino } => format!("sync {}", name(ino)),
        Change::SyncDir { ino } => format!("sync directory {}", name(ino)),
        other => format!("{other:?}"),
    }
}
