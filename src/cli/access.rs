//! The way to a store: through the daemon that has it mounted, or by connecting to it.

use std::thread;
use std::time::{Duration, Instant};

use nix::unistd::{AccessFlags, access, getegid, geteuid};

use super::beacon;
use super::error::CliError;
use super::execute::execute;
use super::holder::Holder;
use super::place::{Place, StoreAt, location};
use super::remote::Remote;
use super::request::{Request, Response};
use super::unlock;
use crate::fuse::EntryDefaults;
use crate::store::{ConnectOptions, Location, Store, StoreError};
use crate::view::ViewOptions;

/// How long to wait for another command, or for a daemon that starts or ends.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// How many daemons that end one after the other a command puts up with.
const DAEMONS: usize = 3;
/// How often to look again.
pub(super) const POLL: Duration = Duration::from_millis(20);

/// What a command does with a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// Looks at it only.
    Read,
    /// Changes it.
    Write,
}

/// A way to a store.
#[derive(Debug)]
pub enum Access {
    /// This process holds it.
    Own(Box<Holder>),
    /// The daemon of its mount does; what for.
    Daemon(Remote, Use),
}

impl Access {
    /// Finds the way to a store.
    ///
    /// # Errors
    /// [`StoreError::InUse`], naming the holder, if it is neither free nor mounted; that of
    /// [`Store::connect`] if it cannot be connected.
    pub(super) fn open(place: &Place, purpose: Use) -> Result<Self, CliError> {
        match &place.store {
            StoreAt::Mount(entry) => match (Remote::of_mount(entry), location(&entry.source)) {
                // The mount of a daemon that was killed still names its store, and that one its
                // daemon, unless what was mounted only lay over it and is something else.
                (Err(CliError::NotFound { .. }), Ok(location))
                    if Store::exists(&location) && beacon::socket(&location).is_some() =>
                {
                    Self::to_location(&location, purpose)
                }
                (daemon, _) => Ok(Self::Daemon(daemon?, purpose)),
            },
            StoreAt::Location(location) => Self::to_location(location, purpose),
        }
    }

    /// The daemon is asked first: while it lives, connecting would fail. A holder that is no daemon
    /// is another command, which will soon have done.
    fn to_location(location: &Location, purpose: Use) -> Result<Self, CliError> {
        let give_up = Instant::now() + PATIENCE;
        let options = ConnectOptions {
            read_only: purpose == Use::Read,
            ..ConnectOptions::default()
        };
        loop {
            let (found, denied) = match Remote::of_location(location) {
                // Perhaps it was killed and has left its socket: then the lock is free.
                Err(denied @ CliError::Denied { .. }) => (None, Some(denied)),
                found => (found?, None),
            };
            let daemon = match found {
                // No daemon could leave word in a directory that cannot be written.
                None if is_unwritable(location) => Remote::search(location),
                found => found,
            };
            if let Some(daemon) = daemon {
                return Ok(Self::Daemon(daemon, purpose));
            }
            match (connect(location, &options), denied) {
                (Ok(store), _) => {
                    return Ok(Self::Own(Box::new(Holder::new(store, own_options()))));
                }
                (Err(CliError::Store(StoreError::InUse { .. })), Some(denied)) => {
                    return Err(denied);
                }
                (Err(CliError::Store(StoreError::InUse { .. })), None)
                    if Instant::now() < give_up =>
                {
                    if let Some(daemon) = Remote::search(location) {
                        return Ok(Self::Daemon(daemon, purpose));
                    }
                    thread::sleep(POLL);
                }
                (Err(CliError::Store(StoreError::HalfReceived { .. })), _)
                    if purpose == Use::Read =>
                {
                    // It only shows a state that there was once it is finished.
                    connect(location, &ConnectOptions::default())?.release()?;
                }
                (Err(CliError::Store(StoreError::Missing { location: named })), _)
                    if matches!(location, Location::Memory(_)) =>
                {
                    let why = "no process has such a store in memory; kfs mount mem: DIR makes one";
                    return Err(CliError::not_found(named, why));
                }
                (Err(error), _) => return Err(error),
            }
        }
    }

    /// Asks for something. If the daemon ends meanwhile and has not done it, the store is soon free
    /// or in the hands of another.
    ///
    /// # Errors
    /// Why it was not done.
    pub(super) fn call(&mut self, request: Request) -> Result<Response, CliError> {
        for _ in 0..DAEMONS {
            let (daemon, purpose) = match self {
                Self::Own(holder) => return execute(holder, &request),
                Self::Daemon(daemon, purpose) => (daemon, *purpose),
            };
            if let Some(response) = daemon.call(&request)? {
                return Ok(response);
            }
            *self = Self::to_location(&daemon.location()?, purpose)?;
        }
        Err(CliError::failed(
            "the daemon of the mount",
            "hangs up on this command again and again, and has not done it; its log may say why",
        ))
    }

    /// Asks for something that has no answer but that it is done.
    ///
    /// # Errors
    /// Why it was not done.
    pub(super) fn done(&mut self, request: Request) -> Result<(), CliError> {
        match self.call(request)? {
            Response::Done => Ok(()),
            _ => Err(Self::unexpected()),
        }
    }

    /// Ends the use of the store; what was changed is on disk already.
    ///
    /// # Errors
    /// What kept the store from being released in good order.
    pub(super) fn close(self) -> Result<(), CliError> {
        match self {
            Self::Own(holder) => holder.release(),
            Self::Daemon(..) => Ok(()),
        }
    }

    /// Whether what the store keeps is encrypted.
    pub(super) fn is_encrypted(&self) -> bool {
        match self {
            Self::Own(holder) => holder.store().encryption().is_some(),
            Self::Daemon(daemon, _) => daemon.status().encrypted,
        }
    }

    /// The error for an answer that belongs to another question.
    pub(super) fn unexpected() -> CliError {
        CliError::failed(
            "the daemon",
            "gave an answer that this kfs does not understand; are both of one version?",
        )
    }
}

/// Connects to a store, with a key if it takes one.
///
/// # Errors
/// Those of [`Store::connect`]; why there is no key.
pub(super) fn connect(location: &Location, options: &ConnectOptions) -> Result<Store, CliError> {
    unlock::with_key(location, |key| {
        let options = ConnectOptions {
            key: key.cloned(),
            ..options.clone()
        };
        Store::connect(location, &options)
    })
}

fn is_unwritable(location: &Location) -> bool {
    location
        .directory()
        .is_some_and(|directory| access(directory, AccessFlags::W_OK).is_err())
}

/// How entries without attributes are seen where no mount says it: as a mount without options would
/// show them.
fn own_options() -> ViewOptions {
    let entries = EntryDefaults::default();
    ViewOptions {
        uid: geteuid().as_raw(),
        gid: getegid().as_raw(),
        file_mode: entries.file_mode(),
        dir_mode: entries.dir_mode(),
        ..ViewOptions::default()
    }
}
