//! How commands end: codes, messages, help, and output that nobody reads.

use std::fs::OpenOptions;
use std::io::Read;
use std::process::Stdio;

use super::harness::{Bench, KFS};

#[test]
fn help_shows_every_verb_and_the_exit_codes() {
    let bench = Bench::without_store();
    let help = bench.kfs(["--help"]).ok();
    for verb in [
        "init", "mount", "umount", "status", "ls", "get", "put", "edit", "cp", "mv", "rm", "info",
        "import", "export", "destroy", "demo", "version",
    ] {
        assert!(
            help.lines()
                .any(|line| line.trim_start().starts_with(&format!("{verb} "))),
            "{verb}\n{help}"
        );
        assert!(bench.kfs([verb, "--help"]).ok().contains("Usage: kfs"));
    }
    assert!(!help.contains("  update"), "{help}");
    for code in 0..=10 {
        assert!(
            help.lines()
                .any(|line| line.trim_start().starts_with(&format!("{code}  "))),
            "{code}\n{help}"
        );
    }
}

#[test]
fn version_is_told_in_both_ways() {
    let bench = Bench::without_store();
    let version = env!("CARGO_PKG_VERSION");
    assert!(bench.kfs(["--version"]).ok().ends_with(version));
    assert!(bench.kfs(["version"]).ok().contains(version));
    assert_eq!(bench.json(["version", "--json"])["version"], version);
}

#[test]
fn a_wrong_command_line_ends_with_2() {
    let bench = Bench::new();
    for args in [
        &[][..],
        &["frobnicate"],
        &["get"],
        &["get", "s"],
        &["get", "s", "a", "b"],
        &["get", "s", "a", "--bogus"],
        &["get", "s", "a", "--as", "yaml"],
        &["put", "s", "a"],
        &["put", "s", "a", "1", "--file", "f"],
        &["init", "new", "--id", "none"],
        &["init", "new", "--compress", "zip"],
        &["cp", "s", "a"],
        &["mv", "s", "a", "b", "--exchange", "--replace"],
        &["mount", "s", "d", "-o", "frob"],
        &["update", "s", "a", "dec"],
    ] {
        let ended = bench.kfs(args);
        assert_eq!(ended.code, 2, "{args:?}: {ended:?}");
        assert!(
            !ended.err.is_empty() && ended.out.is_empty(),
            "{args:?}: {ended:?}"
        );
    }
}

#[test]
fn a_value_that_does_not_parse_ends_with_10_and_shows_the_place() {
    let bench = Bench::new();
    std::fs::write(bench.path("f.edn"), "{:a 1\n :b [1 2}\n").unwrap();
    let message = bench.kfs(["put", "s", "a", "--file", "f.edn"]).fails(10);
    assert!(
        message.contains("f.edn: not valid EDN: line 2, column 9: "),
        "{message}"
    );
    assert!(
        message.ends_with("\n   :b [1 2}\n          ^\n"),
        "{message}"
    );
    assert!(
        bench
            .kfs(["put", "s", "a", "{:a"])
            .fails(10)
            .contains("VALUE: not valid EDN: line 1")
    );
    assert!(
        bench
            .kfs(["put", "s", "a", "[1,", "--as", "json"])
            .fails(10)
            .contains("not valid JSON")
    );
    std::fs::write(bench.path("latin1"), b"caf\xe9").unwrap();
    let message = bench
        .kfs(["put", "s", "a", "-f", "latin1", "--as", "text"])
        .fails(10);
    assert!(
        message.contains("latin1: not UTF-8 from byte 3 on; use --as bytes"),
        "{message}"
    );
    assert_eq!(bench.ls("").len(), 0, "nothing was put");
}

#[test]
fn what_is_missing_ends_with_3_and_what_is_in_the_way_with_4() {
    let bench = Bench::new();
    bench.put("a", "{:x 1}");
    for args in [
        &["get", "nowhere", "a"][..],
        &["get", "s", "b"],
        &["ls", "s", "b"],
        &["mount", "s", "no-such-directory"],
        &["umount", "no-such-directory"],
        &["put", "s", "b", "-f", "no-such-file"],
    ] {
        bench.kfs(args).fails(3);
    }
    std::fs::create_dir(bench.path("full")).unwrap();
    std::fs::write(bench.path("full/file"), "").unwrap();
    for args in [
        &["rm", "s", "a"][..],
        &["put", "s", "a", "1", "--new"],
        &["mount", "s", "s"],
        &["mount", "s", "full/file"],
        &["get", "s", "a", "--as", "bytes"],
    ] {
        bench.kfs(args).fails(4);
    }
}

#[test]
fn output_that_nobody_reads_any_more_is_no_failure() {
    let bench = Bench::new();
    let map: Vec<String> = (0..20_000)
        .map(|i| format!("\"a rather long key {i}\" {i}"))
        .collect();
    std::fs::write(bench.path("big.edn"), format!("{{{}}}", map.join(" "))).unwrap();
    bench.kfs(["put", "s", "big", "--file", "big.edn"]).ok();
    for args in [
        &["ls", "s", "big"][..],
        &["ls", "-U", "s", "big"],
        &["get", "s", "big"],
        &["export", "s", "big", "-"],
    ] {
        let mut child = bench
            .command(KFS)
            .args(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut first = [0; 10];
        child.stdout.take().unwrap().read_exact(&mut first).unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{args:?}");
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{args:?}");
    }
}

#[test]
fn output_that_cannot_be_written_is_a_failure() {
    let bench = Bench::new();
    bench.put("a", "1");
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = bench
        .command(KFS)
        .args(["get", "s", "a"])
        .stdout(full)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(7));
    assert!(String::from_utf8_lossy(&output.stderr).contains("writing to standard output"));
}

#[test]
fn the_log_goes_to_standard_error_when_asked_for() {
    let bench = Bench::new();
    bench.put("a", "1");
    let output = bench
        .command(KFS)
        .args(["get", "s", "a"])
        .env("KFS_LOG", "trace")
        .output()
        .unwrap();
    assert_eq!(output.stdout, b"1\n");
}
