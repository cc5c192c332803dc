//! The view as a mounted filesystem.
//!
//! `adaptor` hands each operation of the kernel to the view, under a `guard` that no panic passes,
//! on threads of a `crew` of which one always listens;
//! `answer` replies; `errno` is the only place that knows error numbers; `init` agrees with the
//! kernel on its abilities; `mount` and `helper` deal with mountpoints; `session` is a mount's
//! life; `invalidate` tells the kernel what it must forget, `poll` what there is to read. Nothing here knows stores or documents.
//!
//! Never done here: an operation never waits for the invalidation queue; a mount is never taken
//! away by its path alone (another one may lie there by then); `ENOSYS` is never answered to an
//! operation that exists.

mod adaptor;
mod answer;
mod convert;
mod crew;
mod errno;
mod error;
mod guard;
mod helper;
mod init;
mod invalidate;
mod mount;
mod mountinfo;
mod operation;
mod options;
mod poll;
mod session;
#[cfg(test)]
mod tests;
mod wake;

use std::path::Path;
use std::sync::Arc;

pub use error::MountError;
pub use invalidate::{Invalidator, StillCached};
pub use mount::{abort, unmount};
pub use mountinfo::{MountEntry, mounts};
pub use options::{Audience, EntryDefaults, MountOptions, OptionError, Typing, age, byte_count};
pub use session::{Session, Stopper};

use crate::view::View;

/// Mounts `view` at `point` and serves it until it is unmounted: [`Session::mount`] and
/// [`Session::serve`].
///
/// # Errors
/// [`MountError`].
pub fn serve(
    view: Arc<View>,
    point: &Path,
    options: &MountOptions,
    on_ready: impl FnOnce(),
) -> Result<(), MountError> {
    Session::mount(view, point, options)?.serve(on_ready)
}
