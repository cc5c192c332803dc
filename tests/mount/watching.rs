//! `.kfs/events`, `kfs watch`, `.kfs/stats.json` and `.kfs/metrics` of a mount.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value as Json;

use crate::harness::{KFS, Mount, gone_within, is_mounted, need_root};

fn parsed(text: &str) -> Vec<Json> {
    let lines = text.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}")))
        .collect()
}

fn number(line: &Json, field: &str) -> u64 {
    line[field]
        .as_u64()
        .unwrap_or_else(|| panic!("no {field}: {line}"))
}

fn text<'a>(line: &'a Json, field: &str) -> &'a str {
    line[field]
        .as_str()
        .unwrap_or_else(|| panic!("no {field}: {line}"))
}

/// Checks that records come in order, each whole, without gap and repetition, after `first`.
#[track_caller]
fn assert_no_gap(lines: &[Json], first: u64) {
    let mut last = first;
    let mut within = false;
    for line in lines {
        let expected = if within { last } else { last + 1 };
        assert_eq!(number(line, "seq"), expected, "{line}");
        last = expected;
        within = line["more"] == true;
    }
    assert!(!within, "the last record is not whole");
}

/// The files and directories below the root by path, with their contents.
fn tree(m: &Mount) -> BTreeMap<String, Option<Vec<u8>>> {
    fn walk(m: &Mount, dir: &str, found: &mut BTreeMap<String, Option<Vec<u8>>>) {
        for name in m.names(dir) {
            let name = name.into_string().unwrap();
            let path = if dir.is_empty() {
                name
            } else {
                format!("{dir}/{name}")
            };
            if m.path(&path).is_dir() {
                found.insert(path.clone(), None);
                walk(m, &path, found);
            } else {
                let content = m.read(&path);
                found.insert(path, Some(content));
            }
        }
    }
    let mut found = BTreeMap::new();
    walk(m, "", &mut found);
    found
}

/// Which paths there are and which have changed, as the lines say.
#[derive(Default)]
struct Replay {
    there: BTreeSet<String>,
    changed: BTreeSet<String>,
}

impl Replay {
    /// Takes a path with all below it away.
    fn take(&mut self, path: &str) -> Vec<String> {
        let below = format!("{path}/");
        let (gone, left) = std::mem::take(&mut self.there)
            .into_iter()
            .partition(|p| p == path || p.starts_with(&below));
        self.there = left;
        let gone: BTreeSet<String> = gone;
        gone.into_iter()
            .map(|gone| gone[path.len()..].to_owned())
            .collect()
    }

    fn place(&mut self, path: &str, rest: Vec<String>) {
        for rest in rest {
            let path = format!("{path}{rest}");
            self.changed.insert(path.clone());
            self.there.insert(path);
        }
    }

    fn apply(&mut self, line: &Json) {
        match text(line, "kind") {
            "assoc" => {
                let path = text(line, "path");
                self.take(path);
                self.place(path, vec![String::new()]);
            }
            "write" => drop(self.changed.insert(text(line, "path").to_owned())),
            "dissoc" => drop(self.take(text(line, "path"))),
            "rename" => {
                let (from, to) = (text(line, "from"), text(line, "path"));
                let moved = self.take(from);
                self.take(to);
                self.place(to, moved);
            }
            "swap" => {
                let (a, b) = (text(line, "from"), text(line, "path"));
                let (of_a, of_b) = (self.take(a), self.take(b));
                self.place(a, of_b);
                self.place(b, of_a);
            }
            "attrs" | "snapshot" | "snapshot-drop" | "internal" | "start" => {}
            other => panic!("{other}: {line}"),
        }
    }
}

/// `kfs watch` that runs beside the test.
struct Watcher {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Watcher {
    fn start(m: &Mount, args: &[&str]) -> Self {
        let mut command = Command::new(KFS);
        m.sandbox
            .set_up(&mut command)
            .args(["watch", m.store().to_str().unwrap(), "--json"])
            .args(args)
            .stdout(Stdio::piped())
            .stdin(Stdio::null());
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Self { child, lines }
    }

    /// The next line.
    fn line(&mut self) -> Json {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|e| panic!("{e}: {line:?}"))
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).unwrap())
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

