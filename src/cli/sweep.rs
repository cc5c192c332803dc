use std::collections::HashSet;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::access::{Access, Use};
use super::entry::Stamp;
use super::error::CliError;
use super::output::{Output, printable};
use super::place::{Bytes, NamePath, Place};
use super::request::{Request, Response};
use super::resolve::resolve;
use crate::fuse::age;
use crate::gc;
use crate::store::Store;
use crate::tree::Time;
use crate::value::{Instant, Key};
use crate::view::names::{NameContext, name_of};

/// Keys looked at for one request.
const BATCH: usize = 4096;

/// Evict the top-level keys that were not written for long.
///
/// A key stays if it was written at that moment or later, if it has the extended attribute
/// `user.kfs.keep`, if it is named here, or if a file in it is open for writing. What went is listed.
#[derive(Debug, Args)]
pub struct Sweep {
    /// The store, or its mount
    store: OsString,
    /// How long ago: 90s, 15m, 36h, 30d or 8w; or a moment: 2026-01-31T12:00:00Z, or as
    /// user.kfs.last-write has it: 1769860800.123456789
    #[arg(long, value_name = "AGE")]
    before: String,
    /// A key that stays, as written in the mount; may be given several times
    #[arg(long, value_name = "NAME")]
    keep: Vec<OsString>,
    /// A file with names of keys that stay, one on each line; - for standard input
    #[arg(long, value_name = "FILE")]
    keep_from: Option<PathBuf>,
    /// Only list what would go
    #[arg(long)]
    dry_run: bool,
}

impl Sweep {
    pub(super) fn run(self, out: &mut Output) -> Result<(), CliError> {
        let place = Place::with_path(&self.store, None)?;
        if !place.path.is_root() {
            return Err(CliError::usage(
                "kfs sweep works on a whole store; name the store or its mount",
            ));
        }
        let mut before = self.before()?;
        let keep = self.keep()?;
        let purpose = if self.dry_run { Use::Read } else { Use::Write };
        let mut access = Access::open(&place, purpose)?;
        let mut after = None;
        let mut count = 0u64;
        loop {
            let request = Request::Sweep {
                before,
                keep: keep.clone(),
                after,
                dry_run: self.dry_run,
            };
            let Response::Swept {
                names,
                next,
                cutoff,
            } = access.call(request)?
            else {
                return Err(Access::unexpected());
            };
            for name in names {
                count += 1;
                if out.wants_json() {
                    out.json(&json!({ "evicted": String::from_utf8_lossy(&name.0) }))?;
                } else {
                    out.line(printable(&name.0))?;
                }
            }
            // All parts are measured by the moment of the first.
            before = Before::Moment(cutoff.0, cutoff.1);
            after = next;
            if after.is_none() {
                break;
            }
        }
        access.close()?;
        if out.wants_json() {
            return out.json(&json!({ "count": count, "dry-run": self.dry_run }));
        }
        Ok(())
    }

    fn before(&self) -> Result<Before, CliError> {
        let moment = Instant::parse(&self.before).map(|m| (m.seconds(), m.nanos()));
        if let Some((secs, nanos)) = moment.or_else(|| last_write(&self.before)) {
            return Ok(Before::Moment(secs, nanos));
        }
        match age(&self.before) {
            Some(age) => Ok(Before::Age(age.as_secs())),
            None => Err(CliError::usage(format!(
                "--before {}: an age such as 90s, 15m, 36h, 30d or 8w, or a moment such as \
                 2026-01-31T12:00:00Z or 1769860800.123456789",
                self.before
            ))),
        }
    }

    fn keep(&self) -> Result<Vec<Bytes>, CliError> {
        let mut names: Vec<Bytes> = self
            .keep
            .iter()
            .map(|name| Bytes(name.as_bytes().to_vec()))
            .collect();
        if let Some(file) = &self.keep_from {
            let text = super::content::read(file.as_os_str())?;
            let lines = text.split(|byte| *byte == b'\n');
            names.extend(lines.filter(|l| !l.is_empty()).map(|l| Bytes(l.to_vec())));
        }
        Ok(names)
    }
}

/// A moment as `user.kfs.last-write` has it: seconds since 1970, a dot and nine digits.
fn last_write(text: &str) -> Option<(i64, u32)> {
    let (secs, nanos) = text.split_once('.')?;
    let are_digits = nanos.len() == 9 && nanos.bytes().all(|c| c.is_ascii_digit());
    are_digits.then_some((secs.parse().ok()?, nanos.parse().ok()?))
}

/// A moment, or a time before now by the store's clock.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub enum Before {
    /// Seconds since 1970, and nanoseconds.
    Moment(i64, u32),
    /// Seconds ago.
    Age(u64),
}

impl Before {
    fn cutoff(self, store: &Store) -> Time {
        match self {
            Self::Moment(secs, nanos) => Time { secs, nanos },
            Self::Age(age) => ago(store, age),
        }
    }
}

/// A moment by the store's clock.
pub fn ago(store: &Store, seconds: u64) -> Time {
    let now = store.now();
    Time {
        secs: now
            .secs
            .saturating_sub(i64::try_from(seconds).unwrap_or(i64::MAX)),
        ..now
    }
}

/// Answers [`Request::Sweep`].
pub fn sweep(
    store: &Store,
    before: Before,
    keep: &[Bytes],
    after: Option<&Bytes>,
    dry_run: bool,
) -> Result<Response, CliError> {
    let cutoff = before.cutoff(store);
    let mut kept = HashSet::new();
    for name in keep {
        kept.extend(key_of(store, name)?);
    }
    let sweep = gc::Sweep {
        cutoff,
        keep: kept,
        dry_run,
    };
    let after = after.map(super::get::key_of).transpose()?;
    let swept = gc::sweep_part(store, &sweep, after.as_ref(), BATCH)?;
    let name = |key: &Key| Bytes(name_of(key, NameContext::Root));
    Ok(Response::Swept {
        names: swept.keys.iter().map(name).collect(),
        next: swept.next.map(|key| Bytes(key.bytes().to_vec())),
        cutoff: Stamp(cutoff.secs, cutoff.nanos),
    })
}

/// The key of a name; `None` if that of a long key is not there.
fn key_of(store: &Store, name: &Bytes) -> Result<Option<Key>, CliError> {
    let path = NamePath(vec![name.clone()]);
    match resolve(store, &path) {
        Ok(keys) => Ok(keys.first().cloned()),
        Err(CliError::NotFound { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_read_as_the_attribute_shows_it() {
        assert_eq!(last_write("1769860800.000000007"), Some((1_769_860_800, 7)));
        assert_eq!(last_write("-1.999999999"), Some((-1, 999_999_999)));
        for bad in [
            "",
            "1",
            "1.",
            "1.5",
            "1.0000000000",
            ".000000000",
            "1.00000000+",
            "2026-01-31",
        ] {
            assert_eq!(last_write(bad), None, "{bad}");
        }
    }
}
