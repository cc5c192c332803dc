use std::ffi::OsString;
use std::path::PathBuf;
use std::thread;
use std::time::Instant;

use clap::Args;
use serde_json::json;
use uuid::Uuid;

use super::access::{Access, PATIENCE, POLL};
use super::check::{Facts, Problem, Scrub};
use super::error::CliError;
use super::output::{Output, printable};
use super::place::{Place, StoreAt, location};
use super::progress::size;
use super::remote::Remote;
use super::request::{Request, Response};
use super::unlock;
use crate::fuse::byte_count;
use crate::store::{Location, Store, StoreError, check, repair};

/// How fast a store that is in use is read, in bytes a second.
const GENTLE: u64 = 64 << 20;

/// Look for damage: read everything that the store consists of and compare it with what refers to
/// it.
///
/// Each thing that is damaged is a line with its key and path; the exit code is then 6. Nothing is
/// changed. A mounted store is checked by its daemon, beside those who use it.
#[derive(Debug, Args)]
pub struct Fsck {
    /// The store, or a path inside a mount
    store: OsString,
    /// Read at most so many bytes a second: 64M if the store is mounted, else as fast as it goes
    #[arg(long, value_name = "BYTES", value_parser = byte_count)]
    rate: Option<u64>,
    /// Take out what is damaged, so that the rest can be used; the store must not be mounted
    #[arg(long)]
    repair: bool,
    /// Where --repair keeps what is damaged (STORE/quarantine/TIME if not given)
    #[arg(long, value_name = "DIR", requires = "repair")]
    quarantine: Option<PathBuf>,
}

impl Fsck {
    pub(super) fn run(self, out: &mut Output) -> Result<(), CliError> {
        let place = Place::parse(&self.store)?;
        if self.repair {
            return self.repaired(&place, out);
        }
        let name = place.to_string();
        let mut told = Told::default();
        let facts = match way(&place)? {
            Way::Daemon(daemon) => {
                let rate = self.rate.unwrap_or(GENTLE);
                from_daemon(*daemon, rate, &mut told, out)?
            }
            Way::Files(location, denied) => self.of_files(&location, denied, &mut told, out)?,
        };
        told.end(&name, &facts, out)
    }

    fn repaired(&self, place: &Place, out: &mut Output) -> Result<(), CliError> {
        let (location, denied) = match way(place)? {
            Way::Files(location, denied) => (location, denied),
            Way::Daemon(daemon) => {
                return Err(CliError::InUse {
                    what: place.to_string(),
                    why: format!(
                        "mounted by process {}; kfs umount it before it is repaired",
                        daemon.status().pid
                    ),
                });
            }
        };
        let aside = self.quarantine.as_deref();
        let repaired = unlock::with_key(&location, |key| repair(&location, key, aside));
        let done = match (repaired, denied) {
            (Err(CliError::Store(StoreError::InUse { .. })), Some(denied)) => return Err(denied),
            (done, _) => done?,
        };
        let mut told = Told::default();
        for cut in done.cuts {
            told.print("taken out", &Problem::from(cut), out)?;
        }
        for finding in done.left {
            told.problem(&Problem::from(finding), out)?;
        }
        if let Some(aside) = &done.aside
            && !out.wants_json()
        {
            let line = format!("what was damaged is kept in {}", aside.display());
            out.line(printable(line.as_bytes()))?;
        }
        told.end(&place.to_string(), &Facts::from(done.report), out)
    }

    /// Another command that has the store will soon have done.
    fn of_files(
        &self,
        location: &Location,
        denied: Option<CliError>,
        told: &mut Told,
        out: &mut Output,
    ) -> Result<Facts, CliError> {
        let give_up = Instant::now() + PATIENCE;
        loop {
            let mut tell = |problem| told.problem(&problem, out).is_ok();
            let checked = unlock::with_key(location, |key| {
                check(
                    location,
                    key,
                    &mut Scrub::new(self.rate, &mut tell, &|| true),
                )
            });
            match checked {
                Ok(report) => return Ok(Facts::from(report)),
                Err(error @ CliError::Store(StoreError::InUse { .. })) => match denied {
                    Some(denied) => return Err(denied),
                    None if Instant::now() < give_up => thread::sleep(POLL),
                    None => return Err(error),
                },
                Err(error) => return Err(error),
            }
        }
    }
}

/// How to get at a store.
enum Way {
    Daemon(Box<Remote>),
    /// Not through the daemon, which may be alive and let only others ask it: why.
    Files(Location, Option<CliError>),
}

