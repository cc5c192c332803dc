//! A storage over another that is never written to.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use konserve_fs::backend::faulty::{Faults, Faulty};
use konserve_fs::backend::memory::Memory;
use konserve_fs::backend::overlay::Overlay;
use konserve_fs::backend::{Backend, BackendError, Batch, Deadline, Precondition};

use crate::basics::{get, put};
use crate::losing::Losing;
use crate::storages::soon;
use crate::tiers::{Choice, down};

/// Both sides of an overlay.
struct Sides {
    front: Arc<Faulty>,
    back: Arc<Faulty>,
    /// What the back has.
    base: Arc<Memory>,
}

impl Sides {
    fn new() -> Self {
        let base = Arc::new(Memory::new());
        let faulty = |inner| Arc::new(Faulty::new(inner, Faults::default()));
        Self {
            front: faulty(Arc::new(Memory::new())),
            back: faulty(Arc::clone(&base) as _),
            base,
        }
    }

    fn open(&self) -> Overlay {
        Overlay::new(Arc::clone(&self.front) as _, Arc::clone(&self.back) as _)
    }

    fn all_of_back(&self) -> BTreeMap<Vec<u8>, Vec<u8>> {
        let listed = self.base.list(b"", None, usize::MAX, soon()).unwrap();
        let pair = |address: Vec<u8>| (address.clone(), get(&*self.base, &address).unwrap());
        listed.into_iter().map(pair).collect()
    }
}

fn delete(storage: &dyn Backend, address: &[u8]) -> bool {
    storage.delete(address, Precondition::Any, soon()).unwrap()
}

fn listed(storage: &dyn Backend) -> Vec<Vec<u8>> {
    storage.list(b"", None, 10_000, soon()).unwrap()
}

#[test]
fn the_back_is_seen_until_something_else_is_written_and_is_never_written_to() {
    let sides = Sides::new();
    for address in [b"a", b"b", b"c"] {
        put(&*sides.base, address, b"old");
    }
    let before = sides.all_of_back();
    let o = sides.open();
    put(&o, b"b", b"new");
    put(&o, b"d", b"");
    assert!(delete(&o, b"c"));
    assert!(!delete(&o, b"c"));
    let seen = |o: &Overlay| [b"a", b"b", b"c", b"d"].map(|address| get(o, address));
    let expected = [Some(&b"old"[..]), Some(b"new"), None, Some(b"")];
    let expected = expected.map(|bytes| bytes.map(<[u8]>::to_vec));
    assert_eq!(seen(&o), expected);
    assert_eq!(listed(&o), [b"a", b"b", b"d"]);
    for (address, bytes) in [b"a", b"b", b"c", b"d"].iter().zip(&expected) {
        let length = o.length(*address, soon()).unwrap();
        assert_eq!(length, bytes.as_ref().map(|bytes| bytes.len() as u64));
        let range = o.get_range(*address, 1..100, soon()).unwrap();
        let rest = bytes
            .as_ref()
            .map(|bytes| bytes.get(1..).unwrap_or_default());
        assert_eq!(range.as_deref(), rest);
    }
    // What was written stays, whoever opens it again.
    assert_eq!(seen(&sides.open()), expected);
    // A deleted blob can be made again, and what the back never had leaves no note.
    put(&o, b"c", b"again");
    assert_eq!(get(&o, b"c").unwrap(), b"again");
    assert!(delete(&o, b"d"));
    assert_eq!(listed(&*sides.front), [b"b", b"c"]);
    assert_eq!(sides.all_of_back(), before);
}

#[test]
fn a_batch_is_judged_on_what_is_seen() {
    let sides = Sides::new();
    put(&*sides.base, b"a", b"1");
    put(&*sides.base, b"b", b"2");
    let o = sides.open();
    let refused = |precondition| {
        let mut batch = Batch::new();
        batch.put(b"new", b"", Precondition::Any);
        batch.put(b"a", b"other", precondition);
        let done = o.apply(batch, soon());
        assert!(
            matches!(done, Err(BackendError::Conflict { .. })),
            "{done:?}"
        );
        assert_eq!(get(&o, b"new"), None);
    };
    refused(Precondition::Absent);
    let mut batch = Batch::new();
    let version = o.get(b"a", soon()).unwrap().unwrap().version();
    batch.put(b"a", b"3", Precondition::Version(version.clone()));
    batch.delete(b"b", Precondition::Any);
    o.apply(batch, soon()).unwrap();
    refused(Precondition::Version(version));
    assert_eq!(get(&o, b"a").unwrap(), b"3");
    assert_eq!(listed(&o), [b"a"]);
    // It is gone, though the back has it.
    let mut batch = Batch::new();
    batch.put(b"b", b"4", Precondition::Absent);
    o.apply(batch, soon()).unwrap();
    assert_eq!(get(&o, b"b").unwrap(), b"4");
}

