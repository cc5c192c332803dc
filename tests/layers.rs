//! The shape of the source: who may import whom, and that no test file is forgotten.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The layers of the library. Each may import those before it.
const LAYERS: &[&str] = &[
    "meter",
    // The journal is a log of records that knows nothing of what they hold; the embedded backend
    // writes its own log with it.
    "value", "codec", "crypt", "journal", "backend", "tree", "store", "snapshot", "gc", "view",
    "fuse", "cli",
];

/// Pairs that do not know each other, whatever the order says.
const STRANGERS: &[(&str, &str)] = &[("codec", "backend")];

/// Crates that only one layer knows.
const RESERVED: &[(&str, &[&str])] = &[
    ("fuser", &["fuse"]),
    ("lsm_tree", &["backend"]),
    ("heed", &["backend"]),
    ("rocksdb", &["backend"]),
    ("clap", &["cli"]),
];

/// Files outside of the layers: what ties them together, and the system calls for all of them.
const EXEMPT: &[&str] = &["lib.rs", "main.rs", "sys.rs"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All files below `dir`, without what is built or belongs to git.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut todo = vec![dir.to_owned()];
    while let Some(dir) = todo.pop() {
        for item in fs::read_dir(&dir).unwrap() {
            let path = item.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy();
            if path.is_symlink() || name == "target" || name == ".git" {
                continue;
            }
            if path.is_dir() {
                todo.push(path);
            } else {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn rust_files(dir: &Path) -> impl Iterator<Item = PathBuf> {
    files(dir)
        .into_iter()
        .filter(|path| path.extension().is_some_and(|ext| ext == "rs"))
}

/// The text without line comments, which may name anything.
fn without_comments(text: &str) -> String {
    text.lines()
        .map(|line| line.split("//").next().unwrap_or_default())
        .collect::<Vec<_>>()
        .join("\n")
}

fn is_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The first names of all paths that begin with `start::`, also of `start::{a::b, c}`.
fn imports(text: &str, start: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let needle = format!("{start}::");
    for (at, _) in text.match_indices(&needle) {
        let before = text[..at].chars().next_back();
        if before.is_some_and(|c| is_name(c) || c == ':' || c == '$') {
            continue;
        }
        let rest = &text[at + needle.len()..];
        match rest.strip_prefix('{') {
            Some(group) => found.extend(group_heads(group)),
            None => found.extend(head(rest)),
        }
    }
    found
}

fn head(text: &str) -> Option<String> {
    let name: String = text
        .trim_start()
        .chars()
        .take_while(|c| is_name(*c))
        .collect();
    (!name.is_empty()).then_some(name)
}

/// The first names of the items of a group whose brace was just opened.
fn group_heads(text: &str) -> Vec<String> {
    let mut heads = Vec::new();
    let (mut depth, mut start) = (0usize, 0);
    for (at, c) in text.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' if depth > 0 => {}
            ',' | '}' => {
                heads.extend(head(&text[start..at]));
                start = at + 1;
                if c == '}' {
                    break;
                }
            }
            _ => {}
        }
    }
    heads
}

/// The names that a file reaches at the crate's root by `crate::` or by climbing there.
fn reached(file: &Path, text: &str) -> BTreeSet<String> {
    let mut names = imports(text, "crate");
    // `src/view/ops/read.rs` is three modules deep, `src/view/mod.rs` one.
    let is_mod = file.file_name().unwrap() == "mod.rs";
    let depth = file.components().count() - usize::from(is_mod);
    let climb = vec!["super"; depth].join("::");
    names.extend(imports(text, &climb));
    names.remove("super");
    names
}

#[test]
fn a_module_imports_only_those_before_it() {
    let src = root().join("src");
    let mut wrong = Vec::new();
    for path in rust_files(&src) {
        let file = path.strip_prefix(&src).unwrap();
        if EXEMPT.iter().any(|exempt| file == Path::new(exempt)) {
            continue;
        }
        let first = file.iter().next().unwrap().to_string_lossy();
        let layer = first.trim_end_matches(".rs");
        let Some(place) = LAYERS.iter().position(|name| *name == layer) else {
            wrong.push(format!(
                "{} is in no layer: give `{layer}` a place",
                file.display()
            ));
            continue;
        };
        let text = without_comments(&fs::read_to_string(&path).unwrap());
        for name in reached(file, &text) {
            let above = LAYERS
                .iter()
                .position(|layer| *layer == name)
                .is_some_and(|at| at > place);
            let strangers = STRANGERS
                .iter()
                .any(|(a, b)| (*a, *b) == (layer, &name) || (*b, *a) == (layer, &name));
            if above || strangers {
                wrong.push(format!("{} imports `{name}`", file.display()));
            }
        }
        for (krate, layers) in RESERVED {
            let used = !imports(&text, krate).is_empty() || text.contains(&format!("use {krate};"));
            if used && !layers.contains(&layer) {
                wrong.push(format!(
                    "{} uses `{krate}`, which only {layers:?} may",
                    file.display()
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_test_file_is_forgotten() {
    let tests = root().join("tests");
    let mut forgotten = Vec::new();
    for path in rust_files(&tests) {
        let file = path.strip_prefix(&tests).unwrap();
        let dir = path.parent().unwrap();
        let stem = path.file_stem().unwrap().to_string_lossy().into_owned();
        // Files in `tests` itself and `main.rs` of its directories are found by cargo.
        let depth = file.components().count();
        if depth == 1 || (depth == 2 && stem == "main") {
            continue;
        }
        let (name, dir) = match stem.as_str() {
            "mod" => (
                dir.file_name().unwrap().to_string_lossy().into_owned(),
                dir.parent().unwrap(),
            ),
            _ => (stem, dir),
        };
        let parents = [
            dir.join("main.rs"),
            dir.join("mod.rs"),
            dir.with_extension("rs"),
        ];
        let declaration = format!("mod {name};");
        let declared = |parent: &PathBuf| {
            let text = fs::read_to_string(parent).unwrap_or_default();
            without_comments(&text)
                .lines()
                .any(|line| line.trim_start_matches("pub ").trim() == declaration)
        };
        if !parents.iter().any(declared) {
            forgotten.push(format!(
                "{} is compiled by nobody: `{declaration}`",
                file.display()
            ));
        }
    }
    assert!(forgotten.is_empty(), "{}", forgotten.join("\n"));
}

#[test]
fn no_file_refers_to_what_is_outside_of_the_repository() {
    // Put together here, so that this file is not the one that is found.
    let outside = ["..", "shared"].join("/");
    let found: Vec<PathBuf> = files(root())
        .into_iter()
        .filter(|path| String::from_utf8_lossy(&fs::read(path).unwrap()).contains(&outside))
        .collect();
    assert!(found.is_empty(), "{outside} in {found:?}");
}

#[test]
fn imports_are_found_in_every_way_of_writing_them() {
    let text = "use crate::value::{Key, Value};\nuse crate::{codec::{self, X}, tree::Page as P};\n\
                fn f(x: crate::store::Store) { not_crate::fuse::f() }";
    let found: Vec<String> = imports(text, "crate").into_iter().collect();
    assert_eq!(found, ["codec", "store", "tree", "value"]);
    let climbing = "use super::super::view::View; use super::sibling;";
    assert!(reached(Path::new("store/inner/mod.rs"), climbing).contains("view"));
    assert!(!reached(Path::new("store/inner/deep.rs"), climbing).contains("view"));
    assert_eq!(without_comments("a // crate::cli\nb"), "a \nb");
}

#[test]
fn unsafe_code_stands_in_one_file() {
    let count = |path: &Path| {
        let text = without_comments(&fs::read_to_string(path).unwrap());
        text.matches("unsafe ").count() + text.matches("unsafe_code").count()
    };
    let src = root().join("src");
    let own = src.join("sys.rs");
    let elsewhere: Vec<PathBuf> = rust_files(&src)
        .filter(|path| *path != own && count(path) > 0)
        .collect();
    assert!(elsewhere.is_empty(), "{elsewhere:?}");
    // The permission, and the calls; whoever needs another one says here that it was looked at.
    assert_eq!(count(&own), 1 + UNSAFE_CALLS, "in src/sys.rs");
}

/// The system calls and the one of LMDB that Rust cannot vouch for.
const UNSAFE_CALLS: usize = 9;

/// The lines of a list of `deny.toml`, from `name = [` to `]`.
fn denied(name: &str) -> Vec<String> {
    let text = fs::read_to_string(root().join("deny.toml")).unwrap();
    let (_, list) = text.split_once(&format!("\n{name} = [\n")).unwrap();
    let (list, _) = list.split_once("\n]").unwrap();
    list.lines().map(str::to_owned).collect()
}

/// What is in the first quotes of each line.
fn quoted(lines: &[String]) -> BTreeSet<String> {
    let first = |line: &String| Some(line.split('"').nth(1)?.to_owned());
    lines.iter().filter_map(first).collect()
}

fn metadata() -> serde_json::Value {
    let output = std::process::Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--format-version",
            "1",
            "--locked",
            "--all-features",
        ])
        .args(["--filter-platform", "x86_64-unknown-linux-gnu"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Whether a licence expression, without parentheses or with them around alternatives, is met.
fn may_be_used(licence: &str, allowed: &BTreeSet<String>) -> bool {
    let licence = licence.replace('/', " OR ");
    licence.split(" AND ").all(|part| {
        let part = part.trim_matches(['(', ')']);
        part.split(" OR ").any(|one| allowed.contains(one))
    })
}

/// What `cargo deny check licenses sources bans` looks at, for those who do not have it.
#[test]
fn the_dependencies_are_those_that_deny_toml_allows() {
    let metadata = metadata();
    let used: BTreeSet<&str> = metadata["resolve"]["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|node| node["id"].as_str().unwrap())
        .collect();
    let allowed = quoted(&denied("allow"));
    let skipped = quoted(&denied("skip"));
    let mut wrong = Vec::new();
    let mut versions: std::collections::BTreeMap<String, Vec<String>> = Default::default();
    for package in metadata["packages"].as_array().unwrap() {
        let text = |field: &str| package[field].as_str().unwrap_or_default();
        if !used.contains(text("id")) {
            continue;
        }
        let name = format!("{}@{}", text("name"), text("version"));
        if !may_be_used(text("license"), &allowed) {
            wrong.push(format!("{name}: licence {:?}", text("license")));
        }
        let source = text("source");
        let is_own = text("name") == env!("CARGO_PKG_NAME");
        if !is_own && source != "registry+https://github.com/rust-lang/crates.io-index" {
            wrong.push(format!("{name}: from {source:?}"));
        }
        versions
            .entry(text("name").to_owned())
            .or_default()
            .push(name);
    }
    let known = |name: &String| skipped.contains(name);
    for several in versions.values().filter(|several| several.len() > 1) {
        if several.iter().filter(|name| !known(name)).count() > 1 {
            wrong.push(format!("several versions: {several:?}"));
        }
    }
    let present: BTreeSet<&String> = versions.values().flatten().collect();
    wrong.extend(
        skipped
            .iter()
            .filter(|name| !present.contains(name))
            .map(|name| format!("{name}: is skipped in deny.toml, and not there")),
    );
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_licence_is_met_by_one_of_several() {
    let allowed = BTreeSet::from(["MIT".to_owned(), "Unicode-3.0".to_owned()]);
    for (licence, met) in [
        ("MIT", true),
        ("GPL-3.0 OR MIT", true),
        ("GPL-3.0/MIT", true),
        ("(MIT OR GPL-3.0) AND Unicode-3.0", true),
        ("MIT AND GPL-3.0", false),
        ("", false),
    ] {
        assert_eq!(may_be_used(licence, &allowed), met, "{licence}");
    }
}
