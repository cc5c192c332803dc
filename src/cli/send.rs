use std::ffi::OsString;
use std::io::{self, Write};

use clap::Args;
use uuid::Uuid;

use super::access::{Access, Use};
use super::error::CliError;
use super::output::Output;
use super::progress::Progress;
use super::request::{Request, Response};
use super::send_request::Token;
use super::snapshot::whole;

/// Write a snapshot to standard output, for `kfs receive`.
///
/// With FROM.. only what SNAPSHOT has otherwise: pages that differ, in a time that follows the
/// difference. A mounted store is read by its daemon.
#[derive(Debug, Args)]
pub struct Send {
    /// The store, or its mount
    store: OsString,
    /// What to send: SNAPSHOT, or FROM..SNAPSHOT for a store that has FROM
    #[arg(value_name = "[FROM..]SNAPSHOT")]
    what: String,
    /// Go on where a stream was interrupted: what `kfs receive --token` prints
    #[arg(long, value_name = "TOKEN")]
    resume: Option<Token>,
}

impl Send {
    pub(super) fn run(self, out: &mut Output) -> Result<(), CliError> {
        if out.is_terminal() {
            return Err(CliError::usage(
                "a stream is nothing to look at; write it to a file, or into | kfs receive STORE",
            ));
        }
        let (from, to) = match self.what.split_once("..") {
            Some((from, to)) => (Some(from.to_owned()), to.to_owned()),
            None => (None, self.what.clone()),
        };
        let mut progress = Progress::new("sent");
        let mut access = whole(&self.store, Use::Read)?;
        let id = Uuid::new_v4();
        let mut stream = io::stdout().lock();
        for part in 0.. {
            let request = Request::Send {
                id,
                from: from.clone(),
                to: to.clone(),
                resume: self.resume,
                part,
            };
            let Response::Value(bytes) = access.call(request)? else {
                return Err(Access::unexpected());
            };
            if bytes.0.is_empty() {
                break;
            }
            // Who stops reading has not got it: unlike with other output that is no good end.
            let written = stream.write_all(&bytes.0).and_then(|()| stream.flush());
            written.map_err(|e| CliError::failed("writing the stream", e.to_string()))?;
            progress.bytes(bytes.0.len());
        }
        access.close()
    }
}
