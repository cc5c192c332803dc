//! Streams of snapshots that whoever holds the store makes for commands, a part at a time.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::error::CliError;
use super::place::Bytes;
use super::request::Response;
use crate::snapshot::Sender;
use crate::store::{Position, Store};

/// A stream of which nobody asked for more for so long is given up.
const ABANDONED: Duration = Duration::from_secs(3600);
/// Streams under way at once.
const MOST: usize = 16;

/// Where an interrupted stream is to go on, as people pass it on: `ITEMS-HASH`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    items: u64,
    hash: [u8; 32],
}

impl From<Position> for Token {
    fn from(Position { items, hash }: Position) -> Self {
        Self { items, hash }
    }
}

impl From<Token> for Position {
    fn from(Token { items, hash }: Token) -> Self {
        Self { items, hash }
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.items, crate::tree::hex(&self.hash))
    }
}

impl FromStr for Token {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let fail = || "not what kfs receive --token prints".to_owned();
        let (items, hash) = text.split_once('-').ok_or_else(fail)?;
        let hash = blake3::Hash::from_hex(hash).map_err(|_| fail())?;
        Ok(Self {
            items: items.parse().map_err(|_| fail())?,
            hash: *hash.as_bytes(),
        })
    }
}

/// What a stream is of.
#[derive(Clone, Copy, Debug)]
pub struct What<'w> {
    /// The snapshot to begin with.
    pub from: Option<&'w str>,
    /// The snapshot.
    pub to: &'w str,
    /// Without what a receiver has.
    pub resume: Option<Token>,
}

/// The streams under way.
#[derive(Debug, Default)]
pub struct Sends(Mutex<HashMap<Uuid, Under>>);

/// One of them.
#[derive(Debug)]
struct Under {
    sender: Sender,
    next: u64,
    used: Instant,
}

impl Sends {
    /// The next part of a stream; the first begins it.
    pub(super) fn part(
        &self,
        store: &Store,
        id: Uuid,
        what: &What<'_>,
        part: u64,
    ) -> Result<Response, CliError> {
        let begun = {
            let mut sends = self.0.lock();
            sends.retain(|_, under| under.used.elapsed() < ABANDONED);
            let begun = sends.remove(&id);
            if begun.is_none() && sends.len() >= MOST {
                let why = format!("{MOST} others are being sent; try again later");
                return Err(CliError::failed("a stream", why));
            }
            begun
        };
        // Parts of one stream are asked for one after the other: nobody misses it meanwhile.
        let mut under = match begun {
            Some(under) if under.next == part => under,
            None if part == 0 => Under {
                sender: Sender::new(store, what.from, what.to, what.resume.map(Position::from))?,
                next: 0,
                used: Instant::now(),
            },
            _ => {
                let why = "whoever made it has ended meanwhile; go on with what was received";
                return Err(CliError::failed("the stream", why));
            }
        };
        let Some(bytes) = under.sender.next_part()? else {
            return Ok(Response::Value(Bytes::default()));
        };
        under.next += 1;
        under.used = Instant::now();
        self.0.lock().insert(id, under);
        Ok(Response::Value(Bytes(bytes)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_as_it_is_written() {
        let token = Token {
            items: 12_345,
            hash: *blake3::hash(b"x").as_bytes(),
        };
        assert_eq!(token.to_string().parse(), Ok(token));
        for bad in ["", "1", "1-", "x-00", "1-abc", "-1-00"] {
            assert!(bad.parse::<Token>().is_err(), "{bad}");
        }
    }
}
