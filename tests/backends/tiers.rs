//! A front and a back: what is true is in the back, whatever the front does.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use konserve_fs::backend::faulty::{Faults, Faulty};
use konserve_fs::backend::memory::Memory;
use konserve_fs::backend::tiered::{Front, TOLERATED, Tiered, Writes};
use konserve_fs::backend::{Backend, Batch, Deadline, Precondition};

use crate::basics::{get, put};
use crate::storages::soon;

fn tiered(front: &Arc<Faulty>, back: &Arc<Faulty>, writes: Writes, known: Front) -> Tiered {
    let (front, back) = (Arc::clone(front) as _, Arc::clone(back) as _);
    Tiered::open(front, back, writes, known, soon()).unwrap()
}

fn faulty() -> Arc<Faulty> {
    Arc::new(Faulty::new(Arc::new(Memory::new()), Faults::default()))
}

/// Everything fails.
pub fn down() -> Faults {
    Faults {
        error: 1000,
        ..Faults::default()
    }
}

#[test]
fn what_was_read_or_written_comes_from_the_front() {
    let (front, back) = (faulty(), faulty());
    put(&*back, b"old", b"1");
    let t = tiered(&front, &back, Writes::Through, Front::Unknown);
    put(&t, b"new", b"2");
    assert_eq!(get(&t, b"old").unwrap(), b"1");
    back.set_faults(down());
    assert_eq!(get(&t, b"old").unwrap(), b"1");
    assert_eq!(get(&t, b"new").unwrap(), b"2");
    assert!(
        t.get(b"missing", soon()).is_err(),
        "what the front lacks may be in the back"
    );
    assert!(t.put(b"new", b"3", Precondition::Any, soon()).is_err());
    back.set_faults(Faults::default());
    assert_eq!(get(&t, b"new").unwrap(), b"2");
    assert_eq!((t.tally().hits.get(), t.tally().misses.get()), (2, 3));
}

#[test]
fn what_is_written_around_the_front_is_not_in_it_until_it_is_read() {
    let (front, back) = (faulty(), faulty());
    let t = tiered(&front, &back, Writes::Around, Front::Unknown);
    put(&t, b"a", b"1");
    assert_eq!(get(&*front, b"a"), None);
    assert_eq!(get(&t, b"a").unwrap(), b"1");
    assert!(get(&*front, b"a").is_some());
    put(&t, b"a", b"2");
    assert_eq!(get(&*front, b"a"), None);
    assert_eq!(get(&t, b"a").unwrap(), b"2");
}

#[test]
fn a_front_that_fails_is_done_without() {
    let (front, back) = (faulty(), faulty());
    let t = tiered(&front, &back, Writes::Through, Front::Unknown);
    put(&t, b"a", b"1");
    front.set_faults(down());
    put(&t, b"a", b"2");
    assert!(t.delete(b"b", Precondition::Any, soon()).is_ok());
    assert_eq!(get(&t, b"a").unwrap(), b"2");
    assert_eq!(t.stale(), 2);
    // It has the first value, and would give it now.
    front.set_faults(Faults::default());
    assert!(!t.is_coherent());
    assert_eq!(get(&t, b"a").unwrap(), b"2");
    put(&t, b"b", b"3");
    assert_eq!((t.stale(), t.is_coherent()), (0, true));
    assert_eq!(get(&t, b"b").unwrap(), b"3");
    // After too many failures it is not asked any more.
    front.set_faults(down());
    for _ in 0..TOLERATED {
        put(&t, b"a", b"4");
    }
    let before = front.counts().0;
    put(&t, b"c", b"5");
    assert_eq!(get(&t, b"c").unwrap(), b"5");
    assert_eq!(front.counts().0, before);
}

#[test]
fn a_front_that_hangs_does_not_hold_up_for_long() {
    let (front, back) = (faulty(), faulty());
    let t = tiered(&front, &back, Writes::Through, Front::Unknown);
    put(&t, b"a", b"1");
    front.set_faults(Faults {
        hang: 1000,
        ..Faults::default()
    });
    let deadline = Deadline::after(Duration::from_secs(30));
    assert_eq!(t.get(b"a", deadline).unwrap().unwrap().bytes, b"1");
    assert!(t.put(b"a", b"2", Precondition::Any, deadline).is_ok());
    assert!(!deadline.expired());
    front.set_faults(Faults::default());
    assert_eq!(get(&t, b"a").unwrap(), b"2");
}

