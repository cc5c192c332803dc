//! Generated sequences of operations, against the model.
//!
//! `KFS_SEED` runs the one sequence of that seed; `KFS_CASES` sets how many there are, from seed 0 or
//! that of `KFS_SEED` on.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;
use std::time::Duration;

use super::model::Options;
use super::step::{Random, Step, draw, taste};
use super::world::{ABANDON, Setting, World};

/// A sequence that takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(60);

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn sequence(seed: u64) -> (Setting, Vec<Step>) {
    let mut random = Random::new(seed);
    let setting = Setting {
        disk: random.one_in(3),
        watchful: random.one_in(2),
        lookups: random.one_in(2),
        options: Options {
            strict: random.one_in(8),
            infer: random.one_in(8),
        },
    };
    let taste = taste(&mut random);
    let len = 3 + random.below(40);
    let steps = (0..len).map(|_| draw(&mut random, &taste)).collect();
    (setting, steps)
}

/// Runs a sequence; gives what went wrong.
fn run(setting: Setting, steps: &[Step]) -> Option<String> {
    let ran = catch_unwind(AssertUnwindSafe(|| {
        let mut world = World::new(setting);
        for (i, step) in steps.iter().enumerate() {
            if let Err(e) = world.apply(step) {
                return (e != ABANDON && !world.is_late()).then(|| format!("step {i}: {e}"));
            }
        }
        let end = world.let_go().and_then(|()| world.remount(true, false));
        end.err()
            .filter(|_| !world.is_late())
            .map(|e| format!("at the end: {e}"))
    }));
    ran.unwrap_or_else(|e| {
        let text = e.downcast_ref::<String>().cloned();
        let text = text.or_else(|| e.downcast_ref::<&str>().map(|t| (*t).to_owned()));
        Some(format!("panic: {}", text.unwrap_or_default()))
    })
}

/// Leaves out what is not needed for it to go wrong.
fn shrink(setting: Setting, mut steps: Vec<Step>) -> (Vec<Step>, String) {
    let mut reason = run(setting, &steps).unwrap_or_else(|| "(not again)".to_owned());
    let mut part = steps.len().div_ceil(2);
    while part > 0 {
        let mut at = 0;
        while at < steps.len() {
            let mut fewer = steps.clone();
            fewer.drain(at..(at + part).min(steps.len()));
            match run(setting, &fewer) {
                Some(new) => (steps, reason) = (fewer, new),
                None => at += part,
            }
        }
        part /= 2;
    }
    (steps, reason)
}

/// Ends the process if it is not told in time that a sequence is over.
fn watch(done: mpsc::Receiver<u64>) {
    let mut last = None;
    loop {
        match done.recv_timeout(PATIENCE) {
            Ok(seed) => last = Some(seed),
            Err(mpsc::RecvTimeoutError::Disconnected) => return,
            Err(mpsc::RecvTimeoutError::Timeout) => {
                eprintln!("the sequence after that of seed {last:?} hangs");
                std::process::abort();
            }
        }
    }
}

#[test]
fn generated_operations_do_what_the_model_says() {
    let (first, cases) = match (number("KFS_SEED"), number("KFS_CASES")) {
        (Some(seed), cases) => (seed, cases.unwrap_or(1)),
        (None, cases) => (0, cases.unwrap_or(400)),
    };
    let seeds = first..first + cases;
    let loud = std::env::var_os("KFS_LOUD").is_some();
    let (tell, done) = mpsc::channel();
    std::thread::spawn(move || watch(done));
    for seed in seeds {
        let (setting, steps) = sequence(seed);
        if loud {
            eprintln!("seed {seed}: {setting:?}");
            for step in &steps {
                eprintln!("    {step:?}");
            }
        }
        if run(setting, &steps).is_some() {
            let (steps, reason) = shrink(setting, steps);
            let list: Vec<String> = steps.iter().map(|s| format!("    {s:?}")).collect();
            panic!(
                "{reason}\nKFS_SEED={seed}, {setting:?}, least steps:\n{}",
                list.join("\n")
            );
        }
        tell.send(seed).unwrap();
    }
}
