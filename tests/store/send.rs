//! Sending snapshots from store to store.

use std::io::Read;

use konserve_fs::gc;
use konserve_fs::snapshot::{
    self, ReceiveOptions, Received, Sender, SnapshotError, StreamError, receive, resume_position,
};
use konserve_fs::store::{
    ConnectOptions, CreateOptions, Doc, Finding, KeyedDoc, Location, Position, Store, Watcher,
    check, parts,
};
use konserve_fs::tree::{links_key, root_key};
use konserve_fs::value::{Key, Value};
use uuid::Uuid;

pub fn key(name: &str) -> Key {
    Key::text(name)
}

fn create(location: &Location) -> Store {
    Store::create(location, &CreateOptions::default()).unwrap()
}

fn memory() -> Location {
    Location::Memory(Uuid::new_v4())
}

pub fn connect(location: &Location) -> Store {
    Store::connect(location, &ConnectOptions::default()).unwrap()
}

#[derive(Default)]
pub struct Watch(pub Vec<Finding>);

impl Watcher for Watch {
    fn read(&mut self, _: u64) -> bool {
        true
    }

    fn found(&mut self, finding: Finding) {
        self.0.push(finding);
    }
}

/// Numbers that look random.
pub struct Random(pub u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }

    /// Bytes that do not compress.
    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        let words = (0..len.div_ceil(8)).flat_map(|_| self.below(u64::MAX).to_le_bytes());
        words.take(len).collect()
    }
}

fn stream_from(store: &Store, from: Option<&str>, to: &str, resume: Option<Position>) -> Vec<u8> {
    let mut sender = Sender::new(store, from, to, resume).unwrap();
    let mut stream = Vec::new();
    while let Some(part) = sender.next_part().unwrap() {
        stream.extend(part);
    }
    stream
}

pub fn stream(store: &Store, from: Option<&str>, to: &str) -> Vec<u8> {
    stream_from(store, from, to, None)
}

pub fn take_in(location: &Location, stream: impl Read) -> Result<Received, SnapshotError> {
    receive(location, stream, &ReceiveOptions::default())
}

/// All documents of a state of a store as their records have them, the hidden ones included; what is
/// in pages by the addresses of the pages.
pub fn records(store: &Store) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut docs: Vec<_> = store.docs_after(None, usize::MAX).unwrap().0;
    for hidden in [root_key(), links_key()] {
        docs.extend(store.doc(&hidden).unwrap().map(|doc| (hidden, doc)));
    }
    let bare = |doc: &Doc| Doc {
        seq: 0,
        ..doc.clone()
    };
    let record = |(key, doc): &KeyedDoc| parts(key, Some(&bare(doc)), store.pager()).unwrap();
    docs.iter().map(record).collect()
}

/// The snapshot and the store that has received it last are the same, and nothing is wrong.
fn assert_received(sender: &Store, name: &str, location: &Location) {
    let store = connect(location);
    let sent = records(&snapshot::open(sender, name).unwrap());
    assert!(records(&store) == sent, "{name}");
    // Those received before it are what they were.
    for snapshot in snapshot::list(&store).unwrap() {
        if let Ok(then) = snapshot::open(sender, &snapshot.name) {
            let received = snapshot::open(&store, &snapshot.name).unwrap();
            assert!(records(&received) == records(&then), "{}", snapshot.name);
        }
    }
    gc::reclaim(&store).unwrap();
    let mut found = Watch::default();
    let report = store.check(&mut found).unwrap();
    assert!(found.0.is_empty(), "{:?}", found.0);
    assert_eq!(report.garbage, 0);
    store.release().unwrap();
    if location.directory().is_some() {
        let report = check(location, None, &mut found).unwrap();
        assert!(report.complete && found.0.is_empty(), "{:?}", found.0);
    }
}

