//! The daemon that has a store mounted, seen from a command.

use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::access::Access;
use super::error::CliError;
use super::request::{Request, Response, Status};
use super::socket::{Client, connect, connect_at};
use super::{beacon, place, places, wire};
use crate::fuse::{MountEntry, mounts};
use crate::store::Location;

/// The daemon hangs up on commands that say nothing for 30 s.
const FRESH: Duration = Duration::from_secs(20);
/// How long a daemon may take to say who it is.
const GREETING: Duration = Duration::from_secs(5);

/// A connection to a daemon.
#[derive(Debug)]
pub struct Remote {
    client: Client,
    status: Status,
    used: Instant,
}

impl Remote {
    /// The daemon that holds a store; `None` if there is none.
    ///
    /// # Errors
    /// [`CliError::Denied`] if it is somebody else's.
    pub(super) fn of_location(location: &Location) -> Result<Option<Self>, CliError> {
        let connected = match location {
            Location::Memory(id) => connect(id),
            Location::Embedded(_) => match beacon::socket(location) {
                Some(socket) => connect_at(&socket),
                None => return Ok(None),
            },
        };
        match connected {
            Ok(client) => {
                let remote = Self::greet(client)?;
                Ok(Some(remote).filter(|remote| remote.holds(location)))
            }
            Err(error) if error.kind() == ErrorKind::PermissionDenied => Err(CliError::Denied {
                what: location.to_string(),
                why: "mounted by another user, whose daemon takes commands from that user and root only".to_owned(),
            }),
            // Left by a daemon that is gone.
            Err(_) => Ok(None),
        }
    }

    /// The daemon that holds a store which does not say where to ask.
    pub(super) fn search(location: &Location) -> Option<Self> {
        Self::all().find(|remote| remote.holds(location))
    }

    /// The daemon of a mount.
    ///
    /// # Errors
    /// [`CliError::NotFound`] if nobody answers for it.
    pub(super) fn of_mount(entry: &MountEntry) -> Result<Self, CliError> {
        // Bind mounts share the device with the daemon's own.
        let points: Vec<PathBuf> = mounts()
            .unwrap_or_default()
            .into_iter()
            .filter(|other| other.device == entry.device)
            .map(|other| other.point)
            .collect();
        let serves = |remote: &Self| {
            remote
                .mountpoint()
                .is_some_and(|point| points.iter().any(|p| p == point))
        };
        // What is mounted is the store's location, unless an option gave it another name.
        let named = place::location(&entry.source).ok();
        if let Some(remote) = named.and_then(|location| Self::of_location(&location).transpose()) {
            let remote = remote?;
            if serves(&remote) {
                return Ok(remote);
            }
        }
        Self::all().find(serves).ok_or_else(|| {
            CliError::not_found(
                entry.point.display().to_string(),
                "a mount whose daemon does not answer (dead, or another user's); kfs umount takes it away",
            )
        })
    }

    /// All daemons that answer this user.
    pub(super) fn all() -> impl Iterator<Item = Self> {
        let sockets = places::all_sockets().into_iter();
        sockets.filter_map(|socket| {
            connect_at(&socket)
                .ok()
                .and_then(|client| Self::greet(client).ok())
        })
    }

    fn greet(mut client: Client) -> Result<Self, CliError> {
        let unheard = |source| CliError::io("asking the daemon of the mount", source);
        // One that is stopped must not stop everybody who looks for another.
        client.wait_at_most(Some(GREETING)).map_err(unheard)?;
        let status = exchange(&mut client, &Request::Status)?;
        client.wait_at_most(None).map_err(unheard)?;
        match status {
            Response::Status(status) => Ok(Self {
                client,
                status: *status,
                used: Instant::now(),
            }),
            _ => Err(Access::unexpected()),
        }
    }

    fn holds(&self, location: &Location) -> bool {
        self.status.location == location.to_string()
    }

    /// What the daemon said about itself.
    pub(super) fn status(&self) -> &Status {
        &self.status
    }

    /// Where its mount is.
    pub(super) fn mountpoint(&self) -> Option<&Path> {
        self.status
            .mountpoint
            .as_ref()
            .map(|point| Path::new(std::ffi::OsStr::from_bytes(&point.0)))
    }

    /// Asks for something.
    ///
    /// # Errors
    /// What the daemon says, or that it is gone.
    pub(super) fn call(&mut self, request: &Request) -> Result<Response, CliError> {
        if self.used.elapsed() > FRESH {
            self.client = connect(&self.status.id).map_err(|source| lost(&self.status, source))?;
        }
        let response = exchange(&mut self.client, request);
        self.used = Instant::now();
        response
    }
}

fn exchange(client: &mut Client, request: &Request) -> Result<Response, CliError> {
    let message = wire::request(request)?;
    let answer = client
        .call(&message)
        .map_err(|source| CliError::io("asking the daemon of the mount", source))?;
    wire::response(&answer)
}

fn lost(status: &Status, source: std::io::Error) -> CliError {
    CliError::io(
        format!("asking the daemon of the mount (process {})", status.pid),
        source,
    )
}
