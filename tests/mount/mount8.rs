//! mount(8) and fstab(5): `kfs` as their helper.

use std::fs;
use std::path::PathBuf;

use crate::harness::{KFS, Mount, Output, detach, is_mounted, need_root};

/// A file system type of this test's own, whose helper is `kfs`.
struct Helper {
    name: String,
    link: PathBuf,
}

impl Helper {
    fn install(prefix: &str, test: &str) -> Self {
        need_root();
        let name = format!("{prefix}kfs{}{test}", std::process::id());
        let link = PathBuf::from(format!("/sbin/mount.{name}"));
        let _ = fs::remove_file(&link);
        std::os::unix::fs::symlink(KFS, &link).unwrap();
        Self { name, link }
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.link);
    }
}

/// Runs `mount ARGUMENTS` with `$S` the store and `$D` the mountpoint.
fn mount(m: &Mount, arguments: &str) -> Output {
    let (store, dir) = (m.store().display(), m.dir().display());
    m.sandbox.sh_in(
        &m.sandbox.path(""),
        &format!("S='{store}' D='{dir}'\nmount {arguments}"),
    )
}

fn mounted_with(m: &Mount) -> String {
    let all = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let at = format!(" {} ", m.dir().display());
    let line = all.lines().find(|line| line.contains(&at));
    line.unwrap_or_else(|| panic!("{at} is not in mountinfo"))
        .to_owned()
}

#[test]
fn mount_with_a_type_mounts_and_umount_ends_it() {
    for (prefix, test) in [("", "a"), ("fuse.", "b")] {
        let helper = Helper::install(prefix, test);
        let m = Mount::unmounted();
        mount(&m, &format!("-t {} \"$S\" \"$D\"", helper.name)).ok();
        m.adopt();
        m.write("f", "seen\n");
        assert_eq!(m.read("f"), b"seen\n");
        let source = format!("fuse.kfs {} rw", m.store().display());
        let line = mounted_with(&m);
        assert!(line.contains(&source), "{line}");
        let pid = m.pid();
        m.sandbox
            .sh_in(
                &m.sandbox.path(""),
                &format!("umount '{}'", m.dir().display()),
            )
            .ok();
        assert!(crate::harness::gone_within(
            pid,
            std::time::Duration::from_secs(20)
        ));
        assert!(!is_mounted(m.dir()));
    }
}

#[test]
fn options_of_mount_are_honoured() {
    let helper = Helper::install("fuse.", "c");
    for (options, words) in [
        ("suid,dev,noatime", &["rw,noatime "] as &[&str]),
        ("nosuid,nodev", &["rw,nosuid,nodev,relatime"]),
        ("ro,noexec", &["ro,noexec"]),
        (
            "allow_other,fsname=a#b",
            &["allow_other", "fuse.kfs a\\043b"],
        ),
        (
            "auto,noauto,user,_netdev,nofail,x-systemd.automount,rw,exec",
            &["rw,nosuid,nodev"],
        ),
    ] {
        let m = Mount::unmounted();
        mount(
            &m,
            &format!("-t {} -o {options} \"$S\" \"$D\"", helper.name),
        )
        .ok();
        m.adopt();
        let line = mounted_with(&m);
        for word in words {
            assert!(line.contains(word), "{options}: {line}");
        }
        assert!(line.contains("default_permissions"), "{options}: {line}");
        let refused = fs::write(m.path("f"), "x").is_err();
        assert_eq!(refused, options.starts_with("ro"), "{options}");
        m.umount();
    }
}

#[test]
fn what_cannot_be_mounted_says_why_and_mounts_nothing() {
    let helper = Helper::install("fuse.", "d");
    let m = Mount::unmounted();
    for (arguments, code, word) in [
        ("-o colour=red \"$S\" \"$D\"", 1, "colour"),
        ("/none \"$D\"", 32, "/none"),
        ("\"$S\" /none", 32, "/none"),
    ] {
        let told = mount(&m, &format!("-t {} {arguments}", helper.name));
        assert_eq!(told.code, code, "{told}");
        assert!(told.errors().contains(word), "{told}");
        let mounted = is_mounted(m.dir());
        detach(m.dir());
        assert!(!mounted, "{told}");
    }
    // Everything but the mounting.
    mount(&m, &format!("-f -t {} \"$S\" \"$D\"", helper.name)).ok();
    assert!(!is_mounted(m.dir()));
}

#[test]
fn lines_of_fstab_mount_several_stores_once_each() {
    let helper = Helper::install("fuse.", "e");
    let (a, b) = (Mount::unmounted(), Mount::unmounted());
    let line = |m: &Mount, options: &str| {
        let (store, dir) = (m.store().display(), m.dir().display());
        format!("{store} {dir} {} {options} 0 0\n", helper.name)
    };
    let fstab = a.sandbox.path("fstab");
    let text = line(&a, "defaults,nofail,_netdev") + &line(&b, "rw,x-test.y=z,noauto");
    fs::write(&fstab, text).unwrap();
    let script = |rest: &str| format!("mount -T '{}' {rest}", fstab.display());
    let run = |rest: &str| a.sandbox.sh_in(&a.sandbox.path(""), &script(rest));
    run("-a").ok();
    a.adopt();
    assert!(!is_mounted(b.dir()), "noauto");
    run(&format!("'{}'", b.dir().display())).ok();
    b.adopt();
    // What is mounted is found again by its source.
    run("-a").ok();
    a.write("f", "a");
    b.write("f", "b");
    assert_eq!((a.read("f"), b.read("f")), (b"a".to_vec(), b"b".to_vec()));
    a.umount();
    b.umount();
}
