//! Symbolic links, pipes and device nodes in the place of the files of a storage of files.

use std::fs;
use std::path::{Path, PathBuf};

use konserve_fs::backend::{Access, Backend, Precondition};

use crate::basics::put;
use crate::files::{create, is_damage, one_blob, open};
use crate::storages::soon;

/// Something that somebody puts in the place of a file.
#[derive(Clone, Copy, Debug)]
enum Plant {
    Link,
    LinkToDevice,
    Pipe,
    Device,
    Directory,
}

impl Plant {
    const ALL: [Self; 5] = [
        Self::Link,
        Self::LinkToDevice,
        Self::Pipe,
        Self::Device,
        Self::Directory,
    ];

    /// False where that takes more rights.
    fn plant(self, at: &Path, target: &Path) -> bool {
        use nix::sys::stat::{Mode, SFlag, makedev, mknod};
        let _gone = fs::remove_file(at).or_else(|_| fs::remove_dir_all(at));
        match self {
            Self::Link => std::os::unix::fs::symlink(target, at).unwrap(),
            Self::LinkToDevice => std::os::unix::fs::symlink("/dev/zero", at).unwrap(),
            Self::Pipe => nix::unistd::mkfifo(at, Mode::S_IRWXU).unwrap(),
            // Reading it never ends.
            Self::Device => return mknod(at, SFlag::S_IFCHR, Mode::S_IRUSR, makedev(1, 5)).is_ok(),
            Self::Directory => fs::create_dir(at).unwrap(),
        }
        true
    }
}

#[test]
fn what_is_planted_in_a_files_place_is_refused_and_not_opened() {
    let beside = tempfile::tempdir().unwrap();
    for plant in Plant::ALL {
        let dir = tempfile::tempdir().unwrap();
        let backend = create(&dir);
        // An address too long for a name: its file is read when it is listed.
        let long = [b'x'; 400];
        put(&backend, &long, b"1");
        backend.settle(soon()).unwrap();
        let blob = one_blob(&dir);
        // A link leads to the very content, which is still not what was put there.
        let outside = beside.path().join("outside");
        fs::copy(&blob, &outside).unwrap();
        if !plant.plant(&blob, &outside) {
            continue;
        }
        let named = blob.to_str().unwrap();
        is_damage(backend.get(&long, soon()), named);
        drop(backend);
        let backend = open(dir.path(), Access::Read).unwrap();
        is_damage(backend.get(&long, soon()), "no regular file");
        is_damage(backend.list(b"", None, 10, soon()), named);
    }
}

#[test]
fn what_is_planted_in_the_place_of_an_own_file_is_refused_by_name() {
    let beside = tempfile::tempdir().unwrap();
    for (plant, own) in Plant::ALL
        .into_iter()
        .flat_map(|plant| ["identity", "applied", "log"].map(|own| (plant, own)))
    {
        let dir = tempfile::tempdir().unwrap();
        let backend = create(&dir);
        put(&backend, b"a", b"1");
        backend.settle(soon()).unwrap();
        put(&backend, b"b", b"1");
        backend.sync(soon()).unwrap();
        drop(backend);
        let mut path = dir.path().join("files").join(own);
        if own == "log" {
            let segment = |path: &PathBuf| path.metadata().unwrap().len() > 100;
            let files = fs::read_dir(&path).unwrap();
            let mut files = files.map(|file| file.unwrap().path());
            let Some(found) = files.find(segment) else {
                continue;
            };
            path = found;
        }
        let outside = beside.path().join("outside");
        let _none = fs::copy(&path, &outside);
        if plant.plant(&path, &outside) {
            let refused = open(dir.path(), Access::ReadWrite).unwrap_err().to_string();
            assert!(
                refused.contains(path.to_str().unwrap()),
                "{plant:?} {own}: {refused}"
            );
        }
    }
}

#[test]
fn nothing_is_written_or_removed_where_a_link_leads() {
    for link in ["group", "fan", "new", "new/0"] {
        let dir = tempfile::tempdir().unwrap();
        let beside = tempfile::tempdir().unwrap();
        let backend = create(&dir);
        put(&backend, b"a", b"1");
        backend.settle(soon()).unwrap();
        let blob = one_blob(&dir);
        let fan = blob.parent().unwrap();
        let place = match link {
            "group" => fan.parent().unwrap().to_owned(),
            "fan" => fan.to_owned(),
            other => dir.path().join("files").join(other),
        };
        // What stands there already is what a write would find.
        let outside = beside.path().join("outside");
        if link == "new/0" {
            fs::write(&outside, "precious").unwrap();
        } else {
            fs::create_dir(&outside).unwrap();
            fs::rename(&place, outside.join("moved")).unwrap();
            fs::rename(outside.join("moved"), beside.path().join("real")).unwrap();
            fs::remove_dir(&outside).unwrap();
            fs::rename(beside.path().join("real"), &outside).unwrap();
        }
        std::os::unix::fs::symlink(&outside, &place).unwrap();
        let before = tree_of(beside.path());
        put(&backend, b"a", b"2");
        let settled = backend.settle(soon());
        if link != "new" {
            let refused = settled.unwrap_err().to_string();
            let named = place.parent().unwrap().parent().unwrap();
            assert!(
                refused.contains(named.to_str().unwrap()),
                "{link}: {refused}"
            );
            assert_eq!(tree_of(beside.path()), before, "{link}");
        }
        backend.delete(b"a", Precondition::Any, soon()).unwrap();
        if link != "new" && link != "new/0" {
            assert!(backend.settle(soon()).is_err());
            assert_eq!(tree_of(beside.path()), before, "{link}");
        }
        drop(backend);
        if link == "new" {
            let refused = open(dir.path(), Access::ReadWrite).unwrap_err().to_string();
            assert!(refused.contains(place.to_str().unwrap()), "{refused}");
        }
        if link == "group" || link == "fan" {
            let backend = open(dir.path(), Access::Read).unwrap();
            is_damage(backend.list(b"", None, 10, soon()), place.to_str().unwrap());
        }
    }
}

/// Names and contents of everything below a directory.
fn tree_of(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(tree_of(&path));
        }
        found.push((path.clone(), fs::read(&path).unwrap_or_default()));
    }
    found.sort();
    found
}
