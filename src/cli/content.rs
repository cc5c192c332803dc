//! Values on the command line and in files: how they are read and shown.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use clap::{Args, ValueEnum};

use super::error::CliError;
use crate::value::{TextError, Value, cbor, edn, json};
use crate::view::render::TypeName;

/// Characters of a line that are shown around a mistake.
const EXCERPT: usize = 72;

/// A notation for values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Notation {
    /// EDN: 42, "text", :keyword, [1 2], {:a 1}
    Edn,
    /// JSON; what it lacks is an object with a reserved key, as {"$kw": "a"}
    Json,
    /// A text; a final newline of a file is not part of it
    Text,
    /// Bytes as they are
    Bytes,
}

/// A value given as an argument or in a file.
#[derive(Debug, Args)]
pub struct Input {
    /// Read the value from this file; `-` is standard input
    #[arg(short, long, value_name = "FILE")]
    pub(super) file: Option<OsString>,
    /// How the value is written
    #[arg(long = "as", value_name = "NOTATION", default_value = "edn")]
    pub(super) notation: Notation,
}

impl Notation {
    /// The value that these bytes are.
    pub(super) fn read(self, bytes: Vec<u8>, what: &str) -> Result<Value, CliError> {
        match self {
            Self::Bytes => Ok(Value::Bytes(bytes)),
            Self::Edn | Self::Json | Self::Text => {
                let text = String::from_utf8(bytes).map_err(|e| {
                    let offset = e.utf8_error().valid_up_to();
                    CliError::NotUtf8 {
                        what: what.to_owned(),
                        offset,
                    }
                })?;
                self.read_text(text, what)
            }
        }
    }

    fn read_text(self, text: String, what: &str) -> Result<Value, CliError> {
        let syntax = |format| {
            let text = &text;
            move |source| {
                let excerpt = excerpt(text, &source);
                CliError::Syntax {
                    what: what.to_owned(),
                    format,
                    source,
                    excerpt,
                }
            }
        };
        let value = match self {
            Self::Edn => edn::parse(&text).map_err(syntax("EDN"))?,
            Self::Json => json::parse(&text).map_err(syntax("JSON"))?,
            Self::Text | Self::Bytes => Value::Text(text),
        };
        // What nests too deep to be stored would fail further on with less to say.
        cbor::check_depth(&value).map_err(|e| CliError::refused(what, e.to_string()))?;
        Ok(value)
    }

    /// The value that a file's content is.
    pub(super) fn read_file(self, mut bytes: Vec<u8>, what: &str) -> Result<Value, CliError> {
        if self == Self::Text && bytes.last() == Some(&b'\n') {
            bytes.pop();
        }
        self.read(bytes, what)
    }

    /// What shows a value, with a final newline where it is text.
    pub(super) fn show(self, value: &Value, pretty: bool, what: &str) -> Result<Vec<u8>, CliError> {
        let mut shown = match (self, value) {
            (Self::Bytes, Value::Bytes(bytes)) => return Ok(bytes.clone()),
            (Self::Bytes, Value::Text(text)) => return Ok(text.clone().into_bytes()),
            (Self::Text, Value::Text(text)) => text.clone(),
            (Self::Bytes, value) => return Err(other_type(what, value, "neither bytes nor text")),
            (Self::Text, value) => return Err(other_type(what, value, "not text")),
            (Self::Edn, value) if pretty => edn::pretty(value),
            (Self::Edn, value) => edn::print(value),
            (Self::Json, value) if pretty => json::pretty(value),
            (Self::Json, value) => json::print(value),
        };
        shown.push('\n');
        Ok(shown.into_bytes())
    }

    /// What a file of this notation is called.
    pub(super) fn extension(self) -> &'static str {
        match self {
            Self::Edn => "edn",
            Self::Json => "json",
            Self::Text => "txt",
            Self::Bytes => "bin",
        }
    }
}

