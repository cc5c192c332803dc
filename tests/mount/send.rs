//! `kfs send` and `kfs receive` beside mounts.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use crate::harness::{Mount, need_root, run};

/// The present state of a mount that has received a snapshot is that of the sender's snapshot, to
/// rsync with all that it compares, and to diff.
fn assert_same(sender: &Mount, name: &str, receiver: &Mount) {
    let script = format!(
        "S={}/.kfs/snapshot/{name}; R={}
         test -z \"$(rsync -naXHci --numeric-ids --delete $S/ $R/ | tee /dev/stderr)\"
         test -z \"$(rsync -naXHci --numeric-ids --delete $S/ $R/.kfs/snapshot/{name}/ | tee /dev/stderr)\"
         diff -r --no-dereference -x pipe $S $R
         types() {{ (cd $1 && find . ! -type l -exec getfattr -n user.kfs.type --only-values {{}} + 2>&1 || true); }}
         links() {{ (cd $1 && find . -printf '%p %y %m %U:%G %n %s %T@ %l\\n' | sort); }}
         types $S > $T/a; types $R > $T/b; cmp $T/a $T/b
         links $S > $T/a; links $R > $T/b; cmp $T/a $T/b",
        sender.dir().display(),
        receiver.dir().display(),
    );
    sender.sandbox.sh_in(&sender.sandbox.path(""), &script).ok();
}

#[test]
fn a_mounted_store_is_sent_and_arrives_with_everything() {
    need_root();
    let m = Mount::new();
    m.put(
        "doc",
        r#"{:a 1 :b [1 2 #{3}] :c "x" "t" #inst "2020-01-01T00:00:00Z"}"#,
    );
    m.sh(
        "mkdir -p d/e; for i in $(seq 50); do echo $i > d/$i; done; ln d/1 d/one; ln d/1 top; ln -s d link
         mkfifo pipe; chmod 4711 d/2; chown 12:34 d/3; setfattr -n user.x -v y d/4; touch -d 1999-01-01 d/5
         head -c 3000000 /dev/urandom > big; truncate -s 9M sparse; chmod 751 .; setfattr -n user.kfs.keep -v 1 d
         printf bare > d/bare; touch -d 2001-02-03 d; mkdir .kfs/snapshot/one",
    );
    let location = format!("file:{}", m.sandbox.path("replica").display());
    // While it is written to.
    m.sh(&format!("(for i in $(seq 100); do echo $i > new$i; done) & kfs send $M one | kfs receive {location}; wait"));
    let replica = Mount::of(crate::harness::Sandbox::new(), m.sandbox.path("replica"));
    replica.mount();
    assert_same(&m, "one", &replica);
    // Mounted, it receives nothing.
    m.sh("rm new*; echo changed > d/7; rm d/8; mv d/e top2; ln d/9 d/nine; rm top; ln -sf e link; chmod 700 d/10");
    m.put("doc/:c", "17");
    m.sh(
        "printf x | dd of=big bs=1 seek=1500000 conv=notrunc status=none; mkdir .kfs/snapshot/two",
    );
    m.sh("kfs send $M one..two > $T/stream");
    let refused = m
        .sandbox
        .sh_in(m.dir(), &format!("kfs receive {location} < $T/stream"))
        .fails();
    assert!(refused.errors().contains("in use"), "{refused}");
    replica.umount();
    let sent = fs::metadata(m.sandbox.path("stream")).unwrap().len();
    assert!(sent < 300_000, "{sent} bytes");
    m.sh(&format!("kfs receive {location} < $T/stream"));
    replica.mount();
    assert_same(&m, "two", &replica);
    // What it had before it still has.
    assert_eq!(replica.read(".kfs/snapshot/one/d/8"), b"8\n");
}

#[test]
fn modes_hold_in_a_snapshot_wherever_it_is_seen() {
    need_root();
    let m = Mount::with_options("allow_other");
    m.sh("echo open > open; echo secret > secret; chmod 644 open; chmod 600 secret; mkdir shut; echo x > shut/x
          chmod 700 shut; chmod 755 .; mkdir .kfs/snapshot/s");
    fs::set_permissions(m.sandbox.path(""), fs::Permissions::from_mode(0o755)).unwrap();
    // Somewhere where the directory that it is in keeps nobody out.
    let place = m.sandbox.make_dir("bound");
    let script = format!(
        "mount --bind {}/.kfs/snapshot/s {place} && exec setpriv --reuid=65534 --regid=65534 --clear-groups \
         sh -ec 'cd {place}; cat open; ! cat secret; ! ls shut; ! cat shut/x; ! touch new; ! rm open'",
        m.dir().display(),
        place = place.display(),
    );
    let mut other = Command::new("unshare");
    other.args(["--mount", "sh", "-ec", &script]);
    let seen = run(m.sandbox.set_up(&mut other), b"").ok();
    assert_eq!(seen.text(), "open");
}
