//! System calls on a mount that must fail, and the errno of each.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt, symlink};
use std::path::Path;

use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};

use crate::harness::{Mount, edn, save};
use crate::raw;
use crate::table::{Exit, Table};

fn rename2(from: &Path, to: &Path, flags: RenameFlags) -> io::Result<()> {
    renameat2(AT_FDCWD, from, AT_FDCWD, to, flags).map_err(io::Error::from)
}

const DOC: &str = r#"{:n 42 :m {:x 1} :v [1 2 3] :empty {} "text" "t"}"#;

#[test]
fn what_cannot_be_done_fails_with_the_errno_of_a_local_filesystem() {
    let m = Mount::new();
    m.put("doc", DOC);
    m.put("n", "42");
    m.write("f", "x");
    symlink("loop", m.path("loop")).unwrap();
    symlink("n", m.path("link")).unwrap();
    let p = |name: &str| m.path(name);
    let mut t = Table::new("errno of a mount");

    t.call(
        "open what is not there",
        File::open(p("none")),
        libc::ENOENT,
    );
    t.call(
        "open below what is not there",
        File::open(p("none/a")),
        libc::ENOENT,
    );
    t.call("open through a scalar", File::open(p("n/a")), libc::ENOTDIR);
    t.call(
        "create through a scalar",
        File::create(p("doc/:n/a")),
        libc::ENOTDIR,
    );
    t.call(
        "mkdir through a scalar",
        fs::create_dir(p("n/a")),
        libc::ENOTDIR,
    );
    t.call(
        "write to a directory",
        OpenOptions::new().write(true).open(p("doc")),
        libc::EISDIR,
    );
    t.call(
        "create what is there",
        File::create_new(p("n")),
        libc::EEXIST,
    );
    t.call(
        "mkdir what is there",
        fs::create_dir(p("doc")),
        libc::EEXIST,
    );
    t.call(
        "symlink over what is there",
        symlink("a", p("n")),
        libc::EEXIST,
    );
    t.call("follow a loop", File::open(p("loop")), libc::ELOOP);
    t.call("readlink of a file", fs::read_link(p("n")), libc::EINVAL);
    t.call(
        "rmdir of a full directory",
        fs::remove_dir(p("doc/:m")),
        libc::ENOTEMPTY,
    );
    t.call(
        "rmdir of a full vector",
        fs::remove_dir(p("doc/:v")),
        libc::ENOTEMPTY,
    );
    t.call("rmdir of a file", fs::remove_dir(p("n")), libc::ENOTDIR);
    t.call(
        "unlink of a directory",
        fs::remove_file(p("doc")),
        libc::EISDIR,
    );
    t.call(
        "unlink of what is not there",
        fs::remove_file(p("none")),
        libc::ENOENT,
    );

    t.call(
        "rename what is not there",
        fs::rename(p("none"), p("a")),
        libc::ENOENT,
    );
    t.call(
        "rename into itself",
        fs::rename(p("doc"), p("doc/:m/a")),
        libc::EINVAL,
    );
    t.call(
        "rename a directory over a file",
        fs::rename(p("doc"), p("n")),
        libc::ENOTDIR,
    );
    t.call(
        "rename a file over a directory",
        fs::rename(p("n"), p("doc/:empty")),
        libc::EISDIR,
    );
    t.call(
        "rename over a full directory",
        fs::rename(p("doc/:empty"), p("doc/:m")),
        libc::ENOTEMPTY,
    );
    let flags = rename2(&p("f"), &p("n"), RenameFlags::RENAME_NOREPLACE);
    t.call("rename without replacing", flags, libc::EEXIST);
    let flags = rename2(&p("f"), &p("none"), RenameFlags::RENAME_EXCHANGE);
    t.call("exchange with what is not there", flags, libc::ENOENT);
    let flags = rename2(&p("f"), &p("a"), RenameFlags::RENAME_WHITEOUT);
    t.call("rename with a flag that is not known", flags, libc::EINVAL);

    let long = "n".repeat(256);
    t.call(
        "a name of 256 bytes",
        save(&p(&long), b"x"),
        libc::ENAMETOOLONG,
    );
    t.call(
        "a directory of 256 bytes",
        fs::create_dir(p(&long)),
        libc::ENAMETOOLONG,
    );
    t.call(
        "a rename to 256 bytes",
        fs::rename(p("f"), p(&long)),
        libc::ENAMETOOLONG,
    );
    let hashed = format!("prefix%h{}", "0123456789abcdef".repeat(2));
    t.call(
        "a name that stands for a long key",
        save(&p(&hashed), b"x"),
        libc::EINVAL,
    );
    // It is a directory that is there: of most of these the kernel does not even ask.
    t.call("a file .kfs", File::create(p(".kfs")), libc::EISDIR);
    t.call("a directory .kfs", fs::create_dir(p(".kfs")), libc::EEXIST);
    t.call("a symlink .kfs", symlink("a", p(".kfs")), libc::EEXIST);
    t.call(
        "a rename of a file to .kfs",
        fs::rename(p("f"), p(".kfs")),
        libc::EISDIR,
    );
    t.call(
        "a rename of a directory to .kfs",
        fs::rename(p("doc"), p(".kfs")),
        libc::EPERM,
    );
    t.call("removing .kfs", fs::remove_dir(p(".kfs")), libc::EPERM);

    t.call(
        "an index far past the end",
        save(&p("doc/:v/99999999999"), b"x"),
        libc::EFBIG,
    );
    t.call(
        "an index past what holes may be",
        save(&p("doc/:v/16842755"), b"x"),
        libc::EFBIG,
    );
    t.call(
        "a directory at such an index",
        fs::create_dir(p("doc/:v/99999999999")),
        libc::EFBIG,
    );

    let set = |name: &str, attr: &str, value: &[u8]| raw::set_xattr(&p(name), attr, value, 0);
    t.call(
        "a type that is none",
        set("f", "user.kfs.type", b"flaot"),
        libc::EINVAL,
    );
    t.call(
        "a file's type for a directory",
        set("doc", "user.kfs.type", b"int"),
        libc::EINVAL,
    );
    t.call(
        "a directory's type for a file",
        set("f", "user.kfs.type", b"map"),
        libc::EINVAL,
    );
    for name in [
        "key",
        "last-write",
        "version",
        "size-on-disk",
        "error",
        "all",
    ] {
        let attr = format!("user.kfs.{name}");
        t.call(&format!("set {attr}"), set("f", &attr, b"x"), libc::EPERM);
    }
    t.call(
        "remove user.kfs.version",
        raw::remove_xattr(&p("f"), "user.kfs.version"),
        libc::EPERM,
    );
    t.call(
        "user.* on a symlink",
        set("link", "user.a", b"x"),
        libc::EPERM,
    );
    t.call(
        "an attribute that is not there",
        raw::get_xattr(&p("f"), "user.a"),
        libc::ENODATA,
    );
    t.call(
        "remove what is not there",
        raw::remove_xattr(&p("f"), "user.a"),
        libc::ENODATA,
    );
    t.call(
        "an attribute too large",
        set("f", "user.a", &vec![0; 70_000]),
        libc::E2BIG,
    );

    let mut unnamed = OpenOptions::new();
    let unnamed = unnamed
        .write(true)
        .custom_flags(libc::O_TMPFILE)
        .open(m.dir());
    t.call("a file without a name", unnamed, libc::EOPNOTSUPP);
    let file = File::open(p("n")).unwrap();
    t.call(
        "write through a reader",
        file.write_at(b"x", 0),
        libc::EBADF,
    );

    drop(file);
    m.remount();
    assert_eq!(m.get("doc"), edn(DOC), "something was changed");
    assert_eq!(m.get("n"), edn("42"));
    assert_eq!(m.names(""), ["doc", "f", "link", "loop", "n"]);
    t.finish(45);
}

