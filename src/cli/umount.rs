use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;

use super::dying;
use super::error::CliError;
use super::exit::Exit;
use super::output::Output;
use super::place::absolute;
use super::remote::Remote;
use crate::fuse::{MountEntry, MountError, mounts, unmount};

/// How long a mount may be in use by somebody who is about to go.
const PASSING: Duration = Duration::from_secs(1);
/// How long the daemon may take to write what it holds.
const WRITING: Duration = Duration::from_secs(60);
/// How long to wait for those who still use a mount that was taken away.
const LEAVING: Duration = Duration::from_secs(2);
/// How often to look again.
const POLL: Duration = Duration::from_millis(20);

/// Unmount a store and wait until it is free.
///
/// When the command returns, everything is written and no process holds the store any more.
#[derive(Debug, Args)]
pub struct Umount {
    /// Where it is mounted
    dir: PathBuf,
    /// Take the mount away even if it is in use; the store is free when the last user is gone
    #[arg(short, long)]
    lazy: bool,
}

impl Umount {
    pub(super) fn run(self, _out: &mut Output) -> Result<(), CliError> {
        run(&self.dir, self.lazy)
    }
}

/// Unmounts and waits for the daemon.
pub(super) fn run(dir: &Path, lazy: bool) -> Result<(), CliError> {
    dying::end_all();
    let entry = entry_at(dir)?;
    let daemon = Remote::of_mount(&entry)
        .ok()
        .map(|remote| remote.status().pid);
    take_away(&entry.point, lazy)?;
    let Some(pid) = daemon else { return Ok(()) };
    let give_up = Instant::now() + if lazy { LEAVING } else { WRITING };
    while is_running(pid) {
        if Instant::now() >= give_up {
            return Err(still_there(&entry, pid, lazy));
        }
        thread::sleep(POLL);
    }
    Ok(())
}

/// The mount of this program at a directory.
pub(super) fn entry_at(dir: &Path) -> Result<MountEntry, CliError> {
    // A dead mount cannot be looked at, but its parent can.
    let point = match (dir.canonicalize(), dir.parent(), dir.file_name()) {
        (Ok(point), ..) => point,
        (Err(_), Some(parent), Some(name)) => absolute(if parent.as_os_str().is_empty() {
            Path::new(".")
        } else {
            parent
        })
        .join(name),
        (Err(source), ..) => return Err(CliError::io(dir.display().to_string(), source)),
    };
    let mounts = mounts().map_err(|e| CliError::io("/proc/self/mountinfo", e))?;
    match mounts.into_iter().rfind(|entry| entry.point == point) {
        Some(entry) if entry.is_kfs() => Ok(entry),
        Some(entry) => Err(CliError::refused(
            dir.display().to_string(),
            format!(
                "a mount of type {}, not of kfs; use umount(8)",
                entry.fs_type
            ),
        )),
        None if dir
            .symlink_metadata()
            .is_err_and(|e| e.kind() == ErrorKind::NotFound) =>
        {
            Err(CliError::not_found(
                dir.display().to_string(),
                "no such directory",
            ))
        }
        None => Err(CliError::not_found(
            dir.display().to_string(),
            "not the mount of a store; kfs status lists those",
        )),
    }
}

fn take_away(point: &Path, lazy: bool) -> Result<(), CliError> {
    let give_up = Instant::now() + PASSING;
    loop {
        match unmount(point, lazy) {
            Ok(()) => return Ok(()),
            Err(error) if is_busy(&error) && Instant::now() < give_up => thread::sleep(POLL),
            Err(error) if is_busy(&error) => return Err(busy(point)),
            Err(error) => return Err(error.into()),
        }
    }
}

fn is_busy(error: &MountError) -> bool {
    match error {
        MountError::Unmount { source, .. } => source.kind() == ErrorKind::ResourceBusy,
        // What fusermount3 prints of EBUSY.
        MountError::Helper { message } => message.contains("busy"),
        _ => false,
    }
}

fn busy(point: &Path) -> CliError {
    let users = users(point);
    let by = if users.is_empty() {
        String::new()
    } else {
        format!(" by {}", users.join(", "))
    };
    CliError::InUse {
        what: point.display().to_string(),
        why: format!(
            "in use{by}; end that, or take the mount away all the same with kfs umount --lazy"
        ),
    }
}

/// The processes that have a file or their working directory in a mount, as far as they can be seen.
fn users(point: &Path) -> Vec<String> {
    let Ok(processes) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let numbers = processes
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let mut users: Vec<u32> = numbers.filter(|pid| uses(*pid, point)).collect();
    users.sort_unstable();
    users
        .into_iter()
        .map(|pid| {
            let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            format!("process {pid} ({})", name.trim())
        })
        .collect()
}

fn uses(pid: u32, point: &Path) -> bool {
    let directory = PathBuf::from(format!("/proc/{pid}"));
    // Reading the links asks nothing of the mount.
    let leads_in =
        |link: PathBuf| fs::read_link(link).is_ok_and(|target| target.starts_with(point));
    leads_in(directory.join("cwd"))
        || leads_in(directory.join("root"))
        || fs::read_dir(directory.join("fd"))
            .is_ok_and(|mut fds| fds.any(|fd| fd.is_ok_and(|fd| leads_in(fd.path()))))
}

/// Whether a process is there and not a zombie, which holds nothing any more.
fn is_running(pid: u32) -> bool {
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else {
        return false;
    };
    // The name, in parentheses, may contain anything.
    let state = stat
        .rsplit(')')
        .next()
        .and_then(|rest| rest.trim_start().chars().next());
    !matches!(state, Some('Z' | 'X'))
}

fn still_there(entry: &MountEntry, pid: u32, lazy: bool) -> CliError {
    let store = entry.source.display();
    let what = entry.point.display().to_string();
    if lazy {
        CliError::Passed {
            exit: Exit::InUse,
            message: format!(
                "{what}: taken away, but somebody still has files open in it; process {pid} holds {store} until they are closed"
            ),
        }
    } else {
        CliError::failed(
            what,
            format!("unmounted, but process {pid} still holds {store}; its log may say why"),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_runs_and_a_number_beyond_all_does_not() {
        assert!(is_running(std::process::id()));
        assert!(!is_running(u32::MAX));
    }

    #[test]
    fn who_uses_a_directory_is_found() {
        let dir = tempfile::tempdir().unwrap();
        assert!(!uses(std::process::id(), dir.path()));
        let _open = fs::File::create(dir.path().join("f")).unwrap();
        assert!(uses(std::process::id(), dir.path()));
        assert!(
            users(dir.path())
                .iter()
                .any(|user| user.contains(&std::process::id().to_string()))
        );
    }

    #[test]
    fn another_mount_is_not_ours() {
        let error = entry_at(Path::new("/proc")).unwrap_err();
        assert!(error.to_string().contains("not of kfs"), "{error}");
        let error = entry_at(Path::new("/none/such")).unwrap_err();
        assert_eq!(error.exit(), Exit::NotFound);
    }
}
