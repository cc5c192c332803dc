//! Checks of a store that the daemon makes for commands, a part of what is found at a time.

use std::collections::HashMap;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;

use super::error::CliError;
use super::place::{Bytes, NamePath};
use super::request::Response;
use super::resolve::names;
use crate::store::{Finding, Report, Store, StoreError, Watcher, show_key};
use crate::value::Key;

/// How long a command waits for something new.
const TURN: Duration = Duration::from_secs(1);
/// A check that no command asks for any more ends.
const ABANDONED: Duration = Duration::from_secs(30);
/// Checks under way at once.
const MOST: usize = 4;
/// What is told in one answer.
const AT_ONCE: usize = 1000;
/// A check that is ahead of its pace by less goes on.
const NAP: Duration = Duration::from_millis(20);
/// How often a check that waits looks whether it is still wanted.
const LOOK: Duration = Duration::from_millis(100);

/// A [`Finding`] as it travels and is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// The top-level key: canonical CBOR.
    pub key: Option<Bytes>,
    /// Where, as written in the mount.
    pub path: NamePath,
    /// What.
    pub what: String,
    /// What is wrong with it.
    pub reason: String,
    /// Whether nothing depends on it.
    pub harmless: bool,
}

impl From<Finding> for Problem {
    fn from(finding: Finding) -> Self {
        let key = finding.path.first();
        let hidden = key.is_some_and(crate::tree::is_hidden);
        // What is hidden has no place in a mount.
        let path = match hidden {
            true => NamePath::default(),
            false => names(&finding.path, &finding.in_vector),
        };
        Self {
            key: key.map(|key| Bytes(key.bytes().to_vec())),
            path,
            what: finding.what,
            reason: finding.reason,
            harmless: finding.harmless,
        }
    }
}

impl Problem {
    /// The top-level key as EDN, or what it stands for.
    pub(super) fn key_text(&self) -> Option<String> {
        let key = self.key.as_ref()?;
        Some(show_key(&Key::from_canonical(&key.0)))
    }

    pub(super) fn as_json(&self, kind: &str) -> serde_json::Value {
        let path = (!self.path.0.is_empty()).then(|| self.path.to_string());
        json!({
            "key": self.key_text(),
            "path": path,
            "what": self.what,
            "reason": self.reason,
            "kind": kind,
        })
    }
}

/// A [`Report`] as it travels.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// Documents.
    pub records: u64,
    /// Sound pages.
    pub pages: u64,
    /// Journal records.
    pub journal: u64,
    /// Bytes read.
    pub bytes: u64,
    /// Pages that nothing refers to.
    pub garbage: u64,
    /// Bytes of those.
    pub garbage_bytes: u64,
    /// Whether everything could be looked at.
    pub complete: bool,
}

impl From<Report> for Facts {
    fn from(report: Report) -> Self {
        Self {
            records: report.records,
            pages: report.pages,
            journal: report.journal,
            bytes: report.bytes,
            garbage: report.garbage,
            garbage_bytes: report.garbage_bytes,
            complete: report.complete,
        }
    }
}

/// Keeps a check at its pace, and tells of what it finds.
pub(super) struct Scrub<'s> {
    rate: Option<u64>,
    began: Instant,
    read: u64,
    ended: bool,
    tell: &'s mut dyn FnMut(Problem) -> bool,
    wanted: &'s dyn Fn() -> bool,
}

impl<'s> Scrub<'s> {
    /// At most `rate` bytes a second. The check ends when `tell` gives false, and when it is not
    /// `wanted` any more.
    pub(super) fn new(
        rate: Option<u64>,
        tell: &'s mut dyn FnMut(Problem) -> bool,
        wanted: &'s dyn Fn() -> bool,
    ) -> Self {
        Self {
            rate: rate.filter(|rate| *rate > 0),
            began: Instant::now(),
            read: 0,
            ended: false,
            tell,
            wanted,
        }
    }

    /// How far the check is ahead of its pace.
    fn ahead(&self) -> Duration {
        let Some(rate) = self.rate else {
            return Duration::ZERO;
        };
        let due = u128::from(self.read) * 1_000_000 / u128::from(rate);
        let due = Duration::from_micros(u64::try_from(due).unwrap_or(u64::MAX));
        due.saturating_sub(self.began.elapsed())
    }
}

impl Watcher for Scrub<'_> {
    fn read(&mut self, bytes: u64) -> bool {
        self.read = self.read.saturating_add(bytes);
        let mut ahead = self.ahead();
        while ahead > NAP && !self.ended {
            thread::sleep(ahead.min(LOOK));
            self.ended |= !(self.wanted)();
            ahead = self.ahead();
        }
        self.ended |= !(self.wanted)();
        !self.ended
    }

    fn found(&mut self, finding: Finding) {
        self.ended |= !(self.tell)(finding.into());
    }
}

