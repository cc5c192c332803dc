//! The daemon that has a store mounted, seen from a command.

use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::access::Access;
use super::error::CliError;
use super::request::{Request, Response, Status};
use super::socket::{CallError, Client, connect, connect_at};
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
    /// The daemon that holds a store; `None` if there is none, or none any more: one that hangs up
    /// before it says who it is was killed, and its lock goes with it.
    ///
    /// # Errors
    /// [`CliError::Denied`] if it is somebody else's, [`CliError::InUse`] if it does not answer.
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
                let remote = Self::greet(client, || location.to_string())?;
                Ok(remote.filter(|remote| remote.holds(location)))
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
            let client = connect_at(&socket).ok()?;
            Self::greet(client, || socket.display().to_string()).ok()?
        })
    }

    /// Asks a daemon who it is; `None` if it hangs up. `what` names it in errors.
    fn greet(mut client: Client, what: impl Fn() -> String) -> Result<Option<Self>, CliError> {
        let failed = |why: String| CliError::failed(what(), why);
        let request = wire::request(&Request::Status)?;
        // One that is stopped must not stop everybody who looks for another.
        let answer = client
            .wait_at_most(Some(GREETING))
            .map_err(CallError::Unsent)
            .and_then(|()| client.call(&request))
            .and_then(|answer| {
                client.wait_at_most(None).map_err(CallError::Unanswered)?;
                Ok(answer)
            });
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) if error.is_hang_up() => return Ok(None),
            Err(error) if error.is_silence() => {
                return Err(CliError::InUse {
                    what: what(),
                    why: format!(
                        "its daemon has not answered for {} s; is it stopped? Its log may say why",
                        GREETING.as_secs()
                    ),
                });
            }
            Err(error) => return Err(failed(format!("asking its daemon: {error}"))),
        };
        match wire::response(&answer)? {
            Response::Status(status) => Ok(Some(Self {
                client,
                status: *status,
                used: Instant::now(),
            })),
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
    /// What the daemon says, or that it is gone. Nothing is asked twice: what was sent may have been
    /// done, and doing it again could undo what others did since.
    pub(super) fn call(&mut self, request: &Request) -> Result<Response, CliError> {
        let message = wire::request(request)?;
        if self.used.elapsed() > FRESH {
            self.client = connect(&self.status.id)
                .map_err(|source| lost(&self.status, request, &CallError::Unsent(source)))?;
        }
        let answer = self
            .client
            .call(&message)
            .map_err(|error| lost(&self.status, request, &error))?;
        self.used = Instant::now();
        wire::response(&answer)
    }
}

/// The error for a request without an answer, with what is known of the outcome.
fn lost(status: &Status, request: &Request, error: &CallError) -> CliError {
    let then = match error {
        CallError::Unanswered(_) if request.may_write() => {
            "what it was asked to change may be changed or not: look before you repeat the command"
        }
        CallError::Unanswered(_) | CallError::Unsent(_) => {
            "nothing was changed by this request; repeat the command"
        }
    };
    CliError::failed(
        status.location.clone(),
        format!(
            "its daemon (process {}) gave no answer: {error}; {then}",
            status.pid
        ),
    )
}
