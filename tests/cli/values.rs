//! Values in and out, in every notation.

use super::harness::Bench;

#[test]
fn a_value_comes_out_as_it_went_in() {
    let bench = Bench::new();
    for value in [
        "nil",
        "true",
        "-42",
        "123456789012345678901234567890",
        "1.5",
        "1.50M",
        "22/7",
        "\"text\\nwith \\\"quotes\\\"\"",
        ":keyword/name",
        "symbol",
        "\\a",
        "#uuid \"6f1c1d3e-0000-4000-8000-000000000001\"",
        "#inst \"2026-01-31T12:00:00Z\"",
        "#bytes \"00ff\"",
        "[1 [2] {}]",
        "(1 2)",
        "#{1 2}",
        "{:a {\"b\" nil}}",
        "#my/tag [1]",
    ] {
        bench.put("v", value);
        assert_eq!(bench.get("v"), value);
        bench.put("d", &format!("{{:in [{value}]}}"));
        assert_eq!(bench.get("d/:in/0"), value);
    }
}

#[test]
fn edn_is_the_notation_unless_another_is_named() {
    let bench = Bench::new();
    bench
        .kfs(["put", "s", "j", r#"{"a": [1, 2.5, null]}"#, "--as", "json"])
        .ok();
    assert_eq!(bench.get("j"), r#"{"a" [1 2.5 nil]}"#);
    assert_eq!(
        bench.kfs(["get", "s", "j", "--as", "json"]).ok(),
        r#"{"a":[1,2.5,null]}"#
    );
    assert_eq!(
        bench.kfs(["get", "s", "j", "--json"]).ok(),
        r#"{"a":[1,2.5,null]}"#
    );
    bench.kfs(["put", "s", "t", "42", "--as", "text"]).ok();
    assert_eq!(bench.get("t"), "\"42\"");
    assert_eq!(bench.kfs(["get", "s", "t", "--as", "text"]).ok(), "42");
    bench.kfs(["put", "s", "b", "ab", "--as", "bytes"]).ok();
    assert_eq!(bench.get("b"), "#bytes \"6162\"");
    assert_eq!(bench.kfs(["get", "s", "b", "--as", "bytes"]).out, "ab");
}

#[test]
fn pretty_output_is_the_same_value() {
    let bench = Bench::new();
    bench.put("v", "{:a [1 2 {:b #{3}}] :c \"d\"}");
    let pretty = bench.kfs(["get", "s", "v", "--pretty"]).ok();
    bench
        .kfs_with(["put", "s", "w", "--file", "-"], pretty.as_bytes())
        .ok();
    assert_eq!(bench.get("w"), bench.get("v"));
}

#[test]
fn values_come_from_files_and_standard_input_too() {
    let bench = Bench::new();
    std::fs::write(bench.path("f.edn"), "; a comment\n{:a 1}\n").unwrap();
    bench.kfs(["put", "s", "f", "--file", "f.edn"]).ok();
    assert_eq!(bench.get("f"), "{:a 1}");
    bench
        .kfs_with(["put", "s", "i", "-f", "-", "--as", "json"], b"[1]")
        .ok();
    assert_eq!(bench.get("i"), "[1]");
    bench
        .kfs_with(["put", "s", "t", "-f", "-", "--as", "text"], b"line\n")
        .ok();
    assert_eq!(bench.get("t"), "\"line\"");
    bench
        .kfs_with(["put", "s", "b", "-f", "-", "--as", "bytes"], b"\x00\xff\n")
        .ok();
    assert_eq!(bench.get("b"), "#bytes \"00ff0a\"");
}

#[test]
fn put_makes_what_is_missing_on_the_way_and_appends_to_vectors() {
    let bench = Bench::new();
    bench.put("a/b/:c", "1");
    assert_eq!(bench.get("a"), "{\"b\" {:c 1}}");
    bench.put("v", "[1 2]");
    bench.put("v/2", "3");
    bench.put("v/0", "{}");
    assert_eq!(bench.get("v"), "[{} 2 3]");
    let message = bench.kfs(["put", "s", "v/9", "1"]).fails(4);
    assert!(
        message.contains("v: 9 is no index of a vector of length 3"),
        "{message}"
    );
}

#[test]
fn put_new_replaces_nothing() {
    let bench = Bench::new();
    bench.kfs(["put", "s", "a", "nil", "--new"]).ok();
    assert!(
        bench
            .kfs(["put", "s", "a", "2", "--new"])
            .fails(4)
            .contains("something is there already")
    );
    assert_eq!(bench.get("a"), "nil");
}

#[test]
fn what_is_not_there_is_not_found_and_a_stored_nil_is() {
    let bench = Bench::new();
    bench.put("a", "{:n nil :f false}");
    assert_eq!(bench.get("a/:n"), "nil");
    assert_eq!(bench.get("a/:f"), "false");
    for path in ["b", "a/:x", "a/:n/:x", "b/c/d"] {
        let message = bench.kfs(["get", "s", path]).fails(3);
        assert!(message.contains(path), "{message}");
    }
}

#[test]
fn update_counts_from_nothing_and_refuses_what_is_no_integer() {
    let bench = Bench::new();
    assert_eq!(bench.kfs(["update", "s", "n", "inc"]).ok(), "1");
    bench.put("n", "9223372036854775807");
    assert_eq!(
        bench.kfs(["update", "s", "n", "inc"]).ok(),
        "9223372036854775808N".trim_end_matches('N')
    );
    bench.put("n", "\"x\"");
    assert!(
        bench
            .kfs(["update", "s", "n", "inc"])
            .fails(4)
            .contains("of type text, not an integer")
    );
}

#[test]
fn bytes_of_any_length_go_in_and_out_as_they_are() {
    let bench = Bench::new();
    // Around the length up to which they travel whole.
    for length in [
        0,
        1,
        65_536,
        (4 << 20) - 1,
        4 << 20,
        (4 << 20) + 1,
        9_000_000,
    ] {
        let bytes: Vec<u8> = (0..length).map(|i| (i % 251) as u8).collect();
        std::fs::write(bench.path("in"), &bytes).unwrap();
        let put = ["put", "s", "m/blob", "--file", "in", "--as", "bytes"];
        bench.kfs(put).ok();
        let get = ["export", "s", "m/blob", "out", "--as", "bytes"];
        bench.kfs(get).ok();
        assert!(
            std::fs::read(bench.path("out")).unwrap() == bytes,
            "{length}"
        );
        bench.kfs(["import", "s", "n", "in", "--as", "bytes"]).ok();
        bench.kfs(["export", "s", "n", "out"]).ok();
        assert!(
            std::fs::read(bench.path("out")).unwrap() == bytes,
            "{length}"
        );
    }
    let text = bench.kfs(["get", "s", "m/blob"]).ok();
    assert!(text.starts_with("#bytes \"000102") && text.len() == 9 + 18_000_000);
    let again = [
        "put", "s", "m/blob", "--file", "in", "--as", "bytes", "--new",
    ];
    assert!(
        bench
            .kfs(again)
            .fails(4)
            .contains("something is there already")
    );
    bench.kfs(["put", "s", "n", "1"]).ok();
    assert!(
        bench
            .kfs(["put", "s", "n/x", "--file", "in", "--as", "bytes"])
            .fails(4)
            .contains("type int")
    );
    assert_eq!(bench.kfs(["ls", "s"]).ok(), "m\nn");
}
