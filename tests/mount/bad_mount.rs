//! Mounts that cannot be made or used: bad places, bad options, held, read-only and full stores.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::harness::{Mount, Output, Sandbox, detach, edn, is_mounted, need_root, save};
use crate::random::Random;
use crate::table::{Exit, Table};

fn mount(m: &Mount, store: &Path, dir: &Path, options: &[&str]) -> Output {
    let args = ["mount".as_ref(), store.as_os_str(), dir.as_os_str()];
    m.sandbox
        .kfs(args.into_iter().chain(options.iter().map(AsRef::as_ref)))
}

#[test]
fn a_mount_that_cannot_be_made_says_why_and_leaves_nothing_behind() {
    let m = Mount::unmounted();
    let beside = |name: &str| m.sandbox.path(name);
    fs::write(beside("file"), "x").unwrap();
    fs::write(m.sandbox.make_dir("full").join("thesis.txt"), "x").unwrap();
    let second = Mount::unmounted();
    second.mount();
    second.write("f", "x");
    let holder = second.pid().to_string();
    let busy = second.dir();
    let mut t = Table::new("mounts that cannot be made");

    let mut refused =
        |name: &str, store: &Path, dir: &Path, options: &[&str], exit, words: &[&str]| {
            let was_mounted = is_mounted(dir);
            t.command(name, &mount(&m, store, dir, options), exit, words);
            t.fact(
                name,
                is_mounted(dir) == was_mounted,
                "the mountpoint is as it was",
            );
            detach(&m.sandbox.path("mnt"));
        };
    let (store, dir) = (m.store(), m.dir());
    refused(
        "no mountpoint",
        store,
        &beside("none"),
        &[],
        Exit::NotFound,
        &["none", "mkdir"],
    );
    refused(
        "a file as mountpoint",
        store,
        &beside("file"),
        &[],
        Exit::Refused,
        &["file", "directory"],
    );
    refused(
        "a full mountpoint",
        store,
        &beside("full"),
        &[],
        Exit::Refused,
        &["full", "empty"],
    );
    refused(
        "a mountpoint in use",
        store,
        busy,
        &[],
        Exit::InUse,
        &[busy.to_str().unwrap(), "mounted"],
    );
    refused(
        "no store",
        &beside("nowhere"),
        dir,
        &[],
        Exit::NotFound,
        &["nowhere", "kfs init"],
    );
    refused(
        "not a store",
        &beside("home"),
        dir,
        &[],
        Exit::NotFound,
        &["home", "no store"],
    );
    refused(
        "a store in use",
        second.store(),
        dir,
        &[],
        Exit::InUse,
        &[&holder, "mounted"],
    );
    refused(
        "the store itself",
        store,
        store,
        &[],
        Exit::Refused,
        &["store", "itself"],
    );
    refused(
        "an option that is none",
        store,
        dir,
        &["-o", "frob"],
        Exit::Usage,
        &["frob"],
    );
    refused(
        "an option's value",
        store,
        dir,
        &["-o", "uid=me"],
        Exit::Usage,
        &["uid", "me"],
    );
    refused(
        "an option without its value",
        store,
        dir,
        &["-o", "uid"],
        Exit::Usage,
        &["uid"],
    );

    t.command(
        "umount of what is no mount",
        &m.sandbox.kfs(["umount".as_ref(), dir.as_os_str()]),
        Exit::NotFound,
        &[dir.to_str().unwrap(), "not"],
    );
    t.command(
        "umount of what is not there",
        &m.sandbox
            .kfs(["umount".as_ref(), beside("none").as_os_str()]),
        Exit::NotFound,
        &["none"],
    );
    assert_eq!(second.read("f"), b"x");
    m.mount();
    m.write("f", "y");
    assert_eq!(m.read("f"), b"y");
    t.finish(22);
}

#[test]
fn options_of_fstab_are_accepted() {
    let m = Mount::with_options(
        "rw,noauto,user,_netdev,nofail,x-systemd.automount,noatime,nodev,nosuid",
    );
    m.write("f", "x");
    assert_eq!(m.read("f"), b"x");
    m.put("api", "1");
    drop(m);
    let m = Mount::with_options("uid=1234,gid=4321,fsname=my#store");
    m.put("api", "1");
    assert_eq!(m.sh("stat -c %u:%g api"), "1234:4321");
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    let line = mounts
        .lines()
        .find(|line| line.contains(m.dir().to_str().unwrap()))
        .unwrap();
    // A `#` is written as \043 there.
    assert!(
        line.starts_with("my#store ") || line.starts_with("my\\043store "),
        "{line}"
    );
    assert!(line.split(' ').nth(2) == Some("fuse.kfs"), "{line}");
    for option in ["nosuid", "nodev"] {
        assert!(line.contains(option), "{line}");
    }
}

/// A filesystem of its own in a file, mounted on `disk`.
struct Disk {
    sandbox: Sandbox,
    dir: PathBuf,
}

