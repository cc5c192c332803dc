//! Editing: what the editor saves becomes the value, or stays in its file.

use std::fs;

use super::harness::{Bench, Ended, KFS, run};

/// Runs `kfs edit` with a shell script as the editor; `$1` is the file.
fn edit(bench: &Bench, script: &str, args: &[&str]) -> Ended {
    fs::write(
        bench.path("editor"),
        format!("#!/bin/sh\nset -e\n{script}\n"),
    )
    .unwrap();
    let mut command = bench.command(KFS);
    command
        .env("EDITOR", "sh editor")
        .args(["edit", "s"])
        .args(args);
    run(command, b"")
}

/// The text that a failed edit keeps.
fn kept(message: &str) -> String {
    let file = message.trim_end().rsplit("kept in ").next().unwrap();
    fs::read_to_string(file).unwrap()
}

#[test]
fn what_is_saved_becomes_the_value() {
    let bench = Bench::new();
    bench.put("a", "{:x 1}");
    assert_eq!(edit(&bench, "sed -i 's/1/[2 3]/' \"$1\"", &["a"]).ok(), "");
    assert_eq!(bench.get("a"), "{:x [2 3]}");
    edit(
        &bench,
        "cat \"$1\" > seen; printf 'two\\nlines\\n' > \"$1\"",
        &["t", "--as", "text"],
    )
    .ok();
    assert_eq!(bench.get("t"), "\"two\\nlines\"");
    assert_eq!(
        fs::read_to_string(bench.path("seen")).unwrap(),
        "",
        "nothing was there"
    );
    assert!(no_drafts(&bench));
}

fn no_drafts(bench: &Bench) -> bool {
    let names = fs::read_dir(bench.path(""))
        .unwrap()
        .map(|e| e.unwrap().file_name());
    names
        .into_iter()
        .all(|name| !name.to_string_lossy().starts_with("kfs-edit"))
}

#[test]
fn an_untouched_text_changes_nothing() {
    let bench = Bench::new();
    bench.put("a", "1");
    let before = bench.json(["info", "s", "a", "--json"]);
    let ended = edit(&bench, "true", &["a"]);
    assert_eq!(
        (ended.code, ended.err.as_str()),
        (0, "kfs: nothing was changed\n")
    );
    assert_eq!(bench.json(["info", "s", "a", "--json"]), before);
    assert!(no_drafts(&bench));
}

#[test]
fn a_mistake_is_told_and_the_text_is_kept() {
    let bench = Bench::new();
    bench.put("a", "1");
    let message = edit(&bench, "echo '{:open' > \"$1\"", &["a"]).fails(10);
    assert!(message.contains("not valid EDN: line 1"), "{message}");
    assert_eq!(kept(&message), "{:open\n");
    assert_eq!(bench.get("a"), "1");
}

#[test]
fn an_editor_that_fails_changes_nothing() {
    let bench = Bench::new();
    bench.put("a", "1");
    let message = edit(&bench, "echo 2 > \"$1\"; exit 3", &["a"]).fails(1);
    assert!(
        message.contains("sh editor") && message.contains("unchanged"),
        "{message}"
    );
    assert_eq!(kept(&message), "2\n");
    assert_eq!(bench.get("a"), "1");
}

#[test]
fn a_value_that_changed_meanwhile_is_not_overwritten() {
    let bench = Bench::new();
    bench.put("a", "1");
    let message = edit(&bench, &format!("{KFS} put s a 5; echo 2 > \"$1\""), &["a"]).fails(4);
    assert!(message.contains("changed by somebody else"), "{message}");
    assert_eq!(kept(&message), "2\n");
    assert_eq!(bench.get("a"), "5");
    let message = edit(
        &bench,
        &format!("{KFS} put s new 5; echo 2 > \"$1\""),
        &["new"],
    )
    .fails(4);
    assert!(message.contains("something is there already"), "{message}");
}

#[test]
fn only_its_user_can_read_the_text() {
    let bench = Bench::new();
    bench.put("a", "1");
    edit(
        &bench,
        "stat -c %a \"$1\" \"$(dirname \"$1\")\" > modes",
        &["a"],
    );
    assert_eq!(
        fs::read_to_string(bench.path("modes")).unwrap(),
        "600\n700\n"
    );
}
