use std::fs;
use std::path::PathBuf;

use clap::Args;

use super::error::CliError;

/// Commit a transaction: all that was changed in it, in one write, or nothing.
///
/// `mkdir MOUNT/.kfs/tx/NAME` begins one: a private copy of the mount's root directory. `rmdir` gives
/// it up. Entries that others have changed meanwhile are named, and nothing is written.
#[derive(Debug, Args)]
pub struct Commit {
    /// The transaction: MOUNT/.kfs/tx/NAME
    dir: PathBuf,
}

impl Commit {
    pub(super) fn run(self) -> Result<(), CliError> {
        let shown = self.dir.display().to_string();
        let io = |source| CliError::Io {
            what: shown.clone(),
            source,
        };
        // Also from within, as `.`.
        let dir = fs::canonicalize(&self.dir).map_err(io)?;
        let control = dir.parent().filter(|above| above.ends_with(".kfs/tx"));
        let Some(control) = control.and_then(|above| above.parent()) else {
            return Err(CliError::Usage {
                message: format!("{shown} is no transaction; one is a directory in MOUNT/.kfs/tx"),
            });
        };
        match fs::rename(&dir, control.join("commit")) {
            Ok(()) => Ok(()),
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {
                let why = xattr::get(&dir, "user.kfs.error")
                    .map_err(io)?
                    .unwrap_or_default();
                let why = String::from_utf8_lossy(&why);
                Err(CliError::Refused {
                    what: format!(
                        "{shown}: not committed, for others have changed what it has changed"
                    ),
                    why: format!("\n{}", why.trim_end()),
                })
            }
            Err(error) => Err(io(error)),
        }
    }
}
