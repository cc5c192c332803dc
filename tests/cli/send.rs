//! `kfs send` and `kfs receive`.

use std::fs;
use std::process::Stdio;

use super::harness::{Bench, KFS};

/// A store with two snapshots.
fn bench() -> Bench {
    let bench = Bench::new();
    bench.put("user", "{:name \"Ada\" :langs [\"en\" \"fr\"]}");
    bench.put("gone", "1");
    bench.kfs(["snapshot", "create", "s", "one"]).ok();
    bench.put("user/:name", "\"Grace\"");
    bench.kfs(["rm", "s", "gone"]).ok();
    bench.kfs(["snapshot", "create", "s", "two"]).ok();
    bench
}

fn sh(bench: &Bench, script: &str) -> super::harness::Ended {
    let mut command = bench.command("bash");
    let kfs = format!("set -o pipefail; kfs() {{ {KFS} \"$@\"; }}; {script}");
    command.args(["-c", &kfs]).stdin(Stdio::null());
    super::harness::run(command, b"")
}

#[test]
fn a_snapshot_goes_from_store_to_store_and_then_what_changes() {
    let bench = bench();
    let said = sh(&bench, "kfs send s one | kfs receive t").ok();
    assert!(said.starts_with("received one: "), "{said}");
    let get = |store: &str, path: &str| bench.kfs(["get", store, path]).ok();
    assert_eq!(get("t", "user/:name"), "\"Ada\"");
    assert_eq!(get("t", "gone"), "1");
    // Into another storage, from a store that has received it.
    sh(&bench, "kfs send t one > one; kfs receive file:u < one").ok();
    let json = sh(&bench, "kfs send s one..two | kfs --json receive file:u").ok();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        (&json["snapshot"], &json["from"]),
        (&"two".into(), &"one".into())
    );
    assert_eq!(get("u", "user"), get("s", "user"));
    bench.kfs(["get", "u", "gone"]).fails(3);
    let names = |store: &str| bench.kfs(["snapshot", "list", store]).ok();
    assert_eq!(names("u"), names("s"));
    assert_eq!(
        bench
            .kfs(["snapshot", "diff", "u", "one", "two"])
            .ok()
            .lines()
            .count(),
        2
    );
    bench.kfs(["gc", "u"]).ok();
    bench.kfs(["fsck", "u"]).ok();
}

#[test]
fn what_does_not_fit_is_refused_with_what_to_do() {
    let bench = bench();
    let fails = |script: &str, code| sh(&bench, script).fails(code);
    fails("kfs send s none", 3);
    fails("kfs send s two..one", 2);
    let missing = fails("kfs send s one..two | kfs receive t", 3);
    assert!(missing.contains("no store here"), "{missing}");
    sh(&bench, "kfs send s one | kfs receive t").ok();
    let there = fails("kfs send s one > one; kfs receive t < one", 4);
    assert!(there.contains("received already"), "{there}");
    bench.kfs(["put", "t", "mine", "1"]).ok();
    sh(&bench, "kfs send s one..two > two").ok();
    let changed = fails("kfs receive t < two", 4);
    assert!(changed.contains("--force"), "{changed}");
    sh(&bench, "kfs receive --force t < two").ok();
    bench.kfs(["get", "t", "mine"]).fails(3);
    let none = fails("echo hello, this is a text | kfs receive v", 10);
    assert!(none.contains("no stream of"), "{none}");
    assert!(!bench.path("v").exists());
    fails("kfs receive mem: < one", 4);
}

#[test]
fn an_interrupted_stream_is_gone_on_with() {
    let bench = bench();
    let random: Vec<u8> = (0..1_500_000_u32)
        .flat_map(|n| blake3::hash(&n.to_le_bytes()).as_bytes()[..2].to_vec())
        .collect();
    fs::write(bench.path("random"), random).unwrap();
    bench.kfs(["import", "s", "big", "random"]).ok();
    bench.kfs(["snapshot", "create", "s", "big"]).ok();
    let token = |store: &str| bench.kfs(["receive", "--token", store]);
    sh(&bench, "kfs send s big > whole").ok();
    let error = sh(&bench, "head -c 2500000 whole | kfs receive t").fails(6);
    let given = token("t").ok();
    assert!(
        error.contains(&format!("kfs send --resume {given}")),
        "{error}"
    );
    assert_eq!(bench.kfs(["ls", "t"]).ok(), "");
    sh(
        &bench,
        &format!("kfs send --resume {given} s big > rest; kfs receive t < rest"),
    )
    .ok();
    let length = |name: &str| fs::metadata(bench.path(name)).unwrap().len();
    assert!(length("rest") < length("whole") - 2_000_000);
    sh(&bench, "diff <(kfs export s / -) <(kfs export t / -)").ok();
    token("t").fails(3);
    // What came of it can be given up.
    sh(&bench, "head -c 2500000 whole | kfs receive u").fails(6);
    bench.kfs(["receive", "--abort", "u"]).ok();
    token("u").fails(3);
    let gone = sh(&bench, "kfs receive u < rest").fails(4);
    assert!(gone.contains("from the beginning"), "{gone}");
    let freed = bench.kfs(["gc", "u"]).ok();
    assert!(
        freed.contains(" 0 in use (0 bytes);") && !freed.starts_with('0'),
        "{freed}"
    );
    let bad = bench.kfs(["send", "--resume", "1-2", "s", "big"]).fails(2);
    assert!(bad.contains("--token prints"), "{bad}");
}
