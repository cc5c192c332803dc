//! The system calls that neither std nor nix offers here: extended attributes and mappings.

#![allow(
    unsafe_code,
    reason = "extended attributes and mappings have no safe wrapper among the dependencies"
)]

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

fn c_path(path: &Path) -> CString {
    CString::new(path.as_os_str().as_bytes()).expect("a path holds no NUL")
}

fn c_name(name: &str) -> CString {
    CString::new(name).expect("an attribute's name holds no NUL")
}

/// Passes a count on, or the error that a negative one stands for.
fn counted(result: isize) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

/// Sets an attribute (`lsetxattr`). `flags` is 0, `XATTR_CREATE` or `XATTR_REPLACE`.
pub fn set_xattr(path: &Path, name: &str, value: &[u8], flags: i32) -> io::Result<()> {
    let (path, name) = (c_path(path), c_name(name));
    // SAFETY: both strings end in NUL, and the length is that of the value.
    let result = unsafe {
        libc::lsetxattr(
            path.as_ptr(),
            name.as_ptr(),
            value.as_ptr().cast(),
            value.len(),
            flags,
        )
    };
    counted(result as isize).map(drop)
}

/// The value of an attribute (`lgetxattr`).
pub fn get_xattr(path: &Path, name: &str) -> io::Result<Vec<u8>> {
    let (path, name) = (c_path(path), c_name(name));
    let mut value = vec![0; 1 << 16];
    // SAFETY: both strings end in NUL, and the length is that of the buffer.
    let result = unsafe {
        libc::lgetxattr(
            path.as_ptr(),
            name.as_ptr(),
            value.as_mut_ptr().cast(),
            value.len(),
        )
    };
    value.truncate(counted(result)?);
    Ok(value)
}

/// The names of all attributes that are listed, sorted (`llistxattr`).
pub fn list_xattrs(path: &Path) -> io::Result<Vec<String>> {
    let path = c_path(path);
    let mut names = vec![0u8; 1 << 16];
    // SAFETY: the path ends in NUL, and the length is that of the buffer.
    let result = unsafe { libc::llistxattr(path.as_ptr(), names.as_mut_ptr().cast(), names.len()) };
    names.truncate(counted(result)?);
    let mut names: Vec<String> = names
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
        .map(|name| String::from_utf8_lossy(name).into_owned())
        .collect();
    names.sort();
    Ok(names)
}

/// Removes an attribute (`lremovexattr`).
pub fn remove_xattr(path: &Path, name: &str) -> io::Result<()> {
    let (path, name) = (c_path(path), c_name(name));
    // SAFETY: both strings end in NUL.
    let result = unsafe { libc::lremovexattr(path.as_ptr(), name.as_ptr()) };
    counted(result as isize).map(drop)
}

/// Writes `bytes` at the start of a file through a shared mapping, without a `write(2)`.
pub fn write_mapped(file: &File, bytes: &[u8]) -> io::Result<()> {
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: the kernel chooses the place, and the mapping is removed below.
    let place = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            bytes.len(),
            protection,
            libc::MAP_SHARED,
            file.as_raw_fd(),
            0,
        )
    };
    if place == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the mapping has this length, and nothing else points into it.
    unsafe {
        std::ptr::copy_nonoverlapping(bytes.as_ptr(), place.cast(), bytes.len());
        libc::munmap(place, bytes.len());
    }
    Ok(())
}

/// Copies up to `count` bytes between files (`copy_file_range`) and moves both places on.
pub fn copy_range(
    (from, at): (&File, &mut i64),
    (to, target): (&File, &mut i64),
    count: usize,
) -> io::Result<usize> {
    // SAFETY: both descriptors are open, both places are valid for the call.
    let copied =
        unsafe { libc::copy_file_range(from.as_raw_fd(), at, to.as_raw_fd(), target, count, 0) };
    counted(copied)
}
