//! Running programs, `kfs` among them, in an environment of their own.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::Once;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

/// The program under test.
pub const KFS: &str = env!("CARGO_BIN_EXE_kfs");

/// Programs that the tests call, and the Debian packages that have them.
pub const TOOLS: &[(&str, &str)] = &[
    ("ed", "ed"),
    ("fusermount3", "fuse3"),
    ("getfattr", "attr"),
    ("git", "git"),
    ("inotifywait", "inotify-tools"),
    ("jq", "jq"),
    ("mkfs.ext4", "e2fsprogs"),
    ("perl", "perl"),
    ("python3", "python3"),
    ("rsync", "rsync"),
    ("setpriv", "util-linux"),
    ("sponge", "moreutils"),
    ("strace", "strace"),
    ("tar", "tar"),
    ("unshare", "util-linux"),
    ("vim", "vim"),
];

/// The longest that one program may take. Longer means that it hangs.
const COMMAND_LIMIT: Duration = Duration::from_secs(120);

/// Fails at once, with the remedy, where a mount is impossible or a program is missing.
fn check_machine() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let device = fs::metadata("/dev/fuse").unwrap_or_else(|error| {
            panic!("/dev/fuse: {error}; load the module `fuse` or pass the device to the container")
        });
        if nix::unistd::geteuid().is_root() && device.permissions().mode() & 0o666 != 0o666 {
            fs::set_permissions("/dev/fuse", fs::Permissions::from_mode(0o666)).unwrap();
        }
        let path = std::env::var_os("PATH").unwrap_or_default();
        let missing: Vec<&str> = TOOLS
            .iter()
            .filter(|(tool, _)| {
                !std::env::split_paths(&path)
                    .chain(["/usr/sbin".into(), "/sbin".into()])
                    .any(|dir| dir.join(tool).exists())
            })
            .map(|(_, package)| *package)
            .collect();
        assert!(
            missing.is_empty(),
            "programs are missing: apt-get install {}",
            missing.join(" ")
        );
    });
}

/// Fails where the test needs root.
pub fn need_root() {
    assert!(
        nix::unistd::geteuid().is_root(),
        "this test mounts a loop device or becomes another user: run it as root"
    );
}

/// How a program ended and what it said.
#[derive(Debug)]
pub struct Output {
    what: String,
    /// The exit code, or 128 and the signal as a shell reports it.
    pub code: i32,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
}

impl Output {
    /// Itself, if the program succeeded.
    #[track_caller]
    pub fn ok(self) -> Self {
        assert_eq!(self.code, 0, "{self}");
        self
    }

    /// Itself, if the program failed in an orderly way: no panic, no signal.
    #[track_caller]
    pub fn fails(self) -> Self {
        assert!((1..=100).contains(&self.code), "should fail:\n{self}");
        self
    }

    /// Standard output without the last newline.
    pub fn text(&self) -> String {
        let text = String::from_utf8_lossy(&self.stdout);
        text.strip_suffix('\n').unwrap_or(&text).to_owned()
    }

    /// Standard error.
    pub fn errors(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }
}

impl std::fmt::Display for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (out, err) = (self.text(), self.errors());
        let what = &self.what;
        write!(f, "{what}\n-> exit {}\n-> {out}\n-> {err}", self.code)
    }
}

fn collect(mut from: impl Read + Send + 'static) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = from.read_to_end(&mut bytes);
        bytes
    })
}

/// Runs a program to its end, which must come within [`COMMAND_LIMIT`] and close its outputs: a
/// daemon that kept them would hang every `$(kfs mount …)`.
#[track_caller]
pub fn run(command: &mut Command, input: &[u8]) -> Output {
    use std::os::unix::process::ExitStatusExt;
    let what = format!("{command:?}");
    let mut child = command
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{what}: {error}"));
    let group = Pid::from_raw(i32::try_from(child.id()).unwrap());
    let (mut stdin, input) = (child.stdin.take().unwrap(), input.to_vec());
    thread::spawn(move || stdin.write_all(&input));
    let stdout = collect(child.stdout.take().unwrap());
    let stderr = collect(child.stderr.take().unwrap());
    let (tell, ended) = mpsc::channel();
    thread::spawn(move || {
        let status = child.wait();
        let outputs = (stdout.join().unwrap(), stderr.join().unwrap());
        let _ = tell.send((status, outputs));
    });
    let Ok((status, (stdout, stderr))) = ended.recv_timeout(COMMAND_LIMIT) else {
        let _ = killpg(group, Signal::SIGKILL);
        panic!("no end, or outputs kept open, after {COMMAND_LIMIT:?}: {what}");
    };
    let status = status.unwrap();
    let code = status
        .code()
        .unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    Output {
        what,
        code,
        stdout,
        stderr,
    }
}

/// A temporary directory with what a test needs besides a store: sockets and a home of its own.
#[derive(Debug)]
pub struct Sandbox {
    dir: tempfile::TempDir,
    /// What programs have in their environment besides.
    variables: Mutex<BTreeMap<String, OsString>>,
}

impl Sandbox {
    pub fn new() -> Self {
        check_machine();
        let dir = tempfile::Builder::new()
            .prefix("kfs-test-")
            .tempdir()
            .unwrap();
        for name in ["run", "home"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        let variables = Mutex::default();
        Self { dir, variables }
    }

    /// Sets a variable in the environment of what runs from now on.
    pub fn set(&self, name: &str, value: impl Into<OsString>) {
        let mut variables = self.variables.lock().unwrap();
        variables.insert(name.to_owned(), value.into());
    }

    /// Removes one that was set.
    pub fn unset(&self, name: &str) {
        self.variables.lock().unwrap().remove(name);
    }

    /// Makes this the key that programs have as a credential.
    pub fn key(&self, bytes: &[u8]) {
        let dir = self.make_dir("credentials");
        fs::write(dir.join("kfs.key"), bytes).unwrap();
        self.set("CREDENTIALS_DIRECTORY", dir);
    }

    /// A path in the directory, which is outside of every mount.
    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A new directory in it.
    pub fn make_dir(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir(&path).unwrap();
        path
    }

    /// Gives a program the sandbox's environment.
    pub fn set_up<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        let mut path = OsString::from(Path::new(KFS).parent().unwrap());
        path.push(":");
        path.push(std::env::var_os("PATH").unwrap_or_default());
        path.push(":/usr/sbin:/sbin");
        command
            .env("PATH", path)
            .env("XDG_RUNTIME_DIR", self.path("run"))
            .env("HOME", self.path("home"))
            .env("LC_ALL", "C")
            .env("TERM", "dumb")
            .env("T", self.dir.path())
            .env_remove("EDITOR")
            .env_remove("VISUAL")
            .envs(&*self.variables.lock().unwrap())
    }

    /// Runs `kfs`.
    #[track_caller]
    pub fn kfs<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Output {
        self.kfs_with(args, b"")
    }

    /// Runs `kfs` with standard input.
    #[track_caller]
    pub fn kfs_with<A: AsRef<OsStr>>(
        &self,
        args: impl IntoIterator<Item = A>,
        input: &[u8],
    ) -> Output {
        run(self.set_up(Command::new(KFS).args(args)), input)
    }

    /// Runs a shell script in `cwd`; `$T` is the sandbox. It stops at the first failure.
    #[track_caller]
    pub fn sh_in(&self, cwd: &Path, script: &str) -> Output {
        let mut shell = Command::new("sh");
        shell.arg("-ec").arg(format!("umask 022\n{script}"));
        shell.current_dir(cwd).env("M", cwd);
        run(self.set_up(&mut shell), b"")
    }
}