#[test]
fn every_change_of_eight_writers_is_told_once_and_in_order() {
    need_root();
    let m = Mount::new();
    m.sh("mkdir dir; echo 0 > dir/f; echo same > same; echo old > old");
    let before = tree(&m);
    let mut replay = Replay::default();
    replay.there.extend(before.keys().cloned());
    // From here on what happens is told.
    let first = parsed(&m.sh("cat .kfs/events"));
    assert_eq!((first.len(), text(&first[0], "kind")), (1, "start"));
    let start = number(&first[0], "seq");
    let mut watcher = Watcher::start(&m, &["--since", &start.to_string()]);
    thread::scope(|scope| {
        for writer in 0..6 {
            let m = &m;
            scope.spawn(move || {
                for n in 0..20 {
                    m.sh(&format!(
                        "d=d{writer}; mkdir -p $d; echo {n} > $d/$(({n} % 5)); echo {n} >> log{writer}
                        echo {n} > $d/new; mv $d/new $d/final; echo x > t{writer}.{n}
                        [ {n} = 0 ] || rm t{writer}.$(({n} - 1))"
                    ));
                }
                let dir = m.dir();
                let names = [format!("d{writer}"), format!("log{writer}")];
                let [a, b] = names.map(|name| dir.join(name));
                let flags = nix::fcntl::RenameFlags::RENAME_EXCHANGE;
                nix::fcntl::renameat2(nix::fcntl::AT_FDCWD, &a, nix::fcntl::AT_FDCWD, &b, flags)
                    .unwrap();
            });
        }
        scope.spawn(|| {
            for n in 0..15 {
                m.put("api", &n.to_string());
                m.put(format!("dir/{n}"), "\"x\"");
                m.kfs("rm", format!("dir/{n}"), &[] as &[&str]).ok();
            }
        });
        scope.spawn(|| {
            for n in 0..5 {
                m.sh(&format!(
                    "mkdir .kfs/snapshot/s{n}; rmdir .kfs/snapshot/s{n}"
                ));
            }
        });
    });
    thread::sleep(Duration::from_millis(1100));
    m.sh("echo young > same; echo 1 > dir/f; ls");
    let store = m.store().to_str().unwrap().to_owned();
    let swept = m.sandbox.kfs(["sweep", &store, "--before", "1s"]).ok();
    let swept: BTreeSet<String> = swept.text().lines().map(str::to_owned).collect();
    assert!(swept.contains("old"), "{swept:?}");
    m.put("last", "1");

    let lines = parsed(&m.sh("cat .kfs/events"));
    assert_no_gap(&lines[1..], start);
    assert_eq!(text(lines.last().unwrap(), "path"), "last");
    // The other way of watching has told the same.
    for line in &lines[1..] {
        assert_eq!(watcher.line(), *line);
    }
    lines.iter().for_each(|line| replay.apply(line));
    let after = tree(&m);
    assert_eq!(replay.there, after.keys().cloned().collect());
    let changed: BTreeSet<String> = after
        .iter()
        .filter(|(path, content)| before.get(*path) != Some(content))
        .map(|(path, _)| path.clone())
        .collect();
    let untold: Vec<_> = changed.difference(&replay.changed).collect();
    assert!(untold.is_empty(), "{untold:?}");
    // And nothing that nobody has changed.
    assert!(!replay.changed.contains("dir"));
    let evicted = lines.iter().filter(|line| line["origin"] == "sweep");
    let evicted: BTreeSet<String> = evicted.map(|line| text(line, "path").to_owned()).collect();
    assert_eq!(evicted, swept);
    for origin in ["mount", "api"] {
        assert!(lines.iter().any(|line| line["origin"] == origin));
    }
}

