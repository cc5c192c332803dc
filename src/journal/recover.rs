//! Which records there are, which are missing, and whether that is a torn end or damage.

use std::fs;
use std::path::{Path, PathBuf};

use uuid::Uuid;

use super::frame::{
    ALIGN, FRAME_HEADER, FRAMES_AT, Frame, Header, Key, MAX_PAYLOAD, Place, decode_header,
    frame_length,
};
use super::segment::{
    Closed, SEGMENT_LENGTH, SegmentFile, remove, segment_first, segment_path, sync_dir,
};
use super::{JournalError, JournalRecord, Result, note, regular};

/// No segment is longer.
const LONGEST: u64 = FRAMES_AT + SEGMENT_LENGTH + MAX_PAYLOAD as u64 + 4096;

/// What a journal's directory holds.
#[derive(Debug)]
pub struct Recovered {
    /// The unbroken run of records that follows what is folded.
    pub records: Vec<JournalRecord>,
    /// The highest record that anything says was synced.
    pub durable: u64,
    folded: u64,
    segments: Vec<Found>,
}

impl Recovered {
    /// The last record that is kept, or that is folded.
    pub fn last(&self) -> u64 {
        self.records.last().map_or(self.folded, |record| record.seq)
    }

    /// Keeps no record after `last`.
    pub fn cut_after(&mut self, last: u64) {
        for segment in &mut self.segments {
            if segment.kept.is_some_and(|(_, kept)| kept > last) {
                let frame = segment.frames.iter().rev().find(|frame| frame.seq <= last);
                segment.kept = frame.filter(|frame| frame.seq > self.folded).map(|frame| {
                    (
                        (frame.offset + frame_length(frame.payload)) as u64,
                        frame.seq,
                    )
                });
            }
        }
    }
}

/// A segment file.
#[derive(Debug)]
pub struct Found {
    pub path: PathBuf,
    pub first: u64,
    pub content: Vec<u8>,
    pub frames: Vec<FoundFrame>,
    /// Where valid frames stop, each with the sequence number that was expected there.
    pub breaks: Vec<(u64, u64)>,
    /// The highest record that anything here says was synced.
    claimed: u64,
    pub header: Header,
    /// The end of the last frame that is kept, and its record.
    kept: Option<(u64, u64)>,
}

/// A valid frame's place in its segment's content.
#[derive(Debug)]
pub struct FoundFrame {
    pub seq: u64,
    pub offset: usize,
    pub payload: usize,
}

impl Found {
    /// The records after `folded`.
    pub fn records(&self, folded: u64) -> impl Iterator<Item = JournalRecord> {
        let later = self.frames.iter().filter(move |frame| frame.seq > folded);
        later.map(|frame| self.record(frame))
    }

    fn record(&self, frame: &FoundFrame) -> JournalRecord {
        let start = frame.offset + FRAME_HEADER;
        let payload = self.content.get(start..start + frame.payload);
        JournalRecord {
            seq: frame.seq,
            payload: payload.unwrap_or_default().to_vec(),
        }
    }
}

/// Reads the journal in `dir`, changing nothing.
pub fn recover(dir: &Path, key: &Key, store: &Uuid, folded: u64) -> Result<Recovered> {
    let mut segments = Vec::new();
    for (first, path) in list(dir)? {
        segments.push(read_segment(path, first, key, store)?);
    }
    check_headers(&segments, folded)?;
    let records = longest_run(&mut segments, folded);
    let next = records
        .last()
        .map_or(folded, |record| record.seq)
        .saturating_add(1);
    let claimed = segments.iter().map(|segment| segment.claimed).max();
    let claimed = claimed.unwrap_or(0).max(note::read(dir, key));
    if claimed >= next {
        return Err(missing(dir, &segments, next, claimed));
    }
    Ok(Recovered {
        records,
        durable: claimed,
        folded,
        segments,
    })
}

/// Removes what is of no use any more, and makes sure that the rest is durable.
pub fn clean(dir: &Path, recovered: &Recovered) -> Result<Vec<Closed>> {
    let mut closed = Vec::new();
    for segment in &recovered.segments {
        let Some((end, last)) = segment.kept else {
            remove(&segment.path)?;
            continue;
        };
        let content = usize::try_from(end)
            .ok()
            .and_then(|end| segment.content.get(..end));
        let file = SegmentFile::open(segment.path.clone(), segment.first)?;
        file.set_length(end)?;
        file.write_at(content.unwrap_or(&segment.content), 0)?;
        file.sync()?;
        closed.push(Closed::found(segment.path.clone(), end, last));
    }
    if !recovered.segments.is_empty() {
        sync_dir(dir)?;
    }
    Ok(closed)
}

/// The segment files in order.
pub fn list(dir: &Path) -> Result<Vec<(u64, PathBuf)>> {
    let failed = |source| JournalError::io("list", dir, source);
    let mut found = Vec::new();
    if !dir.exists() {
        return Ok(found);
    }
    for entry in fs::read_dir(dir).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        if let Some(first) = segment_first(Path::new(&name)) {
            found.push((first, segment_path(dir, first)));
        }
    }
    found.sort_unstable();
    Ok(found)
}

