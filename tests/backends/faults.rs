//! The faulty wrapper does what it is told, again and again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use konserve_fs::backend::faulty::{Faults, Faulty};
use konserve_fs::backend::memory::Memory;
use konserve_fs::backend::{Backend, BackendError, Deadline, Precondition};

use crate::basics::{get, put};
use crate::storages::soon;

/// What a run of puts and gets under these faults gives, as one line per call.
fn run(faults: Faults) -> Vec<String> {
    let backend = Faulty::new(Arc::new(Memory::new()), faults);
    let mut lines = Vec::new();
    for number in 0..500_u32 {
        let address = (number % 50).to_be_bytes();
        let put = backend.put(&address, &[7; 100], Precondition::Any, soon());
        lines.push(put.map_or_else(|error| error.to_string(), |_| "put".to_owned()));
        let get = backend.get(&address, soon());
        lines.push(get.map_or_else(|error| error.to_string(), |blob| format!("{blob:?}")));
    }
    lines
}

#[test]
fn the_same_seed_gives_the_same_faults() {
    let rate = 50;
    let faults = Faults {
        seed: 1,
        error: rate,
        no_space: rate,
        lost_reply: rate,
        flip: rate,
        truncate: rate,
        ..Faults::default()
    };
    assert_eq!(run(faults), run(faults));
    assert_ne!(run(faults), run(Faults { seed: 2, ..faults }));
}

#[test]
fn faults_come_at_about_the_given_rate() {
    let share = |faults: Faults, is_fault: fn(&str) -> bool| {
        run(Faults { seed: 5, ..faults })
            .iter()
            .filter(|line| is_fault(line))
            .count()
    };
    let none = Faults::default();
    let failed = |line: &str| line.contains("failed on purpose");
    assert_eq!(share(none, failed), 0);
    assert!((60..140).contains(&share(Faults { error: 100, ..none }, failed)));
    assert!((25..80).contains(&share(
        Faults {
            lost_reply: 100,
            ..none
        },
        failed
    )));
    let full = |line: &str| line.contains("no space");
    assert!((25..80).contains(&share(
        Faults {
            no_space: 100,
            ..none
        },
        full
    )));
    let damaged = |line: &str| line.starts_with("Some") && !line.contains(&"7, ".repeat(99));
    assert_eq!(share(none, damaged), 0);
    assert!((25..80).contains(&share(Faults { flip: 100, ..none }, damaged)));
    assert!((25..80).contains(&share(
        Faults {
            truncate: 100,
            ..none
        },
        damaged
    )));
}

#[test]
fn a_lost_reply_means_that_the_write_was_done() {
    let backend = Faulty::new(
        Arc::new(Memory::new()),
        Faults {
            lost_reply: 1000,
            ..Faults::default()
        },
    );
    backend
        .put(b"a", b"1", Precondition::Any, soon())
        .unwrap_err();
    assert_eq!(get(&backend, b"a").unwrap(), b"1");
}

#[test]
fn a_failed_write_was_not_done() {
    let inner = Arc::new(Memory::new());
    let backend = Faulty::new(
        Arc::clone(&inner) as _,
        Faults {
            error: 1000,
            ..Faults::default()
        },
    );
    backend
        .put(b"a", b"1", Precondition::Any, soon())
        .unwrap_err();
    backend.set_faults(Faults {
        no_space: 1000,
        ..Faults::default()
    });
    let full = backend.put(b"a", b"1", Precondition::Any, soon());
    assert!(
        matches!(full, Err(BackendError::NoSpace { .. })),
        "{full:?}"
    );
    assert_eq!(get(&backend, b"a"), None);
}

#[test]
fn after_the_stop_everything_fails() {
    let inner = Arc::new(Memory::new());
    let faults = Faults {
        stop_at_write: Some(3),
        ..Faults::default()
    };
    let backend = Faulty::new(Arc::clone(&inner) as _, faults);
    for number in 0..3_u8 {
        put(&backend, &[number], b"");
        get(&backend, &[number]).unwrap();
    }
    let stopped = |outcome: Result<(), BackendError>| {
        assert!(
            matches!(outcome, Err(BackendError::Stopped { .. })),
            "{outcome:?}"
        );
    };
    stopped(backend.put(&[3], b"", Precondition::Any, soon()).map(drop));
    stopped(backend.get(&[0], soon()).map(drop));
    stopped(backend.sync(soon()));
    assert_eq!(inner.list(b"", None, 10, soon()).unwrap().len(), 3);
    backend.set_faults(Faults {
        stop_at: Some(0),
        ..Faults::default()
    });
    stopped(backend.get(&[0], soon()).map(drop));
}

#[test]
fn a_delay_ends_at_the_deadline() {
    let faults = Faults {
        delay: 1000,
        longest_delay: Duration::from_secs(3600),
        ..Faults::default()
    };
    let backend = Faulty::new(Arc::new(Memory::new()), faults);
    let start = Instant::now();
    let late = backend.get(b"a", Deadline::after(Duration::from_millis(20)));
    assert!(
        matches!(late, Err(BackendError::Deadline { .. })),
        "{late:?}"
    );
    assert!(start.elapsed() < Duration::from_secs(5));
}