/// Changes some of what is there.
fn change(store: &Store, random: &mut Random) {
    for _ in 0..random.below(30) {
        let top = key(&format!("key {}", random.below(12)));
        let below = Key::index(random.below(300));
        match random.below(8) {
            0 => drop(store.dissoc(&top).unwrap()),
            1 => {
                let bytes = random.below(200_000) as usize;
                store.bassoc(&top, random.bytes(bytes).as_slice()).unwrap();
            }
            2 => {
                let to = [key(&format!("key {}", random.below(12)))];
                let _nothing_there = store.rename(&[top], &to, false);
            }
            3 => {
                let many = (0..random.below(500)).map(|n| (key(&n.to_string()), Value::Int(1)));
                let _scalar = store.assoc_in(&[top, below], &Value::Map(many.collect()));
            }
            _ => {
                let text = "text ".repeat(random.below(300) as usize);
                let _scalar = store.assoc_in(&[top, below], &Value::Text(text));
            }
        }
    }
}

#[test]
fn every_snapshot_arrives_in_every_storage_from_store_to_store() {
    for seed in 1..=6 {
        let mut random = Random(0x9E37_79B9_7F4A_7C15 ^ seed);
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let chain = [
            Location::Embedded(at("sender")),
            Location::File(at("file")),
            memory(),
            Location::Embedded(at("embedded")),
        ];
        let sender = create(&chain[0]).unsynced();
        let mut last: Option<String> = None;
        for round in 0..6 {
            change(&sender, &mut random);
            let name = format!("number {round}");
            snapshot::take(&sender, &name).unwrap();
            if random.below(2) == 0 {
                change(&sender, &mut random);
            }
            if random.below(3) == 0 {
                // More than one step at once.
                continue;
            }
            // From the first to the second, from there to the third.
            let mut sent = stream(&sender, last.as_deref(), &name);
            for location in &chain[1..] {
                let received = take_in(location, sent.as_slice()).unwrap();
                assert_eq!(received.created, last.is_none());
                assert_eq!(received.bytes, sent.len() as u64);
                assert_received(&sender, &name, location);
                let replica = connect(location);
                sent = stream(&replica, last.as_deref(), &name);
                replica.release().unwrap();
            }
            last = Some(name);
        }
    }
}

#[test]
fn what_was_received_can_be_sent_back() {
    let (here, there) = (memory(), memory());
    let store = create(&here);
    store.assoc(&key("a"), &Value::Int(1)).unwrap();
    snapshot::take(&store, "one").unwrap();
    take_in(&there, stream(&store, None, "one").as_slice()).unwrap();
    store.release().unwrap();
    let other = connect(&there);
    other
        .assoc(&key("b"), &Value::Text("b ".repeat(999)))
        .unwrap();
    snapshot::take(&other, "two").unwrap();
    let back = stream(&other, Some("one"), "two");
    take_in(&here, back.as_slice()).unwrap();
    assert_received(&other, "two", &here);
    // It is the same snapshot everywhere.
    let again = take_in(&here, back.as_slice()).unwrap_err();
    assert!(again.to_string().contains("received already"), "{again}");
}

/// A sender with two snapshots, and the streams of the first and from there to the second.
fn two_steps() -> (Store, Vec<u8>, Vec<u8>) {
    let store = create(&memory());
    let mut random = Random(7);
    for n in 0..20 {
        let text = Value::Text(format!("{n} ").repeat(200));
        store
            .assoc_in(&[key("doc"), key(&n.to_string())], &text)
            .unwrap();
    }
    store
        .bassoc(&key("bytes"), random.bytes(500).as_slice())
        .unwrap();
    snapshot::take(&store, "one").unwrap();
    store.dissoc(&key("bytes")).unwrap();
    store
        .assoc_in(&[key("doc"), key("5")], &Value::Text("new ".repeat(100)))
        .unwrap();
    store.assoc(&key("other"), &Value::Int(2)).unwrap();
    snapshot::take(&store, "two").unwrap();
    let (first, second) = (
        stream(&store, None, "one"),
        stream(&store, Some("one"), "two"),
    );
    (store, first, second)
}

