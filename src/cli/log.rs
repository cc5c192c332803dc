//! Where log lines go: standard error, which a daemon points at a file.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use tracing_subscriber::EnvFilter;

use super::places::{self, PlaceError};

/// A log is put aside when it is larger than this and a daemon starts.
const LARGE: u64 = 16 << 20;

/// A log file that cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// Its directory cannot be used.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// It cannot be opened.
    #[error("log {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// What standard error is, or is going to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// Whatever it is now: a terminal, or the journal of a service.
    AsItIs,
    /// A file, after [`into_file`].
    File,
    /// What it is for a command, which tells by itself what its user has to know.
    Command,
}

/// Starts logging to standard error: what `KFS_LOG` names (`debug`, `konserve_fs::fuse=trace`, …),
/// otherwise warnings and errors and, from a daemon, what is worth knowing once.
pub fn start(output: Output) {
    // The journal has its own times.
    let journal = output == Output::AsItIs && std::env::var_os("JOURNAL_STREAM").is_some();
    let level = if output == Output::Command {
        "warn"
    } else {
        "info"
    };
    let filter = EnvFilter::try_from_env("KFS_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(false)
        .with_target(false);
    // Logging that was started already stays.
    let _already = if journal {
        lines.without_time().try_init()
    } else {
        lines.try_init()
    };
}

/// Points standard error at the file `path`, made for its owner alone, and lets go of whatever it
/// was. A log that has become large is put aside as `PATH.1`.
///
/// # Errors
/// [`LogError`].
pub fn into_file(path: &Path) -> Result<(), LogError> {
    let file = open(path)?;
    nix::unistd::dup2_stderr(&file).map_err(|errno| LogError::File {
        path: path.to_owned(),
        source: errno.into(),
    })
}

fn open(path: &Path) -> Result<File, LogError> {
    let failed = |source| LogError::File {
        path: path.to_owned(),
        source,
    };
    if let Some(directory) = path.parent().filter(|directory| !directory.exists()) {
        places::private_dir(directory)?;
    }
    if fs::metadata(path).is_ok_and(|log| log.is_file() && log.len() > LARGE) {
        let mut aside = path.as_os_str().to_owned();
        aside.push(".1");
        fs::rename(path, aside).map_err(failed)?;
    }
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)
        .map_err(failed)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn a_log_is_private_and_continued() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state/kfs/x.log");
        open(&path).unwrap().write_all(b"one\n").unwrap();
        open(&path).unwrap().write_all(b"two\n").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"one\ntwo\n");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_large_log_is_put_aside() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.log");
        open(&path).unwrap().set_len(LARGE + 1).unwrap();
        assert_eq!(open(&path).unwrap().metadata().unwrap().len(), 0);
        assert!(dir.path().join("x.log.1").exists());
    }

    #[test]
    fn a_log_that_cannot_be_opened_is_named() {
        let error = open(Path::new("/proc/none/x.log")).unwrap_err();
        assert!(error.to_string().contains("/proc/none"), "{error}");
    }
}
