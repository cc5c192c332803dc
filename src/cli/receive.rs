use std::ffi::OsString;
use std::io;

use clap::Args;
use serde_json::json;

use super::access::{self, PATIENCE};
use super::error::CliError;
use super::exit::Exit;
use super::output::Output;
use super::place::{Place, StoreAt};
use super::progress::size;
use super::send_request::Token;
use super::unlock;
use crate::crypt::Secret;
use crate::snapshot::{self, ReceiveOptions, SnapshotError};
use crate::store::{ConnectOptions, Location, Store};

/// Put a snapshot that `kfs send` writes into a store, from standard input.
///
/// Afterwards the store shows what the snapshot has, and has the snapshot. A stream of a whole
/// snapshot goes into a store that is not there, which is made, or in which nothing is; FROM..SNAPSHOT
/// into one that has FROM and was not written to since. It is all put in place, or nothing is.
///
/// What came of a stream that was interrupted is kept until the next `kfs gc`: the rest of it is
/// what `kfs send --resume TOKEN` writes.
#[derive(Debug, Args)]
pub struct Receive {
    /// The store; it must not be mounted
    store: OsString,
    /// Undo what was written to it since FROM
    #[arg(short, long)]
    force: bool,
    /// Receive nothing: print where an interrupted stream is to go on
    #[arg(long, conflicts_with_all = ["force", "abort"])]
    token: bool,
    /// Receive nothing: give up what came of an interrupted stream
    #[arg(long, conflicts_with = "force")]
    abort: bool,
}

impl Receive {
    pub(super) fn run(self, out: &mut Output) -> Result<(), CliError> {
        let location = self.location()?;
        if self.token {
            let token = token(&location)?.ok_or_else(|| {
                CliError::not_found(location.to_string(), "no stream was interrupted here")
            })?;
            return if out.wants_json() {
                out.json(&json!({"token": token.to_string()}))
            } else {
                out.line(token.to_string())
            };
        }
        if self.abort {
            let store = connect(&location)?;
            store.discard_incoming()?;
            return Ok(store.release()?);
        }
        let options = ReceiveOptions {
            force: self.force,
            wait: PATIENCE,
            key: key(&location)?,
        };
        let stream = io::BufReader::with_capacity(1 << 16, io::stdin().lock());
        let received = match snapshot::receive(&location, stream, &options) {
            Ok(received) => received,
            Err(error @ SnapshotError::Stream(_)) => return Err(interrupted(&location, error)),
            Err(error) => return Err(error.into()),
        };
        if out.wants_json() {
            return out.json(&json!({
                "snapshot": received.name,
                "from": received.from,
                "pages": received.pages,
                "keys": received.records,
                "bytes": received.bytes,
                "created": received.created,
            }));
        }
        out.line(format!(
            "received {}: {} pages, {} keys, {}",
            received.name,
            received.pages,
            received.records,
            size(received.bytes)
        ))
    }

    fn location(&self) -> Result<Location, CliError> {
        let place = Place::parse(&self.store)?;
        match place.store {
            StoreAt::Mount(_) => Err(CliError::InUse {
                what: place.to_string(),
                why: "a store that is mounted receives nothing; kfs umount it first".to_owned(),
            }),
            StoreAt::Location(Location::Memory(_)) => Err(CliError::refused(
                place.to_string(),
                "a store in memory lives in the process of its mount, and receives nothing there",
            )),
            StoreAt::Location(location) => Ok(location),
        }
    }
}

/// What opens the store. Where there is none yet, it is made with the key that is given, if one is.
fn key(location: &Location) -> Result<Option<Secret>, CliError> {
    let given = unlock::explicit()?;
    if given.is_none() && Store::exists(location) && Store::is_encrypted_at(location, PATIENCE)? {
        connect(location)?.release()?;
        return unlock::explicit();
    }
    Ok(given)
}

fn connect(location: &Location) -> Result<Store, CliError> {
    let options = ConnectOptions {
        wait: PATIENCE,
        ..ConnectOptions::default()
    };
    access::connect(location, &options)
}

/// Where an interrupted stream is to go on.
fn token(location: &Location) -> Result<Option<Token>, CliError> {
    let store = connect(location)?;
    let position = snapshot::resume_position(&store)?;
    store.release()?;
    Ok(position.map(Token::from))
}

/// Says how to go on.
fn interrupted(location: &Location, error: SnapshotError) -> CliError {
    let error = CliError::from(error);
    match Store::exists(location).then(|| token(location)) {
        Some(Ok(Some(token))) => CliError::Passed {
            exit: Exit::of(&error),
            message: format!(
                "{location}: {error}; the store is as it was, and what came is kept: \
                 go on with kfs send --resume {token}"
            ),
        },
        _ => error,
    }
}
