//! Looking for damage in a journal, whoever has it open, and getting out what is whole.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use uuid::Uuid;

use super::frame::{FRAME_HEADER, FRAMES_AT, Header, Key, frame_length, header_store};
use super::recover::{Found, list, read_segment, recover};
use super::segment::{is_spare, segment_first};
use super::{JournalError, JournalRecord, Result, note};

/// Something that is not as the journal wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalFlaw {
    /// The file.
    pub path: PathBuf,
    /// Where in it.
    pub offset: u64,
    /// What is wrong.
    pub reason: String,
    /// Whether nothing depends on it.
    pub harmless: bool,
}

/// What a look at a journal found.
#[derive(Debug, Default)]
pub struct Inspection {
    /// Records that are whole.
    pub records: u64,
    /// Bytes looked at.
    pub bytes: u64,
    /// What is wrong.
    pub flaws: Vec<JournalFlaw>,
}

/// How long a write may take that a look has seen half of.
const HALF_WRITTEN: Duration = Duration::from_millis(100);

/// Looks at every file of the journal in `dir`, changing nothing. With `folded`, the last record
/// that is needed no more, the journal must be one that can be opened, and what opening it would
/// drop is harmless; without, it may be in use: each file is judged for itself, and what is wrong
/// counts only if it stays so.
///
/// # Errors
/// A failure of the system. Damage is a flaw.
pub fn inspect(dir: &Path, store: &Uuid, folded: Option<u64>) -> Result<Inspection> {
    let mut inspection = look(dir, store, folded)?;
    if folded.is_none() && !inspection.flaws.is_empty() {
        for _ in 0..3 {
            thread::sleep(HALF_WRITTEN);
            let again = look(dir, store, None)?.flaws;
            inspection.flaws.retain(|flaw| again.contains(flaw));
        }
    }
    Ok(inspection)
}

fn look(dir: &Path, store: &Uuid, folded: Option<u64>) -> Result<Inspection> {
    let key = Key::new(store);
    let mut inspection = Inspection::default();
    strays(dir, &key, &mut inspection.flaws)?;
    let recovered = folded.map(|folded| recover(dir, &key, store, folded));
    // What stands after the last record that would be recovered, if nothing is missing of what was
    // durable, is what a crash may leave.
    let dropped_after = match &recovered {
        Some(Ok(recovered)) => Some(recovered.last()),
        _ => None,
    };
    for (first, path) in list(dir)? {
        let segment = match read_segment(path.clone(), first, &key, store) {
            Ok(segment) => segment,
            // The holder has removed it meanwhile.
            Err(JournalError::Io { source, .. })
                if source.kind() == std::io::ErrorKind::NotFound && folded.is_none() =>
            {
                continue;
            }
            Err(error @ JournalError::Io { .. }) => return Err(error),
            Err(error) => {
                inspection.flaws.push(flaw(path, 0, bare(&error), false));
                continue;
            }
        };
        inspection.bytes += segment.content.len() as u64;
        inspection.records += segment.frames.len() as u64;
        let folded = folded.unwrap_or(0);
        judge(&segment, folded, dropped_after, &mut inspection.flaws);
    }
    match recovered {
        None | Some(Ok(_)) => {}
        Some(Err(error @ JournalError::Io { .. })) => return Err(error),
        Some(Err(error)) if inspection.flaws.iter().all(|flaw| flaw.harmless) => {
            let (path, offset) = match &error {
                JournalError::Damage { path, offset, .. } => (path.clone(), *offset),
                _ => (dir.to_owned(), 0),
            };
            inspection
                .flaws
                .push(flaw(path, offset, bare(&error), false));
        }
        Some(Err(_)) => {}
    }
    Ok(inspection)
}

/// All records after `folded` that are whole, in order, wherever others are missing.
///
/// # Errors
/// A failure of the system.
pub fn salvage(dir: &Path, store: &Uuid, folded: u64) -> Result<Vec<JournalRecord>> {
    let key = Key::new(store);
    let mut records = Vec::new();
    for (first, path) in list(dir)? {
        match read_segment(path, first, &key, store) {
            Ok(segment) => records.extend(segment.records(folded)),
            Err(error @ JournalError::Io { .. }) => return Err(error),
            Err(_) => {}
        }
    }
    records.sort_by_key(|record| record.seq);
    records.dedup_by_key(|record| record.seq);
    Ok(records)
}

