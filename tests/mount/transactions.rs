//! `.kfs/tx` in a mount.

use std::fs;
use std::io::{Read, Seek, Write};

use crate::harness::{Mount, edn};

#[test]
fn a_directory_is_a_private_copy_until_it_is_moved_to_commit() {
    let m = Mount::new();
    m.put("user", r#"{:name "Ada" :langs ["en" "fr"] :age 36}"#);
    m.sh("echo one > file; echo gone > gone; mkdir -p d/e; echo deep > d/e/f; ln file hard; chmod 640 file");
    m.sh("mkdir .kfs/tx/t; test \"$(ls .kfs/tx)\" = t; test \"$(ls -p .kfs | grep / | xargs)\" = 'edn/ json/ snapshot/ tx/'");
    m.sh(
        "cd .kfs/tx/t; sed -i s/36/37/ user/:age; echo two > file; rm gone; mkdir -p new/dir; \
         echo n > new/dir/n; mv d moved; ln -s file link; cp -a user copy; \
         setfattr -n user.x -v y file; echo many | tee x1 x2 x3 >/dev/null; rm x2; \
         ln x1 x4; test \"$(stat -c %h x1)\" = 2; test \"$(cat file)\" = two; \
         git init -q repo; cd repo; git add . ; git -c user.name=a -c user.email=b commit -q --allow-empty -m c",
    );
    // Nobody has seen anything.
    let ada = edn(r#"{:name "Ada" :langs ["en" "fr"] :age 36}"#);
    assert_eq!(m.get("user"), ada);
    m.sh("test \"$(ls | tr '\\n' ' ')\" = 'd file gone hard user '; test \"$(cat file d/e/f)\" = \"$(printf 'one\\ndeep')\"");
    m.sh("echo else > beside; echo beside > user/beside");
    m.sh("mv .kfs/tx/t .kfs/commit; test ! -e .kfs/commit; test ! -e .kfs/tx/t; test -z \"$(ls .kfs/tx)\"");
    for time in ["at once", "after a restart", "after a kill"] {
        m.sh(
            "test \"$(ls | tr '\\n' ' ')\" = 'beside copy file hard link moved new repo user x1 x3 x4 '; \
             test \"$(cat file)\" = two; test \"$(cat hard)\" = two; test \"$(cat user/:age)\" = 37; \
             test \"$(getfattr --only-values -n user.kfs.type user/:age)\" = int; \
             test \"$(cat moved/e/f)\" = deep; test \"$(cat new/dir/n)\" = n; test \"$(readlink link)\" = file; \
             test \"$(stat -c %a:%h file)\" = 640:2; test \"$(stat -c %h x1)\" = 2; test x1 -ef x4; \
             test \"$(getfattr --only-values -n user.x file)\" = y; test \"$(cat user/beside)\" = beside; \
             git -C repo fsck --strict",
        );
        match time {
            "at once" => m.remount(),
            _ => {
                m.kill();
                m.mount();
            }
        }
    }
    m.gc().ok();
    m.fsck().ok();
}

#[test]
fn a_conflict_is_named_and_nothing_is_changed() {
    let m = Mount::new();
    m.sh("mkdir d; echo 1 > d/a; echo 1 > d/b; mkdir .kfs/tx/t; cd .kfs/tx/t; echo 2 > d/a; echo 2 > d/b; echo 2 > new");
    m.sh("echo 3 > d/a");
    m.sh("LC_ALL=C mv .kfs/tx/t .kfs/commit 2>&1 | grep -q busy");
    m.sh("test \"$(cat d/a d/b | tr '\\n' ' ')\" = '3 1 '; test ! -e new; test \"$(cat .kfs/tx/t/d/a)\" = 2");
    m.sh("getfattr --only-values -n user.kfs.error .kfs/tx/t | grep -q 'd.*a.*was changed'");
    // What is in the way can be taken out of it.
    m.sh("cat d/a > .kfs/tx/t/d/a; ! mv .kfs/tx/t .kfs/commit 2>/dev/null; rmdir .kfs/tx/t; test -z \"$(ls .kfs/tx)\"");
    m.sh("mkdir .kfs/tx/u; echo 4 > .kfs/tx/u/d/a; mv .kfs/tx/u .kfs/commit; test \"$(cat d/a d/b | tr '\\n' ' ')\" = '4 1 '");
    m.gc().ok();
    m.fsck().ok();
}

#[test]
fn what_is_open_in_a_transaction_is_committed_and_stale_afterwards() {
    let m = Mount::new();
    m.sh("echo 1 > f; mkdir .kfs/tx/t");
    let mut open = fs::File::options()
        .read(true)
        .write(true)
        .open(m.path(".kfs/tx/t/f"))
        .unwrap();
    open.write_all(b"written\n").unwrap();
    let dir = fs::File::open(m.path(".kfs/tx/t")).unwrap();
    fs::rename(m.path(".kfs/tx/t"), m.path(".kfs/commit")).unwrap();
    assert_eq!(m.read("f"), b"written\n");
    let late = open.write_all(b"late").unwrap_err();
    assert_eq!(late.raw_os_error(), Some(libc::ESTALE));
    assert_eq!(m.read("f"), b"written\n");
    open.rewind().unwrap();
    let mut text = String::new();
    let _ = open.read_to_string(&mut text);
    drop((open, dir));
    m.sh("mkdir .kfs/tx/t; echo more >> .kfs/tx/t/f; rmdir .kfs/tx/t; test \"$(cat f)\" = written");
    // A transaction that nobody ended is gone with the mount, and leaves nothing.
    m.sh("mkdir .kfs/tx/t; echo more >> .kfs/tx/t/f");
    m.kill();
    m.mount();
    m.sh("test -z \"$(ls .kfs/tx)\"; test \"$(cat f)\" = written");
    m.remount();
    m.sh("mkdir .kfs/tx/t; echo again > .kfs/tx/t/f");
    m.remount();
    m.sh("test -z \"$(ls .kfs/tx)\"; test \"$(cat f)\" = written");
    m.gc().ok();
    m.fsck().ok();
}

#[test]
fn nothing_moves_between_a_transaction_and_the_rest_but_by_copying() {
    let m = Mount::new();
    m.sh("echo 1 > f; mkdir .kfs/tx/t .kfs/tx/u");
    let errno = |from: &str, to: &str| {
        let done = fs::rename(m.path(from), m.path(to));
        done.unwrap_err().raw_os_error()
    };
    for (from, to) in [
        ("f", ".kfs/tx/t/g"),
        (".kfs/tx/t/f", "g"),
        (".kfs/tx/t/f", ".kfs/tx/u/g"),
    ] {
        assert_eq!(errno(from, to), Some(libc::EXDEV), "{from} {to}");
        let link = fs::hard_link(m.path(from), m.path(to)).unwrap_err();
        assert_eq!(link.raw_os_error(), Some(libc::EXDEV), "{from} {to}");
    }
    assert_eq!(errno(".kfs/tx/t", ".kfs/tx/v"), Some(libc::EPERM));
    assert_eq!(errno(".kfs/tx/t", "v"), Some(libc::EPERM));
    assert_eq!(errno("f", ".kfs/commit"), Some(libc::EPERM));
    m.sh("cp f .kfs/tx/t/g; mv .kfs/tx/t/g .kfs/tx/u/; mv .kfs/tx/u/g .; test \"$(cat g)\" = 1; test ! -e .kfs/tx/u/g");
    m.sh("! mkdir .kfs/tx/t 2>/dev/null; ! mkdir .kfs/tx/-x 2>/dev/null; ! touch .kfs/tx/f 2>/dev/null");
    m.sh("rmdir .kfs/tx/*; test -z \"$(ls .kfs/tx)\"");
}

#[test]
fn a_transaction_ends_once_and_there_are_not_too_many() {
    let m = Mount::new();
    m.sh("for n in $(seq 100); do mkdir .kfs/tx/t$n; done; ! mkdir .kfs/tx/more 2>/dev/null; rmdir .kfs/tx/t1; mkdir .kfs/tx/more");
    for round in 0..20 {
        m.sh("rmdir .kfs/tx/more; mkdir .kfs/tx/more; echo $$ > .kfs/tx/more/f");
        let (from, to) = (m.path(".kfs/tx/more"), m.path(".kfs/commit"));
        let done = std::thread::scope(|scope| {
            let rename = || fs::rename(&from, &to).is_ok();
            let others: Vec<_> = (0..4).map(|_| scope.spawn(rename)).collect();
            let done = others.into_iter().map(|other| other.join().unwrap());
            done.filter(|done| *done).count()
        });
        assert_eq!(done, 1, "round {round}");
        m.sh("mkdir .kfs/tx/more");
    }
    m.sh("rmdir .kfs/tx/*");
}
