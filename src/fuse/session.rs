//! A mount from its beginning to its end.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use fuser::{Config, SessionACL};
use parking_lot::Mutex;

use super::adaptor::{Adaptor, Desk};
use super::answer::Lifetime;
use super::crew::{Crew, HandedOver};
use super::error::MountError;
use super::guard::Guard;
use super::init::Protocol;
use super::invalidate::Invalidator;
use super::mount::{self, Mounted};
use super::operation;
use super::options::{Audience, MountOptions};
use crate::meter::Group;
use crate::view::events::Events;
use crate::view::{Namespace, View};

/// How long the kernel may take to write its cache back when the mount is to end.
const WRITE_BACK: Duration = Duration::from_secs(10);

/// How long programs may keep files open after the mount was taken away.
const GRACE: Duration = Duration::from_secs(5);

/// A mount that stands and is not served yet: whoever uses it waits. Dropping it takes the mount
/// away.
#[derive(Debug)]
pub struct Session {
    kernel: fuser::Session<Adaptor>,
    standing: Standing,
    invalidator: Invalidator,
    events: Arc<Events>,
    closed: Arc<AtomicBool>,
    handed_over: HandedOver,
    stopper: Stopper,
    ends: Receiver<End>,
}

/// Ends a session from any thread. Clones end the same one.
#[derive(Clone, Debug)]
pub struct Stopper(Arc<StopState>);

#[derive(Debug)]
struct StopState {
    mounted: Mounted,
    asked: AtomicUsize,
    ends: Mutex<Sender<End>>,
}

/// Takes the mount away if it is still there, so that it is not left dead.
#[derive(Debug)]
struct Standing(Mounted);

impl Drop for Standing {
    fn drop(&mut self) {
        if let Err(error) = self.0.detach() {
            tracing::error!(%error, "the mount stays behind");
        }
    }
}

#[derive(Debug)]
enum End {
    /// The kernel closed the connection, or it broke.
    Disconnected(io::Result<()>),
    /// Somebody still uses the mount and is not waited for.
    Abandoned,
}

impl Session {
    /// Mounts `view` at `point`, and has the view tell the kernel what changes.
    ///
    /// # Errors
    /// [`MountError`], with nothing left mounted.
    pub fn mount(
        view: Arc<View>,
        point: &Path,
        options: &MountOptions,
    ) -> Result<Self, MountError> {
        let (mounted, connection) = mount::mount(point, options)?;
        let standing = Standing(mounted.clone());
        let closed = Arc::new(AtomicBool::new(false));
        let protocol = Protocol {
            default_permissions: options.default_permissions,
            writeback: options.writeback,
        };
        let shown = Arc::new(Namespace::new(Arc::clone(&view)));
        let counted = Arc::new(Group::new(operation::NAMES));
        view.set_operations(Arc::clone(&counted));
        let guard = Guard::new(shown, Arc::clone(&closed), options.timeout, counted);
        let invalidator = Invalidator::default();
        let desk = Desk {
            guard,
            lifetime: Lifetime(options.lifetime),
            waker: invalidator.waker(),
            pollers: Arc::default(),
        };
        let crew = Crew::new(options.threads.get());
        let handed_over = crew.handed_over();
        let adaptor = Adaptor::new(desk, protocol, crew);
        let acl = match options.audience {
            Audience::Owner => SessionACL::Owner,
            Audience::OwnerAndRoot => SessionACL::RootAndOwner,
            Audience::Everyone => SessionACL::All,
        };
        let mut config = Config::default();
        config.n_threads = Some(options.threads.get());
        config.clone_fd = true;
        let kernel = fuser::Session::from_fd(adaptor, connection, acl, config)
            .and_then(|kernel| {
                let point = mounted.point().to_owned();
                invalidator.waker().start(Arc::clone(&view), point)?;
                invalidator.start(kernel.notifier())?;
                Ok(kernel)
            })
            .map_err(|source| MountError::Handshake {
                point: point.to_owned(),
                source,
            })?;
        view.set_invalidator(Box::new(invalidator.clone()));
        mounted.read_far_ahead();
        let (ended, ends) = channel();
        let stopper = Stopper(Arc::new(StopState {
            mounted,
            asked: AtomicUsize::new(0),
            ends: Mutex::new(ended),
        }));
        Ok(Self {
            kernel,
            standing,
            invalidator,
            events: Arc::clone(view.events()),
            closed,
            handed_over,
            stopper,
            ends,
        })
    }