#[test]
fn who_comes_back_goes_on_where_it_was() {
    let m = Mount::new();
    m.sh("cat .kfs/events; for n in 1 2 3 4 5 6; do echo $n > f$n; done");
    let mut lines = Vec::new();
    let mut watcher = Watcher::start(&m, &["--since", "0"]);
    lines.extend((0..3).map(|_| watcher.line()));
    drop(watcher);
    m.sh("echo 7 > f7; rm f1");
    let since = number(lines.last().unwrap(), "seq").to_string();
    let mut watcher = Watcher::start(&m, &["--since", &since]);
    lines.extend((0..5).map(|_| watcher.line()));
    assert_no_gap(&lines, 0);
    let paths: Vec<&str> = lines.iter().map(|line| text(line, "path")).collect();
    assert_eq!(paths, ["f1", "f2", "f3", "f4", "f5", "f6", "f7", "f1"]);
    // Of what another daemon has seen nobody tells.
    drop(watcher);
    m.remount();
    m.sh("echo 8 > f8");
    let mut watcher = Watcher::start(&m, &["--since", "3"]);
    let lost = watcher.line();
    assert_eq!((text(&lost, "kind"), number(&lost, "after")), ("lost", 3));
    assert!(number(&lost, "seq") >= 8, "{lost}");
    let events = parsed(&m.sh("cat .kfs/events"));
    assert_eq!(text(&events[0], "kind"), "start");
    assert_eq!(events[0]["seq"], lost["seq"]);
    m.sh("echo 9 > f9");
    assert_eq!(text(&watcher.line(), "path"), "f9");
}

#[test]
fn a_watch_may_be_of_a_part_and_ends_with_its_reader_or_the_mount() {
    let m = Mount::new();
    m.sh("cat .kfs/events; mkdir a b; echo 1 > a/x");
    // What nobody reads is not printed for long.
    let script = "kfs watch \"$S\" --since 0 | head -n 1; echo ${PIPESTATUS[*]}";
    let out = m.sh(&format!("bash -c '{script}'").replace("\"$S\"", m.store().to_str().unwrap()));
    assert!(
        out.contains("assoc  a  map  0  (mount)") && out.ends_with("0 0"),
        "{out}"
    );
    let mut watcher = Watcher::start(&m, &["a", "--since", "0"]);
    m.sh("echo 2 > b/y; mv b/y a/y; echo 3 > c");
    let got: Vec<String> = (0..3)
        .map(|_| text(&watcher.line(), "path").to_owned())
        .collect();
    assert_eq!(got, ["a", "a/x", "a/y"]);
    let through = [m.path("a").to_str().unwrap().to_owned()];
    // Who runs the tests in the background may have them ignore it.
    let mut command = Command::new("env");
    m.sandbox
        .set_up(&mut command)
        .args([
            "--default-signal=INT",
            KFS,
            "watch",
            &through[0],
            "--since",
            "0",
        ])
        .stdout(Stdio::piped());
    let mut human = command.spawn().unwrap();
    let mut line = String::new();
    let mut lines = BufReader::new(human.stdout.take().unwrap());
    lines.read_line(&mut line).unwrap();
    assert!(line.ends_with("  assoc  a  map  0  (mount)\n"), "{line}");
    // Ctrl-C ends it as it ends any program.
    kill(
        Pid::from_raw(i32::try_from(human.id()).unwrap()),
        Signal::SIGINT,
    )
    .unwrap();
    assert_eq!(human.wait().unwrap().code(), None);
    m.umount();
    let mut rest = String::new();
    watcher.lines.read_to_string(&mut rest).unwrap();
    assert!(watcher.child.wait().unwrap().success(), "{rest}");
    let refused = m.sandbox.kfs(["watch", m.store().to_str().unwrap()]);
    assert_eq!(refused.code, 4, "{refused}");
}

#[test]
fn the_file_of_events_is_a_log_for_every_tool() {
    let m = Mount::new();
    m.sh(
        "cat .kfs/events; echo 1 > a; echo 2 > b
        test \"$(jq -rs 'map(select(.kind == \"assoc\") | .path) | join(\" \")' .kfs/events)\" = 'a b'
        test \"$(tail -n 1 .kfs/events | jq -r .path)\" = b
        cp .kfs/events ../copy; cmp .kfs/events ../copy; test $(stat -c %s .kfs/events) = $(stat -c %s ../copy)
        test $(wc -l < .kfs/events) = 3
        timeout 20 tail -n 0 -f .kfs/events > ../tail & tail=$!
        sleep 1; echo 3 > c; n=0
        until grep -q '\"c\"' ../tail || [ $n = 100 ]; do sleep 0.1; n=$((n + 1)); done
        kill $tail; wait $tail || true; test \"$(jq -r .path ../tail)\" = c
        ! echo x 2>/dev/null > .kfs/events; ! rm .kfs/events 2>/dev/null; ! mv .kfs/events x 2>/dev/null
        ls .kfs | tr '\\n' ' ' > ../names",
    );
    let names = fs::read_to_string(m.sandbox.path("names")).unwrap();
    for name in ["events", "metrics", "snapshot", "stats.json"] {
        assert!(names.split(' ').any(|listed| listed == name), "{names}");
    }
}

