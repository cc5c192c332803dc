//! The process behind a mount: it holds the store, answers the kernel and takes commands.

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use nix::unistd::{getegid, geteuid};

use super::access::connect;
use super::beacon::Beacon;
use super::error::CliError;
use super::execute::{execute, status};
use super::holder::Holder;
use super::place::{self, Bytes};
use super::remote::Remote;
use super::request::{Request, Response};
use super::signals::StopSignals;
use super::socket::{Server, SocketError};
use super::{chores, places, unlock, watch, wire};
use crate::backend::BackendError;
use crate::fuse::{Invalidator, MountOptions, Session, mounts};
use crate::store::{ConnectOptions, CreateOptions, Done, Encryption, Location, Store, StoreError};
use crate::view::{View, ViewOptions};

/// How long a holder of the store may take to let go.
const HANDOVER: Duration = Duration::from_secs(10);
/// How long a command waits for the kernel to forget what it changed.
const FORGETTING: Duration = Duration::from_secs(10);

/// A mount to be made and served.
#[derive(Debug)]
pub struct Daemon {
    /// The store. One in memory is made if it is not there.
    pub(super) location: Location,
    /// Where to mount it.
    pub(super) point: PathBuf,
    /// How.
    pub(super) options: MountOptions,
}

impl Daemon {
    /// Mounts the store and serves it until it is unmounted or a signal comes. Calls `on_ready` with
    /// the store's UUID once the mount answers; an error of it ends the mount.
    ///
    /// # Errors
    /// What kept the store from being mounted, served or released in good order.
    pub(super) fn run(
        mut self,
        signals: StopSignals,
        on_ready: impl FnOnce(uuid::Uuid) -> Result<(), CliError>,
    ) -> Result<(), CliError> {
        self.check_point()?;
        let store = self.connect()?;
        let view =
            View::new(store.clone(), self.view_options()).map_err(|source| CliError::View {
                path: self.location.to_string(),
                source,
            })?;
        let workers = chores::start(&store, &view, &self.options);
        let served = self.serve(&store, &view, signals, on_ready);
        drop(workers);
        view.shutdown();
        drop(view);
        served.and(store.release().map_err(CliError::from))
    }

    /// Refuses a mountpoint that is not there, or would hide the store or its front from its own daemon.
    fn check_point(&self) -> Result<(), CliError> {
        let shown = self.point.display().to_string();
        let missing = |e: &io::Error| e.kind() == io::ErrorKind::NotFound;
        if self.point.symlink_metadata().is_err_and(|e| missing(&e)) {
            let why = format!("no such directory to mount on; mkdir {shown} first");
            return Err(CliError::not_found(shown, why));
        }
        let point = place::absolute(&self.point);
        let front = self.options.front.as_deref().map(place::absolute);
        let both = [
            (self.location.directory(), "store"),
            (front.as_deref(), "front"),
        ];
        for (directory, what) in both {
            if let Some(directory) = directory
                && (directory.starts_with(&point) || point.starts_with(directory))
            {
                return Err(CliError::refused(
                    shown,
                    format!(
                        "the {what} {} cannot be mounted on itself, on what it is in or on what is in it",
                        directory.display()
                    ),
                ));
            }
        }
        Ok(())
    }

    /// Whether the store is mounted already. A daemon whose mount is gone is about to let go of it.
    ///
    /// # Errors
    /// [`CliError::InUse`], saying where.
    pub(super) fn check_free(&self) -> Result<(), CliError> {
        let place = match self.options.front() {
            // Several may lie over one store.
            Some(front) if front.done == Done::OnlyInFront => {
                Location::Embedded(place::absolute(&front.dir))
            }
            _ => self.location.clone(),
        };
        let Some(holder) = Remote::of_location(&place)? else {
            return Ok(());
        };
        let Some(point) = holder.mountpoint() else {
            return Ok(());
        };
        let mounts = mounts().unwrap_or_default();
        if !mounts
            .iter()
            .any(|entry| entry.point == point && entry.is_kfs())
        {
            return Ok(());
        }
        Err(CliError::InUse {
            what: place.to_string(),
            why: format!(
                "already mounted at {} by process {}",
                point.display(),
                holder.status().pid
            ),
        })
    }

