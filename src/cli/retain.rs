use std::ffi::OsString;

use clap::Args;

use super::access::Use;
use super::entry::Stamp;
use super::error::CliError;
use super::output::Output;
use super::request::Request;
use super::snapshot::{print, snapshots, whole};
use super::snapshot_request::{SnapshotInfo, SnapshotRequest};
use crate::snapshot::{Retention, Snapshot, automatic};
use crate::tree::Time;

/// Drop the snapshots that need not be kept any longer.
///
/// Of each of the last N hours, days and so on that have snapshots the newest one is kept, and the
/// newest N whenever they were taken. All others are dropped and printed.
#[derive(Debug, Args)]
pub struct Prune {
    /// The store, or its mount
    store: OsString,
    #[command(flatten)]
    keep: Keep,
    /// Only those whose names begin so; others are neither counted nor dropped
    #[arg(long)]
    prefix: Option<String>,
    /// Print what would be dropped, and drop nothing
    #[arg(short = 'n', long)]
    dry_run: bool,
}

/// How many snapshots to keep.
#[derive(Clone, Copy, Debug, Args)]
pub struct Keep {
    /// The newest N
    #[arg(long = "keep-last", value_name = "N", default_value_t = 0)]
    last: u32,
    /// Of the last N hours
    #[arg(long = "keep-hourly", value_name = "N", default_value_t = 0)]
    hourly: u32,
    /// Of the last N days
    #[arg(long = "keep-daily", value_name = "N", default_value_t = 0)]
    daily: u32,
    /// Of the last N weeks
    #[arg(long = "keep-weekly", value_name = "N", default_value_t = 0)]
    weekly: u32,
    /// Of the last N months
    #[arg(long = "keep-monthly", value_name = "N", default_value_t = 0)]
    monthly: u32,
    /// Of the last N years
    #[arg(long = "keep-yearly", value_name = "N", default_value_t = 0)]
    yearly: u32,
}

impl From<Keep> for Retention {
    fn from(keep: Keep) -> Self {
        Self {
            last: keep.last,
            hourly: keep.hourly,
            daily: keep.daily,
            weekly: keep.weekly,
            monthly: keep.monthly,
            yearly: keep.yearly,
        }
    }
}

impl Prune {
    pub(super) fn run(self, out: &mut Output) -> Result<(), CliError> {
        let retention = Retention::from(self.keep);
        if retention.is_empty() {
            return Err(CliError::usage(
                "say what to keep, as --keep-hourly 24 --keep-daily 7; to drop all, name them to \
                 kfs snapshot rm",
            ));
        }
        let purpose = if self.dry_run { Use::Read } else { Use::Write };
        let mut access = whole(&self.store, purpose)?;
        let all = snapshots(&mut access, SnapshotRequest::List)?.into_iter();
        let prefix = self.prefix.as_deref().unwrap_or_default();
        let counted: Vec<SnapshotInfo> = all.filter(|s| s.name.starts_with(prefix)).collect();
        let known: Vec<Snapshot> = counted.iter().map(known).collect();
        let expired = retention.expired(&known);
        let is_expired = |s: &&SnapshotInfo| expired.iter().any(|e| e.epoch == s.epoch);
        let dropped: Vec<SnapshotInfo> = counted.iter().filter(is_expired).cloned().collect();
        for snapshot in dropped.iter().filter(|_| !self.dry_run) {
            let name = snapshot.name.clone();
            access.done(Request::Snapshot(SnapshotRequest::Remove { name }))?;
        }
        access.close()?;
        print(&dropped, out)
    }
}

fn known(snapshot: &SnapshotInfo) -> Snapshot {
    let Stamp(secs, nanos) = snapshot.time;
    // As the daemon counts those that it has taken.
    let time = automatic::time_of(&snapshot.name).unwrap_or(Time { secs, nanos });
    Snapshot {
        name: snapshot.name.clone(),
        time,
        epoch: snapshot.epoch,
    }
}
