//! A sweep, of which each eviction is a step: none of them waits for the disk, its end does.

use std::collections::{BTreeSet, HashSet};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, mpsc};
use std::thread;

use konserve_fs::gc::{KEEP, Sweep};
use konserve_fs::store::{Committed, Observer, Store};
use konserve_fs::tree::Time;
use konserve_fs::value::{Key, Value};
use parking_lot::Mutex;

use crate::operations::{CALLER, lookup};
use crate::random::Random;
use crate::run::Durability::{Later, Synced};
use crate::run::Run;

/// Holds a sweep up where it asks whether the key that it is about to evict is in use.
struct Gate {
    /// Hears of the key.
    reached: mpsc::Sender<Option<Key>>,
    open: Mutex<mpsc::Receiver<()>>,
    /// It asks again before it commits.
    last: Mutex<Option<Key>>,
}

impl Observer for Gate {
    fn committed(&self, _: &Committed<'_>) {}

    fn is_in_use(&self, key: &Key) -> bool {
        let mut last = self.last.lock();
        if last.as_ref() != Some(key) {
            *last = Some(key.clone());
            if self.reached.send(Some(key.clone())).is_ok() {
                // When the sweep is over nobody opens.
                let _ = self.open.lock().recv();
            }
        }
        false
    }
}

/// What is to go: all that was written before the cutoff and that nothing keeps.
fn doomed(store: &Store, what: &Sweep) -> BTreeSet<Key> {
    let (docs, _) = store.docs_after(None, usize::MAX).unwrap();
    let goes = docs.into_iter().filter(|(key, doc)| {
        let attrs = doc.entry.attrs.as_ref();
        let kept = attrs.is_some_and(|attrs| attrs.xattrs.contains_key(KEEP));
        doc.last_write < what.cutoff && !what.keep.contains(key) && !kept
    });
    goes.map(|(key, _)| key).collect()
}

/// Now, or the moment of some write.
fn cutoff(store: &Store, random: &mut Random) -> Time {
    let (docs, _) = store.docs_after(None, usize::MAX).unwrap();
    let times: Vec<Time> = docs.iter().map(|(_, doc)| doc.last_write).collect();
    if times.is_empty() || random.below(2) == 0 {
        store.now()
    } else {
        *random.pick(&times)
    }
}

/// Evicts what is old, but not one that is marked to be kept.
pub fn sweep(run: &mut Run<'_>, random: &mut Random) {
    if let Some(ino) = lookup(&run.session().view, "file") {
        run.step("keep file", Later, |s| {
            s.view.setxattr(&CALLER, ino, KEEP, b"1", 0, 0).unwrap();
        });
    }
    let store = run.session().store.clone();
    let cutoff = cutoff(&store, random);
    let (docs, _) = store.docs_after(None, usize::MAX).unwrap();
    let some = docs.iter().filter(|_| random.below(6) == 0);
    let keep = some.map(|(key, _)| key.clone()).collect();
    sweep_before(run, random, cutoff, keep);
}

/// Evicts what was written before a moment, but not `keep`, nor what is written just before it goes;
/// gives how many keys went, and how many of the last stayed.
pub fn sweep_before(
    run: &mut Run<'_>,
    random: &mut Random,
    cutoff: Time,
    keep: HashSet<Key>,
) -> (usize, usize) {
    let store = run.session().store.clone();
    let what = Sweep {
        cutoff,
        keep,
        dry_run: false,
    };
    let mut expected = doomed(&store, &what);
    let (reached, reach) = mpsc::channel();
    let (open, opened) = mpsc::channel();
    store.observe(Arc::new(Gate {
        reached: reached.clone(),
        open: Mutex::new(opened),
        last: Mutex::new(None),
    }));
    let (sweeping, swept) = (&store, &what);
    thread::scope(move |scope| {
        // Let go of when this ends in whatever way, as the sweep is then.
        let open = open;
        let sweeper = scope.spawn(move || {
            let gone = konserve_fs::gc::sweep(sweeping, swept, &AtomicBool::new(false));
            reached.send(None).unwrap();
            gone.unwrap()
        });
        let next = || reach.recv().unwrap();
        let (mut here, mut spared) = (next(), 0);
        while let Some(key) = here {
            // A write would save what is to be kept in any case.
            if expected.contains(&key) && random.below(3) == 0 {
                run.step(format!("write {key:?} during it"), Later, |s| {
                    let value = Value::Text("during it".to_owned());
                    s.store.unsynced().assoc(&key, &value).unwrap();
                });
                expected.remove(&key);
                spared += 1;
            }
            here = run.step(format!("sweep {key:?}"), Later, |_| {
                open.send(()).unwrap();
                next()
            });
        }
        let gone: BTreeSet<Key> = sweeper.join().unwrap().into_iter().collect();
        assert_eq!(gone, expected);
        // Where nothing went, nothing is promised.
        let durability = if gone.is_empty() { Later } else { Synced };
        run.step("the sweep has ended", durability, |_| ());
        (gone.len(), spared)
    })
}
