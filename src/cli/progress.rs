//! How far a transfer is, for whoever watches, and what it could not carry over.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use serde_json::json;

use super::error::CliError;
use super::output::Output;

/// How often the line is drawn anew.
const REDRAW: Duration = Duration::from_millis(100);

/// The last line of standard error, a terminal, drawn again and again.
#[derive(Debug)]
pub(super) struct Line;

impl Line {
    /// Shows this instead of what it shows.
    pub(super) fn draw(&self, text: &str) {
        self.write(&format!("\r\x1b[K{text}"));
    }

    /// Shows nothing.
    pub(super) fn clear(&self) {
        self.draw("");
    }

    /// Shows this, and leaves the line.
    fn finish(&self, text: &str) {
        self.draw(&format!("{text}\n"));
    }

    fn write(&self, text: &str) {
        let mut screen = io::stderr();
        // Nobody watches any more.
        let _closed = screen
            .write_all(text.as_bytes())
            .and_then(|()| screen.flush());
    }
}

/// A transfer under way.
#[derive(Debug)]
pub(super) struct Progress {
    /// `imported` or `exported`.
    verb: &'static str,
    watched: bool,
    drawn: Option<Instant>,
    entries: u64,
    bytes: u64,
    /// Attributes that the target does not take, with how many entries had them.
    lost: BTreeMap<String, u64>,
}

impl Progress {
    pub(super) fn new(verb: &'static str) -> Self {
        let watched = io::stderr().is_terminal();
        Self {
            verb,
            watched,
            drawn: None,
            entries: 0,
            bytes: 0,
            lost: BTreeMap::new(),
        }
    }

    /// An entry is done.
    pub(super) fn entry(&mut self) {
        self.entries += 1;
        self.draw();
    }

    /// So many bytes more are done.
    pub(super) fn bytes(&mut self, count: usize) {
        self.bytes += count as u64;
        self.draw();
    }

    /// The target does not take an attribute.
    pub(super) fn lost(&mut self, attribute: &[u8]) {
        *self
            .lost
            .entry(String::from_utf8_lossy(attribute).into_owned())
            .or_default() += 1;
    }

    fn draw(&mut self) {
        if !self.watched || self.drawn.is_some_and(|drawn| drawn.elapsed() < REDRAW) {
            return;
        }
        self.drawn = Some(Instant::now());
        Line.draw(&self.text());
    }

    fn text(&self) -> String {
        let entries = if self.entries == 1 {
            "entry"
        } else {
            "entries"
        };
        format!(
            "{} {} {entries}, {}",
            self.verb,
            self.entries,
            size(self.bytes)
        )
    }

    /// Tells how it went.
    ///
    /// # Errors
    /// That not everything could be carried over.
    pub(super) fn finish(self, out: &mut Output) -> Result<(), CliError> {
        if self.watched {
            Line.finish(&self.text());
        }
        if out.wants_json() {
            out.json(&json!({"entries": self.entries, "bytes": self.bytes, "lost": self.lost}))?;
        }
        if self.lost.is_empty() {
            return Ok(());
        }
        let lost: Vec<String> = self
            .lost
            .iter()
            .map(|(name, count)| format!("{name} ({count})"))
            .collect();
        Err(CliError::failed(
            format!("{} all but these attributes", self.verb),
            format!("the target does not take {}", lost.join(", ")),
        ))
    }
}

/// A size for people.
pub(super) fn size(bytes: u64) -> String {
    let mut value = bytes;
    let mut rest = 0;
    let mut units = ["bytes", "KiB", "MiB", "GiB", "TiB"].into_iter();
    let mut unit = units.next().unwrap_or_default();
    for larger in units {
        if value < 1024 {
            break;
        }
        (value, rest, unit) = (value / 1024, value % 1024, larger);
    }
    if unit == "bytes" {
        format!("{value} bytes")
    } else {
        format!("{value}.{} {unit}", rest * 10 / 1024)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_for_people() {
        assert_eq!(size(0), "0 bytes");
        assert_eq!(size(1023), "1023 bytes");
        assert_eq!(size(1536), "1.5 KiB");
        assert_eq!(size(5 << 30), "5.0 GiB");
    }
}
