//! Encrypted stores on the command line.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::harness::{Bench, Ended, KFS, run};

/// A store `s` that the key file `key` opens, and a passphrase.
fn encrypted() -> Bench {
    let bench = Bench::without_store();
    key_file(&bench, "key", &[7; 64]);
    bench
        .kfs(["init", "s", "--encrypt", "--key-file", "key"])
        .ok();
    bench
}

fn key_file(bench: &Bench, name: &str, bytes: &[u8]) {
    fs::write(bench.path(name), bytes).unwrap();
    mode(bench, name, 0o600);
}

fn mode(bench: &Bench, name: &str, mode: u32) {
    fs::set_permissions(bench.path(name), fs::Permissions::from_mode(mode)).unwrap();
}

/// Without a terminal, whoever runs the tests.
fn detached(bench: &Bench, args: &[&str]) -> Ended {
    let mut command = bench.command("setsid");
    command.arg("-w").arg(KFS).args(args);
    run(command, b"")
}

/// On a terminal, where this is typed, a line whenever something is asked for. What the terminal shows is
/// its output.
fn typed(bench: &Bench, lines: &[&str], args: &[&str]) -> Ended {
    const SCRIPT: &str = "
import os, pty, sys
lines, args = sys.argv[1].split('\\n'), sys.argv[2:]
pid, terminal = pty.fork()
if pid == 0:
    os.execv(args[0], args)
shown = b''
while True:
    try:
        part = os.read(terminal, 1000)
    except OSError:
        break
    if not part:
        break
    shown += part
    asked = part.split(b'\\n')[-1].startswith((b'Passphrase', b'New passphrase', b'The same'))
    if asked and part.endswith(b': ') and lines:
        os.write(terminal, lines.pop(0).encode() + b'\\n')
sys.stdout.buffer.write(shown)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
";
    let mut command = bench.command("python3");
    command
        .args(["-c", SCRIPT, &lines.join("\n"), KFS])
        .args(args);
    run(command, b"")
}

#[test]
fn every_command_takes_the_key_and_fails_without_it() {
    let bench = encrypted();
    let with = |args: &[&str]| bench.kfs([&["--key-file", "key"], args].concat());
    with(&["put", "s", "a", "--", "{:x 1}"]).ok();
    assert_eq!(with(&["get", "s", "a"]).ok(), "{:x 1}");
    assert_eq!(with(&["ls", "s"]).ok(), "a");
    with(&["snapshot", "create", "s", "one"]).ok();
    with(&["gc", "s"]).ok();
    with(&["fsck", "s"]).ok();
    with(&["fsck", "s", "--repair"]).ok();
    for args in [
        &["get", "s", "a"] as &[&str],
        &["put", "s", "a", "1"],
        &["ls", "s"],
        &["snapshot", "list", "s"],
        &["gc", "s"],
        &["fsck", "s"],
        &["fsck", "s", "--repair"],
        &["key", "list", "s"],
        &["send", "s", "one"],
    ] {
        let message = detached(&bench, args).fails(8);
        assert!(
            message.contains("encrypted") && message.contains("--key-file"),
            "{message}"
        );
    }
    key_file(&bench, "wrong", &[8; 64]);
    let message = bench.kfs(["get", "s", "a", "--key-file", "wrong"]).fails(8);
    assert!(message.contains("the key does not open it"), "{message}");
}

#[test]
fn a_key_for_a_store_in_the_clear_is_refused() {
    let bench = Bench::new();
    key_file(&bench, "key", &[7; 64]);
    let message = bench.kfs(["ls", "s", "--key-file", "key"]).fails(4);
    assert!(message.contains("not encrypted"), "{message}");
    bench.kfs(["init", "t", "--key-file", "key"]).fails(2);
    assert!(!bench.path("t").exists());
}

#[test]
fn a_key_file_is_its_owners_alone_and_long_enough() {
    let bench = encrypted();
    mode(&bench, "key", 0o640);
    let message = bench.kfs(["ls", "s", "--key-file", "key"]).fails(4);
    assert!(message.contains("chmod go="), "{message}");
    key_file(&bench, "short", b"too short to be random");
    let message = bench.kfs(["ls", "s", "--key-file", "short"]).fails(4);
    assert!(message.contains("32 to"), "{message}");
    bench.kfs(["ls", "s", "--key-file", "missing"]).fails(3);
}

#[test]
fn a_passphrase_is_asked_for_and_not_shown() {
    let bench = Bench::without_store();
    let secret = "correct horse battery";
    let made = typed(&bench, &[secret, secret], &["init", "s", "--encrypt"]);
    assert_eq!(made.code, 0, "{made:?}");
    assert!(
        made.out.contains("New passphrase of") && !made.out.contains("horse"),
        "{made:?}"
    );
    let put = typed(&bench, &["wrong", secret], &["put", "s", "a", "1"]);
    assert_eq!(put.code, 0, "{put:?}");
    assert!(
        put.out.contains("does not open it") && !put.out.contains("horse"),
        "{put:?}"
    );
    let wrong = typed(&bench, &["wrong"; 3], &["get", "s", "a"]);
    assert_eq!(wrong.code, 8, "{wrong:?}");
    // A program may say it.
    fs::write(bench.path("pass"), format!("{secret}\nand more\n")).unwrap();
    assert_eq!(
        bench
            .kfs(["get", "s", "a", "--passcommand", "cat pass"])
            .ok(),
        "1"
    );
    bench
        .kfs(["get", "s", "a", "--passcommand", "exit 3"])
        .fails(1);
    let differ = typed(&bench, &["one", "two"], &["init", "t", "--encrypt"]);
    assert_eq!(differ.code, 4, "{differ:?}");
    assert!(!bench.path("t").exists());
    // Whoever makes a store without a terminal says with what.
    detached(&bench, &["init", "t", "--encrypt"]).fails(4);
}

