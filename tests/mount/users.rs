//! Ordinary users: mounting through fusermount3, and what others may see.

use std::os::unix::fs::{PermissionsExt, chown};
use std::path::PathBuf;
use std::process::Command;
use std::{fs, io};

use crate::harness::{KFS, Mount, Output, Sandbox, detach, is_mounted, need_root, run};

/// Users that every Debian system has, because fusermount3 wants a name: nobody and daemon.
const USER: u32 = 65_534;
const STRANGER: u32 = 1;

/// A home for a user, with a copy of `kfs` that the user may run.
struct Home {
    sandbox: Sandbox,
    uid: u32,
}

impl Home {
    fn new(uid: u32) -> Self {
        need_root();
        let sandbox = Sandbox::new();
        let give = |path: PathBuf| chown(path, Some(uid), Some(uid)).unwrap();
        // By a process of its own: one that is started meanwhile by another test would have this
        // process's file open for writing until it runs its program, and the copy could not be run.
        run(Command::new("cp").arg(KFS).arg(sandbox.path("kfs")), b"").ok();
        fs::set_permissions(sandbox.path(""), fs::Permissions::from_mode(0o755)).unwrap();
        for name in ["run", "home"] {
            give(sandbox.path(name));
        }
        sandbox.make_dir("work");
        give(sandbox.path("work"));
        Self { sandbox, uid }
    }

    /// Runs a shell script as a user, in the directory that belongs to the home's owner.
    #[track_caller]
    fn sh_as(&self, uid: u32, script: &str) -> Output {
        let mut command = Command::new("setpriv");
        command
            .args([
                &format!("--reuid={uid}"),
                &format!("--regid={uid}"),
                "--clear-groups",
            ])
            .args(["sh", "-ec", &format!("umask 022\n{script}")]);
        self.sandbox.set_up(&mut command);
        let path = std::env::var("PATH").unwrap_or_default();
        let own = self.sandbox.path("").display().to_string();
        command
            .env("PATH", format!("{own}:{path}:/usr/sbin:/sbin"))
            .current_dir(self.sandbox.path("work"));
        run(&mut command, b"")
    }

    #[track_caller]
    fn sh(&self, script: &str) -> Output {
        self.sh_as(self.uid, script)
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        detach(&self.sandbox.path("work/mnt"));
    }
}

#[test]
fn an_ordinary_user_mounts_writes_and_unmounts() {
    let home = Home::new(USER);
    let mnt = home.sandbox.path("work/mnt");
    home.sh("kfs init store; mkdir mnt; kfs mount store mnt")
        .ok();
    assert!(is_mounted(&mnt));
    home.sh(r#"
        cd mnt
        mkdir d; echo hello > d/f; sed -i s/hello/goodbye/ d/f; mv d/f d/g; ln -s g d/l
        test "$(cat d/l)" = goodbye
        test "$(stat -c %u:%g d/g)" = 65534:65534
        test "$(kfs get ../store d/g)" = '"goodbye"'
        kfs put ../store d/n 42
        test "$(cat d/n)" = 42
        cd ..
        kfs umount mnt
        kfs mount store mnt
        test "$(cat mnt/d/g)" = goodbye
    "#)
        .ok();
    // Without `allow_other` nobody else gets in, root neither.
    let error = fs::read_dir(&mnt).map(drop).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
    home.sh_as(STRANGER, "ls mnt").fails();
    home.sh_as(STRANGER, "kfs get store d/n").fails();
    home.sh("kfs umount mnt").ok();
    assert!(!is_mounted(&mnt));
}

#[test]
fn a_user_cleans_up_after_a_killed_daemon() {
    let home = Home::new(USER);
    home.sh(r#"
        kfs init store; mkdir mnt; kfs mount store mnt
        echo hello > mnt/f
        pid=$(kfs status store --json | python3 -c 'import json, sys; print(json.load(sys.stdin)["pid"])')
        kill -9 $pid
        while kill -0 $pid 2> /dev/null; do sleep 0.05; done
        kfs mount store mnt
        test "$(cat mnt/f)" = hello
        kfs umount mnt
    "#)
    .ok();
}

#[test]
fn a_store_that_the_user_may_not_read_is_named_with_the_reason() {
    let home = Home::new(USER);
    home.sh("kfs init store; chmod 700 store; mkdir mnt").ok();
    for script in [
        "kfs get store a",
        "kfs put store a 1",
        "kfs mount store mnt",
    ] {
        let output = home.sh_as(STRANGER, script).fails();
        let says = output.errors().to_lowercase();
        assert!(
            says.contains("store") && says.contains("permission"),
            "{output}"
        );
    }
    home.sh("kfs put store a 1; test $(kfs get store a) = 1")
        .ok();
}

#[test]
fn modes_are_enforced_between_users_of_one_mount() {
    need_root();
    let m = Mount::with_options("allow_other");
    fs::set_permissions(m.sandbox.path(""), fs::Permissions::from_mode(0o755)).unwrap();
    m.sh(
        "echo secret > private; chmod 600 private; echo x > shared; chmod 666 shared
          mkdir drop; chmod 1777 drop; mkdir closed; chmod 700 closed; chmod 755 .",
    );
    let as_user = |uid: u32, script: &str| {
        let mut command = Command::new("setpriv");
        command
            .args([
                &format!("--reuid={uid}"),
                &format!("--regid={uid}"),
                "--clear-groups",
            ])
            .args(["sh", "-ec", script])
            .current_dir(m.dir());
        run(m.sandbox.set_up(&mut command), b"")
    };
    for script in [
        "cat private",
        "echo y >> private",
        "ls closed",
        "rm shared",
        "echo x > new",
    ] {
        as_user(USER, script).fails();
    }
    as_user(
        USER,
        "cat shared; echo y > shared; echo mine > drop/f; chmod 600 drop/f",
    )
    .ok();
    for script in [
        "cat drop/f",
        "rm drop/f",
        "mv drop/f drop/g",
        "chmod 666 drop/f",
        "chown 0 drop/f",
    ] {
        as_user(STRANGER, script).fails();
    }
    assert_eq!(
        m.sh("stat -c %u:%g drop/f; cat shared drop/f"),
        format!("{USER}:{USER}\ny\nmine")
    );
}
