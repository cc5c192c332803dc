//! The connections of commands under way, and their end.

use std::collections::BTreeMap;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

/// Commands that can be under way at once.
pub(super) const MOST_CONNECTIONS: usize = 64;

/// All connections of a server.
#[derive(Debug, Default)]
pub struct Connections {
    open: Mutex<Open>,
    one_less: Condvar,
}

#[derive(Debug, Default)]
struct Open {
    streams: BTreeMap<u64, Arc<UnixStream>>,
    next: u64,
    closing: bool,
}

impl Connections {
    /// A place for one more, unless there are too many or the end has come.
    pub(super) fn admit(self: &Arc<Self>, stream: UnixStream) -> Option<Place> {
        let mut open = self.open.lock();
        if open.closing || open.streams.len() >= MOST_CONNECTIONS {
            return None;
        }
        let (number, stream) = (open.next, Arc::new(stream));
        open.next += 1;
        open.streams.insert(number, Arc::clone(&stream));
        Some(Place {
            connections: Arc::clone(self),
            number,
            stream,
        })
    }

    /// Takes no more requests and waits until those that have come are answered; whether that was
    /// within `patience`.
    ///
    /// Whoever sends one later is told so by the system ("broken pipe"), and knows that it was not
    /// done; one that is merely left without an answer would not know.
    pub(super) fn close(&self, patience: Duration) -> bool {
        let give_up = Instant::now() + patience;
        let mut open = self.open.lock();
        open.closing = true;
        for stream in open.streams.values() {
            if let Err(error) = stream.shutdown(Shutdown::Read) {
                tracing::debug!(%error, "a connection had ended");
            }
        }
        while !open.streams.is_empty() {
            if self.one_less.wait_until(&mut open, give_up).timed_out() {
                return open.streams.is_empty();
            }
        }
        true
    }
}

/// One of the connections, until it is dropped.
#[derive(Debug)]
pub struct Place {
    connections: Arc<Connections>,
    number: u64,
    stream: Arc<UnixStream>,
}

impl Place {
    /// To the peer.
    pub(super) fn stream(&self) -> &UnixStream {
        &self.stream
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.connections.open.lock().streams.remove(&self.number);
        self.connections.one_less.notify_all();
    }
}