    /// What the view tells the kernel through. API calls from outside the mount wait for it with
    /// [`Invalidator::flush`].
    #[must_use]
    pub fn invalidator(&self) -> Invalidator {
        self.invalidator.clone()
    }

    /// What ends the session, for a signal or a command.
    #[must_use]
    pub fn stopper(&self) -> Stopper {
        self.stopper.clone()
    }

    /// Serves until the mount is taken away, by `umount(8)` or by the [`Stopper`]. Calls `on_ready`
    /// once operations are answered. Afterwards no operation begins any more, and the view is to
    /// be shut down.
    ///
    /// # Errors
    /// [`MountError::Serve`] if the connection breaks; the mount is gone then, too.
    pub fn serve(self, on_ready: impl FnOnce()) -> Result<(), MountError> {
        let Self {
            kernel,
            standing,
            invalidator,
            events,
            closed,
            handed_over,
            stopper,
            ends,
        } = self;
        let served = run(kernel, &stopper).and_then(|()| {
            on_ready();
            match ends.recv() {
                Ok(End::Disconnected(result)) => {
                    handed_over.finish();
                    result
                }
                Ok(End::Abandoned) | Err(_) => Ok(()),
            }
        });
        closed.store(true, Ordering::Release);
        invalidator.close();
        events.close();
        served.map_err(|source| MountError::Serve {
            point: standing.0.point().to_owned(),
            source,
        })
    }
}

/// Answers operations on threads of their own; the end is sent to whoever serves.
fn run(kernel: fuser::Session<Adaptor>, stopper: &Stopper) -> io::Result<()> {
    let background = kernel.spawn()?;
    let ended = stopper.0.ends.lock().clone();
    thread::Builder::new()
        .name("kfs-session".to_owned())
        .spawn(move || {
            let result = background.join();
            // Nobody listens if the session was abandoned.
            let _abandoned = ended.send(End::Disconnected(result));
        })?;
    Ok(())
}

impl Stopper {
    /// Has the kernel write back what it holds, takes the mount away even if it is in use, and
    /// waits a few seconds for programs that still have files open. Returns at once; a second call
    /// waits for nobody.
    pub fn stop(&self) {
        if self.0.asked.fetch_add(1, Ordering::AcqRel) > 0 {
            self.abandon();
            return;
        }
        let this = self.clone();
        let thread = thread::Builder::new()
            .name("kfs-stop".to_owned())
            .spawn(move || this.stop_gently());
        if let Err(error) = thread {
            tracing::error!(%error, "no thread for a gentle end");
            self.abandon();
        }
    }

    fn stop_gently(&self) {
        self.write_back();
        match self.0.mounted.detach() {
            Ok(()) => thread::sleep(GRACE),
            Err(error) => tracing::error!(%error, "the mount could not be taken away"),
        }
        self.abandon();
    }

    /// Pages written through mmap, or collected by the write-back cache, reach the view only so.
    fn write_back(&self) {
        let (done, finished) = channel();
        let mounted = self.0.mounted.clone();
        let thread = thread::Builder::new()
            .name("kfs-write-back".to_owned())
            .spawn(move || {
                // Nobody listens after the time is up.
                let _late = done.send(mounted.sync());
            });
        match thread.map(|_| finished.recv_timeout(WRITE_BACK)) {
            Ok(Ok(Ok(()))) => {}
            Ok(Ok(Err(error))) => tracing::error!(%error, "the kernel could not write back"),
            Ok(Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected)) => {
                tracing::error!("the kernel did not write back in {WRITE_BACK:?}");
            }
            Err(error) => tracing::error!(%error, "no thread to write back"),
        }
    }

    fn abandon(&self) {
        // Nobody listens if the session has ended.
        let _ended = self.0.ends.lock().send(End::Abandoned);
    }
}
