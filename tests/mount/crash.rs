//! Nothing that was acknowledged is lost when the daemon is killed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::stat::{Mode, umask};

use crate::harness::Mount;
use crate::load::{Node, State, Worker, found};
use crate::overlay::bytes_of;
use crate::random::{Random, number, seed};

/// What was found wrong, by kind.
#[derive(Debug, Default)]
struct Report {
    lost: Vec<String>,
    torn: Vec<String>,
    unknown: Vec<String>,
}

impl Report {
    fn is_clean(&self) -> bool {
        self.lost.is_empty() && self.torn.is_empty() && self.unknown.is_empty()
    }
}

fn show(node: &Node) -> String {
    match node {
        Node::Dir { mode } => format!("directory {mode:o}"),
        Node::Link(target) => format!("link to {target:?}"),
        Node::File { mode, content } => format!(
            "file {mode:o} of {} bytes, {}…",
            content.len(),
            content[..content.len().min(24)].escape_ascii()
        ),
    }
}

/// Sorts the differences to the state that it is nearest to into what they are.
fn blame(worker: &Worker, found: &State, report: &mut Report) {
    let distance = |state: &State| {
        let missing = state
            .iter()
            .filter(|(path, node)| found.get(*path) != Some(node))
            .count();
        missing
            + found
                .keys()
                .filter(|path| !state.contains_key(*path))
                .count()
    };
    let possible = worker.possible();
    let Some(nearest) = possible.iter().min_by_key(|state| distance(state)) else {
        return;
    };
    let in_flight = |path: &Path| {
        let change = worker
            .in_flight
            .iter()
            .flatten()
            .find(|(changed, _)| changed == path);
        if change.is_some() { ", in flight" } else { "" }
    };
    for (path, node) in nearest {
        let note = in_flight(path);
        match found.get(path) {
            Some(there) if there == node => {}
            Some(there) => report.torn.push(format!(
                "{path:?}{note}: {} in place of {}",
                show(there),
                show(node)
            )),
            None => report.lost.push(format!("{path:?}{note}: {}", show(node))),
        }
    }
    for (path, node) in found {
        if !nearest.contains_key(path) {
            let note = in_flight(path);
            report
                .unknown
                .push(format!("{path:?}{note}: {}", show(node)));
        }
    }
}

/// Compares the mount with what each worker knows, and lets it go on from there.
fn check(m: &Mount, workers: &mut [Worker], report: &mut Report) {
    let mut all = match found(m) {
        Ok(all) => all,
        Err(error) => {
            return report
                .lost
                .push(format!("the mount cannot be read: {error}"));
        }
    };
    for worker in workers {
        let own = |path: &PathBuf| path.to_string_lossy().starts_with(&worker.prefix);
        let mine: State = all.extract_if(.., |path, _| own(path)).collect();
        if !worker.possible().contains(&mine) {
            blame(worker, &mine, report);
        }
        worker.adopt(mine);
    }
    let unknown = all
        .into_iter()
        .map(|(path, node)| format!("{path:?}: {}", show(&node)));
    report.unknown.extend(unknown);
}

/// Lets all workers work for a time, and kills the daemon under them.
fn work_and_kill(m: &Mount, workers: &mut [Worker], time: Duration) -> Result<(), String> {
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let running: Vec<_> = workers
            .iter_mut()
            .map(|worker| scope.spawn(|| worker.work(m, &stop)))
            .collect();
        // Freeing what they leave behind must not take more than that, whenever it is cut short.
        scope.spawn(|| {
            while !stop.load(Ordering::SeqCst) {
                m.gc();
            }
        });
        thread::sleep(time);
        stop.store(true, Ordering::SeqCst);
        m.kill();
        running
            .into_iter()
            .try_for_each(|worker| worker.join().map_err(|_| "a worker panicked")?)
    })
}

#[test]
fn killing_the_daemon_under_a_mixed_load_loses_and_tears_nothing() {
    let seed = seed();
    umask(Mode::from_bits_truncate(0o022));
    let m = Mount::new();
    let files = (0..4).map(|n| Worker::files(n, seed ^ (n as u64 + 1)));
    let commands = (0..2).map(|n| Worker::commands(n, seed ^ (n as u64 + 100)));
    let mut workers: Vec<Worker> = files.chain(commands).collect();
    kill_under_load(&m, &mut workers, seed);
}

#[test]
fn killing_the_daemon_of_an_encrypted_store_loses_and_tears_nothing() {
    let seed = seed();
    umask(Mode::from_bits_truncate(0o022));
    let m = Mount::encrypted();
    let mut workers: Vec<Worker> = (0..4)
        .map(|n| Worker::files(n, seed ^ (n as u64 + 1)))
        .collect();
    kill_under_load(&m, &mut workers, seed);
}

