//! Mounts over storage that hangs or panics.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::*;
use crate::backend::faulty::{Faults, Faulty};
use crate::store::{CreateOptions, Location, Store};
use crate::view::ViewOptions;

const HANGING: Faults = Faults { hang: 1000, ..NONE };
const PANICKING: Faults = Faults {
    panic: 1000,
    ..NONE
};
const NONE: Faults = Faults {
    seed: 0,
    error: 0,
    no_space: 0,
    lost_reply: 0,
    flip: 0,
    truncate: 0,
    delay: 0,
    longest_delay: Duration::ZERO,
    hang: 0,
    panic: 0,
    stop_at: None,
    stop_at_write: None,
};

/// Operations that need the storage, each on documents of its own: what comes before, and itself.
const OPERATIONS: &[(&str, &str, &str)] = &[
    ("lookup", "", "os.stat('lookup/new')"),
    (
        "read",
        "fd = os.open('read', os.O_RDONLY)",
        "os.pread(fd, 9, 100000)",
    ),
    (
        "readdir",
        "fd = os.open('readdir', os.O_RDONLY)",
        "os.listdir(fd)",
    ),
    ("open", "", "os.open('open', os.O_RDONLY)"),
    (
        "truncating open",
        "",
        "os.open('trunc', os.O_WRONLY | os.O_TRUNC)",
    ),
    (
        "create",
        "",
        "os.open('create/new', os.O_WRONLY | os.O_CREAT)",
    ),
    (
        "write",
        "fd = os.open('write', os.O_WRONLY)",
        "os.pwrite(fd, b'x', 100001)",
    ),
    ("truncate", "", "os.truncate('truncate', 100001)"),
    (
        "fallocate",
        "fd = os.open('fallocate', os.O_WRONLY)",
        "lib.fallocate(fd, 3, ctypes.c_long(100001), ctypes.c_long(5)) == 0 or fail()",
    ),
    (
        "copy_file_range",
        "fd = os.open('copy', os.O_RDWR)",
        "os.copy_file_range(fd, fd, 7, 100001, 200001)",
    ),
    (
        "fsync",
        "fd = os.open('fsync', os.O_RDWR)\nos.pwrite(fd, b'x' * 3000000, 0)",
        "os.fsync(fd)",
    ),
    ("mkdir", "", "os.mkdir('mkdir/new')"),
    ("rmdir", "", "os.rmdir('rmdir/dir')"),
    ("mknod", "", "os.mkfifo('mknod/new')"),
    ("symlink", "", "os.symlink('symlink/to', 'symlink/new')"),
    ("readlink", "", "os.readlink('readlink/link')"),
    ("link", "", "os.link('link/file', 'link/new')"),
    ("unlink", "", "os.unlink('unlink/file')"),
    ("rename", "", "os.rename('rename/file', 'rename/new')"),
    (
        "exchange",
        "",
        "lib.renameat2(-100, b'exchange/file', -100, b'exchange/dir', 2) == 0 or fail()",
    ),
    ("chmod", "", "os.chmod('chmod/file', 0o600)"),
    ("utime", "", "os.utime('utime/file', (1, 1))"),
    ("getxattr", "", "os.getxattr('getxattr/file', 'user.a')"),
    (
        "setxattr",
        "",
        "os.setxattr('setxattr/file', 'user.b', b'1')",
    ),
    ("listxattr", "", "os.listxattr('listxattr/file')"),
    (
        "removexattr",
        "",
        "os.removexattr('removexattr/file', 'user.a')",
    ),
];

/// Where an operation works.
fn documents() -> Vec<String> {
    let mut names = Vec::new();
    for (name, before, operation) in OPERATIONS {
        let text = format!("{before}{operation}");
        let quoted = text.split('\'').nth(1).unwrap_or(name);
        names.push(quoted.split('/').next().unwrap_or(quoted).to_owned());
    }
    names
}

