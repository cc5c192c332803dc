//! What freeing tells of itself: `kfs gc` on a terminal, and the daemon that does it by itself.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value as Json;

use crate::harness::{KFS, Mount, run};
use crate::random::Random;

fn leaves(count: usize, text: &str) -> String {
    let leaves: String = (0..count)
        .map(|n| format!("{n} {{:v \"{text} {n}\"}} "))
        .collect();
    format!("{{{leaves}}}")
}

fn stats(m: &Mount) -> Json {
    serde_json::from_slice(&m.read(".kfs/stats.json")).unwrap()
}

#[test]
fn gc_reports_what_it_has_done_and_shows_on_a_terminal_how_far_it_is() {
    let m = Mount::new();
    let mut random = Random::new(7);
    for text in ["old", "new"] {
        m.put("doc", &leaves(3000, text));
        m.write("large", random.bytes(4_000_000));
        m.sh("sync .");
    }
    let out = m
        .sandbox
        .kfs(["gc".as_ref(), m.store().as_os_str(), "--json".as_ref()])
        .ok();
    let report: Json = serde_json::from_str(&out.text()).unwrap();
    let number = |name: &str| {
        report[name]
            .as_u64()
            .unwrap_or_else(|| panic!("no {name}: {report}"))
    };
    assert!(number("records") >= 2, "{report}");
    assert!(number("freed-pages") > 50, "{report}");
    // What is in use was reached, but for what was written meanwhile.
    assert!(number("marked-pages") <= number("used-pages"), "{report}");
    assert!(number("used-bytes") > 4_000_000, "{report}");
    assert!(number("space-after") < number("space-before"), "{report}");
    let garbage = &stats(&m)["garbage"];
    assert_eq!(garbage["running"], 0);
    assert_eq!(garbage["phase"]["none"], 1);
    assert_eq!(garbage["last_round_records"], report["records"]);
    assert_eq!(garbage["last_round_freed_pages"], report["freed-pages"]);
    assert_eq!(garbage["last_round_after_bytes"], report["space-after"]);
    assert_eq!(garbage["failed_rounds"], 0);
    // A terminal sees a line that comes and goes, mounted and unmounted; a file does not.
    for mounted in [true, false] {
        let mut command = Command::new("script");
        let line = format!("{KFS} gc {} 2>&1", m.store().display());
        command.args(["-qec", &line, "/dev/null"]);
        let out = run(m.sandbox.set_up(&mut command), b"").ok().text();
        assert!(
            out.contains("\r\u{1b}[Kgetting ready") || out.contains("\r\u{1b}[Klooking"),
            "{out:?}"
        );
        assert!(out.contains("\r\u{1b}[K0 pages freed"), "{out:?}");
        assert!(out.contains("on disk before"), "{out:?}");
        let out = m.gc().ok().text();
        assert!(
            !out.contains('\r') && out.starts_with("0 pages freed"),
            "{out}"
        );
        if mounted {
            m.umount();
        }
    }
}

/// Damages a byte of each file in a directory.
fn damage(dir: &Path) {
    for item in fs::read_dir(dir).unwrap() {
        let path = item.unwrap().path();
        if path.is_dir() {
            damage(&path);
        } else {
            let mut bytes = fs::read(&path).unwrap();
            let at = bytes.len() / 2;
            bytes[at] ^= 1;
            fs::write(&path, bytes).unwrap();
        }
    }
}

#[test]
fn a_daemon_tells_why_it_cannot_free_anything() {
    let m = Mount::of_kind("file");
    m.mount();
    m.put("doc", &leaves(3000, "text"));
    m.umount();
    // The pages: their addresses begin with a p.
    damage(&m.store().join("files/blobs/70"));
    m.mount();
    // A snapshot that is dropped makes a round due.
    m.sh("mkdir .kfs/snapshot/s; echo 1 > f; rmdir .kfs/snapshot/s");
    let end = Instant::now() + Duration::from_secs(120);
    while stats(&m)["garbage"]["failed_rounds"] == 0 {
        assert!(Instant::now() < end, "{}", stats(&m)["garbage"]);
        sleep(Duration::from_millis(200));
    }
    let told = || String::from_utf8(m.read(".kfs/last-error")).unwrap();
    while !told().starts_with("pages not freed: ") {
        assert!(Instant::now() < end, "{}", told());
        sleep(Duration::from_millis(50));
    }
    assert!(
        told().contains("doc") && told().contains("nothing was freed"),
        "{}",
        told()
    );
    assert_eq!(stats(&m)["garbage"]["running"], 0);
}
