//! Paths: names as the mount shows them.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use super::harness::Bench;

#[test]
fn names_mean_keys_as_in_the_mount() {
    let bench = Bench::new();
    bench.put(":kw/%i42", "1");
    assert_eq!(bench.get(":kw"), "{42 1}");
    bench.put("plain/42", "2");
    assert_eq!(bench.get("plain"), "{\"42\" 2}");
    bench.put(":user%2Fname", "3");
    bench.put("%s%2F", "4");
    bench.put("%e[1 2]", "5");
    bench.put("100%.txt", "6");
    let names = bench.ls("");
    assert_eq!(
        names,
        [
            "%e[1 2]",
            "%s%2F",
            "100%.txt",
            ":kw",
            ":user%2Fname",
            "plain"
        ]
    );
    for name in names {
        bench.get(&name);
    }
    let keys: Vec<String> = bench
        .kfs(["ls", "s", "--json"])
        .ok()
        .lines()
        .map(|line| {
            serde_json::from_str::<serde_json::Value>(line).unwrap()["key"]
                .as_str()
                .unwrap()
                .to_owned()
        })
        .collect();
    assert_eq!(
        keys,
        [
            "[1 2]",
            "\"/\"",
            "\"100%.txt\"",
            ":kw",
            ":user/name",
            "\"plain\""
        ]
    );
}

#[test]
fn a_number_is_an_index_only_in_a_vector() {
    let bench = Bench::new();
    bench.put("m", "{\"0\" :text 0 :int}");
    assert_eq!(bench.get("m/0"), ":text");
    assert_eq!(bench.get("m/%i0"), ":int");
    bench.put("v", "[:first]");
    assert_eq!(bench.get("v/0"), ":first");
}

#[test]
fn a_name_that_is_not_utf8_is_a_key_of_bytes() {
    let bench = Bench::new();
    let name = OsStr::from_bytes(b"\xff\xfe");
    bench
        .kfs([OsStr::new("put"), OsStr::new("s"), name, OsStr::new("1")])
        .ok();
    assert_eq!(
        bench.kfs([OsStr::new("get"), OsStr::new("s"), name]).ok(),
        "1"
    );
    assert_eq!(bench.json(["ls", "s", "--json"])["key"], "#bytes \"fffe\"");
}

#[test]
fn a_long_key_has_a_short_name_and_can_be_written_out() {
    let bench = Bench::new();
    let long = "x".repeat(300);
    bench.put(&long, "1");
    let names = bench.ls("");
    assert!(names[0].contains("%h") && names[0].len() < 256, "{names:?}");
    assert_eq!(bench.get(&names[0]), "1");
    assert_eq!(bench.get(&long), "1");
    bench.put(&format!("m/{long}"), "2");
    let nested = bench.ls("m");
    assert_eq!(bench.get(&format!("m/{}", nested[0])), "2");
    let other = format!("x%h{}", "0".repeat(32));
    assert!(
        bench
            .kfs(["put", "s", &other, "1"])
            .fails(3)
            .contains("short form of a long name")
    );
}

#[test]
fn names_that_cannot_be_are_refused() {
    let bench = Bench::new();
    assert!(
        bench
            .kfs(["put", "s", ".kfs", "1"])
            .fails(2)
            .contains(".kfs")
    );
    assert!(bench.kfs(["get", "s", "a/../b"]).fails(2).contains("%s.."));
    assert!(bench.kfs(["get", "s"]).fails(2).contains("PATH is missing"));
    assert!(
        bench
            .kfs(["get", "s", "/"])
            .fails(2)
            .contains("PATH is missing")
    );
    bench.put("%s..", "1");
    assert_eq!(bench.json(["ls", "s", "--json"])["key"], "\"..\"");
}

#[test]
fn a_path_through_a_value_without_inside_says_which() {
    let bench = Bench::new();
    bench.put("a", "{:n 42}");
    for args in [
        &["get", "s", "a/:n/:x"][..],
        &["put", "s", "a/:n/:x", "1"],
        &["rm", "s", "a/:n/:x"],
    ] {
        let message = bench.kfs(args).fails(4);
        assert!(message.contains("a/:n is a value of type int"), "{message}");
    }
    assert_eq!(bench.get("a"), "{:n 42}");
}

#[test]
fn a_store_has_several_spellings() {
    let bench = Bench::new();
    bench.put("a", "1");
    let absolute = bench.path("s");
    for store in ["s", "./s", "kfs:s", absolute.to_str().unwrap()] {
        assert_eq!(bench.kfs(["get", store, "a"]).ok(), "1");
    }
    assert!(
        bench
            .kfs(["get", "gopher:s", "a"])
            .fails(2)
            .contains("known schemes")
    );
    let memory = "mem:6f1c1d3e-0000-4000-8000-000000000001";
    assert!(
        bench
            .kfs(["get", memory, "a"])
            .fails(3)
            .contains("no process has such a store")
    );
}
