//! Looking for damage in the engine's own files, whether or not it can be opened.
//!
//! The manifest has a checksum of each table and blob file as a whole, which the engine writes and
//! does not look at; the log is judged by the journal's rules. Packs are not looked at here: each
//! blob in them is compared with its pointer when it is read.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;
use std::time::Duration;

use uuid::Uuid;
use xxhash_rust::xxh3::Xxh3;

use super::leftovers::{BLOBS, TABLES};
use super::manifest::{self, Manifest};
use super::{Access, ENGINE_DIR, KIND, LOG_DIR, Lock, PACK_DIR, TREE_DIR, identity};
use crate::backend::log::from_log;
use crate::backend::{BackendError, Flaw, Meter, Operation, Result};
use crate::journal;

/// How often files that change meanwhile are looked at again.
const ATTEMPTS: usize = 20;

/// Looks at the files of the storage in `dir`, which cannot be opened.
///
/// # Errors
/// [`BackendError::LockHeld`], or a failure of the system.
pub fn verify_closed(dir: &Path, meter: &mut Meter<'_>) -> Result<Vec<Flaw>> {
    let _lock = Lock::acquire(dir, Access::Read, Duration::ZERO)?;
    verify(dir, None, None, meter)
}

/// Looks at everything. `id` is what the log is bound to, if that is known for sure, and
/// `needed_after` the last record of it that is needed no more, if nobody writes it.
pub fn verify(
    dir: &Path,
    id: Option<&Uuid>,
    needed_after: Option<u64>,
    meter: &mut Meter<'_>,
) -> Result<Vec<Flaw>> {
    let engine = dir.join(ENGINE_DIR);
    let mut flaws = Vec::new();
    let found = match identity::read(&engine, KIND) {
        Ok(id) => Some(id),
        Err(error) => {
            flaws.push(flaw(dir, &engine.join("identity"), reason(error)?, false));
            None
        }
    };
    let known: &[&str] = &["identity", LOG_DIR, PACK_DIR, TREE_DIR];
    let mut strange = Vec::new();
    strays(dir, &engine, |name| known.contains(&name), &mut strange)?;
    verify_tree(
        dir,
        &engine.join(TREE_DIR),
        meter,
        (&mut flaws, &mut strange),
    )?;
    // An open engine has files that are not finished yet.
    let in_use = id.is_some() && needed_after.is_none();
    if !in_use {
        flaws.append(&mut strange);
    }
    let log = engine.join(LOG_DIR);
    let id = id.copied().or(found).or_else(|| journal::owner(&log));
    if let Some(id) = id {
        flaws.extend(verify_log(dir, &log, &id, needed_after, meter)?);
    }
    Ok(flaws)
}

/// Tables and blob files. While they are looked at, the engine may replace some of them and the
/// manifest; then the others are looked at again.
fn verify_tree(
    dir: &Path,
    tree: &Path,
    meter: &mut Meter<'_>,
    (flaws, strange): (&mut Vec<Flaw>, &mut Vec<Flaw>),
) -> Result<()> {
    let mut sound = HashSet::new();
    for attempt in 0..ATTEMPTS {
        let before = fs::read(tree.join("current")).ok();
        strange.retain(|flaw: &Flaw| !flaw.place.contains(TREE_DIR));
        let found = verify_version(dir, tree, &mut sound, strange, meter)?;
        let unchanged = fs::read(tree.join("current")).ok() == before;
        if unchanged || attempt + 1 == ATTEMPTS {
            flaws.extend(found);
            return Ok(());
        }
    }
    Ok(())
}

