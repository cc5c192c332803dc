//! What was written into a file since it was last committed, where that is little.

use std::ops::Range;

use super::{Buffer, CHUNK_LEN};
use crate::tree::{Attrs, Content, Pager, Patch, TreeError, same_content};

/// More than this is put into pages at once rather than into the journal first.
const MOST_BYTES: u64 = 64 * 1024;
const MOST_RANGES: usize = 64;

/// The ranges written, while they are few and say all that has changed.
#[derive(Clone, Debug)]
pub struct Edits(Option<Vec<Range<u64>>>);

impl Edits {
    pub fn none() -> Self {
        Self(Some(Vec::new()))
    }

    /// Something else has changed than what is written in some place.
    pub fn lose(&mut self) {
        self.0 = None;
    }

    pub fn add(&mut self, range: Range<u64>) {
        let Some(ranges) = &mut self.0 else {
            return;
        };
        match ranges.last_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            _ => ranges.push(range),
        }
        let bytes: u64 = ranges.iter().map(|range| range.end - range.start).sum();
        if bytes > MOST_BYTES || ranges.len() > MOST_RANGES {
            self.0 = None;
        }
    }
}

impl Buffer {
    /// Whether little enough has changed for [`Buffer::patch`].
    pub fn changed_little(&self) -> bool {
        self.edits.0.is_some() && self.len >= self.base_len && self.base_len == self.base_file_len()
    }

    fn base_file_len(&self) -> u64 {
        self.base.len() + u64::from(self.newline)
    }

    /// Whether an entry's content is the one that the writes went over.
    pub fn is_over(&self, content: &Content, newline: bool, pager: &Pager) -> bool {
        newline == self.newline && same_content(&self.base, content, pager)
    }

    /// What was written as a change of the content that it was written over: of all bytes, or of
    /// those before a newline at the end. `None` if that does not say it.
    pub fn patch(
        &self,
        without_newline: bool,
        attrs: Attrs,
        pager: &Pager,
    ) -> Result<Option<Patch>, TreeError> {
        let len = self.len - u64::from(without_newline);
        let Some(ranges) = self.edits.0.as_ref().filter(|_| self.changed_little()) else {
            return Ok(None);
        };
        if len < self.base.len() {
            return Ok(None);
        }
        // The newline behind the base has become part of what is before the end.
        let base = self.base.len();
        let newline = (self.newline && len > base).then_some(base..base + 1);
        let mut pieces = Vec::with_capacity(ranges.len() + 1);
        for range in newline.iter().chain(ranges) {
            let end = range.end.min(len);
            if range.start < end {
                let want = usize::try_from(end - range.start).unwrap_or(usize::MAX);
                pieces.push((range.start, self.read(range.start, want, pager)?.into()));
            }
        }
        Ok(Some(Patch { len, pieces, attrs }))
    }

    /// Whether all bytes are UTF-8, which those were that what is known was written over.
    pub fn stays_utf8(&self, pager: &Pager) -> Result<bool, TreeError> {
        let Some(ranges) = self.edits.0.as_ref().filter(|_| self.changed_little()) else {
            return self.is_utf8(pager);
        };
        for range in ranges {
            // As far as a character reaches that was cut through.
            let from = range.start.saturating_sub(4);
            let want = usize::try_from(range.end - from).unwrap_or(usize::MAX);
            let bytes = self.read(from, want.saturating_add(4), pager)?;
            let inside = |b: &&u8| **b & 0xC0 == 0x80;
            let cut = bytes.iter().take_while(inside).count();
            let Some(bytes) = bytes.get(cut..) else {
                return Ok(false);
            };
            if cut > 3 || (from == 0 && cut > 0) {
                return Ok(false);
            }
            match std::str::from_utf8(bytes) {
                Ok(_) => {}
                // The last character goes on behind what was read.
                Err(e)
                    if e.error_len().is_none()
                        && from + ((cut + bytes.len()) as u64) < self.len => {}
                Err(_) => return Ok(false),
            }
        }
        Ok(true)
    }