#[test]
fn a_damaged_or_short_stream_changes_nothing() {
    let (sender, first, second) = two_steps();
    let there = memory();
    take_in(&there, first.as_slice()).unwrap();
    let target = connect(&there);
    let before = records(&target);
    target.release().unwrap();
    let unchanged = |what: &str| {
        let target = connect(&there);
        assert!(records(&target) == before, "{what}");
        assert_eq!(target.snapshots().unwrap().len(), 1, "{what}");
        target.release().unwrap();
    };
    for length in 0..second.len() {
        let what = format!("{length} bytes");
        let error = take_in(&there, &second[..length]).unwrap_err();
        let short = matches!(error, SnapshotError::Stream(StreamError::Truncated { .. }));
        assert!(short || length < 8, "{what}: {error}");
        unchanged(&what);
    }
    for at in 0..second.len() {
        let mut flipped = second.clone();
        flipped[at] ^= 1 << (at % 8);
        let what = format!("byte {at}");
        let error = take_in(&there, flipped.as_slice()).expect_err(&what);
        assert!(matches!(error, SnapshotError::Stream(_)), "{what}: {error}");
        unchanged(&what);
    }
    let longer = [&second[..], b"x"].concat();
    take_in(&there, longer.as_slice()).unwrap_err();
    unchanged("something behind it");
    // A store is not made for what is none.
    let new = memory();
    for length in [0, 11, 60, first.len() / 2, first.len() - 1] {
        take_in(&new, &first[..length]).unwrap_err();
        assert!(!Store::exists(&new) || connect(&new).keys().next().is_none());
    }
    // All of it was good.
    take_in(&there, second.as_slice()).unwrap();
    assert_received(&sender, "two", &there);
}

#[test]
fn lengths_that_are_lies_take_no_memory_and_newer_streams_are_refused() {
    let (_, first, _) = two_steps();
    let lie = |at: usize, length: u32| {
        let mut stream = first.clone();
        stream[at..at + 4].copy_from_slice(&length.to_be_bytes());
        take_in(&memory(), stream.as_slice())
            .unwrap_err()
            .to_string()
    };
    for at in [14, 18] {
        assert!(lie(at, u32::MAX).contains("too long"));
    }
    assert!(lie(14, 40 << 20).contains("ends early"));
    assert!(lie(18, 40 << 20).contains("checksum"));
    let newer = lie(8, 2);
    assert_eq!(
        newer,
        "the stream has version 2, and 1 is known here; use a newer kfs"
    );
    let none = take_in(&memory(), &b"something else"[..]).unwrap_err();
    assert_eq!(none.to_string(), "this is no stream of `kfs send`");
}

#[test]
fn a_store_that_lacks_what_a_stream_goes_on_from_refuses_it() {
    let (sender, first, second) = two_steps();
    let there = memory();
    let refused = |location: &Location, stream: &[u8], why: &str| {
        let error = take_in(location, stream).unwrap_err();
        assert!(matches!(error, SnapshotError::Unfit { .. }), "{error}");
        assert!(error.to_string().contains(why), "{error}");
    };
    // Nothing is there.
    let missing = take_in(&there, second.as_slice()).unwrap_err();
    assert!(missing.to_string().contains("no store here"), "{missing}");
    // Another store.
    create(&there).release().unwrap();
    refused(&there, &second, "never received");
    let store = connect(&there);
    store.assoc(&key("mine"), &Value::Int(1)).unwrap();
    store.release().unwrap();
    refused(&there, &first, "not empty");
    // An empty one becomes one that receives.
    let there = memory();
    create(&there).release().unwrap();
    assert!(!take_in(&there, first.as_slice()).unwrap().created);
    refused(&there, &first, "received already");
    // Without the first snapshot.
    let store = connect(&there);
    snapshot::remove(&store, "one").unwrap();
    store.release().unwrap();
    refused(&there, &second, "does not have snapshot one");
    // A snapshot that only has its name.
    let store = connect(&there);
    snapshot::take(&store, "one").unwrap();
    store.release().unwrap();
    refused(&there, &second, "does not have snapshot one");
    refused(&there, &first, "another snapshot one");
    drop(sender);
}

