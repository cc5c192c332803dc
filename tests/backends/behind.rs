//! A queue before a back: what was acknowledged is in the queue or in the back, in order, whatever
//! fails.

use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use konserve_fs::backend::behind::{Behind, Bound, Carrying};
use konserve_fs::backend::faulty::{Faults, Faulty};
use konserve_fs::backend::memory::Memory;
use konserve_fs::backend::tiered::{Front, Tiered, Writes};
use konserve_fs::backend::{Backend, BackendError, Batch, Deadline, Precondition};
use konserve_fs::journal::Recovery;
use uuid::Uuid;

use crate::basics::{get, put};
use crate::limited::Limited;
use crate::losing::{Blobs, Change, Losing, after};
use crate::storages::soon;
use crate::tiers::{Choice, down};

const ID: Uuid = Uuid::from_u128(7);

fn open(dir: &Path, back: Arc<dyn Backend>) -> Behind {
    Behind::open(dir, ID, back, Bound::default(), Carrying::WhenTold).unwrap()
}

/// A back that can be made to fail and to lose, and what it is made of.
fn back() -> (Arc<Faulty>, Arc<Losing>) {
    let losing = Arc::new(Losing::default());
    let faulty = Faulty::new(Arc::clone(&losing) as _, Faults::default());
    (Arc::new(faulty), losing)
}

#[test]
fn a_write_is_done_when_it_is_queued_and_seen_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let (faulty, losing) = back();
    put(&*faulty, b"a", b"old");
    put(&*faulty, b"b", b"old");
    faulty.sync(soon()).unwrap();
    let b = open(dir.path(), Arc::clone(&faulty) as _);
    faulty.set_faults(down());
    put(&b, b"a", b"new");
    put(&b, b"c", b"new");
    let mut batch = Batch::new();
    batch.delete(b"b", Precondition::Any);
    batch.put(b"d", b"new", Precondition::Any);
    b.apply(batch, soon()).unwrap();
    b.sync(soon()).unwrap();
    assert_eq!(get(&b, b"a").unwrap(), b"new");
    assert_eq!(get(&b, b"b"), None);
    assert!(b.get(b"e", soon()).is_err(), "the back may have it");
    let standing = b.standing();
    assert_eq!((standing.records, standing.carried), (3, 0));
    assert_eq!(get(&*losing, b"a").unwrap(), b"old");
    // A back that hangs holds up nobody who needs nothing of it.
    faulty.set_faults(Faults {
        hang: 1000,
        ..Faults::default()
    });
    put(&b, b"a", b"new");
    b.sync(soon()).unwrap();
    assert_eq!(get(&b, b"a").unwrap(), b"new");
    let short = Deadline::after(Duration::from_millis(30));
    assert!(b.carry(short).is_err());
    assert_eq!(b.standing().failures, 1);
    faulty.set_faults(down());
    assert!(b.carry(soon()).is_err());
    assert_eq!(b.standing().failures, 2);
    assert!(b.standing().failure.unwrap().contains("failed on purpose"));
    faulty.set_faults(Faults::default());
    b.drain(soon()).unwrap();
    let standing = b.standing();
    assert_eq!((standing.records, standing.bytes), (0, 0));
    assert_eq!((standing.carried, standing.failure), (4, None));
    let expected = [(b"a", b"new"), (b"c", b"new"), (b"d", b"new")];
    let expected: Blobs = expected.map(|(a, b)| (a.to_vec(), b.to_vec())).into();
    assert_eq!(losing.blobs(), expected);
    assert_eq!(losing.unsynced(), 0);
    let listed = b.list(b"", None, 10, soon()).unwrap();
    assert_eq!(listed, expected.into_keys().collect::<Vec<_>>());
}

