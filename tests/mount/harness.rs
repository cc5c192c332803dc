//! One store in a directory of its own, mounted for one test, and taken down whatever happens.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use konserve_fs::value::{Value, edn};
use nix::mount::MntFlags;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

pub use crate::program::{KFS, Output, Sandbox, need_root, run};

/// The longest that one mount may be in use. A test that hangs inside a system call on the mount
/// is set free by killing the daemon then.
const MOUNT_LIMIT: Duration = Duration::from_secs(300);

/// Parses EDN, for comparisons with what a store holds.
#[track_caller]
pub fn edn(text: &str) -> Value {
    match edn::parse(text) {
        Ok(value) => value,
        Err(error) => panic!("not EDN: {error}\n{text}"),
    }
}

/// The kind of store that is asked for.
fn kind() -> String {
    std::env::var("KFS_KIND").unwrap_or_else(|_| "kfs".to_owned())
}

/// A store and the place where it is, or can be, mounted.
#[derive(Debug)]
pub struct Mount {
    pub sandbox: Sandbox,
    store: PathBuf,
    dir: PathBuf,
    options: Option<String>,
    /// The daemon, while mounted, and what stops its watchdog when dropped.
    daemon: Mutex<Option<(Pid, Sender<()>)>>,
}

impl Mount {
    /// A new store, mounted.
    #[track_caller]
    pub fn new() -> Self {
        let it = Self::unmounted();
        it.mount();
        it
    }

    /// A new store, mounted with `-o options`.
    #[track_caller]
    pub fn with_options(options: &str) -> Self {
        let mut it = Self::unmounted();
        it.options = Some(options.to_owned());
        it.mount();
        it
    }

    /// A new store, of the kind that `KFS_KIND` names (`kfs` or `file`), encrypted if `KFS_ENCRYPTED` is
    /// set.
    #[track_caller]
    pub fn unmounted() -> Self {
        if std::env::var_os("KFS_ENCRYPTED").is_some() {
            return Self::locked();
        }
        Self::of_kind(&kind())
    }

    /// A new store that is encrypted, mounted. Its key is a credential of all that runs.
    #[track_caller]
    pub fn encrypted() -> Self {
        let it = Self::locked();
        it.mount();
        it
    }

    /// A new store that is encrypted.
    #[track_caller]
    fn locked() -> Self {
        let sandbox = Sandbox::new();
        sandbox.key(&[7; 64]);
        let key = sandbox.path("credentials/kfs.key");
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
        let key = key.to_str().unwrap().to_owned();
        Self::made(sandbox, &kind(), &["--encrypt", "--key-file", &key])
    }

    /// A new store of a kind: the scheme of its location.
    #[track_caller]
    pub fn of_kind(kind: &str) -> Self {
        Self::made(Sandbox::new(), kind, &[])
    }

    /// A new store in a sandbox, of a kind, made with further arguments.
    #[track_caller]
    pub fn made(sandbox: Sandbox, kind: &str, args: &[&str]) -> Self {
        let store = sandbox.path("store");
        let it = Self::of(sandbox, store);
        let location = format!("{kind}:{}", it.store.display());
        it.sandbox.kfs([&["init", &location], args].concat()).ok();
        it
    }

    /// A store that exists already, or will.
    pub fn of(sandbox: Sandbox, store: PathBuf) -> Self {
        let dir = sandbox.make_dir("mnt");
        Self {
            sandbox,
            store,
            dir,
            options: None,
            daemon: Mutex::new(None),
        }
    }

    /// Changes the options of later mounts.
    pub fn set_options(&mut self, options: &str) {
        self.options = (!options.is_empty()).then(|| options.to_owned());
    }

    /// The store.
    pub fn store(&self) -> &Path {
        &self.store
    }