/// The store that the journal in `dir` belongs to, as its files say.
#[must_use]
pub fn owner(dir: &Path) -> Option<Uuid> {
    let segments = list(dir).ok()?;
    segments
        .iter()
        .find_map(|(_, path)| header_store(&fs::read(path).ok()?))
}

/// The reason alone: the file is named beside it.
fn bare(error: &JournalError) -> String {
    match error {
        JournalError::Damage { reason, .. } => reason.clone(),
        JournalError::WrongStore { .. } => "it belongs to another store".to_owned(),
        other => other.to_string(),
    }
}

fn flaw(path: PathBuf, offset: u64, reason: impl Into<String>, harmless: bool) -> JournalFlaw {
    JournalFlaw {
        path,
        offset,
        reason: reason.into(),
        harmless,
    }
}

/// Files that are no segments.
fn strays(dir: &Path, key: &Key, flaws: &mut Vec<JournalFlaw>) -> Result<()> {
    let failed = |source| JournalError::io("list", dir, source);
    if !dir.exists() {
        return Ok(());
    }
    for entry in fs::read_dir(dir).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if note::is_note(&path) {
            if note::read(dir, key) == 0 && fs::metadata(&path).is_ok_and(|m| m.len() > 0) {
                flaws.push(flaw(path, 0, "it says nothing: its check is wrong", true));
            }
        } else if segment_first(Path::new(&entry_name(&path))).is_none() && !is_spare(&path) {
            flaws.push(flaw(path, 0, "it does not belong here", true));
        }
    }
    Ok(())
}

fn entry_name(path: &Path) -> std::ffi::OsString {
    path.file_name().unwrap_or_default().to_owned()
}

/// Finds what is wrong within one segment. What stands after the record `dropped_after` is what a
/// crash has left, which the next opening drops.
fn judge(segment: &Found, folded: u64, dropped_after: Option<u64>, flaws: &mut Vec<JournalFlaw>) {
    let last = segment.frames.last();
    let dropped = |seq: u64| dropped_after.is_some_and(|last| seq > last);
    // What holds nothing was left by a crash while it was made.
    let empty = segment.content.iter().all(|byte| *byte == 0);
    if segment.header != Header::Valid(segment.first) && !empty {
        let reason = "the segment's header is not valid";
        // Without a whole record nobody knows what was in it, unless all that was durable is known.
        let needed = match last {
            Some(frame) => frame.seq > folded,
            None => !dropped(segment.first),
        };
        flaws.push(flaw(segment.path.clone(), 0, reason, !needed));
    }
    for (expected, offset) in &segment.breaks {
        let after = segment
            .frames
            .iter()
            .find(|frame| frame.offset as u64 > *offset);
        let Some(after) = after else { continue };
        let (reason, harmless) = if dropped(*expected) {
            let last = expected.saturating_sub(1);
            let reason = format!(
                "record {expected} was not finished before a crash; the next opening drops it and \
                 what follows it: nothing after record {last} was durable"
            );
            (reason, true)
        } else if after.seq > expected.saturating_add(1) {
            let reason = format!("records {expected} to {} are damaged", after.seq - 1);
            (reason, after.seq <= folded.saturating_add(1))
        } else {
            let reason = format!("record {expected} is damaged");
            (reason, after.seq <= folded.saturating_add(1))
        };
        flaws.push(flaw(segment.path.clone(), *offset, reason, harmless));
    }
    let start = usize::try_from(FRAMES_AT).unwrap_or(usize::MAX);
    let end = last.map_or(start, |frame| frame.offset + frame_length(frame.payload));
    let next = last.map_or(segment.first, |frame| frame.seq.saturating_add(1));
    let rest = segment.content.get(end..).unwrap_or_default();
    // After an end that shows there may be what the segment was made of.
    let ends = rest
        .windows(FRAME_HEADER)
        .position(|b| b == [0; FRAME_HEADER]);
    let rest = rest.get(..ends.unwrap_or(rest.len())).unwrap_or_default();
    if let Some(length) = rest.iter().rposition(|byte| *byte != 0) {
        let harmless = dropped(next);
        let reason = if harmless {
            format!(
                "the journal ends in {} bytes of an unfinished record, which the next mount drops",
                length + 1
            )
        } else {
            let last = next.saturating_sub(1);
            format!("what stands after record {last} is none: it is damaged")
        };
        flaws.push(flaw(segment.path.clone(), end as u64, reason, harmless));
    }
}
