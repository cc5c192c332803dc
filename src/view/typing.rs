//! Types of entries: what a file's bytes are parsed as.

use std::sync::Arc;

use super::buffer::{Buffer, CHUNK_LEN};
use super::render::{self, RenderError, TypeName};
use super::special;
use super::types::FileKind;
use crate::tree::{Attrs, Content, Entry, Node, Pager, TreeError, content, convert};
use crate::value::Value;

/// Content up to this many bytes may be classed as text.
pub const MAX_TEXT: u64 = 1 << 20;
/// Content up to this many bytes is parsed as a declared type.
pub const MAX_PARSED: u64 = 64 << 20;

/// What bytes became at a commit.
#[derive(Debug)]
pub struct Typed {
    /// The value.
    pub node: Node,
    /// Text whose bytes do not end with the view's newline.
    pub bare: bool,
    /// The bytes, where they differ from the printed value.
    pub literal: Option<Vec<u8>>,
    /// The declared type, where the value has another.
    pub declared: Option<String>,
}

/// Why bytes were refused.
#[derive(Debug, thiserror::Error)]
pub enum TypingError {
    /// They do not parse as the declared type, and the view is strict.
    #[error(transparent)]
    Parse(#[from] RenderError),
    /// Too many bytes to parse.
    #[error(
        "{size} bytes are too many to be parsed as {wanted}; at most {MAX_PARSED} are possible"
    )]
    TooBig {
        /// The declared type.
        wanted: &'static str,
        /// How many bytes.
        size: u64,
    },
    /// Reading them failed.
    #[error(transparent)]
    Tree(#[from] TreeError),
}

/// The bytes of a file's entry, and whether the view adds a newline to them.
pub fn file_bytes(entry: &Entry, pager: &Pager) -> Result<(Content, bool), TreeError> {
    let bare = entry.attrs.as_ref().is_some_and(|a| a.bare);
    match &entry.node {
        Node::Text(c) => Ok((c.clone(), !bare)),
        Node::Bytes(c) => Ok((c.clone(), false)),
        Node::Scalar(_) | Node::ScalarPage(_) => {
            if let Some(literal) = entry.attrs.as_ref().and_then(|a| a.literal.as_deref()) {
                return Ok((convert::from_bytes(literal), false));
            }
            let value = convert::to_value(&entry.node, pager)?;
            Ok((
                convert::from_bytes(&render::render(&value, true, None)),
                false,
            ))
        }
        Node::Map(_) | Node::Vector(_) | Node::Ref(_) => {
            Err(TreeError::malformed("a file", "it has no content"))
        }
    }
}

/// The type that new bytes of an entry are parsed as; `None` if they are classed.
pub fn declared(entry: &Entry, pager: &Pager) -> Result<Option<TypeName>, TreeError> {
    if let Some(name) = entry.attrs.as_ref().and_then(|a| a.declared.as_deref()) {
        return Ok(name.parse().ok());
    }
    Ok(match &entry.node {
        Node::Text(c) if is_long(c, entry) => Some(TypeName::Text),
        Node::Text(_) | Node::Map(_) | Node::Vector(_) | Node::Ref(_) => None,
        Node::Bytes(c) if c.len() > MAX_TEXT => None,
        Node::Bytes(c) => {
            let classed = Buffer::new(c.clone(), false).is_utf8(pager)?;
            classed.then_some(TypeName::Bytes)
        }
        Node::Scalar(v) => {
            (special::kind(&entry.node).0 == FileKind::File).then(|| TypeName::of(v))
        }
        Node::ScalarPage(_) => Some(TypeName::of(&convert::to_value(&entry.node, pager)?)),
    })
}

/// The type of an entry's present value.
pub fn present(node: &Node, pager: &Pager) -> Result<Option<TypeName>, TreeError> {
    Ok(match node {
        Node::Text(_) => Some(TypeName::Text),
        Node::Bytes(_) => Some(TypeName::Bytes),
        Node::Map(_) => Some(TypeName::Map),
        Node::Vector(_) => Some(TypeName::Vector),
        Node::Scalar(v) => (special::kind(node).0 == FileKind::File).then(|| TypeName::of(v)),
        Node::ScalarPage(_) => Some(TypeName::of(&convert::to_value(node, pager)?)),
        Node::Ref(_) => None,
    })
}

/// Whether so many bytes become a byte string whatever they are.
pub fn stays_bytes(size: u64, declared: Option<TypeName>) -> bool {
    size > MAX_TEXT && declared.is_none_or(|wanted| wanted == TypeName::Bytes)
}

/// For bytes that make the same of a file that it is, text or a byte string: whether they lack the
/// view's newline, and the declared type where it is another. `None` if they do not, or if that takes
/// looking at all of them.
pub fn unchanged(
    buffer: &Buffer,
    entry: &Entry,
    declared: Option<TypeName>,
    pager: &Pager,
) -> Result<Option<(bool, Option<String>)>, TreeError> {
    if !buffer.changed_little() {
        return Ok(None);
    }
    let size = buffer.len();
    let stays = match (&entry.node, declared) {
        (Node::Bytes(_), Some(TypeName::Bytes)) => true,
        (Node::Bytes(_), None) => size > MAX_TEXT || !buffer.is_utf8(pager)?,
        (Node::Text(_), None) => size <= MAX_TEXT && buffer.stays_utf8(pager)?,
        (Node::Text(_), Some(TypeName::Text)) => size <= MAX_PARSED && buffer.stays_utf8(pager)?,
        _ => false,
    };
    if !stays {
        return Ok(None);
    }
    let text = matches!(entry.node, Node::Text(_));
    let last = buffer.read(size.saturating_sub(1), 1, pager)?;
    let bare = text && last != b"\n";
    Ok(Some((
        bare,
        declared.map(|wanted| wanted.as_str().to_owned()),
    )))
}

