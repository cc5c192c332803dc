//! The journal: its files, what its records say, and whether they can be applied.

use std::path::Path;
use std::sync::Arc;

use super::records::{Documents, of_page};
use super::{Check, Ended, Finding, Subject, reason};
use crate::journal::{self, JournalError, JournalRecord, Recovery};
use crate::store::commit::read_payload;
use crate::store::docs::Docs;
use crate::store::{StoreError, clock, lifecycle};
use crate::tree::{Op, Time};

impl Check<'_> {
    /// Looks at the journal and at the pages that its records refer to.
    pub(super) fn journal(
        &mut self,
        subject: &Subject,
        documents: &mut Documents<'_>,
    ) -> Result<(), Ended> {
        let Some(dir) = &subject.journal else {
            return Ok(());
        };
        let Some(header) = &subject.header else {
            return Ok(());
        };
        let folded = (!subject.live).then_some(header.folded);
        let inspected = match journal::inspect(dir, &subject.id, folded) {
            Ok(inspected) => inspected,
            Err(error) => {
                self.found(Finding::damage(&[], "the journal", error));
                return Ok(());
            }
        };
        if !self.read(inspected.bytes) {
            return Err(Ended::Told);
        }
        let sound = inspected.flaws.iter().all(|flaw| flaw.harmless);
        for flaw in inspected.flaws {
            let name = flaw.path.strip_prefix(dir).unwrap_or(&flaw.path);
            let what = Path::new(lifecycle::JOURNAL).join(name);
            self.found(Finding {
                path: Vec::new(),
                in_vector: Vec::new(),
                what: what.display().to_string(),
                reason: format!("at byte {}: {}", flaw.offset, flaw.reason),
                harmless: flaw.harmless,
            });
        }
        // Beside writers, what a record says may be folded and its pages freed at any time.
        let records = journal::salvage(dir, &subject.id, header.folded);
        for record in records.unwrap_or_default() {
            self.report.journal += 1;
            self.record(subject, &record, documents)?;
        }
        if sound && !subject.live {
            self.replay(subject, header.folded, header.clock);
        }
        Ok(())
    }

    fn record(
        &mut self,
        subject: &Subject,
        record: &JournalRecord,
        documents: &mut Documents<'_>,
    ) -> Result<(), Ended> {
        let what = format!("journal record {}", record.seq);
        let replay = match read_payload(record, subject.cipher.as_deref()) {
            Ok(replay) => replay,
            Err(error) => {
                self.found(Finding::damage(&[], what, error));
                return Ok(());
            }
        };
        for op in &replay.ops {
            let Op::Put { path, entry, .. } = op else {
                continue;
            };
            let flaws = documents.entry_of_other(entry, path, self)?;
            for flaw in flaws.into_iter().filter(|_| !subject.live) {
                let mut finding = of_page(flaw, None, &subject.pager);
                finding.what = format!("{}, of {what}", finding.what);
                self.found(finding);
            }
        }
        Ok(())
    }

    /// Applies the records as opening would.
    fn replay(&mut self, subject: &Subject, folded: u64, time: Time) {
        let Some(dir) = &subject.journal else {
            return;
        };
        let damaged = self.report.damaged;
        let replayed = Recovery::read(dir, &subject.id, folded)
            .map_err(StoreError::Journal)
            .and_then(|mut recovery| {
                let docs = Docs::new(Arc::clone(&subject.pager), 1 << 20);
                docs.read_epochs()?;
                let clock = clock::Clock::after(time);
                let pages = (&*subject.pager, subject.cipher.as_deref());
                lifecycle::replay(&mut recovery, folded, &docs, &clock, pages)
            });
        match replayed {
            Ok(_) => {}
            // What it stumbled over was told already.
            Err(_) if damaged > 0 => {}
            Err(StoreError::Journal(JournalError::Damage {
                path,
                offset,
                reason,
            })) => {
                let reason = format!("at byte {offset}: {reason}");
                self.found(Finding::damage(&[], path.display().to_string(), reason));
            }
            Err(error) => {
                let what = "the journal cannot be applied";
                self.found(Finding::damage(&[], what, reason(error)));
            }
        }
    }
}
