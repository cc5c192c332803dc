//! Bad input on the command line: what, where and what to do, and nothing is lost.

use std::ffi::OsString;
use std::fs;
use std::path::Path;

use konserve_fs::store::{ConnectOptions, Location, Store};
use uuid::Uuid;

use crate::harness::{Mount, Output, edn};
use crate::table::{Exit, Table};

const OTHER_ID: &str = "00000000-0000-4000-8000-000000000001";

const DOC: &str = r#"{:n 42 :m {:x 1} :v [1 2] :text "t"}"#;

/// Runs `kfs` with arguments in which `S` stands for the store, `M` for the mountpoint and `T/…`
/// for a path beside them.
fn kfs(m: &Mount, args: &[&str]) -> Output {
    let args = args.iter().map(|arg| match *arg {
        "S" => m.store().into(),
        "M" => m.dir().into(),
        arg => match arg.strip_prefix("T/") {
            Some(name) => m.sandbox.path(name).into_os_string(),
            None => OsString::from(arg),
        },
    });
    m.sandbox.kfs(args)
}

/// The store's id, as `kfs status` gives it.
fn id(m: &Mount) -> String {
    let status = kfs(m, &["status", "S", "--json"]).ok().text();
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    status["id"]
        .as_str()
        .expect("`id` in the status")
        .to_owned()
}

fn command_line(m: &Mount, t: &mut Table) {
    let usage: &[(&str, &[&str], &[&str])] = &[
        ("no verb", &[], &["usage"]),
        (
            "a verb that is none",
            &["frobnicate", "S"],
            &["frobnicate", "--help"],
        ),
        (
            "an option that is none",
            &["get", "S", "doc", "--bogus"],
            &["--bogus"],
        ),
        ("no store", &["get"], &["store"]),
        ("no path", &["put", "S"], &["path"]),
        ("no value", &["put", "S", "a"], &["value", "--file"]),
        (
            "value and file",
            &["put", "S", "a", "1", "--file", "T/f"],
            &["--file"],
        ),
        (
            "a form that is none",
            &["put", "S", "a", "1", "--as", "yaml"],
            &["yaml", "edn", "json"],
        ),
        ("too many arguments", &["get", "S", "doc", "b", "c"], &["c"]),
        (
            "an id that is none",
            &["init", "T/new", "--id", "nonsense"],
            &["nonsense", "uuid"],
        ),
    ];
    for (name, args, words) in usage {
        t.command(name, &kfs(m, args), Exit::Usage, words);
    }
}

fn stores(m: &Mount, t: &mut Table) {
    m.sandbox.make_dir("empty");
    let foreign = m.sandbox.make_dir("foreign");
    fs::write(foreign.join("thesis.txt"), "irreplaceable").unwrap();
    fs::write(foreign.join("kfs.lock"), "what is this").unwrap();
    fs::write(m.sandbox.path("file"), "x").unwrap();
    let mem_id = format!("mem:{OTHER_ID}");
    let failures: &[(Exit, &str, &[&str], &[&str])] = &[
        (
            Exit::NotFound,
            "no such store",
            &["get", "T/none", "a"],
            &["none", "kfs init"],
        ),
        (
            Exit::NotFound,
            "an empty directory",
            &["get", "T/empty", "a"],
            &["empty", "no store", "kfs init"],
        ),
        (
            Exit::NotFound,
            "a directory of other things",
            &["get", "T/foreign", "a"],
            &["foreign", "no store"],
        ),
        (
            Exit::NotFound,
            "a file",
            &["get", "T/file", "a"],
            &["file", "directory"],
        ),
        (
            Exit::NotFound,
            "put does not make a store",
            &["put", "T/empty", "a", "1"],
            &["empty", "kfs init"],
        ),
        (
            Exit::Refused,
            "init where a store is",
            &["init", "S"],
            &["store", "already"],
        ),
        (
            Exit::Refused,
            "init among other things",
            &["init", "T/foreign"],
            &["foreign", "empty"],
        ),
        (
            Exit::Refused,
            "init over a file",
            &["init", "T/file"],
            &["file", "directory"],
        ),
        (
            Exit::Refused,
            "init below a file",
            &["init", "T/file/store"],
            &["file"],
        ),
        (
            Exit::Usage,
            "a scheme that is none",
            &["get", "gopher:abc", "a"],
            &["gopher", "mem"],
        ),
        (
            Exit::Usage,
            "mem: without an id",
            &["get", "mem:nonsense", "a"],
            &["nonsense", "uuid"],
        ),
        (
            Exit::NotFound,
            "mem: of another process",
            &["get", &mem_id, "a"],
            &[OTHER_ID, "process"],
        ),
        (
            Exit::NotFound,
            "status of no store",
            &["status", "T/none"],
            &["none"],
        ),
        (
            Exit::Refused,
            "destroy without an id",
            &["destroy", "S"],
            &["--id"],
        ),
        (
            Exit::Refused,
            "destroy with a wrong id",
            &["destroy", "S", "--id", OTHER_ID],
            &[OTHER_ID],
        ),
        (
            Exit::NotFound,
            "destroy of other things",
            &["destroy", "T/foreign", "--id", OTHER_ID],
            &["foreign"],
        ),
    ];
    for (exit, name, args, words) in failures {
        t.command(name, &kfs(m, args), *exit, words);
    }
    let kept = fs::read_to_string(foreign.join("thesis.txt")).unwrap_or_default();
    t.fact("other things", kept == "irreplaceable", "are untouched");
    t.fact(
        "an empty directory",
        m.sandbox.path("empty").read_dir().unwrap().count() == 0,
        "stays empty",
    );
    t.fact(
        "no such store",
        !m.sandbox.path("none").exists(),
        "is not made by looking for it",
    );
}

