//! `kfs snapshot` and `kfs log`.

use super::harness::Bench;
use serde_json::json;

/// Two snapshots, `one` and `two`, and something since.
fn bench() -> Bench {
    let bench = Bench::new();
    bench.put("user", "{:name \"Ada\" :age 36 :langs [\"en\" \"fr\"]}");
    bench.put("gone", "1");
    bench.kfs(["snapshot", "create", "s", "one"]).ok();
    bench.put("user/:age", "37");
    bench.put("user/:langs/1", "\"de\"");
    bench.kfs(["rm", "s", "gone"]).ok();
    bench.put("new", "{:a {:b 1}}");
    bench.kfs(["snapshot", "create", "s", "two"]).ok();
    bench.put("user/:age", "38");
    bench
}

#[test]
fn snapshots_are_listed_by_name_and_time_and_dropped() {
    let bench = bench();
    let list = bench.kfs(["snapshot", "list", "s"]).ok();
    let names: Vec<&str> = list.lines().map(|line| &line[21..]).collect();
    assert_eq!(names, ["one", "two"]);
    let error = bench.kfs(["snapshot", "create", "s", "two"]).fails(4);
    assert_eq!(error, "kfs: there is a snapshot two already\n");
    let error = bench.kfs(["snapshot", "create", "s", "a/b"]).fails(2);
    assert!(error.contains("it has a slash"), "{error}");
    bench.kfs(["snapshot", "rm", "s", "one"]).ok();
    bench.kfs(["snapshot", "rm", "s", "one"]).fails(3);
    let unnamed = bench.json(["--json", "snapshot", "create", "s"]);
    let name = unnamed["name"].as_str().unwrap();
    assert!(name.starts_with("20") && name.ends_with('Z'), "{name}");
    assert_eq!(bench.kfs(["snapshot", "list", "s"]).ok().lines().count(), 2);
    bench.kfs(["gc", "s"]).ok();
    bench.kfs(["fsck", "s"]).ok();
}

#[test]
fn a_diff_is_a_line_for_each_path() {
    let bench = bench();
    let diff = |args: &[&str]| bench.kfs([&["snapshot", "diff", "s"], args].concat()).ok();
    let mut lines: Vec<String> = diff(&["one", "two"]).lines().map(str::to_owned).collect();
    lines.sort();
    assert_eq!(
        lines,
        [
            "+ new/:a/:b  1",
            "- gone  1",
            "~ user/:age  36 -> 37",
            "~ user/:langs/1  \"fr\" -> \"de\"",
        ]
    );
    assert_eq!(diff(&["two"]), "~ user/:age  37 -> 38");
    assert_eq!(
        diff(&["two", "one", "--path", "user/:age"]),
        "~ user/:age  37 -> 36"
    );
    assert_eq!(diff(&["two", "two"]), "");
    let found = bench.json(["--json", "snapshot", "diff", "s", "two"]);
    let expected = json!({"path": "user/:age", "change": "changed", "old": 37, "new": 38});
    assert_eq!(found, expected);
    bench.kfs(["snapshot", "diff", "s", "three"]).fails(3);
}

#[test]
fn what_a_snapshot_has_comes_back() {
    let bench = bench();
    let restore = |args: &[&str]| bench.kfs([&["snapshot", "restore"], args].concat());
    restore(&["s", "user/:age@one"]).ok();
    assert_eq!(bench.get("user/:age"), "36");
    assert_eq!(bench.get("user/:langs"), "[\"en\" \"de\"]");
    restore(&["s", "gone@one"]).ok();
    assert_eq!(bench.get("gone"), "1");
    restore(&["s", "new@one"]).fails(3);
    restore(&["s", "new"]).fails(2);
    // A variable that was empty does not undo everything.
    restore(&["s", "@one"]).fails(2);
    restore(&["--all", "s", "one"]).ok();
    assert_eq!(bench.ls(""), ["gone", "user"]);
    assert_eq!(bench.kfs(["snapshot", "diff", "s", "one"]).ok(), "");
    restore(&["--all", "s", "two"]).ok();
    assert_eq!(bench.ls(""), ["new", "user"]);
    assert_eq!(bench.kfs(["snapshot", "diff", "s", "two"]).ok(), "");
}

#[test]
fn a_log_has_the_versions_of_a_path() {
    let bench = bench();
    let log = bench.kfs(["log", "s", "user/:age"]).ok();
    let lines: Vec<&str> = log.lines().map(|line| &line[21..]).collect();
    assert_eq!(lines, ["(now)  38", "two  37", "one  36"]);
    let gone = bench.kfs(["log", "s", "gone"]).ok();
    assert_eq!(gone.lines().next().unwrap(), "(not there)          two  -");
    bench.kfs(["log", "s", "never"]).fails(3);
}

#[test]
fn pruning_drops_what_need_not_be_kept() {
    let bench = bench();
    let prune = |args: &[&str]| bench.kfs([&["snapshot", "prune", "s"], args].concat());
    prune(&[]).fails(2);
    let planned = prune(&["--keep-daily", "3", "--dry-run"]).ok();
    assert!(
        planned.ends_with("  one") && !planned.contains('\n'),
        "{planned}"
    );
    assert_eq!(prune(&["--keep-last", "1", "--prefix", "auto"]).ok(), "");
    assert_eq!(prune(&["--keep-last", "1"]).ok(), planned);
    let left = bench.kfs(["snapshot", "list", "s"]).ok();
    assert!(left.ends_with("  two") && !left.contains('\n'), "{left}");
}