/// Makes a value of a file's bytes.
pub fn typed(
    buffer: &Buffer,
    declared: Option<TypeName>,
    strict: bool,
    infer: bool,
    pager: &Pager,
) -> Result<Typed, TypingError> {
    let size = buffer.len();
    let Some(wanted) = declared else {
        // Shares what has not changed.
        if size > MAX_TEXT || (size > CHUNK_LEN && !buffer.is_utf8(pager)?) {
            return bytes(buffer, None, pager);
        }
        let all = buffer.read_all(pager)?;
        if infer && all.ends_with(b"\n") {
            return Ok(from_parsed(render::infer(&all), None));
        }
        return Ok(classed(&all, None));
    };
    match wanted {
        // Text and bytes are what content may also be classed as, so the declaration is kept apart.
        TypeName::Bytes => return bytes(buffer, Some(wanted.as_str().to_owned()), pager),
        _ if size > MAX_PARSED => {
            return Err(TypingError::TooBig {
                wanted: wanted.as_str(),
                size,
            });
        }
        _ => {}
    }
    let all = buffer.read_all(pager)?;
    match render::parse_as(&all, wanted) {
        Ok(parsed) => {
            let own = TypeName::of(&parsed.value);
            let apart = own != wanted || wanted == TypeName::Text;
            let declared = apart.then(|| wanted.as_str().to_owned());
            Ok(from_parsed(parsed, declared))
        }
        Err(e) if strict => Err(e.into()),
        Err(_) => Ok(classed(&all, Some(wanted.as_str().to_owned()))),
    }
}

fn bytes(buffer: &Buffer, declared: Option<String>, pager: &Pager) -> Result<Typed, TypingError> {
    let node = Node::Bytes(buffer.to_content(pager)?);
    Ok(Typed {
        node,
        bare: false,
        literal: None,
        declared,
    })
}

/// Text if it is short UTF-8, else bytes. Avoids the copies of a parse: most files come this way.
fn classed(all: &[u8], declared: Option<String>) -> Typed {
    if all.len() as u64 > MAX_TEXT || std::str::from_utf8(all).is_err() {
        let node = Node::Bytes(convert::from_bytes(all));
        return Typed {
            node,
            bare: false,
            literal: None,
            declared,
        };
    }
    let (text, bare) = match all.strip_suffix(b"\n") {
        Some(text) => (text, false),
        None => (all, true),
    };
    Typed {
        node: Node::Text(convert::from_bytes(text)),
        bare,
        literal: None,
        declared,
    }
}

fn from_parsed(parsed: render::ParsedContent, declared: Option<String>) -> Typed {
    let bare = matches!(parsed.value, Value::Text(_)) && !parsed.newline;
    let literal = match parsed.value {
        Value::Text(_) | Value::Bytes(_) => None,
        // The view adds a newline to what it prints: without one the bytes differ from that too.
        ref value if parsed.literal.is_none() && !parsed.newline => {
            Some(render::render(value, false, None))
        }
        _ => parsed.literal,
    };
    let node = match parsed.value {
        Value::Text(t) => Node::Text(convert::from_bytes(t.as_bytes())),
        Value::Bytes(b) => Node::Bytes(convert::from_bytes(&b)),
        other => Node::Scalar(Arc::new(other)),
    };
    Typed {
        node,
        bare,
        literal,
        declared,
    }
}

/// The name that `user.kfs.type` shows and lists: where classing the bytes would give another type.
pub fn listed(entry: &Entry, pager: &Pager) -> Result<Option<&'static str>, TreeError> {
    Ok(match &entry.node {
        Node::Vector(_) => Some(TypeName::Vector.as_str()),
        Node::Map(_) | Node::Ref(_) => None,
        _ => match declared(entry, pager)? {
            // What is declared and would be classed so too says nothing new.
            Some(TypeName::Text) if matches!(&entry.node, Node::Text(c) if !is_long(c, entry)) => {
                None
            }
            Some(TypeName::Bytes) if is_binary(&entry.node, pager)? => None,
            other => other.map(TypeName::as_str),
        },
    })
}

/// Whether a text's file, newline included, is too long to be classed as text. What is not too long
/// was not declared text by its length: a file may be committed while it is still being written.
fn is_long(text: &Content, entry: &Entry) -> bool {
    let bare = entry.attrs.as_ref().is_some_and(|a| a.bare);
    text.len() + u64::from(!bare) > MAX_TEXT
}

/// Whether a node is bytes that would be classed as bytes.
fn is_binary(node: &Node, pager: &Pager) -> Result<bool, TreeError> {
    Ok(match node {
        Node::Bytes(c) if c.len() > MAX_TEXT => true,
        Node::Bytes(c) => render::class(&content::read_all(c, pager)?) == TypeName::Bytes,
        _ => false,
    })
}

/// The attributes of a file after its bytes became a value.
pub fn apply(typed: &Typed, attrs: &mut Attrs) {
    attrs.bare = typed.bare;
    attrs.literal.clone_from(&typed.literal);
    attrs.declared.clone_from(&typed.declared);
}
