//! Documents as files.

use std::fs;

use super::harness::Bench;

#[test]
fn a_file_is_a_value_by_its_name() {
    let bench = Bench::new();
    fs::write(bench.path("a.edn"), "{:a 1}").unwrap();
    fs::write(bench.path("a.json"), "{\"a\": 1}").unwrap();
    fs::write(bench.path("a.txt"), "{:a 1}\n").unwrap();
    fs::write(bench.path("a.bin"), b"\xff\n").unwrap();
    for (file, value) in [
        ("a.edn", "{:a 1}"),
        ("a.json", "{\"a\" 1}"),
        ("a.txt", "\"{:a 1}\""),
        ("a.bin", "#bytes \"ff0a\""),
    ] {
        bench.kfs(["import", "s", "v", file]).ok();
        assert_eq!(bench.get("v"), value, "{file}");
    }
    bench.kfs(["import", "s", "v", "a.txt", "--as", "edn"]).ok();
    assert_eq!(bench.get("v"), "{:a 1}");
    bench
        .kfs_with(["import", "s", "v", "-", "--as", "json"], b"[1]")
        .ok();
    assert_eq!(bench.get("v"), "[1]");
}

#[test]
fn a_value_is_exported_in_the_notation_of_the_name() {
    let bench = Bench::new();
    bench.put("v", "{\"a\" [1 :k]}");
    bench.kfs(["export", "s", "v", "v.edn"]).ok();
    assert_eq!(
        fs::read_to_string(bench.path("v.edn")).unwrap(),
        "{\"a\" [1 :k]}\n"
    );
    bench.kfs(["export", "s", "v", "v.json"]).ok();
    assert_eq!(
        fs::read_to_string(bench.path("v.json")).unwrap(),
        "{\"a\":[1,{\"$kw\":\"k\"}]}\n"
    );
    assert_eq!(bench.kfs(["export", "s", "v/a", "-"]).ok(), "[1 :k]");
    assert_eq!(
        bench
            .kfs(["export", "s", "v/a/0", "-", "--as", "json"])
            .ok(),
        "1"
    );
}

#[test]
fn an_export_that_fails_leaves_the_old_file() {
    let bench = Bench::new();
    fs::write(bench.path("old.edn"), "old").unwrap();
    bench.kfs(["export", "s", "none", "old.edn"]).fails(3);
    assert_eq!(fs::read_to_string(bench.path("old.edn")).unwrap(), "old");
    let names: Vec<_> = fs::read_dir(bench.path(""))
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    assert_eq!(names.len(), 3, "{names:?}");
}

/// Every type of value, keys that are no texts, and a key beyond the length of a name.
fn fill(bench: &Bench) {
    bench.put("text", "\"t\"");
    bench.put(":kw", "{[1 2] #{3} 42 (4 5) nil 1.50M}");
    bench.put("%i42", "[#uuid \"6f1c1d3e-0000-4000-8000-000000000001\" #inst \"2026-01-31T12:00:00Z\" 22/7 \\a sym]");
    bench.put("b", "#bytes \"00ff\"");
    bench.put(&"long".repeat(80), "#my/tag nil");
    bench.put("$odd", "{\"$kw\" 1}");
}

#[test]
fn a_whole_store_goes_through_one_document() {
    let bench = Bench::new();
    fill(&bench);
    for name in ["all.edn", "all.json"] {
        bench.kfs(["export", "s", "/", name]).ok();
        let copy = format!("copy-{name}");
        bench.kfs(["init", &copy]).ok();
        bench.kfs(["import", &copy, "/", name]).ok();
        let again = format!("again-{name}");
        bench.kfs(["export", &copy, "/", &again]).ok();
        assert_eq!(
            fs::read_to_string(bench.path(name)).unwrap(),
            fs::read_to_string(bench.path(&again)).unwrap()
        );
    }
}

#[test]
fn a_store_of_text_keys_is_plain_json() {
    let bench = Bench::new();
    bench.put("a", "1");
    bench.put("b", "[true]");
    let text = bench.kfs(["export", "s", "/", "-", "--as", "json"]).ok();
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(json, serde_json::json!({"a": 1, "b": [true]}));
    bench
        .kfs(["export", "s", "/", "-", "--as", "text"])
        .fails(2);
}

#[test]
fn importing_a_document_as_the_store_leaves_other_keys() {
    let bench = Bench::new();
    bench.put("kept", "1");
    bench
        .kfs_with(
            ["import", "s", "/", "-", "--as", "edn"],
            b"{:a 1 \"b\" {:c 2}}",
        )
        .ok();
    assert_eq!(bench.ls(""), [":a", "b", "kept"]);
    let message = bench
        .kfs_with(["import", "s", "/", "-", "--as", "edn"], b"[1]")
        .fails(4);
    assert!(message.contains("standard input: no map"), "{message}");
}

#[test]
fn transfers_count_in_json() {
    let bench = Bench::new();
    bench.put("a", "1");
    let counted = bench.json(["export", "s", "/", "d", "--json"]);
    assert_eq!(counted["entries"], 2);
    assert_eq!(counted["bytes"], 2);
}