    /// The mountpoint.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// A path in the mount.
    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.dir.join(name)
    }

    /// Tries to mount the store on its mountpoint.
    #[track_caller]
    pub fn try_mount(&self) -> Output {
        let mut args: Vec<&OsStr> = vec!["mount".as_ref(), self.store.as_ref(), self.dir.as_ref()];
        if let Some(options) = &self.options {
            args.extend([OsStr::new("-o"), options.as_ref()]);
        }
        self.sandbox.kfs(args)
    }

    /// Mounts the store, and checks that it is mounted when the command returns.
    #[track_caller]
    pub fn mount(&self) {
        self.try_mount().ok();
        self.adopt();
    }

    /// Takes charge of the daemon after a [`try_mount`](Self::try_mount) that worked.
    #[track_caller]
    pub fn adopt(&self) {
        assert!(
            is_mounted(&self.dir),
            "`kfs mount` returned before the mount was there"
        );
        let pid = self.find_pid();
        *self.daemon.lock().unwrap() = Some((pid, watch(pid)));
    }

    /// What commands call what is mounted: that which lies over a store is not found by the store's name.
    fn named(&self) -> &Path {
        let options = self.options.as_deref().unwrap_or_default();
        match options.ends_with(",overlay") {
            true => &self.dir,
            false => &self.store,
        }
    }

    /// The daemon's process, as `kfs status` gives it.
    #[track_caller]
    fn find_pid(&self) -> Pid {
        let args = [
            "status".as_ref(),
            self.named().as_os_str(),
            "--json".as_ref(),
        ];
        let status = self.sandbox.kfs(args).ok();
        let json: serde_json::Value = serde_json::from_slice(&status.stdout)
            .unwrap_or_else(|error| panic!("status is not JSON: {error}\n{status}"));
        let pid = json["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok());
        Pid::from_raw(pid.unwrap_or_else(|| panic!("no `pid` in the status of a mount:\n{status}")))
    }

    /// The daemon's process.
    #[track_caller]
    pub fn pid(&self) -> Pid {
        let daemon = self.daemon.lock().unwrap();
        daemon.as_ref().expect("not mounted").0
    }

    /// Unmounts, and waits until the daemon has let go of the store.
    #[track_caller]
    pub fn umount(&self) {
        let (pid, _watch) = self.daemon.lock().unwrap().take().expect("not mounted");
        self.sandbox
            .kfs([OsStr::new("umount"), self.dir.as_ref()])
            .ok();
        assert!(
            !is_mounted(&self.dir),
            "`kfs umount` returned before it was done"
        );
        assert!(
            gone_within(pid, Duration::from_secs(20)),
            "the daemon {pid} does not end"
        );
    }

    /// Unmounts and mounts again: nothing comes from a cache afterwards.
    #[track_caller]
    pub fn remount(&self) {
        self.umount();
        self.mount();
    }

    /// Kills the daemon with SIGKILL. The dead mount stays, as it does in life.
    #[track_caller]
    pub fn kill(&self) {
        let (pid, _watch) = self.daemon.lock().unwrap().take().expect("not mounted");
        kill(pid, Signal::SIGKILL).unwrap();
        assert!(
            gone_within(pid, Duration::from_secs(20)),
            "the killed daemon {pid} stays"
        );
    }

    /// Runs `kfs VERB STORE PATH ARGS`.
    #[track_caller]
    pub fn kfs<A: AsRef<OsStr>>(&self, verb: &str, path: impl AsRef<OsStr>, args: &[A]) -> Output {
        let head = [verb.as_ref(), self.store.as_os_str(), path.as_ref()];
        let rest = args.iter().map(AsRef::as_ref);
        self.sandbox.kfs(head.into_iter().chain(rest))
    }

    /// Frees what is in use no more.
    pub fn gc(&self) -> Output {
        self.sandbox
            .kfs([OsStr::new("gc"), self.named().as_os_str()])
    }

    /// Checks all of the store.
    pub fn fsck(&self) -> Output {
        self.sandbox
            .kfs([OsStr::new("fsck"), self.store.as_os_str()])
    }

    /// The value at a path, which must be there.
    #[track_caller]
    pub fn get(&self, path: impl AsRef<OsStr>) -> Value {
        edn(&self.kfs::<&str>("get", path, &[]).ok().text())
    }

    /// Whether there is a value at a path.
    #[track_caller]
    pub fn has(&self, path: impl AsRef<OsStr>) -> bool {
        self.kfs::<&str>("get", path, &[]).code == 0
    }

    /// Makes `edn` the value at a path.
    #[track_caller]
    pub fn put(&self, path: impl AsRef<OsStr>, edn: &str) {
        // Through a file, so that no length and no leading `-` matters.
        let file = tempfile::NamedTempFile::new_in(self.sandbox.path("home")).unwrap();
        fs::write(file.path(), edn).unwrap();
        self.kfs("put", path, &[OsStr::new("--file"), file.path().as_ref()])
            .ok();
    }

    /// Runs a shell script in the mount and gives what it printed. `$M` is the mount, `$S` the
    /// store, `$T` a directory outside.
    #[track_caller]
    pub fn sh(&self, script: &str) -> String {
        let store = self.store.display();
        self.sandbox
            .sh_in(&self.dir, &format!("S='{store}'\n{script}"))
            .ok()
            .text()
    }

    /// Writes a file in the mount and closes it, as a program that looks at every error.
    #[track_caller]
    pub fn write(&self, name: impl AsRef<Path>, bytes: impl AsRef<[u8]>) {
        save(&self.path(name), bytes.as_ref()).unwrap();
    }

    /// Reads a file in the mount.
    #[track_caller]
    pub fn read(&self, name: impl AsRef<Path>) -> Vec<u8> {
        let path = self.path(name);
        fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// The names in a directory of the mount, sorted.
    #[track_caller]
    pub fn names(&self, dir: impl AsRef<Path>) -> Vec<OsString> {
        let mut names = self.names_as_listed(dir);
        names.sort();
        names
    }

    /// The names in a directory of the mount in the order in which they come.
    #[track_caller]
    pub fn names_as_listed(&self, dir: impl AsRef<Path>) -> Vec<OsString> {
        fs::read_dir(self.path(dir))
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect()
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        detach(&self.dir);
        let daemon = self.daemon.lock().map(|mut daemon| daemon.take());
        if let Ok(Some((pid, _watch))) = daemon
            && !gone_within(pid, Duration::from_secs(5))
        {
            let _ = kill(pid, Signal::SIGKILL);
            let _ = gone_within(pid, Duration::from_secs(5));
        }
    }
}

/// Creates or truncates, writes, closes, and reports what each of them reports.
pub fn save(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut file = fs::File::create(path)?;
    file.write_all(bytes)?;
    Ok(nix::unistd::close(file)?)
}

/// Takes a mount off its place, busy or not, dead or alive.
pub fn detach(dir: &Path) {
    while is_mounted(dir) {
        if nix::mount::umount2(dir, MntFlags::MNT_DETACH).is_err() {
            let mut fusermount = Command::new("fusermount3");
            let _ = fusermount.args(["-u", "-z"]).arg(dir).status();
            return;
        }
    }
}

/// Whether something is mounted exactly there.
pub fn is_mounted(dir: &Path) -> bool {
    let mounts = fs::read("/proc/self/mountinfo").unwrap_or_default();
    mounts
        .split(|byte| *byte == b'\n')
        .any(|line| line.split(|byte| *byte == b' ').nth(4) == Some(dir.as_os_str().as_bytes()))
}

/// Whether a process has ended (a zombie has) within a time.
pub fn gone_within(pid: Pid, limit: Duration) -> bool {
    let give_up = Instant::now() + limit;
    loop {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let state = stat
            .rsplit(')')
            .next()
            .and_then(|rest| rest.trim().chars().next());
        if matches!(state, None | Some('Z' | 'X')) {
            return true;
        }
        if Instant::now() > give_up {
            return false;
        }
        thread::sleep(Duration::from_millis(2));
    }
}

/// Kills a daemon that is in use for too long, so that whoever hangs in its mount is set free.
fn watch(pid: Pid) -> Sender<()> {
    let (stop, stopped) = mpsc::channel();
    thread::spawn(move || {
        if stopped.recv_timeout(MOUNT_LIMIT) == Err(RecvTimeoutError::Timeout) {
            eprintln!("the mount of {pid} is in use for {MOUNT_LIMIT:?}: it hangs, killing it");
            let _ = kill(pid, Signal::SIGKILL);
        }
    });
    stop
}