fn verify_version(
    dir: &Path,
    tree: &Path,
    sound: &mut HashSet<(bool, u64)>,
    strange: &mut Vec<Flaw>,
    meter: &mut Meter<'_>,
) -> Result<Vec<Flaw>> {
    let mut flaws = Vec::new();
    let manifest = match manifest::read_current(tree) {
        Ok(manifest) => manifest,
        Err(error) => {
            let place = match &error {
                BackendError::Damage { address, .. } => address.to_string(),
                _ => String::new(),
            };
            flaws.push(flaw(dir, Path::new(&place), reason(error)?, false));
            return Ok(flaws);
        }
    };
    let Manifest { tables, blobs } = manifest;
    let tables = tables.into_iter().map(|(id, (sum, _))| (true, id, sum));
    let blobs = blobs.into_iter().map(|(id, sum)| (false, id, sum));
    let mut names: HashSet<(bool, u64)> = HashSet::new();
    for (is_table, id, checksum) in tables.chain(blobs) {
        names.insert((is_table, id));
        if sound.contains(&(is_table, id)) {
            continue;
        }
        let path = tree.join(kind(is_table)).join(id.to_string());
        match hash(&path, meter) {
            Ok(None) => return Ok(flaws),
            Ok(Some(found)) if found == checksum => {
                sound.insert((is_table, id));
            }
            Ok(Some(_)) => flaws.push(flaw(dir, &path, "its checksum does not match", false)),
            Err(error) => flaws.push(flaw(dir, &path, error.to_string(), false)),
        }
    }
    for is_table in [true, false] {
        let belongs = |name: &str| {
            let id = name.parse().ok();
            id.is_some_and(|id| names.contains(&(is_table, id)))
        };
        strays(dir, &tree.join(kind(is_table)), belongs, strange)?;
    }
    Ok(flaws)
}

fn kind(is_table: bool) -> &'static str {
    if is_table { TABLES } else { BLOBS }
}

/// The XXH3 of a file; `None` if the meter ends the look.
fn hash(path: &Path, meter: &mut Meter<'_>) -> io::Result<Option<u128>> {
    let mut file = File::open(path)?;
    let mut hasher = Xxh3::new();
    let mut buffer = vec![0; 256 * 1024];
    loop {
        let count = file.read(&mut buffer)?;
        if count == 0 {
            return Ok(Some(hasher.digest128()));
        }
        hasher.update(buffer.get(..count).unwrap_or_default());
        if !meter(count as u64) {
            return Ok(None);
        }
    }
}

/// The log.
fn verify_log(
    dir: &Path,
    log: &Path,
    id: &Uuid,
    needed_after: Option<u64>,
    meter: &mut Meter<'_>,
) -> Result<Vec<Flaw>> {
    let inspection = journal::inspect(log, id, needed_after)
        .map_err(|error| from_log(Operation::Open, log.as_os_str().as_encoded_bytes(), error))?;
    if !meter(inspection.bytes) {
        return Ok(Vec::new());
    }
    let flaws = inspection.flaws.into_iter();
    Ok(flaws
        .map(|found| {
            let reason = format!("at byte {}: {}", found.offset, found.reason);
            flaw(dir, &found.path, reason, found.harmless)
        })
        .collect())
}

/// Files that are there and do not belong.
fn strays(
    dir: &Path,
    below: &Path,
    belongs: impl Fn(&str) -> bool,
    flaws: &mut Vec<Flaw>,
) -> Result<()> {
    let names: Vec<OsString> = match fs::read_dir(below) {
        Ok(entries) => entries.flatten().map(|entry| entry.file_name()).collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => {
            let address = below.as_os_str().as_encoded_bytes();
            return Err(BackendError::io(Operation::Open, address, error));
        }
    };
    for name in names {
        if !name.to_str().is_some_and(&belongs) {
            let reason = "it does not belong here; left by a step that was cut short, or foreign";
            flaws.push(flaw(dir, &below.join(name), reason, true));
        }
    }
    Ok(())
}

/// What an error says of damage; another error is one.
fn reason(error: BackendError) -> Result<String> {
    match error {
        BackendError::Damage { reason, .. } => Ok(reason),
        other => Err(other),
    }
}

fn flaw(dir: &Path, path: &Path, reason: impl Into<String>, harmless: bool) -> Flaw {
    Flaw {
        place: path.strip_prefix(dir).unwrap_or(path).display().to_string(),
        reason: reason.into(),
        harmless,
    }
}
