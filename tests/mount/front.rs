//! A mounted store with a front.

use std::fs;

use crate::harness::Mount;

/// The numbers of a mount.
fn stats(m: &Mount) -> serde_json::Value {
    serde_json::from_slice(&m.read(".kfs/stats.json")).unwrap()
}

fn number(stats: &serde_json::Value, pointer: &str) -> u64 {
    let found = stats.pointer(pointer);
    found
        .and_then(serde_json::Value::as_u64)
        .unwrap_or_else(|| panic!("no {pointer} in {stats:#}"))
}

#[test]
fn how_caches_and_front_are_used_is_shown() {
    let mut m = Mount::of_kind("file");
    let front = m.store().with_file_name("front");
    let options = |cache: &str| format!("cache={cache},front={}", front.display());
    m.set_options(&options("64M"));
    m.mount();
    let content: String = (0..150_000).map(|n| format!("{n} ")).collect();
    m.write("text", &content);
    m.remount();
    let before = stats(&m);
    assert_eq!(m.read("text"), content.as_bytes());
    let first = stats(&m);
    let missed = |n: &serde_json::Value| number(n, "/cache/misses/pages");
    assert!(missed(&first) > missed(&before), "nothing was decoded yet");
    let (size, capacity) = ("/cache/size_bytes/pages", "/cache/capacity_bytes/pages");
    assert!(number(&first, size) > number(&before, size), "{first:#}");
    assert!(number(&first, size) <= number(&first, capacity));
    // The front was kept, and has it all.
    assert!(number(&first, "/front/hits") > number(&before, "/front/hits"));
    assert!(number(&first, "/front/size_bytes") > 0);
    assert_eq!(number(&first, "/front/failures"), 0);
    assert_eq!(number(&first, "/front/stale_blobs"), 0);
    let metrics = String::from_utf8(m.read(".kfs/metrics")).unwrap();
    let hits = number(&first, "/front/hits");
    assert!(
        metrics.contains(&format!("\nkfs_front_hits_total {hits}\n")),
        "{metrics}"
    );
    // What does not fit in memory is read again.
    m.umount();
    m.set_options(&options("4096"));
    m.mount();
    let before = stats(&m);
    m.sh("cat text text >/dev/null");
    m.sh("setfattr -n user.x -v 1 text; cat text >/dev/null");
    let after = stats(&m);
    assert!(missed(&after) > missed(&before));
    // Without a front there are no numbers of one.
    m.umount();
    m.set_options("");
    m.mount();
    assert!(stats(&m).get("front").is_none());
    m.umount();
}

#[test]
fn a_front_may_be_kept_killed_and_lost() {
    for more in ["", ",around"] {
        let mut m = Mount::of_kind("file");
        let front = m.store().with_file_name("front");
        m.set_options(&format!("cache=4096,front={}{more}", front.display()));
        m.mount();
        let content = |n: usize| format!("{n} ").repeat(20_000).into_bytes();
        for n in 0..20 {
            m.write(format!("{n}"), content(n));
        }
        let check = |changed: usize| {
            for n in 0..20 {
                let expected = if n < changed {
                    content(n + 100)
                } else {
                    content(n)
                };
                assert!(m.read(format!("{n}")) == expected, "{n}");
            }
        };
        check(0);
        m.remount();
        check(0);
        assert!(fs::read_dir(&front).unwrap().count() >= 2);
        for n in 0..5 {
            m.write(format!("{n}"), content(n + 100));
        }
        m.kill();
        m.mount();
        check(5);
        m.umount();
        fs::remove_dir_all(&front).unwrap();
        m.mount();
        check(5);
        m.gc().ok();
        m.umount();
        m.fsck().ok();
        fs::remove_dir_all(&front).unwrap();
        fs::create_dir(&front).unwrap();
        fs::write(front.join("mine"), "mine").unwrap();
        let refused = m.try_mount().fails();
        assert!(
            refused.errors().contains("no front"),
            "{}",
            refused.errors()
        );
        assert_eq!(fs::read(front.join("mine")).unwrap(), b"mine");
    }
}

