//! Commands about mounts, and commands on a store that is mounted.

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::harness::{KFS, Mount, Sandbox, detach, edn, gone_within, is_mounted, need_root, run};

/// What a command prints as JSON.
#[track_caller]
fn json<const N: usize>(m: &Mount, args: [&str; N]) -> serde_json::Value {
    let output = m.sandbox.kfs(args).ok();
    serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {output}"))
}

#[test]
fn the_way_to_a_path_in_a_mount_may_lead_over_links_and_other_mounts() {
    need_root();
    let m = Mount::new();
    m.put("a", "{\"b\" {\"c\" 1}}");
    m.sh("ln -s ../a/b a/link");
    let get = |path: &Path| m.sandbox.kfs(["get".as_ref(), path.as_os_str()]);
    let link = m.sandbox.path("link");
    symlink(m.dir(), &link).unwrap();
    assert_eq!(get(&link.join("a/b/c")).ok().text(), "1");
    assert_eq!(get(&m.path("a/./b/../b/c/")).ok().text(), "1");
    assert_eq!(get(&m.sandbox.path("mnt/../mnt/a/b/c")).ok().text(), "1");
    // Within the mount a link is a value.
    assert_eq!(
        get(&m.path("a/link")).ok().text(),
        "#kfs/symlink \"../a/b\""
    );
    get(&m.path("a/link/c")).fails();
    let bound = m.sandbox.make_dir("bound");
    m.sandbox
        .sh_in(Path::new("/"), "mount --bind \"$T/mnt/a\" \"$T/bound\"")
        .ok();
    let through = get(&bound.join("b/c"));
    let put = m
        .sandbox
        .kfs(["put".as_ref(), bound.join("b/c").as_os_str(), "2".as_ref()]);
    detach(&bound);
    assert_eq!(through.ok().text(), "1");
    put.ok();
    assert_eq!(m.sh("cat a/b/c"), "2");
    // Up and out again.
    get(&m.path("../store")).fails();
    assert_eq!(
        m.sandbox
            .kfs(["ls".as_ref(), m.path("../store").as_os_str()])
            .ok()
            .text(),
        "a"
    );
}

#[test]
fn cp_and_mv_take_two_paths_in_the_mount() {
    let m = Mount::new();
    m.sh("mkdir a b; echo x > a/f; kfs cp a/f b/; kfs mv a/f top; test ! -e a/f; cmp b/f top; kfs mv --exchange b a");
    assert_eq!(m.names("a"), ["f"]);
    let other = Mount::new();
    let args = [
        "cp".into(),
        m.path("top").into_os_string(),
        other.path("top").into_os_string(),
    ];
    let message = m.sandbox.kfs(&args).fails().errors();
    assert!(
        message.contains("not paths inside the same mount"),
        "{message}"
    );
}

#[test]
fn status_says_where_a_store_is_mounted_however_it_is_named() {
    let m = Mount::new();
    m.put("a", "1");
    let (store, dir) = (m.store().to_str().unwrap(), m.dir().to_str().unwrap());
    for named in [store, dir, &format!("kfs:{store}")] {
        let status = json(&m, ["status", named, "--json"]);
        assert_eq!(status["mountpoint"], dir);
        assert_eq!(status["location"], store);
        assert_eq!(status["pid"], m.pid().as_raw());
        assert_eq!(status["sequence"], 1);
    }
    let all = json(&m, ["status", "--json"]);
    let mine = |mount: &&serde_json::Value| mount["mountpoint"] == dir;
    assert_eq!(
        all.as_array().unwrap().iter().filter(mine).count(),
        1,
        "{all}"
    );
    assert!(
        m.sandbox
            .kfs(["status"])
            .ok()
            .text()
            .lines()
            .any(|line| line.starts_with(dir))
    );
    m.kill();
    let all = json(&m, ["status", "--json"]);
    let dead = all.as_array().unwrap().iter().find(mine).unwrap();
    assert_eq!(dead["pid"], serde_json::Value::Null, "{all}");
    m.sandbox.kfs(["umount", dir]).ok();
    assert!(!is_mounted(m.dir()));
    assert_eq!(
        json(&m, ["status", store, "--json"])["mountpoint"],
        serde_json::Value::Null
    );
}

#[test]
fn a_mount_under_another_name_is_found_as_well() {
    let m = Mount::with_options("fsname=another");
    m.put("a", "1");
    assert_eq!(
        m.sandbox
            .kfs(["get".as_ref(), m.path("a").as_os_str()])
            .ok()
            .text(),
        "1"
    );
    assert_eq!(
        json(&m, ["status", m.dir().to_str().unwrap(), "--json"])["location"],
        m.store().to_str().unwrap()
    );
}