fn way(place: &Place) -> Result<Way, CliError> {
    let location = match &place.store {
        StoreAt::Location(location) => location.clone(),
        StoreAt::Mount(entry) => match (Remote::of_mount(entry), location(&entry.source)) {
            // The mount of a daemon that was killed still names its store.
            (Err(CliError::NotFound { .. }), Ok(location)) if Store::exists(&location) => location,
            (daemon, _) => return Ok(Way::Daemon(Box::new(daemon?))),
        },
    };
    let (daemon, denied) = match Remote::of_location(&location) {
        // Perhaps it was killed and has left its socket: then the lock is free.
        Err(denied @ CliError::Denied { .. }) => (None, Some(denied)),
        found => (found?, None),
    };
    Ok(match daemon.or_else(|| Remote::search(&location)) {
        Some(daemon) => Way::Daemon(Box::new(daemon)),
        None => Way::Files(location, denied),
    })
}

fn from_daemon(
    mut daemon: Remote,
    rate: u64,
    told: &mut Told,
    out: &mut Output,
) -> Result<Facts, CliError> {
    let id = Uuid::new_v4();
    loop {
        let answer = daemon.call(&Request::Check { id, rate })?;
        let Some(Response::Checked { problems, facts }) = answer else {
            return Err(match answer {
                Some(_) => Access::unexpected(),
                None => CliError::failed(
                    daemon.status().location.clone(),
                    "its daemon ended during the check; repeat the command",
                ),
            });
        };
        for problem in &problems {
            told.problem(problem, out)?;
        }
        if let Some(facts) = facts {
            return Ok(*facts);
        }
        out.flush()?;
    }
}

/// What was printed.
#[derive(Default)]
struct Told {
    damaged: u64,
    /// Without harm.
    odd: u64,
}

impl Told {
    fn problem(&mut self, problem: &Problem, out: &mut Output) -> Result<(), CliError> {
        if problem.harmless {
            self.odd += 1;
        } else {
            self.damaged += 1;
        }
        let kind = if problem.harmless { "odd" } else { "damaged" };
        self.print(kind, problem, out)
    }

    fn print(&self, kind: &str, problem: &Problem, out: &mut Output) -> Result<(), CliError> {
        if out.wants_json() {
            return out.json(&problem.as_json(kind));
        }
        let Problem {
            path, what, reason, ..
        } = problem;
        let place = match problem.key_text() {
            Some(key) if path.0.is_empty() => format!("{key}: "),
            Some(key) => format!("key {key}, path {path}: "),
            None => String::new(),
        };
        let line = format!("{place}{what} {kind}: {reason}");
        out.line(printable(line.as_bytes()))
    }

    fn end(&self, name: &str, facts: &Facts, out: &mut Output) -> Result<(), CliError> {
        self.summary(facts, out)?;
        if self.damaged > 0 {
            return Err(CliError::Damaged {
                what: name.to_owned(),
                why: format!("{} damaged", self.damaged),
            });
        }
        if !facts.complete {
            return Err(CliError::failed(name, "the check was not completed"));
        }
        Ok(())
    }

    fn summary(&self, facts: &Facts, out: &mut Output) -> Result<(), CliError> {
        if out.wants_json() {
            return out.json(&json!({
                "keys": facts.records,
                "pages": facts.pages,
                "journal": facts.journal,
                "bytes": facts.bytes,
                "damaged": self.damaged,
                "odd": self.odd,
                "unused-pages": facts.garbage,
                "unused-bytes": facts.garbage_bytes,
                "complete": facts.complete,
            }));
        }
        let many = |count: u64, one: &str, more: &str| {
            format!("{count} {}", if count == 1 { one } else { more })
        };
        if facts.garbage > 0 {
            out.line(format!(
                "{} of {} that nothing refers to",
                many(facts.garbage, "page", "pages"),
                size(facts.garbage_bytes)
            ))?;
        }
        let result = match (self.damaged, facts.complete) {
            (0, true) => "no damage".to_owned(),
            (0, false) => "not completed".to_owned(),
            (damaged, _) => format!("{damaged} damaged"),
        };
        out.line(format!(
            "{}, {}, {}, {} read: {result}",
            many(facts.records, "record", "records"),
            many(facts.pages, "page", "pages"),
            many(facts.journal, "journal record", "journal records"),
            size(facts.bytes),
        ))
    }
}
