//! Stores that are encrypted: what opens them, what can be read from what they keep, and what happens
//! when somebody changes that.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use konserve_fs::backend::embedded::Embedded;
use konserve_fs::backend::file::Files;
use konserve_fs::backend::tiered::Writes;
use konserve_fs::backend::{Access, Backend, Precondition};
use konserve_fs::crypt::{Cost, CryptError, Padding, Secret, slots};
use konserve_fs::journal::Journal;
use konserve_fs::snapshot;
use konserve_fs::store::{
    ConnectOptions, Copied, CreateOptions, Done, Encryption, Finding, FrontOptions, Location,
    Store, StoreError, Watcher, check, repair,
};
use konserve_fs::value::{Key, Value};

use super::fsck::soon;

fn text(text: &str) -> Value {
    Value::Text(text.into())
}

fn passphrase(text: &str) -> Secret {
    Secret::passphrase(text).unwrap()
}

fn encrypted(secret: &Secret) -> CreateOptions {
    CreateOptions {
        encryption: Some(Encryption {
            secret: secret.clone(),
            cost: Cost::LEAST,
            padding: Padding::None,
        }),
        ..CreateOptions::default()
    }
}

fn with(secret: &Secret) -> ConnectOptions {
    ConnectOptions {
        key: Some(secret.clone()),
        ..ConnectOptions::default()
    }
}

fn places(dir: &Path) -> [Location; 2] {
    [
        Location::Embedded(dir.join("kfs")),
        Location::File(dir.join("file")),
    ]
}

/// The storage itself, of a store that nobody uses.
fn storage(location: &Location) -> Arc<dyn Backend> {
    match location {
        Location::File(dir) => {
            Arc::new(Files::open(dir, Access::ReadWrite, Duration::ZERO).unwrap())
        }
        Location::Embedded(dir) => {
            Arc::new(Embedded::open(dir, Access::ReadWrite, Duration::ZERO).unwrap())
        }
        other => panic!("{other}"),
    }
}

fn all(storage: &dyn Backend) -> Vec<Vec<u8>> {
    storage.list(b"", None, usize::MAX, soon()).unwrap()
}

const NAME: &str = "a name that nobody may know";
const TEXT: &str = "a text that nobody may read";

/// Puts small and large values with some history into a store.
fn fill(store: &Store) {
    store
        .assoc_in(&[Key::text(NAME), Key::text(TEXT)], &text(TEXT))
        .unwrap();
    let large = TEXT.repeat(20_000);
    store
        .assoc_in(&[Key::text("large")], &text(&large))
        .unwrap();
    store
        .assoc_in(&[Key::text(&NAME.repeat(20))], &text(TEXT))
        .unwrap();
    store.take_snapshot("before").unwrap();
    store
        .assoc_in(&[Key::text("large")], &text(&format!("{large}!")))
        .unwrap();
}

fn is_filled(store: &Store) {
    let found = store.get_in(&[Key::text(NAME), Key::text(TEXT)]).unwrap();
    assert_eq!(found, Some(text(TEXT)));
    let large = store.get_in(&[Key::text("large")]).unwrap();
    assert_eq!(large, Some(text(&format!("{}!", TEXT.repeat(20_000)))));
}

#[derive(Default)]
struct Told(Vec<Finding>);

impl Watcher for Told {
    fn read(&mut self, _: u64) -> bool {
        true
    }

    fn found(&mut self, finding: Finding) {
        self.0.push(finding);
    }
}

fn checked(location: &Location, secret: &Secret) -> Vec<Finding> {
    let mut told = Told::default();
    check(location, Some(secret), &mut told).unwrap();
    told.0
}