    /// Whether all bytes are UTF-8. Reads no further than to the first that is not.
    pub fn is_utf8(&self, pager: &Pager) -> Result<bool, TreeError> {
        let mut at = 0;
        while at < self.len {
            let bytes = self.read(at, CHUNK_LEN as usize, pager)?;
            at += match std::str::from_utf8(&bytes) {
                Ok(_) => bytes.len() as u64,
                Err(e) if e.error_len().is_none() && e.valid_up_to() > 0 => e.valid_up_to() as u64,
                Err(_) => return Ok(false),
            };
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::store::{CreateOptions, Location, Store};
    use crate::tree::convert;

    fn store() -> Store {
        let place = Location::parse("mem:").unwrap();
        Store::create(&place, &CreateOptions::default()).unwrap()
    }

    fn text() -> impl Strategy<Value = String> {
        "[aä€😀]{1,40}"
    }

    #[test]
    fn a_write_of_nothing_makes_no_text_of_bytes_or_bytes_of_text() {
        let store = store();
        for at in 0..4 {
            let mut buffer = Buffer::new(convert::from_bytes("€".as_bytes()), false);
            buffer.write(at, b"", store.pager()).unwrap();
            assert!(buffer.stays_utf8(store.pager()).unwrap(), "at {at}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]
        /// Writes may cut characters in two and complete what others cut.
        #[test]
        fn text_stays_text_exactly_if_all_of_it_is(
            base in text(),
            writes in prop::collection::vec((0..80_u64, text(), 0..4_usize, 0..4_usize), 1..4),
        ) {
            let store = store();
            let mut buffer = Buffer::new(convert::from_bytes(base.as_bytes()), false);
            let mut model = base.into_bytes();
            for (at, text, from, less) in writes {
                let at = at.min(model.len() as u64);
                let bytes = text.as_bytes();
                let bytes = bytes.get(from..bytes.len().saturating_sub(less)).unwrap_or_default();
                buffer.write(at, bytes, store.pager()).unwrap();
                let at = at as usize;
                model.resize(model.len().max(at + bytes.len()), 0);
                model[at..at + bytes.len()].copy_from_slice(bytes);
            }
            let is_text = std::str::from_utf8(&model).is_ok();
            prop_assert!(buffer.changed_little());
            prop_assert_eq!(buffer.stays_utf8(store.pager()).unwrap(), is_text);
            prop_assert_eq!(buffer.is_utf8(store.pager()).unwrap(), is_text);
        }

        /// The newline that the view adds is none of the text's, unless something follows it.
        #[test]
        fn a_patch_of_a_text_makes_the_text_that_is_in_the_file(
            base in "[a\n]{0,6}", newline in any::<bool>(),
            writes in prop::collection::vec((0..10_u64, "[b\n]{1,5}"), 0..3),
        ) {
            let store = store();
            let pager = store.pager();
            let content = convert::from_bytes(base.as_bytes());
            let mut buffer = Buffer::new(content.clone(), newline);
            for (at, text) in writes {
                buffer.write(at.min(buffer.len()), text.as_bytes(), pager).unwrap();
            }
            let file = buffer.read_all(pager).unwrap();
            let without = file.ends_with(b"\n");
            let text = file.strip_suffix(b"\n").unwrap_or(&file);
            prop_assert!(buffer.is_over(&content, newline, pager));
            prop_assert!(!buffer.is_over(&content, !newline, pager));
            if let Some(patch) = buffer.patch(without, Attrs::default(), pager).unwrap() {
                let mut entry = crate::tree::Entry::plain(crate::tree::Node::Text(content));
                patch.apply(&mut entry, pager).unwrap();
                let crate::tree::Node::Text(after) = entry.node else { unreachable!() };
                prop_assert_eq!(crate::tree::content::read_all(&after, pager).unwrap(), text);
            } else {
                prop_assert!(text.len() < base.len());
            }
        }
    }
}
