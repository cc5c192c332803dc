//! A store that was receiving a snapshot is what it was before, or has the whole snapshot.
//!
//! Between the two nobody may read it: who opens it for reading is refused, who opens it for writing
//! goes on with it.

use std::cell::Cell;

use konserve_fs::gc;
use konserve_fs::snapshot::{self, ReceiveOptions, Received, Sender, receive, resume_position};
use konserve_fs::store::{
    ConnectOptions, CreateOptions, Location, Position, Store, StoreError, check,
};
use konserve_fs::value::{Key, Value};

use crate::cases::{Effort, OWN, crash, recover, seed};
use crate::check::{Checker, Findings, Outcome, count_panics};
use crate::disk::Disk;
use crate::mount::{Event, Mount};
use crate::random::Random;
use crate::run::{Recorded, location};
use crate::state::State;

/// Two snapshots, the second of which has other values, keys and pages; of so many keys, and a file of
/// so many bytes.
fn sender((keys, length): (u64, usize), seed: u64) -> Store {
    let mut random = Random::new(seed, 0);
    let location = Location::parse("mem:").unwrap();
    let store = Store::create(&location, &CreateOptions::default()).unwrap();
    let assoc = |key: Key, value: &Value| store.assoc(&key, value).unwrap();
    for n in 0..keys {
        assoc(Key::index(n), &Value::Int(1));
    }
    for name in ["file", "gone"] {
        let bytes = random.bytes(100_000);
        store.bassoc(&Key::text(name), &bytes[..]).unwrap();
    }
    snapshot::take(&store, "one").unwrap();
    for n in (0..keys + 5).filter(|n| n % 7 != 0) {
        assoc(Key::index(n), &Value::Int(2));
    }
    let bytes = random.bytes(length);
    store.bassoc(&Key::text("file"), &bytes[..]).unwrap();
    store.dissoc(&Key::text("gone")).unwrap();
    let many = (0..200).map(|n| (Key::index(n), Value::Text(random.text(50))));
    assoc(Key::text("map"), &Value::Map(many.collect()));
    snapshot::take(&store, "two").unwrap();
    store
}

fn stream(sender: &Store, from: Option<&str>, to: &str, resume: Option<Position>) -> Vec<u8> {
    let mut sender = Sender::new(sender, from, to, resume).unwrap();
    let mut stream = Vec::new();
    while let Some(part) = sender.next_part().unwrap() {
        stream.extend(part);
    }
    stream
}

fn take_in(location: &Location, stream: &[u8]) -> Received {
    receive(location, stream, &ReceiveOptions::default()).unwrap()
}

fn state(location: &Location) -> Result<State, StoreError> {
    State::of(&Store::connect(location, &ConnectOptions::default())?)
}

/// Which of the states a store is in. One that is not there is in the first, which is that of an
/// empty one.
fn number(found: Result<State, StoreError>, states: &[State]) -> Outcome {
    let found = match found {
        Err(StoreError::Missing { .. } | StoreError::NotAStore { .. }) => State::default(),
        found => found.map_err(|e| e.to_string())?,
    };
    let number = states.iter().position(|state| *state == found);
    number.ok_or_else(|| {
        let nearest = states.iter().map(|state| state.difference(&found));
        let nearest = nearest.min_by_key(String::len).unwrap_or_default();
        format!("neither what was nor what came: {nearest}")
    })
}

/// What is left of one that was received into.
struct Left<'s> {
    sender: &'s Store,
    from: Option<&'s str>,
    stream: &'s [u8],
    whole: &'s State,
    /// Images that were between the two, and those on which a stream could be gone on with.
    half: Cell<u32>,
    resumed: Cell<u32>,
}