#[test]
fn an_encrypted_store_opens_with_its_key_and_with_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let secret = passphrase("open");
    for place in places(dir.path()) {
        let store = Store::create(&place, &encrypted(&secret)).unwrap();
        fill(&store);
        store.release().unwrap();
        let store = Store::connect(&place, &with(&secret)).unwrap();
        is_filled(&store);
        store.release().unwrap();
        assert_eq!(checked(&place, &secret), []);

        let without = Store::connect(&place, &ConnectOptions::default());
        assert!(
            matches!(without, Err(StoreError::KeyNeeded { .. })),
            "{without:?}"
        );
        let wrong = Store::connect(&place, &with(&passphrase("wrong")));
        assert!(
            matches!(
                &wrong,
                Err(StoreError::Key {
                    source: CryptError::WrongKey,
                    ..
                })
            ),
            "{wrong:?}"
        );
        let mut told = Told::default();
        let unchecked = check(&place, None, &mut told);
        assert!(
            matches!(unchecked, Err(StoreError::KeyNeeded { .. })),
            "{unchecked:?}"
        );
    }
}

#[test]
fn a_store_in_the_clear_is_refused_with_a_key() {
    let dir = tempfile::tempdir().unwrap();
    let place = Location::Embedded(dir.path().join("s"));
    drop(Store::create(&place, &CreateOptions::default()).unwrap());
    let secret = passphrase("open");
    let connected = Store::connect(&place, &with(&secret));
    assert!(
        matches!(connected, Err(StoreError::NotEncrypted { .. })),
        "{connected:?}"
    );
    let checked = check(&place, Some(&secret), &mut Told::default());
    assert!(
        matches!(checked, Err(StoreError::NotEncrypted { .. })),
        "{checked:?}"
    );
    // And there is nothing to be opened with one.
    let store = Store::connect(&place, &ConnectOptions::default()).unwrap();
    let added = store.add_key(&secret, Cost::LEAST);
    assert!(
        matches!(added, Err(StoreError::NotEncrypted { .. })),
        "{added:?}"
    );
}

/// How often each of the needles is in the files of a directory.
fn hits(dir: &Path, needles: &[&[u8]]) -> usize {
    let mut found = 0;
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_encoded_bytes();
        let bytes = match entry.file_type().unwrap().is_dir() {
            true => {
                found += hits(&entry.path(), needles);
                Vec::new()
            }
            false => fs::read(entry.path()).unwrap(),
        };
        for bytes in [name, bytes] {
            let has = |needle: &&&[u8]| bytes.windows(needle.len()).any(|part| part == **needle);
            found += needles.iter().filter(has).count();
        }
    }
    found
}

#[test]
fn nothing_on_disk_says_anything() {
    let dir = tempfile::tempdir().unwrap();
    let secret = passphrase("a passphrase that nobody may know");
    // What is short enough to be found whatever is compressed before.
    let needles: [&[u8]; 4] = [b"name that", b"text that", b"passphrase", b"large"];
    for is_encrypted in [false, true] {
        let dir = dir.path().join(is_encrypted.to_string());
        let options = match is_encrypted {
            true => encrypted(&secret),
            false => CreateOptions::default(),
        };
        for place in places(&dir) {
            fs::create_dir_all(&dir).unwrap();
            let store = Store::create(&place, &options).unwrap();
            fill(&store);
            // The journal has some of it, the pages the rest.
            let unfolded = hits(&dir, &needles);
            store.settle().unwrap();
            let folded = hits(&dir, &needles);
            store.release().unwrap();
            let released = hits(&dir, &needles);
            if is_encrypted {
                assert_eq!((unfolded, folded, released), (0, 0, 0), "{place}");
            } else {
                assert!(unfolded > 0 && folded > 0 && released > 0, "{place}");
            }
        }
    }
}

#[test]
fn no_address_of_a_page_tells_its_content() {
    let dir = tempfile::tempdir().unwrap();
    let secret = passphrase("open");
    let [a, b] = ["a", "b"].map(|name| Location::Embedded(dir.path().join(name)));
    let pages = |place: &Location| {
        let store = Store::create(place, &encrypted(&secret)).unwrap();
        assert_ne!(store.page_id(), store.id());
        fill(&store);
        store.release().unwrap();
        storage(place).list(b"p", None, usize::MAX, soon()).unwrap()
    };
    let (a, b) = (pages(&a), pages(&b));
    assert!(a.len() > 3);
    assert!(a.iter().all(|page| !b.contains(page)));
}

