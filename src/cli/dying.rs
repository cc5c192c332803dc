//! A daemon that was killed and cannot end.
//!
//! It may have been telling the kernel that a name has changed. For that the kernel waits for the lock
//! of a directory; who holds the lock waits for an answer of the daemon, of which no other thread is
//! left; and the connection ends only with the last thread. So it is ended here.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use super::socket::{Client, connect, connect_at};
use super::{beacon, place};
use crate::fuse::{abort, mounts};
use crate::store::Location;

/// How long the last thread may take to end when nothing holds it any more.
const ENDING: Duration = Duration::from_secs(5);
/// How often to look again.
const POLL: Duration = Duration::from_millis(10);

/// Lets all daemons end that were killed, and waits for them; tells whether one has ended. It asks no
/// mount anything.
pub(super) fn end_all() -> bool {
    let mut ended = false;
    for entry in mounts().unwrap_or_default() {
        let location = place::location(&entry.source).ok();
        let Some(pid) = location.filter(|_| entry.is_kfs()).and_then(|l| holder(&l)) else {
            continue;
        };
        if !is_dying(pid) {
            continue;
        }
        tracing::warn!(pid, point = %entry.point.display(), "ending a connection whose daemon was killed");
        if let Err(error) = abort(&entry) {
            tracing::warn!(%error, "it could not be ended");
            continue;
        }
        let give_up = Instant::now() + ENDING;
        while is_dying(pid) && Instant::now() < give_up {
            thread::sleep(POLL);
        }
        ended |= !is_dying(pid);
    }
    ended
}

/// The process whose socket a store names.
fn holder(location: &Location) -> Option<i32> {
    let client: Client = match location {
        Location::Memory(id) => connect(id).ok()?,
        Location::Embedded(_)
        | Location::File(_)
        | Location::Lmdb(_)
        | Location::RocksDb(_)
        | Location::Custom(_) => connect_at(&beacon::socket(location)?).ok()?,
    };
    client.peer()
}

/// Whether the first thread of a process has ended, and not all.
fn is_dying(pid: i32) -> bool {
    let stat = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat"));
    let stat = stat.unwrap_or_default();
    // The name before may have anything in it.
    let state = stat.rsplit_once(')').map(|(_, rest)| rest.trim_start());
    state.is_some_and(|state| state.starts_with(['Z', 'X']))
}
