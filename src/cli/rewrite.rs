use std::ffi::OsString;
use std::io::{self, IsTerminal};

use clap::Args;
use serde_json::json;

use super::access::{Access, Use};
use super::error::CliError;
use super::init::{Compression, Serialization, Writing, over};
use super::output::Output;
use super::place::{Bytes, Place};
use super::progress::Line;
use super::request::{Request, Response};
use crate::store::Store;

/// How many blobs are looked at between two looks at who waits.
const PART: usize = 1024;

/// Bring all that is in a store into the form in which it would be written now.
///
/// With options, the store is told first to write so from now on. Reading and writing go on
/// meanwhile, snapshots show what they showed, and whoever writes meanwhile has won. It may be
/// interrupted at any moment: blobs of both forms are read, and the next run goes on with those that
/// are left. What does not read is named and left as it is.
#[derive(Debug, Args)]
pub struct Rewrite {
    /// The store, or its mount
    store: OsString,
    #[command(flatten)]
    writing: Writing,
    /// Change how new values are written, and leave those that are there
    #[arg(long)]
    new_only: bool,
}

impl Rewrite {
    pub(super) fn run(self, out: &mut Output) -> Result<(), CliError> {
        let place = Place::with_path(&self.store, None)?;
        if !place.path.is_root() {
            return Err(CliError::usage(
                "kfs rewrite works on a whole store; name the store or its mount",
            ));
        }
        let mut access = Access::open(&place, Use::Write)?;
        let request = Request::Change {
            compress: self.writing.compress,
            serializer: self.writing.serializer,
        };
        let Response::Writing {
            serializer,
            compressor,
        } = access.call(request)?
        else {
            return Err(Access::unexpected());
        };
        let done = if self.new_only {
            Done::default()
        } else {
            all(&mut access)?
        };
        access.close()?;
        if out.wants_json() {
            out.json(&json!({
                "serializer": serializer,
                "compressor": compressor,
                "blobs": done.blobs,
                "rewritten": done.rewritten,
                "damaged": done.damaged,
            }))?;
        } else {
            out.line(format!(
                "{} of {} blobs written anew; the store writes {serializer}, compressed: {compressor}",
                done.rewritten, done.blobs
            ))?;
        }
        if done.damaged.is_empty() {
            return Ok(());
        }
        Err(CliError::Damaged {
            what: self.store.display().to_string(),
            why: format!("left as it is: {}", done.damaged.join("; ")),
        })
    }
}

/// What has been done so far.
#[derive(Default)]
struct Done {
    blobs: u64,
    rewritten: u64,
    damaged: Vec<String>,
}

/// Has everything rewritten, and shows on a terminal how far it is.
fn all(access: &mut Access) -> Result<Done, CliError> {
    let watched = io::stderr().is_terminal();
    let mut done = Done::default();
    let mut after = None;
    loop {
        let Response::Rewritten {
            blobs,
            rewritten,
            damaged,
            next,
        } = access.call(Request::Rewrite { after })?
        else {
            return Err(Access::unexpected());
        };
        done.blobs += blobs;
        done.rewritten += rewritten;
        done.damaged.extend(damaged);
        after = next;
        if watched {
            let (blobs, rewritten) = (done.blobs, done.rewritten);
            Line.draw(&format!(
                "{blobs} blobs looked at, {rewritten} written anew"
            ));
        }
        if after.is_none() {
            break;
        }
    }
    if watched {
        Line.clear();
    }
    Ok(done)
}

/// Answers [`Request::Change`].
pub fn change(
    store: &Store,
    compress: Option<Compression>,
    serializer: Option<Serialization>,
) -> Result<Response, CliError> {
    let present = store.settings();
    let settings = over(present.clone(), compress, serializer);
    if settings != present {
        store.change_settings(&settings)?;
    }
    Ok(Response::Writing {
        serializer: settings.serializer,
        compressor: settings.compressor.name().to_owned(),
    })
}

/// Answers [`Request::Rewrite`].
pub fn rewrite(store: &Store, after: Option<&Bytes>) -> Result<Response, CliError> {
    if after.is_none() {
        // What waits to be written is written in the present form.
        store.fold_now()?;
    }
    let done = store.rewrite_some(after.map(|after| &*after.0), PART)?;
    Ok(Response::Rewritten {
        blobs: done.blobs,
        rewritten: done.rewritten,
        damaged: done.damaged.iter().map(ToString::to_string).collect(),
        next: done.next.map(Bytes),
    })
}
