//! What konserve has, function by function, beside what is here; and that its defects are not. The
//! table in the documentation of the store is made of this one: `KFS_WRITE_TABLE=1` writes it anew.

use std::fs;
use std::path::{Path, PathBuf};

use konserve_fs::backend::tiered::Writes;
use konserve_fs::store::{
    ConnectOptions, Copied, CreateOptions, Done, FrontOptions, Location, Store,
};
use konserve_fs::value::{Key, Value};

const PAGE: &str = "src/store/konserve.md";

/// A function, what does it here, and the tests that show it.
type Row = (&'static str, &'static str, &'static [&'static str]);

const FUNCTIONS: &[(&str, &[Row])] = &[
    (
        "konserve.core",
        &[
            (
                "exists?",
                "`Store::exists_key`",
                &[
                    "a_nested_miss_leaves_the_value_above_as_it_is",
                    "each_operation_does_what_the_store_does",
                ],
            ),
            (
                "get",
                "`Store::get`; `None` is absent, a stored nil is a value",
                &["a_stored_nil_or_false_is_a_value"],
            ),
            (
                "get-in",
                "`Store::get_in`",
                &["assoc_in_makes_missing_maps_and_get_in_finds_what_was_put"],
            ),
            (
                "get-meta",
                "`Store::get_meta`: kind, last write, number of the record",
                &["a_snapshot_shows_what_was_there_when_it_was_taken"],
            ),
            (
                "assoc",
                "`Store::assoc`",
                &["each_operation_does_what_the_store_does"],
            ),
            (
                "assoc-in",
                "`Store::assoc_in`",
                &["assoc_in_makes_missing_maps_and_get_in_finds_what_was_put"],
            ),
            (
                "update",
                "`Store::update`",
                &["no_update_is_lost_while_folds_run"],
            ),
            (
                "update-in",
                "`Store::update_in_top` gives both values of the key; `Store::update_in` those at the path",
                &["update_in_gives_old_and_new_at_the_path_and_a_failing_closure_changes_nothing"],
            ),
            (
                "dissoc",
                "`Store::dissoc`, and `Store::dissoc_in` for a path",
                &["dissoc_says_what_existed_and_a_removed_key_can_be_made_again"],
            ),
            (
                "multi-get",
                "`Store::multi_get`",
                &[
                    "several_keys_are_put_got_and_removed_together",
                    "what_is_got_together_stood_there_together",
                ],
            ),
            (
                "multi-assoc",
                "`Store::multi_assoc`, where `Store::is_multi_key`",
                &[
                    "if_one_of_several_keys_cannot_be_put_none_is",
                    "several_keys_are_there_together_when_the_store_is_opened_again",
                    "where_only_one_key_can_be_written_several_are_refused_before_anything_is",
                ],
            ),
            (
                "multi-dissoc",
                "`Store::multi_dissoc`",
                &["several_keys_are_put_got_and_removed_together"],
            ),
            ("uniform-meta", "none: metadata is the store's own", &[]),
            (
                "append",
                "`Store::append`",
                &[
                    "what_is_appended_is_read_in_order_also_after_opening_again",
                    "no_element_is_lost_when_several_append",
                ],
            ),
            (
                "log",
                "`Store::log`",
                &["a_log_is_read_as_it_was_when_it_was_opened"],
            ),
            (
                "reduce-log",
                "`Store::reduce_log`",
                &["a_reduction_may_end_early"],
            ),
            (
                "bget",
                "`Store::bget`, also of a range",
                &["binaries_stream_in_and_out_by_range"],
            ),
            (
                "bassoc",
                "`Store::bassoc`",
                &["binaries_stream_in_and_out_by_range"],
            ),
            (
                "keys",
                "`Store::keys`",
                &["keys_lists_every_key_once_folded_or_not"],
            ),
            (
                "add-write-hook!, remove-write-hook!",
                "`Store::add_write_hook`, `Store::remove_write_hook`",
                &[
                    "every_operation_that_writes_is_told_of_with_its_values",
                    "several_keys_are_told_of_as_one_write",
                    "what_is_done_with_files_is_told_of_as_the_store_names_it",
                    "a_hook_that_panics_harms_nobody",
                ],
            ),
            (
                "get-lock, release-lock, locked, go-locked, lock-free?",
                "none: each operation is atomic; several in `Store::transact`",
                &[
                    "eight_threads_lose_no_update",
                    "a_commit_is_all_or_nothing_beside_others",
                ],
            ),
            (
                "assoc-serializers",
                "`Serializers::with`; for types of one's own `Custom`; a tag that nobody knows is kept",
                &[
                    "a_store_that_needs_a_serializer_of_a_program_says_so_to_others",
                    "every_value_comes_back_from_every_pair_byte_by_byte",
                ],
            ),
            (
                "create-store, connect-store",
                "`Store::create`, `Store::connect`",
                &["the_lifecycle_is_strict"],
            ),
            (
                "store-exists?, delete-store, release-store",
                "`Store::exists`, `Store::delete`, `Store::release`",
                &["the_lifecycle_is_strict"],
            ),
            (
                "`{:sync? false}` and channels",
                "`AsyncStore`, on tokio",
                &[
                    "each_operation_does_what_the_store_does",
                    "a_dropped_future_leaves_the_old_value_or_the_new_one",
                ],
            ),
            (
                "`:sync-blob? false`",
                "`Store::unsynced`",
                &["what_is_not_folded_comes_back_from_the_journal"],
            ),
        ],
    ),
    (
        "konserve.gc, konserve.gc-guard",
        &[
            (
                "sweep!",
                "`gc::sweep`",
                &[
                    "what_was_written_before_goes_and_what_was_written_then_stays",
                    "nothing_that_is_written_during_a_sweep_goes",
                ],
            ),
            (
                "writing!, done!, safe-point, cutoff",
                "none: `gc::reclaim` frees nothing that is being written",
                &["pages_are_freed_amid_writers_and_readers_on_disk"],
            ),
        ],
    ),
    (
        "konserve.cache",
        &[(
            "ensure-cache and the same functions again",
            "in every store (`ConnectOptions::cache`), always coherent",
            &[
                "no_update_is_lost_while_folds_run",
                "a_cache_keeps_nothing_from_being_freed",
            ],
        )],
    ),
    (
        "konserve.tiered",
        &[
            (
                "connect-tiered-store, `:write-through`, `:frontend-first`",
                "`ConnectOptions::front`",
                &[
                    "what_was_read_comes_from_the_front_also_the_next_time",
                    "everything_that_is_written_is_in_the_store",
                    "what_is_read_is_what_was_written_whatever_fails",
                ],
            ),
            (
                "`:write-around`",
                "`Writes::Around`",
                &["what_is_written_around_the_front_is_not_in_it_until_it_is_read"],
            ),
            (
                "`:write-behind`",
                "`Done::InFront`: a durable queue, in order",
                &[
                    "what_was_acknowledged_is_in_the_queue_or_in_the_back",
                    "what_was_acknowledged_is_there_after_a_kill_with_the_front",
                ],
            ),
            (
                "`:frontend-only` writes",
                "`Done::OnlyInFront`: what is written lies over the store, to which nothing is written",
                &[
                    "what_is_written_over_a_store_is_there_again_with_the_same_front_and_the_store_as_it_was",
                    "what_is_read_over_a_back_is_what_was_written_whatever_fails",
                    "what_was_acknowledged_over_a_store_is_there_after_a_kill",
                ],
            ),
            (
                "`:frontend-only` reads",
                "none: what a front does not have may be in the store, and is no absence",
                &["a_front_that_fails_is_an_error_and_not_what_the_back_has"],
            ),
            (
                "sync-on-connect, perform-sync, populate-missing-strategy, full-sync-strategy",
                "`Copied::All`, or as it is read; a front is emptied unless it is known to be coherent",
                &[
                    "a_front_has_a_bound_and_is_filled",
                    "what_is_written_without_the_front_is_seen_with_it",
                    "a_front_is_populated_with_what_it_lacks",
                    "a_front_without_a_proper_end_is_not_believed",
                ],
            ),
            (
                "perform-walk-sync",
                "`send` and `receive` of snapshots: what differs, by pages",
                &["every_snapshot_arrives_in_every_storage_from_store_to_store"],
            ),
        ],
    ),
];

