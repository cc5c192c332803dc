//! Creating, looking at and deleting stores.

use konserve_fs::store::{ConnectOptions, Location, Store};

use super::harness::Bench;

const ID: &str = "6f1c1d3e-0000-4000-8000-000000000001";
const OTHER: &str = "6f1c1d3e-0000-4000-8000-000000000002";

#[test]
fn init_makes_a_store_with_the_id_that_was_asked_for() {
    let bench = Bench::without_store();
    let said = bench.kfs(["init", "s", "--id", ID]).ok();
    assert_eq!(
        said,
        format!("created store {ID} at {}", bench.path("s").display())
    );
    let status = bench.json(["status", "s", "--json"]);
    assert_eq!(status["id"], ID);
    assert_eq!(status["location"], bench.path("s").to_str().unwrap());
    assert_eq!(status["mountpoint"], serde_json::Value::Null);
    assert_eq!(status["pid"], serde_json::Value::Null);
}

#[test]
fn init_in_json_says_where_and_which() {
    let bench = Bench::without_store();
    let made = bench.json(["--json", "init", "s", "--compress", "none"]);
    assert_eq!(made["location"], bench.path("s").to_str().unwrap());
    assert_eq!(made["id"], bench.json(["status", "s", "--json"])["id"]);
}

#[test]
fn values_are_compressed_as_init_was_told() {
    let bench = Bench::without_store();
    // No two chunks of it are the same.
    let lines = (0..8000).map(|n| format!("line {n} of the same words again and again\n"));
    let text: String = lines.collect();
    let sizes = ["none", "lz4", "zstd"].map(|how| {
        let place = format!("file:{how}");
        bench.kfs(["init", &place, "--compress", how]).ok();
        let put = ["put", how, "a", "--as", "text", "--file", "-"];
        bench.kfs_with(put, text.as_bytes()).ok();
        let got = bench.kfs(["get", how, "a"]).ok();
        assert_eq!(got, format!("{:?}", text.trim_end()));
        let packs = std::fs::read_dir(bench.path(how)).unwrap();
        packs
            .map(|file| file_size(&file.unwrap().path()))
            .sum::<u64>()
    });
    let [none, lz4, zstd] = sizes;
    assert!(zstd < lz4 && lz4 < none, "{sizes:?}");
}

fn file_size(path: &std::path::Path) -> u64 {
    match std::fs::read_dir(path) {
        Ok(inside) => inside.map(|file| file_size(&file.unwrap().path())).sum(),
        Err(_) => std::fs::metadata(path).unwrap().len(),
    }
}

#[test]
fn init_touches_nothing_that_is_there() {
    let bench = Bench::new();
    assert!(
        bench
            .kfs(["init", "s"])
            .fails(4)
            .contains("there is a store already")
    );
    std::fs::create_dir(bench.path("other")).unwrap();
    std::fs::write(bench.path("other/thesis"), "x").unwrap();
    assert!(
        bench
            .kfs(["init", "other"])
            .fails(4)
            .contains("empty or new directory")
    );
    assert_eq!(std::fs::read_dir(bench.path("other")).unwrap().count(), 1);
    assert!(
        bench
            .kfs(["init", "mem:"])
            .fails(4)
            .contains("kfs mount mem: DIR")
    );
}

#[test]
fn destroy_deletes_only_the_store_whose_id_is_given() {
    let bench = Bench::without_store();
    bench.kfs(["init", "s", "--id", ID]).ok();
    bench.put("a", "1");
    let asked = bench.kfs(["destroy", "s"]).fails(4);
    assert!(asked.contains(&format!("--id {ID}")), "{asked}");
    let wrong = bench.kfs(["destroy", "s", "--id", OTHER]).fails(4);
    assert!(
        wrong.contains("nothing is deleted") && wrong.contains(ID) && wrong.contains(OTHER),
        "{wrong}"
    );
    assert_eq!(bench.get("a"), "1");
    assert_eq!(
        bench.kfs(["destroy", "s", "--id", ID]).ok(),
        format!("deleted store {ID}")
    );
    assert!(!bench.path("s").exists());
    assert!(
        bench
            .kfs(["destroy", "s", "--id", ID])
            .fails(3)
            .contains("no store here")
    );
}

#[test]
fn destroy_leaves_what_is_not_the_stores() {
    let bench = Bench::without_store();
    bench.kfs(["init", "s", "--id", ID]).ok();
    std::fs::write(bench.path("s/notes"), "mine").unwrap();
    std::fs::write(
        bench.path("s/kfs.daemon"),
        "/run/kfs/left-by-a-killed-daemon.sock",
    )
    .unwrap();
    bench.kfs(["destroy", "s", "--id", ID]).ok();
    let left: Vec<_> = std::fs::read_dir(bench.path("s"))
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    assert_eq!(left, ["notes"]);
}

#[test]
fn a_store_that_another_program_holds_is_in_use_and_it_is_named() {
    let bench = Bench::new();
    let location = Location::parse(bench.path("s").to_str().unwrap()).unwrap();
    let held = Store::connect(&location, &ConnectOptions::default()).unwrap();
    let holder = format!("process {}", std::process::id());
    let message = bench.kfs(["get", "s", "a"]).fails(5);
    assert!(message.contains(&holder), "{message}");
    held.release().unwrap();
    bench.kfs(["get", "s", "a"]).fails(3);
}

#[test]
fn a_command_waits_for_another_that_holds_the_store() {
    let bench = Bench::new();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..10 {
                    bench
                        .kfs(["update", "s", "n/:count", "inc", "--times", "5"])
                        .ok();
                }
            });
        }
    });
    assert_eq!(bench.get("n/:count"), "200");
}

#[test]
fn what_a_killed_daemon_has_left_leads_nobody_astray() {
    let bench = Bench::new();
    std::fs::write(
        bench.path("s/kfs.daemon"),
        bench.path("run/none.sock").to_str().unwrap(),
    )
    .unwrap();
    bench.put("a", "1");
    assert_eq!(bench.get("a"), "1");
}

#[test]
fn without_mounts_there_is_no_status_of_any() {
    let bench = Bench::new();
    // Others may have mounts on this machine; this store is not among them.
    let all = bench.json(["status", "--json"]);
    let mine = bench.path("s");
    assert!(
        all.as_array()
            .unwrap()
            .iter()
            .all(|mount| mount["location"] != mine.to_str().unwrap())
    );
    assert!(
        bench
            .kfs(["umount", "."])
            .fails(3)
            .contains("not the mount of a store")
    );
}
