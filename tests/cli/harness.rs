//! A store in a directory of its own, and the program run on it.

use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

pub const KFS: &str = env!("CARGO_BIN_EXE_kfs");

/// A temporary directory with a store `s` in it.
pub struct Bench {
    dir: tempfile::TempDir,
}

/// How a command ended.
#[derive(Debug)]
pub struct Ended {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Ended {
    /// What it printed, without the last newline; it must have succeeded.
    #[track_caller]
    pub fn ok(self) -> String {
        assert_eq!(self.code, 0, "{self:?}");
        assert_eq!(self.err, "");
        self.out.strip_suffix('\n').unwrap_or(&self.out).to_owned()
    }

    /// The one message; it must have failed with this code.
    #[track_caller]
    pub fn fails(self, code: i32) -> String {
        assert_eq!(self.code, code, "{self:?}");
        assert!(
            self.err.starts_with("kfs: ") || self.err.starts_with("error: "),
            "{self:?}"
        );
        self.err
    }
}

impl Bench {
    /// With an empty store.
    pub fn new() -> Self {
        let bench = Self::without_store();
        bench.kfs(["init", "s"]).ok();
        bench
    }

    pub fn without_store() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("run")).unwrap();
        Self { dir }
    }

    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A command in the directory, with nothing of the user's in its environment.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(self.dir.path())
            .env("XDG_RUNTIME_DIR", self.path("run"))
            .env("TMPDIR", self.dir.path())
            .env_remove("EDITOR")
            .env_remove("VISUAL")
            .env_remove("KFS_LOG");
        command
    }

    pub fn kfs<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Ended {
        self.kfs_with(args, b"")
    }

    /// With standard input.
    pub fn kfs_with<A: AsRef<OsStr>>(
        &self,
        args: impl IntoIterator<Item = A>,
        input: &[u8],
    ) -> Ended {
        let mut command = self.command(KFS);
        command.args(args);
        run(command, input)
    }

    /// Puts a value given as EDN.
    #[track_caller]
    pub fn put(&self, path: &str, value: &str) {
        self.kfs(["put", "s", path, "--", value]).ok();
    }

    /// The value at a path as EDN.
    #[track_caller]
    pub fn get(&self, path: &str) -> String {
        self.kfs(["get", "s", path]).ok()
    }

    /// The lines that a listing prints.
    #[track_caller]
    pub fn ls(&self, path: &str) -> Vec<String> {
        self.kfs(["ls", "s", path])
            .ok()
            .lines()
            .map(str::to_owned)
            .collect()
    }

    /// What a command prints as JSON.
    #[track_caller]
    pub fn json<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> serde_json::Value {
        let text = self.kfs(args).ok();
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"))
    }
}

pub fn run(mut command: Command, input: &[u8]) -> Ended {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let writer = std::thread::spawn(move || {
        // A command that reads nothing may be gone already.
        let _closed = stdin.write_all(&input);
    });
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    Ended {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}