/// A defect that was measured, what is so here, and the tests that show it.
const DEFECTS: &[Row] = &[
    (
        "two processes that increment lose updates",
        "one process holds a store, the others go through it",
        &[
            "four_processes_that_increment_through_the_daemon_lose_nothing",
            "a_command_waits_for_another_that_holds_the_store",
        ],
    ),
    (
        "a changed byte is returned as data",
        "an error that names the key",
        &[
            "no_damage_is_returned_as_data_and_the_check_finds_it",
            "what_is_read_damaged_is_an_error_and_never_a_value",
        ],
    ),
    (
        "what cannot be read (a wrong key) is listed as an empty store",
        "an error; encryption itself is not there yet",
        &[
            "a_storage_that_lost_its_files_is_damaged_and_not_empty",
            "what_others_have_sealed_is_an_error_and_no_empty_store",
        ],
    ),
    (
        "a stale temporary file leaves its tail in what is written next",
        "unfinished files are never written on",
        &[
            "an_unfinished_file_leaves_nothing_in_what_is_written_next",
            "only_our_own_unfinished_files_are_removed",
        ],
    ),
    (
        "the id of a store is not stored",
        "it stands in its header",
        &["the_lifecycle_is_strict"],
    ),
    (
        "reading takes the permission to write",
        "it takes the permission to read",
        &[
            "reading_takes_the_permission_to_read",
            "reading_works_on_a_read_only_filesystem",
        ],
    ),
    (
        "a nested miss is cached as the key's value",
        "a front and the cache hold whole blobs",
        &["a_nested_miss_leaves_the_value_above_as_it_is"],
    ),
    (
        "what a log that was replaced or removed consisted of is never freed",
        "it goes with the log",
        &["the_elements_of_a_log_go_with_it"],
    ),
    (
        "a leaf among 10 000 rewrites 350 kB; reading one decodes all",
        "some kB",
        &["a_leaf_among_ten_thousand_costs_some_kilobytes"],
    ),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn page() -> String {
    let mut text = "# For those who know konserve\n".to_owned();
    let mut table = |title: &str, rows: &[Row]| {
        text.push_str(&format!("\n| {title} | here | shown by |\n|---|---|---|\n"));
        for (theirs, ours, tests) in rows {
            let tests: Vec<String> = tests.iter().map(|test| format!("`{test}`")).collect();
            let tests = if tests.is_empty() {
                "–".to_owned()
            } else {
                tests.join(", ")
            };
            text.push_str(&format!("| {theirs} | {ours} | {tests} |\n"));
        }
    };
    for (title, rows) in FUNCTIONS {
        table(title, rows);
    }
    table("what was measured of it (b812eb2)", DEFECTS);
    text
}

/// All sources of Rust in a directory.
fn sources(dir: &Path) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    for item in fs::read_dir(dir).unwrap() {
        let path = item.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            found.push((path, text));
        }
    }
    found
}

