//! `kfs` as a helper of mount(8): called by the name `mount.kfs` or `mount.fuse.kfs`, it takes that
//! program's arguments.
//!
//! ```text
//! mount.TYPE SOURCE DIR [-sfnvwr] [-t TYPE] [-N NAMESPACE] [-o OPTIONS]…
//! ```
//!
//! They become those of `kfs mount`, with SOURCE as the name shown in `/proc/mounts`, by which
//! mount(8) finds out whether a line of `/etc/fstab` is mounted. mount(8) does not hand on `suid`
//! and `dev`, which are its defaults, but their opposites only: so they are the defaults here, for
//! root, unlike those of `kfs mount`.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use super::exit::Exit;

/// What mount(8) wants to be told, see its section on exit status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Status {
    Usage = 1,
    Failure = 32,
}

/// What was asked for.
#[derive(Debug, PartialEq, Eq)]
pub enum Call {
    /// Run `kfs` with these arguments, the program's name first.
    Mount(Vec<OsString>),
    /// `-f`: everything but the mounting, so nothing.
    Fake,
}

/// Whether the program was called by the name of a helper.
pub fn is_called(program: &OsStr) -> bool {
    let name = Path::new(program).file_name().map(OsStr::as_bytes);
    name.is_some_and(|name| name.starts_with(b"mount."))
}

/// The exit code that mount(8) understands.
pub fn code(exit: Exit) -> u8 {
    match exit {
        Exit::Done => 0,
        Exit::Usage => Status::Usage as u8,
        _ => Status::Failure as u8,
    }
}

/// Reads the arguments after the program's name.
///
/// # Errors
/// What is wrong with them, for the user.
pub fn read(arguments: impl IntoIterator<Item = OsString>, by_root: bool) -> Result<Call, String> {
    let mut arguments = arguments.into_iter();
    let mut places = vec![];
    let mut options: Vec<OsString> = vec![];
    let mut fake = false;
    while let Some(argument) = arguments.next() {
        let Some(flags) = argument
            .as_bytes()
            .strip_prefix(b"-")
            .filter(|f| !f.is_empty())
        else {
            places.push(argument);
            continue;
        };
        for (at, flag) in flags.iter().enumerate() {
            let mut value = || {
                let rest = flags.get(at + 1..).unwrap_or_default();
                if rest.is_empty() {
                    arguments.next()
                } else {
                    Some(OsString::from_vec(rest.to_vec()))
                }
            };
            match flag {
                b'o' => options.push(value().ok_or("-o needs options")?),
                b't' | b'N' => drop(value().ok_or("-t and -N need a value")?),
                b'r' => options.push("ro".into()),
                b'w' => options.push("rw".into()),
                b'f' => fake = true,
                // Tolerance of unknown options would hide mistakes; the others change nothing here.
                b's' | b'n' | b'v' => {}
                _ => return Err(format!("unknown option -{}", char::from(*flag))),
            }
            if matches!(flag, b'o' | b't' | b'N') {
                break;
            }
        }
    }
    let [source, dir] = <[OsString; 2]>::try_from(places)
        .map_err(|_| "usage: mount.fuse.kfs SOURCE DIR [-o OPTIONS]".to_owned())?;
    if fake {
        return Ok(Call::Fake);
    }
    // First, so that an `fsname` among the options wins.
    let mut list = b"fsname=".to_vec();
    for byte in source.as_bytes() {
        if matches!(byte, b',' | b'\\') {
            list.push(b'\\');
        }
        list.push(*byte);
    }
    if by_root {
        list.extend_from_slice(b",suid,dev");
    }
    for more in &options {
        list.push(b',');
        list.extend_from_slice(more.as_bytes());
    }
    Ok(Call::Mount(vec![
        "kfs".into(),
        "mount".into(),
        "-o".into(),
        OsString::from_vec(list),
        "--".into(),
        source,
        dir,
    ]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(arguments: &[&str]) -> Result<Vec<String>, String> {
        match read(arguments.iter().map(OsString::from), false)? {
            Call::Mount(all) => Ok(all
                .iter()
                .map(|a| a.to_string_lossy().into_owned())
                .collect()),
            Call::Fake => Ok(vec!["fake".to_owned()]),
        }
    }

    #[test]
    fn only_helpers_are_called_so() {
        for name in ["mount.kfs", "/sbin/mount.fuse.kfs"] {
            assert!(is_called(name.as_ref()), "{name}");
        }
        for name in ["kfs", "/mount.d/kfs", "mount"] {
            assert!(!is_called(name.as_ref()), "{name}");
        }
    }

    #[test]
    fn arguments_of_mount_become_those_of_kfs() {
        let expected = [
            "kfs",
            "mount",
            "-o",
            "fsname=/s,rw,noauto",
            "--",
            "/s",
            "/m",
        ];
        for arguments in [
            &["/s", "/m", "-o", "rw,noauto"] as &[&str],
            &[
                "/s", "/m", "-sn", "-v", "-t", "fuse.kfs", "-orw", "-o", "noauto",
            ],
            &["-N", "/proc/1/ns/mnt", "/s", "-wo", "noauto", "/m"],
        ] {
            assert_eq!(call(arguments).unwrap(), expected, "{arguments:?}");
        }
    }

    #[test]
    fn what_mount_does_not_hand_on_is_added_for_root() {
        let arguments = ["/s", "/m", "-o", "rw,nodev"].map(OsString::from);
        let Ok(Call::Mount(all)) = read(arguments, true) else {
            panic!("no mount")
        };
        assert_eq!(all.get(3).unwrap(), "fsname=/s,suid,dev,rw,nodev");
    }

    #[test]
    fn a_source_with_commas_is_one_name() {
        let all = call(&["/a,suid", "/m", "-r"]).unwrap();
        assert_eq!(all.get(3).unwrap(), r"fsname=/a\,suid,ro");
    }

    #[test]
    fn a_fake_mount_does_nothing() {
        assert_eq!(call(&["/s", "/m", "-f"]).unwrap(), ["fake"]);
    }

    #[test]
    fn what_is_no_call_is_refused() {
        for arguments in [
            &["/s"] as &[&str],
            &["/s", "/m", "x"],
            &["/s", "/m", "-z"],
            &["/s", "/m", "-o"],
        ] {
            assert!(call(arguments).is_err(), "{arguments:?}");
        }
    }
}
