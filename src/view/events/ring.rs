//! The lines that are kept: the end of a file that only grows. And before they are lines, what has
//! changed since somebody looked.

use std::collections::VecDeque;

use super::change::Change;
use super::line;
use crate::tree::Time;

/// The most records kept.
const MOST_RECORDS: usize = 65_536;
/// The most bytes of records kept that are no lines yet.
const MOST_WEIGHT: usize = 16 << 20;
/// The most bytes of lines kept.
const MOST_BYTES: u64 = 16 << 20;
/// The most bytes of one answer, beside its last record.
const PART: usize = 256 * 1024;

/// The lines of the last records.
#[derive(Debug, Default)]
pub(super) struct Ring {
    records: VecDeque<Record>,
    /// Where the file ends.
    end: u64,
    /// The last record whose lines were let go of.
    gone: Option<u64>,
}

/// What has changed since the last lines were made.
#[derive(Debug, Default)]
pub(super) struct Pending {
    changes: VecDeque<Change>,
    weight: usize,
    /// The last record that there was no room for.
    gone: Option<u64>,
    /// The last record.
    last: u64,
    closed: bool,
}

impl Pending {
    /// Adds the next record.
    pub fn push(&mut self, change: Change) {
        self.last = change.seq;
        self.weight += change.weight();
        self.changes.push_back(change);
        while self.changes.len() > MOST_RECORDS || self.weight > MOST_WEIGHT {
            match self.changes.pop_front() {
                Some(oldest) => {
                    self.weight -= oldest.weight();
                    self.gone = Some(oldest.seq);
                }
                None => return,
            }
        }
    }

    /// What there is, and the record up to which the rest is gone.
    pub fn take(&mut self) -> (VecDeque<Change>, Option<u64>) {
        self.weight = 0;
        (std::mem::take(&mut self.changes), self.gone.take())
    }

    /// The last record, or the one that nothing before is told of.
    pub fn last(&self) -> u64 {
        self.last
    }

    /// Nothing is told of this one and what was before.
    pub fn begin(&mut self, seq: u64) {
        self.last = self.last.max(seq);
    }

    /// No more will come.
    pub fn close(&mut self) {
        self.closed = true;
    }

    /// Whether no more will come.
    pub fn is_closed(&self) -> bool {
        self.closed
    }
}

#[derive(Debug)]
struct Record {
    seq: u64,
    time: Time,
    /// Where its lines end in the file.
    end: u64,
    text: Box<str>,
}

impl Record {
    fn start(&self) -> u64 {
        self.end - self.text.len() as u64
    }
}

impl Ring {
    /// Adds the lines of the next record.
    pub fn push(&mut self, seq: u64, time: Time, text: String) {
        self.end += text.len() as u64;
        self.records.push_back(Record {
            seq,
            time,
            end: self.end,
            text: text.into_boxed_str(),
        });
        while self.records.len() > MOST_RECORDS || self.end - self.start() > MOST_BYTES {
            match self.records.pop_front() {
                Some(oldest) => self.gone = Some(oldest.seq),
                None => return,
            }
        }
    }

    /// Where what is kept begins.
    pub fn start(&self) -> u64 {
        self.records.front().map_or(self.end, Record::start)
    }

    /// Where the file ends.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// The last record, also if its lines are gone.
    pub fn last(&self) -> u64 {
        let last = self.records.back().map(|record| record.seq);
        last.or(self.gone).unwrap_or(0)
    }

    /// When the last record was committed.
    pub fn time(&self) -> Time {
        self.records.back().map_or(Time::default(), |r| r.time)
    }

    /// The record after which everything that is not kept any more was committed.
    pub fn gone(&self) -> Option<u64> {
        self.gone
    }

    /// Up to `want` bytes of the file from a place that is kept.
    pub fn read(&self, from: u64, want: usize) -> Vec<u8> {
        let first = self.records.partition_point(|record| record.end <= from);
        let mut out = Vec::new();
        for record in self.records.range(first..) {
            let skip = usize::try_from(from.saturating_sub(record.start())).unwrap_or(usize::MAX);
            let bytes = record.text.as_bytes().get(skip..).unwrap_or_default();
            let room = want - out.len();
            out.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
            if out.len() == want {
                break;
            }
        }
        out
    }