/// Whether a source has a test of this name, or a case of the suite that runs over every storage.
fn has_test(path: &Path, text: &str, name: &str) -> bool {
    let lines: Vec<&str> = text.lines().collect();
    let is_case = path.starts_with(root().join("tests/backends"));
    lines.iter().enumerate().any(|(at, line)| {
        let line = line.trim();
        let is_test = lines[at.saturating_sub(3)..at]
            .iter()
            .any(|above| above.trim() == "#[test]");
        (is_test && line.starts_with(&format!("fn {name}(")))
            || (is_case && line.starts_with(&format!("pub fn {name}(")))
    })
}

#[test]
fn every_function_of_konserve_has_its_test_and_the_table_says_so() {
    let tests: Vec<_> = ["tests", "src"]
        .iter()
        .flat_map(|dir| sources(&root().join(dir)))
        .collect();
    let rows = FUNCTIONS
        .iter()
        .flat_map(|(_, rows)| rows.iter())
        .chain(DEFECTS);
    for (theirs, ours, shown_by) in rows {
        let is_missing = ours.starts_with("none");
        assert!(!shown_by.is_empty() || is_missing, "{theirs}");
        for name in *shown_by {
            let found = tests
                .iter()
                .filter(|(path, text)| has_test(path, text, name));
            assert_eq!(found.count(), 1, "tests of the name {name}, for {theirs}");
        }
        for (_, name) in ours.split('`').filter_map(|part| part.split_once("::")) {
            // A function, an option, or a variant.
            let forms = ["fn {}(", "fn {}<", "pub {}: ", "    {},"];
            let is_there = |text: &str| {
                forms
                    .iter()
                    .any(|form| text.contains(&form.replace("{}", name)))
            };
            let found = tests
                .iter()
                .filter(|(path, _)| path.starts_with(root().join("src")))
                .any(|(_, text)| is_there(text));
            assert!(found, "{name}, for {theirs}");
        }
    }
    let (file, page) = (root().join(PAGE), page());
    if std::env::var_os("KFS_WRITE_TABLE").is_some() {
        fs::write(&file, &page).unwrap();
    }
    let written = fs::read_to_string(&file).unwrap_or_default();
    assert!(
        written == page,
        "{PAGE} is not what it would be: run this with KFS_WRITE_TABLE=1"
    );
}

