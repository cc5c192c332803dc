//! The README's table of what files mean and its session: every row and every command is run.

use std::fs;

use crate::harness::{Mount, need_root};

const README: &str = include_str!("../../README.md");
/// Before the rows.
const HEAD: &str = "| what | shown by |\n|---|---|\n";

/// What a row may use: the mount again, with other options.
const HELPERS: &str = r#"
exec > "$T/log" 2>&1
remount() {
    here=$PWD; cd /
    kfs umount "$M"; kfs mount "$S" "$M" -o "allow_other,$1"
    cd "$here"
}
"#;

/// Statement and script of each row.
fn rows() -> Vec<(&'static str, String)> {
    let from = README.find(HEAD).expect("the README has the table") + HEAD.len();
    let lines = README[from..]
        .lines()
        .take_while(|line| line.starts_with('|'));
    lines
        .filter_map(|line| {
            let (what, script) = line.strip_prefix("| ")?.split_once(" | ")?;
            let script = script.strip_suffix(" |")?;
            if script.is_empty() {
                return None;
            }
            let script = script.strip_prefix('`')?.strip_suffix('`')?;
            Some((what, script.replace("\\|", "|")))
        })
        .collect()
}

#[test]
fn every_row_of_the_table_is_true() {
    need_root();
    let m = Mount::with_options("allow_other");
    fs::set_permissions(
        m.sandbox.path(""),
        std::os::unix::fs::PermissionsExt::from_mode(0o755),
    )
    .unwrap();
    let rows = rows();
    assert!(rows.len() >= 60, "only {} rows", rows.len());
    let mut untrue = vec![];
    for (at, (what, script)) in rows.iter().enumerate() {
        let name = format!("row{at}");
        let dir = m.path(&name);
        fs::create_dir(&dir).unwrap();
        fs::set_permissions(&dir, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
        // `set -e` does not notice a `! command` that ends a list: each part is judged by itself.
        let parts: String = parts(script)
            .map(|part| format!("{part}\n[ $? = 0 ] || exit 1\n"))
            .collect();
        let (mount, store) = (m.dir().display(), m.store().display());
        let full = format!("set +e; M='{mount}' S='{store}'\n{HELPERS}\n{parts}");
        let told = m.sandbox.sh_in(&dir, &full);
        let log = fs::read_to_string(m.sandbox.path("log")).unwrap_or_default();
        if told.code != 0 {
            untrue.push(format!("{what}\n  {script}\n  {log}"));
        }
        if script.contains("remount") {
            m.sandbox
                .sh_in(
                    &m.sandbox.path(""),
                    &format!("kfs umount '{mount}'; kfs mount '{store}' '{mount}' -o allow_other"),
                )
                .ok();
            m.adopt();
        }
    }
    assert!(
        untrue.is_empty(),
        "{} rows are not true:\n{}",
        untrue.len(),
        untrue.join("\n")
    );
}

/// The commands of the README's session, and what it says that they print.
fn session() -> Vec<(&'static str, String)> {
    let (_, section) = README.split_once("\n## A session\n").unwrap();
    let (_, block) = section.split_once("```console\n").unwrap();
    let (block, _) = block.split_once("```").unwrap();
    let mut commands: Vec<(&str, String)> = vec![];
    for line in block.lines() {
        match (line.strip_prefix("$ "), commands.last_mut()) {
            (Some(command), _) => commands.push((command, String::new())),
            (None, Some((_, printed))) => *printed += &format!("{line}\n"),
            (None, None) => panic!("no command before {line:?}"),
        }
    }
    commands
}

#[test]
fn the_session_prints_what_the_readme_says() {
    let m = Mount::new();
    let commands = session();
    assert!(commands.len() >= 10, "only {} commands", commands.len());
    for (command, printed) in commands {
        let told = m.sandbox.sh_in(m.dir(), command);
        assert_eq!(told.text(), printed.trim_end(), "{command}\n{told}");
    }
}

/// The commands of a script, parted at semicolons outside of quotes and brackets.
fn parts(script: &str) -> impl Iterator<Item = String> {
    let (mut parts, mut part, mut quote, mut depth) = (vec![], String::new(), None, 0);
    for c in script.chars() {
        match (c, quote) {
            (';', None) if depth == 0 => parts.push(std::mem::take(&mut part)),
            _ => {
                match (c, quote) {
                    ('"' | '\'', None) => quote = Some(c),
                    (c, Some(q)) if c == q => quote = None,
                    ('(', None) => depth += 1,
                    (')', None) => depth -= 1,
                    _ => {}
                }
                part.push(c);
            }
        }
    }
    parts.push(part);
    parts.into_iter().map(|part| part.trim().to_owned())
}