/// Waits for events in Python, as the arguments say, and prints what comes.
const POLLER: &str = r"
import os, select, sys
f = os.open('.kfs/events', os.O_RDONLY)
while os.read(f, 65536): pass
other = os.open('a', os.O_RDWR)
poll = select.poll()
poll.register(f, select.POLLIN)
print('nothing', poll.poll(100), select.select([other], [other], [], 9)[1] == [other], flush=True)
for n in range(3):
    assert poll.poll() == [(f, select.POLLIN)]
    print(os.read(f, 65536).decode(), end='', flush=True)
    assert poll.poll(0) == []
print('waiting', flush=True)
ready = poll.poll()
print('end', flush=True)
";

#[test]
fn poll_waits_for_the_next_event_and_holds_up_nobody() {
    let m = Mount::new();
    m.sh("echo 0 > a");
    let mut python = Command::new("python3");
    m.sandbox
        .set_up(&mut python)
        .args(["-c", POLLER])
        .current_dir(m.dir())
        .stdout(Stdio::piped());
    let mut python = python.spawn().unwrap();
    let mut lines = BufReader::new(python.stdout.take().unwrap()).lines();
    let mut next = move || lines.next().unwrap().unwrap();
    assert_eq!(next(), "nothing [] True");
    for n in 1..=3 {
        m.sh(&format!("echo {n} > f{n}"));
        let line: Json = serde_json::from_str(&next()).unwrap();
        assert_eq!(text(&line, "path"), format!("f{n}"));
    }
    assert_eq!(next(), "waiting");
    // As any open file it is in the way of an unmount, but not of the daemon's end.
    let point = m.dir().to_str().unwrap();
    assert_eq!(m.sandbox.kfs(["umount", point]).code, 5);
    let pid = m.pid();
    kill(pid, Signal::SIGTERM).unwrap();
    assert!(gone_within(pid, Duration::from_secs(60)));
    assert!(!is_mounted(m.dir()));
    assert_eq!(next(), "end");
    assert!(python.wait().unwrap().success());
}

#[test]
fn a_watcher_that_does_not_read_stops_neither_writers_nor_the_end() {
    let m = Mount::new();
    // So that it does not matter whether the watcher or the first change comes first.
    m.sh(": < .kfs/events");
    let mut stopped = Watcher::start(&m, &["--since", "0"]);
    m.sh("echo 1 > first");
    assert_eq!(text(&stopped.line(), "path"), "first");
    kill(stopped.pid(), Signal::SIGSTOP).unwrap();
    let idle = fs::File::open(m.path(".kfs/events")).unwrap();
    let long = "x".repeat(200);
    // More than a socket and a pipe hold.
    for n in 0..3000 {
        m.write(format!("{long}{n}"), "x");
    }
    assert_eq!(m.names("").len(), 3001);
    drop(idle);
    m.umount();
}

