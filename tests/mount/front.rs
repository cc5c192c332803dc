//! A mounted store with a front.

use std::fs;

use crate::harness::Mount;

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
