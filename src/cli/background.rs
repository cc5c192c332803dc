//! Running a command in the background.
//!
//! Threads do not survive a fork, so the command runs as a new process of the same program from
//! its beginning. Until it is ready it has the terminal's standard error; its standard output is
//! a pipe over which it tells how the start went:
//!
//! ```text
//! R                    ready: the starter returns
//! K | store            it is encrypted, and a key is needed
//! E | code | text      failed: the starter prints the text and exits with the code
//! ```

use std::ffi::OsStr;
use std::fs::OpenOptions;
use std::io::{self, PipeReader, PipeWriter, Read, Write, pipe};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

use super::log::{self, LogError};
use super::unlock;
use crate::crypt::Secret;
use crate::sys;

/// The argument that a command is given besides its own when it is to run in the background.
pub const ARGUMENT: &str = "--as-background-process";

const READY: u8 = b'R';
const FAILED: u8 = b'E';
const NO_KEY: u8 = b'K';

/// The longest complaint that a starter takes in.
const LONGEST_TEXT: u64 = 1 << 20;

/// A start that went wrong.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The new process told what went wrong.
    #[error("{text}")]
    Failed {
        /// The exit code to pass on.
        code: u8,
        /// For the user.
        text: String,
    },
    /// The new process needs a key.
    #[error("{location} is encrypted, and there is no key")]
    NoKey {
        /// For which store.
        location: String,
    },
    /// The new process ended without a word.
    #[error("the background process ended before it was ready ({status})")]
    Died {
        /// How.
        status: ExitStatus,
    },
    /// No new process.
    #[error("starting a background process: {source}")]
    Process {
        /// What the system said.
        source: io::Error,
    },
}

/// Runs this program with `arguments` ([`ARGUMENT`] among them) in the background and returns once
/// it is ready. If there is a `key`, it is given as standard input.
///
/// # Errors
/// [`StartError`]; no process is left then.
pub fn start(
    arguments: impl IntoIterator<Item = impl AsRef<OsStr>>,
    key: Option<&Secret>,
) -> Result<(), StartError> {
    let program = std::env::current_exe().map_err(|source| StartError::Process { source })?;
    let mut command = Command::new(program);
    command.args(arguments);
    start_command(command, key)
}

fn start_command(mut command: Command, key: Option<&Secret>) -> Result<(), StartError> {
    let failed = |source| StartError::Process { source };
    let (reader, writer) = pipe().map_err(failed)?;
    let mut child = command
        .stdin(key.map_or_else(Stdio::null, |_| Stdio::piped()))
        .stdout(writer)
        .spawn()
        .map_err(failed)?;
    // The command holds the writing end: the pipe would never end.
    drop(command);
    if let Some(key) = key
        && let Some(mut input) = child.stdin.take()
        && let Err(error) = unlock::hand_over(key, &mut input)
    {
        // It says itself what it lacks.
        tracing::debug!(%error, "the key was not taken");
    }
    let outcome = await_word(reader, &mut child);
    if outcome.is_err() {
        // It has ended or is about to; no zombie is left.
        let _ended = child.wait();
    }
    outcome
}

fn await_word(mut pipe: PipeReader, child: &mut Child) -> Result<(), StartError> {
    let failed = |source| StartError::Process { source };
    let mut word = [0];
    let read = pipe.read(&mut word).map_err(failed)?;
    match word {
        [READY] => Ok(()),
        [FAILED] => {
            let mut code = [1];
            pipe.read_exact(&mut code).map_err(failed)?;
            let [code] = code;
            let text = text(pipe).map_err(failed)?;
            Err(StartError::Failed { code, text })
        }
        [NO_KEY] => Err(StartError::NoKey {
            location: text(pipe).map_err(failed)?,
        }),
        _ if read == 0 => Err(StartError::Died {
            status: child.wait().map_err(failed)?,
        }),
        [other] => Err(failed(io::Error::other(format!(
            "an unknown word from it: {other:#x}"
        )))),
    }
}

/// The starter, seen from the background process. If it is dropped without a word, the starter
/// takes the process for dead once it ends.
#[derive(Debug)]
pub struct Starter {
    pipe: PipeWriter,
}

/// The rest of what a process says.
fn text(pipe: PipeReader) -> io::Result<String> {
    let mut text = vec![];
    pipe.take(LONGEST_TEXT).read_to_end(&mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

impl Starter {
    /// Leaves the starter's session, terminal and open files. To be called at the beginning of a
    /// process that has been given [`ARGUMENT`], before it opens or prints anything.
    ///
    /// # Errors
    /// What the system says.
    pub fn leave() -> io::Result<Self> {
        sys::close_inherited()?;
        let pipe = PipeWriter::from(io::stdout().as_fd().try_clone_to_owned()?);
        let null = OpenOptions::new().write(true).open("/dev/null")?;
        nix::unistd::dup2_stdout(&null)?;
        nix::unistd::setsid()?;
        Ok(Self { pipe })
    }

    /// Tells the starter that all is well, after which log lines go to the file `log` and the
    /// working directory is `/`, so that it does not keep another filesystem busy.
    ///
    /// # Errors
    /// [`ReadyError`]. The starter's absence is one: whoever interrupted it wants no daemon.
    pub fn ready(mut self, log: &Path) -> Result<(), ReadyError> {
        if let Err(error) = log::into_file(log) {
            self.failed(1, &error.to_string());
            return Err(error.into());
        }
        std::env::set_current_dir("/").map_err(|source| ReadyError::Starter { source })?;
        self.pipe
            .write_all(&[READY])
            .map_err(|source| ReadyError::Starter { source })
    }

    /// Tells the starter that a key is needed.
    pub fn needs_key(mut self, location: &str) {
        let word = [&[NO_KEY], location.as_bytes()].concat();
        if let Err(error) = self.pipe.write_all(&word) {
            tracing::error!(%error, location, "nobody hears why the start failed");
        }
    }

    /// Tells the starter what went wrong and the exit code for it.
    pub fn failed(mut self, code: u8, text: &str) {
        let word = [&[FAILED, code], text.as_bytes()].concat();
        if let Err(error) = self.pipe.write_all(&word) {
            tracing::error!(%error, text, "nobody hears why the start failed");
        }
    }
}

/// The daemon works and cannot go on in the background.
#[derive(Debug, thiserror::Error)]
pub enum ReadyError {
    /// There is nowhere to log to.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The starter is gone.
    #[error("the process that started this one is gone: {source}")]
    Starter {
        /// What the system said.
        source: io::Error,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Result<(), StartError> {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        start_command(command, None)
    }

    #[test]
    fn a_process_that_is_ready_goes_on_by_itself() {
        let begun = std::time::Instant::now();
        shell("printf R; exec >/dev/null; sleep 5").unwrap();
        assert!(begun.elapsed() < std::time::Duration::from_secs(4));
    }

    #[test]
    fn what_went_wrong_is_passed_on() {
        let error = shell("printf 'E\\003store: in use'").unwrap_err();
        assert!(
            matches!(&error, StartError::Failed { code: 3, text } if text == "store: in use"),
            "{error:?}"
        );
    }

    #[test]
    fn a_process_that_dies_without_a_word_is_an_error() {
        let error = shell("kill -9 $$").unwrap_err();
        assert!(matches!(&error, StartError::Died { .. }), "{error:?}");
        assert!(error.to_string().contains("signal: 9"), "{error}");
    }

    #[test]
    fn other_output_is_no_readiness() {
        assert!(matches!(
            shell("echo hello"),
            Err(StartError::Process { .. })
        ));
    }
}