pub fn read_segment(path: PathBuf, first: u64, key: &Key, store: &Uuid) -> Result<Found> {
    let failed = |source| JournalError::io("read", &path, source);
    let facts = fs::symlink_metadata(&path).map_err(failed)?;
    let damage = |path, offset, reason: &str| {
        let reason = reason.to_owned();
        Err(JournalError::Damage {
            path,
            offset,
            reason,
        })
    };
    if !facts.is_file() {
        return damage(path, 0, regular::OTHER);
    }
    if facts.len() > LONGEST {
        return damage(path, LONGEST, "it is longer than a segment can be");
    }
    let content = regular::read(&path, LONGEST).map_err(failed)?;
    let header = decode_header(key, store, &content);
    let (frames, breaks) = (Vec::new(), Vec::new());
    let mut found = Found {
        path,
        first,
        content,
        frames,
        breaks,
        claimed: 0,
        header,
        kept: None,
    };
    match header {
        Header::OtherStore => return Err(JournalError::WrongStore { path: found.path }),
        Header::OtherFormat(format) => {
            return Err(JournalError::UnknownFormat {
                path: found.path,
                format,
            });
        }
        Header::Valid(_) | Header::Invalid => scan(&mut found, key),
    }
    Ok(found)
}

/// Finds every valid frame. Where there is none, all later places are tried, because a frame
/// further on may show that this one was once durable.
fn scan(segment: &mut Found, key: &Key) {
    let mut at = usize::try_from(FRAMES_AT).unwrap_or(usize::MAX);
    let mut next = segment.first;
    let mut broken = false;
    while let Some(rest) = segment
        .content
        .get(at..)
        .filter(|rest| rest.len() >= FRAME_HEADER)
    {
        let most = (rest.len() / FRAME_HEADER) as u64;
        let place = Place {
            segment: segment.first,
            offset: at as u64,
        };
        let Some(frame) = Frame::decode(key, place, rest, next..=next.saturating_add(most)) else {
            if !broken {
                segment.breaks.push((next, at as u64));
            }
            broken = true;
            at = after_zeroes(&segment.content, at + ALIGN);
            continue;
        };
        broken = false;
        segment.claimed = segment.claimed.max(frame.synced);
        let payload = frame.payload.len();
        segment.frames.push(FoundFrame {
            seq: frame.seq,
            offset: at,
            payload,
        });
        next = frame.seq.saturating_add(1);
        at += frame_length(payload);
    }
}

/// The next place, from `at` on, where a frame may begin: most of a segment is reserved space, and
/// no frame's header is all zeroes.
fn after_zeroes(content: &[u8], at: usize) -> usize {
    let rest = content.get(at..).unwrap_or_default();
    let (words, tail) = rest.as_chunks::<ALIGN>();
    let zeroes = words.iter().take_while(|word| **word == [0; ALIGN]).count();
    if zeroes == words.len() && tail.iter().all(|byte| *byte == 0) {
        return content.len();
    }
    at + zeroes.saturating_sub(FRAME_HEADER / ALIGN) * ALIGN
}

/// A header is durable before the first frame is written: frames under a wrong one are damage.
fn check_headers(segments: &[Found], folded: u64) -> Result<()> {
    for segment in segments {
        let needed = segment
            .frames
            .last()
            .is_some_and(|frame| frame.seq > folded);
        if needed && segment.header != Header::Valid(segment.first) {
            let reason = "the segment's header is not valid".to_owned();
            return Err(JournalError::Damage {
                path: segment.path.clone(),
                offset: 0,
                reason,
            });
        }
    }
    Ok(())
}

/// The records from the one after `folded` to the first that is missing.
fn longest_run(segments: &mut [Found], folded: u64) -> Vec<JournalRecord> {
    let mut records = Vec::new();
    let mut next = folded.saturating_add(1);
    for segment in segments {
        for frame in segment
            .frames
            .iter()
            .skip_while(|frame| frame.seq <= folded)
        {
            if frame.seq != next {
                return records;
            }
            records.push(segment.record(frame));
            let end = frame.offset + frame_length(frame.payload);
            segment.kept = Some((end as u64, frame.seq));
            next = next.saturating_add(1);
        }
    }
    records
}

/// The damage: `seq` is missing, though everything up to `claimed` was durable.
fn missing(dir: &Path, segments: &[Found], seq: u64, claimed: u64) -> JournalError {
    let before = segments.iter().rev().find(|segment| segment.first <= seq);
    let segment = before.or(segments.first());
    let path = segment
        .map(|segment| segment.path.clone())
        .unwrap_or_else(|| dir.to_owned());
    let place = segment.and_then(|segment| {
        let broken = segment.breaks.iter().find(|(expected, _)| *expected == seq);
        broken.map(|&(_, offset)| offset)
    });
    let end = segment.map_or(0, |segment| segment.content.len() as u64);
    JournalError::Damage {
        path,
        offset: place.unwrap_or(end),
        reason: format!("record {seq} is missing, though all up to {claimed} were durable"),
    }
}
