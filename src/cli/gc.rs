use std::ffi::OsString;
use std::io::{self, IsTerminal};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::access::{Access, Use};
use super::error::CliError;
use super::output::Output;
use super::place::Place;
use super::progress::{Line, size};
use super::remote::Remote;
use super::request::{Request, Response};
use crate::gc;
use crate::store::{Phase, Store};

/// How often the line on a terminal is drawn anew.
const REDRAW: Duration = Duration::from_millis(200);

/// Free the space of what is in use no more.
///
/// A write leaves the old content on disk. This finds out what the values of the store still need,
/// also what an open file holds that was replaced or removed, and removes the rest. Reading and
/// writing go on meanwhile. A mount does it by itself when as much has been written as half of what
/// was in use the last time, but at least 256 MiB; it then reads at most 64 MiB a second, and rests as
/// long as it works.
///
/// Where something does not read, nothing is removed. What was interrupted begins anew.
#[derive(Debug, Args)]
pub struct Gc {
    /// The store, or its mount
    store: OsString,
}

/// What a round has done, as it travels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    records: u64,
    marked: u64,
    freed: u64,
    live: u64,
    live_bytes: u64,
    space: Option<(u64, u64)>,
    millis: u64,
}

/// What a round does, as it travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    phase: u64,
    done: u64,
    total: u64,
}

impl Gc {
    pub(super) fn run(self, out: &mut Output) -> Result<(), CliError> {
        let place = Place::with_path(&self.store, None)?;
        if !place.path.is_root() {
            return Err(CliError::usage(
                "kfs gc works on a whole store; name the store or its mount",
            ));
        }
        let mut access = Access::open(&place, Use::Write)?;
        let response = watched(&mut access)?;
        let Response::Reclaimed(report) = response else {
            return Err(Access::unexpected());
        };
        access.close()?;
        if out.wants_json() {
            return out.json(&json!({
                "records": report.records,
                "marked-pages": report.marked,
                "freed-pages": report.freed,
                "used-pages": report.live,
                "used-bytes": report.live_bytes,
                "space-before": report.space.map(|(before, _)| before),
                "space-after": report.space.map(|(_, after)| after),
                "seconds": Duration::from_millis(report.millis).as_secs_f64(),
            }));
        }
        out.line(report.to_string())
    }
}

/// Has a round made, and shows on a terminal how far it is.
fn watched(access: &mut Access) -> Result<Response, CliError> {
    if !io::stderr().is_terminal() {
        return access.call(Request::Reclaim);
    }
    let mut ask: Box<dyn FnMut() -> Option<Standing> + Send> = match access {
        Access::Own(holder) => {
            let store = holder.store().clone();
            Box::new(move || Some(standing(&store)))
        }
        // The other way to it waits for the end of the round.
        Access::Daemon(daemon, _) => {
            let mut second = Remote::of_location(&daemon.location()?)?;
            Box::new(move || match second.as_mut()?.call(&Request::Reclaiming) {
                Ok(Some(Response::Reclaiming(standing))) => Some(standing),
                _ => None,
            })
        }
    };
    let ended = AtomicBool::new(false);
    let begun = Instant::now();
    thread::scope(|scope| {
        let screen = thread::Builder::new().spawn_scoped(scope, || {
            loop {
                Line.draw(&shown(ask(), begun.elapsed()));
                if ended.load(Ordering::Acquire) {
                    break;
                }
                thread::park_timeout(REDRAW);
            }
            Line.clear();
        });
        let response = access.call(Request::Reclaim);
        ended.store(true, Ordering::Release);
        if let Ok(screen) = screen {
            screen.thread().unpark();
        }
        response
    })
}

fn shown(standing: Option<Standing>, passed: Duration) -> String {
    let seconds = passed.as_secs();
    let of = |what: &str, s: Standing| {
        let (done, total) = (s.done, s.total.max(s.done));
        format!("{what}: {done} of {total} pages, {seconds} s")
    };
    match standing.map(|s| (s, phase(s.phase))) {
        Some((s, Phase::Mark)) => of("looking for what is in use", s),
        Some((s, Phase::Free)) => of("freeing the rest", s),
        Some((_, Phase::Tidy)) => format!("giving back the space, {seconds} s"),
        Some((_, Phase::None)) | None => format!("getting ready, {seconds} s"),
    }
}

fn phase(number: u64) -> Phase {
    let number = usize::try_from(number).unwrap_or(0);
    Phase::ALL.get(number).copied().unwrap_or_default()
}

impl From<gc::Reclaimed> for Report {
    fn from(done: gc::Reclaimed) -> Self {
        Self {
            records: done.records,
            marked: done.marked,
            freed: done.freed,
            live: done.live,
            live_bytes: done.live_bytes,
            space: done.space,
            millis: u64::try_from(done.took.as_millis()).unwrap_or(u64::MAX),
        }
    }
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            records,
            marked,
            freed,
            live,
            live_bytes,
            space,
            millis,
        } = self;
        write!(
            f,
            "{freed} pages freed, {live} in use ({}); {records} records and {marked} pages looked at \
             in {}.{:03} s",
            size(*live_bytes),
            millis / 1000,
            millis % 1000
        )?;
        match space {
            Some((before, after)) => {
                write!(
                    f,
                    "; {} on disk before, {} now",
                    size(*before),
                    size(*after)
                )
            }
            None => Ok(()),
        }
    }
}

/// Answers [`Request::Reclaim`].
pub fn reclaim(store: &Store) -> Result<Response, CliError> {
    Ok(Response::Reclaimed(Box::new(gc::reclaim(store)?.into())))
}

/// Answers [`Request::Reclaiming`].
pub fn standing(store: &Store) -> Standing {
    let rounds = &store.meters().rounds;
    Standing {
        phase: rounds.phase.get() as u64,
        done: rounds.done.get(),
        total: rounds.total.get(),
    }
}