#[test]
fn a_front_of_which_nothing_is_known_is_emptied() {
    let (front, back) = (faulty(), faulty());
    let t = tiered(&front, &back, Writes::Through, Front::Unknown);
    for n in 0..2500_u32 {
        put(&t, &n.to_be_bytes(), b"1");
    }
    put(&*back, &0_u32.to_be_bytes(), b"2");
    let kept = tiered(&front, &back, Writes::Through, Front::Coherent);
    assert_eq!(
        get(&kept, &0_u32.to_be_bytes()).unwrap(),
        b"1",
        "as was said"
    );
    let t = tiered(&front, &back, Writes::Through, Front::Unknown);
    assert_eq!(front.list(b"", None, 10, soon()).unwrap().len(), 0);
    assert_eq!(get(&t, &0_u32.to_be_bytes()).unwrap(), b"2");
}

#[test]
fn a_front_is_populated_with_what_it_lacks() {
    let (front, back) = (faulty(), faulty());
    for n in 0..2500_u32 {
        put(&*back, &n.to_be_bytes(), &n.to_le_bytes());
    }
    let t = tiered(&front, &back, Writes::Through, Front::Unknown);
    assert_eq!(get(&t, &7_u32.to_be_bytes()).unwrap(), 7_u32.to_le_bytes());
    assert_eq!(t.populate(b"", &|| true, soon()).unwrap(), 2499);
    let calls = back.counts().0;
    assert_eq!(t.populate(b"", &|| true, soon()).unwrap(), 0);
    assert_eq!(back.counts().0 - calls, 3, "it lists, and reads nothing");
    put(&*back, b"new", b"1");
    assert_eq!(t.populate(b"", &|| false, soon()).unwrap(), 0);
    assert_eq!(t.populate(b"", &|| true, soon()).unwrap(), 1);
    back.set_faults(down());
    for n in 0..2500_u32 {
        assert_eq!(get(&t, &n.to_be_bytes()).unwrap(), n.to_le_bytes());
    }
}

#[test]
fn a_front_with_a_bound_keeps_what_is_read_again() {
    let (front, back) = (faulty(), faulty());
    let content = |n: u32| [n.to_le_bytes(); 20].concat();
    // Each with its address and its checksum takes 100 bytes.
    let t = tiered(&front, &back, Writes::Through, Front::Unknown);
    let t = t.bounded(1000, soon()).unwrap();
    for n in 0..100_u32 {
        put(&t, &n.to_be_bytes(), &content(n));
        if n >= 3 {
            assert_eq!(get(&t, &3_u32.to_be_bytes()).unwrap(), content(3));
        }
        assert!(t.used().unwrap() <= 1000);
    }
    let there = front.list(b"", None, 1000, soon()).unwrap();
    assert_eq!((there.len(), t.used()), (10, Some(1000)));
    assert!(there.contains(&3_u32.to_be_bytes().to_vec()));
    assert_eq!(t.tally().evicted.get(), 90);
    assert_eq!(t.tally().misses.get(), 0, "that one was always there");
    // Nothing is lost by it, and nothing is stale.
    assert!(t.is_coherent());
    for n in 0..100_u32 {
        assert_eq!(get(&t, &n.to_be_bytes()).unwrap(), content(n));
        assert!(t.used().unwrap() <= 1000);
    }
    // What is larger than all of it is not copied, and drives nothing out.
    let used = t.used();
    put(&t, b"large", &[1; 1000]);
    assert_eq!(get(&t, b"large").unwrap(), [1; 1000]);
    assert_eq!(t.used(), used);
    // It fills no further than there is room.
    assert_eq!(t.populate(b"", &|| true, soon()).unwrap(), 0);
    for n in 0..100_u32 {
        t.delete(&n.to_be_bytes(), Precondition::Any, soon())
            .unwrap();
    }
    assert_eq!(t.used(), Some(0));
    for n in 0..100_u32 {
        put(&*back, &n.to_be_bytes(), &content(n));
    }
    assert_eq!(t.populate(b"", &|| true, soon()).unwrap(), 10);
    // A front that was kept is looked through, and what is too much for a smaller one goes.
    drop(t);
    let t = tiered(&front, &back, Writes::Through, Front::Coherent);
    let t = t.bounded(500, soon()).unwrap();
    assert_eq!(t.used(), Some(500));
    assert_eq!(front.list(b"", None, 1000, soon()).unwrap().len(), 5);
}

/// What a seed chooses.
pub struct Choice(pub u64);

impl Choice {
    pub fn index(&mut self, n: usize) -> usize {
        usize::try_from(self.below(n as u64)).unwrap()
    }

    pub fn below(&mut self, n: u64) -> u64 {
        // splitmix64
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % n
    }
}

/// The contents an address may have after writes whose answer was lost.
type Possible = BTreeMap<u8, Vec<Option<Vec<u8>>>>;

fn believe(model: &mut Possible, address: u8, new: Option<Vec<u8>>, sure: bool) {
    let now = model.entry(address).or_insert_with(|| vec![None]);
    if sure {
        now.clear();
    }
    now.push(new);
}

