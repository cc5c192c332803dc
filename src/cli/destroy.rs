use std::ffi::OsString;
use std::io::{self, BufRead, IsTerminal, Write};

use clap::Args;
use uuid::Uuid;

use super::access::PATIENCE;
use super::beacon;
use super::error::CliError;
use super::output::Output;
use super::place::location;
use super::remote::Remote;
use crate::store::{ConnectOptions, Location, Store, StoreError};

/// Delete a store with everything in it.
///
/// Asks for the store's id, so that it cannot be the wrong one. Refused while the store is mounted.
#[derive(Debug, Args)]
pub struct Destroy {
    /// The store
    store: OsString,
    /// The store's id, instead of being asked for it
    #[arg(long, value_name = "UUID")]
    id: Option<Uuid>,
}

impl Destroy {
    pub(super) fn run(self, out: &mut Output) -> Result<(), CliError> {
        let location = location(&self.store)?;
        let daemon = Remote::of_location(&location)?.or_else(|| Remote::search(&location));
        let present = match &daemon {
            Some(daemon) => daemon.status().id,
            None => id_of(&location)?,
        };
        let id = match self.id {
            Some(id) => id,
            None => ask(&location, present)?,
        };
        if id != present {
            let why = format!("nothing is deleted: this store is {present}, not {id}");
            return Err(CliError::refused(location.to_string(), why));
        }
        if let Some(daemon) = daemon {
            let at = daemon
                .mountpoint()
                .map_or_else(String::new, |point| format!(" at {}", point.display()));
            return Err(CliError::InUse {
                what: location.to_string(),
                why: format!(
                    "mounted{at} by process {}; kfs umount it first",
                    daemon.status().pid
                ),
            });
        }
        Store::delete(&location, id)?;
        beacon::remove(&location);
        if out.wants_json() {
            Ok(())
        } else {
            out.line(format!("deleted store {id}"))
        }
    }
}

fn id_of(location: &Location) -> Result<Uuid, CliError> {
    // A daemon that was killed may still be about to let go.
    let options = ConnectOptions {
        read_only: true,
        wait: PATIENCE,
        ..ConnectOptions::default()
    };
    let store = match Store::connect(location, &options) {
        Err(StoreError::KeyNeeded { .. }) => return Ok(Store::id_at(location, PATIENCE)?),
        store => store?,
    };
    let id = store.id();
    store.release()?;
    Ok(id)
}

/// Has the user type the id, which shows which store it is.
fn ask(location: &Location, id: Uuid) -> Result<Uuid, CliError> {
    if !io::stdin().is_terminal() {
        return Err(CliError::refused(
            location.to_string(),
            format!("give the store's id to delete it with everything in it: --id {id}"),
        ));
    }
    let mut screen = io::stderr();
    let asked = write!(
        screen,
        "This deletes store {id}\nat {location} with everything in it.\nType its id to go on: "
    )
    .and_then(|()| screen.flush())
    .and_then(|()| {
        let mut line = String::new();
        io::stdin().lock().read_line(&mut line).map(|_| line)
    });
    let typed = asked.map_err(|e| CliError::io("asking for the id", e))?;
    Uuid::parse_str(typed.trim()).map_err(|_| {
        CliError::refused(
            location.to_string(),
            "nothing is deleted: that was not the id",
        )
    })
}
