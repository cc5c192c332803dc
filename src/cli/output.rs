//! Standard output, which may be closed at any time.

use std::io::{self, BufWriter, IsTerminal, Stdout, Write};
use std::os::fd::AsFd;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde::Serialize;

use super::error::CliError;

/// Standard output of a command.
#[derive(Debug)]
pub struct Output {
    json: bool,
    terminal: bool,
    out: BufWriter<Stdout>,
}

impl Output {
    /// With `json`, commands give JSON instead of text for people.
    #[must_use]
    pub fn new(json: bool) -> Self {
        let stdout = io::stdout();
        let terminal = stdout.is_terminal();
        Self {
            json,
            terminal,
            out: BufWriter::new(stdout),
        }
    }

    /// Whether JSON is wanted.
    #[must_use]
    pub fn wants_json(&self) -> bool {
        self.json
    }

    /// Whether a person looks at it.
    #[must_use]
    pub fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// Whether nobody can read what is printed any more.
    pub(super) fn is_abandoned(&self) -> bool {
        let mut fds = [PollFd::new(self.out.get_ref().as_fd(), PollFlags::empty())];
        let polled = poll(&mut fds, PollTimeout::ZERO);
        polled.is_ok()
            && fds.iter().any(|fd| {
                let found = fd.revents().unwrap_or(PollFlags::empty());
                found.contains(PollFlags::POLLERR)
            })
    }

    /// Bytes as they are.
    pub(super) fn bytes(&mut self, bytes: &[u8]) -> Result<(), CliError> {
        self.out.write_all(bytes).map_err(closed)
    }

    /// A line.
    pub(super) fn line(&mut self, line: impl AsRef<[u8]>) -> Result<(), CliError> {
        self.bytes(line.as_ref())?;
        self.bytes(b"\n")
    }

    /// A line of JSON.
    pub(super) fn json(&mut self, value: &impl Serialize) -> Result<(), CliError> {
        let text = serde_json::to_string(value)
            .map_err(|e| CliError::failed("formatting JSON", e.to_string()))?;
        self.line(text)
    }

    /// A name from the store: for a terminal, without characters that would do something there.
    pub(super) fn name(&mut self, name: &[u8]) -> Result<(), CliError> {
        if self.terminal {
            self.bytes(printable(name).as_bytes())
        } else {
            self.bytes(name)
        }
    }

    /// Writes what is held back.
    pub(super) fn flush(&mut self) -> Result<(), CliError> {
        self.out.flush().map_err(closed)
    }
}

fn closed(error: io::Error) -> CliError {
    match error.kind() {
        io::ErrorKind::BrokenPipe => CliError::OutputClosed,
        _ => CliError::io("writing to standard output", error),
    }
}

/// A name with a `?` for each control character, and for what is not UTF-8.
pub(super) fn printable(name: &[u8]) -> String {
    String::from_utf8_lossy(name)
        .chars()
        .map(|c| if c.is_control() { '?' } else { c })
        .collect()
}