impl Input {
    /// The value: `argument`, or the file's.
    pub(super) fn value(&self, argument: Option<&OsStr>) -> Result<Value, CliError> {
        match (argument, &self.file) {
            (Some(argument), None) => self.notation.read(argument.to_owned().into_vec(), "VALUE"),
            (None, Some(file)) => {
                let what = file_name(file);
                self.notation.read_file(read(file)?, &what)
            }
            (None, None) => Err(CliError::usage(
                "VALUE is missing; give it as an argument or with --file FILE",
            )),
            (Some(_), Some(_)) => Err(CliError::usage(
                "VALUE is given twice, as an argument and with --file",
            )),
        }
    }
}

/// The line of a mistake, as much of it as fits, and below it a mark at the place.
fn excerpt(text: &str, error: &TextError) -> String {
    let line = text
        .lines()
        .nth(error.line.saturating_sub(1))
        .unwrap_or_default();
    let column = error.column.saturating_sub(1);
    let start = column.saturating_sub(EXCERPT / 2);
    let part: String = line
        .chars()
        .skip(start)
        .take(EXCERPT)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    let dots = if start > 0 { "…" } else { "" };
    let mark = " ".repeat(column - start + dots.chars().count());
    format!("\n  {dots}{part}\n  {mark}^")
}

fn other_type(what: &str, value: &Value, wanted: &str) -> CliError {
    let found = TypeName::of(value);
    CliError::refused(
        what,
        format!("a value of type {found}, {wanted}; show it with --as edn or --as json"),
    )
}

/// A file to read; `-` is standard input.
pub(super) fn open(file: &OsStr) -> Result<Box<dyn Read>, CliError> {
    if file.as_bytes() == b"-" {
        return Ok(Box::new(std::io::stdin()));
    }
    let opened = File::open(Path::new(file)).map_err(|e| CliError::io(file_name(file), e))?;
    Ok(Box::new(opened))
}

/// The content of a file; `-` is standard input.
pub(super) fn read(file: &OsStr) -> Result<Vec<u8>, CliError> {
    let mut bytes = Vec::new();
    let done = open(file)?.read_to_end(&mut bytes);
    done.map_err(|source| CliError::io(file_name(file), source))?;
    Ok(bytes)
}

/// What a file is called in messages.
pub(super) fn file_name(file: &OsStr) -> String {
    if file.as_bytes() == b"-" {
        "standard input".to_owned()
    } else {
        file.display().to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_syntax_error_names_the_place() {
        let error = Notation::Edn
            .read(b"{:a\n 1 :b}".to_vec(), "VALUE")
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with("VALUE: not valid EDN: line 2, column 4: "),
            "{error}"
        );
        assert!(error.ends_with("\n   1 :b}\n     ^"), "{error}");
    }

    #[test]
    fn of_a_long_line_the_part_around_the_mistake_is_shown() {
        let text = format!("[{} ){}]", "1 ".repeat(500), " 2".repeat(500));
        let error = Notation::Edn
            .read(text.into_bytes(), "VALUE")
            .unwrap_err()
            .to_string();
        let lines: Vec<&str> = error.lines().collect();
        assert_eq!(lines.len(), 3, "{error}");
        let at = lines[2].chars().position(|c| c == '^').unwrap();
        assert!(
            lines[1].chars().skip(at - 2).take(5).any(|c| c == ')'),
            "{error}"
        );
        assert!(lines[1].chars().count() < 80, "{error}");
    }

    #[test]
    fn the_final_newline_of_a_text_file_is_not_part_of_the_text() {
        let read = |bytes: &[u8]| Notation::Text.read_file(bytes.to_vec(), "f").unwrap();
        assert_eq!(read(b"a\n"), Value::Text("a".to_owned()));
        assert_eq!(read(b"a\n\n"), Value::Text("a\n".to_owned()));
        assert_eq!(read(b"a"), Value::Text("a".to_owned()));
    }

    #[test]
    fn what_is_shown_is_read_back() {
        for notation in [Notation::Edn, Notation::Json, Notation::Text] {
            let value = Value::Text("line\n".to_owned());
            let shown = notation.show(&value, false, "x").unwrap();
            assert_eq!(notation.read_file(shown, "f").unwrap(), value);
        }
    }

    #[test]
    fn a_number_is_neither_bytes_nor_text() {
        assert!(Notation::Bytes.show(&Value::Int(1), false, "x").is_err());
        assert!(Notation::Text.show(&Value::Int(1), false, "x").is_err());
    }
}