#[test]
fn a_list_goes_through_both_sides_whatever_is_gone() {
    let sides = Sides::new();
    let o = sides.open();
    let address = |n: u32| n.to_be_bytes();
    let mut there = BTreeSet::new();
    for n in 0..3000 {
        // A long part of the back is gone, and a long part is in the front alone.
        if n < 2000 {
            put(&*sides.base, &address(n), b"old");
        }
        match n {
            0..100 | 1100..1500 => drop(there.insert(address(n).to_vec())),
            100..1100 => assert!(delete(&o, &address(n))),
            1500.. if n % 3 == 0 => {
                put(&o, &address(n), b"new");
                there.insert(address(n).to_vec());
            }
            1500..2000 => assert!(delete(&o, &address(n))),
            _ => {}
        }
    }
    for limit in [1, 7, 64, 65, 1000, 5000] {
        let mut found: Vec<Vec<u8>> = Vec::new();
        loop {
            let after = found.last().map(Vec::as_slice);
            let page = o.list(b"", after, limit, soon()).unwrap();
            assert!(page.len() <= limit);
            let ends = page.len() < limit;
            found.extend(page);
            if ends {
                break;
            }
        }
        assert!(found.iter().eq(&there), "{limit}: {}", found.len());
    }
}

#[test]
fn a_front_that_fails_is_an_error_and_not_what_the_back_has() {
    let sides = Sides::new();
    put(&*sides.base, b"a", b"old");
    let o = sides.open();
    put(&o, b"a", b"new");
    sides.front.set_faults(down());
    for address in [b"a", b"b"] {
        assert!(o.get(address, soon()).is_err());
        assert!(o.get_range(address, 0..1, soon()).is_err());
        assert!(o.length(address, soon()).is_err());
        assert!(o.put(address, b"", Precondition::Any, soon()).is_err());
        assert!(o.delete(address, Precondition::Any, soon()).is_err());
    }
    assert!(o.list(b"", None, 10, soon()).is_err());
    assert!(o.sync(soon()).is_err(), "durable means in the front");
    sides.front.set_faults(Faults::default());
    assert_eq!(get(&o, b"a").unwrap(), b"new");
    // What is in the front does not need the back, and what is not is no blob that is absent.
    sides.back.set_faults(down());
    assert_eq!(get(&o, b"a").unwrap(), b"new");
    assert!(o.get(b"b", soon()).is_err());
    assert!(o.list(b"", None, 10, soon()).is_err());
    put(&o, b"c", b"1");
    o.sync(soon()).unwrap();
}

/// What was synced, and some of what came after it in its order, is there after a power loss.
#[test]
fn what_was_synced_over_a_back_is_in_the_front() {
    for seed in 0..200 {
        let mut choice = Choice(seed);
        let (front, back) = (Arc::new(Losing::default()), Arc::new(Memory::new()));
        for n in 0..4_u8 {
            put(&*back, &[n], b"old");
        }
        let open = || Overlay::new(Arc::clone(&front) as _, Arc::clone(&back) as _);
        let state = |o: &Overlay| (0..8_u8).map(|n| get(o, &[n])).collect::<Vec<_>>();
        let mut o = open();
        // What was after each write since the last sync.
        let mut states = vec![state(&o)];
        for step in 0..60_u8 {
            let n = u8::try_from(choice.below(7)).unwrap();
            match choice.below(8) {
                0 => {
                    o.sync(soon()).unwrap();
                    states.drain(..states.len() - 1);
                }
                1 => {
                    let kept = choice.index(front.unsynced() + 1);
                    front.lose(kept);
                    o = open();
                    let found = state(&o);
                    assert!(states.contains(&found), "seed {seed}, step {step}");
                    states = vec![found];
                }
                2 => drop(delete(&o, &[n])),
                3 => {
                    let mut batch = Batch::new();
                    batch.put([n], [step], Precondition::Any);
                    batch.delete([n + 1], Precondition::Any);
                    o.apply(batch, soon()).unwrap();
                }
                _ => put(&o, &[n], &[step]),
            }
            states.push(state(&o));
        }
    }
}

#[test]
fn a_side_that_hangs_is_waited_for_until_the_deadline() {
    let sides = Sides::new();
    let o = sides.open();
    for side in [&sides.front, &sides.back] {
        side.set_faults(Faults {
            hang: 1000,
            ..Faults::default()
        });
        let at = || Deadline::after(Duration::from_millis(20));
        let late = o.get(b"a", at()).map(drop);
        let delete = o.delete(b"a", Precondition::Any, at()).map(drop);
        for late in [late, delete, o.list(b"", None, 1, at()).map(drop)] {
            assert!(
                matches!(late, Err(BackendError::Deadline { .. })),
                "{late:?}"
            );
        }
        side.set_faults(Faults::default());
    }
    assert_eq!(get(&o, b"a"), None);
}

#[test]
fn an_entry_of_the_front_that_is_none_is_damage() {
    for bytes in [&b""[..], b"\xFEblob", b"\x00more"] {
        let sides = Sides::new();
        put(&*sides.base, b"a", b"old");
        put(&*sides.front, b"a", bytes);
        let found = sides.open().get(b"a", soon());
        assert!(
            matches!(found, Err(BackendError::Damage { .. })),
            "{found:?}"
        );
    }
}

/// The contents an address may have after writes whose answer was lost.
type Possible = BTreeMap<Vec<u8>, Vec<Option<Vec<u8>>>>;

