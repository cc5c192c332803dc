//! Symbolic links, pipes, sockets and devices as tagged values.
//!
//! `#kfs/symlink "target"` (a byte string where the target is not UTF-8), `#kfs/fifo nil`,
//! `#kfs/socket nil`, `#kfs/chardev 259` and `#kfs/blockdev 259` with the device number as Linux
//! encodes it in 32 bits.

use std::sync::Arc;

use super::types::FileKind;
use crate::tree::Node;
use crate::value::Value;

const SYMLINK: &str = "kfs/symlink";
const FIFO: &str = "kfs/fifo";
const SOCKET: &str = "kfs/socket";
const CHARDEV: &str = "kfs/chardev";
const BLOCKDEV: &str = "kfs/blockdev";

/// What a node is as a file, with its device number.
pub fn kind(node: &Node) -> (FileKind, u32) {
    match node {
        Node::Map(_) | Node::Vector(_) => (FileKind::Dir, 0),
        Node::Scalar(v) => match &**v {
            Value::Tagged(tag, inner) => tagged(tag, inner).unwrap_or((FileKind::File, 0)),
            _ => (FileKind::File, 0),
        },
        _ => (FileKind::File, 0),
    }
}

fn tagged(tag: &str, inner: &Value) -> Option<(FileKind, u32)> {
    let device = |kind| match inner {
        Value::Int(n) => u32::try_from(*n).ok().map(|n| (kind, n)),
        _ => None,
    };
    match (tag, inner) {
        (SYMLINK, Value::Text(t)) if !t.is_empty() => Some((FileKind::Symlink, 0)),
        (SYMLINK, Value::Bytes(t)) if !t.is_empty() && std::str::from_utf8(t).is_err() => {
            Some((FileKind::Symlink, 0))
        }
        (FIFO, Value::Nil) => Some((FileKind::Fifo, 0)),
        (SOCKET, Value::Nil) => Some((FileKind::Socket, 0)),
        (CHARDEV, _) => device(FileKind::CharDev),
        (BLOCKDEV, _) => device(FileKind::BlockDev),
        _ => None,
    }
}

/// The target of a symbolic link.
pub fn target(node: &Node) -> Option<Vec<u8>> {
    match node {
        Node::Scalar(v) => match &**v {
            Value::Tagged(tag, inner) if tag == SYMLINK => match &**inner {
                Value::Text(t) => Some(t.as_bytes().to_vec()),
                Value::Bytes(t) => Some(t.clone()),
                _ => None,
            },
            _ => None,
        },
        _ => None,
    }
}

/// The node of a symbolic link.
pub fn symlink(target: &[u8]) -> Node {
    let inner = match std::str::from_utf8(target) {
        Ok(t) => Value::Text(t.to_owned()),
        Err(_) => Value::Bytes(target.to_vec()),
    };
    Node::Scalar(Arc::new(Value::Tagged(SYMLINK.to_owned(), Box::new(inner))))
}

/// The node of a pipe, socket or device.
pub fn node(kind: FileKind, rdev: u32) -> Option<Node> {
    let (tag, inner) = match kind {
        FileKind::Fifo => (FIFO, Value::Nil),
        FileKind::Socket => (SOCKET, Value::Nil),
        FileKind::CharDev => (CHARDEV, Value::Int(i64::from(rdev))),
        FileKind::BlockDev => (BLOCKDEV, Value::Int(i64::from(rdev))),
        FileKind::File | FileKind::Dir | FileKind::Symlink => return None,
    };
    Some(Node::Scalar(Arc::new(Value::Tagged(
        tag.to_owned(),
        Box::new(inner),
    ))))
}
