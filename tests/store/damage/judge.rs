//! What comes of a damage.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use konserve_fs::backend::embedded::LOCK_FILE;
use konserve_fs::store::{ConnectOptions, Finding, Location, Store, Watcher, check, repair};
use konserve_fs::value::{Key, Value};
use serde::{Deserialize, Serialize};

use super::cases::Case;
use super::fixture::{Fixture, State, walk};

/// How a damaged store reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Read {
    /// As before.
    Same,
    /// As it was some acknowledged operations ago.
    Earlier,
    /// Some of it is refused, the rest is as before.
    Partly,
    /// It cannot be opened.
    Refused,
}

/// What a repair makes of a damaged store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Repaired {
    /// There was nothing to do.
    Nothing,
    /// It is as it was.
    Whole,
    /// Something was taken out, or is as it once was.
    Part,
    /// It is not possible.
    Refused,
}

/// What came of one case.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Outcome {
    /// As it should be, if the check found what there was to find.
    Fine {
        read: Read,
        found: bool,
        /// The check has told of something that it takes for no damage.
        noted: bool,
        repaired: Repaired,
    },
    /// Other content.
    Wrong(String),
    /// The check changed something.
    Touched(String),
    Panicked(String),
    Aborted,
    Hung,
}

/// The columns of the repairs.
pub const REPAIRS: [&str; 5] = ["nothing to do", "whole", "part", "not possible", "wrong"];

/// The columns of the table.
pub const NAMES: [&str; 9] = [
    "same",
    "earlier",
    "partly",
    "refused",
    "fsck quiet",
    "wrong",
    "panic",
    "abort",
    "hang",
];

impl Outcome {
    pub fn name(&self) -> &'static str {
        match self {
            Self::Fine {
                read, found: true, ..
            } => match read {
                Read::Same => "same",
                Read::Earlier => "earlier",
                Read::Partly => "partly",
                Read::Refused => "refused",
            },
            Self::Fine {
                read: Read::Same, ..
            } => "same",
            Self::Fine {
                read: Read::Earlier,
                noted: true,
                ..
            } => "earlier",
            Self::Fine { .. } => "fsck quiet",
            Self::Wrong(_) | Self::Touched(_) => "wrong",
            Self::Panicked(_) => "panic",
            Self::Aborted => "abort",
            Self::Hung => "hang",
        }
    }

    pub fn repair_name(&self) -> &'static str {
        match self {
            Self::Fine { repaired, .. } => match repaired {
                Repaired::Nothing => "nothing to do",
                Repaired::Whole => "whole",
                Repaired::Part => "part",
                Repaired::Refused => "not possible",
            },
            _ => "wrong",
        }
    }

    /// Whether the check found something.
    pub fn found(&self) -> bool {
        matches!(self, Self::Fine { found: true, .. })
    }

    pub fn is_wrong(&self, case: &Case) -> bool {
        match self {
            // A log that ends between two records that nobody synced is a whole one.
            Self::Fine {
                read: Read::Earlier,
                ..
            } if case.may_be_a_torn_end() => false,
            // Damage after all that was synced is not told from what a crash leaves: it may read as
            // an earlier state, if the check says so.
            Self::Fine {
                read: Read::Earlier,
                noted: true,
                ..
            } if case.is_in_a_journal() => false,
            Self::Fine { read, found, .. } => *read != Read::Same && !found,
            _ => true,
        }
    }
}

/// What the check tells of.
#[derive(Default)]
struct Told(Vec<Finding>);

impl Watcher for Told {
    fn read(&mut self, _: u64) -> bool {
        true
    }

    fn found(&mut self, finding: Finding) {
        self.0.push(finding);
    }
}

/// Panics anywhere in this process, but for those of the engine's own code, which its errors speak
/// of.
static PANICS: Mutex<Vec<String>> = Mutex::new(Vec::new());

pub fn watch_panics() {
    std::panic::set_hook(Box::new(|info| {
        let place = info
            .location()
            .map_or_else(String::new, ToString::to_string);
        let foreign = ["lsm-tree-", "sfa-", "/library/"];
        if std::env::var_os("KFS_DAMAGE_SHOW").is_some() {
            eprintln!("{info}\n{}", std::backtrace::Backtrace::force_capture());
        }
        if !foreign.iter().any(|part| place.contains(part)) {
            PANICS.lock().unwrap().push(info.to_string());
        }
    }));
}

/// Damages a copy in `dir` and looks what comes of it.
pub fn judge(fixture: &Fixture, case: &Case, dir: &Path) -> Outcome {
    fixture.write(dir);
    case.inflict(fixture, dir);
    let location = fixture.kind.location(dir);
    let before = contents(dir);
    let mut told = Told::default();
    let checked = check(&location, None, &mut told);
    if std::env::var_os("KFS_DAMAGE_SHOW").is_some() {
        eprintln!("{case}\n  {checked:?}\n  {:#?}", told.0);
    }
    let found = match &checked {
        Ok(report) => report.damaged > 0,
        Err(_) => true,
    };
    let noted = checked.as_ref().is_ok_and(|report| report.odd > 0);
    let after = contents(dir);
    let touched = before
        .iter()
        .find(|(name, was)| after.get(*name) != Some(was));
    let added = after.keys().find(|name| !before.contains_key(*name));
    if let Some(name) = touched.map(|(name, _)| name).or(added) {
        return Outcome::Touched(name.display().to_string());
    }
    let read = read(fixture, &location);
    // Anew: what has just read it may have written, too.
    fs::remove_dir_all(dir).unwrap();
    fs::create_dir(dir).unwrap();
    fixture.write(dir);
    case.inflict(fixture, dir);
    let repaired = repaired(fixture, &location);
    if let Some(panic) = PANICS.lock().unwrap().drain(..).next() {
        return Outcome::Panicked(panic);
    }
    match (read, repaired) {
        (Ok(read), Ok(repaired)) => Outcome::Fine {
            read,
            found,
            noted,
            repaired,
        },
        (Err(wrong), _) => Outcome::Wrong(wrong),
        (_, Err(wrong)) => Outcome::Wrong(format!("after the repair: {wrong}")),
    }
}

