use clap::Args;

use super::access::{Access, Use};
use super::cp::{Targets, check_target};
use super::error::CliError;
use super::ls::nothing;
use super::output::Output;
use super::place::NamePath;
use super::request::{Over, Request, Response};
use super::resolve::resolve;
use crate::store::Store;
use crate::tree::Op;

/// Move an entry, in one step.
///
/// TO is the new path itself; with a slash at its end it is the map or vector to move into. A file
/// or an empty map or vector at TO is replaced.
#[derive(Debug, Args)]
pub struct Mv {
    #[command(flatten)]
    targets: Targets,
    /// Exchange the two entries
    #[arg(long, conflicts_with_all = ["no_replace", "replace"])]
    exchange: bool,
}

impl Mv {
    pub(super) fn run(self, _out: &mut Output) -> Result<(), CliError> {
        let (place, from, to) = self.targets.paths("mv")?;
        let request = if self.exchange {
            Request::Exchange { a: from, b: to }
        } else {
            Request::Move {
                from,
                to,
                over: self.targets.over(),
            }
        };
        let mut access = Access::open(&place, Use::Write)?;
        access.done(request)?;
        access.close()
    }
}

/// Answers [`Request::Move`].
pub fn rename(
    store: &Store,
    from: &NamePath,
    to: &NamePath,
    over: Over,
) -> Result<Response, CliError> {
    let (source, target) = (resolve(store, from)?, resolve(store, to)?);
    if source == target {
        // As rename(2): nothing to do, but it must be there.
        let there = store.transact(|tx| Ok(tx.find(&source)?.is_some()))?;
        return if there {
            Ok(Response::Done)
        } else {
            Err(nothing(from))
        };
    }
    if target.starts_with(&source) || source.starts_with(&target) {
        return Err(CliError::refused(
            from.to_string(),
            format!("cannot be moved to {to}, into itself or over what it is in"),
        ));
    }
    store.transact(|tx| {
        if tx.find(&source)?.is_none() {
            return Err(nothing(from).in_transaction());
        }
        check_target(tx, &target, to, over)?;
        let attrs = tx.moved_attrs(&source)?;
        let (now, index) = (tx.now, tx.taken());
        tx.push(Op::Take {
            path: source.clone(),
            time: Some(now),
        })?;
        tx.push(Op::Place {
            path: target.clone(),
            index,
            attrs,
            time: Some(now),
        })
    })?;
    Ok(Response::Done)
}

/// Answers [`Request::Exchange`].
pub fn exchange(store: &Store, a: &NamePath, b: &NamePath) -> Result<Response, CliError> {
    let (first, second) = (resolve(store, a)?, resolve(store, b)?);
    store.swap(&first, &second)?;
    Ok(Response::Done)
}
