//! Quoted strings, whose escapes EDN and JSON share, and bytes in hexadecimal.

use super::{Cursor, TextError};

/// Append `text` in double quotes, on one line.
pub(in crate::value) fn write_string(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            c if is_invisible(c) && c != ' ' => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
}

/// Characters that a reader cannot see or that break lines; all are below U+10000.
pub(in crate::value) fn is_invisible(c: char) -> bool {
    c.is_control() || c.is_whitespace() || c == '\u{feff}'
}

/// Read a string whose opening quote has been read.
pub(in crate::value) fn read_string(
    cursor: &mut Cursor<'_>,
    raw_control: bool,
) -> Result<String, TextError> {
    let start = cursor.offset();
    let mut text = String::new();
    loop {
        let plain = |c: char| c != '"' && c != '\\' && (raw_control || c >= ' ');
        text.push_str(cursor.take_while(plain));
        let offset = cursor.offset();
        match cursor.next() {
            Some('"') => return Ok(text),
            Some('\\') => text.push(read_escape(cursor, offset)?),
            Some(_) => {
                return cursor.error_at(offset, "a control character in a string must be escaped");
            }
            None => return cursor.error_at(start.saturating_sub(1), "this string has no end"),
        }
    }
}

fn read_escape(cursor: &mut Cursor<'_>, offset: usize) -> Result<char, TextError> {
    Ok(match cursor.next() {
        Some('n') => '\n',
        Some('t') => '\t',
        Some('r') => '\r',
        Some('b') => '\u{8}',
        Some('f') => '\u{c}',
        Some(c @ ('"' | '\\' | '/')) => c,
        Some('u') => return read_unicode_escape(cursor, offset),
        _ => return cursor.error_at(offset, "no such escape in a string"),
    })
}

/// `\uXXXX`, or two of them that make a surrogate pair.
fn read_unicode_escape(cursor: &mut Cursor<'_>, offset: usize) -> Result<char, TextError> {
    let mut units = vec![read_unit(cursor, offset)?];
    if units.iter().all(|unit| (0xd800..0xdc00).contains(unit)) && cursor.eat("\\u") {
        units.push(read_unit(cursor, offset)?);
    }
    match char::decode_utf16(units).next() {
        Some(Ok(c)) => Ok(c),
        _ => cursor.error_at(offset, "half of a surrogate pair is no character"),
    }
}

fn read_unit(cursor: &mut Cursor<'_>, offset: usize) -> Result<u16, TextError> {
    let mut count = 0;
    let digits = cursor.take_while(|c| {
        count += 1;
        count <= 4 && c.is_ascii_hexdigit()
    });
    match u16::from_str_radix(digits, 16) {
        Ok(unit) if digits.len() == 4 => Ok(unit),
        _ => cursor.error_at(offset, "\\u takes four hexadecimal digits"),
    }
}

/// Two lower-case digits per byte.
pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: [char; 16] = [
        '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f',
    ];
    let digit = |n: u8| DIGITS.get(usize::from(n & 15)).copied().unwrap_or('0');
    bytes
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(*byte)])
        .collect()
}

/// The bytes of pairs of digits in either case.
pub(crate) fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |c: &u8| {
        char::from(*c)
            .to_digit(16)
            .and_then(|digit| u8::try_from(digit).ok())
    };
    let pairs = text.as_bytes().chunks(2);
    pairs
        .map(|pair| match pair {
            [high, low] => Some(digit(high)? << 4 | digit(low)?),
            _ => None,
        })
        .collect()
}
