use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::json;

use super::access::{PATIENCE, connect};
use super::error::CliError;
use super::output::Output;
use super::place::{Place, StoreAt};
use super::unlock::{self, KeyOptions};
use crate::crypt::{Cost, Secret, Source};
use crate::store::{ConnectOptions, Location, Store};
use crate::value::Instant;

/// What opens an encrypted store: passphrases and key files.
///
/// All of these need one that opens it already, as every command does, and the store must not be
/// mounted.
#[derive(Debug, Subcommand)]
pub enum Key {
    Add(Add),
    Rotate(Rotate),
    Rm(Rm),
    #[command(visible_alias = "ls")]
    List(List),
}

/// Let another passphrase or key file open a store, too.
#[derive(Debug, Args)]
pub struct Add {
    /// The store
    store: OsString,
    #[command(flatten)]
    new: New,
}

/// Exchange the passphrase or key file that is given for another one, in one step.
#[derive(Debug, Args)]
pub struct Rotate {
    /// The store
    store: OsString,
    #[command(flatten)]
    new: New,
}

/// Remove a passphrase or key file, by its number in the list.
///
/// Nothing is encrypted anew: who has opened the store with it before, and kept its keys or a copy of its
/// slots, still can.
#[derive(Debug, Args)]
pub struct Rm {
    /// The store
    store: OsString,
    /// Its number
    number: u32,
}

/// Show what opens a store: numbers, kinds and times.
#[derive(Debug, Args)]
pub struct List {
    /// The store
    store: OsString,
}

/// What is to open the store. Without any of these a passphrase is asked for on the terminal.
#[derive(Debug, Args)]
struct New {
    /// The new key file
    #[arg(long, value_name = "FILE")]
    new_key_file: Option<PathBuf>,
    /// A command that prints the new passphrase on its first line
    #[arg(long, value_name = "COMMAND", conflicts_with = "new_key_file")]
    new_passcommand: Option<String>,
}

impl New {
    fn secret(&self, location: &Location) -> Result<Secret, CliError> {
        let options = KeyOptions {
            key_file: self.new_key_file.clone(),
            passcommand: self.new_passcommand.clone(),
        };
        unlock::new_key(&options, &location.to_string())
    }
}

impl Key {
    pub(super) fn run(self, out: &mut Output) -> Result<(), CliError> {
        match self {
            Self::Add(Add { store, new }) => {
                let store = open(&store, false)?;
                let secret = new.secret(store.location())?;
                let number = store.add_key(&secret, Cost::default())?;
                store.release()?;
                told(number, "added", out)
            }
            Self::Rotate(Rotate { store, new }) => {
                let store = open(&store, false)?;
                let used = unlock::explicit()?.ok_or_else(|| not_encrypted(&store))?;
                let used = store.slot_of(&used)?;
                let secret = new.secret(store.location())?;
                let number = store.replace_key(used, &secret, Cost::default())?;
                store.release()?;
                told(number, "added", out)
            }
            Self::Rm(Rm { store, number }) => {
                let store = open(&store, false)?;
                store.remove_key(number)?;
                store.release()?;
                told(number, "removed", out)
            }
            Self::List(List { store }) => list(&open(&store, true)?, out),
        }
    }
}

fn not_encrypted(store: &Store) -> CliError {
    CliError::refused(store.location().to_string(), "this store is not encrypted")
}

fn open(text: &OsString, read_only: bool) -> Result<Store, CliError> {
    let place = Place::parse(text)?;
    let StoreAt::Location(location) = place.store else {
        return Err(CliError::InUse {
            what: place.to_string(),
            why: "what opens a store is changed while it is not mounted; kfs umount it first"
                .to_owned(),
        });
    };
    let options = ConnectOptions {
        read_only,
        wait: PATIENCE,
        ..ConnectOptions::default()
    };
    let store = connect(&location, &options)?;
    match store.encryption() {
        Some(_) => Ok(store),
        None => Err(not_encrypted(&store)),
    }
}

fn told(number: u32, what: &str, out: &mut Output) -> Result<(), CliError> {
    if out.wants_json() {
        out.json(&json!({"number": number, "done": what}))
    } else {
        out.line(format!("key {number} {what}"))
    }
}

fn list(store: &Store, out: &mut Output) -> Result<(), CliError> {
    for slot in store.key_slots()? {
        let kind = match slot.source {
            Source::Passphrase => "passphrase",
            Source::KeyFile => "key file",
        };
        let created = i64::try_from(slot.created).unwrap_or(i64::MAX);
        let created = Instant::new(created, 0).and_then(Instant::to_rfc3339);
        let created = created.unwrap_or_else(|| "-".to_owned());
        if out.wants_json() {
            let facts = json!({"number": slot.number, "kind": kind, "created": created});
            out.json(&facts)?;
        } else {
            out.line(format!("{:<4} {kind:<11} {created}", slot.number))?;
        }
    }
    Ok(())
}