#[test]
fn what_waits_is_there_after_the_process_was_killed() {
    let dir = tempfile::tempdir().unwrap();
    let (faulty, losing) = back();
    let b = open(dir.path(), Arc::clone(&faulty) as _);
    for n in 0..100_u8 {
        put(&b, &[n], &[n; 1000]);
    }
    b.delete(&[7], Precondition::Any, soon()).unwrap();
    drop(b);
    faulty.set_faults(down());
    let seen = Behind::open_to_read(dir.path(), ID, Arc::clone(&faulty) as _).unwrap();
    assert_eq!(get(&seen, &[99]).unwrap(), [99; 1000]);
    assert_eq!(get(&seen, &[7]), None);
    assert!(matches!(
        seen.put(b"a", b"", Precondition::Any, soon()),
        Err(BackendError::ReadOnly { .. })
    ));
    let b = open(dir.path(), Arc::clone(&faulty) as _);
    assert_eq!(get(&b, &[99]).unwrap(), [99; 1000]);
    assert_eq!(get(&b, &[7]), None);
    faulty.set_faults(Faults::default());
    b.drain(soon()).unwrap();
    assert_eq!(losing.blobs().len(), 99);
    drop(b);
    // It has been carried once and for all.
    put(&*faulty, &[1], b"other");
    let b = open(dir.path(), Arc::clone(&faulty) as _);
    b.drain(soon()).unwrap();
    assert_eq!(get(&b, &[1]).unwrap(), b"other");
}

#[test]
fn a_full_queue_makes_the_writer_wait() {
    let dir = tempfile::tempdir().unwrap();
    let (faulty, losing) = back();
    let (bound, back) = (Bound(100_000), Arc::clone(&faulty) as _);
    let b = Behind::open(dir.path(), ID, back, bound, Carrying::WhenTold).unwrap();
    let b = Arc::new(b);
    let content = [1; 30_000];
    for n in 0..3_u8 {
        put(&*b, &[n], &content);
    }
    let short = || Deadline::after(Duration::from_millis(30));
    let late = b.put(&[3], &content, Precondition::Any, short());
    assert!(
        matches!(late, Err(BackendError::Deadline { .. })),
        "{late:?}"
    );
    faulty.set_faults(down());
    assert!(b.carry(soon()).is_err());
    let late = b
        .put(&[3], &content, Precondition::Any, short())
        .unwrap_err();
    assert!(late.to_string().contains("failed on purpose"), "{late}");
    assert!(late.to_string().contains("the queue is full"), "{late}");
    assert_eq!(b.standing().records, 3);
    assert_eq!(get(&*b, &[0]).unwrap(), content);
    faulty.set_faults(Faults::default());
    let writer = thread::spawn({
        let b = Arc::clone(&b);
        move || put(&*b, &[3], &[1; 30_000])
    });
    while !b.carry(soon()).unwrap() {}
    writer.join().unwrap();
    b.drain(soon()).unwrap();
    assert_eq!(losing.blobs().len(), 4);
    // What is larger than all of the queue goes through it alone.
    put(&*b, &[4], &[1; 200_000]);
    assert!(b.put(&[5], b"", Precondition::Any, short()).is_err());
}