#[test]
fn killing_the_daemon_of_what_lies_over_a_store_loses_and_tears_nothing() {
    let seed = seed();
    umask(Mode::from_bits_truncate(0o022));
    let mut m = Mount::new();
    let mut workers: Vec<Worker> = (0..4)
        .map(|n| Worker::files(n, seed ^ (n as u64 + 1)))
        .collect();
    // What they do at first is in the store, and what they do then is written over it.
    kill_under_load(&m, &mut workers, seed);
    m.umount();
    let before = bytes_of(m.store());
    let front = m.store().with_file_name("front");
    m.set_options(&format!("front={},overlay", front.display()));
    m.mount();
    kill_under_load(&m, &mut workers, !seed);
    m.umount();
    assert_eq!(bytes_of(m.store()), before);
}

/// Kills the daemon again and again while the workers work.
fn kill_under_load(m: &Mount, workers: &mut [Worker], seed: u64) {
    let kills = number("KFS_KILLS").unwrap_or(10);
    let mut random = Random::new(seed);
    let (mut both, mut done) = (0, 0);
    let (mut slowest, started) = (Duration::ZERO, Instant::now());
    for round in 0..kills {
        let time = Duration::from_millis(match random.below(4) {
            0 => random.below(30),
            1 => random.below(1000),
            _ => random.below(300),
        } as u64);
        if let Err(error) = work_and_kill(m, workers, time) {
            panic!("round {round}: {error}");
        }
        both += workers
            .iter()
            .filter(|worker| worker.in_flight.is_some())
            .count();
        let mounting = Instant::now();
        m.mount();
        slowest = slowest.max(mounting.elapsed());
        if random.below(4) == 0 {
            // Recovery itself may be cut short, and must be able to begin again.
            thread::sleep(Duration::from_millis(random.below(20) as u64));
            m.kill();
            m.mount();
        }
        let mut report = Report::default();
        check(m, workers, &mut report);
        done += 1;
        assert!(
            report.is_clean(),
            "round {round} of KFS_SEED={seed}, {time:?}:\n{report:#?}"
        );
    }
    m.remount();
    let mut report = Report::default();
    check(m, workers, &mut report);
    assert!(report.is_clean(), "after a clean remount:\n{report:#?}");

    let mut kinds = BTreeMap::new();
    for (kind, count) in workers.iter().flat_map(|worker| &worker.done) {
        *kinds.entry(*kind).or_insert(0) += count;
    }
    let total: u64 = kinds.values().sum();
    println!(
        "{done} kills in {:?}: {total} operations acknowledged, {both} in flight, 0 lost, 0 torn, \
         0 of unknown origin; slowest mount {slowest:?}\n{kinds:?}",
        started.elapsed()
    );
    assert!(total > 10 * kills, "hardly any load: {total}");
}

#[test]
fn what_an_fsync_or_a_close_acknowledged_is_there_after_one_kill() {
    let m = Mount::new();
    m.sh(
        "mkdir -p d/e; echo kept > d/e/f; echo 1 > top; ln -s f d/e/l; mv top d/top
          setfattr -n user.a -v b d/e/f; touch -d '2001-01-01 UTC' d/e/f; chmod 600 d/top",
    );
    m.put("doc", "{:a [1 2 {:b 3}]}");
    m.sh("rm d/e/l; echo 4 > doc/:a/2/:b");
    m.kill();
    m.mount();
    assert_eq!(
        m.sh("cat d/e/f d/top doc/:a/2/:b; ls d/e; stat -c '%a %Y' d/top d/e/f | tail -1"),
        "kept\n1\n4\nf\n644 978307200"
    );
    assert_eq!(
        m.sh("getfattr -n user.a --only-values d/e/f; stat -c ' %a' d/top"),
        "b 600"
    );
    assert_eq!(m.names(""), ["d", "doc"]);
}

#[test]
fn a_killed_daemon_leaves_only_whole_values_of_a_file_that_is_overwritten_all_the_time() {
    let m = Mount::new();
    let versions: Vec<Vec<u8>> = (b'a'..=b'j').map(|byte| vec![byte; 70_000]).collect();
    for dir in ["", "d"] {
        std::fs::create_dir_all(m.path(dir)).unwrap();
        let name = Path::new(dir).join("f");
        m.write(&name, &versions[0]);
        for _ in 0..3 {
            let stop = AtomicBool::new(false);
            thread::scope(|scope| {
                scope.spawn(|| {
                    for version in versions.iter().cycle() {
                        if stop.load(Ordering::SeqCst)
                            || crate::harness::save(&m.path(&name), version).is_err()
                        {
                            break;
                        }
                    }
                });
                thread::sleep(Duration::from_millis(60));
                stop.store(true, Ordering::SeqCst);
                m.kill();
            });
            m.mount();
            let content = m.read(&name);
            assert!(versions.contains(&content), "torn: {} bytes", content.len());
        }
    }
}
