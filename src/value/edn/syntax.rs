//! Which texts EDN can write as symbols, keywords and tags.

use crate::value::text::is_invisible;

/// Characters that end a token.
pub(super) fn ends_token(c: char) -> bool {
    is_blank(c) || matches!(c, '(' | ')' | '[' | ']' | '{' | '}' | '"' | ';' | '\\')
}

pub(super) fn is_blank(c: char) -> bool {
    c == ',' || c.is_whitespace()
}

fn is_symbol_char(c: char) -> bool {
    const MARKS: &str = ".*+!-_?$%&=<>#:'|";
    c.is_ascii_alphanumeric() || MARKS.contains(c) || !c.is_ascii() && !is_invisible(c)
}

/// A name on one side of the `/`.
fn is_part(part: &str, digits_first: bool) -> bool {
    let mut chars = part.chars();
    let Some(first) = chars.next() else {
        return false;
    };
    let looks_like_number = match first {
        '+' | '-' | '.' => chars.next().is_some_and(char::is_numeric),
        _ => first.is_numeric(),
    };
    part.chars().all(is_symbol_char)
        && !matches!(first, ':' | '#' | '\'')
        && (digits_first || !looks_like_number)
}

fn is_name(name: &str, digits_first: bool) -> bool {
    let mut parts = name.split('/');
    let (Some(first), second, None) = (parts.next(), parts.next(), parts.next()) else {
        return false;
    };
    is_part(first, digits_first) && second.is_none_or(|second| is_part(second, digits_first))
}

/// Whether EDN can write a symbol of this name.
pub(super) fn is_symbol(name: &str) -> bool {
    name == "/" || is_name(name, false) && !matches!(name, "nil" | "true" | "false")
}

/// Whether EDN can write a keyword of this name (without the colon).
pub(crate) fn is_keyword(name: &str) -> bool {
    is_name(name, true)
}

/// Whether EDN can write this tag (without the `#`).
pub(super) fn is_tag(name: &str) -> bool {
    name.starts_with(char::is_alphabetic) && is_name(name, false)
}