#[test]
fn a_front_of_a_bounded_size_is_filled_and_gives_way() {
    let mut m = Mount::of_kind("file");
    m.mount();
    let content = |n: usize| -> String { (0..20_000).map(|i| format!("{} ", i * n)).collect() };
    for n in 1..21 {
        m.write(format!("{n}"), content(n));
    }
    m.umount();
    let front = m.store().with_file_name("front");
    for (size, behind) in [
        ("64M", ""),
        ("256K", ""),
        ("256K", ",behind"),
        ("64M", ",behind"),
    ] {
        let front = front.display();
        let options = format!("cache=4096,front={front},front-size={size},populate{behind}");
        m.set_options(&options);
        m.mount();
        m.write("21", content(21));
        for n in 1..22 {
            assert!(m.read(format!("{n}")) == content(n).into_bytes(), "{n}");
        }
        let seen = stats(&m);
        let evicted = number(&seen, "/front/evicted_copies");
        assert_eq!(evicted > 0, size == "256K", "{seen:#}");
        assert_eq!(number(&seen, "/front/failures"), 0);
        m.umount();
    }
    m.fsck().ok();
}

/// Killed when what was written last is in the front only; mounted for reading; moved to another way
/// of writing; unmounted.
#[test]
fn what_is_written_behind_is_in_the_front_and_then_in_the_store() {
    let mut m = Mount::of_kind("file");
    let front = m.store().with_file_name("front");
    let behind = format!("front={},behind", front.display());
    m.set_options(&behind);
    m.mount();
    let content = |n: usize| format!("{n} ").repeat(20_000).into_bytes();
    let write = |m: &Mount, numbers: std::ops::Range<usize>| {
        for n in numbers {
            m.write(format!("{n}"), content(n));
        }
    };
    let check = |m: &Mount, count: usize| {
        for n in 0..count {
            assert!(m.read(format!("{n}")) == content(n), "{n}");
        }
        assert!(!m.path(format!("{count}")).exists());
    };
    write(&m, 0..10);
    m.remount();
    check(&m, 10);
    assert!(m.store().join("kfs.behind").exists());
    write(&m, 10..20);
    m.sh("sync 19");
    let seen = stats(&m);
    for name in ["waiting_bytes", "waiting_records", "carried_records"] {
        number(&seen, &format!("/queue/{name}"));
    }
    assert_eq!(number(&seen, "/queue/failing"), 0);
    m.kill();
    // Without it, nobody takes the store for what it was.
    for options in ["", "ro"] {
        m.set_options(options);
        let refused = m.try_mount().fails().errors();
        assert!(
            refused.contains(&format!("front={}", front.display())),
            "{refused}"
        );
    }
    assert!(m.fsck().fails().errors().contains("waits in its front"));
    m.set_options("ro,without-front");
    m.mount();
    check_some(&m, &content);
    m.umount();
    m.set_options(&format!("ro,{behind}"));
    m.mount();
    check(&m, 20);
    m.umount();
    m.set_options(&behind);
    m.mount();
    check(&m, 20);
    write(&m, 20..25);
    m.gc().ok();
    m.fsck().ok();
    m.umount();
    assert!(!m.store().join("kfs.behind").exists());
    m.set_options("");
    m.mount();
    check(&m, 25);
    m.umount();
    m.fsck().ok();
}

/// An older state: what there is of the second ten has its content.
fn check_some(m: &Mount, content: &dyn Fn(usize) -> Vec<u8>) {
    for n in 0..20 {
        let path = m.path(format!("{n}"));
        assert!(n >= 10 || path.exists());
        assert!(
            !path.exists() || m.read(format!("{n}")) == content(n),
            "{n}"
        );
    }
}
