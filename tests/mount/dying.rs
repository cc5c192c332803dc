//! A daemon that is killed while it tells the kernel of a change cannot end by itself, and is let end.
//!
//! The kernel waits for the lock of a directory before it forgets a name in it. Who makes something in
//! the directory holds the lock, and waits for an answer of the daemon. Once the daemon is killed each
//! waits for the other: there is nobody left to answer, and the kernel ends a connection only
//! when the last thread of the daemon is gone.
//!
//! So that it surely comes to this, the threads that answer the kernel are held by a debugger before
//! something is made, and a write from outside has the daemon tell the kernel then.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::mount::{MntFlags, umount2};
use nix::unistd::Pid;

use crate::harness::{KFS, Mount, need_root, run};

/// Set for the process that goes through it.
const APART: &str = "KFS_TEST_APART";
/// Nothing here takes this long but something that never comes.
const LIMIT: Duration = Duration::from_secs(60);

#[test]
fn a_killed_daemon_that_was_telling_the_kernel_ends_with_the_next_unmount() {
    apart("was_telling_the_kernel_ends_with_the_next_unmount", || {
        kill_while_it_tells(|m| {
            let unmounted = m.sandbox.kfs(["umount".as_ref(), m.dir().as_os_str()]);
            unmounted.ok();
            m.mount();
        });
    });
}

#[test]
fn a_killed_daemon_that_was_telling_the_kernel_ends_with_the_next_mount() {
    apart("was_telling_the_kernel_ends_with_the_next_mount", || {
        kill_while_it_tells(|m| m.mount());
    });
}

#[test]
fn a_killed_daemon_that_is_still_ending_is_unmounted_as_any() {
    apart("is_still_ending_is_unmounted_as_any", || {
        let m = Mount::new();
        let daemon = m.pid();
        let one = answering(&threads(daemon))[0];
        let _held = Ended(hold(&[one]));
        wait("a thread is held", || {
            state(&threads(daemon), one) == Some('t')
        });
        m.kill();
        m.sandbox.kfs(["umount".as_ref(), m.dir().as_os_str()]).ok();
    });
}

/// Goes through it in a process with mounts of its own: whoever mounts something beside it would end
/// the daemon as well.
fn apart(test: &str, scenario: fn()) {
    need_root();
    if std::env::var_os(APART).is_some() {
        return scenario();
    }
    let name = format!("dying::a_killed_daemon_that_{test}");
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "--propagation", "private"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", &name, "--nocapture"])
        .env(APART, "1");
    let done = run(&mut command, b"").ok();
    assert!(done.text().contains("1 passed"), "{done}");
}

fn kill_while_it_tells(let_end: fn(&Mount)) {
    let m = Mount::new();
    m.sh("mkdir d; echo 1 > d/x; cat d/x; stat d");
    let daemon = m.pid();
    let all = threads(daemon);
    let tells = |thread: &&Thread| thread.name == "kfs-invalidate";
    let telling = all.iter().find(tells).unwrap().id;
    let answering = answering(&all);
    // Whatever goes wrong, nobody is left waiting.
    let _connection = Connection(m.dir());

    let mut held = Ended(hold(&answering));
    wait("the threads that answer are held", || {
        let now = threads(daemon);
        answering.iter().all(|id| state(&now, *id) == Some('t'))
    });
    let maker = Command::new("mkdir").arg(m.path("d/new")).spawn();
    let mut maker = Ended(maker.unwrap());
    let id = maker.0.id();
    wait("something is being made", || {
        let call = fs::read_to_string(format!("/proc/{id}/syscall")).unwrap_or_default();
        let call = call.split(' ').next().and_then(|n| n.parse().ok());
        call.is_some_and(|call: i64| [libc::SYS_mkdir, libc::SYS_mkdirat].contains(&call))
    });
    let mut write = Command::new(KFS);
    write
        .arg("put")
        .arg(m.store())
        .args(["/d/x", "2"])
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let _write = Ended(m.sandbox.set_up(&mut write).spawn().unwrap());
    wait("the kernel holds up who tells it", || {
        state(&threads(daemon), telling) == Some('D')
    });

    m.kill();
    held.0.kill().unwrap();
    wait("only those two threads are left that cannot end", || {
        let left = threads(daemon);
        let is_left = |id, wanted| state(&left, id) == Some(wanted);
        left.len() == 2 && is_left(daemon.as_raw(), 'Z') && is_left(telling, 'D')
    });
    assert!(maker.0.try_wait().unwrap().is_none(), "it did not wait");

    let_end(&m);
    assert!(!maker.0.wait().unwrap().success());
    wait("the daemon has ended", || {
        let left = threads(daemon);
        left.iter().all(|thread| matches!(thread.state, 'Z' | 'X'))
    });
    assert_eq!(m.sh("ls d; cat d/x"), "x\n2");
    m.umount();
}

/// The threads that wait for what the kernel asks.
fn answering(all: &[Thread]) -> Vec<i32> {
    let answers = |t: &&Thread| t.name.starts_with("fuser-") && t.name != "fuser-bg";
    let found: Vec<i32> = all.iter().filter(answers).map(|t| t.id).collect();
    assert!(!found.is_empty(), "{all:?}");
    found
}

/// Holds threads up before they ask the kernel for something to do.
fn hold(threads: &[i32]) -> Child {
    let mut strace = Command::new("strace");
    for thread in threads {
        strace.arg("-p").arg(thread.to_string());
    }
    strace
        .args(["-qq", "-o", "/dev/null", "-e", "trace=read", "-e"])
        .arg("inject=read:delay_enter=600000000");
    strace.spawn().unwrap()
}

/// Ends with this.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Is cut with this.
struct Connection<'m>(&'m Path);

impl Drop for Connection<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            let _ = umount2(self.0, MntFlags::MNT_FORCE);
        }
    }
}

#[derive(Debug)]
struct Thread {
    id: i32,
    name: String,
    state: char,
}

fn state(threads: &[Thread], id: i32) -> Option<char> {
    threads.iter().find(|t| t.id == id).map(|t| t.state)
}

/// The threads of a process, also those that have ended and stand in the way of its end.
fn threads(pid: Pid) -> Vec<Thread> {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return Vec::new();
    };
    let thread = |entry: std::io::Result<fs::DirEntry>| {
        let stat = fs::read_to_string(entry.ok()?.path().join("stat")).ok()?;
        let (start, rest) = stat.rsplit_once(") ")?;
        let (id, name) = start.split_once(" (")?;
        Some(Thread {
            id: id.parse().ok()?,
            name: name.to_owned(),
            state: rest.chars().next()?,
        })
    };
    tasks.filter_map(thread).collect()
}

/// Waits for something that comes, or never.
#[track_caller]
fn wait(what: &str, is_so: impl Fn() -> bool) {
    let give_up = Instant::now() + LIMIT;
    while !is_so() {
        assert!(Instant::now() < give_up, "it never came to this: {what}");
        thread::sleep(Duration::from_millis(2));
    }
}
