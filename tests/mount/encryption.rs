//! A mounted store that is encrypted: who sees what of it on the machine.

use std::fs;
use std::path::Path;

use nix::unistd::Pid;

use crate::harness::{Mount, Sandbox};

const KEY_NAME: &str = "nameofasecretkey";
const FILE_NAME: &str = "nameofasecretfile";
const VALUE: &str = "bytesofasecretvalue";

/// Everything of a directory, with the names in it.
fn bytes_of(dir: &Path) -> Vec<u8> {
    let mut all = Vec::new();
    let mut todo = vec![dir.to_owned()];
    while let Some(dir) = todo.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let entry = entry.unwrap();
            all.extend(entry.file_name().into_encoded_bytes());
            let kind = entry.file_type().unwrap();
            if kind.is_dir() {
                todo.push(entry.path());
            } else if kind.is_file() {
                all.extend(fs::read(entry.path()).unwrap());
            }
        }
    }
    all
}

/// What others can see of a process.
fn shown(pid: Pid) -> Vec<u8> {
    let file = |name: &str| fs::read(format!("/proc/{pid}/{name}")).unwrap();
    [file("cmdline"), file("environ")].concat()
}

fn hits(all: &[u8], needles: &[&[u8]]) -> Vec<String> {
    let has = |needle: &&&[u8]| all.windows(needle.len()).any(|part| part == **needle);
    let found = needles.iter().filter(has);
    found
        .map(|needle| needle.escape_ascii().to_string())
        .collect()
}

/// Works on a mount, and gives all that is on disk, in logs and in the process meanwhile and afterwards.
fn used(m: &Mount) -> Vec<u8> {
    m.sh(&format!(
        "mkdir {KEY_NAME}; echo {VALUE} > {KEY_NAME}/{FILE_NAME}; sync {KEY_NAME}/{FILE_NAME}
         cp {KEY_NAME}/{FILE_NAME} {FILE_NAME}; mv {FILE_NAME} {FILE_NAME}2
         cat {FILE_NAME}2; rm {FILE_NAME}2; echo more >> {KEY_NAME}/{FILE_NAME}; cat none || true"
    ));
    let dirs = |m: &Mount| {
        let mut all = bytes_of(m.store());
        for name in ["run", "home", "tmp"] {
            all.extend(bytes_of(&m.sandbox.path(name)));
        }
        all
    };
    let mut all = [dirs(m), shown(m.pid())].concat();
    m.gc();
    all.extend(dirs(m));
    m.umount();
    all.extend(dirs(m));
    all
}

fn traced() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.make_dir("tmp");
    sandbox.set("KFS_LOG", "trace");
    sandbox.set("TMPDIR", sandbox.path("tmp"));
    sandbox
}

#[test]
fn nothing_of_a_mounted_store_gets_out_but_through_the_mount() {
    let passphrase: &[u8] = b"passphrase of a secret store";
    let contents = [KEY_NAME, FILE_NAME, VALUE].map(str::as_bytes);
    // What is in the clear is found, so the search finds what there is.
    let plain = Mount::made(traced(), "kfs", &["--compress", "none"]);
    plain.mount();
    assert_eq!(hits(&used(&plain), &contents).len(), contents.len());

    let sandbox = traced();
    sandbox.key(passphrase);
    let said = "cat $CREDENTIALS_DIRECTORY/kfs.key";
    let args = ["--compress", "none", "--encrypt", "--passcommand", said];
    let m = Mount::made(sandbox, "kfs", &args);
    m.mount();
    let limits = fs::read_to_string(format!("/proc/{}/limits", m.pid())).unwrap();
    let core = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"));
    let core: Vec<&str> = core.unwrap().split_whitespace().collect();
    assert_eq!(core[4..6], ["0", "0"], "{core:?}");
    // Nobody but root can look into its memory: what is there belongs to root, whoever runs it.
    let mut needles = contents.to_vec();
    needles.push(passphrase);
    assert_eq!(hits(&used(&m), &needles), Vec::<String>::new());
}

#[test]
fn commands_on_a_mount_need_no_key() {
    let m = Mount::encrypted();
    m.sandbox.unset("CREDENTIALS_DIRECTORY");
    let store = m.store().to_str().unwrap();
    m.sandbox.kfs(["put", store, "a", "--", "{:x 1}"]).ok();
    assert_eq!(m.sandbox.kfs(["get", store, "a"]).ok().text(), "{:x 1}");
    m.sandbox.kfs(["fsck", store]).ok();
    m.sandbox.kfs(["key", "list", store]).fails();
}

#[test]
fn a_mount_takes_its_key_from_an_option_or_the_command_line() {
    let mut m = Mount::encrypted();
    m.umount();
    m.sandbox.unset("CREDENTIALS_DIRECTORY");
    let key = m.sandbox.path("credentials/kfs.key");
    m.set_options(&format!("key-file={}", key.display()));
    m.mount();
    m.umount();
    m.set_options("");
    let (store, dir) = (m.store().to_owned(), m.dir().to_owned());
    let args = [
        "mount".as_ref(),
        store.as_os_str(),
        dir.as_os_str(),
        "--key-file".as_ref(),
        key.as_os_str(),
    ];
    m.sandbox.kfs(args).ok();
    m.adopt();
    // The key of another store.
    m.umount();
    fs::write(&key, [9; 64]).unwrap();
    let wrong = m.sandbox.kfs(args).fails();
    assert!(
        wrong.errors().contains("the key does not open it"),
        "{wrong}"
    );
}
