//! A place in a text, which can be told in lines and columns.

use thiserror::Error;

/// Why a text could not be read, and where.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("line {line}, column {column}: {message}")]
pub struct TextError {
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
    /// What is wrong there.
    pub message: String,
}

impl TextError {
    /// The message where nesting goes too far.
    pub(in crate::value) const TOO_DEEP: &str = "nested too deeply";

    pub(in crate::value) fn is_too_deep(&self) -> bool {
        self.message == Self::TOO_DEEP
    }

    /// Bytes as text.
    ///
    /// # Errors
    /// Where they are not UTF-8.
    pub fn check_utf8(bytes: &[u8]) -> Result<&str, Self> {
        std::str::from_utf8(bytes).map_err(|e| {
            let before = bytes.get(..e.valid_up_to()).unwrap_or_default();
            let before = std::str::from_utf8(before).unwrap_or_default();
            Self::at(before, "this is not UTF-8")
        })
    }

    /// At the end of the text before it.
    fn at(before: &str, message: impl Into<String>) -> Self {
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Self {
            line: before.bytes().filter(|byte| *byte == b'\n').count() + 1,
            column: before.get(line_start..).unwrap_or_default().chars().count() + 1,
            message: message.into(),
        }
    }
}

#[derive(Clone, Debug)]
pub(in crate::value) struct Cursor<'a> {
    text: &'a str,
    pos: usize,
}

impl<'a> Cursor<'a> {
    /// At the start of `text`, after a byte order mark.
    pub fn new(text: &'a str) -> Self {
        let pos = if text.starts_with('\u{feff}') {
            '\u{feff}'.len_utf8()
        } else {
            0
        };
        Self { text, pos }
    }

    pub fn offset(&self) -> usize {
        self.pos
    }

    pub fn rest(&self) -> &'a str {
        self.text.get(self.pos..).unwrap_or_default()
    }

    pub fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    pub fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.pos += c.len_utf8();
        Some(c)
    }

    /// Step over `expected` if it comes next.
    pub fn eat(&mut self, expected: &str) -> bool {
        let comes = self.rest().starts_with(expected);
        if comes {
            self.pos += expected.len();
        }
        comes
    }

    pub fn take_while(&mut self, mut wanted: impl FnMut(char) -> bool) -> &'a str {
        let rest = self.rest();
        let length = rest.find(|c| !wanted(c)).unwrap_or(rest.len());
        self.pos += length;
        rest.get(..length).unwrap_or_default()
    }

    pub fn error<T>(&self, message: impl Into<String>) -> Result<T, TextError> {
        self.error_at(self.pos, message)
    }

    pub fn error_at<T>(&self, offset: usize, message: impl Into<String>) -> Result<T, TextError> {
        let before = self.text.get(..offset).unwrap_or(self.text);
        Err(TextError::at(before, message))
    }
}
