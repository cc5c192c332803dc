//! A store that this process holds, with what commands need besides.

use std::sync::Arc;

use parking_lot::Mutex;

use super::blob::Uploads;
use super::check::Checks;
use super::error::CliError;
use super::send_request::Sends;
use crate::store::Store;
use crate::view::{View, ViewOptions};

/// A store and a view of it for commands that deal in files.
///
/// Not the view of the mount: that one takes its own changes for the kernel's and does not tell the
/// kernel of them, while it hears of those of this view as of any other.
#[derive(Debug)]
pub struct Holder {
    store: Store,
    options: ViewOptions,
    view: Mutex<Option<Arc<View>>>,
    uploads: Uploads,
    checks: Checks,
    sends: Sends,
}

impl Holder {
    /// Holds a store; entries without attributes are seen as the options say.
    pub(super) fn new(store: Store, options: ViewOptions) -> Self {
        Self {
            store,
            options,
            view: Mutex::new(None),
            uploads: Uploads::default(),
            checks: Checks::default(),
            sends: Sends::default(),
        }
    }

    /// The store.
    pub(super) fn store(&self) -> &Store {
        &self.store
    }

    /// Byte strings that are on their way into it.
    pub(super) fn uploads(&self) -> &Uploads {
        &self.uploads
    }

    /// Checks of it that are under way.
    pub(super) fn checks(&self) -> &Checks {
        &self.checks
    }

    /// Streams of its snapshots that are under way.
    pub(super) fn sends(&self) -> &Sends {
        &self.sends
    }

    /// Its files, made at the first use.
    pub(super) fn view(&self) -> Result<Arc<View>, CliError> {
        let mut view = self.view.lock();
        if let Some(view) = &*view {
            return Ok(Arc::clone(view));
        }
        let failed = |source| CliError::View {
            path: self.store.location().to_string(),
            source,
        };
        let made = View::new(self.store.clone(), self.options).map_err(failed)?;
        *view = Some(Arc::clone(&made));
        Ok(made)
    }

    /// Commits what was done through the view. No command may follow.
    pub(super) fn shut_down(&self) {
        self.checks.end();
        if let Some(view) = self.view.lock().take() {
            view.shutdown();
        }
    }

    /// Ends the use of the store.
    ///
    /// # Errors
    /// What kept the store from being written and released.
    pub(super) fn release(self) -> Result<(), CliError> {
        self.shut_down();
        Ok(self.store.release()?)
    }
}
