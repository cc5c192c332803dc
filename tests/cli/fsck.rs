//! Looking for damage from the command line.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use konserve_fs::backend::embedded::{Access, Embedded};
use konserve_fs::backend::{Backend, Deadline, Precondition};
use konserve_fs::store::{ConnectOptions, Location, Store};
use konserve_fs::value::{Key, Value};

use super::harness::Bench;

fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(60))
}

/// A store with a long text at `a`, `x`, 1; gives the address of the page that holds it.
fn with_page() -> (Bench, Vec<u8>) {
    let b = Bench::new();
    b.put("a", &format!("{{:x [1 {:?}]}}", "long ".repeat(100)));
    b.put("sound", "1");
    let engine = Embedded::open(&b.path("s"), Access::Read, Duration::ZERO).unwrap();
    let pages = engine.list(b"p", None, 10, soon()).unwrap();
    assert_eq!(pages.len(), 1);
    (b, pages[0].clone())
}

fn spoil(b: &Bench, address: &[u8]) {
    let engine = Embedded::open(&b.path("s"), Access::ReadWrite, Duration::ZERO).unwrap();
    let mut bytes = engine.get(address, soon()).unwrap().unwrap().bytes;
    bytes[40] ^= 4;
    engine
        .put(address, &bytes, Precondition::Any, soon())
        .unwrap();
    engine.sync(soon()).unwrap();
}

#[test]
fn a_sound_store_has_no_damage() {
    let (b, _) = with_page();
    let out = b.kfs(["fsck", "s"]).ok();
    assert!(
        out.contains("1 page") && out.ends_with("no damage"),
        "{out}"
    );
    let facts = b.json(["fsck", "s", "--json"]);
    assert_eq!(facts["damaged"], 0);
    assert_eq!(facts["complete"], true);
    assert_eq!(facts["pages"], 1);
}

#[test]
fn who_meets_damage_is_told_of_the_check() {
    let (b, page) = with_page();
    spoil(&b, &page);
    let told = b.kfs(["get", "s", "a"]).fails(6);
    assert!(told.contains("kfs fsck STORE"), "{told}");
    let told = b.kfs(["fsck", "s"]).fails(6);
    assert!(!told.contains("kfs fsck STORE"), "{told}");
}

#[test]
fn damage_is_named_by_key_and_path_and_has_an_exit_code() {
    let (b, page) = with_page();
    spoil(&b, &page);
    let ended = b.kfs(["fsck", "s"]);
    let hex: String = page[1..].iter().map(|b| format!("{b:02x}")).collect();
    let line = format!("key \"a\", path a/:x/1: page {hex} damaged: ");
    assert!(ended.out.starts_with(&line), "{ended:?}");
    assert!(ended.fails(6).contains("1 damaged"));
    let json = b.kfs(["fsck", "--json", "s"]);
    let first = json.out.lines().next().unwrap();
    let first: serde_json::Value = serde_json::from_str(first).unwrap();
    assert_eq!(first["key"], "\"a\"");
    assert_eq!(first["path"], "a/:x/1");
    assert_eq!(first["kind"], "damaged");
    json.fails(6);
}

/// The segment of the engine's log.
fn log(b: &Bench) -> PathBuf {
    let files = fs::read_dir(b.path("s/engine/log")).unwrap();
    let mut files = files.map(|file| file.unwrap().path());
    files.find(|path| path.extension().is_some()).unwrap()
}

#[test]
fn a_file_that_the_engine_cannot_open_is_named() {
    let (b, _) = with_page();
    let log = log(&b);
    let mut bytes = fs::read(&log).unwrap();
    bytes[120] ^= 1;
    fs::write(&log, bytes).unwrap();
    let ended = b.kfs(["fsck", "s"]);
    assert!(ended.out.starts_with("engine/log/"), "{ended:?}");
    assert!(ended.out.contains(" is damaged"), "{ended:?}");
    ended.fails(6);
}

/// The records of the store's journal that were never folded: its only file, and where they end.
fn unfolded(b: &Bench) -> (PathBuf, usize) {
    let files = fs::read_dir(b.path("s/journal")).unwrap();
    let mut files = files.map(|file| file.unwrap().path());
    let file = files.find(|path| path.extension().is_some()).unwrap();
    let bytes = fs::read(&file).unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    (file, end)
}

