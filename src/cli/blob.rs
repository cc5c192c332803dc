//! Byte strings that are too large for one message, in parts.
//!
//! Neither side holds more than a part in memory. The store takes parts in as pages that nothing
//! refers to; putting them is one step at the end.

use std::collections::HashMap;
use std::io::{self, Read};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use uuid::Uuid;

use super::access::Access;
use super::error::CliError;
use super::holder::Holder;
use super::ls::nothing;
use super::place::{Bytes, NamePath};
use super::request::{Expect, Request, Response};
use super::resolve::{in_names, resolve, tree};
use crate::store::{BlobWriter, Store};
use crate::tree::{Content, Node, content};
use crate::value::{Key, Value, cbor};

/// The longest byte string, and part of one, that travels in one message.
pub(super) const PART: usize = 4 << 20;
/// An upload of which nothing more came for so long is given up.
const ABANDONED: Duration = Duration::from_secs(3600);
/// Uploads under way at once.
const MOST_UPLOADS: usize = 256;

/// Byte strings on their way into a store.
#[derive(Debug, Default)]
pub struct Uploads(Mutex<HashMap<Uuid, Upload>>);

#[derive(Debug)]
struct Upload {
    writer: BlobWriter,
    used: Instant,
}

impl Uploads {
    /// Answers [`Request::Upload`].
    pub(super) fn append(
        &self,
        store: &Store,
        id: Uuid,
        data: &[u8],
    ) -> Result<Response, CliError> {
        let begun = {
            let mut uploads = self.0.lock();
            uploads.retain(|_, upload| upload.used.elapsed() < ABANDONED);
            if uploads.len() >= MOST_UPLOADS {
                let why = format!("{MOST_UPLOADS} others are being put into the store; try again");
                return Err(CliError::failed("a large value", why));
            }
            uploads.remove(&id)
        };
        // Parts of one upload come one after the other: nobody misses it while it is written.
        let mut writer = begun.map_or_else(|| store.blob_writer(), |upload| upload.writer);
        writer.append(&unnamed(), data)?;
        let upload = Upload {
            writer,
            used: Instant::now(),
        };
        self.0.lock().insert(id, upload);
        Ok(Response::Done)
    }

    fn finish(&self, id: Uuid) -> Result<Content, CliError> {
        let upload = self.0.lock().remove(&id);
        let upload = upload
            .ok_or_else(|| CliError::failed("a large value", "its parts are gone; try again"))?;
        Ok(upload.writer.finish(&unnamed())?)
    }
}

/// What stands for the key in messages about a value that has none yet.
fn unnamed() -> Key {
    Key::text("a value on its way into the store")
}

/// Answers [`Request::PutUpload`].
pub(super) fn put(
    holder: &Holder,
    path: &NamePath,
    id: Uuid,
    expect: &Expect,
) -> Result<Response, CliError> {
    let content = holder.uploads().finish(id)?;
    let keys = resolve(holder.store(), path)?;
    let done = holder.store().transact(|tx| {
        if *expect != Expect::Any && tx.find(&keys)?.is_some() {
            return Err(
                CliError::refused(path.to_string(), "something is there already").in_transaction(),
            );
        }
        tx.assoc_blob_in(&keys, &content)
    });
    done.map_err(|e| in_names(path, e))?;
    Ok(Response::Done)
}

/// The content at a path, if it is to travel in parts.
pub(super) fn large(store: &Store, keys: &[Key]) -> Result<Option<(Content, u64)>, CliError> {
    let Some(top) = keys.first() else {
        return Ok(None);
    };
    let Some(doc) = store.doc(top)? else {
        return Ok(None);
    };
    let Some(found) = store.find(keys)? else {
        return Ok(None);
    };
    Ok(match found.entry.node {
        Node::Bytes(content) if content.len() > PART as u64 => Some((content, doc.seq)),
        _ => None,
    })
}

/// Answers [`Request::Part`].
pub(super) fn part(
    store: &Store,
    path: &NamePath,
    offset: u64,
    seq: u64,
) -> Result<Response, CliError> {
    let keys = resolve(store, path)?;
    let (content, _) = large(store, &keys)?
        .filter(|(_, found)| *found == seq)
        .ok_or_else(|| {
            CliError::failed(path.to_string(), "changed while it was read; try again")
        })?;
    let fail = |e| {
        keys.first()
            .map_or_else(|| nothing(path), |key| tree(key, e))
    };
    Ok(Response::Value(Bytes(
        content::read(&content, offset, PART, store.pager()).map_err(fail)?,
    )))
}

/// Asks for the parts of a byte string one after the other.
pub(super) fn fetch_parts(
    access: &mut Access,
    path: &NamePath,
    length: u64,
    seq: u64,
    sink: &mut dyn FnMut(&[u8]) -> Result<(), CliError>,
) -> Result<(), CliError> {
    let mut offset = 0;
    while offset < length {
        let Response::Value(part) = access.call(Request::Part {
            path: path.clone(),
            offset,
            seq,
        })?
        else {
            return Err(Access::unexpected());
        };
        if part.0.is_empty() {
            return Err(Access::unexpected());
        }
        sink(&part.0)?;
        offset += part.0.len() as u64;
    }
    Ok(())
}

/// Reads the first part, so that a store is not held while nothing comes.
pub(super) fn begin(mut source: impl Read, what: &str) -> Result<impl Read, CliError> {
    let mut first = Vec::new();
    let read = (&mut source).take(PART as u64).read_to_end(&mut first);
    read.map_err(|e| CliError::io(what, e))?;
    Ok(io::Cursor::new(first).chain(source))
}

/// Puts a byte string as long as it may be.
pub(super) fn put_bytes(
    access: &mut Access,
    path: &NamePath,
    mut source: impl Read,
    what: &str,
    expect: Expect,
    on_bytes: &mut dyn FnMut(usize),
) -> Result<(), CliError> {
    let mut read = || {
        let mut data = Vec::new();
        let done = (&mut source).take(PART as u64).read_to_end(&mut data);
        done.map(|_| data).map_err(|e| CliError::io(what, e))
    };
    let mut data = read()?;
    on_bytes(data.len());
    if data.len() < PART {
        let value = Bytes(cbor::encode(&Value::Bytes(data)));
        return access.done(Request::Put {
            path: path.clone(),
            value,
            expect,
        });
    }
    let id = Uuid::new_v4();
    while !data.is_empty() {
        access.done(Request::Upload {
            id,
            data: Bytes(data),
        })?;
        data = read()?;
        on_bytes(data.len());
    }
    access.done(Request::PutUpload {
        path: path.clone(),
        id,
        expect,
    })
}