    /// The lines of records after one, as far as they make up one answer, and the last of these
    /// records. What is told no more is one line that says so.
    pub fn after(&self, seq: u64) -> (String, u64) {
        let mut text = String::new();
        let mut last = seq;
        // What is kept begins with a `start`, which tells of no change, or after what is gone.
        let known = self.gone.or(self.records.front().map(|record| record.seq));
        if let Some(known) = known.filter(|known| *known > seq) {
            last = known;
            text = line::lost(known, Some(seq), self.time());
        } else if seq > self.last() {
            // A store that has lost its last records with the power, or another one.
            last = self.last();
            text = line::lost(last, Some(seq), self.time());
        }
        let first = self.records.partition_point(|record| record.seq <= last);
        for record in self.records.range(first..) {
            text.push_str(&record.text);
            last = record.seq;
            if text.len() >= PART {
                break;
            }
        }
        (text, last)
    }

    /// What was up to this record is told no more, also what never came to be a line: in its place the
    /// file has a gap.
    pub fn lose(&mut self, seq: u64) {
        self.records.clear();
        self.gone = Some(seq);
        self.end += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(records: std::ops::RangeInclusive<u64>) -> Ring {
        let mut ring = Ring::default();
        for seq in records {
            ring.push(seq, Time::default(), format!("{{\"seq\":{seq}}}\n"));
        }
        ring
    }

    #[test]
    fn what_is_read_in_any_pieces_is_the_file() {
        let ring = ring(5..=40);
        let whole = ring.read(0, 1 << 20);
        assert_eq!(whole.len() as u64, ring.end());
        assert!(whole.starts_with(b"{\"seq\":5}\n") && whole.ends_with(b"{\"seq\":40}\n"));
        for piece in 1..30 {
            let mut got = Vec::new();
            loop {
                let part = ring.read(got.len() as u64, piece);
                if part.is_empty() {
                    break;
                }
                assert!(part.len() <= piece);
                got.extend(part);
            }
            assert_eq!(got, whole, "{piece}");
        }
    }

    #[test]
    fn the_lines_after_a_record_are_those_of_all_later_ones() {
        let ring = ring(5..=8);
        assert_eq!(ring.after(6), ("{\"seq\":7}\n{\"seq\":8}\n".to_owned(), 8));
        assert_eq!(ring.after(8), (String::new(), 8));
        // The first one stands for what was before.
        assert!(!ring.after(5).0.contains("lost"));
        for other in [4, 9] {
            let (text, last) = ring.after(other);
            let first = text.lines().next().unwrap();
            assert!(first.contains("\"kind\":\"lost\""), "{text}");
            assert!(first.contains(&format!("\"after\":{other}")), "{text}");
            assert_eq!(last, 8);
        }
        assert_eq!(ring.after(4).0.lines().count(), 4);
        assert_eq!(ring.after(9).0.lines().count(), 1);
    }

    #[test]
    fn the_oldest_lines_go_and_places_stay() {
        let mut ring = ring(0..=0);
        let many = MOST_RECORDS as u64 + 100;
        for seq in 1..=many {
            ring.push(seq, Time::default(), format!("{seq:09}\n"));
        }
        let kept = MOST_RECORDS as u64;
        assert_eq!(ring.gone(), Some(many - kept));
        assert_eq!(ring.end() - ring.start(), 10 * kept);
        let at = ring.end() - 20;
        assert_eq!(ring.read(at, 10), format!("{:09}\n", many - 1).as_bytes());
        assert_eq!(ring.after(many - kept).0.find("lost"), None);
        assert!(ring.after(many - kept - 1).0.contains("lost"));
        let line = "x".repeat(1 << 20);
        for seq in many + 1..many + 40 {
            ring.push(seq, Time::default(), line.clone());
        }
        assert_eq!(ring.end() - ring.start(), MOST_BYTES);
    }

    #[test]
    fn an_answer_is_of_bounded_length_and_goes_on_where_it_ended() {
        let mut ring = ring(0..=0);
        let line = "x".repeat(100_000);
        for seq in 1..=20 {
            ring.push(seq, Time::default(), line.clone());
        }
        let (mut seq, mut got) = (0, 0);
        while seq < 20 {
            let (text, last) = ring.after(seq);
            assert!(text.len() <= PART + line.len() && last > seq);
            (seq, got) = (last, got + text.len());
        }
        assert_eq!(got, 20 * line.len());
    }
}
