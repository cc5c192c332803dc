//! `fusermount3`, the setuid helper through which users other than root mount and unmount.

use std::ffi::OsString;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::error::MountError;
use super::options::{Audience, MountOptions};
use crate::sys;

const PROGRAM: &str = "fusermount3";

/// Mounts, and returns the connection to the kernel.
pub(super) fn mount(
    point: &Path,
    source: &str,
    options: &MountOptions,
) -> Result<OwnedFd, MountError> {
    let (ours, theirs) = UnixStream::pair().map_err(no_helper)?;
    // The helper sends the connection over the socket whose number stands in the environment.
    // Standard input is the one descriptor that a child inherits without further ado.
    let mut child = Command::new(PROGRAM)
        .arg("-o")
        .arg(option_list(source, options))
        .arg("--")
        .arg(point)
        .env("_FUSE_COMMFD", "0")
        .stdin(OwnedFd::from(theirs))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(no_helper)?;
    let connection = sys::receive_fd(&ours);
    let refusal = finish(&mut child).map_err(no_helper)?;
    match connection.map_err(no_helper)? {
        Some(connection) if refusal.is_none() => Ok(connection),
        _ => Err(MountError::Helper {
            message: refusal.unwrap_or_else(|| format!("{PROGRAM} sent no connection")),
        }),
    }
}

/// Unmounts, at once even if the mount is in use when `lazy`.
pub(super) fn unmount(point: &Path, lazy: bool) -> Result<(), MountError> {
    let mut command = Command::new(PROGRAM);
    command.args(["-u", "-q"]);
    if lazy {
        command.arg("-z");
    }
    let mut child = command
        .arg("--")
        .arg(point)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(no_helper)?;
    match finish(&mut child).map_err(no_helper)? {
        None => Ok(()),
        Some(message) => Err(MountError::Helper { message }),
    }
}

/// Waits for the helper; its complaint if it failed.
fn finish(child: &mut Child) -> io::Result<Option<String>> {
    let mut complaint = String::new();
    if let Some(mut stderr) = child.stderr.take() {
        stderr.read_to_string(&mut complaint)?;
    }
    let status = child.wait()?;
    let complaint = complaint.trim();
    Ok(match (status.success(), complaint) {
        (true, _) => None,
        (false, "") => Some(format!("{PROGRAM} failed ({status})")),
        (false, complaint) => Some(complaint.to_owned()),
    })
}

fn no_helper(source: io::Error) -> MountError {
    MountError::NoHelper {
        program: OsString::from(PROGRAM),
        source,
    }
}

fn option_list(source: &str, options: &MountOptions) -> String {
    let mut list = vec![
        if options.read_only { "ro" } else { "rw" },
        if options.suid { "suid" } else { "nosuid" },
        if options.dev { "dev" } else { "nodev" },
        if options.exec { "exec" } else { "noexec" },
    ];
    if options.no_atime {
        list.push("noatime");
    }
    if options.default_permissions {
        list.push("default_permissions");
    }
    if options.audience != Audience::Owner {
        // The kernel knows only this one; that no third user gets in is checked per operation.
        list.push("allow_other");
    }
    format!(
        "{},subtype={},fsname={}",
        list.join(","),
        escape(&options.subtype),
        escape(source)
    )
}

/// Commas separate options.
fn escape(value: &str) -> String {
    value.replace('\\', r"\\").replace(',', r"\,")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comma_in_the_source_does_not_end_the_option() {
        let list = option_list("/a,suid", &MountOptions::default());
        assert_eq!(
            list,
            r"rw,nosuid,nodev,exec,default_permissions,subtype=kfs,fsname=/a\,suid"
        );
    }
}