fn at(dir: &tempfile::TempDir, name: &str) -> Location {
    Location::File(dir.path().join(name))
}

fn key(name: &str) -> Key {
    Key::text(name)
}

/// A map of so many leaves, in maps of 100.
fn leaves(count: u64) -> Value {
    let group = |first: u64| {
        let leaves =
            (first..first + 100).map(|n| (Key::index(n), Value::Text(format!("leaf {n:020}"))));
        Value::Map(leaves.collect())
    };
    let groups = (0..count / 100).map(|n| (Key::index(n), group(n * 100)));
    Value::Map(groups.collect())
}

#[test]
fn a_leaf_among_ten_thousand_costs_some_kilobytes() {
    const SOME: u64 = 16 << 10;
    let dir = tempfile::tempdir().unwrap();
    let place = Location::Embedded(dir.path().join("s"));
    let store = Store::create(&place, &CreateOptions::default()).unwrap();
    store.assoc(&key("all"), &leaves(10_000)).unwrap();
    store.release().unwrap();

    let store = Store::connect(&place, &ConnectOptions::default()).unwrap();
    let leaf = [key("all"), Key::index(50), Key::index(5_050)];
    let meters = store.meters();
    let before = meters.backend.read.get();
    assert!(store.get_in(&leaf).unwrap().is_some());
    let read = meters.backend.read.get() - before;
    assert!((1..SOME).contains(&read), "{read} bytes were read");

    let before = meters.backend.written.get() + meters.journal_bytes.get();
    store
        .assoc_in(&leaf, &Value::Text("changed".to_owned()))
        .unwrap();
    store.settle().unwrap();
    let written = meters.backend.written.get() + meters.journal_bytes.get() - before;
    assert!((1..SOME).contains(&written), "{written} bytes were written");
    assert_eq!(
        store.get_in(&leaf).unwrap(),
        Some(Value::Text("changed".to_owned()))
    );
}

