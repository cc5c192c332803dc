//! The sequences, and what is made of their logs.

use std::collections::HashSet;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use konserve_fs::snapshot;
use konserve_fs::store::Location;
use konserve_fs::value::{Key, Value};
use parking_lot::Mutex;

use crate::check::{Checker, Outcome, count_panics, open, open_or_create};
use crate::disk::{Change, Disk};
use crate::images::{Volatile, show};
use crate::mount::{Event, Mount};
use crate::operations::{KINDS, populate};
use crate::random::Random;
use crate::run::Durability::{Later, Synced};
use crate::run::{Recorded, Run, Session, location};
use crate::state::State;
use crate::sweep::{sweep, sweep_before};

/// Files made by sequences are numbered from here, so that no number is one of a base's.
pub const OWN: u64 = 1_000_000;

/// A store that sequences begin with.
type Base = (&'static str, &'static str, fn(&Mount, &'static str) -> Disk);

const BASES: &[Base] = &[
    ("all folded", "kfs", folded),
    ("in the journal", "kfs", in_journal),
    ("in tables", "kfs", in_tables),
    (NEARLY_FULL, "kfs", nearly_full),
    ("files, all folded", "file", folded),
    ("files, in the journal", "file", in_journal),
    ("a spare segment", "kfs", with_spare),
];

/// The base in which the engine is about to make a table.
const NEARLY_FULL: &str = "a memtable almost full";

fn populated<'m>(mount: &'m Mount, kind: &'static str) -> Run<'m> {
    let mut run = Run::create(mount, kind);
    populate(&mut run, &mut Random::new(1, 0));
    run
}

fn folded(mount: &Mount, kind: &'static str) -> Disk {
    let mut run = populated(mount, kind);
    run.reopen(true);
    run.finish();
    mount.disk()
}

fn in_journal(mount: &Mount, kind: &'static str) -> Disk {
    let mut run = populated(mount, kind);
    run.step("sync", Synced, |s| s.store.sync().unwrap());
    run.finish();
    mount.disk()
}

/// The next segment of the journal is made of one that was there before.
fn with_spare(mount: &Mount, kind: &'static str) -> Disk {
    let mut run = populated(mount, kind);
    let mut random = Random::new(3, 0);
    for _ in 0..30 {
        let value = Value::Bytes(random.bytes(40_000));
        run.step("fill", Later, |s| {
            let path = [Key::text("filler")];
            s.store.unsynced().assoc_in(&path, &value).unwrap();
        });
    }
    empty(&mut run);
    run.step("fold", Synced, |s| s.store.fold_now().unwrap());
    run.finish();
    let disk = mount.disk();
    let has_spare = disk
        .tree()
        .into_keys()
        .any(|path| path.ends_with("journal/spare"));
    assert!(has_spare, "there is no spare segment");
    disk
}

/// Writes so many bytes through the engine's memtable: pages just small enough for it.
fn fill(run: &mut Run<'_>, bytes: usize) {
    let mut random = Random::new(2, bytes as u64);
    for _ in 0..bytes / (64 * 7000) {
        let entries = (0..64).map(|n| (Key::index(n), Value::Bytes(random.bytes(7000))));
        let value = Value::Map(entries.collect());
        run.step("fill", Later, |s| {
            let path = [Key::text("filler")];
            s.store.unsynced().assoc_in(&path, &value).unwrap();
        });
        run.step("fold", Synced, |s| s.store.fold_now().unwrap());
    }
    run.settle();
}

/// What filled it need not be compared each time.
fn empty(run: &mut Run<'_>) {
    run.step("empty", Later, |s| {
        s.store.dissoc(&Key::text("filler")).unwrap();
    });
}

fn in_tables(mount: &Mount, kind: &'static str) -> Disk {
    let mut run = populated(mount, kind);
    fill(&mut run, 9 << 20);
    empty(&mut run);
    run.reopen(true);
    run.finish();
    let disk = mount.disk();
    assert!(has_table(&disk), "the engine has made no table");
    disk
}

fn nearly_full(mount: &Mount, kind: &'static str) -> Disk {
    let mut run = populated(mount, kind);
    fill(&mut run, 7 << 20);
    empty(&mut run);
    run.reopen(true);
    run.finish();
    let disk = mount.disk();
    assert!(!has_table(&disk), "the memtable was full already");
    disk
}

fn has_table(disk: &Disk) -> bool {
    let mut paths = disk.tree().into_keys();
    paths.any(|path| path.to_string_lossy().contains("tables/"))
}

/// The disks of the bases. Made once: each sequence of a process begins with the same.
fn bases() -> &'static [Disk] {
    static DISKS: OnceLock<Vec<Disk>> = OnceLock::new();
    DISKS.get_or_init(|| {
        let mount = Mount::new(2);
        BASES
            .iter()
            .map(|(_, kind, make)| make(&mount, kind))
            .collect()
    })
}

/// How much is tried.
#[derive(Clone, Copy)]
pub struct Effort {
    /// Ways for each moment.
    pub ways: usize,
    /// Of so many images one is written to after it was opened.
    pub thorough: usize,
    /// Of so many images one is recovered on the recorded disk, for a crash in the recovery.
    pub again: usize,
}

/// What one sequence came to.
#[derive(Default)]
pub struct Report {
    pub images: usize,
    pub failures: Vec<String>,
}

/// The base of a sequence. Making a table takes hundreds of changes to a disk with much on it: one
/// such sequence for each round of the kinds.
fn base(number: u64) -> usize {
    let number = number as usize;
    let nearly_full = base_named(NEARLY_FULL);
    if number % KINDS.len() == nearly_full {
        return nearly_full;
    }
    let others = (0..BASES.len()).filter(|base| *base != nearly_full);
    others.cycle().nth(number % (BASES.len() - 1)).unwrap()
}

fn base_named(name: &str) -> usize {
    BASES.iter().position(|base| base.0 == name).unwrap()
}

/// A sequence of up to three operations, from a seed.
fn sequence(mount: &Mount, seed: u64, number: u64) -> (Recorded, String) {
    let mut random = Random::new(seed, number);
    let base = base(number);
    let mut run = Run::open(mount, BASES[base].1, bases()[base].clone());
    let mut kinds = Vec::new();
    for at in 0..1 + random.below(3) {
        // Each kind is the first of some sequence.
        let kind = if at == 0 {
            number as usize % KINDS.len()
        } else {
            random.below(KINDS.len())
        };
        let (name, operation) = &KINDS[kind];
        operation(&mut run, &mut random);
        kinds.push(*name);
    }
    // A table is made in the background.
    if BASES[base].0 == NEARLY_FULL {
        fill(&mut run, 2 << 20);
        assert!(has_table(&mount.disk()), "the engine has made no table");
    }
    let name = format!("{}: {}", BASES[base].0, kinds.join("; "));
    (run.finish(), name)
}

/// Goes on with an image and the state it opens to; gives what is wrong.
type Again<'a> = dyn FnMut(Disk, usize, &mut Checker, &mut Random) -> Vec<String> + 'a;

/// Crashes a recorded run at each change, and checks what is left.
pub fn crash(
    recorded: &Recorded,
    random: &mut Random,
    effort: Effort,
    checker: &mut Checker,
    case: &str,
    open: &dyn Fn(&Location, &[State], bool) -> Outcome,
    mut crash_again: Option<&mut Again<'_>>,
) -> Report {
    let mut report = Report::default();
    let mut volatile = Volatile::new(recorded.base.clone());
    let (mut floor, mut ceiling) = (0, 0);
    let before = checker.distinct.len();
    for (at, event) in recorded.log.iter().enumerate() {
        match event {
            // What comes next may be the state after the step that begins.
            Event::Begin => {
                let end = recorded.log[at..].iter().find_map(|event| match event {
                    Event::End { states, .. } => Some(*states),
                    _ => None,
                });
                ceiling = end.unwrap_or(ceiling);
                continue;
            }
            Event::End { states, synced } => {
                ceiling = *states;
                floor = *synced;
            }
            Event::Change(change) => volatile.change(change),
        }
        let ways = volatile.ways();
        for way in ways.choose(random, effort.ways) {
            let image = ways.disk(&way);
            let thorough = random.below(effort.thorough) == 0;
            let outcome = checker.check(&image, recorded.kind, case, |location| {
                open(location, &recorded.states, thorough)
            });
            let wrong = match &outcome {
                Ok(state) if (floor..=ceiling).contains(state) => {
                    if random.below(effort.again) == 0
                        && let Some(again) = crash_again.as_mut()
                    {
                        report
                            .failures
                            .extend(again(image, *state, checker, random));
                    }
                    continue;
                }
                Ok(state) => format!("state {state} is not one of {floor} to {ceiling}"),
                Err(why) => why.clone(),
            };
            let log = tail(&recorded.log[..=at], &recorded.base);
            report.failures.push(format!(
                "{case}\n  steps: {}\n  crash at {at} of {}: {wrong}\n{log}\n  way {way:?}\n{}",
                recorded.steps.join(", "),
                recorded.log.len(),
                ways.explain(&way)
            ));
            if report.failures.len() >= 3 {
                return report;
            }
        }
    }
    report.images = checker.distinct.len() - before;
    report
}

/// The end of a log, for a person.
fn tail(log: &[Event], disk: &Disk) -> String {
    let mut disk = disk.clone();
    for event in log {
        if let Event::Change(change @ (Change::Enter { .. } | Change::Move { .. })) = event {
            disk.apply(change);
        }
    }
    let lines = log
        .iter()
        .skip(log.len().saturating_sub(25))
        .map(|event| match event {
            Event::Change(change) => format!("    {}", show(change, &disk)),
            other => format!("    {other:?}"),
        });
    lines.collect::<Vec<_>>().join("\n")
}

/// One sequence with all its crashes.
fn run(mount: &Mount, seed: u64, number: u64, effort: Effort, checker: &mut Checker) -> Report {
    let (recorded, name) = sequence(mount, seed, number);
    let case = format!("KFS_SEED={seed} KFS_CASE={number} ({name})");
    let mut random = Random::new(seed, number ^ (1 << 63));
    checker.forget();
    let states = &recorded.states;
    let mut again = |image: Disk, state: usize, checker: &mut Checker, random: &mut Random| {
        let recovery = recover(mount, recorded.kind, image, &states[state]);
        let case = format!("{case}, crash in the recovery of state {state}");
        let few = Effort {
            ways: effort.ways / 2,
            ..effort
        };
        // What was read from the disk is on it: no later crash takes it away.
        checker.apart(|checker| crash(&recovery, random, few, checker, &case, &open, None).failures)
    };
    crash(
        &recorded,
        &mut random,
        effort,
        checker,
        &case,
        &open,
        Some(&mut again),
    )
}

/// Opens an image on the recorded disk and lets the store do all it has to.
pub fn recover(mount: &Mount, kind: &'static str, image: Disk, state: &State) -> Recorded {
    mount.load(image.clone());
    let session = Session::connect(&location(mount, kind));
    session.store.fold_now().unwrap();
    let log = mount.take_log();
    session.close();
    Recorded {
        kind,
        base: image,
        log,
        states: vec![state.clone()],
        steps: vec!["recovery".to_owned()],
    }
}

#[test]
fn a_creation_that_was_cut_short_leaves_a_new_store_or_room_for_one() {
    let _alone = count_panics();
    let seed = seed();
    let mount = Mount::new(2);
    let effort = Effort {
        ways: 12,
        thorough: 1,
        again: 1,
    };
    for kind in ["kfs", "file"] {
        let recorded = Run::create(&mount, kind).finish();
        let mut random = Random::new(seed, 1);
        let case = format!("KFS_SEED={seed} creation of {kind}:");
        let mut checker = Checker::new();
        let report = crash(
            &recorded,
            &mut random,
            effort,
            &mut checker,
            &case,
            &open_or_create,
            None,
        );
        println!("{kind}: {} different images", report.images);
        assert!(
            report.failures.is_empty(),
            "{}",
            report.failures.join("\n\n")
        );
    }
}

#[test]
fn recovery_does_not_ask_for_pages_that_were_freed() {
    named_case("freeing", "all folded", |run, large| {
        let path = [Key::text("large")];
        run.step("put", Synced, |s| {
            s.store.assoc_in(&path, large).unwrap();
        });
        run.step("replace", Later, |s| {
            let store = s.store.unsynced();
            store.assoc_in(&path, &Value::Int(1)).unwrap();
        });
        run.step("free", Synced, |s| {
            konserve_fs::gc::reclaim(&s.store).unwrap();
        });
    });
}

#[test]
fn files_that_the_log_needs_no_more_are_there() {
    named_case("into files", "files, all folded", |run, large| {
        run.step("put", Synced, |s| {
            s.store.assoc_in(&[Key::text("large")], large).unwrap();
        });
        run.reopen(true);
    });
}

#[test]
fn a_table_that_is_being_made_is_not_needed_before_it_is_whole() {
    named_case("making a table", NEARLY_FULL, |run, large| {
        run.step("put", Later, |s| {
            let store = s.store.unsynced();
            store.assoc_in(&[Key::text("large")], large).unwrap();
        });
        fill(run, 2 << 20);
    });
}

#[test]
fn what_a_snapshot_has_is_brought_back_in_one_write() {
    named_case("bringing back", "all folded", |run, large| {
        let then = snapshot::open(&run.session().store, "s0").unwrap();
        let big = [Key::text("big")];
        for path in [&big[..], &[Key::text("blob")], &[Key::text("new")]] {
            run.step("change", Later, |s| {
                s.store.unsynced().assoc_in(path, large).unwrap();
            });
        }
        run.step("restore", Synced, |s| {
            snapshot::restore(&s.store, &then, &big).unwrap();
        });
        run.step("roll back", Synced, |s| {
            snapshot::roll_back(&s.store, &then).unwrap();
        });
    });
}

#[test]
fn a_sweep_that_was_cut_short_has_evicted_the_keys_it_came_to() {
    for base in ["all folded", "files, in the journal"] {
        named_case("sweeping", base, |run, _| {
            sweep(run, &mut Random::new(seed(), 2));
            let now = run.session().store.now();
            let (gone, spared) =
                sweep_before(run, &mut Random::new(seed(), 3), now, HashSet::new());
            assert!(gone > 1 && spared > 0, "{gone} {spared}");
            run.step("free pages", Synced, |s| {
                konserve_fs::gc::reclaim(&s.store).unwrap();
            });
        });
    }
}

/// A sequence that is crashed at each change.
fn named_case(name: &str, base: &str, steps: impl FnOnce(&mut Run<'_>, &Value)) {
    let _alone = count_panics();
    let seed = seed();
    let mount = Mount::new(OWN * 100);
    let base = base_named(base);
    let mut run = Run::open(&mount, BASES[base].1, bases()[base].clone());
    steps(&mut run, &Value::Bytes(Random::new(seed, 0).bytes(300_000)));
    let recorded = run.finish();
    // Making a table takes hundreds of changes to a disk with much on it.
    let ways = if BASES[base].0 == NEARLY_FULL { 2 } else { 12 };
    let effort = Effort {
        ways,
        thorough: 8,
        again: 100,
    };
    let mut random = Random::new(seed, 1);
    let case = format!("KFS_SEED={seed} {name}:");
    let mut checker = Checker::new();
    let report = crash(
        &recorded,
        &mut random,
        effort,
        &mut checker,
        &case,
        &open,
        None,
    );
    println!("{} different images", report.images);
    assert!(
        report.failures.is_empty(),
        "{}",
        report.failures.join("\n\n")
    );
}

/// A number from the environment.
fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name}={text} is no number")),
    )
}