#[test]
fn a_mount_in_use_stays_and_its_user_is_named() {
    let m = Mount::new();
    m.write("f", "x");
    let held = fs::File::open(m.path("f")).unwrap();
    let umount = |options: &[&str]| {
        let args = ["umount"]
            .iter()
            .chain(options)
            .map(PathBuf::from)
            .chain([m.dir().to_owned()]);
        m.sandbox
            .kfs(args.map(PathBuf::into_os_string).collect::<Vec<_>>())
    };
    let refused = umount(&[]);
    assert_eq!(refused.code, 5, "{refused}");
    let message = refused.errors();
    assert!(
        message.contains(&format!("process {}", std::process::id())),
        "{message}"
    );
    assert!(message.contains("--lazy"), "{message}");
    assert_eq!(m.read("f"), b"x");
    let begun = Instant::now();
    let taken = umount(&["--lazy"]);
    assert_eq!(taken.code, 5, "{taken}");
    assert!(taken.errors().contains("taken away"), "{taken}");
    assert!(begun.elapsed() < Duration::from_secs(10));
    assert!(!is_mounted(m.dir()));
    drop(held);
    assert!(gone_within(m.pid(), Duration::from_secs(10)));
    // The next mount just works.
    m.mount();
    assert_eq!(m.read("f"), b"x");
}

#[test]
fn the_mount_shows_what_import_brings_and_export_takes_what_it_shows() {
    let m = Mount::new();
    let tree = m.sandbox.make_dir("tree");
    fs::create_dir(tree.join("d")).unwrap();
    fs::write(tree.join("d/f"), "old\n").unwrap();
    fs::write(tree.join("bare"), "bare").unwrap();
    m.sh("kfs import \"$S\" t \"$T/tree\"; cat t/d/f; ls t");
    // The kernel knows these names and contents by now.
    assert_eq!(m.sh("cat t/d/f"), "old");
    fs::write(tree.join("d/f"), "new and longer\n").unwrap();
    fs::write(tree.join("d/more"), "more\n").unwrap();
    m.sh("kfs import \"$S\" t \"$T/tree\"");
    assert_eq!(
        m.sh("cat t/d/f t/d/more t/bare"),
        "new and longer\nmore\nbare"
    );
    assert_eq!(m.names("t/d"), ["f", "more"]);
    m.sh("echo changed > t/d/f; chmod 600 t/d/f; setfattr -n user.note -v x t/d/f; kfs export t \"$T/out\"");
    m.sh("diff -r t \"$T/out\"; test -z \"$(rsync -aXni t/ \"$T/out/\")\"");
}

#[test]
fn a_large_value_goes_through_the_daemon() {
    let m = Mount::new();
    let bytes: Vec<u8> = (0..40_000_000u32).map(|i| (i / 7 % 251) as u8).collect();
    fs::write(m.sandbox.path("large"), &bytes).unwrap();
    m.sh("kfs put \"$S\" large --file \"$T/large\" --as bytes; cmp large \"$T/large\"");
    m.sh("kfs get \"$S\" large --as bytes | cmp - \"$T/large\"; kfs cp large copy; kfs export copy \"$T/out\"; cmp \"$T/out\" large");
}

#[test]
fn a_daemon_in_the_foreground_ends_in_good_order_at_a_signal() {
    let m = Mount::unmounted();
    let log = m.sandbox.path("log");
    let mut command = Command::new(KFS);
    let args = [
        "mount".as_ref(),
        m.store().as_os_str(),
        m.dir().as_os_str(),
        "--foreground".as_ref(),
    ];
    m.sandbox
        .set_up(&mut command)
        .args(args)
        .stderr(fs::File::create(&log).unwrap());
    let mut daemon = command.stdin(Stdio::null()).spawn().unwrap();
    let mounted = (0..500).any(|_| {
        std::thread::sleep(Duration::from_millis(10));
        is_mounted(m.dir()) && m.sandbox.kfs(["ls".as_ref(), m.dir().as_os_str()]).code == 0
    });
    assert!(mounted, "{}", fs::read_to_string(&log).unwrap());
    let mut file = fs::File::create(m.path("f")).unwrap();
    file.write_all(b"not closed").unwrap();
    kill(
        Pid::from_raw(i32::try_from(daemon.id()).unwrap()),
        Signal::SIGTERM,
    )
    .unwrap();
    let status = daemon.wait().unwrap();
    drop(file);
    assert!(
        status.success(),
        "{status}: {}",
        fs::read_to_string(&log).unwrap()
    );
    assert!(!is_mounted(m.dir()));
    assert_eq!(m.get("f"), edn("\"not closed\""));
    assert!(!m.store().join("kfs.daemon").exists());
}