impl Left<'_> {
    fn open(&self, location: &Location, states: &[State], thorough: bool) -> Outcome {
        let read_only = ConnectOptions {
            read_only: true,
            ..ConnectOptions::default()
        };
        let shown = Store::connect(location, &read_only).and_then(|store| State::of(&store));
        let shown = match shown {
            Err(StoreError::HalfReceived { .. }) => None,
            shown => Some(number(shown, states).map_err(|e| format!("read only: {e}"))?),
        };
        let found = number(state(location), states)?;
        match shown {
            Some(shown) if shown != found => {
                return Err(format!("it showed {shown}, and is {found} then"));
            }
            Some(_) => {}
            None if states[found] == *self.whole => self.half.set(self.half.get() + 1),
            None => return Err("it was half received, and is not whole then".to_owned()),
        }
        if states[found] != *self.whole {
            self.again(location, thorough)?;
        }
        if thorough {
            let fail = |e: StoreError| e.to_string();
            let store = Store::connect(location, &ConnectOptions::default()).map_err(fail)?;
            gc::reclaim(&store).map_err(|e| format!("freeing: {e}"))?;
            store.release().map_err(fail)?;
            let mut findings = Findings::default();
            let report = check(location, None, &mut findings).map_err(fail)?;
            if !findings.0.is_empty() || report.garbage > 0 {
                return Err(format!("{} pages left, {:?}", report.garbage, findings.0));
            }
            number(state(location), std::slice::from_ref(self.whole))?;
        }
        Ok(found)
    }

    /// It takes in what had not come, or all of it from the beginning.
    fn again(&self, location: &Location, go_on: bool) -> Result<(), String> {
        // The first is gone on with in any case: there are few.
        let go_on = go_on || self.resumed.get() == 0;
        let position = match Store::connect(location, &ConnectOptions::default()) {
            Ok(store) if go_on => resume_position(&store).map_err(|e| e.to_string())?,
            _ => None,
        };
        let rest = position.map(|at| stream(self.sender, self.from, "two", Some(at)));
        self.resumed
            .set(self.resumed.get() + u32::from(rest.is_some()));
        let stream = rest.as_deref().unwrap_or(self.stream);
        receive(location, stream, &ReceiveOptions::default())
            .map_err(|e| format!("it does not receive: {e}"))?;
        let whole = std::slice::from_ref(self.whole);
        number(state(location), whole).map_err(|e| format!("received again: {e}"))?;
        Ok(())
    }
}

/// Gives how often a stream was gone on with.
fn receive_and_crash(kind: &'static str, from: Option<&str>, size: (u64, usize)) -> u32 {
    let _alone = count_panics();
    let seed = seed();
    let sender = sender(size, seed);
    let stream = |from, to| stream(&sender, from, to, None);
    let mount = Mount::new(if from.is_some() { OWN * 200 } else { 2 });
    mount.load(Disk::new());
    let target = location(&mount, kind);
    if let Some(first) = from {
        take_in(&target, &stream(None, first));
    }
    let base = mount.disk();
    let before = from.map_or_else(State::default, |_| state(&target).unwrap());
    mount.load(base.clone());
    drop(mount.take_log());
    let sent = stream(from, "two");
    mount.mark(Event::Begin);
    take_in(&target, &sent);
    mount.mark(Event::End {
        states: 1,
        synced: 1,
    });
    let log = mount.take_log();
    let whole = state(&target).unwrap();
    let recorded = Recorded {
        kind,
        base,
        log,
        states: vec![before, whole.clone()],
        steps: vec![format!("receive two from {from:?}")],
    };
    let left = Left {
        sender: &sender,
        from,
        stream: &sent,
        whole: &whole,
        half: Cell::new(0),
        resumed: Cell::new(0),
    };
    let case = format!("KFS_SEED={seed} receive into {kind}");
    let effort = Effort {
        ways: 2,
        thorough: 3,
        again: 25,
    };
    let open = |location: &Location, states: &[State], thorough: bool| {
        left.open(location, states, thorough)
    };
    let mut again = |image: Disk, state: usize, checker: &mut Checker, random: &mut Random| {
        if recorded.states[state] != whole {
            return Vec::new();
        }
        let finishing = recover(&mount, kind, image, &whole);
        let case = format!("{case}, crash while it is finished");
        let once = Effort { ways: 1, ..effort };
        checker
            .apart(|checker| crash(&finishing, random, once, checker, &case, &open, None).failures)
    };
    let mut random = Random::new(seed, 1);
    let mut checker = Checker::new();
    let report = crash(
        &recorded,
        &mut random,
        effort,
        &mut checker,
        &case,
        &open,
        Some(&mut again),
    );
    let (half, resumed) = (left.half.get(), left.resumed.get());
    println!(
        "{kind}: {} different images, {half} halfway, {resumed} gone on with",
        report.images
    );
    assert!(
        report.failures.is_empty(),
        "{}",
        report.failures.join("\n\n")
    );
    assert!(half > 0, "none was halfway");
    resumed
}

/// More than is staged at once.
const SEVERAL_STEPS: (u64, usize) = (300, 1_300_000);

#[test]
fn a_store_that_was_receiving_changes_is_the_old_or_the_new() {
    assert!(receive_and_crash("kfs", Some("one"), SEVERAL_STEPS) > 0);
}

#[test]
fn a_store_in_files_that_was_receiving_changes_is_the_old_or_the_new() {
    receive_and_crash("file", Some("one"), (8, 150_000));
}

#[test]
fn a_new_store_that_was_receiving_is_none_or_empty_or_whole() {
    assert!(receive_and_crash("kfs", None, SEVERAL_STEPS) > 0);
}