impl Disk {
    fn new(mebibytes: u64) -> Self {
        need_root();
        let sandbox = Sandbox::new();
        let dir = sandbox.make_dir("disk");
        File::create(sandbox.path("image"))
            .unwrap()
            .set_len(mebibytes << 20)
            .unwrap();
        let it = Self { sandbox, dir };
        it.sh("mkfs.ext4 -q -m 0 -E lazy_itable_init=0 \"$T/image\"; mount -o loop \"$T/image\" \"$T/disk\"");
        it
    }

    #[track_caller]
    fn sh(&self, script: &str) {
        self.sandbox.sh_in(Path::new("/"), script).ok();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        detach(&self.dir);
    }
}

/// Makes a store on `disk`.
fn store_on(disk: &Disk) -> Mount {
    let m = Mount::of(Sandbox::new(), disk.dir.join("store"));
    m.sandbox.kfs(["init".as_ref(), m.store().as_os_str()]).ok();
    m
}

#[test]
fn a_full_disk_is_reported_loses_nothing_and_is_no_end() {
    let disk = Disk::new(20);
    let ballast = disk.dir.join("ballast");
    fs::write(&ballast, vec![1; 6 << 20]).unwrap();
    let m = store_on(&disk);
    m.mount();
    m.put("doc", "{:a 1}");

    let mut random = Random::new(3);
    let mut kept: Vec<(String, Vec<u8>)> = Vec::new();
    // Writes, flushes and syncs, as a program that looks at every answer.
    let mut write = |number: usize| -> Result<(String, Vec<u8>), io::Error> {
        let (name, content) = (format!("f{number}"), random.bytes(100_000));
        let mut file = File::create(m.path(&name))?;
        let result = file.write_all(&content).and_then(|()| file.sync_all());
        nix::unistd::close(file)?;
        result.map(|()| (name, content))
    };
    let mut full = None;
    for number in 0..400 {
        match write(number) {
            Ok(file) => kept.push(file),
            Err(error) => {
                full = Some(error);
                break;
            }
        }
    }
    let full = full.expect("40 MB went into a disk of 20 MB");
    assert_eq!(full.raw_os_error(), Some(libc::ENOSPC), "{full}");
    assert!(!kept.is_empty(), "not one file of 100 kB went into 14 MB");
    let intact = |when: &str| {
        for (name, content) in &kept {
            assert!(m.read(name) == *content, "{name} {when}");
        }
        assert_eq!(m.sh("cat doc/:a"), "1");
    };
    intact("while the disk is full");
    // What failed may be repeated, fails again, and still harms nobody.
    for number in 1000..1005 {
        if let Err(error) = write(number) {
            assert_eq!(error.raw_os_error(), Some(libc::ENOSPC), "{error}");
        }
    }
    intact("after more failures");
    fs::remove_file(&ballast).unwrap();
    let (name, content) = write(2000).expect("space was made, and it does not go on");
    m.put("doc/:a", "2");
    m.remount();
    assert!(m.read(&name) == content);
    for (name, content) in &kept {
        assert!(m.read(name) == *content, "{name} after space was made");
    }
    assert_eq!(m.get("doc"), edn("{:a 2}"));
    println!("{} files of 100 kB went in before {full}", kept.len());
}

#[test]
fn a_daemon_killed_on_a_full_disk_loses_nothing_either() {
    let disk = Disk::new(20);
    let ballast = disk.dir.join("ballast");
    fs::write(&ballast, vec![1; 6 << 20]).unwrap();
    let m = store_on(&disk);
    m.mount();
    let mut random = Random::new(4);
    let mut kept = Vec::new();
    for number in 0..1000 {
        let (name, content) = (format!("f{number}"), random.bytes(30_000));
        if save(&m.path(&name), &content).is_err() {
            break;
        }
        kept.push((name, content));
    }
    m.kill();
    fs::remove_file(&ballast).unwrap();
    m.mount();
    for (name, content) in &kept {
        assert!(m.read(name) == *content, "{name}");
    }
    m.write("after", "x");
    m.remount();
    assert_eq!(m.read("after"), b"x");
}

#[test]
fn a_store_on_a_read_only_disk_says_what_to_do() {
    let disk = Disk::new(20);
    let mut m = store_on(&disk);
    m.put("doc", "{:a 1}");
    disk.sh("mount -o remount,ro \"$T/disk\"");
    let mut t = Table::new("a read-only disk");
    t.command(
        "put",
        &m.kfs("put", "doc", &["2"]),
        Exit::Denied,
        &["store", "read-only"],
    );
    t.command(
        "mount",
        &m.try_mount(),
        Exit::Denied,
        &["store", "read-only", "-o ro"],
    );
    m.set_options("ro");
    m.mount();
    t.fact("mount -o ro", m.sh("cat doc/:a") == "1", "shows the store");
    m.umount();
    // As in a copy of what matters.
    disk.sh(r#"mount -o remount,rw "$T/disk"; rm "$T/disk/store/kfs.lock"; mount -o remount,ro "$T/disk""#);
    m.mount();
    t.fact("no lock file", m.sh("cat doc/:a") == "1", "is none needed");
    m.umount();
    disk.sh("mount -o remount,rw \"$T/disk\"");
    m.put("doc/:a", "3");
    assert_eq!(m.get("doc"), edn("{:a 3}"));
    t.finish(4);
}
