//! A process that is killed while it receives leaves the old state or the new one.

use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};

use konserve_fs::gc;
use konserve_fs::snapshot;
use konserve_fs::store::{ConnectOptions, check};
use konserve_fs::store::{CreateOptions, Location, Store, StoreError};
use konserve_fs::value::Value;

use super::send::{Random, Watch, connect, key, records, stream, take_in};

/// What changes files, or makes them durable.
const CALLS: &str = "write,pwrite64,writev,fsync,fdatasync,rename,unlink,ftruncate,sync_file_range";

/// Two snapshots of so many keys.
fn sender(keys: i64) -> Store {
    let location = Location::parse("mem:").unwrap();
    let store = Store::create(&location, &CreateOptions::default()).unwrap();
    let store = store.unsynced();
    let mut random = Random(5);
    for n in 0..keys {
        store
            .assoc(&key(&format!("key {n}")), &Value::Int(n))
            .unwrap();
    }
    store
        .bassoc(&key("file"), random.bytes(300_000).as_slice())
        .unwrap();
    snapshot::take(&store, "one").unwrap();
    for n in 0..keys - keys / 4 {
        let name = key(&format!("key {n}"));
        if n % 5 == 0 {
            store.dissoc(&name).unwrap();
        } else {
            store.assoc(&name, &Value::Int(-n)).unwrap();
        }
    }
    store
        .assoc_in(&[key("dir"), key("x")], &Value::Text("x ".repeat(999)))
        .unwrap();
    store
        .bassoc(&key("file"), random.bytes(1_500_000).as_slice())
        .unwrap();
    snapshot::take(&store, "two").unwrap();
    store
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), &to).unwrap();
        }
    }
}

/// Receives in a process that is killed at the `call`th call of a thread; whether it was.
fn killed(location: &Location, stream: &Path, call: u64) -> bool {
    let ended = Command::new("strace")
        .args(["-f", "-qq", "-o", "/dev/null", "-e"])
        .arg(format!("trace={CALLS}"))
        .arg("-e")
        .arg(format!("inject={CALLS}:signal=SIGKILL:when={call}"))
        .arg(env!("CARGO_BIN_EXE_kfs"))
        .args(["receive", &location.to_string()])
        .stdin(File::open(stream).unwrap())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    let died = ended.status.signal() == Some(9) || ended.status.code() == Some(137);
    assert!(died || ended.status.success(), "{ended:?}");
    died
}

fn read_only(location: &Location) -> Result<Store, StoreError> {
    let options = ConnectOptions {
        read_only: true,
        ..ConnectOptions::default()
    };
    Store::connect(location, &options)
}

fn kill_everywhere(kind: fn(std::path::PathBuf) -> Location, full: bool, keys: i64) {
    let sender = sender(keys);
    let dir = tempfile::tempdir().unwrap();
    let (first, second) = (
        stream(&sender, None, "one"),
        stream(&sender, Some("one"), "two"),
    );
    let sent = if full {
        stream(&sender, None, "two")
    } else {
        second
    };
    let file = dir.path().join("stream");
    fs::write(&file, &sent).unwrap();
    let base = dir.path().join("base");
    if !full {
        take_in(&kind(base.clone()), first.as_slice()).unwrap();
    }
    let at = |name| records(&snapshot::open(&sender, name).unwrap());
    let (one, two) = (at("one"), at("two"));
    drop(sender);
    let (mut old, mut new, mut half) = (0, 0, 0);
    // Not all of the thousands that there are, but all kinds.
    let mut call = 1;
    loop {
        let place = dir.path().join("target");
        let location = kind(place.clone());
        if !full {
            copy(&base, &place);
        }
        if !killed(&location, &file, call) {
            break;
        }
        if Store::exists(&location) {
            half += u64::from(matches!(
                read_only(&location),
                Err(StoreError::HalfReceived { .. })
            ));
        }
        let known = match Store::connect(&location, &ConnectOptions::default()) {
            Ok(target) => {
                let listed = target.snapshots().unwrap().len();
                let found = records(&target);
                target.release().unwrap();
                Some((listed, found))
            }
            // It was killed before the store was one.
            Err(StoreError::Missing { .. } | StoreError::NotAStore { .. }) if full => None,
            Err(error) => panic!("{call}: {error}"),
        };
        let before = if full { 0 } else { 1 };
        match known {
            Some((listed, found)) if listed == before + 1 => {
                assert!(found == two, "{call}");
                new += 1;
            }
            known => {
                if let Some((listed, found)) = known {
                    assert_eq!(listed, before, "{call}");
                    assert!(if full { found.is_empty() } else { found == one }, "{call}");
                }
                old += 1;
                take_in(&location, sent.as_slice()).unwrap();
            }
        }
        let target = connect(&location);
        assert!(records(&target) == two, "{call}");
        gc::reclaim(&target).unwrap();
        target.release().unwrap();
        let mut found = Watch::default();
        let report = check(&location, None, &mut found).unwrap();
        assert!(
            report.complete && found.0.is_empty(),
            "{call}: {:?}",
            found.0
        );
        assert_eq!(report.garbage, 0, "{call}");
        fs::remove_dir_all(&place).unwrap();
        call += if call < 30 { 1 } else { call };
    }
    println!("{old} old, {new} new, {half} of them halfway, up to call {call}");
    assert!(old > 2 && new > 0 && half > 0, "{old} {new} {half}");
}

#[test]
fn a_kill_while_changes_are_received_leaves_the_old_or_the_new() {
    kill_everywhere(Location::Embedded, false, 900);
}

#[test]
fn a_kill_while_changes_are_received_into_files_leaves_the_old_or_the_new() {
    kill_everywhere(Location::File, false, 150);
}

#[test]
fn a_kill_while_a_store_is_made_leaves_none_or_an_empty_one_or_all() {
    kill_everywhere(Location::Embedded, true, 900);
}
