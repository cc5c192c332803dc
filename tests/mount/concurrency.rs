//! Many at once: threads, processes, daemons.

use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use konserve_fs::store::{CreateOptions, Location, Store};
use konserve_fs::value::{Key, Value};
use nix::sys::signal::{Signal, kill};

use crate::harness::{KFS, Mount, Sandbox, detach, edn, is_mounted, run};

#[test]
fn eight_threads_that_increment_through_the_api_lose_nothing() {
    const TIMES: i64 = 500;
    let sandbox = Sandbox::new();
    let path = sandbox.path("store");
    let location = Location::parse(path.to_str().unwrap()).unwrap();
    let store = Store::create(&location, &CreateOptions::default()).unwrap();
    let path = ["counters", "a", "n"].map(Key::from);
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..TIMES {
                    let next = |old: Option<&Value>| match old {
                        None => Ok(Value::Int(1)),
                        Some(Value::Int(n)) => Ok(Value::Int(n + 1)),
                        Some(other) => Err(std::io::Error::other(format!("{other:?}"))),
                    };
                    store.update_in(&path, next).unwrap();
                }
            });
        }
    });
    assert_eq!(store.get_in(&path).unwrap(), Some(Value::Int(8 * TIMES)));
    store.release().unwrap();
    let store = sandbox.path("store");
    let args = ["get".as_ref(), store.as_os_str(), "counters/a/n".as_ref()];
    assert_eq!(edn(&sandbox.kfs(args).ok().text()), Value::Int(8 * TIMES));
}

#[test]
fn four_processes_that_increment_through_the_daemon_lose_nothing() {
    const TIMES: i64 = 250;
    let m = Mount::new();
    m.put("counters", "{:a {:n 0}}");
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let times = TIMES.to_string();
                m.kfs("update", "counters/:a/:n", &["inc", "--times", &times])
                    .ok();
            });
        }
    });
    assert_eq!(
        m.get("counters"),
        edn(&format!("{{:a {{:n {}}}}}", 4 * TIMES))
    );
    assert_eq!(m.sh("cat counters/:a/:n"), (4 * TIMES).to_string());
    m.remount();
    assert_eq!(m.sh("cat counters/:a/:n"), (4 * TIMES).to_string());
}

#[test]
fn increments_through_the_api_and_files_written_beside_them_do_not_disturb_each_other() {
    let m = Mount::new();
    m.put("doc", "{:n 0}");
    thread::scope(|scope| {
        scope.spawn(|| m.kfs("update", "doc/:n", &["inc", "--times", "300"]).ok());
        scope.spawn(|| m.sh("for n in $(seq 200); do echo $n > doc/f$n; done"));
        scope.spawn(|| m.sh("for n in $(seq 100); do echo $n > doc/g; mv doc/g doc/h; done"));
    });
    m.remount();
    assert_eq!(m.sh("cat doc/:n doc/h; ls doc | wc -l"), "300\n100\n202");
}

#[test]
fn processes_that_append_through_the_mount_lose_no_line() {
    let m = Mount::new();
    m.sh(r#"
        for p in 1 2 3 4; do
            sh -c 'for n in $(seq 200); do echo "'$p' $n" >> log; done' &
        done
        wait
        test "$(wc -l < log)" = 800
        test "$(sort -u log | wc -l)" = 800
    "#);
}

#[test]
fn a_second_daemon_is_refused_and_told_who_holds_the_store() {
    let m = Mount::new();
    m.write("f", "x");
    let other = m.sandbox.make_dir("other");
    let started = Instant::now();
    let args = ["mount".as_ref(), m.store().as_os_str(), other.as_os_str()];
    let output = m.sandbox.kfs(args);
    let took = started.elapsed();
    let mut elsewhere = Command::new(KFS);
    let elsewhere = m.sandbox.set_up(&mut elsewhere);
    elsewhere.env("XDG_RUNTIME_DIR", m.sandbox.make_dir("run2"));
    let second_output = run(elsewhere.args(args), b"");
    let mounted = is_mounted(&other);
    detach(&other);
    assert!(!mounted, "two daemons on one store");
    assert!(took < Duration::from_secs(30), "{took:?}");
    // Also if it looks for the holder in another place: the lock is the store's own.
    let holder = m.pid().to_string();
    for output in [output.fails(), second_output.fails()] {
        assert!(
            output.errors().contains(&holder),
            "{holder} is not named:\n{output}"
        );
    }
    assert_eq!(m.read("f"), b"x");
}

#[test]
fn after_the_holder_was_killed_the_next_mount_just_works() {
    let m = Mount::new();
    for round in 0..5 {
        m.write("f", format!("round {round}"));
        m.kill();
        assert!(is_mounted(m.dir()), "the dead mount should still be there");
        m.mount();
        assert_eq!(m.read("f"), format!("round {round}").as_bytes());
    }
}

#[test]
fn after_the_holder_was_killed_the_command_line_just_works() {
    let m = Mount::new();
    m.put("n", "42");
    m.kill();
    assert_eq!(m.get("n"), edn("42"));
    m.put("n", "43");
    let args = ["umount".as_ref(), m.dir().as_os_str()];
    m.sandbox.kfs(args).ok();
    assert!(!is_mounted(m.dir()), "a dead mount must be removable");
    m.mount();
    assert_eq!(m.sh("cat n"), "43");
}

#[test]
fn commands_wait_for_a_holder_that_is_being_killed() {
    let m = Mount::new();
    m.write("ballast", vec![1; 4 << 20]);
    for round in 0..12 {
        let number = format!("{round}");
        m.put("n", &number);
        // Nobody waits for its end: its socket may still be there, and its lock is.
        kill(m.pid(), Signal::SIGKILL).unwrap();
        match round % 4 {
            0 => assert_eq!(m.get("n"), edn(&number)),
            1 => m.put("m", &number),
            2 => {
                let path = m.path("n");
                let output = m.sandbox.kfs(["get".as_ref(), path.as_os_str()]).ok();
                assert_eq!(output.text(), number, "a path in the dead mount");
            }
            _ => {}
        }
        m.mount();
        assert_eq!(m.read("n"), format!("{number}\n").as_bytes());
    }
}

#[test]
fn a_mount_waits_for_a_holder_that_is_shutting_down() {
    let m = Mount::new();
    m.sh("seq 3000 | split -l 1 -a 4 - f");
    for _ in 0..3 {
        // Not `kfs umount`, which waits itself.
        nix::mount::umount2(m.dir(), nix::mount::MntFlags::empty())
            .or_else(|_| nix::mount::umount2(m.dir(), nix::mount::MntFlags::MNT_DETACH))
            .unwrap();
        m.mount();
        assert_eq!(m.sh("ls | wc -l"), "3000");
    }
}
