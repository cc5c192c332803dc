//! `.kfs/snapshot` in a mount.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::harness::{Mount, edn, need_root, run};

#[test]
fn a_snapshot_is_a_directory_with_everything_as_it_was() {
    let m = Mount::new();
    m.put("user", r#"{:name "Ada" :langs ["en" "fr"]}"#);
    m.sh("echo one > file; ln -s file link; chmod 640 file; setfattr -n user.x -v y file; ln file user/hard");
    m.sh("mkdir .kfs/snapshot/then");
    m.sh("echo two > file; rm link; echo fr > user/:langs/1; rm user/hard; mkdir new; echo n > new/n");
    for time in ["at once", "after a restart", "after a kill"] {
        let then = |name: &str| m.read(format!(".kfs/snapshot/then/{name}"));
        assert_eq!(then("file"), b"one\n", "{time}");
        assert_eq!(then("user/hard"), b"one\n", "{time}");
        assert_eq!(then("user/:langs/1"), b"fr\n", "{time}");
        assert_eq!(m.read("file"), b"two\n", "{time}");
        m.sh(
            "cd .kfs/snapshot/then; test \"$(readlink link)\" = file; test ! -e new; \
             test \"$(stat -c %a:%h file)\" = 640:2; test \"$(getfattr --only-values -n user.x file)\" = y; \
             test \"$(ls | tr '\\n' ' ')\" = 'file link user '; test \"$(pwd)/link\" -ef file",
        );
        match time {
            "at once" => m.remount(),
            _ => {
                m.kill();
                m.mount();
            }
        }
    }
    m.sh("rmdir .kfs/snapshot/then; test ! -e .kfs/snapshot/then; test -z \"$(ls .kfs/snapshot)\"");
    m.gc();
    assert_eq!(m.read("file"), b"two\n");
}

#[test]
fn nothing_in_a_snapshot_can_be_changed() {
    let m = Mount::new();
    m.sh("mkdir d; echo one > d/f; mkdir .kfs/snapshot/s");
    let dir = m.path(".kfs/snapshot/s");
    let errno = |done: std::io::Result<()>| done.unwrap_err().raw_os_error();
    let erofs = Some(libc::EROFS);
    assert_eq!(errno(fs::write(dir.join("d/f"), "x")), erofs);
    assert_eq!(errno(fs::write(dir.join("new"), "x")), erofs);
    assert_eq!(errno(fs::create_dir(dir.join("new"))), erofs);
    assert_eq!(errno(fs::remove_file(dir.join("d/f"))), erofs);
    assert_eq!(errno(fs::remove_dir(dir.join("d"))), erofs);
    assert_eq!(errno(fs::rename(dir.join("d/f"), dir.join("g"))), erofs);
    assert_eq!(errno(fs::rename(dir.join("d/f"), m.path("g"))), erofs);
    assert_eq!(errno(fs::rename(m.path("d/f"), dir.join("g"))), erofs);
    assert_eq!(errno(fs::hard_link(dir.join("d/f"), m.path("g"))), erofs);
    let mode = fs::Permissions::from_mode(0o600);
    assert_eq!(errno(fs::set_permissions(dir.join("d/f"), mode)), erofs);
    m.sh("! setfattr -n user.a -v b .kfs/snapshot/s/d/f 2>/dev/null");
    // What programs do with what they may read works.
    m.sh("cp -a .kfs/snapshot/s/d copy; cp --sparse=always .kfs/snapshot/s/d/f g; diff -r .kfs/snapshot/s/d copy");
    assert_eq!(m.read("d/f"), b"one\n");
    // Names are judged, and taken once.
    assert_eq!(errno(fs::create_dir(&dir)), Some(libc::EEXIST));
    let odd = m.path(".kfs/snapshot/a@b");
    assert_eq!(errno(fs::create_dir(odd)), Some(libc::EINVAL));
    let none = m.path(".kfs/snapshot/none");
    assert_eq!(errno(fs::remove_dir(none)), Some(libc::ENOENT));
    assert_eq!(
        errno(fs::create_dir(m.path(".kfs/other"))),
        Some(libc::EPERM)
    );
    assert_eq!(
        errno(fs::rename(m.path(".kfs"), m.path("x"))),
        Some(libc::EPERM)
    );
}

#[test]
fn the_control_directory_is_in_no_listing_and_nobody_elses() {
    need_root();
    let m = Mount::with_options("allow_other");
    m.sh("echo secret > open; chmod 755 .; chmod 644 open; mkdir .kfs/snapshot/s");
    let names: BTreeSet<_> = m.names("").into_iter().collect();
    assert_eq!(names, BTreeSet::from(["open".into()]));
    let kfs = fs::metadata(m.path(".kfs")).unwrap();
    assert_eq!((kfs.mode() & 0o7777, kfs.uid()), (0o700, 0));
    m.sh("rsync -aX ./ ../copy/; test ! -e ../copy/.kfs");
    let script = format!(
        "cd {0} && cat open && ! ls .kfs && ! ls .kfs/snapshot && ! cat .kfs/snapshot/s/open && ! mkdir .kfs/snapshot/t",
        m.dir().display()
    );
    let mut other = Command::new("setpriv");
    other.args([
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
        "sh",
        "-c",
        &script,
    ]);
    fs::set_permissions(m.sandbox.path(""), fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(run(&mut other, b"").ok().text(), "secret");
}

#[test]
fn a_backup_from_snapshot_to_snapshot_copies_what_changed() {
    let m = Mount::new();
    m.put("doc", r#"{:a 1 :b {:c "x" :d [1 2 3]}}"#);
    m.sh("mkdir dir; for i in 1 2 3 4 5; do echo $i > dir/$i; done; ln dir/1 dir/one");
    m.sh("mkdir .kfs/snapshot/a");
    let copied = |name: &str| -> Vec<String> {
        let script = format!("rsync -aXH --delete -i .kfs/snapshot/{name}/ ../backup/");
        let out = m.sh(&script);
        let lines = out
            .lines()
            .filter(|line| line.starts_with(">f") || line.starts_with('*'));
        lines
            .map(|line| line.split_whitespace().last().unwrap().to_owned())
            .collect()
    };
    assert_eq!(copied("a").len(), 10, "all files but the second name");
    m.remount();
    assert!(copied("a").is_empty());
    m.sh("mkdir .kfs/snapshot/b");
    assert!(copied("b").is_empty());
    m.put("doc/:b/:c", "\"longer\"");
    m.sh("rm dir/5; mkdir .kfs/snapshot/c; echo later > dir/2");
    assert_eq!(copied("c"), ["dir/5", "doc/:b/:c"]);
    assert!(copied("c").is_empty());
    assert_eq!(copied("a"), ["dir/5", "doc/:b/:c"]);
}

#[test]
fn commands_and_the_mount_show_the_same_snapshots() {
    let m = Mount::new();
    m.sh("echo one > f; mkdir .kfs/snapshot/a");
    let kfs = |args: &[&str]| {
        let store = m.store().display().to_string();
        let mut all = vec!["snapshot", args[0], &store];
        all.extend(&args[1..]);
        m.sandbox.kfs(all).ok().text()
    };
    assert!(kfs(&["list"]).ends_with("  a"));
    m.sh("echo two > f");
    kfs(&["create", "b"]);
    assert_eq!(m.read(".kfs/snapshot/b/f"), b"two\n");
    m.sh("echo three > f");
    assert_eq!(kfs(&["diff", "a", "b"]), "~ f  \"one\" -> \"two\"");
    // The kernel hears of what is brought back.
    kfs(&["restore", "f@a"]);
    assert_eq!(m.read("f"), b"one\n");
    let listed = m.names(".kfs/snapshot");
    assert_eq!(listed, ["a", "b"]);
    kfs(&["rm", "a"]);
    assert!(fs::read(m.path(".kfs/snapshot/a/f")).is_err());
    // The name means another one now.
    kfs(&["create", "a"]);
    m.sh("echo four > f; mkdir .kfs/snapshot/d; rmdir .kfs/snapshot/b; mkdir .kfs/snapshot/b");
    assert_eq!(m.read(".kfs/snapshot/b/f"), b"four\n");
    assert_eq!(m.read(".kfs/snapshot/a/f"), b"one\n");
    assert_eq!(m.get("f"), edn("\"four\""));
}

#[test]
fn a_daemon_takes_and_drops_snapshots_by_itself_when_it_is_asked_to() {
    let m = Mount::with_options("snapshot=1s,keep-last=2");
    m.sh("mkdir .kfs/snapshot/mine");
    let automatic = || -> BTreeSet<String> {
        let names = m.names(".kfs/snapshot").into_iter();
        let names = names.map(|name| name.into_string().unwrap());
        names.filter(|name| name.starts_with("auto-")).collect()
    };
    let end = Instant::now() + Duration::from_secs(120);
    let (mut seen, mut written) = (BTreeSet::new(), 0);
    while seen.len() < 5 {
        assert!(Instant::now() < end, "only {seen:?}");
        written += 1;
        m.write("f", format!("{written}\n"));
        sleep(Duration::from_millis(200));
        seen.extend(automatic());
    }
    // Nothing more is written: the last one shows the last state, and no further one comes, also
    // after a restart.
    for _ in 0..2 {
        let mut last = automatic();
        loop {
            assert!(Instant::now() < end, "no end: {last:?}");
            sleep(Duration::from_millis(2500));
            let now = automatic();
            if now == last {
                break;
            }
            last = now;
        }
        assert_eq!(last.len(), 2);
        let newest = last.last().unwrap();
        let shown = m.read(format!(".kfs/snapshot/{newest}/f"));
        assert_eq!(shown, format!("{written}\n").into_bytes());
        assert!(m.path(".kfs/snapshot/mine").exists());
        m.remount();
    }
    assert!(
        seen.iter()
            .filter(|name| !automatic().contains(*name))
            .count()
            >= 3
    );
}