/// Everything that is found wrong with a store, by opening it, by checking it, and by reading it; `None`
/// if nothing is.
fn refusal(place: &Location, secret: &Secret) -> Option<String> {
    let mut told = Told::default();
    match check(place, Some(secret), &mut told) {
        Err(error) => return Some(error.to_string()),
        Ok(report) if report.damaged > 0 => {
            let first = told.0.iter().find(|finding| !finding.harmless)?;
            return Some(first.reason.clone());
        }
        Ok(_) => {}
    }
    None
}

const REASON: &str = "cannot be authenticated";

#[test]
fn what_was_changed_swapped_or_brought_from_elsewhere_is_refused_with_one_reason() {
    let dir = tempfile::tempdir().unwrap();
    let secret = passphrase("open");
    let [place, _] = places(dir.path());
    let other = Location::Embedded(dir.path().join("other"));
    for place in [&place, &other] {
        let store = Store::create(place, &encrypted(&secret)).unwrap();
        fill(&store);
        store.release().unwrap();
    }
    let plain = Location::Embedded(dir.path().join("plain"));
    let store = Store::create(&plain, &CreateOptions::default()).unwrap();
    fill(&store);
    store.release().unwrap();

    let put = |address: &[u8], bytes: &[u8]| {
        let storage = storage(&place);
        storage
            .put(address, bytes, Precondition::Any, soon())
            .unwrap();
    };
    let blobs: Vec<(Vec<u8>, Vec<u8>)> = {
        let storage = storage(&place);
        let blob = |address: Vec<u8>| {
            let bytes = storage.get(&address, soon()).unwrap().unwrap().bytes;
            (address, bytes)
        };
        all(&*storage).into_iter().map(blob).collect()
    };
    let foreign = storage(&other).get(b"h", soon()).unwrap().unwrap().bytes;
    let clear = storage(&plain).get(b"h", soon()).unwrap().unwrap().bytes;
    let records = blobs
        .iter()
        .filter(|(address, _)| address.starts_with(b"e"))
        .count();
    assert!(records >= 5, "{records}");
    for (at, (address, bytes)) in blobs.iter().enumerate() {
        if address == slots::ADDRESS {
            continue;
        }
        let (_, another) = &blobs[(at + 1) % blobs.len()];
        let mut variants = vec![
            another.clone(),
            foreign.clone(),
            clear.clone(),
            Vec::new(),
            bytes[..bytes.len() - 1].to_vec(),
            bytes[..40].to_vec(),
            [bytes, &b"x"[..]].concat(),
        ];
        // In the version, the encryptor, the generation, the salt, the ciphertext, and the MAC.
        for at in [
            0,
            3,
            7,
            8,
            23,
            24,
            bytes.len() / 2,
            bytes.len() - 33,
            bytes.len() - 1,
        ] {
            let mut changed = bytes.clone();
            changed[at] ^= 0x10;
            variants.push(changed);
        }
        // Some of them for each: all take minutes.
        for (number, variant) in variants.iter().enumerate().skip(at % 5).step_by(5) {
            put(address, variant);
            let why = refusal(&place, &secret);
            assert!(
                why.as_ref().is_some_and(|why| why.contains(REASON)),
                "{} variant {number}: {why:?}",
                address.escape_ascii()
            );
        }
        put(address, bytes);
    }
    assert_eq!(refusal(&place, &secret), None);
}

#[test]
fn a_changed_value_is_an_error_that_names_it_and_never_data() {
    let dir = tempfile::tempdir().unwrap();
    let secret = passphrase("open");
    for place in places(dir.path()) {
        let store = Store::create(&place, &encrypted(&secret)).unwrap();
        for key in ["a", "b"] {
            store.assoc_in(&[Key::text(key)], &text(key)).unwrap();
        }
        store.release().unwrap();
        let below = storage(&place);
        let records: Vec<Vec<u8>> = all(&*below)
            .into_iter()
            .filter(|address| address.starts_with(b"e"))
            .collect();
        let bytes = |address: &[u8]| below.get(address, soon()).unwrap().unwrap().bytes;
        // All records go around by one.
        let blobs: Vec<_> = records.iter().map(|address| bytes(address)).collect();
        for (address, blob) in records.iter().zip(blobs.iter().cycle().skip(1)) {
            below.put(address, blob, Precondition::Any, soon()).unwrap();
        }
        drop(below);
        let read_only = ConnectOptions {
            read_only: true,
            ..with(&secret)
        };
        let Ok(store) = Store::connect(&place, &read_only) else {
            continue;
        };
        for key in ["a", "b"] {
            let found = store.get_in(&[Key::text(key)]);
            let error = found.unwrap_err().to_string();
            assert!(error.contains(REASON) && error.contains(key), "{error}");
        }
    }
}