/// A store as a process that was killed leaves it: `first` is durable, `second` is not yet.
fn crashed() -> Bench {
    let b = Bench::new();
    let location = Location::Embedded(b.path("s"));
    let store = Store::connect(&location, &ConnectOptions::default()).unwrap();
    store.assoc(&Key::text("first"), &Value::Int(1)).unwrap();
    let unsynced = store.unsynced();
    unsynced
        .assoc(&Key::text("second"), &Value::Int(2))
        .unwrap();
    drop((unsynced, store));
    b
}

#[test]
fn what_a_kill_leaves_is_no_damage() {
    let b = crashed();
    let out = b.kfs(["fsck", "s"]).ok();
    assert!(
        out.ends_with("no damage") && !out.contains(" odd: "),
        "{out}"
    );
    assert_eq!(b.get("second"), "2");
}

#[test]
fn a_torn_end_of_the_journal_is_a_note_and_damage_before_it_is_not() {
    let b = crashed();
    let (file, end) = unfolded(&b);
    let whole = fs::read(&file).unwrap();
    fs::write(&file, &whole[..end - 3]).unwrap();
    let out = b.kfs(["fsck", "s"]).ok();
    assert!(
        out.contains(" odd: at byte ")
            && out.contains(" bytes of an unfinished record, which the next mount drops\n")
            && out.ends_with("no damage"),
        "{out}"
    );
    let facts = b.kfs(["fsck", "s", "--json"]).ok();
    let facts: serde_json::Value = serde_json::from_str(facts.lines().last().unwrap()).unwrap();
    assert_eq!((&facts["damaged"], &facts["odd"]), (&0.into(), &1.into()));
    // In the first record, which was synced.
    let mut bad = whole.clone();
    bad[64 + 40] ^= 1;
    fs::write(&file, &bad[..end - 3]).unwrap();
    b.kfs(["fsck", "s"]).fails(6);
    fs::write(&file, &whole[..end - 3]).unwrap();
    assert_eq!(b.get("first"), "1");
    b.kfs(["get", "s", "second"]).fails(3);
    b.put("third", "3");
    assert_eq!((b.get("first"), b.get("third")), ("1".into(), "3".into()));
    let out = b.kfs(["fsck", "s"]).ok();
    assert!(!out.contains(" odd: "), "who writes drops it: {out}");
}

#[test]
fn what_is_no_store_is_not_checked() {
    let b = Bench::without_store();
    b.kfs(["fsck", "s"]).fails(3);
    b.kfs(["fsck", "s", "--rate", "fast"]).fails(2);
}

#[test]
fn a_repair_takes_the_damage_out_and_keeps_the_rest() {
    let (b, page) = with_page();
    spoil(&b, &page);
    let out = b
        .kfs(["fsck", "--repair", "--quarantine", "kept", "s"])
        .ok();
    assert!(out.starts_with("key \"a\", path a/:x/1: page "), "{out}");
    assert!(out.contains(" taken out: "), "{out}");
    assert!(out.ends_with("no damage"), "{out}");
    assert_eq!(b.get("a"), "{:x [1]}");
    assert_eq!(b.get("sound"), "1");
    assert_eq!(fs::read_dir(b.path("kept/blobs")).unwrap().count(), 1);
    b.kfs(["fsck", "s"]).ok();
    b.kfs(["fsck", "--quarantine", "kept", "s"]).fails(2);
}

#[test]
fn an_engine_that_does_not_open_is_made_anew() {
    let (b, _) = with_page();
    for n in 0..20 {
        b.put(&format!("k{n}"), &n.to_string());
    }
    let log = log(&b);
    let bytes = fs::read(&log).unwrap();
    // In the middle of a record.
    let mut bad = bytes.clone();
    bad[120] ^= 1;
    fs::write(&log, bad).unwrap();
    b.kfs(["get", "s", "sound"]).fails(3);
    let out = b.kfs(["fsck", "s", "--repair"]).ok();
    assert!(out.contains("engine/log/"), "{out}");
    b.kfs(["fsck", "s"]).ok();
    // Only what stood in the damaged record is gone.
    let there = (0..20).filter(|n| {
        let ended = b.kfs(["get", "s", &format!("k{n}")]);
        ended.code == 0 && ended.out == format!("{n}\n")
    });
    assert_eq!(
        there.count() + usize::from(b.kfs(["get", "s", "sound"]).code == 0),
        20
    );
}