fn documents(m: &Mount, t: &mut Table) {
    fs::write(m.sandbox.path("latin1"), b"caf\xe9").unwrap();
    fs::write(m.sandbox.path("deep"), "[".repeat(5000) + &"]".repeat(5000)).unwrap();
    fs::write(m.sandbox.path("open"), "[".repeat(200_000)).unwrap();
    fs::write(m.sandbox.path("lines"), "{:a 1\n :b [1\n    }\n").unwrap();
    let failures: &[(Exit, &str, &[&str], &[&str])] = &[
        (
            Exit::NotFound,
            "a key that is not there",
            &["get", "S", "none"],
            &["none"],
        ),
        (
            Exit::NotFound,
            "a path that is not there",
            &["get", "S", "doc/:m/:none"],
            &["doc/:m/:none"],
        ),
        (
            Exit::Refused,
            "get through a scalar",
            &["get", "S", "doc/:n/:x"],
            &["doc/:n", "int"],
        ),
        (
            Exit::Refused,
            "put through a scalar",
            &["put", "S", "doc/:n/:x", "1"],
            &["doc/:n", "int"],
        ),
        (
            Exit::Refused,
            "rm through a scalar",
            &["rm", "S", "doc/:n/:x"],
            &["doc/:n", "int"],
        ),
        (
            Exit::Refused,
            "an index past the end",
            &["put", "S", "doc/:v/7", "1"],
            &["doc/:v", "7", "2"],
        ),
        (
            Exit::Refused,
            "a name in a vector",
            &["put", "S", "doc/:v/name", "1"],
            &["doc/:v", "name", "index"],
        ),
        (
            Exit::Invalid,
            "a map that is not closed",
            &["put", "S", "doc", "{:a 1"],
            &["1:", "{"],
        ),
        (
            Exit::Invalid,
            "the wrong bracket",
            &["put", "S", "doc", "--file", "T/lines"],
            &["lines", "3:5", "}"],
        ),
        (
            Exit::Invalid,
            "a second value",
            &["put", "S", "doc", "1 2"],
            &["1:3"],
        ),
        (
            Exit::Invalid,
            "no value at all",
            &["put", "S", "doc", " "],
            &["value"],
        ),
        (
            Exit::Invalid,
            "half a pair",
            &["put", "S", "doc", "{:a 1 :b}"],
            &["1:"],
        ),
        (
            Exit::Invalid,
            "a key twice",
            &["put", "S", "doc", "{:a 1 :a 2}"],
            &["1:", ":a"],
        ),
        (
            Exit::Invalid,
            "an element twice",
            &["put", "S", "doc", "#{1 1}"],
            &["1:"],
        ),
        (
            Exit::Invalid,
            "a number that is none",
            &["put", "S", "doc", "12x"],
            &["1:", "12x"],
        ),
        (
            Exit::Invalid,
            "no tagged value",
            &["put", "S", "doc", "#uuid \"nonsense\""],
            &["uuid", "nonsense"],
        ),
        (
            Exit::Invalid,
            "an escape that is none",
            &["put", "S", "doc", r#""a\q""#],
            &["1:", "q"],
        ),
        (
            Exit::Invalid,
            "bad JSON",
            &["put", "S", "doc", "{\"a\": }", "--as", "json"],
            &["1:7"],
        ),
        (
            Exit::Invalid,
            "too deep",
            &["put", "S", "doc", "--file", "T/deep"],
            &["deep", "1"],
        ),
        (
            Exit::Invalid,
            "far too deep",
            &["put", "S", "doc", "--file", "T/open"],
            &["deep", "1"],
        ),
        (
            Exit::Invalid,
            "no UTF-8",
            &["put", "S", "doc", "--file", "T/latin1", "--as", "text"],
            &["latin1", "utf-8"],
        ),
        (
            Exit::NotFound,
            "no such file",
            &["put", "S", "doc", "--file", "T/nowhere"],
            &["nowhere", "no such file"],
        ),
        (
            Exit::Refused,
            "a directory as a file",
            &["put", "S", "doc", "--file", "T/home"],
            &["home", "directory"],
        ),
        (
            Exit::Refused,
            "an int as text",
            &["get", "S", "doc/:n", "--as", "text"],
            &["doc/:n", "int", "--as"],
        ),
        (
            Exit::Refused,
            "a map as bytes",
            &["get", "S", "doc/:m", "--as", "bytes"],
            &["doc/:m", "map", "--as"],
        ),
        (
            Exit::NotFound,
            "rm of what is not there",
            &["rm", "S", "none"],
            &["none"],
        ),
        (
            Exit::Refused,
            "rm of everything",
            &["rm", "S", ""],
            &["destroy"],
        ),
        (
            Exit::NotFound,
            "mv of what is not there",
            &["mv", "S", "none", "a"],
            &["none"],
        ),
        (
            Exit::Refused,
            "mv into itself",
            &["mv", "S", "doc", "doc/:m/:y"],
            &["doc", "itself"],
        ),
        (
            Exit::NotFound,
            "cp of what is not there",
            &["cp", "S", "none", "a"],
            &["none"],
        ),
        (
            Exit::NotFound,
            "import of what is not there",
            &["import", "S", "a", "T/nowhere"],
            &["nowhere"],
        ),
        (
            Exit::NotFound,
            "info of what is not there",
            &["info", "S", "none"],
            &["none"],
        ),
        (
            Exit::NotFound,
            "ls of what is not there",
            &["ls", "S", "none"],
            &["none"],
        ),
    ];
    for (exit, name, args, words) in failures {
        t.command(name, &kfs(m, args), *exit, words);
    }
    let edit = m.sandbox.sh_in(
        Path::new("/"),
        &format!("EDITOR=false kfs edit '{}' doc", m.store().display()),
    );
    t.command(
        "an editor that fails",
        &edit,
        Exit::Failed,
        &["false", "unchanged"],
    );
}

/// Goes through the whole table and checks that it changed nothing.
fn go_through(m: &Mount, title: &'static str) {
    let id = id(m);
    m.put("doc", DOC);
    fs::write(m.sandbox.path("f"), "1").unwrap();
    let mut t = Table::new(title);
    command_line(m, &mut t);
    stores(m, &mut t);
    documents(m, &mut t);
    for made in ["empty", "foreign"] {
        fs::remove_dir_all(m.sandbox.path(made)).unwrap();
    }
    assert_eq!(m.get("doc"), edn(DOC), "something was changed");
    assert_eq!(kfs(m, &["ls", "S"]).ok().text(), "doc");
    assert_eq!(self::id(m), id);
    t.finish(60);
}

#[test]
fn bad_input_says_what_where_and_what_to_do_on_a_store_that_is_not_mounted() {
    go_through(&Mount::unmounted(), "bad input, not mounted");
}

#[test]
fn bad_input_says_the_same_on_a_mounted_store() {
    go_through(&Mount::new(), "bad input, mounted");
}

#[test]
fn a_store_is_connected_to_only_under_its_own_id() {
    let m = Mount::unmounted();
    let location = Location::parse(m.store().to_str().unwrap()).unwrap();
    let connect = |id| {
        Store::connect(
            &location,
            &ConnectOptions {
                id,
                ..ConnectOptions::default()
            },
        )
    };
    let store = connect(None).unwrap();
    let id = store.id();
    store.release().unwrap();
    connect(Some(id)).unwrap().release().unwrap();
    let wrong = Uuid::parse_str(OTHER_ID).unwrap();
    let message = connect(Some(wrong)).unwrap_err().to_string();
    for word in [OTHER_ID, &id.to_string()] {
        assert!(message.contains(word), "{message}");
    }
}

#[test]
fn a_destroyed_store_is_gone_and_a_mounted_one_is_not_destroyed() {
    let m = Mount::new();
    m.put("doc", DOC);
    let id = id(&m);
    let mut t = Table::new("destroy");
    let output = kfs(&m, &["destroy", "S", "--id", &id]);
    let mountpoint = m.dir().to_str().unwrap();
    t.command(
        "destroy while mounted",
        &output,
        Exit::InUse,
        &[mountpoint, "kfs umount"],
    );
    m.remount();
    assert_eq!(m.get("doc"), edn(DOC));
    m.umount();
    kfs(&m, &["destroy", "S", "--id", &id]).ok();
    t.command(
        "get after it",
        &kfs(&m, &["get", "S", "doc"]),
        Exit::NotFound,
        &["kfs init"],
    );
    kfs(&m, &["init", "S", "--id", &id]).ok();
    assert_eq!(kfs(&m, &["ls", "S"]).ok().text(), "");
    t.finish(2);
}