#[test]
fn a_header_or_a_store_in_the_clear_is_no_way_in() {
    let dir = tempfile::tempdir().unwrap();
    let secret = passphrase("open");
    let [place, _] = places(dir.path());
    let store = Store::create(&place, &encrypted(&secret)).unwrap();
    fill(&store);
    let id = store.id();
    store.release().unwrap();
    let plain = Location::Embedded(dir.path().join("plain"));
    let options = CreateOptions {
        id: Some(id),
        ..CreateOptions::default()
    };
    drop(Store::create(&plain, &options).unwrap());
    let clear = storage(&plain).get(b"h", soon()).unwrap().unwrap().bytes;
    let below = storage(&place);
    below.put(b"h", &clear, Precondition::Any, soon()).unwrap();
    drop(below);
    let connected = Store::connect(&place, &with(&secret));
    let error = connected.unwrap_err().to_string();
    assert!(error.contains(REASON), "{error}");
    // Without its slots it looks like a store that is not encrypted.
    let below = storage(&place);
    below
        .delete(slots::ADDRESS, Precondition::Any, soon())
        .unwrap();
    drop(below);
    let connected = Store::connect(&place, &with(&secret));
    assert!(
        matches!(connected, Err(StoreError::NotEncrypted { .. })),
        "{connected:?}"
    );
}

#[test]
fn a_record_of_the_journal_that_was_forged_moved_or_left_in_the_clear_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let secret = passphrase("open");
    let place = Location::Embedded(dir.path().join("s"));
    let plain = Location::Embedded(dir.path().join("plain"));
    let create = |place: &Location, options: &CreateOptions| {
        let store = Store::create(place, options).unwrap();
        let (id, last) = (store.id(), store.last_seq());
        store.release().unwrap();
        (id, last)
    };
    let (id, _) = create(&place, &encrypted(&secret));
    let in_the_clear = CreateOptions {
        id: Some(id),
        ..CreateOptions::default()
    };
    create(&plain, &in_the_clear);
    let journal = |place: &Location| place.directory().unwrap().join("journal");
    // What a store writes that dies at once.
    let written = |place: &Location, options: &ConnectOptions| {
        let copy = dir.path().join("copy");
        let store = Store::connect(place, options).unwrap();
        store.assoc_in(&[Key::text("k")], &text("v")).unwrap();
        store.assoc_in(&[Key::text("l")], &text("w")).unwrap();
        let last = store.last_seq();
        fs::remove_dir_all(&copy).ok();
        fs::create_dir(&copy).unwrap();
        for file in fs::read_dir(journal(place)).unwrap() {
            let file = file.unwrap();
            fs::copy(file.path(), copy.join(file.file_name())).unwrap();
        }
        drop(store);
        let (_, mut records) = Journal::open(&copy, &id, last - 2).unwrap();
        records
            .drain(..)
            .map(|record| record.payload)
            .collect::<Vec<_>>()
    };
    let clear = written(&plain, &ConnectOptions::default());
    let sealed = written(&place, &with(&secret));
    let last = {
        let store = Store::connect(&place, &with(&secret)).unwrap();
        let last = store.last_seq();
        store.release().unwrap();
        last
    };
    let mut changed = sealed[0].clone();
    changed[30] ^= 1;
    for payload in [&clear[0], &sealed[0], &sealed[1], &changed] {
        // With the checks of the journal itself, for which no key is needed.
        let dir = journal(&place);
        let (before, _) = Journal::open(&dir, &id, last).unwrap();
        before.append(last + 1, payload).unwrap();
        before.sync().unwrap();
        drop(before);
        let connected = Store::connect(&place, &with(&secret));
        let error = connected.unwrap_err().to_string();
        assert!(error.contains(REASON), "{error}");
        fs::remove_dir_all(&dir).unwrap();
    }
    // A genuine one is applied.
    let store = Store::connect(&place, &with(&secret)).unwrap();
    assert_eq!(store.get_in(&[Key::text("k")]).unwrap(), Some(text("v")));
}

