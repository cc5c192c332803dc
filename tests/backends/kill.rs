//! A process that is killed keeps what it acknowledged, in whole batches, up to some point.
//!
//! The child is this test binary again, which does the work that an environment variable names.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{ChildStdout, Command, Stdio};
use std::time::Duration;

use konserve_fs::backend::{Access, Backend, Batch, Precondition};

use crate::basics::get;
use crate::storages::{Local, soon};

const WORK: &str = "KFS_TEST_WORK";
const DIR: &str = "KFS_TEST_DIR";
const STORAGE: &str = "KFS_TEST_STORAGE";

/// Another process of this test binary.
pub struct Child {
    process: std::process::Child,
    output: BufReader<ChildStdout>,
}

impl Child {
    pub fn start(work: &str, local: Local, dir: &Path) -> Self {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args([
                "kill::work_of_the_child",
                "--exact",
                "--nocapture",
                "--test-threads=1",
            ])
            .env(WORK, work)
            .env(DIR, dir)
            .env(STORAGE, local.name())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(process.stdout.take().unwrap());
        Self { process, output }
    }

    /// The next line that the work printed.
    pub fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        while self.output.read_line(&mut line).unwrap() > 0 {
            if let Some((_, said)) = line.trim_end().split_once("said: ") {
                return Some(said.to_owned());
            }
            line.clear();
        }
        None
    }

    pub fn id(&self) -> u32 {
        self.process.id()
    }

    pub fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// Does nothing in an ordinary run of the tests.
#[test]
fn work_of_the_child() {
    let Ok(work) = std::env::var(WORK) else {
        return;
    };
    let dir = std::env::var(DIR).unwrap();
    let local = Local::of_name(&std::env::var(STORAGE).unwrap());
    let wait = Duration::from_secs(10);
    let backend = local
        .try_open(Path::new(&dir), Access::ReadWrite, wait)
        .unwrap();
    match work.as_str() {
        "hold" => {
            say("ready");
            std::thread::sleep(Duration::from_secs(600));
        }
        "write" => write(&*backend),
        other => panic!("{other}"),
    }
}

fn say(what: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "said: {what}").unwrap();
    out.flush().unwrap();
}

/// Rounds of one put, one batch of two blobs, and one delete of what an earlier round put. Goes on
/// with the round that the last process did not finish.
fn write(backend: &dyn Backend) {
    let first = last_round(backend).map_or(0, |round| round + 1);
    for round in first.. {
        let content = content(round);
        backend
            .put(&address(b's', round), &content, Precondition::Any, soon())
            .unwrap();
        let mut batch = Batch::new();
        batch.put(address(b'a', round), &*content, Precondition::Absent);
        batch.put(address(b'b', round), &*content, Precondition::Absent);
        backend.apply(batch, soon()).unwrap();
        if let Some(old) = round.checked_sub(100) {
            backend
                .delete(&address(b's', old), Precondition::Any, soon())
                .unwrap();
        }
        say(&round.to_string());
    }
}

fn address(kind: u8, round: u32) -> Vec<u8> {
    [&[kind], round.to_be_bytes().as_slice()].concat()
}

/// Of very different lengths, some above what the engine keeps in its tables.
fn content(round: u32) -> Vec<u8> {
    let length = [10, 200, 3000, 20_000][round as usize % 4];
    round.to_be_bytes().repeat(length / 4)
}

fn last_round(backend: &dyn Backend) -> Option<u32> {
    let listed = backend.list(b"b", None, usize::MAX, soon()).unwrap();
    listed
        .last()
        .map(|address| u32::from_be_bytes(address[1..].try_into().unwrap()))
}

#[test]
fn a_kill_keeps_every_acknowledged_write_and_whole_batches() {
    for local in Local::ALL {
        kill_again_and_again(local);
    }
}

fn kill_again_and_again(local: Local) {
    let dir = tempfile::tempdir().unwrap();
    drop(local.create(&dir));
    let mut acknowledged = None;
    for (run, lines) in [1, 150, 700, 2, 1500, 3000].into_iter().enumerate() {
        let mut child = Child::start("write", local, dir.path());
        for _ in 0..lines {
            acknowledged = child.line().map(|line| line.parse::<u32>().unwrap());
        }
        child.kill();
        while let Some(line) = child.line() {
            acknowledged = Some(line.parse().unwrap());
        }
        check(&*local.open(&dir), acknowledged.unwrap(), run);
    }
}

/// The blobs of all rounds up to the acknowledged one are there, and of the next one a prefix.
fn check(backend: &dyn Backend, acknowledged: u32, run: usize) {
    let there = |kind, round| match get(backend, &address(kind, round)) {
        Some(bytes) => {
            assert!(
                bytes == content(round),
                "run {run}: {kind} of round {round}"
            );
            true
        }
        None => false,
    };
    for round in 0..=acknowledged {
        // The round under way may have deleted one more; then all else of it was done.
        let next = acknowledged + 1;
        let deleted = round + 100 <= acknowledged || (round + 100 == next && there(b'b', next));
        if !deleted {
            assert!(
                there(b's', round),
                "run {run}: put of round {round} of {acknowledged}"
            );
        }
        assert!(
            there(b'a', round) && there(b'b', round),
            "run {run}: batch of {round}"
        );
    }
    let listed = backend.list(b"s", None, usize::MAX, soon()).unwrap().len();
    // Each kill may have come between a batch and the delete.
    assert!(
        listed <= 102 + run,
        "run {run}: {listed} puts were not deleted"
    );
    let next = acknowledged + 1;
    let state = [b's', b'a', b'b'].map(|kind| there(kind, next));
    let prefixes = [[false; 3], [true, false, false], [true; 3]];
    assert!(prefixes.contains(&state), "run {run}: {state:?}");
    let after = [b's', b'a', b'b'].map(|kind| there(kind, next + 1));
    assert_eq!(after, [false; 3], "run {run}");
}