#[test]
fn what_was_written_since_is_kept_unless_force_undoes_it() {
    let (sender, first, second) = two_steps();
    let there = memory();
    take_in(&there, first.as_slice()).unwrap();
    let store = connect(&there);
    store.assoc(&key("mine"), &Value::Int(1)).unwrap();
    store.dissoc(&key("doc")).unwrap();
    snapshot::take(&store, "mine").unwrap();
    let before = records(&store);
    store.release().unwrap();
    let error = take_in(&there, second.as_slice()).unwrap_err();
    assert!(
        error.to_string().contains("written to since snapshot one"),
        "{error}"
    );
    let force = ReceiveOptions {
        force: true,
        ..ReceiveOptions::default()
    };
    // What ends early undoes nothing.
    receive(&there, &second[..second.len() - 1], &force).unwrap_err();
    let store = connect(&there);
    assert!(records(&store) == before);
    store.release().unwrap();
    receive(&there, second.as_slice(), &force).unwrap();
    assert_received(&sender, "two", &there);
    // Snapshots of it stay.
    let store = connect(&there);
    assert!(records(&snapshot::open(&store, "mine").unwrap()) == before);
    snapshot::remove(&store, "one").unwrap();
    gc::reclaim(&store).unwrap();
    assert!(records(&snapshot::open(&store, "mine").unwrap()) == before);
}

/// A store with some megabytes in many pages of all sizes.
fn large() -> Store {
    let store = create(&memory()).unsynced();
    let mut random = Random(11);
    for n in 0..4 {
        let bytes = random.bytes(1_200_000);
        store
            .bassoc(&key(&format!("file {n}")), bytes.as_slice())
            .unwrap();
    }
    for n in 0..300 {
        let value = Value::Bytes(random.bytes(2000));
        store
            .assoc_in(&[key("many"), Key::index(n)], &value)
            .unwrap();
        store
            .assoc(&key(&format!("small {n}")), &Value::Int(1))
            .unwrap();
    }
    snapshot::take(&store, "all").unwrap();
    store
}

#[test]
fn an_interrupted_stream_goes_on_where_it_ended() {
    let store = large();
    let whole = stream(&store, None, "all");
    let there = memory();
    let mut position = None;
    let mut bytes = 0;
    let mut rounds = 0;
    loop {
        let part = stream_from(&store, None, "all", position);
        // Anything may come in between but a collection of garbage.
        let some = part.len().min(1_700_000);
        let done = take_in(&there, &part[..some]);
        if some == part.len() {
            let received = done.unwrap();
            bytes += received.bytes;
            break;
        }
        done.unwrap_err();
        let target = connect(&there);
        assert_eq!(target.keys().count(), 0);
        let found = resume_position(&target).unwrap().expect("a position");
        assert_ne!(Some(found), position);
        (position, bytes, rounds) = (Some(found), bytes + some as u64, rounds + 1);
        target.release().unwrap();
    }
    assert!(rounds >= 3);
    // Each time at most what had come of a frame was lost.
    let most = whole.len() as u64 + rounds * (1_100_000 + 1000);
    assert!(bytes < most, "{bytes} of {}", whole.len());
    assert_received(&store, "all", &there);
}

