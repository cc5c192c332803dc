//! Looking for damage in a store that is mounted.

use std::ffi::OsStr;
use std::thread;

use crate::harness::Mount;
use crate::program::Output;

fn fsck(m: &Mount, place: &OsStr) -> Output {
    m.sandbox.kfs([OsStr::new("fsck"), place])
}

#[test]
fn a_mounted_store_is_checked_beside_those_who_write_it() {
    let m = Mount::new();
    let leaves: String = (0..2000).map(|n| format!("{n} \"leaf {n}\" ")).collect();
    m.put("doc", &format!("{{{leaves}}}"));
    thread::scope(|scope| {
        scope.spawn(|| {
            m.sh("for n in $(seq 300); do echo \"$n $n $n\" > f$((n % 20)); \
                  head -c 20000 /dev/urandom > g$((n % 7)); done")
        });
        for place in [m.store(), m.dir()] {
            let output = fsck(&m, place.as_os_str()).ok();
            assert!(output.text().contains("no damage"), "{output}");
        }
    });
    m.umount();
    let output = fsck(&m, m.store().as_os_str()).ok();
    assert!(output.text().contains("no damage"), "{output}");
}
