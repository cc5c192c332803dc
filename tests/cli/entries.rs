//! Listing, copying, moving, removing, describing.

use super::harness::Bench;

#[test]
fn listings_are_sorted_and_elements_come_by_number() {
    let bench = Bench::new();
    for name in ["b", "aa", "c", "%i5"] {
        bench.put(name, "1");
    }
    assert_eq!(bench.ls(""), ["%i5", "aa", "b", "c"]);
    bench.put("v", "[0 1 2 3 4 5 6 7 8 9 10 11]");
    assert_eq!(
        bench.ls("v"),
        ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11"]
    );
    assert_eq!(bench.ls("v/3"), ["3"]);
    let mut unsorted: Vec<String> = bench
        .kfs(["ls", "-U", "s", "v"])
        .ok()
        .lines()
        .map(str::to_owned)
        .collect();
    unsorted.sort();
    assert_eq!(unsorted.len(), 12);
}

#[test]
fn long_listings_say_type_size_and_time() {
    let bench = Bench::new();
    bench.put("doc", "{:text \"four\" :n 42 :v [1 2 3]}");
    let text = bench.kfs(["ls", "-l", "s", "doc"]).ok();
    let rows: Vec<Vec<&str>> = text
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(rows[0][..2], ["int", "3"]);
    assert_eq!(rows[1][..2], ["text", "5"]);
    assert_eq!(rows[2][..2], ["vector", "3"]);
    assert_eq!(rows[2][4], ":v");
    let json = bench.json(["ls", "s", "--json"]);
    assert_eq!(json["type"], "map");
    assert_eq!(json["size"], 3);
    assert_eq!(json["directory"], true);
    assert!(
        json["last-write"].as_str().unwrap().ends_with('Z'),
        "{json}"
    );
}

#[test]
fn large_directories_are_listed_whole() {
    let bench = Bench::new();
    let map: Vec<String> = (0..3500).map(|i| format!("\"k{i}\" {i}")).collect();
    std::fs::write(bench.path("big.edn"), format!("{{{}}}", map.join(" "))).unwrap();
    bench.kfs(["put", "s", "big", "--file", "big.edn"]).ok();
    assert_eq!(bench.ls("big").len(), 3500);
    bench.kfs(["import", "s", "/", "big.edn"]).ok();
    assert_eq!(bench.ls("").len(), 3501);
}

#[test]
fn cp_copies_everything_and_the_copies_are_apart() {
    let bench = Bench::new();
    bench.put("a", "{:v [1 {:x 2}] :t \"x\"}");
    bench.kfs(["cp", "s", "a", "b"]).ok();
    bench.put("b/:v/1/:x", "3");
    assert_eq!(bench.get("a"), "{:t \"x\", :v [1 {:x 2}]}");
    assert_eq!(bench.get("b/:v"), "[1 {:x 3}]");
    bench.put("dir", "{}");
    bench.kfs(["cp", "s", "a/:t", "dir/"]).ok();
    assert_eq!(bench.get("dir"), "{:t \"x\"}");
    assert!(
        bench
            .kfs(["cp", "s", "a", "a/:v/2"])
            .fails(4)
            .contains("into itself")
    );
    assert!(
        bench
            .kfs(["cp", "s", "a", "none/x"])
            .fails(3)
            .contains("to put it into is missing")
    );
    assert!(
        bench
            .kfs(["cp", "s", "none", "x"])
            .fails(3)
            .contains("nothing is there")
    );
}

#[test]
fn cp_and_mv_replace_files_but_no_full_directories_unless_told_to() {
    let bench = Bench::new();
    for verb in ["cp", "mv"] {
        bench.put("from", "1");
        bench.put("file", "2");
        bench.put("full", "{:x 1}");
        bench.put("empty", "{}");
        assert!(
            bench
                .kfs([verb, "s", "-n", "from", "file"])
                .fails(4)
                .contains("something is there already")
        );
        assert!(
            bench
                .kfs([verb, "s", "from", "full"])
                .fails(4)
                .contains("--replace")
        );
        assert_eq!(bench.get("full"), "{:x 1}");
        for target in ["file", "empty"] {
            bench.kfs([verb, "s", "from", target]).ok();
            assert_eq!(bench.get(target), "1");
            bench.put("from", "1");
        }
        bench.kfs([verb, "s", "--replace", "from", "full"]).ok();
        assert_eq!(bench.get("full"), "1");
    }
}