#[test]
fn a_stream_that_goes_on_elsewhere_is_refused() {
    let store = large();
    store.assoc(&key("more"), &Value::Int(1)).unwrap();
    snapshot::take(&store, "later").unwrap();
    let there = memory();
    let whole = stream(&store, None, "all");
    take_in(&there, &whole[..whole.len() / 2]).unwrap_err();
    let target = connect(&there);
    let position = resume_position(&target).unwrap();
    target.release().unwrap();
    // Of another snapshot; behind its end; elsewhere in it.
    let mut sender = Sender::new(&store, None, "later", position).unwrap();
    let error = loop {
        match sender.next_part() {
            Ok(part) => assert!(part.is_some()),
            Err(error) => break error,
        }
    };
    assert!(
        matches!(error, SnapshotError::NotResumable { .. }),
        "{error}"
    );
    let at = |items| {
        let position = position.unwrap();
        Some(Position { items, ..position })
    };
    for wrong in [at(1), at(1 << 40)] {
        let mut sender = Sender::new(&store, None, "all", wrong).unwrap();
        while let Ok(part) = sender.next_part() {
            assert!(part.is_some());
        }
    }
    let rest = stream_from(&store, None, "all", position);
    let other = memory();
    take_in(&other, rest.as_slice()).unwrap_err();
    assert!(!Store::exists(&other));
    // What was received in part is garbage for a collection, and gone.
    let target = connect(&there);
    let freed = gc::reclaim(&target).unwrap();
    // What the sender holds in memory is held for both.
    assert!(freed.freed > 0, "{freed:?}");
    assert_eq!(resume_position(&target).unwrap(), None);
    target.release().unwrap();
    let error = take_in(&there, rest.as_slice()).unwrap_err();
    assert!(
        matches!(error, SnapshotError::NotResumable { .. }),
        "{error}"
    );
    take_in(&there, whole.as_slice()).unwrap();
    assert_received(&store, "all", &there);
}

#[test]
fn a_stream_holds_what_has_changed() {
    let store = large();
    let all = stream(&store, None, "all").len();
    let mut last = "all".to_owned();
    let mut step = |name: &str, most: usize| {
        snapshot::take(&store, name).unwrap();
        let sent = stream(&store, Some(&last), name).len();
        assert!(sent < most, "{name}: {sent} of {all}");
        last = name.to_owned();
    };
    step("nothing", 500);
    let mut file = Random(3).bytes(1_200_000);
    store.bassoc(&key("new"), file.as_slice()).unwrap();
    step("a new file", 1_300_000);
    file[600_000] ^= 1;
    store.bassoc(&key("new"), file.as_slice()).unwrap();
    step("a byte", 50_000);
    store
        .assoc_in(&[key("many"), Key::index(7)], &Value::Int(1))
        .unwrap();
    step("a leaf", 50_000);
    store
        .rename(&[key("new")], &[key("elsewhere")], false)
        .unwrap();
    store
        .rename(&[key("many")], &[key("dir"), key("moved")], false)
        .unwrap_err();
    store
        .assoc(&key("dir"), &Value::Map(Default::default()))
        .unwrap();
    store
        .rename(&[key("many")], &[key("dir"), key("moved")], false)
        .unwrap();
    step("moves", 5000);
    store.dissoc(&key("elsewhere")).unwrap();
    store.dissoc(&key("dir")).unwrap();
    step("removals", 1000);
}

#[test]
fn a_page_that_is_missing_is_noticed() {
    let store = large();
    // The same without a part that the sender thinks the receiver has.
    let whole = stream(&store, None, "all");
    let there = memory();
    take_in(&there, &whole[..whole.len() / 2]).unwrap_err();
    let target = connect(&there);
    let position = resume_position(&target).unwrap();
    let page = target.pages_after(None, 1).unwrap()[0];
    let (backend, pager) = (target.pager().backend(), target.pager());
    let address = konserve_fs::tree::page_key(&page);
    let any = konserve_fs::backend::Precondition::Any;
    assert!(backend.delete(&address, any, pager.deadline()).unwrap());
    target.release().unwrap();
    let rest = stream_from(&store, None, "all", position);
    let error = take_in(&there, rest.as_slice()).unwrap_err();
    assert!(
        matches!(error, SnapshotError::Stream(StreamError::Incomplete { .. })),
        "{error}"
    );
    assert_eq!(connect(&there).keys().count(), 0);
}
