//! What only the file storage can be asked: its files, damaged, missing, in the way.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use konserve_fs::backend::file::Files;
use konserve_fs::backend::{Access, Backend, BackendError, Batch, Precondition};
use tempfile::TempDir;

use crate::basics::{get, put};
use crate::storages::soon;

pub fn create(dir: &TempDir) -> Files {
    Files::create(dir.path(), Duration::ZERO).unwrap()
}

pub fn open(dir: &Path, access: Access) -> Result<Files, BackendError> {
    Files::open(dir, access, Duration::ZERO)
}

/// The files of all blobs.
fn blobs(dir: &TempDir) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut todo = vec![dir.path().join("files/blobs")];
    while let Some(path) = todo.pop() {
        if path.is_dir() {
            todo.extend(
                fs::read_dir(path)
                    .unwrap()
                    .map(|entry| entry.unwrap().path()),
            );
        } else {
            found.push(path);
        }
    }
    found.sort();
    found
}

pub fn one_blob(dir: &TempDir) -> PathBuf {
    let files = blobs(dir);
    assert_eq!(files.len(), 1);
    files[0].clone()
}

#[track_caller]
pub fn is_damage<T: std::fmt::Debug>(outcome: Result<T, BackendError>, says: &str) {
    match outcome {
        Err(error @ BackendError::Damage { .. }) => {
            assert!(error.to_string().contains(says), "{error}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_flipped_bit_and_every_cut_of_a_file_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let backend = create(&dir);
    put(&backend, b"address", b"the content of the blob");
    backend.settle(soon()).unwrap();
    let path = one_blob(&dir);
    let whole = fs::read(&path).unwrap();
    for at in 0..whole.len() {
        for bit in [1, 128] {
            let file = OpenOptions::new().write(true).open(&path).unwrap();
            file.write_all_at(&[whole[at] ^ bit], at as u64).unwrap();
            is_damage(backend.get(b"address", soon()), path.to_str().unwrap());
            file.write_all_at(&whole[at..=at], at as u64).unwrap();
        }
        fs::write(&path, &whole[..at]).unwrap();
        is_damage(backend.get(b"address", soon()), "");
        fs::write(&path, &whole).unwrap();
    }
    assert_eq!(
        get(&backend, b"address").unwrap(),
        b"the content of the blob"
    );
}

#[test]
fn swapped_and_foreign_files_are_noticed() {
    let dirs = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let backends = dirs.each_ref().map(create);
    for backend in &backends {
        put(backend, b"a", b"1");
        backend.settle(soon()).unwrap();
    }
    let a = one_blob(&dirs[0]);
    put(&backends[0], b"b", b"2");
    backends[0].settle(soon()).unwrap();
    let b = blobs(&dirs[0]).into_iter().find(|path| *path != a).unwrap();
    let content = fs::read(&a).unwrap();
    fs::copy(&b, &a).unwrap();
    is_damage(backends[0].get(b"a", soon()), "the file of the blob b");
    fs::copy(one_blob(&dirs[1]), &a).unwrap();
    is_damage(backends[0].get(b"a", soon()), "checksum");
    fs::write(&a, content).unwrap();
    assert_eq!(get(&backends[0], b"a").unwrap(), b"1");
}

#[test]
fn something_else_in_a_files_place_is_an_error_that_names_it() {
    let dir = tempfile::tempdir().unwrap();
    let backend = create(&dir);
    put(&backend, b"a", b"1");
    backend.settle(soon()).unwrap();
    let path = one_blob(&dir);
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    is_damage(backend.get(b"a", soon()), path.to_str().unwrap());
    // A write is in the log, so it is not lost, whatever is in the way.
    put(&backend, b"a", b"2");
    let error = backend.settle(soon()).unwrap_err();
    assert!(
        error.to_string().contains(path.to_str().unwrap()),
        "{error}"
    );
    assert_eq!(get(&backend, b"a").unwrap(), b"2");
    drop(backend);
    let backend = open(dir.path(), Access::ReadWrite).unwrap();
    assert_eq!(get(&backend, b"a").unwrap(), b"2");
    fs::remove_dir(&path).unwrap();
    backend.settle(soon()).unwrap();
    assert_eq!(get(&backend, b"a").unwrap(), b"2");
    nix::unistd::mkfifo(&path.with_extension("x"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    fs::rename(path.with_extension("x"), &path).unwrap();
    is_damage(backend.get(b"a", soon()), "no regular file");
}

#[test]
fn a_storage_that_lost_its_parts_is_damaged() {
    for part in ["blobs", "identity", "applied", "log"] {
        let dir = tempfile::tempdir().unwrap();
        let backend = create(&dir);
        put(&backend, b"a", b"1");
        backend.settle(soon()).unwrap();
        put(&backend, b"b", b"1");
        backend.sync(soon()).unwrap();
        // As a kill would leave it: what was written last is in the log only.
        let copy = tempfile::tempdir().unwrap();
        copy_all(dir.path(), copy.path());
        let path = copy.path().join("files").join(part);
        if path.is_dir() {
            fs::remove_dir_all(&path).unwrap();
        } else {
            fs::remove_file(&path).unwrap();
        }
        let opened = open(copy.path(), Access::ReadWrite);
        if matches!(part, "log" | "applied") {
            // The log may have been empty, and may have been applied to nothing, for all that is
            // known: what was in files is there.
            assert_eq!(get(&opened.unwrap(), b"a").unwrap(), b"1");
        } else {
            is_damage(opened, "");
        }
    }
}

#[test]
fn a_newer_format_is_refused_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    drop(create(&dir));
    let path = dir.path().join("files/identity");
    let text = fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let newer = format!("kfs files 2\n{}\n", lines[1]);
    let check = &blake3::hash(newer.as_bytes()).to_hex()[..32];
    fs::write(&path, format!("{newer}{check}\n")).unwrap();
    let opened = open(dir.path(), Access::ReadWrite);
    assert!(
        matches!(
            opened,
            Err(BackendError::Format {
                found: 2,
                known: 1,
                ..
            })
        ),
        "{opened:?}"
    );
}

#[test]
fn only_our_own_unfinished_files_are_removed() {
    let dir = tempfile::tempdir().unwrap();
    drop(create(&dir));
    let new = dir.path().join("files/new");
    fs::write(new.join("0"), "unfinished").unwrap();
    fs::write(new.join("notes"), "mine").unwrap();
    open(dir.path(), Access::Read).unwrap();
    assert!(new.join("0").exists());
    open(dir.path(), Access::ReadWrite).unwrap();
    assert!(!new.join("0").exists());
    assert!(new.join("notes").exists());
}

#[test]
fn a_batch_that_is_in_the_log_only_is_done_by_the_next_opener() {
    let dir = tempfile::tempdir().unwrap();
    let backend = create(&dir);
    put(&backend, b"old", b"1");
    backend.settle(soon()).unwrap();
    let mut batch = Batch::new();
    batch
        .put(b"new", b"1", Precondition::Absent)
        .delete(b"old", Precondition::Any);
    backend.apply(batch, soon()).unwrap();
    let killed = tempfile::tempdir().unwrap();
    copy_all(dir.path(), killed.path());
    assert_eq!(blobs(&killed).len(), 1, "it is not in files yet");
    let state = |backend: &Files| [b"old", b"new"].map(|address| get(backend, address).is_some());
    for access in [Access::Read, Access::ReadWrite, Access::Read] {
        let backend = open(killed.path(), access).unwrap();
        assert_eq!(state(&backend), [false, true]);
        assert_eq!(backend.list(b"", None, 9, soon()).unwrap(), [b"new"]);
    }
    assert_eq!(blobs(&killed).len(), 1, "put into files when it was closed");
}

#[test]
fn what_is_half_in_files_is_finished_by_the_next_opener() {
    let dir = tempfile::tempdir().unwrap();
    let backend = create(&dir);
    put(&backend, b"a", b"1");
    backend.settle(soon()).unwrap();
    put(&backend, b"a", b"2");
    put(&backend, b"b", b"2");
    let killed = tempfile::tempdir().unwrap();
    copy_all(dir.path(), killed.path());
    // What a power loss may leave of files that were not synced.
    for path in blobs(&killed) {
        fs::write(path, b"").unwrap();
    }
    let backend = open(killed.path(), Access::ReadWrite).unwrap();
    assert_eq!(get(&backend, b"a").unwrap(), b"2");
    backend.settle(soon()).unwrap();
    assert_eq!(get(&backend, b"a").unwrap(), b"2");
    assert_eq!(get(&backend, b"b").unwrap(), b"2");
}

#[test]
fn a_list_of_many_files_is_complete_and_right_after_changes() {
    let dir = tempfile::tempdir().unwrap();
    let backend = create(&dir);
    let address = |number: u32| [b"p".as_slice(), &number.to_be_bytes(), &[7; 150]].concat();
    let mut batch = Batch::new();
    for number in 0..3000 {
        batch.put(address(number), b"", Precondition::Any);
    }
    backend.apply(batch, soon()).unwrap();
    backend.settle(soon()).unwrap();
    assert_eq!(backend.list(b"p", None, 10, soon()).unwrap()[9], address(9));
    backend
        .delete(&address(10), Precondition::Any, soon())
        .unwrap();
    put(&backend, &address(5000), b"");
    backend.settle(soon()).unwrap();
    put(&backend, b"q", b"");
    backend
        .delete(&address(11), Precondition::Any, soon())
        .unwrap();
    let after = |number: u32, limit| {
        backend
            .list(b"p", Some(&address(number)), limit, soon())
            .unwrap()
    };
    assert_eq!(after(9, 2), [address(12), address(13)]);
    assert_eq!(after(2998, 5), [address(2999), address(5000)]);
    assert_eq!(backend.list(b"", None, 9999, soon()).unwrap().len(), 3000);
}

/// A filesystem in a file, for one test. Needs root.
struct Disk {
    dir: TempDir,
}

impl Disk {
    fn new(megabytes: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let image = dir.path().join("image");
        let file = fs::File::create(&image).unwrap();
        file.set_len(megabytes << 20).unwrap();
        fs::create_dir(dir.path().join("disk")).unwrap();
        let disk = Self { dir };
        sh(&format!(
            "mkfs.ext4 -q -F {0} && mount -o loop {0} {1}",
            image.display(),
            disk.path().display()
        ));
        disk
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("disk")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        sh(&format!("umount -l {}", self.path().display()));
    }
}

#[track_caller]
fn sh(script: &str) {
    let status = std::process::Command::new("sh")
        .args(["-c", &format!("PATH=$PATH:/usr/sbin:/sbin; {script}")])
        .status()
        .unwrap();
    assert!(status.success(), "{script} (it needs root)");
}

#[test]
fn a_full_disk_is_an_error_and_loses_nothing() {
    let disk = Disk::new(80);
    let dir = disk.path().join("store");
    let filler = disk.path().join("filler");
    fs::write(&filler, vec![1; 30 << 20]).unwrap();
    let backend = Files::create(&dir, Duration::ZERO).unwrap();
    let content = |number: u32| number.to_be_bytes().repeat(20_000);
    let mut written = 0_u32;
    let error = loop {
        let put = backend.put(
            &written.to_be_bytes(),
            &content(written),
            Precondition::Any,
            soon(),
        );
        match put {
            Ok(_) => written += 1,
            Err(error) => break error,
        }
        assert!(written < 2000);
    };
    assert!(matches!(error, BackendError::NoSpace { .. }), "{error:?}");
    let check = |backend: &Files| {
        for number in 0..written {
            assert!(get(backend, &number.to_be_bytes()).unwrap() == content(number));
        }
    };
    check(&backend);
    drop(backend);
    let backend = Files::open(&dir, Access::Read, Duration::ZERO).unwrap();
    check(&backend);
    drop(backend);
    let backend = open(&dir, Access::ReadWrite).unwrap();
    check(&backend);
    // When others make room, it goes on.
    fs::remove_file(filler).unwrap();
    let settled = (0..600).any(|_| {
        std::thread::sleep(Duration::from_millis(100));
        backend.settle(soon()).is_ok()
    });
    assert!(settled);
    put(&backend, b"more", &content(7));
    backend.settle(soon()).unwrap();
    check(&backend);
}

fn copy_all(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            fs::create_dir(&target).unwrap();
            copy_all(&entry.path(), &target);
        } else {
            let mut file = fs::File::create(&target).unwrap();
            file.write_all(&fs::read(entry.path()).unwrap()).unwrap();
        }
    }
}