#[test]
fn a_service_has_its_key_as_a_credential() {
    let bench = Bench::without_store();
    fs::create_dir(bench.path("credentials")).unwrap();
    let get = |content: &[u8], store: &str| {
        fs::write(bench.path("credentials/kfs.key"), content).unwrap();
        let mut command = bench.command(KFS);
        command
            .env("CREDENTIALS_DIRECTORY", bench.path("credentials"))
            .args(["ls", store]);
        run(command, b"")
    };
    key_file(&bench, "key", &[7; 64]);
    bench
        .kfs(["init", "s", "--encrypt", "--key-file", "key"])
        .ok();
    get(&[7; 64], "s").ok();
    let long = "a passphrase that is longer than the shortest key file";
    bench
        .kfs([
            "init",
            "t",
            "--encrypt",
            "--passcommand",
            &format!("echo {long}"),
        ])
        .ok();
    get(format!("{long}\n").as_bytes(), "t").ok();
    // It is no reason to refuse a store that needs none.
    bench.kfs(["init", "u"]).ok();
    get(&[7; 64], "u").ok();
}

#[test]
fn what_opens_a_store_is_added_listed_exchanged_and_removed() {
    let bench = encrypted();
    key_file(&bench, "second", &[8; 64]);
    key_file(&bench, "third", &[9; 64]);
    let opens = |key: &str| bench.kfs(["ls", "s", "--key-file", key]).code == 0;
    let with = |key: &str, args: &[&str]| bench.kfs([&["--key-file", key], args].concat());
    with("key", &["key", "add", "s", "--new-key-file", "second"]).ok();
    with(
        "key",
        &["key", "add", "s", "--new-passcommand", "echo hello"],
    )
    .ok();
    let list = with("second", &["key", "list", "s"]).ok();
    let kinds: Vec<&str> = list.lines().map(|line| line[5..16].trim()).collect();
    assert_eq!(kinds, ["key file", "key file", "passphrase"], "{list}");
    assert!(opens("key") && opens("second"));
    with("key", &["key", "rotate", "s", "--new-key-file", "third"]).ok();
    assert!(!opens("key") && opens("second") && opens("third"));
    with("third", &["key", "rm", "s", "1"]).ok();
    with("third", &["key", "rm", "s", "2"]).ok();
    assert!(!opens("second"));
    let message = with("third", &["key", "rm", "s", "3"]).fails(4);
    assert!(message.contains("the only one"), "{message}");
    with("third", &["key", "rm", "s", "9"]).fails(4);
    assert!(opens("third"));
}

#[test]
fn snapshots_are_received_into_a_new_encrypted_store() {
    let bench = Bench::new();
    bench.put("a", "1");
    bench.kfs(["snapshot", "create", "s", "one"]).ok();
    key_file(&bench, "key", &[7; 64]);
    let mut command = bench.command("sh");
    command.args([
        "-ec",
        "\"$0\" send s one | \"$0\" receive t --key-file key",
        KFS,
    ]);
    run(command, b"").ok();
    assert_eq!(bench.kfs(["get", "t", "a", "--key-file", "key"]).ok(), "1");
    detached(&bench, &["get", "t", "a"]).fails(8);
}

#[test]
fn an_encrypted_store_is_destroyed_without_its_key() {
    let bench = encrypted();
    let id = bench.json(["init", "t", "--encrypt", "--key-file", "key", "--json"])["id"]
        .as_str()
        .unwrap()
        .to_owned();
    bench.kfs(["destroy", "s", "--id", &id]).fails(4);
    bench.kfs(["destroy", "t", "--id", &id]).ok();
    assert!(!bench.path("t").exists());
}

#[test]
fn what_is_edited_is_in_memory_only_and_under_a_name_that_says_nothing() {
    let bench = encrypted();
    let with = |args: &[&str]| bench.kfs([&["--key-file", "key"], args].concat());
    with(&["put", "s", "secretname", "--", "{:x 1}"]).ok();
    fs::write(
        bench.path("editor"),
        "printf '%s' \"$1\" > seen; stat -f -c %T \"$1\" >> seen; stat -c %a \"$1\" >> seen\n\
         sed -i 's/1/2/' \"$1\"\n",
    )
    .unwrap();
    let mut command = bench.command(KFS);
    command
        .env("EDITOR", "sh editor")
        .args(["edit", "s", "secretname", "--key-file", "key"]);
    run(command, b"").ok();
    assert_eq!(with(&["get", "s", "secretname"]).ok(), "{:x 2}");
    let seen = fs::read_to_string(bench.path("seen")).unwrap();
    assert!(
        seen.contains("tmpfs\n600") && !seen.contains("secretname"),
        "{seen}"
    );
    let draft = seen.split("value.edn").next().unwrap();
    assert!(!fs::exists(draft).unwrap(), "{draft}");
}
