//! The socket through which commands reach the daemon that holds a store.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use nix::sys::socket::{Shutdown, getsockopt, shutdown, sockopt};
use nix::unistd::geteuid;
use uuid::Uuid;

use super::connections::{Connections, Place};

use super::frame;
use super::places::{self, PlaceError};

/// How long a command under way may take when the server ends.
const LAST_ANSWERS: Duration = Duration::from_secs(10);

/// How long a peer may keep silent, within a message and between two.
const SILENCE: Duration = Duration::from_secs(30);

/// A socket that cannot be listened at.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Its directory cannot be used.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// It cannot be made.
    #[error("socket {}: {source}", path.display())]
    Listen {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Answers requests until it is dropped; the socket is gone then, and what has come in is answered.
#[derive(Debug)]
pub struct Server {
    listener: Arc<UnixListener>,
    connections: Arc<Connections>,
    path: PathBuf,
}

type Handler = dyn Fn(&[u8]) -> Vec<u8> + Send + Sync;

impl Server {
    /// Listens for commands at `path`, which is that of a store which the caller holds: a socket
    /// that is there already was left by a daemon that is gone. Requests of one connection are handled
    /// one after the other, those of several at the same time.
    ///
    /// # Errors
    /// [`SocketError`].
    pub fn start(
        path: PathBuf,
        handler: impl Fn(&[u8]) -> Vec<u8> + Send + Sync + 'static,
    ) -> Result<Self, SocketError> {
        Self::start_at(path, Arc::new(handler))
    }

    fn start_at(path: PathBuf, handler: Arc<Handler>) -> Result<Self, SocketError> {
        if let Some(directory) = path.parent() {
            places::private_dir(directory)?;
        }
        let listener = listen(&path).map_err(|source| SocketError::Listen {
            path: path.clone(),
            source,
        })?;
        let connections = Arc::new(Connections::default());
        let listener = spawn(listener, Arc::clone(&connections), handler);
        Ok(Self {
            listener: listener.map_err(|source| SocketError::Listen {
                path: path.clone(),
                source,
            })?,
            connections,
            path,
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let ended = fs::remove_file(&self.path)
            .and_then(|()| Ok(shutdown(self.listener.as_raw_fd(), Shutdown::Both)?));
        if let Err(error) = ended {
            tracing::debug!(path = %self.path.display(), %error, "closing the socket");
        }
        if !self.connections.close(LAST_ANSWERS) {
            tracing::warn!("commands were still under way after {LAST_ANSWERS:?}");
        }
    }
}

fn listen(path: &Path) -> io::Result<UnixListener> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => fs::remove_file(path)?,
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

impl Server {
    /// Where it listens.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

fn spawn(
    listener: UnixListener,
    connections: Arc<Connections>,
    handler: Arc<Handler>,
) -> io::Result<Arc<UnixListener>> {
    let listener = Arc::new(listener);
    let ours = Arc::clone(&listener);
    thread::Builder::new()
        .name("kfs-socket".to_owned())
        .spawn(move || accept(&listener, &connections, &handler))?;
    Ok(ours)
}

fn accept(listener: &UnixListener, connections: &Arc<Connections>, handler: &Arc<Handler>) {
    loop {
        match listener.accept() {
            Ok((stream, _)) => admit(stream, connections, handler),
            // Shut down by the server's owner.
            Err(error) if error.kind() == ErrorKind::InvalidInput => return,
            Err(error) => {
                // Above all "too many open files", which passes.
                tracing::warn!(%error, "accepting a connection");
                thread::sleep(Duration::from_millis(100));
            }
        }
    }
}

/// Serves a connection on a thread of its own, if this peer may come and there is room.
fn admit(stream: UnixStream, connections: &Arc<Connections>, handler: &Arc<Handler>) {
    match peer(&stream) {
        Ok(uid) if uid == 0 || uid == geteuid().as_raw() => {}
        Ok(uid) => return tracing::warn!(uid, "a connection of another user was refused"),
        Err(error) => return tracing::warn!(%error, "a connection of nobody was refused"),
    }
    let Some(place) = connections.admit(stream) else {
        return tracing::warn!("one connection too many, or at the end: it was refused");
    };
    let handler = Arc::clone(handler);
    let thread = thread::Builder::new()
        .name("kfs-command".to_owned())
        .spawn(move || {
            if let Err(error) = converse(&place, &*handler) {
                tracing::debug!(%error, "a connection ended");
            }
        });
    if let Err(error) = thread {
        tracing::warn!(%error, "no thread for a connection");
    }
}

/// Answers one request after the other until the peer hangs up.
fn converse(place: &Place, handler: &Handler) -> io::Result<()> {
    let mut stream = place.stream();
    stream.set_read_timeout(Some(SILENCE))?;
    stream.set_write_timeout(Some(SILENCE))?;
    while let Some(request) = frame::read(&mut stream)? {
        let answer = catch_unwind(AssertUnwindSafe(|| handler(&request))).map_err(|_| {
            tracing::error!("a bug: a command panicked");
            io::Error::other("the handler panicked")
        })?;
        frame::write(&mut stream, &answer)?;
    }
    Ok(())
}

fn peer(stream: &UnixStream) -> io::Result<u32> {
    Ok(getsockopt(stream, sockopt::PeerCredentials)?.uid())
}

/// A connection to a daemon.
#[derive(Debug)]
pub struct Client(UnixStream);

/// A request that was not answered.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// It did not get through whole, so the daemon has done nothing.
    #[error("{0}")]
    Unsent(#[source] io::Error),
    /// It was sent, and may have been done.
    #[error("{0}")]
    Unanswered(#[source] io::Error),
}

impl CallError {
    /// Whether the daemon is ending, or has ended, rather than being slow or not understood.
    #[must_use]
    pub fn is_hang_up(&self) -> bool {
        let (Self::Unsent(source) | Self::Unanswered(source)) = self;
        matches!(
            source.kind(),
            ErrorKind::BrokenPipe
                | ErrorKind::ConnectionReset
                | ErrorKind::ConnectionAborted
                | ErrorKind::NotConnected
                | ErrorKind::UnexpectedEof
                // Where there is no socket any more, or nobody behind it.
                | ErrorKind::NotFound
                | ErrorKind::ConnectionRefused
        )
    }

    /// Whether no answer came in time.
    #[must_use]
    pub fn is_silence(&self) -> bool {
        let (Self::Unsent(source) | Self::Unanswered(source)) = self;
        matches!(source.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
    }
}

/// Connects to the daemon that holds store `id`.
///
/// # Errors
/// [`ErrorKind::NotFound`] or [`ErrorKind::ConnectionRefused`] if there is none;
/// [`ErrorKind::PermissionDenied`] if somebody else's daemon sits there.
pub fn connect(id: &Uuid) -> io::Result<Client> {
    let mut result = connect_at(&places::socket(id));
    for path in places::sockets_of_others(id) {
        if result.is_ok() {
            break;
        }
        result = connect_at(&path).or(result);
    }
    result
}

/// Connects to the daemon whose socket this is.
///
/// # Errors
/// As [`connect`].
pub fn connect_at(path: &Path) -> io::Result<Client> {
    let stream = UnixStream::connect(path)?;
    let (uid, own) = (peer(&stream)?, geteuid().as_raw());
    if uid != own && uid != 0 && own != 0 {
        let text = format!("{} is served by user {uid}", path.display());
        return Err(io::Error::new(ErrorKind::PermissionDenied, text));
    }
    stream.set_write_timeout(Some(SILENCE))?;
    Ok(Client(stream))
}

impl Client {
    /// Connects again to who listens there now.
    ///
    /// # Errors
    /// As [`connect`].
    pub(super) fn again(&self) -> io::Result<Self> {
        let peer = self.0.peer_addr()?;
        connect_at(peer.as_pathname().ok_or(ErrorKind::NotFound)?)
    }

    /// The process that serves this.
    pub(super) fn peer(&self) -> Option<i32> {
        Some(getsockopt(&self.0, sockopt::PeerCredentials).ok()?.pid())
    }

    /// Waits for answers no longer than this from now on; `None` is as long as the daemon lives.
    ///
    /// # Errors
    /// What the socket says.
    pub fn wait_at_most(&self, patience: Option<Duration>) -> io::Result<()> {
        self.0.set_read_timeout(patience)
    }

    /// Sends a request and waits for the answer, as long as the daemon lives: some commands take
    /// their time.
    ///
    /// # Errors
    /// [`CallError`], which tells whether the request may have been done.
    pub fn call(&mut self, request: &[u8]) -> Result<Vec<u8>, CallError> {
        frame::write(&mut self.0, request).map_err(CallError::Unsent)?;
        let hung_up = || io::Error::new(ErrorKind::UnexpectedEof, "it hung up");
        frame::read(&mut self.0)
            .and_then(|answer| answer.ok_or_else(hung_up))
            .map_err(CallError::Unanswered)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::cli::connections::MOST_CONNECTIONS;

    /// Echoes; panics when told to.
    fn echo(dir: &tempfile::TempDir) -> (Server, PathBuf) {
        let path = dir.path().join("run/store.sock");
        let handler = Arc::new(|request: &[u8]| {
            assert_ne!(request, b"panic");
            request.to_vec()
        });
        let server = Server::start_at(path.clone(), handler).unwrap();
        (server, path)
    }

    #[test]
    fn requests_are_answered_in_order_on_several_connections() {
        let dir = tempfile::tempdir().unwrap();
        let (_server, path) = echo(&dir);
        let mut clients: Vec<_> = (0..5).map(|_| connect_at(&path).unwrap()).collect();
        for round in 0..3_u8 {
            for client in &mut clients {
                let request = vec![round; 200_000];
                assert_eq!(client.call(&request).unwrap(), request);
            }
        }
    }

    #[test]
    fn only_the_owner_can_reach_socket_and_directory() {
        let dir = tempfile::tempdir().unwrap();
        let (_server, path) = echo(&dir);
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o600);
        assert_eq!(mode(path.parent().unwrap()), 0o700);
    }

    #[test]
    fn a_socket_left_behind_is_replaced_and_a_file_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run/store.sock");
        fs::create_dir(dir.path().join("run")).unwrap();
        drop(UnixListener::bind(&path).unwrap());
        assert_eq!(
            connect_at(&path).unwrap_err().kind(),
            ErrorKind::ConnectionRefused
        );
        let (server, path) = echo(&dir);
        assert_eq!(connect_at(&path).unwrap().call(b"a").unwrap(), b"a");
        drop(server);
        fs::write(&path, "precious").unwrap();
        assert!(Server::start_at(path.clone(), Arc::new(<[u8]>::to_vec)).is_err());
        assert_eq!(fs::read(&path).unwrap(), b"precious");
    }

    #[test]
    fn dropping_the_server_takes_the_socket_away() {
        let dir = tempfile::tempdir().unwrap();
        let (server, path) = echo(&dir);
        drop(server);
        assert_eq!(connect_at(&path).unwrap_err().kind(), ErrorKind::NotFound);
    }

    #[test]
    fn a_server_that_ends_answers_what_it_has_and_takes_nothing_more() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run/store.sock");
        let handler = Arc::new(|request: &[u8]| {
            thread::sleep(Duration::from_millis(200));
            request.to_vec()
        });
        let server = Server::start_at(path.clone(), handler).unwrap();
        let (mut busy, mut idle) = (connect_at(&path).unwrap(), connect_at(&path).unwrap());
        idle.call(b"here").unwrap();
        let under_way = thread::spawn(move || busy.call(b"under way"));
        thread::sleep(Duration::from_millis(100));
        drop(server);
        assert!(
            under_way.is_finished() || {
                thread::sleep(Duration::from_millis(100));
                under_way.is_finished()
            }
        );
        assert_eq!(under_way.join().unwrap().unwrap(), b"under way");
        let error = idle.call(b"too late").unwrap_err();
        assert!(matches!(error, CallError::Unsent(_)), "{error}");
    }

    #[test]
    fn a_command_that_panics_ends_its_connection_only() {
        let dir = tempfile::tempdir().unwrap();
        let (_server, path) = echo(&dir);
        let mut other = connect_at(&path).unwrap();
        let error = connect_at(&path).unwrap().call(b"panic").unwrap_err();
        assert!(matches!(error, CallError::Unanswered(_)), "{error}");
        assert!(error.is_hang_up(), "{error}");
        assert_eq!(other.call(b"b").unwrap(), b"b");
    }

    #[test]
    fn a_daemon_that_is_gone_is_told_from_one_that_is_slow() {
        let dir = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(dir.path().join("sock")).unwrap();
        let call = |patience| {
            let mut client = connect_at(&dir.path().join("sock")).unwrap();
            client.wait_at_most(Some(patience)).unwrap();
            client.call(b"request").unwrap_err()
        };
        let error = call(Duration::from_millis(50));
        assert!(error.is_silence() && !error.is_hang_up(), "{error}");
        // As a process that is killed closes what it has not accepted.
        thread::scope(|scope| {
            scope.spawn(|| {
                thread::sleep(Duration::from_millis(50));
                drop(listener);
            });
            let error = call(Duration::from_secs(10));
            assert!(error.is_hang_up() && !error.is_silence(), "{error}");
        });
    }

    #[test]
    fn garbage_ends_its_connection_only() {
        let dir = tempfile::tempdir().unwrap();
        let (_server, path) = echo(&dir);
        let mut other = connect_at(&path).unwrap();
        let mut garbage = UnixStream::connect(&path).unwrap();
        garbage.write_all(&[0xff; 64]).unwrap();
        assert_eq!(frame::read(&mut garbage).ok().flatten(), None);
        assert_eq!(other.call(b"b").unwrap(), b"b");
    }

    #[test]
    fn connections_beyond_the_limit_are_refused_until_one_ends() {
        let dir = tempfile::tempdir().unwrap();
        let (_server, path) = echo(&dir);
        let mut clients: Vec<_> = (0..MOST_CONNECTIONS)
            .map(|_| connect_at(&path).unwrap())
            .collect();
        for client in &mut clients {
            client.call(b"here").unwrap();
        }
        assert!(connect_at(&path).unwrap().call(b"one more").is_err());
        clients.pop();
        let admitted = || connect_at(&path).unwrap().call(b"again").is_ok();
        assert!((0..100).any(|_| {
            thread::sleep(Duration::from_millis(20));
            admitted()
        }));
    }
}