/// The checks under way.
#[derive(Debug, Default)]
pub struct Checks(Mutex<HashMap<Uuid, Arc<Under>>>);

/// One of them.
#[derive(Debug)]
struct Under {
    state: Mutex<State>,
    news: Condvar,
}

#[derive(Debug)]
struct State {
    problems: Vec<Problem>,
    /// When a command last asked.
    asked: Instant,
    ended: Option<Result<Report, StoreError>>,
}

impl Checks {
    /// Begins the check `id` of a store, or goes on with it; gives what was found meanwhile, and
    /// at the end what was looked at.
    pub(super) fn go_on(&self, store: &Store, id: Uuid, rate: u64) -> Result<Response, CliError> {
        let under = self.under(store, id, rate)?;
        let mut state = under.state.lock();
        state.asked = Instant::now();
        if state.problems.is_empty() && state.ended.is_none() {
            under.news.wait_for(&mut state, TURN);
        }
        let count = state.problems.len().min(AT_ONCE);
        let problems = state.problems.drain(..count).collect();
        let facts = if state.problems.is_empty() {
            state.ended.take()
        } else {
            None
        };
        drop(state);
        let facts = match facts {
            None => None,
            Some(ended) => {
                self.0.lock().remove(&id);
                Some(Box::new(Facts::from(ended?)))
            }
        };
        Ok(Response::Checked { problems, facts })
    }

    fn under(&self, store: &Store, id: Uuid, rate: u64) -> Result<Arc<Under>, CliError> {
        let mut checks = self.0.lock();
        checks.retain(|_, under| under.state.lock().asked.elapsed() < ABANDONED);
        if let Some(under) = checks.get(&id) {
            return Ok(Arc::clone(under));
        }
        if checks.len() >= MOST {
            let why = format!("{MOST} others are under way; try again later");
            return Err(CliError::failed("a check", why));
        }
        let under = Arc::new(Under {
            state: Mutex::new(State {
                problems: Vec::new(),
                asked: Instant::now(),
                ended: None,
            }),
            news: Condvar::new(),
        });
        let (store, running) = (store.clone(), Arc::clone(&under));
        thread::Builder::new()
            .name("kfs-check".to_owned())
            .spawn(move || running.run(&store, rate))
            .map_err(|e| CliError::io("a thread for the check", e))?;
        checks.insert(id, Arc::clone(&under));
        Ok(under)
    }

    /// Ends all of them.
    pub(super) fn end(&self) {
        let under_way = std::mem::take(&mut *self.0.lock());
        for under in under_way.into_values() {
            let mut state = under.state.lock();
            if let Some(long_ago) = Instant::now().checked_sub(ABANDONED) {
                state.asked = long_ago;
            }
            while state.ended.is_none() {
                under.news.wait(&mut state);
            }
        }
    }
}

impl Under {
    fn run(&self, store: &Store, rate: u64) {
        let mut tell = |problem| {
            self.state.lock().problems.push(problem);
            self.news.notify_all();
            true
        };
        let wanted = || self.state.lock().asked.elapsed() < ABANDONED;
        let ended = store.check(&mut Scrub::new(Some(rate), &mut tell, &wanted));
        self.state.lock().ended = Some(ended);
        self.news.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{CreateOptions, Location};
    use crate::value::Value;

    #[test]
    fn a_slow_check_keeps_no_daemon_from_ending() {
        let location = Location::parse("mem:").unwrap();
        let store = Store::create(&location, &CreateOptions::default()).unwrap();
        store.assoc(&Key::text("a"), &Value::Int(1)).unwrap();
        store.settle().unwrap();
        let checks = Checks::default();
        // One byte a second: it does not end by itself.
        let answer = checks.go_on(&store, Uuid::new_v4(), 1).unwrap();
        assert!(matches!(answer, Response::Checked { facts: None, .. }));
        checks.end();
        assert!(checks.0.lock().is_empty());
    }

    #[test]
    fn a_check_tells_what_it_looked_at_and_is_forgotten() {
        let location = Location::parse("mem:").unwrap();
        let store = Store::create(&location, &CreateOptions::default()).unwrap();
        store.assoc(&Key::text("a"), &Value::Int(1)).unwrap();
        store.settle().unwrap();
        let (checks, id) = (Checks::default(), Uuid::new_v4());
        let facts = loop {
            match checks.go_on(&store, id, 1 << 30).unwrap() {
                Response::Checked { facts: None, .. } => {}
                Response::Checked {
                    facts: Some(facts), ..
                } => break facts,
                other => panic!("{other:?}"),
            }
        };
        assert!(facts.complete && facts.records >= 1, "{facts:?}");
        assert!(checks.0.lock().is_empty());
    }
}
