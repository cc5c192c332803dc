//! Files with several names, by the programs that make them.

use std::fs;
use std::os::unix::fs::MetadataExt;

use crate::harness::{Mount, edn};

fn number_and_names(m: &Mount, name: &str) -> (u64, u64) {
    let meta = fs::symlink_metadata(m.path(name)).unwrap();
    (meta.ino(), meta.nlink())
}

#[test]
fn names_of_one_file_stay_one_over_a_crash_in_maps_vectors_and_at_the_top() {
    let m = Mount::new();
    m.put("v", r#"[1 "text" {"deep" :kw}]"#);
    m.sh(r#"
        mkdir d
        ln v/0 n; ln n d/n; ln v/2/deep d/kw; ln v/1 v/5
        yes | head -c 300000 > big; ln big d/big
        printf '\377' > bytes; ln bytes d/bytes
        ln -s away link; ln link d/link
        mkfifo pipe; ln pipe v/pipe
        echo 7 > d/n
        echo more >> d/big
    "#);
    let pairs = [
        ("n", 3),
        ("d/kw", 2),
        ("v/5", 2),
        ("big", 2),
        ("bytes", 2),
        ("link", 2),
        ("pipe", 2),
    ];
    let before = pairs.map(|(name, _)| number_and_names(&m, name));
    for ((name, count), (_, names)) in pairs.iter().zip(before) {
        assert_eq!(*count, names, "{name}");
    }
    for round in 0..3 {
        assert_eq!(m.get("v"), edn(r#"[7 "text" {"deep" :kw} nil nil "text"]"#));
        assert_eq!(m.get("n"), edn("7"));
        assert_eq!(pairs.map(|(name, _)| number_and_names(&m, name)), before);
        m.sh(r#"
            cmp big d/big; test "$(tail -1 d/big)" = more
            cmp bytes d/bytes
            test "$(readlink d/link)" = away
            test -p v/pipe
        "#);
        match round {
            0 => {
                m.kill();
                m.mount();
            }
            _ => m.remount(),
        }
    }
    m.sh("rm n d/n big link pipe; rm -r d");
    assert_eq!(m.sh("stat -c %h v/0 v/5 v/2/deep bytes"), "1\n2\n1\n1");
}

#[test]
fn kfs_sees_and_writes_a_file_under_every_name() {
    let m = Mount::new();
    m.put("a", r#"{"x" 1 "y" {"z" 2}}"#);
    m.sh("ln a/x b; ln a/y/z a/w; cat b");
    m.put("b", "5");
    assert_eq!(m.sh("cat a/x b"), "5\n5");
    m.put("a", r#"{"x" 6 "y" {"z" 2} "w" 3}"#);
    assert_eq!(m.sh("cat b a/y/z"), "6\n3");
    m.sh(r#"
        kfs cp a c
        test "$(kfs get c)" = "$(kfs get a)"
        test "$(stat -c %h c/x)" = 1
        kfs put c/x 9
        test "$(cat a/x)" = 6
        kfs mv a/y y
        test "$(stat -c %h y/z)" = 2
        kfs put y/z 4
        test "$(cat a/w)" = 4
        test "$(kfs ls y -l | awk '{print $1}')" = int
        test "$(kfs info b --json | jq -r .type)" = int
        kfs export "$S" / "$T/out"; test "$T/out/b" -ef "$T/out/a/x"
        kfs import "$S" e "$T/out/y"
        test "$(kfs get e)" = '{"z" 4}'
        kfs rm -r a
        test "$(cat b)" = 6
        test "$(stat -c %h b y/z)" = "$(printf '1\n1')"
    "#);
}

#[test]
fn copiers_carry_hard_links_in_and_out() {
    let m = Mount::new();
    m.put("v", r#"["zero" "one"]"#);
    m.sh(r#"
        mkdir -p src/sub
        echo 1 > src/a; ln src/a src/sub/b; ln src/a src/c; echo 2 > src/d
        ln v/0 src/e; ln v/1 v/3
        same() { test "$1/a" -ef "$1/sub/b" && test "$1/a" -ef "$1/c" && test "$(stat -c %h "$1/a")" = 3; }
        same src
        cp -a src "$T/cp"; same "$T/cp"; cp -a "$T/cp" cp; same cp
        rsync -aHX src/ "$T/rs/"; same "$T/rs"; rsync -aHX "$T/rs/" rs/; same rs
        test -z "$(rsync -aHXi src/ "$T/rs/")"
        tar -cf "$T/t.tar" src; mkdir tar; tar -xf "$T/t.tar" -C tar; same tar/src
        cp -a v "$T/v"; test "$T/v/1" -ef "$T/v/3"
        cp -a v w; test w/1 -ef w/3; test "$(kfs get v)" = "$(kfs get w)"
        diff -r src cp; diff -r src rs; diff -r src tar/src
    "#);
    m.remount();
    m.sh("diff -r src cp; test rs/a -ef rs/c; rm -r src cp rs tar w; test \"$(stat -c %h v/0 v/1)\" = \"$(printf '1\\n2')\"");
}

#[test]
fn git_clones_with_links_and_mail_is_delivered_by_them() {
    let m = Mount::new();
    m.sh(r#"
        export GIT_CONFIG_GLOBAL=/dev/null HOME="$T"
        git init -q one
        for i in 1 2 3 4 5; do echo $i > one/$i; done
        git -C one add .
        git -C one -c user.name=n -c user.email=e commit -qm one
        git clone -q -l one two
        object=$(cd one/.git; find objects -type f | head -1)
        test one/.git/$object -ef two/.git/$object
        rm -rf one
        git -C two fsck --strict
        mkdir -p box/tmp box/new
        for i in 1 2 3; do
            echo "mail $i" > box/tmp/$i
            ln box/tmp/$i box/new/$i
            rm box/tmp/$i
        done
        test "$(cat box/new/*)" = "$(printf 'mail 1\nmail 2\nmail 3')"
    "#);
    m.remount();
    assert_eq!(
        m.sh("git -C two fsck --strict 2>&1; stat -c %h box/new/*"),
        "1\n1\n1"
    );
}
