//! Running cases in processes of their own.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

use super::cases::all;
use super::fixture::{Fixture, Kind};
use super::judge::{Outcome, judge, watch_panics};

const FIXTURE: &str = "KFS_DAMAGE_FIXTURE";

/// Workers at once.
const WORKERS: usize = 2;

/// A case that takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// Before the lines that are for the parent.
const MARK: &str = "outcome ";

pub fn is_worker() -> bool {
    std::env::var_os(FIXTURE).is_some()
}

/// A directory in memory, if there is such a thing.
pub fn scratch() -> TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() {
        tempfile::tempdir_in(memory).unwrap()
    } else {
        tempfile::tempdir().unwrap()
    }
}

/// A worker: takes the numbers of cases from standard input and tells what came of each.
pub fn work() {
    let dir = PathBuf::from(std::env::var_os(FIXTURE).unwrap());
    let fixture = Fixture::load(Kind::all()[kind_number()], &dir);
    let cases = all(&fixture);
    watch_panics();
    let scratch = tempfile::tempdir_in(&dir).unwrap();
    for line in std::io::stdin().lines() {
        let number: usize = line.unwrap().parse().unwrap();
        let copy = scratch.path().join("s");
        let _none = fs::remove_dir_all(&copy);
        fs::create_dir(&copy).unwrap();
        let outcome = judge(&fixture, &cases[number], &copy);
        let text = serde_json::to_string(&outcome).unwrap();
        // In one piece: the test harness prints, too.
        println!("\n{MARK}{number} {text}");
    }
}

fn kind_number() -> usize {
    std::env::var("KFS_DAMAGE_KIND").unwrap().parse().unwrap()
}

/// Runs cases and tells what came of them.
pub fn run(dir: &TempDir, kind: Kind, count: usize, cases: &[usize]) -> Vec<(usize, Outcome)> {
    assert!(cases.iter().all(|number| *number < count));
    thread::scope(|scope| {
        let share = |worker: usize| cases.iter().copied().skip(worker).step_by(WORKERS);
        let threads: Vec<_> = (0..WORKERS)
            .map(|worker| {
                let share: Vec<usize> = share(worker).collect();
                scope.spawn(move || run_share(dir.path(), kind, &share))
            })
            .collect();
        let outcomes = threads.into_iter().map(|thread| thread.join().unwrap());
        outcomes.flatten().collect()
    })
}

/// Runs some cases one after the other. Whenever a worker dies or hangs, the next one goes on
/// behind the case that it had.
fn run_share(dir: &Path, kind: Kind, cases: &[usize]) -> Vec<(usize, Outcome)> {
    let mut outcomes = Vec::new();
    while let Some(&number) = cases.get(outcomes.len()) {
        let worker = Worker::start(dir, kind, &cases[outcomes.len()..]);
        loop {
            match worker.lines.recv_timeout(PATIENCE) {
                Ok((number, outcome)) => outcomes.push((number, outcome)),
                Err(RecvTimeoutError::Timeout) => {
                    outcomes.push((cases[outcomes.len()], Outcome::Hung));
                    break;
                }
                Err(RecvTimeoutError::Disconnected) => {
                    if let Some(&number) = cases.get(outcomes.len()) {
                        outcomes.push((number, Outcome::Aborted));
                    }
                    break;
                }
            }
        }
        worker.end();
        assert!(outcomes.len() <= cases.len() && outcomes.iter().any(|(n, _)| *n == number));
    }
    outcomes
}

struct Worker {
    child: Child,
    lines: Receiver<(usize, Outcome)>,
}

impl Worker {
    fn start(dir: &Path, kind: Kind, cases: &[usize]) -> Self {
        let place = Kind::all().iter().position(|other| *other == kind).unwrap();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["--exact", "store::damage::worker", "--nocapture"])
            .env(FIXTURE, dir)
            .env("KFS_DAMAGE_KIND", place.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        if std::env::var_os("KFS_DAMAGE_SHOW").is_none() {
            command.stderr(Stdio::null());
        }
        let mut child = command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let cases = cases.to_vec();
        thread::spawn(move || {
            for number in cases {
                // A worker that has died takes no more.
                if writeln!(stdin, "{number}").is_err() {
                    break;
                }
            }
        });
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = channel();
        thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                let Some(line) = line.strip_prefix(MARK) else {
                    continue;
                };
                let (number, text) = line.split_once(' ').unwrap();
                let outcome = serde_json::from_str(text).unwrap();
                if sender.send((number.parse().unwrap(), outcome)).is_err() {
                    break;
                }
            }
        });
        Self { child, lines }
    }

    fn end(mut self) {
        let _dead = self.child.kill();
        self.child.wait().unwrap();
    }
}