#[test]
fn an_index_below_the_limit_is_accepted_and_costs_nothing() {
    let m = Mount::new();
    m.put("v", "[1]");
    m.sh("echo x > v/1000000; rm v/1000000");
    assert_eq!(m.get("v"), edn("[1]"));
    m.sh("echo x > v/70000");
    m.remount();
    assert_eq!(m.names("v"), ["0", "70000"]);
    assert_eq!(m.get("v/70000"), edn(r#""x""#));
}

#[test]
fn nothing_can_be_changed_on_a_read_only_mount() {
    let mut m = Mount::new();
    m.put("doc", DOC);
    m.write("f", "x");
    m.umount();
    m.set_options("ro");
    m.mount();
    let p = |name: &str| m.path(name);
    let mut t = Table::new("errno of a read-only mount");
    t.call(
        "write",
        OpenOptions::new().write(true).open(p("f")),
        libc::EROFS,
    );
    t.call("create", File::create(p("new")), libc::EROFS);
    t.call("mkdir", fs::create_dir(p("new")), libc::EROFS);
    t.call("unlink", fs::remove_file(p("f")), libc::EROFS);
    t.call("rename", fs::rename(p("f"), p("g")), libc::EROFS);
    t.call(
        "set an attribute",
        raw::set_xattr(&p("f"), "user.a", b"x", 0),
        libc::EROFS,
    );
    let truncate = nix::unistd::truncate(&p("f"), 0).map_err(io::Error::from);
    t.call("truncate", truncate, libc::EROFS);
    t.fact("read", m.read("f") == b"x", "reading works");
    t.fact(
        "get",
        m.get("doc") == edn(DOC),
        "reading through the daemon works",
    );
    let put = m.kfs("put", "n", &["1"]);
    t.command(
        "put",
        &put,
        Exit::Denied,
        &["store", "reading only", "-o ro"],
    );
    m.umount();
    m.set_options("");
    m.mount();
    assert_eq!(m.names(""), ["doc", "f"]);
    t.finish(10);
}

#[test]
fn a_dead_mount_says_so_and_does_not_hang() {
    let m = Mount::new();
    m.write("f", "x");
    let file = File::options().write(true).open(m.path("f")).unwrap();
    m.kill();
    let mut t = Table::new("errno of a dead mount");
    // What comes while the kernel takes the connection down is ECONNABORTED.
    let open = (0..100).map(|_| File::open(m.path("f"))).find(|opened| {
        let errno = opened.as_ref().err().and_then(io::Error::raw_os_error);
        errno != Some(libc::ECONNABORTED)
    });
    t.call("open", open.unwrap(), libc::ENOTCONN);
    t.call("list", fs::read_dir(m.dir()), libc::ENOTCONN);
    t.call("write", file.write_at(b"x", 0), libc::ENOTCONN);
    drop(file);
    t.command(
        "umount of another directory",
        &m.sandbox.kfs(["umount".as_ref(), m.store().as_os_str()]),
        Exit::NotFound,
        &["store", "not"],
    );
    m.mount();
    assert_eq!(m.read("f"), b"x");
    t.finish(4);
}