#[test]
fn keys_are_added_exchanged_and_removed() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two, three) = (
        passphrase("one"),
        passphrase("two"),
        Secret::key_file([3; 64]).unwrap(),
    );
    for place in places(dir.path()) {
        let opens = |secret: &Secret| match Store::connect(&place, &with(secret)) {
            Ok(store) => {
                is_filled(&store);
                true
            }
            Err(StoreError::Key {
                source: CryptError::WrongKey,
                ..
            }) => false,
            Err(error) => panic!("{error}"),
        };
        let store = Store::create(&place, &encrypted(&one)).unwrap();
        fill(&store);
        let only = store.remove_key(0);
        assert!(
            matches!(
                only,
                Err(StoreError::Key {
                    source: CryptError::Slot { .. },
                    ..
                })
            ),
            "{only:?}"
        );
        assert_eq!(store.add_key(&two, Cost::LEAST).unwrap(), 1);
        assert_eq!(store.slot_of(&two).unwrap(), 1);
        store.release().unwrap();
        assert_eq!([&one, &two, &three].map(opens), [true, true, false]);

        let store = Store::connect(&place, &with(&two)).unwrap();
        assert_eq!(store.replace_key(0, &three, Cost::LEAST).unwrap(), 2);
        store.release().unwrap();
        assert_eq!([&one, &two, &three].map(opens), [false, true, true]);

        let store = Store::connect(&place, &with(&three)).unwrap();
        store.remove_key(1).unwrap();
        let left: Vec<u32> = store
            .key_slots()
            .unwrap()
            .iter()
            .map(|slot| slot.number)
            .collect();
        assert_eq!(left, [2]);
        store.release().unwrap();
        assert_eq!([&one, &two, &three].map(opens), [false, false, true]);
    }
}

#[test]
fn what_is_damaged_is_taken_out_and_kept_aside_encrypted() {
    let dir = tempfile::tempdir().unwrap();
    let secret = passphrase("open");
    let [place, _] = places(dir.path());
    let store = Store::create(&place, &encrypted(&secret)).unwrap();
    fill(&store);
    store.release().unwrap();
    let below = storage(&place);
    let page = below.list(b"p", None, 1, soon()).unwrap().remove(0);
    let mut bytes = below.get(&page, soon()).unwrap().unwrap().bytes;
    bytes[30] ^= 1;
    below.put(&page, &bytes, Precondition::Any, soon()).unwrap();
    // Blobs that no key of the store has made, in the clear and not.
    below
        .put(b"rplanted", b"x", Precondition::Any, soon())
        .unwrap();
    below
        .put(&[b'e'; 49], b"x", Precondition::Any, soon())
        .unwrap();
    drop(below);
    let found = checked(&place, &secret);
    assert!(found.len() >= 3, "{found:?}");
    let aside = dir.path().join("aside");
    let done = repair(&place, Some(&secret), Some(&aside)).unwrap();
    assert_eq!(done.report.damaged, 0, "{:?}", done.left);
    assert!(done.aside.is_some());
    assert_eq!(hits(&aside, &[b"name that", b"text that"]), 0);
    assert!(fs::read_dir(aside.join("blobs")).unwrap().count() >= 3);
    let store = Store::connect(&place, &with(&secret)).unwrap();
    let found = store.get_in(&[Key::text(NAME), Key::text(TEXT)]).unwrap();
    assert_eq!(found, Some(text(TEXT)));
}