/// The samples of Prometheus' text format by name and labels, checked as strictly as it is written
/// down: <https://prometheus.io/docs/instrumenting/exposition_formats/>.
fn samples(text: &str) -> BTreeMap<String, f64> {
    let mut found = BTreeMap::new();
    let mut types: BTreeMap<&str, &str> = BTreeMap::new();
    let mut helped = BTreeSet::new();
    let mut current = "";
    assert!(text.ends_with('\n'));
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap();
            assert!(helped.insert(name) && !help.is_empty(), "{line}");
            current = name;
            continue;
        }
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            assert!(
                types.insert(name, kind).is_none() && name == current,
                "{line}"
            );
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
            continue;
        }
        let (sample, value) = line.rsplit_once(' ').unwrap();
        let name = sample.split('{').next().unwrap();
        let is_letter = |c: char| c.is_ascii_alphanumeric() || c == '_';
        assert!(
            name.starts_with("kfs_") && name.chars().all(is_letter),
            "{line}"
        );
        let family = match types[current] {
            "histogram" => ["_bucket", "_sum", "_count"]
                .iter()
                .find_map(|end| name.strip_suffix(end))
                .unwrap(),
            _ => name,
        };
        assert_eq!(family, current, "{line}");
        if let Some(labels) = sample
            .strip_prefix(name)
            .filter(|labels| !labels.is_empty())
        {
            let labels = labels.strip_prefix('{').and_then(|l| l.strip_suffix('}'));
            for label in labels.unwrap().split(',') {
                let (label, value) = label.split_once('=').unwrap();
                assert!(label.chars().all(is_letter), "{line}");
                let value = value.strip_prefix('"').and_then(|v| v.strip_suffix('"'));
                assert!(value.is_some_and(|v| !v.contains(['"', '\\'])), "{line}");
            }
        }
        let value: f64 = value.parse().unwrap();
        assert!(found.insert(sample.to_owned(), value).is_none(), "{line}");
    }
    for (sample, count) in found
        .iter()
        .filter(|(sample, _)| sample.contains("_count{"))
    {
        let bucket = sample.replace("_count{", "_bucket{");
        let bucket = bucket.replace('}', ",le=\"+Inf\"}");
        assert_eq!(found[&bucket], *count, "{sample}");
        // Each bucket holds those below.
        let of = bucket.split("le=").next().unwrap();
        let mut limits: Vec<(f64, f64)> = found
            .range(of.to_owned()..)
            .take_while(|(sample, _)| sample.starts_with(of))
            .map(|(sample, n)| {
                (
                    sample[of.len()..]
                        .split('"')
                        .nth(1)
                        .unwrap()
                        .parse()
                        .unwrap(),
                    *n,
                )
            })
            .collect();
        limits.sort_by(|a, b| a.partial_cmp(b).unwrap());
        assert!(
            limits.len() > 10 && limits.windows(2).all(|w| w[0].1 <= w[1].1),
            "{of}"
        );
    }
    found
}