#[test]
fn a_nested_miss_leaves_the_value_above_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let place = at(&dir, "s");
    let store = Store::create(&place, &CreateOptions::default()).unwrap();
    store.assoc(&key("a"), &leaves(1_000)).unwrap();
    store.release().unwrap();
    let options = |cache| ConnectOptions {
        cache,
        front: Some(FrontOptions {
            dir: dir.path().join("front"),
            writes: Writes::Through,
            done: Done::InStore,
            size: None,
            copies: Copied::AsUsed,
        }),
        ..ConnectOptions::default()
    };
    for cache in [None, Some(0), None] {
        let store = Store::connect(&place, &options(cache)).unwrap();
        for _ in 0..2 {
            assert_eq!(store.get_in(&[key("a"), key("none")]).unwrap(), None);
            let deep = [key("a"), Key::index(3), key("none")];
            assert_eq!(store.get_in(&deep).unwrap(), None);
            assert_eq!(store.get(&key("none")).unwrap(), None);
            assert_eq!(store.get(&key("a")).unwrap(), Some(leaves(1_000)));
            assert!(store.exists_key(&key("a")).unwrap());
            assert!(!store.exists_key(&key("none")).unwrap());
        }
        store.release().unwrap();
    }
}

#[test]
fn an_unfinished_file_leaves_nothing_in_what_is_written_next() {
    let dir = tempfile::tempdir().unwrap();
    let place = at(&dir, "s");
    let store = Store::create(&place, &CreateOptions::default()).unwrap();
    store.assoc(&key("a"), &Value::Int(1)).unwrap();
    store.release().unwrap();
    let mut places = Vec::new();
    let mut todo = vec![dir.path().join("s")];
    while let Some(dir) = todo.pop() {
        if dir.file_name().is_some_and(|name| name == "new") {
            places.push(dir);
            continue;
        }
        let entries = fs::read_dir(dir)
            .unwrap()
            .map(|entry| entry.unwrap().path());
        todo.extend(entries.filter(|path| path.is_dir()));
    }
    assert!(!places.is_empty(), "where files are made");
    for place in &places {
        for number in 0..20 {
            fs::write(place.join(number.to_string()), "unfinished ".repeat(1_000)).unwrap();
        }
    }
    let store = Store::connect(&place, &ConnectOptions::default()).unwrap();
    let value = |n: u64| Value::Text(format!("{n} ").repeat(500));
    for n in 0..50 {
        store.assoc(&Key::index(n), &value(n)).unwrap();
        store.settle().unwrap();
    }
    store.release().unwrap();
    let read_only = ConnectOptions {
        read_only: true,
        cache: Some(0),
        ..ConnectOptions::default()
    };
    let store = Store::connect(&place, &read_only).unwrap();
    for n in 0..50 {
        assert_eq!(store.get(&Key::index(n)).unwrap(), Some(value(n)));
    }
    assert_eq!(store.get(&key("a")).unwrap(), Some(Value::Int(1)));
    assert_eq!(store.keys().count(), 51);
}

#[test]
fn what_others_have_sealed_is_an_error_and_no_empty_store() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["ours", "theirs"] {
        let store = Store::create(&at(&dir, name), &CreateOptions::default()).unwrap();
        for n in 0..10 {
            store.assoc(&Key::index(n), &Value::Int(1)).unwrap();
        }
        store.release().unwrap();
    }
    // The records of the one store in the place of those of the other, under the same names.
    let records = |name: &str| dir.path().join(name).join("files/blobs/72");
    for item in fs::read_dir(records("ours")).unwrap() {
        let from = item.unwrap().path();
        let to = records("theirs").join(from.file_name().unwrap());
        for file in fs::read_dir(from).unwrap() {
            let file = file.unwrap().path();
            let place = to.join(file.file_name().unwrap());
            assert!(place.exists(), "{} is a record of both", place.display());
            fs::copy(file, place).unwrap();
        }
    }
    let store = Store::connect(&at(&dir, "theirs"), &ConnectOptions::default()).unwrap();
    let listed: Result<Vec<_>, _> = store.keys().collect();
    assert!(listed.is_err(), "listed {listed:?}");
    for n in 0..10 {
        assert!(store.get(&Key::index(n)).is_err());
    }
}
