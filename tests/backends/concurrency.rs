//! Several threads at once.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use konserve_fs::backend::{Backend, BackendError, Precondition};

use crate::basics::{get, put};
use crate::storages::soon;

pub fn compare_and_swap_loses_no_increment(backend: &dyn Backend) {
    put(backend, b"n", b"0");
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..50 {
                    increment(backend);
                }
            });
        }
    });
    assert_eq!(get(backend, b"n").unwrap(), b"200");
}

fn increment(backend: &dyn Backend) {
    loop {
        let blob = backend.get(b"n", soon()).unwrap().unwrap();
        let number: u32 = str::from_utf8(&blob.bytes).unwrap().parse().unwrap();
        let next = (number + 1).to_string();
        let unchanged = Precondition::Version(blob.version());
        match backend.put(b"n", next.as_bytes(), unchanged, soon()) {
            Ok(_) => return,
            Err(BackendError::Conflict { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

pub fn only_one_creator_wins(backend: &dyn Backend) {
    for round in 0..50_u8 {
        let winners = AtomicUsize::new(0);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    if backend
                        .put(&[round], b"", Precondition::Absent, soon())
                        .is_ok()
                    {
                        winners.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        });
        assert_eq!(winners.into_inner(), 1);
    }
}

pub fn readers_see_whole_blobs(backend: &dyn Backend) {
    let done = AtomicBool::new(false);
    put(backend, b"a", &[0; 10_000]);
    thread::scope(|scope| {
        scope.spawn(|| {
            for round in 0..300_usize {
                let byte = u8::try_from(round % 256).unwrap();
                put(backend, b"a", &vec![byte; 10_000 + round * 10]);
            }
            done.store(true, Ordering::Release);
        });
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(Ordering::Acquire) {
                    let bytes = get(backend, b"a").unwrap();
                    assert!(bytes.iter().all(|byte| *byte == bytes[0]));
                    let round = (bytes.len() - 10_000) / 10;
                    assert_eq!(usize::from(bytes[0]), round % 256);
                }
            });
        }
    });
}