#[test]
fn it_is_carried_without_being_told() {
    let dir = tempfile::tempdir().unwrap();
    let (faulty, losing) = back();
    let when = Carrying::InBackground;
    let back = Arc::clone(&faulty) as _;
    let b = Behind::open(dir.path(), ID, back, Bound::default(), when).unwrap();
    faulty.set_faults(down());
    put(&b, b"a", b"1");
    while b.standing().failures == 0 {
        thread::sleep(Duration::from_millis(10));
    }
    faulty.set_faults(Faults::default());
    while b.standing().records > 0 {
        thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(get(&*losing, b"a").unwrap(), b"1");
}

#[test]
fn another_queue_or_a_damaged_one_is_not_taken() {
    let dir = tempfile::tempdir().unwrap();
    let memory = || Arc::new(Memory::new()) as Arc<dyn Backend>;
    let b = open(dir.path(), memory());
    put(&b, b"a", &[1; 100]);
    put(&b, b"b", &[2; 100]);
    b.sync(soon()).unwrap();
    drop(b);
    let open = |id| {
        Behind::open(
            dir.path(),
            id,
            memory(),
            Bound::default(),
            Carrying::WhenTold,
        )
    };
    let other = open(Uuid::nil());
    assert!(
        matches!(other, Err(BackendError::Damage { .. })),
        "{other:?}"
    );
    let log = std::fs::read_dir(dir.path().join("log")).unwrap();
    let mut segments = log.map(|entry| entry.unwrap().path());
    let segment = segments.find(|p| p.extension().is_some_and(|e| e == "journal"));
    let segment = segment.unwrap();
    let mut bytes = std::fs::read(&segment).unwrap();
    let at = bytes.windows(100).position(|w| w == [1; 100]).unwrap();
    bytes[at] = 0;
    std::fs::write(&segment, bytes).unwrap();
    let damaged = open(ID);
    assert!(
        matches!(damaged, Err(BackendError::Damage { .. })),
        "{damaged:?}"
    );
}

/// A back without batches: it is stopped at each of its writes, and has a beginning of them then.
#[test]
fn the_back_gets_the_writes_in_order() {
    let mut stopped = 0;
    for stop in 0.. {
        let dir = tempfile::tempdir().unwrap();
        let losing = Arc::new(Losing::default());
        let limited = Limited::new(Arc::clone(&losing));
        let faulty = Arc::new(Faulty::new(Arc::new(limited), Faults::default()));
        let b = open(dir.path(), Arc::clone(&faulty) as _);
        let mut states = vec![Blobs::new()];
        for n in 0..12_u8 {
            let bytes = vec![n];
            let mut state = states.last().unwrap().clone();
            if n % 4 == 3 {
                let there = b.delete(&[(n - 1) % 5], Precondition::Any, soon());
                assert!(there.unwrap());
                state.remove(&vec![(n - 1) % 5]);
            } else {
                put(&b, &[n % 5], &bytes);
                state.insert(vec![n % 5], bytes);
            }
            states.push(state);
        }
        faulty.set_faults(Faults {
            stop_at_write: Some(stop),
            ..Faults::default()
        });
        let done = b.drain(soon());
        let count = usize::try_from(stop).unwrap().min(12);
        assert_eq!(losing.blobs(), states[count]);
        stopped += 1;
        if done.is_ok() {
            break;
        }
        // And all of them once it goes on.
        faulty.set_faults(Faults::default());
        drop(b);
        let b = open(dir.path(), Arc::clone(&faulty) as _);
        b.drain(soon()).unwrap();
        assert_eq!(losing.blobs(), states[12]);
    }
    assert!(stopped > 12);
}

/// One after another, all that can happen to a store that writes behind: its front, its back or both
/// fail, are slow, full or stopped, the process is killed, the power goes.
struct Run {
    dir: tempfile::TempDir,
    front: Arc<Faulty>,
    back: Arc<Faulty>,
    losing: Arc<Losing>,
    behind: Arc<Behind>,
    tiered: Tiered,
    /// What was there after each write.
    states: Vec<Blobs>,
    /// The state that a loss of power leaves at least, and the one that the back had last.
    synced: usize,
    carried: usize,
}

impl Run {
    fn new(seed: u64) -> (Self, Choice) {
        let mut choice = Choice(seed);
        // In memory, where syncs cost nothing: what they leave is said, not tried.
        let memory = Path::new("/dev/shm");
        let dir = if memory.is_dir() {
            tempfile::tempdir_in(memory)
        } else {
            tempfile::tempdir()
        };
        let dir = dir.unwrap();
        let (back, losing) = back();
        let front = Faulty::new(Arc::new(Memory::new()), Faults::default());
        let front = Arc::new(front);
        let (behind, tiered) = Self::start(&dir, &front, &back, &mut choice);
        let run = Self {
            dir,
            front,
            back,
            losing,
            behind,
            tiered,
            states: vec![Blobs::new()],
            synced: 0,
            carried: 0,
        };
        (run, choice)
    }

    fn start(
        dir: &tempfile::TempDir,
        front: &Arc<Faulty>,
        back: &Arc<Faulty>,
        choice: &mut Choice,
    ) -> (Arc<Behind>, Tiered) {
        front.set_faults(Faults::default());
        let behind = Arc::new(open(dir.path(), Arc::clone(back) as _));
        let writes = [Writes::Through, Writes::Around][choice.index(2)];
        let (copies, below) = (Arc::clone(front) as _, Arc::clone(&behind) as _);
        let tiered = Tiered::open(copies, below, writes, Front::Unknown, soon()).unwrap();
        let tiered = match choice.below(2) {
            0 => tiered.bounded(60, soon()).unwrap(),
            _ => tiered,
        };
        (behind, tiered)
    }

    /// The process is gone, with the power or without, and comes back.
    fn restart(&mut self, choice: &mut Choice, power: bool) {
        let synced = self.behind.synced();
        self.back.set_faults(Faults::default());
        if power {
            // Nobody has it open in life either.
            let up_to = self.dir.path().join("applied");
            let applied = std::fs::read(up_to).map_or(0, |bytes| {
                u64::from_le_bytes(bytes[8..16].try_into().unwrap())
            });
            let log = self.dir.path().join("log");
            let recovery = Recovery::read(&log, &ID, applied).unwrap();
            drop(recovery.open(synced.max(applied)).unwrap());
            self.losing.lose(choice.index(self.losing.unsynced() + 1));
        }
        let (behind, tiered) = Self::start(&self.dir, &self.front, &self.back, choice);
        (self.behind, self.tiered) = (behind, tiered);
        let found = self.all();
        if power {
            let kept = self.states.iter().rposition(|state| *state == found);
            assert!(
                kept.is_some_and(|kept| kept >= self.synced),
                "{found:?} of {:?}, and {} was synced",
                self.states,
                self.synced
            );
            self.states.truncate(kept.unwrap() + 1);
            self.synced = kept.unwrap();
        } else {
            assert_eq!(Some(&found), self.states.last());
        }
    }

    /// All blobs, with nothing failing.
    fn all(&self) -> Blobs {
        let listed = self.tiered.list(b"", None, usize::MAX, soon()).unwrap();
        let blob = |address: &[u8]| get(&self.tiered, address).unwrap();
        listed.into_iter().map(|a| (a.clone(), blob(&a))).collect()
    }

    /// What was acknowledged is so from now on; what failed has changed nothing.
    fn wrote<T, E>(&mut self, writes: &[Change], done: &Result<T, E>) {
        if done.is_ok() {
            let mut state = self.states.last().unwrap().clone();
            after(&mut state, writes);
            self.states.push(state);
        }
    }

    /// The back always has what was there after some write, and never an older one than before.
    fn check_back(&mut self) {
        let now = self.losing.blobs();
        let later = self.states.iter().skip(self.carried);
        let at = later.clone().position(|state| *state == now);
        assert!(at.is_some(), "{now:?} of {:?}", later.collect::<Vec<_>>());
        self.carried += at.unwrap();
    }
}

fn faults(choice: &mut Choice, seed: u64, is_front: bool) -> Faults {
    let mut rate = || u16::try_from(choice.below(3) * 60).unwrap();
    let mut faults = Faults {
        seed,
        error: rate(),
        no_space: rate(),
        lost_reply: rate(),
        delay: rate(),
        longest_delay: Duration::from_micros(200),
        ..Faults::default()
    };
    if is_front {
        (faults.flip, faults.truncate) = (rate(), rate());
    }
    faults.stop_at_write = (rate() > 100).then(|| 20 + choice.below(100));
    faults
}

fn run(seed: u64) {
    let (mut r, mut choice) = Run::new(seed);
    for step in 0..120_u64 {
        let address = u8::try_from(choice.below(6)).unwrap();
        let bytes = step.to_le_bytes().to_vec();
        match choice.below(16) {
            0..=3 => {
                let done = r.tiered.put(&[address], &bytes, Precondition::Any, soon());
                r.wrote(&[(vec![address], Some(bytes))], &done);
                assert!(done.is_ok(), "it needs nothing but the queue");
            }
            4 => {
                let done = r.tiered.delete(&[address], Precondition::Any, soon());
                r.wrote(&[(vec![address], None)], &done);
            }
            5 | 6 => {
                let mut batch = Batch::new();
                batch.put([address], bytes.clone(), Precondition::Any);
                batch.delete([address + 1], Precondition::Any);
                let done = r.tiered.apply(batch, soon());
                let writes = [(vec![address], Some(bytes)), (vec![address + 1], None)];
                r.wrote(&writes, &done);
            }
            7 => {
                let done = r
                    .tiered
                    .put(&[address], &bytes, Precondition::Absent, soon());
                let there = r.states.last().unwrap().contains_key(&vec![address]);
                assert!(done.is_err() || !there);
                r.wrote(&[(vec![address], Some(bytes))], &done);
            }
            8 => {
                let _done = r.behind.carry(soon());
                r.check_back();
            }
            9 => {
                r.tiered.sync(soon()).unwrap();
                r.synced = r.states.len() - 1;
            }
            10 if choice.below(3) == 0 => {
                let power = choice.below(2) == 0;
                r.restart(&mut choice, power);
                r.carried = if power { 0 } else { r.carried };
                r.check_back();
            }
            11 => {
                let (f, b) = (choice.below(3) > 0, choice.below(3) > 0);
                let (front, back) = (
                    faults(&mut choice, seed ^ step, true),
                    faults(&mut choice, seed ^ step, false),
                );
                r.front
                    .set_faults(if f { front } else { Faults::default() });
                r.back.set_faults(if b { back } else { Faults::default() });
            }
            _ => {
                let Ok(found) = r.tiered.get(&[address], soon()) else {
                    continue;
                };
                let expected = r.states.last().unwrap().get(&vec![address]);
                let found = found.map(|blob| blob.bytes);
                assert_eq!(found.as_ref(), expected, "step {step}");
            }
        }
    }
    r.restart(&mut choice, false);
    r.behind.drain(soon()).unwrap();
    assert_eq!(Some(&r.losing.blobs()), r.states.last());
}

/// The copies, the back or both stop at each of their calls in turn; then the process is killed, or the
/// power goes.
#[test]
fn each_side_may_stop_at_each_call() {
    for (front_stops, back_stops) in [(true, false), (false, true), (true, true)] {
        for power in [false, true] {
            for stop in 0.. {
                let (mut r, mut choice) = Run::new(stop);
                let (before_front, before_back) = (r.front.counts().0, r.back.counts().0);
                let stopping = |stops: bool, before: u64| Faults {
                    stop_at: stops.then_some(before + stop),
                    ..Faults::default()
                };
                r.front.set_faults(stopping(front_stops, before_front));
                r.back.set_faults(stopping(back_stops, before_back));
                for step in 0..9_u8 {
                    let put = r
                        .tiered
                        .put(&[step % 3], &[step], Precondition::Any, soon());
                    assert!(put.is_ok());
                    r.wrote(&[(vec![step % 3], Some(vec![step]))], &put);
                    if step % 4 == 2 {
                        r.tiered.sync(soon()).unwrap();
                        r.synced = r.states.len() - 1;
                    }
                    if step % 3 == 1 {
                        let _done = r.behind.carry(soon());
                        r.check_back();
                    }
                }
                let (front, back) = (r.front.counts().0, r.back.counts().0);
                let all = (front - before_front).max(back - before_back);
                r.restart(&mut choice, power);
                r.behind.drain(soon()).unwrap();
                assert_eq!(Some(&r.losing.blobs()), r.states.last());
                if stop > all {
                    break;
                }
            }
        }
    }
}

#[test]
fn what_was_acknowledged_is_in_the_queue_or_in_the_back() {
    let seeds = std::env::var("KFS_SEEDS").map_or(1000, |n| n.parse().unwrap());
    for seed in 0..seeds {
        let done = std::panic::catch_unwind(|| run(seed));
        assert!(done.is_ok(), "seed {seed}");
    }
}