    fn connect(&self) -> Result<Store, CliError> {
        let denied = match self.check_free() {
            // Perhaps it was killed and has left its socket: then the lock is free.
            Err(denied @ CliError::Denied { .. }) => Some(denied),
            free => free.map(|()| None)?,
        };
        let options = ConnectOptions {
            read_only: self.options.read_only,
            wait: denied.as_ref().map_or(HANDOVER, |_| Duration::ZERO),
            cache: self.options.cache,
            front: self.options.front(),
            without_front: self.options.without_front,
            ..ConnectOptions::default()
        };
        match connect(&self.location, &options) {
            Err(error @ CliError::Store(StoreError::InUse { .. })) => Err(denied.unwrap_or(error)),
            Err(CliError::Store(StoreError::Missing { .. }))
                if matches!(self.location, Location::Memory(_)) =>
            {
                let options = CreateOptions {
                    encryption: unlock::explicit()?.map(Encryption::with),
                    ..CreateOptions::default()
                };
                Ok(Store::create(&self.location, &options)?)
            }
            Err(CliError::Store(error)) if !self.options.read_only && is_read_only(&error) => {
                Err(CliError::Denied {
                    what: self.location.to_string(),
                    why: format!("{error}; it can be mounted for reading: -o ro"),
                })
            }
            other => other,
        }
    }

    fn view_options(&self) -> ViewOptions {
        let MountOptions {
            entries,
            typing,
            read_only,
            ..
        } = &self.options;
        ViewOptions {
            uid: entries.uid.unwrap_or_else(|| geteuid().as_raw()),
            gid: entries.gid.unwrap_or_else(|| getegid().as_raw()),
            file_mode: entries.file_mode(),
            dir_mode: entries.dir_mode(),
            strict: typing.is_strict(),
            infer: typing.infers(),
            read_only: *read_only,
        }
    }

    fn serve(
        &mut self,
        store: &Store,
        view: &Arc<View>,
        signals: StopSignals,
        on_ready: impl FnOnce(uuid::Uuid) -> Result<(), CliError>,
    ) -> Result<(), CliError> {
        let place = place::of(store);
        let location = place.to_string();
        self.options.fsname.get_or_insert_with(|| location.clone());
        let commands = Arc::new(Commands {
            holder: Holder::new(store.clone(), self.view_options()),
            view: Arc::clone(view),
            invalidator: OnceLock::new(),
            point: place::absolute(&self.point),
        });
        let answering = Arc::clone(&commands);
        let path = match store.overlay() {
            Some(dir) => places::overlay_socket(dir),
            None => places::socket(&store.id()),
        };
        let server =
            Server::start(path, move |message| answering.answer(message)).map_err(socket)?;
        let beacon = Beacon::light(&place, server.path(), store.is_read_only());
        let session = Session::mount(Arc::clone(view), &self.point, &self.options)?;
        let _first = commands.invalidator.set(session.invalidator());
        let stopper = session.stopper();
        let on_signal = stopper.clone();
        let handling = signals.on_signal(move |signal| {
            tracing::info!(%signal, "ending");
            on_signal.stop();
        });
        // From here on only serving ends the mount.
        let mut failure = handling
            .err()
            .map(|e| CliError::io("waiting for signals", e));
        if failure.is_some() {
            stopper.stop();
        }
        let served = session.serve(|| {
            if failure.is_none()
                && let Err(error) = on_ready(store.id())
            {
                failure = Some(error);
                stopper.stop();
            }
        });
        // From here on commands wait for the store to be free.
        drop((beacon, server));
        commands.holder.shut_down();
        tracing::info!(%location, "unmounted");
        match failure {
            Some(error) => Err(error),
            None => Ok(served?),
        }
    }
}

/// Whether a store cannot be written because of where it lies.
fn is_read_only(error: &StoreError) -> bool {
    matches!(error, StoreError::Backend(BackendError::Io { source, .. }) if source.kind() == io::ErrorKind::ReadOnlyFilesystem)
}

/// What answers commands.
struct Commands {
    holder: Holder,
    /// What is mounted.
    view: Arc<View>,
    /// Once it is mounted.
    invalidator: OnceLock<Invalidator>,
    point: PathBuf,
}

impl Commands {
    fn answer(&self, message: &[u8]) -> Vec<u8> {
        wire::answer(message, |request| match request {
            Request::Status => {
                let mut status = status(self.holder.store());
                status.mountpoint = Some(Bytes(self.point.as_os_str().as_bytes().to_vec()));
                Ok(Response::Status(Box::new(status)))
            }
            Request::Watch { after, wait } => Ok(watch::events(&self.view, *after, *wait)),
            Request::Stats => Ok(Response::Stats(self.view.stats().to_json().to_string())),
            request => {
                let response = execute(&self.holder, request);
                // The mount shows the change when the command returns.
                if let Some(Err(error)) = self
                    .invalidator
                    .get()
                    .map(|kernel| kernel.flush(FORGETTING))
                {
                    tracing::warn!(%error, "after a command");
                }
                response
            }
        })
    }
}

fn socket(error: SocketError) -> CliError {
    match error {
        SocketError::Listen { path, source } => {
            CliError::io(format!("socket {}", path.display()), source)
        }
        SocketError::Place(error) => CliError::failed("the daemon's socket", error.to_string()),
    }
}