#[test]
fn a_header_that_is_lost_is_made_again_from_the_keys() {
    let dir = tempfile::tempdir().unwrap();
    let secret = passphrase("open");
    let [place, _] = places(dir.path());
    let store = Store::create(&place, &encrypted(&secret)).unwrap();
    fill(&store);
    store.release().unwrap();
    let below = storage(&place);
    below
        .put(b"h", b"nonsense", Precondition::Any, soon())
        .unwrap();
    drop(below);
    let done = repair(&place, Some(&secret), None).unwrap();
    assert_eq!(done.report.damaged, 0, "{:?}", done.left);
    let store = Store::connect(&place, &with(&secret)).unwrap();
    is_filled(&store);
}

#[test]
fn snapshots_go_between_stores_that_are_encrypted_and_not() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (passphrase("one"), passphrase("two"));
    let place = |name: &str| Location::Embedded(dir.path().join(name));
    let first = Store::create(&place("first"), &encrypted(&one)).unwrap();
    fill(&first);
    first.take_snapshot("now").unwrap();
    let stream = super::send::stream(&first, None, "now");
    let receive = |name: &str, stream: &[u8], key: Option<&Secret>| {
        let options = snapshot::ReceiveOptions {
            key: key.cloned(),
            ..snapshot::ReceiveOptions::default()
        };
        snapshot::receive(&place(name), stream, &options).unwrap();
    };
    receive("second", &stream, Some(&two));
    receive("clear", &stream, None);
    first.assoc_in(&[Key::text("more")], &text("m")).unwrap();
    first.take_snapshot("later").unwrap();
    let more = super::send::stream(&first, Some("now"), "later");
    receive("second", &more, Some(&two));
    let clear = Store::connect(&place("clear"), &ConnectOptions::default()).unwrap();
    is_filled(&clear);
    let back = super::send::stream(&clear, None, "now");
    drop(clear);
    receive("third", &back, Some(&one));
    for (name, key) in [("second", &two), ("third", &one)] {
        let store = Store::connect(&place(name), &with(key)).unwrap();
        assert!(store.encryption().is_some());
        is_filled(&store);
        store.release().unwrap();
        assert_eq!(checked(&place(name), key), [], "{name}");
        assert_eq!(hits(place(name).directory().unwrap(), &[b"text that"]), 0);
    }
}

#[test]
fn what_stands_before_a_store_has_nothing_but_ciphertext() {
    let secret = passphrase("open");
    for done in [Done::InStore, Done::InFront, Done::OnlyInFront] {
        let dir = tempfile::tempdir().unwrap();
        let place = Location::Embedded(dir.path().join("s"));
        let store = Store::create(&place, &encrypted(&secret)).unwrap();
        if done == Done::OnlyInFront {
            fill(&store);
        }
        store.release().unwrap();
        let options = ConnectOptions {
            front: Some(FrontOptions {
                dir: dir.path().join("front"),
                writes: Writes::Through,
                done,
                size: None,
                copies: Copied::AsUsed,
            }),
            ..with(&secret)
        };
        for _ in 0..2 {
            let store = Store::connect(&place, &options).unwrap();
            if store.get_in(&[Key::text(NAME)]).unwrap().is_none() {
                fill(&store);
            }
            store.assoc_in(&[Key::text("more")], &text(TEXT)).unwrap();
            store.settle().unwrap();
            is_filled(&store);
            assert_eq!(
                hits(dir.path(), &[b"name that", b"text that", b"more"]),
                0,
                "{done:?}"
            );
            store.release().unwrap();
            assert_eq!(
                hits(dir.path(), &[b"name that", b"text that", b"more"]),
                0,
                "{done:?}"
            );
        }
    }
}

#[test]
fn an_encrypted_store_is_deleted_without_its_key_but_not_by_mistake() {
    let dir = tempfile::tempdir().unwrap();
    for place in places(dir.path()) {
        let store = Store::create(&place, &encrypted(&passphrase("lost"))).unwrap();
        let id = store.id();
        store.release().unwrap();
        assert_eq!(Store::id_at(&place, Duration::ZERO).unwrap(), id);
        let wrong = Store::delete(&place, uuid::Uuid::nil());
        assert!(
            matches!(wrong, Err(StoreError::WrongId { .. })),
            "{wrong:?}"
        );
        assert!(Store::exists(&place));
        Store::delete(&place, id).unwrap();
        assert!(!Store::exists(&place));
    }
}

