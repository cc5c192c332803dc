//! What is mounted where: `/proc/self/mountinfo`.
//!
//! Reading it asks no filesystem anything, so it also works on mounts that are dead or do not
//! answer yet.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// One mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountEntry {
    /// `major:minor` of the filesystem, unique as long as it lives.
    pub device: String,
    /// The part of the filesystem that is seen: `/`, or a directory in it for a bind mount.
    pub root: PathBuf,
    /// Where it is.
    pub point: PathBuf,
    /// `ext4`, `fuse.kfs`, …
    pub fs_type: String,
    /// What was mounted.
    pub source: OsString,
}

impl MountEntry {
    /// Whether it is a mount of this program, unless it goes by another subtype.
    #[must_use]
    pub fn is_kfs(&self) -> bool {
        self.fs_type == "fuse.kfs"
    }
}

/// All mounts; of several at one place the last one is on top.
///
/// # Errors
/// If `/proc` is not there.
pub fn mounts() -> io::Result<Vec<MountEntry>> {
    let table = std::fs::read("/proc/self/mountinfo")?;
    Ok(table
        .split(|byte| *byte == b'\n')
        .filter_map(parse)
        .collect())
}

/// The mount at exactly this path, the topmost if several lie on one another.
pub(super) fn find(point: &Path) -> io::Result<Option<MountEntry>> {
    Ok(mounts()?.into_iter().rfind(|entry| entry.point == point))
}

/// One line: `36 35 98:0 /root /point rw,noatime optional… - ext4 /dev/sda rw`.
fn parse(line: &[u8]) -> Option<MountEntry> {
    let mut fields = line.split(|byte| *byte == b' ');
    let device = fields.nth(2)?;
    let root = fields.next()?;
    let point = fields.next()?;
    fields.find(|field| *field == b"-")?;
    let fs_type = fields.next()?;
    let source = fields.next()?;
    Some(MountEntry {
        device: String::from_utf8_lossy(device).into_owned(),
        root: OsString::from_vec(unescape(root)).into(),
        point: OsString::from_vec(unescape(point)).into(),
        fs_type: String::from_utf8_lossy(&unescape(fs_type)).into_owned(),
        source: OsString::from_vec(unescape(source)),
    })
}

/// Space, tab, newline, backslash and `#` stand as a backslash and three octal digits.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, tail)) = rest.split_first() {
        match tail {
            [
                a @ b'0'..=b'3',
                b @ b'0'..=b'7',
                c @ b'0'..=b'7',
                after @ ..,
            ] if first == b'\\' => {
                plain.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
                rest = after;
            }
            _ => {
                plain.push(first);
                rest = tail;
            }
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_gives_device_point_type_and_source() {
        let line =
            b"36 35 0:52 / /mnt/a\\040b rw,nosuid shared:1 - fuse.kfs /srv/x\\134y rw,user_id=0";
        let entry = parse(line).unwrap();
        assert_eq!(entry.device, "0:52");
        assert_eq!(entry.root, Path::new("/"));
        assert_eq!(entry.point, Path::new("/mnt/a b"));
        assert_eq!(entry.fs_type, "fuse.kfs");
        assert_eq!(entry.source, "/srv/x\\y");
    }

    #[test]
    fn lines_without_optional_fields_and_broken_ones() {
        assert!(parse(b"36 35 0:52 / /mnt rw - tmpfs none rw").is_some());
        assert!(parse(b"").is_none());
        assert!(parse(b"36 35 0:52 / /mnt rw").is_none());
    }

    #[test]
    fn the_root_directory_is_a_mount_and_a_missing_one_is_not() {
        assert!(find(Path::new("/proc")).unwrap().is_some());
        assert!(
            find(Path::new("/proc/self/no such mount"))
                .unwrap()
                .is_none()
        );
    }
}