#[test]
fn mv_moves_within_and_across_documents() {
    let bench = Bench::new();
    bench.put("a", "{:x {:y 1} :z 2}");
    bench.kfs(["mv", "s", "a/:x", "b"]).ok();
    assert_eq!(bench.get("a"), "{:z 2}");
    assert_eq!(bench.get("b"), "{:y 1}");
    bench.put("v", "[1 2 3]");
    bench.kfs(["mv", "s", "v/0", "v/3"]).ok();
    assert_eq!(bench.get("v"), "[nil 2 3 1]");
    assert!(
        bench
            .kfs(["mv", "s", "b", "v/9"])
            .fails(4)
            .contains("beyond the end")
    );
    bench.kfs(["mv", "s", "b", "b"]).ok();
    assert!(
        bench
            .kfs(["mv", "s", "none", "none"])
            .fails(3)
            .contains("none: nothing is there")
    );
    assert!(
        bench
            .kfs(["mv", "s", "a", "a/:q"])
            .fails(4)
            .contains("into itself")
    );
}

#[test]
fn mv_exchange_swaps_in_one_step() {
    let bench = Bench::new();
    bench.put("a", "{:x 1}");
    bench.put("b", "[2]");
    bench.kfs(["mv", "s", "--exchange", "a/:x", "b"]).ok();
    assert_eq!(bench.get("a"), "{:x [2]}");
    assert_eq!(bench.get("b"), "1");
    bench.kfs(["mv", "s", "--exchange", "a", "none"]).fails(3);
}

#[test]
fn rm_removes_full_directories_only_when_told_to() {
    let bench = Bench::new();
    bench.put("a", "{:x 1 :e {} :v [1 2 3]}");
    bench.kfs(["rm", "s", "a/:e"]).ok();
    bench.kfs(["rm", "s", "a/:v/1"]).ok();
    assert_eq!(bench.get("a"), "{:v [1 nil 3], :x 1}");
    assert!(bench.kfs(["rm", "s", "a"]).fails(4).contains("kfs rm -r"));
    bench.kfs(["rm", "-r", "s", "a"]).ok();
    bench.kfs(["rm", "s", "a"]).fails(3);
    bench.kfs(["rm", "-f", "s", "a"]).ok();
    assert!(
        bench
            .kfs(["rm", "-r", "s", "/"])
            .fails(4)
            .contains("kfs destroy")
    );
}

#[test]
fn info_tells_what_is_known_beside_the_value() {
    let bench = Bench::new();
    bench.put("doc", "{:n 42}");
    let info = bench.json(["info", "s", "doc", "--json"]);
    assert_eq!(info["type"], "map");
    assert_eq!(info["kind"], "edn");
    assert_eq!(info["entries"], 1);
    assert_eq!(info["sequence"], 1);
    bench.put("bin", "#bytes \"00\"");
    assert_eq!(bench.json(["info", "s", "bin", "--json"])["kind"], "binary");
    let text = bench.kfs(["info", "s", "doc/:n"]).ok();
    let row = |name: &str| {
        text.lines()
            .find(|line| line.starts_with(name))
            .map(str::to_owned)
    };
    assert_eq!(row("key").unwrap().split_whitespace().nth(1), Some(":n"));
    assert_eq!(row("type").unwrap().split_whitespace().nth(1), Some("int"));
    assert_eq!(row("size").unwrap().split_whitespace().nth(1), Some("3"));
    assert_eq!(row("kind"), None);
    bench.kfs(["info", "s", "doc/:x"]).fails(3);
}