#[test]
fn metrics_count_what_was_done_and_every_scraper_reads_them() {
    let m = Mount::new();
    m.sh("mkdir d; echo 1 > d/there");
    let scrape = || samples(&String::from_utf8(m.read(".kfs/metrics")).unwrap());
    let before = scrape();
    for n in 0..37 {
        m.write(format!("d/{n}"), "content");
    }
    for n in 0..11 {
        fs::remove_file(m.path(format!("d/{n}"))).unwrap();
    }
    for n in 11..18 {
        fs::rename(m.path(format!("d/{n}")), m.path(format!("d/moved{n}"))).unwrap();
    }
    for _ in 0..5 {
        assert!(fs::create_dir(m.path("d/there")).is_err());
        fs::create_dir(m.path("d/dir")).unwrap();
        fs::remove_dir(m.path("d/dir")).unwrap();
    }
    assert!(fs::remove_dir(m.path("d")).is_err());
    for n in 0..3 {
        m.put("api", &n.to_string());
    }
    m.sh("mkdir .kfs/snapshot/s");
    let after = scrape();
    let grown = |name: &str| {
        let of = |all: &BTreeMap<String, f64>| {
            *all.get(name)
                .unwrap_or_else(|| panic!("no {name} in {all:#?}"))
        };
        of(&after) - of(&before)
    };
    let fuse = |operation: &str| {
        grown(&format!(
            "kfs_fuse_operation_seconds_count{{operation=\"{operation}\"}}"
        ))
    };
    let failed = |operation: &str| {
        grown(&format!(
            "kfs_fuse_operation_errors_total{{operation=\"{operation}\"}}"
        ))
    };
    assert_eq!((fuse("create"), failed("create")), (37.0, 0.0));
    assert_eq!(
        (fuse("write"), fuse("unlink"), fuse("rename")),
        (37.0, 11.0, 7.0)
    );
    // The kernel refuses by itself what it knows to be there.
    assert_eq!(
        (fuse("mkdir"), fuse("rmdir"), failed("rmdir")),
        (6.0, 6.0, 1.0)
    );
    let records = 37.0 + 11.0 + 7.0 + 10.0 + 3.0 + 1.0;
    assert_eq!(grown("kfs_store_sequence"), records);
    let commits = grown("kfs_store_operation_seconds_count{operation=\"commit\"}");
    assert!(commits >= records, "{commits}");
    assert_eq!(grown("kfs_store_snapshots"), 1.0);
    assert!(grown("kfs_journal_appended_bytes_total") > records * 20.0);
    assert!(grown("kfs_store_operation_seconds_count{operation=\"sync\"}") >= 3.0);
    assert!(grown("kfs_journal_syncs_total") >= 1.0);
    let times = grown("kfs_journal_sync_seconds_count");
    assert_eq!(times, grown("kfs_journal_syncs_total"));
    assert!(grown("kfs_journal_sync_seconds_sum") > 0.0);
    assert_eq!(after["kfs_store_open_transactions"], 0.0);
    m.sh("mkdir .kfs/tx/t .kfs/tx/u");
    let open = scrape();
    assert_eq!(open["kfs_store_open_transactions"], 2.0);
    assert_eq!(open["kfs_store_snapshots"], after["kfs_store_snapshots"]);
    m.sh("rmdir .kfs/tx/t .kfs/tx/u");
    assert_eq!(scrape()["kfs_store_open_transactions"], 0.0);
    assert!(grown("kfs_cache_hits_total{cache=\"documents\"}") > 0.0);
    assert!(after["kfs_process_resident_memory_bytes"] > 1e6);
    assert!(after["kfs_process_uptime_seconds"] < 300.0);
    // Folding brings it to the storage.
    m.gc();
    let end = scrape();
    assert!(end["kfs_garbage_rounds_total"] >= after["kfs_garbage_rounds_total"] + 1.0);
    let apply = "kfs_backend_operation_seconds_count{operation=\"apply\"}";
    assert!(end[apply] > before[apply]);
    assert!(end["kfs_backend_written_bytes_total"] > before["kfs_backend_written_bytes_total"]);
    assert_eq!(end["kfs_journal_unfolded_records"], 0.0);

    let json: Json = serde_json::from_slice(&m.read(".kfs/stats.json")).unwrap();
    assert_eq!(json["fuse"]["operations"]["unlink"]["count"], 11);
    assert_eq!(json["store"]["snapshots"], 1);
    let status = m
        .sandbox
        .kfs(["status", m.store().to_str().unwrap(), "--stats"])
        .ok();
    let told: Json = serde_json::from_slice(&status.stdout).unwrap();
    assert_eq!(
        told["fuse"]["operations"]["unlink"],
        json["fuse"]["operations"]["unlink"]
    );
    m.sh(
        "test \"$(jq .store.snapshots .kfs/stats.json)\" = 1; cp .kfs/metrics ../m; test -s ../m
        python3 -c \"assert open('.kfs/metrics').read().endswith('\\n')\"
        if command -v promtool > /dev/null; then promtool check metrics < ../m; fi",
    );
}

#[test]
fn stats_and_metrics_can_be_read_while_everybody_writes() {
    let m = Mount::new();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        for writer in 0..4 {
            let (m, done) = (&m, &done);
            scope.spawn(move || {
                let mut n = 0;
                while !done.load(Ordering::Relaxed) {
                    m.write(format!("{writer}"), n.to_string());
                    n += 1;
                }
            });
        }
        let mut last = 0.0;
        for _ in 0..20 {
            let now = samples(&String::from_utf8(m.read(".kfs/metrics")).unwrap());
            let written = now["kfs_fuse_operation_seconds_count{operation=\"write\"}"];
            assert!(written >= last);
            last = written;
            let json: Json = serde_json::from_slice(&m.read(".kfs/stats.json")).unwrap();
            assert!(json["store"]["sequence"].is_u64());
        }
        done.store(true, Ordering::Relaxed);
    });
}