#[test]
fn a_creation_that_was_cut_short_after_its_slots_is_gone_on_with() {
    let dir = tempfile::tempdir().unwrap();
    for is_encrypted in [true, false] {
        let dir = dir.path().join(is_encrypted.to_string());
        fs::create_dir(&dir).unwrap();
        let below = Files::create(&dir, Duration::ZERO).unwrap();
        below
            .put(
                slots::ADDRESS,
                b"of a creation that did not get far",
                Precondition::Any,
                soon(),
            )
            .unwrap();
        drop(below);
        let secret = passphrase("open");
        let (create, connect) = match is_encrypted {
            true => (encrypted(&secret), with(&secret)),
            false => (CreateOptions::default(), ConnectOptions::default()),
        };
        let place = Location::File(dir);
        Store::create(&place, &create).unwrap().release().unwrap();
        Store::connect(&place, &connect).unwrap().release().unwrap();
    }
}

#[test]
fn a_storage_without_a_key_says_that_it_is_damaged_and_not_that_it_is_empty() {
    let dir = tempfile::tempdir().unwrap();
    let secret = passphrase("open");
    let [place, _] = places(dir.path());
    let store = Store::create(&place, &encrypted(&secret)).unwrap();
    fill(&store);
    store.release().unwrap();
    let below = storage(&place);
    let mut bytes = below.get(slots::ADDRESS, soon()).unwrap().unwrap().bytes;
    bytes.truncate(100);
    below
        .put(slots::ADDRESS, &bytes, Precondition::Any, soon())
        .unwrap();
    drop(below);
    let connected = Store::connect(&place, &with(&secret));
    assert!(
        matches!(
            &connected,
            Err(StoreError::Key {
                source: CryptError::Slots { .. },
                ..
            })
        ),
        "{connected:?}"
    );
}

#[test]
fn a_script_made_from_the_documentation_decrypts_a_blob() {
    let dir = tempfile::tempdir().unwrap();
    let secret = Secret::key_file((0..64).collect::<Vec<u8>>()).unwrap();
    for padding in [Padding::None, Padding::Padme] {
        let place = Location::Embedded(dir.path().join(format!("{padding:?}")));
        let mut options = encrypted(&secret);
        options.encryption.as_mut().unwrap().padding = padding;
        let store = Store::create(&place, &options).unwrap();
        fill(&store);
        store.settle().unwrap();
        // What the store has at some addresses, as it is without encryption.
        let seen = store.pager().backend();
        let page = seen.list(b"p", None, 1, soon()).unwrap().remove(0);
        let addresses = [b"h".to_vec(), page];
        let contents = addresses.each_ref().map(|address| {
            let blob = seen.get(address, soon()).unwrap();
            blob.unwrap().bytes
        });
        store.release().unwrap();
        let below = storage(&place);
        let file = |name: &str, bytes: &[u8]| {
            let path = dir.path().join(name);
            fs::write(&path, bytes).unwrap();
            path
        };
        let keep = |address: &[u8], name: &str| {
            file(name, &below.get(address, soon()).unwrap().unwrap().bytes)
        };
        let slots = keep(slots::ADDRESS, "slots");
        let key = file("key", secret.bytes());
        for (address, content) in addresses.iter().zip(&contents) {
            let hex: String = address.iter().map(|byte| format!("{byte:02x}")).collect();
            let blob = keep(address, "blob");
            let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/unseal.py");
            let done = std::process::Command::new("python3")
                .arg(script)
                .args([&slots, &key])
                .arg(&hex)
                .arg(&blob)
                .output()
                .unwrap();
            assert!(
                done.status.success(),
                "{}",
                String::from_utf8_lossy(&done.stderr)
            );
            assert!(done.stdout == *content, "{padding:?} {hex}");
        }
    }
}