#[test]
fn the_demo_shows_a_mount_and_leaves_nothing() {
    let sandbox = Sandbox::new();
    let temporary = sandbox.make_dir("tmp");
    let mut command = Command::new(KFS);
    sandbox
        .set_up(&mut command)
        .arg("demo")
        .env("TMPDIR", &temporary);
    let shown = run(&mut command, b"").ok().text();
    for line in [
        "$ cat user/:name user/:langs/1",
        "Ada",
        "$ sed -i s/37/38/ user/:age",
        "user.kfs.type=\"int\"",
    ] {
        assert!(shown.lines().any(|shown| shown == line), "{line}\n{shown}");
    }
    for verb in ["echo", "cat", "sed -i", "mv", "ls -l", "getfattr"] {
        assert!(
            shown
                .lines()
                .any(|shown| shown.starts_with(&format!("$ {verb} "))),
            "{verb}\n{shown}"
        );
    }
    assert_eq!(fs::read_dir(&temporary).unwrap().count(), 0);
}

#[test]
fn a_demo_that_is_kept_goes_on_until_it_is_unmounted() {
    let sandbox = Sandbox::new();
    let temporary = sandbox.make_dir("tmp");
    let mut command = Command::new(KFS);
    sandbox
        .set_up(&mut command)
        .args(["demo", "--keep"])
        .env("TMPDIR", &temporary);
    let shown = run(&mut command, b"").ok().text();
    let dir = shown
        .lines()
        .find_map(|line| line.split_once(": cd "))
        .unwrap()
        .1;
    assert!(is_mounted(Path::new(dir)), "{shown}");
    let got = sandbox.kfs(["get", &format!("{dir}/user/:age")]);
    sandbox.kfs(["umount", dir]).ok();
    assert_eq!(got.ok().text(), "38");
    assert!(!is_mounted(Path::new(dir)));
}

#[test]
fn a_sweep_spares_what_is_kept_named_new_or_being_written() {
    need_root();
    let m = Mount::new();
    m.sh(
        "for n in old kept named busy; do echo 1 > $n; done; mkdir dir; echo 2 > dir/f
        setfattr -n user.kfs.keep -v 1 kept; echo other > \"$T/names\"; echo named >> \"$T/names\"",
    );
    m.put("api", "1");
    std::thread::sleep(Duration::from_millis(1100));
    m.sh("echo 3 > dir/f; ls > /dev/null");
    let store = m.store().to_owned();
    let sweep = |more: &[&str]| {
        let args = ["sweep", store.to_str().unwrap(), "--before", "1s"];
        let names = m.sandbox.path("names");
        let keep = ["--keep-from", names.to_str().unwrap()];
        let all = args.iter().chain(&keep).chain(more);
        m.sandbox.kfs(all).ok().text()
    };
    let mut busy = fs::OpenOptions::new()
        .append(true)
        .open(m.path("busy"))
        .unwrap();
    let mut lines: Vec<String> = sweep(&["--dry-run"]).lines().map(str::to_owned).collect();
    lines.sort();
    assert_eq!(lines, ["api", "old"]);
    assert_eq!(m.sh("ls | tr '\\n' ' '"), "api busy dir kept named old ");
    sweep(&[]);
    // The kernel hears of it.
    assert_eq!(m.sh("ls | tr '\\n' ' '"), "busy dir kept named ");
    m.sh("[ ! -e old ]");
    busy.write_all(b"2\n").unwrap();
    drop(busy);
    m.remount();
    assert_eq!(m.sh("cat busy"), "1\n2");
}

#[test]
fn a_daemon_evicts_by_itself_when_it_is_asked_to() {
    need_root();
    let m = Mount::with_options("sweep=2s");
    m.sh("echo 1 > old; echo 1 > kept; setfattr -n user.kfs.keep -v 1 kept");
    let end = Instant::now() + Duration::from_secs(60);
    while m.path("old").exists() {
        assert!(Instant::now() < end, "nothing is evicted");
        std::thread::sleep(Duration::from_millis(200));
    }
    assert_eq!(m.sh("ls"), "kept");
}

#[test]
fn a_mounted_store_is_rewritten_through_its_daemon() {
    let m = Mount::new();
    m.put("user", "{:name \"Ada\" :tags #{1 2}}");
    m.sh("seq 20000 > numbers; mkdir .kfs/snapshot/before; echo more >> numbers; cp numbers copy");
    let store = m.store().to_str().unwrap().to_owned();
    for (serializer, compress) in [("edn", "zstd"), ("cbor", "none")] {
        let how = [
            "rewrite",
            "--json",
            &store,
            "--serializer",
            serializer,
            "--compress",
            compress,
        ];
        let done = json(&m, how);
        assert!(done["rewritten"].as_u64().unwrap() > 2, "{done}");
        assert_eq!(json(&m, ["rewrite", "--json", &store])["rewritten"], 0);
        m.sh("cmp numbers copy; seq 20000 | cmp - .kfs/snapshot/before/numbers");
        assert_eq!(m.get("user"), edn("{:name \"Ada\" :tags #{1 2}}"));
        m.remount();
        m.sh("cmp numbers copy; seq 20000 | cmp - .kfs/snapshot/before/numbers");
        assert_eq!(m.get("user"), edn("{:name \"Ada\" :tags #{1 2}}"));
    }
    m.fsck();
}