/// A store, mounted by this process, over storage that can be made to fail.
struct World {
    dir: tempfile::TempDir,
    storage: Arc<Faulty>,
    store: Store,
    view: Arc<View>,
    stopper: Stopper,
    serving: Option<JoinHandle<()>>,
}

impl World {
    fn documents() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("mnt")).unwrap();
        let place = Location::Embedded(dir.path().join("store"));
        drop(Store::create(&place, &CreateOptions::default()).unwrap());
        let world = Self::on(dir, 20);
        for name in documents() {
            world.sh(&format!(
                "case {name} in read|open|trunc|write|truncate|fallocate|copy|fsync)
                     head -c 400000 /dev/urandom > {name};;
                 *)  mkdir -p {name}/dir; echo text > {name}/file; ln -s file {name}/link
                     python3 -c \"import os; os.setxattr('{name}/file', 'user.a', b'1')\"
                     # So much that it is in pages.
                     for n in $(seq 300); do echo \"$n $n $n\" > {name}/$n; done;;
                 esac"
            ));
        }
        world.end()
    }

    fn on(dir: tempfile::TempDir, timeout: u64) -> Self {
        let mut storage = None;
        let store = Store::on_disk(&dir.path().join("store"), |inner| {
            let faulty = Arc::new(Faulty::new(inner, NONE));
            storage = Some(Arc::clone(&faulty));
            faulty
        })
        .unwrap();
        let view = View::new(store.clone(), ViewOptions::default()).unwrap();
        let options = MountOptions::parse(&format!("timeout={timeout}")).unwrap();
        let session = Session::mount(Arc::clone(&view), &dir.path().join("mnt"), &options);
        let session = session.unwrap();
        let stopper = session.stopper();
        let serving = thread::spawn(move || session.serve(|| {}).unwrap());
        Self {
            dir,
            storage: storage.unwrap(),
            store,
            view,
            stopper,
            serving: Some(serving),
        }
    }

    fn mnt(&self) -> PathBuf {
        self.dir.path().join("mnt")
    }

    fn end(mut self) -> tempfile::TempDir {
        self.stop();
        let dir = tempfile::tempdir().unwrap();
        std::mem::replace(&mut self.dir, dir)
    }

    fn stop(&mut self) {
        self.storage.set_faults(NONE);
        self.stopper.stop();
        if let Some(serving) = self.serving.take() {
            serving.join().unwrap();
        }
        self.view.shutdown();
        self.store.clone().release().unwrap();
    }

    #[track_caller]
    fn sh(&self, script: &str) -> String {
        let mut shell = Command::new("sh");
        let output = shell
            .args(["-ec", script])
            .current_dir(self.mnt())
            .output()
            .unwrap();
        assert!(output.status.success(), "{script}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Everything in the mount.
    fn everything(&self) -> String {
        self.sh(
            "find . -printf '%p %y %m %s %T@ %l\n' | sort; find . -type f | sort | xargs md5sum",
        )
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if self.serving.is_some() {
            self.stop();
        }
    }
}

/// A process about to do an operation.
struct Client {
    name: &'static str,
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Client {
    fn new(world: &World, (name, before, operation): (&'static str, &str, &str)) -> Self {
        let script = format!(
            "import os, sys, ctypes, signal, errno\n\
             signal.signal(signal.SIGINT, signal.SIG_DFL)\n\
             lib = ctypes.CDLL(None, use_errno=True)\n\
             def fail(): raise OSError(ctypes.get_errno(), 'failed')\n\
             {before}\n\
             print('ready', flush=True)\n\
             for line in sys.stdin:\n \
               try:\n  \
                 {operation}\n  \
                 print('done', flush=True)\n \
               except OSError as e: print(errno.errorcode[e.errno], flush=True)\n\
             os._exit(0)\n"
        );
        let mut python = Command::new("python3");
        let mut child = python
            .args(["-c", &script])
            .current_dir(world.mnt())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let input = child.stdin.take().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let mut client = Self {
            name,
            child,
            input,
            output,
        };
        assert_eq!(client.answer(), "ready", "{name}");
        client
    }

    fn all(world: &World) -> Vec<Self> {
        OPERATIONS.iter().map(|op| Self::new(world, *op)).collect()
    }

    fn go(&mut self) {
        self.input.write_all(b"go\n").unwrap();
    }

    fn answer(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line.trim().to_owned()
    }

    /// Ends it with a signal and gives the one it died of.
    fn end(&mut self, signal: Signal) -> Option<i32> {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap());
        kill(pid, signal).unwrap();
        self.child.wait().unwrap().signal()
    }
}

#[test]
fn what_hangs_can_be_killed_and_keeps_nobody_else_waiting() {
    let world = World::on(World::documents(), 3600);
    world.sh("mkdir others; echo 1 > others/1");
    let mut clients = Client::all(&world);
    world.storage.set_faults(HANGING);
    clients.iter_mut().for_each(Client::go);
    let folding = world.store.clone();
    thread::spawn(move || folding.fold_now());
    // Of the fold and the client that syncs one may wait for the other.
    let all = u64::try_from(clients.len()).unwrap();
    // On a slow machine the first may give up before the last has come.
    let end = Instant::now() + Duration::from_secs(10);
    while world.storage.hanging() < all && Instant::now() < end {
        for client in &mut clients {
            assert_eq!(client.child.try_wait().unwrap(), None, "{}", client.name);
        }
        thread::sleep(Duration::from_millis(10));
    }
    // More than there are threads to read from the kernel.
    let threads = u64::try_from(MountOptions::default().threads.get()).unwrap();
    assert!(world.storage.hanging() > threads);
    let answer = world
        .sh("cd others; echo 2 > 2; cat 1 2; mv 2 3; ln -s 3 4; mkdir dir; rm 1; chmod 600 3; ls");
    assert_eq!(answer, "1\n2\n3\n4\ndir\n");
    for (number, client) in clients.iter_mut().enumerate() {
        let signal = [Signal::SIGKILL, Signal::SIGINT, Signal::SIGTERM][number % 3];
        assert_eq!(client.end(signal), Some(signal as i32), "{}", client.name);
    }
    world.storage.set_faults(NONE);
    let left = world.everything();
    let world = World::on(world.end(), 20);
    assert_eq!(world.everything(), left);
}

#[test]
fn what_hangs_fails_at_the_deadline_and_works_once_the_storage_answers() {
    let world = World::on(World::documents(), 1);
    let mut clients = Client::all(&world);
    world.storage.set_faults(HANGING);
    clients.iter_mut().for_each(Client::go);
    for client in &mut clients {
        assert_eq!(client.answer(), "EIO", "{}", client.name);
    }
    world.storage.set_faults(NONE);
    for client in &mut clients {
        client.go();
        let done = if client.name == "lookup" {
            "ENOENT"
        } else {
            "done"
        };
        assert_eq!(client.answer(), done, "{}", client.name);
    }
    drop(clients);
    let left = world.everything();
    let world = World::on(world.end(), 20);
    assert_eq!(world.everything(), left);
}

#[test]
fn what_panics_is_an_io_error_and_the_mount_goes_on() {
    let world = World::on(World::documents(), 20);
    let mut clients = Client::all(&world);
    // All of them more often than there are threads.
    for _ in 0..3 {
        world.storage.set_faults(PANICKING);
        for client in &mut clients {
            client.go();
            assert_eq!(client.answer(), "EIO", "{}", client.name);
        }
        world.storage.set_faults(NONE);
    }
    for client in &mut clients {
        client.go();
        let done = if client.name == "lookup" {
            "ENOENT"
        } else {
            "done"
        };
        assert_eq!(client.answer(), done, "{}", client.name);
    }
    drop(clients);
    let left = world.everything();
    let world = World::on(world.end(), 20);
    assert_eq!(world.everything(), left);
}
