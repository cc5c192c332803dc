//! Stores whose storage is a database library's.

use konserve_fs::backend::library::Library;

use crate::harness::Mount;
use crate::program::Sandbox;

#[test]
fn a_store_in_a_library_is_mounted_and_keeps_everything_when_its_daemon_is_killed() {
    for library in Library::ALL {
        if !library.is_built() {
            let sandbox = Sandbox::new();
            let location = format!("{}:{}", library.name(), sandbox.path("store").display());
            let refused = sandbox.kfs(["init", &location]).fails();
            let error = refused.errors();
            let feature = format!("--features {}", library.name());
            assert!(error.contains(&feature), "{error}");
            assert!(!sandbox.path("store").exists(), "something was made");
            continue;
        }
        let m = Mount::of_kind(library.name());
        m.mount();
        let content = vec![b'x'; 3 << 20];
        m.write("large", &content);
        for number in 0..300 {
            m.write(format!("file {number}"), format!("content {number}"));
        }
        m.sh("mkdir dir && echo one > dir/a && mv dir/a dir/b && rm 'file 7' && sync -f .");
        m.write("last", "written after the sync");
        m.kill();
        m.mount();
        let check = || {
            assert!(m.read("large") == content);
            for number in (0..300).filter(|number| *number != 7) {
                let found = m.read(format!("file {number}"));
                assert_eq!(found, format!("content {number}").into_bytes());
            }
            assert_eq!(m.names("").len(), 302, "{:?}", m.names(""));
            assert_eq!(m.read("dir/b"), b"one\n");
            assert_eq!(m.read("last"), b"written after the sync");
        };
        check();
        m.remount();
        check();
        m.gc().ok();
        m.umount();
        m.fsck().ok();
    }
}