/// What `KFS_SEED` says, or always the same.
pub fn seed() -> u64 {
    number("KFS_SEED").unwrap_or(1)
}

/// Sequences, one for each kind of operation to begin with. `KFS_SEQUENCES` sets how many, `KFS_WAYS`
/// the images for each moment, `KFS_CASE` repeats a single one, `KFS_WORKERS` runs several at once.
#[test]
fn every_crash_leaves_a_state_that_was() {
    let _alone = count_panics();
    let seed = seed();
    println!("KFS_SEED={seed}");
    let only = number("KFS_CASE");
    let sequences = number("KFS_SEQUENCES").unwrap_or(KINDS.len() as u64);
    let effort = Effort {
        ways: usize::try_from(number("KFS_WAYS").unwrap_or(3)).unwrap(),
        thorough: 16,
        again: 200,
    };
    bases();
    let next = AtomicU64::new(only.unwrap_or(0));
    let end = only.map_or(sequences, |only| only + 1);
    let total = Mutex::new(Report::default());
    let start = Instant::now();
    thread::scope(|scope| {
        for worker in 0..number("KFS_WORKERS").unwrap_or(1) {
            let (next, total) = (&next, &total);
            scope.spawn(move || {
                let mount = Mount::new(OWN * (worker + 1));
                let mut checker = Checker::new();
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= end || total.lock().failures.len() >= 3 {
                        break;
                    }
                    let report = run(&mount, seed, number, effort, &mut checker);
                    let mut total = total.lock();
                    total.images += report.images;
                    for failure in report.failures {
                        eprintln!("{failure}\n");
                        total.failures.push(failure);
                    }
                    if number % 50 == 49 {
                        let time = start.elapsed().as_secs();
                        println!(
                            "{} sequences, {} images, {time} s",
                            number + 1,
                            total.images
                        );
                    }
                }
            });
        }
    });
    let total = total.into_inner();
    let time = start.elapsed().as_secs();
    println!(
        "{} sequences, {} different images, {} failures, {time} s",
        end - only.unwrap_or(0),
        total.images,
        total.failures.len()
    );
    assert!(total.failures.is_empty(), "see above");
    assert!(total.images > 0 || only.is_some());
}
