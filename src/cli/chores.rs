//! What a daemon does without being asked: it frees pages, evicts keys, takes snapshots and drops them.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use super::gc::Report;
use super::sweep::ago;
use super::worker::Worker;
use crate::fuse::MountOptions;
use crate::gc::{self, Budget, GcError, Pace};
use crate::snapshot::automatic::{Automatic, Schedule};
use crate::store::Store;
use crate::view::View;

/// How often to look whether something is due.
const LOOK: Duration = Duration::from_secs(5);

/// How often keys are evicted, if that is asked for.
const SWEEP: Duration = Duration::from_secs(3600);

/// Starts the threads for a store that can be written. A snapshot waits for no round of freeing.
pub fn start(store: &Store, view: &Arc<View>, options: &MountOptions) -> Vec<Worker> {
    if store.is_read_only() {
        return Vec::new();
    }
    let mut workers = vec![collect(store.clone(), Arc::clone(view), options.sweep)];
    let schedule = options.schedule();
    workers.extend(schedule.map(|schedule| take(store.clone(), Arc::clone(view), schedule)));
    workers
}

fn collect(store: Store, view: Arc<View>, age: Option<Duration>) -> Worker {
    let mut pace = Pace::default();
    let mut swept: Option<Instant> = None;
    Worker::start("kfs-gc", LOOK, move |stop| {
        if pace.is_due(&store) {
            round(&store, &view, stop, &mut pace);
        }
        if let Some(age) = age
            && swept.is_none_or(|last| last.elapsed() >= SWEEP.min(age))
        {
            sweep(&store, &view, age, stop);
            swept = Some(Instant::now());
        }
    })
}

fn take(store: Store, view: Arc<View>, schedule: Schedule) -> Worker {
    let mut automatic = Automatic::new(schedule);
    let look = LOOK.min(schedule.every);
    Worker::start("kfs-snapshot", look, move |_| {
        match automatic.turn(&store, Instant::now()) {
            Ok(turn) => {
                if let Some(taken) = turn.taken {
                    tracing::info!(name = taken.name, "snapshot taken");
                }
                for name in turn.dropped {
                    tracing::info!(name, "snapshot dropped");
                }
            }
            Err(error) => {
                tracing::warn!(%error, "snapshots not taken or dropped");
                view.keep_error(format!("snapshots not taken or dropped: {error}"));
            }
        }
    })
}

fn round(store: &Store, view: &View, stop: &AtomicBool, pace: &mut Pace) {
    match gc::reclaim_within(store, stop, Budget::ASIDE) {
        Ok(done) => {
            tracing::info!(report = %Report::from(done), "pages freed");
            pace.note(&done);
        }
        Err(GcError::Stopped) => {}
        Err(error) => {
            tracing::warn!(%error, "pages not freed");
            view.keep_error(format!("pages not freed: {error}"));
        }
    }
}

fn sweep(store: &Store, view: &View, age: Duration, stop: &AtomicBool) {
    let sweep = gc::Sweep {
        cutoff: ago(store, age.as_secs()),
        keep: HashSet::new(),
        dry_run: false,
    };
    match gc::sweep(store, &sweep, stop) {
        Ok(keys) if keys.is_empty() => {}
        Ok(keys) => tracing::info!(keys = keys.len(), "keys evicted"),
        Err(GcError::Stopped) => {}
        Err(error) => {
            tracing::warn!(%error, "keys not evicted");
            view.keep_error(format!("keys not evicted: {error}"));
        }
    }
}