fn believe(model: &mut Possible, address: &[u8], new: Option<Vec<u8>>, sure: bool) {
    let now = model.entry(address.to_vec()).or_default();
    if sure {
        now.clear();
    }
    now.push(new);
}

/// Writes and reads while both sides fail as `faults` says of the step.
fn run(name: &str, choice: &mut Choice, steps: u64, faults: &mut dyn FnMut(&Sides, &mut Choice)) {
    let sides = Sides::new();
    let mut model = Possible::new();
    for n in 0..6_u8 {
        let old = (n % 2 == 0).then(|| vec![n; 9]);
        if let Some(old) = &old {
            put(&*sides.base, &[n], old);
        }
        believe(&mut model, &[n], old, true);
    }
    let before = sides.all_of_back();
    faults(&sides, choice);
    let mut o = sides.open();
    for step in 0..steps {
        let address = [u8::try_from(choice.below(6)).unwrap()];
        let bytes = step.to_le_bytes().to_vec();
        match choice.below(11) {
            0..=2 => {
                let put = o.put(&address, &bytes, Precondition::Any, soon());
                believe(&mut model, &address, Some(bytes), put.is_ok());
            }
            3 | 4 => {
                let gone = o.delete(&address, Precondition::Any, soon());
                believe(&mut model, &address, None, gone.is_ok());
            }
            5 => {
                let other = [(address[0] + 1) % 6];
                let mut batch = Batch::new();
                batch.put(address, bytes.clone(), Precondition::Any);
                batch.delete(other, Precondition::Any);
                let sure = o.apply(batch, soon()).is_ok();
                believe(&mut model, &address, Some(bytes), sure);
                believe(&mut model, &other, None, sure);
            }
            6 => {
                let put = o.put(&address, &bytes, Precondition::Absent, soon());
                if matches!(put, Err(BackendError::Conflict { .. })) {
                    let possible = model.get_mut(&address[..]).unwrap();
                    assert!(possible.iter().any(Option::is_some), "{name}, step {step}");
                    possible.retain(Option::is_some);
                } else {
                    believe(&mut model, &address, Some(bytes), put.is_ok());
                }
            }
            7 => {
                let Ok(listed) = o.list(b"", None, 100, soon()) else {
                    continue;
                };
                for (address, possible) in &mut model {
                    let there = listed.contains(address);
                    possible.retain(|content| content.is_some() == there);
                    assert!(!possible.is_empty(), "{name}, step {step}: {address:?}");
                }
            }
            8 => {
                // The process is gone.
                sides.front.set_faults(Faults::default());
                sides.back.set_faults(Faults::default());
                o = sides.open();
                faults(&sides, choice);
            }
            _ => {
                let Ok(found) = o.get(&address, soon()) else {
                    continue;
                };
                let found = found.map(|blob| blob.bytes);
                let possible = model.get_mut(&address[..]).unwrap();
                assert!(
                    possible.contains(&found),
                    "{name}, step {step}: {found:?} and not of {possible:?}"
                );
                *possible = vec![found];
            }
        }
    }
    sides.front.set_faults(Faults::default());
    sides.back.set_faults(Faults::default());
    let o = sides.open();
    for (address, possible) in &model {
        let found = get(&o, address);
        assert!(
            possible.contains(&found),
            "{name}: {found:?} of {possible:?}"
        );
    }
    assert_eq!(
        sides.all_of_back(),
        before,
        "{name}: the back was written to"
    );
}

#[test]
fn what_is_read_over_a_back_is_what_was_written_whatever_fails() {
    let seeds = std::env::var("KFS_SEEDS").map_or(1000, |n| n.parse().unwrap());
    for seed in 0..seeds {
        let mut rates = |sides: &Sides, choice: &mut Choice| {
            for side in [&sides.front, &sides.back] {
                let mut rate = || u16::try_from(choice.below(3) * 60).unwrap();
                side.set_faults(Faults {
                    seed: seed ^ u64::from(rate()),
                    error: rate(),
                    no_space: rate(),
                    lost_reply: rate(),
                    delay: rate(),
                    longest_delay: Duration::from_micros(50),
                    ..Faults::default()
                });
            }
        };
        run(&format!("seed {seed}"), &mut Choice(seed), 200, &mut rates);
    }
}

/// The front, the back or both stop at each of their calls in turn, in the middle of everything.
#[test]
fn each_side_of_an_overlay_may_stop_at_each_call() {
    for (front_stops, back_stops) in [(true, false), (false, true), (true, true)] {
        for stop in 0..120 {
            let mut once = Some(());
            let mut stopping = |sides: &Sides, _: &mut Choice| {
                if once.take().is_none() {
                    return;
                }
                for (side, stops) in [(&sides.front, front_stops), (&sides.back, back_stops)] {
                    side.set_faults(Faults {
                        stop_at: stops.then_some(side.counts().0 + stop),
                        ..Faults::default()
                    });
                }
            };
            let name = format!("stop {stop} of {front_stops} {back_stops}");
            run(&name, &mut Choice(stop), 100, &mut stopping);
        }
    }
}
