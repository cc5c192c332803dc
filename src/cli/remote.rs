//! The daemon that has a store mounted, seen from a command.

use std::ffi::OsStr;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::access::Access;
use super::error::CliError;
use super::request::{Request, Response, Status};
use super::socket::{CallError, Client, connect, connect_at};
use super::{beacon, dying, place, places, wire};
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
            Location::Embedded(_)
            | Location::File(_)
            | Location::Lmdb(_)
            | Location::RocksDb(_)
            | Location::Custom(_) => match beacon::socket(location) {
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
            // It was killed, and ends only now.
            Err(error) if error.is_silence() && dying::end_all() => return Ok(None),
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
            .map(|point| Path::new(OsStr::from_bytes(&point.0)))
    }

    /// Asks for something; the answer is `None` if the daemon ends instead, and nothing was done.
    ///
    /// # Errors
    /// What the daemon says, or that it gave no answer to a request that may have been done: doing
    /// it again could undo what others did since.
    pub(super) fn call(&mut self, request: &Request) -> Result<Option<Response>, CliError> {
        let message = wire::request(request)?;
        let answer = self.renew().and_then(|()| self.client.call(&message));
        self.used = Instant::now();
        let error = match answer {
            Ok(answer) => return wire::response(&answer).map(Some),
            Err(error) => error,
        };
        let done = matches!(error, CallError::Unanswered(_)) && request.may_write();
        if !done && error.is_hang_up() {
            return Ok(None);
        }
        let then = if done {
            "what it was asked to change may be changed or not: look before you repeat the command"
        } else {
            "nothing was changed by this request"
        };
        let pid = self.status.pid;
        Err(CliError::failed(
            self.status.location.clone(),
            format!("its daemon (process {pid}) gave no answer: {error}; {then}"),
        ))
    }

    /// Connects again if the daemon may have hung up on a command that was silent for so long.
    fn renew(&mut self) -> Result<(), CallError> {
        if self.used.elapsed() > FRESH {
            self.client = self.client.again().map_err(CallError::Unsent)?;
        }
        Ok(())
    }

    /// The store that it holds.
    ///
    /// # Errors
    /// [`CliError::Failed`] if the location is not UTF-8, which got lost on the way.
    pub(super) fn location(&self) -> Result<Location, CliError> {
        let text = &self.status.location;
        if text.contains(char::REPLACEMENT_CHARACTER) {
            let why = "its daemon has ended, and nothing was done; repeat the command";
            return Err(CliError::failed(text, why));
        }
        place::location(OsStr::new(text))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::{UnixListener, UnixStream};
    use std::thread;

    use super::*;
    use crate::cli::frame;
    use crate::cli::place::{Bytes, NamePath};
    use crate::cli::request::Expect;

    /// Connects to a daemon that behaves so.
    fn daemon(life: impl FnOnce(UnixStream) + Send + 'static) -> Client {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("sock");
        let listener = UnixListener::bind(&socket).unwrap();
        thread::spawn(move || life(listener.accept().unwrap().0));
        connect_at(&socket).unwrap()
    }

    fn greet(client: Client) -> Option<Remote> {
        Remote::greet(client, || "/store".to_owned()).unwrap()
    }

    #[test]
    fn a_daemon_that_dies_before_it_says_who_it_is_is_none() {
        assert!(greet(daemon(drop)).is_none());
        assert!(greet(daemon(|mut stream| drop(frame::read(&mut stream)))).is_none());
    }

    /// What comes of a request that a daemon takes in and dies of.
    fn fatal(request: &Request) -> Result<Option<Response>, CliError> {
        let client = daemon(|mut stream| {
            let question = frame::read(&mut stream).unwrap().unwrap();
            let status = Status {
                location: "/store".to_owned(),
                id: uuid::Uuid::new_v4(),
                pid: 4711,
                mountpoint: None,
                read_only: false,
                encrypted: false,
                lies_over: None,
                seq: 1,
                version: String::new(),
            };
            let status = Response::Status(Box::new(status));
            let answer = wire::answer(&question, |_| Ok(status));
            frame::write(&mut stream, &answer).unwrap();
            frame::read(&mut stream).unwrap().unwrap();
        });
        greet(client).unwrap().call(request)
    }

    #[test]
    fn of_a_change_without_an_answer_nobody_says_that_it_was_or_was_not_made() {
        let path = NamePath(vec![Bytes(b"a".to_vec())]);
        let message = fatal(&Request::Put {
            path: path.clone(),
            value: Bytes(vec![1]),
            expect: Expect::Any,
        })
        .unwrap_err()
        .to_string();
        for part in ["/store", "4711", "changed or not", "look before"] {
            assert!(message.contains(part), "{message}");
        }
        assert_eq!(
            fatal(&Request::Get { path }).unwrap(),
            None,
            "may be repeated"
        );
    }
}
