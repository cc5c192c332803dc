use clap::Args;
use serde_json::json;

use super::error::CliError;
use super::output::Output;
use crate::store::FORMAT;

/// Print the version of the program and of the store format.
#[derive(Debug, Args)]
pub struct Version {}

impl Version {
    #[expect(clippy::unused_self, reason = "as every command")]
    pub(super) fn run(self, out: &mut Output) -> Result<(), CliError> {
        let version = env!("CARGO_PKG_VERSION");
        if out.wants_json() {
            out.json(&json!({"version": version, "format": FORMAT}))
        } else {
            out.line(format!("kfs {version} (store format {FORMAT})"))
        }
    }
}
