//! Writers, readers and folds at the same time.

use std::sync::atomic::{AtomicBool, Ordering};

use konserve_fs::store::{CreateOptions, Location, Store, StoreError};
use konserve_fs::value::{Key, Value};

#[test]
fn no_update_is_lost_while_folds_run() {
    const EACH: i64 = 20_000;
    const WRITERS: i64 = 3;
    let s = Store::create(&Location::parse("mem:").unwrap(), &CreateOptions::default())
        .unwrap()
        .unsynced();
    let key = Key::text("n");
    s.assoc(&key, &Value::Int(0)).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    s.fold_now().unwrap();
                }
            });
        }
        let writers: Vec<_> = (0..WRITERS)
            .map(|_| {
                scope.spawn(|| {
                    for _ in 0..EACH {
                        loop {
                            let done = s.update(&key, |n| match n {
                                Some(Value::Int(n)) => Ok(Value::Int(n + 1)),
                                other => Err(format!("{other:?}")),
                            });
                            match done {
                                Ok(_) => break,
                                Err(StoreError::Contention { .. }) => {}
                                Err(e) => panic!("{e}"),
                            }
                        }
                    }
                })
            })
            .collect();
        for writer in writers {
            writer.join().unwrap();
        }
        done.store(true, Ordering::Relaxed);
    });
    assert_eq!(s.get(&key).unwrap(), Some(Value::Int(WRITERS * EACH)));
}