/// Repairs the store, which then has no damage and holds nothing that never was.
fn repaired(fixture: &Fixture, location: &Location) -> Result<Repaired, String> {
    let show = std::env::var_os("KFS_DAMAGE_SHOW").is_some();
    let done = match repair(location, None, None) {
        Ok(done) => done,
        Err(error) => {
            if show {
                eprintln!("  repair: {error}");
            }
            return Ok(Repaired::Refused);
        }
    };
    if show {
        eprintln!("  repair: {done:#?}");
    }
    if done.report.damaged > 0 || !done.report.complete {
        return Err(format!("{:?}", done.left));
    }
    if done.aside.is_none() {
        return Ok(Repaired::Nothing);
    }
    let store = Store::connect(location, &ConnectOptions::default()).map_err(|e| e.to_string())?;
    let mut found = State::new();
    for listed in store.keys() {
        let (key, _) = listed.map_err(|e| e.to_string())?;
        let value = store.get(&key).map_err(|e| e.to_string())?;
        let value = value.ok_or_else(|| format!("{key:?} is listed and not there"))?;
        let values = fixture.history.get(&key).into_iter().flatten();
        if !values.clone().any(|was| is_part(&value, was)) {
            return Err(format!("{key:?} never was so"));
        }
        found.insert(key, value);
    }
    if Some(&found) == fixture.states.last() {
        return Ok(Repaired::Whole);
    }
    Ok(Repaired::Part)
}

/// Whether a value is another one from which something was taken out.
fn is_part(value: &Value, whole: &Value) -> bool {
    match (value, whole) {
        (Value::Map(value), Value::Map(whole)) => value.iter().all(|(key, value)| {
            let whole = whole.get(key);
            whole.is_some_and(|whole| is_part(value, whole))
        }),
        (Value::Vector(value), Value::Vector(whole)) => {
            value.len() <= whole.len()
                && value
                    .iter()
                    .zip(whole)
                    .all(|(value, whole)| *value == Value::Nil || is_part(value, whole))
        }
        _ => value == whole,
    }
}

fn contents(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut names = walk(dir);
    names.retain(|name| name != Path::new(LOCK_FILE));
    let read = |name: PathBuf| {
        let content = fs::read(dir.join(&name)).unwrap();
        (name, content)
    };
    names.into_iter().map(read).collect()
}

/// Opens the store for writing and reads everything; an error says what is wrong.
fn read(fixture: &Fixture, location: &Location) -> Result<Read, String> {
    let options = ConnectOptions {
        wait: Duration::from_secs(5),
        ..ConnectOptions::default()
    };
    let store = match Store::connect(location, &options) {
        Ok(store) => store,
        Err(error) => {
            if std::env::var_os("KFS_DAMAGE_SHOW").is_some() {
                eprintln!("  {error}");
            }
            return Ok(Read::Refused);
        }
    };
    let mut found: BTreeMap<Key, Option<Value>> = BTreeMap::new();
    let mut whole_list = true;
    for listed in store.keys() {
        match listed {
            Ok((key, _)) => {
                found.insert(key, None);
            }
            Err(_) => {
                whole_list = false;
                break;
            }
        }
    }
    let mut refused = !whole_list;
    let known: Vec<Key> = fixture
        .states
        .iter()
        .flat_map(|s| s.keys().cloned())
        .collect();
    for key in known {
        match store.get(&key) {
            Ok(Some(value)) => {
                if whole_list && !found.contains_key(&key) {
                    return Err(format!("{key:?} is not listed"));
                }
                found.insert(key, Some(value));
            }
            Ok(None) => {
                if found.contains_key(&key) {
                    return Err(format!("{key:?} is listed and not there"));
                }
            }
            Err(error) => {
                if std::env::var_os("KFS_DAMAGE_SHOW").is_some() {
                    eprintln!("  {error}");
                }
                refused = true;
                found.insert(key, None);
            }
        }
    }
    let last = fixture.states.len() - 1;
    let matching = (0..=last)
        .rev()
        .find(|n| agrees(&found, &fixture.states[*n]));
    match matching {
        None => Err(difference(&found, &fixture.states[last])),
        Some(n) if n < last => Ok(Read::Earlier),
        Some(_) if refused => Ok(Read::Partly),
        Some(_) => Ok(Read::Same),
    }
}

/// Whether everything that could be read is as in a state, and nothing is missing or new.
fn agrees(found: &BTreeMap<Key, Option<Value>>, state: &State) -> bool {
    let same = |key: &Key| match found.get(key) {
        Some(Some(value)) => state.get(key) == Some(value),
        Some(None) => true,
        None => !state.contains_key(key),
    };
    found.keys().chain(state.keys()).all(same)
}

fn difference(found: &BTreeMap<Key, Option<Value>>, state: &State) -> String {
    for (key, value) in state {
        match found.get(key) {
            None => return format!("{key:?} is gone"),
            Some(Some(other)) if other != value => return format!("{key:?} has another value"),
            _ => {}
        }
    }
    let new = found.keys().find(|key| !state.contains_key(*key));
    format!("{new:?} is from nowhere")
}
