//! Changing how a store writes, and bringing what it has into that form.

use std::process::{Child, Stdio};
use std::time::Duration;

use super::harness::{Bench, KFS};

/// A number from the environment.
fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |n| n.parse().unwrap())
}

/// Puts as many values as asked for.
fn fill(bench: &Bench, count: u64) -> String {
    let value = |n: u64| format!("{{:n {n}, :text \"value {n} {}\"}}", "and more ".repeat(8));
    let entries: Vec<String> = (0..count)
        .map(|n| format!("\"k{n}\" {}", value(n)))
        .collect();
    for (part, entries) in entries.chunks(5000).enumerate() {
        let part = format!("part{part}");
        let map = format!("{{{}}}", entries.join(" "));
        let put = ["put", "s", &part, "--as", "edn", "--file", "-"];
        bench.kfs_with(put, map.as_bytes()).ok();
        bench.put(&format!("own{part}"), &value(7));
    }
    all(bench)
}

/// All that is in the store.
fn all(bench: &Bench) -> String {
    bench.kfs(["export", "s", "/", "out.edn"]).ok();
    std::fs::read_to_string(bench.path("out.edn")).unwrap()
}

#[test]
fn rewrite_changes_what_is_there_and_what_comes() {
    let bench = Bench::new();
    let before = fill(&bench, 2000);
    let how = [
        "rewrite",
        "s",
        "--serializer",
        "edn",
        "--compress",
        "none",
        "--json",
    ];
    let done = bench.json(how);
    assert_eq!(
        (&done["serializer"], &done["compressor"]),
        (&"edn".into(), &"none".into())
    );
    let (blobs, rewritten) = (
        done["blobs"].as_u64().unwrap(),
        done["rewritten"].as_u64().unwrap(),
    );
    assert!(rewritten > 10 && rewritten <= blobs, "{done}");
    assert_eq!(all(&bench), before);
    bench.put("new", "{:colour :green}");
    // It stays so without being asked again.
    let again = bench.json(["rewrite", "s", "--json"]);
    assert_eq!(
        (&again["serializer"], &again["rewritten"]),
        (&"edn".into(), &0.into())
    );
    let said = bench
        .kfs(["rewrite", "s", "--new-only", "--compress", "zstd"])
        .ok();
    assert_eq!(
        said,
        "0 of 0 blobs written anew; the store writes edn, compressed: zstd"
    );
    bench.kfs(["rewrite", "s"]).ok();
    assert_eq!(bench.get("new"), "{:colour :green}");
    bench.kfs(["rm", "-r", "s", "new"]).ok();
    assert_eq!(all(&bench), before);
    bench.kfs(["fsck", "s"]).ok();
}

#[test]
fn people_can_read_what_an_edn_store_has_in_its_files() {
    let bench = Bench::without_store();
    let how = ["--serializer", "edn", "--compress", "none"];
    bench.kfs(["init", "file:s"].iter().chain(&how)).ok();
    bench.put(
        "user",
        "{:name \"Ada\" :langs [\"en\" \"fr\"] :photo #bytes \"00ff\"}",
    );
    let has = |path: &std::path::Path| {
        let bytes = std::fs::read(path).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let parts = [
            "\"key\" \"user\"",
            ":name",
            "[1 \"Ada\"]",
            "[2 #bytes \"00ff\"]",
        ];
        parts.iter().all(|part| text.contains(part))
    };
    let mut dirs = vec![bench.path("s")];
    let mut found = 0;
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            found += usize::from(has(&path));
            dirs.extend(path.is_dir().then_some(path));
        }
    }
    assert_eq!(found, 1);
}

#[test]
fn what_does_not_read_is_named_and_left_as_it_is() {
    let bench = Bench::without_store();
    bench.kfs(["init", "file:s", "--compress", "none"]).ok();
    bench.put("good", "1");
    bench.put("bad", "\"something that is long enough to be found\"");
    let mut dirs = vec![bench.path("s")];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let mut bytes = std::fs::read(&path).unwrap_or_default();
            let at = bytes.windows(9).position(|part| part == b"something");
            if let Some(at) = at.filter(|_| !path.to_string_lossy().contains("journal")) {
                bytes[at] = b'S';
                std::fs::write(&path, bytes).unwrap();
            }
            dirs.extend(path.is_dir().then_some(path));
        }
    }
    let ended = bench.kfs(["rewrite", "s", "--serializer", "json", "--json"]);
    assert_eq!(ended.code, 6, "{ended:?}");
    assert!(ended.err.contains("cbad: damaged storage"), "{ended:?}");
    let done: serde_json::Value = serde_json::from_str(&ended.out).unwrap();
    assert_eq!(done["damaged"].as_array().unwrap().len(), 1, "{done}");
    assert_eq!(bench.get("good"), "1");
    bench.kfs(["get", "s", "bad"]).fails(6);
}

/// Ends with the process.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// `KFS_VALUES=100000 KFS_KILLS=100` for a long run.
#[test]
fn rewriting_that_is_killed_at_any_moment_loses_nothing_and_is_finished_by_the_next() {
    let (values, kills) = (number("KFS_VALUES", 3000), number("KFS_KILLS", 6));
    let bench = Bench::new();
    let before = fill(&bench, values);
    let forms = [["edn", "zstd"], ["json", "none"], ["cbor", "lz4"]];
    let mut random: u64 = 7;
    let mut cut_short = 0;
    for kill in 0..kills {
        let [serializer, compress] = forms[kill as usize % forms.len()];
        let mut command = bench.command(KFS);
        let how = [
            "rewrite",
            "s",
            "--serializer",
            serializer,
            "--compress",
            compress,
        ];
        command
            .args(how)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let mut rewriting = Killed(command.spawn().unwrap());
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        std::thread::sleep(Duration::from_micros(
            (random >> 33) % (20_000 + values * 20),
        ));
        cut_short += usize::from(rewriting.0.try_wait().unwrap().is_none());
        drop(rewriting);
        if kill % 5 == 0 {
            assert!(all(&bench) == before, "after kill {kill}");
        }
    }
    assert!(cut_short > 0, "none was still at work when it was killed");
    assert!(all(&bench) == before);
    let done = bench.json([
        "rewrite",
        "s",
        "--serializer",
        "edn",
        "--compress",
        "zstd",
        "--json",
    ]);
    assert!(done["rewritten"].as_u64().unwrap() > 0, "{done}");
    let again = bench.json(["rewrite", "s", "--json"]);
    assert_eq!(again["rewritten"], 0, "{again}");
    assert!(all(&bench) == before);
    bench.kfs(["fsck", "s"]).ok();
}