fn run(seed: u64) {
    let mut choice = Choice(seed);
    let rates = |choice: &mut Choice, is_front: bool| {
        let mut rate = || u16::try_from(choice.below(3) * 60).unwrap();
        let mut faults = Faults {
            seed,
            error: rate(),
            no_space: rate(),
            lost_reply: rate(),
            ..Faults::default()
        };
        if is_front {
            (faults.flip, faults.truncate) = (rate(), rate());
            faults.stop_at_write = (rate() > 100).then_some(80);
        }
        faults
    };
    let (front, back) = (faulty(), faulty());
    let writes = [Writes::Through, Writes::Around][usize::try_from(choice.below(2)).unwrap()];
    let bound = [None, Some(60)][choice.index(2)];
    let open = || {
        let t = tiered(&front, &back, writes, Front::Unknown);
        match bound {
            Some(bytes) => t.bounded(bytes, soon()).unwrap(),
            None => t,
        }
    };
    let mut t = open();
    front.set_faults(rates(&mut choice, true));
    back.set_faults(rates(&mut choice, false));
    let mut model = Possible::new();
    for step in 0..200_u64 {
        let address = u8::try_from(choice.below(6)).unwrap();
        let bytes = step.to_le_bytes().to_vec();
        match choice.below(10) {
            0..=2 => {
                let put = t.put(&[address], &bytes, Precondition::Any, soon());
                believe(&mut model, address, Some(bytes), put.is_ok());
            }
            3 => {
                let gone = t.delete(&[address], Precondition::Any, soon());
                believe(&mut model, address, None, gone.is_ok());
            }
            4 => {
                let mut batch = Batch::new();
                batch.put([address], bytes.clone(), Precondition::Any);
                batch.delete([address + 1], Precondition::Any);
                let sure = t.apply(batch, soon()).is_ok();
                believe(&mut model, address, Some(bytes), sure);
                believe(&mut model, address + 1, None, sure);
            }
            5 => drop(t.populate(b"", &|| true, soon())),
            6 if choice.below(10) == 0 => {
                // The process is gone, and with it what it knew of the front.
                front.set_faults(Faults::default());
                t = open();
                front.set_faults(rates(&mut choice, true));
            }
            _ => {
                let Ok(found) = t.get(&[address], soon()) else {
                    continue;
                };
                let found = found.map(|blob| blob.bytes);
                let possible = model.entry(address).or_insert_with(|| vec![None]);
                assert!(
                    possible.contains(&found),
                    "seed {seed}, step {step}: {found:?} and not of {possible:?}"
                );
                *possible = vec![found];
            }
        }
    }
}

/// The front, the back or both stop at each of their calls in turn, in the middle of everything.
#[test]
fn each_side_may_stop_at_each_call() {
    for writes in [Writes::Through, Writes::Around] {
        for (front_stops, back_stops) in [(true, false), (false, true), (true, true)] {
            for stop in 0.. {
                let (front, back) = (faulty(), faulty());
                let t = tiered(&front, &back, writes, Front::Unknown);
                let (before_front, before_back) = (front.counts().0, back.counts().0);
                let stopping = |stops: bool, before: u64| Faults {
                    stop_at: stops.then_some(before + stop),
                    ..Faults::default()
                };
                front.set_faults(stopping(front_stops, before_front));
                back.set_faults(stopping(back_stops, before_back));
                let mut model = Possible::new();
                for step in 0..12_u8 {
                    let address = step % 3;
                    let found = t.get(&[address], soon());
                    assert!(found.is_ok() || back_stops);
                    if step % 4 == 3 {
                        let gone = t.delete(&[address], Precondition::Any, soon());
                        believe(&mut model, address, None, gone.is_ok());
                    } else {
                        let put = t.put(&[address], &[step], Precondition::Any, soon());
                        assert!(put.is_ok() || back_stops);
                        believe(&mut model, address, Some(vec![step]), put.is_ok());
                    }
                }
                let all = (front.counts().0 - before_front).max(back.counts().0 - before_back);
                // As long as it lives, and opened again.
                for again in [false, true] {
                    for faulty in [&front, &back] {
                        faulty.set_faults(Faults::default());
                    }
                    let opened = again.then(|| tiered(&front, &back, writes, Front::Unknown));
                    let t = opened.as_ref().unwrap_or(&t);
                    for (address, possible) in &model {
                        let found = get(t, &[*address]);
                        assert!(
                            possible.contains(&found),
                            "{stop}: {found:?} of {possible:?}"
                        );
                    }
                }
                if stop > all {
                    break;
                }
            }
        }
    }
}

#[test]
fn what_is_read_is_what_was_written_whatever_fails() {
    let seeds = std::env::var("KFS_SEEDS").map_or(1000, |n| n.parse().unwrap());
    (0..seeds).for_each(run);
}
