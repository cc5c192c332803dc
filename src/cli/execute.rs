//! Answering requests, in the daemon and in a command that holds the store itself: one way for both.

use super::error::CliError;
use super::holder::Holder;
use super::request::{Request, Response, Status};
use super::{
    blob, cp, files, gc, get, info, ls, mv, put, rewrite, rm, send_request, snapshot_request,
    sweep, update, watch,
};
use crate::gc::GcError;
use crate::store::{Store, StoreError};

/// Does what is asked.
///
/// # Errors
/// Why it was not done; nothing has changed then.
pub fn execute(holder: &Holder, request: &Request) -> Result<Response, CliError> {
    let store = holder.store();
    let done = answer(holder, request);
    done.map_err(|error| match error {
        CliError::Store(StoreError::ReadOnly)
        | CliError::Reclaim(GcError::Store(StoreError::ReadOnly)) => CliError::Denied {
            what: store.location().to_string(),
            why: "open for reading only; to change it, unmount it and mount it without -o ro"
                .to_owned(),
        },
        error => error,
    })
}

fn answer(holder: &Holder, request: &Request) -> Result<Response, CliError> {
    let store = holder.store();
    match request {
        Request::Status => Ok(Response::Status(Box::new(status(store)))),
        Request::List { path, after, limit } => ls::list(store, path, after.clone(), *limit),
        Request::Info { path } => Ok(Response::Entry(Box::new(info::describe(store, path)?))),
        Request::Get { path } => get::value(store, path),
        Request::GetKey { key } => get::value_of(store, key),
        Request::PutKey { key, value } => put::put_key(store, key, value),
        Request::Put {
            path,
            value,
            expect,
        } => put::put(store, path, value, expect),
        Request::Part { path, offset, seq } => blob::part(store, path, *offset, *seq),
        Request::Upload { id, data } => holder.uploads().append(store, *id, &data.0),
        Request::PutUpload { path, id, expect } => blob::put(holder, path, *id, expect),
        Request::Increment { path } => update::increment(store, path),
        Request::Copy { from, to, over } => cp::copy(store, from, to, *over),
        Request::Move { from, to, over } => mv::rename(store, from, to, *over),
        Request::Exchange { a, b } => mv::exchange(store, a, b),
        Request::Remove { path, recursive } => rm::remove(store, path, *recursive),
        Request::Check { id, rate } => holder.checks().go_on(store, *id, *rate),
        Request::Watch { .. } | Request::Stats => Err(watch::without_mount(store)),
        Request::Reclaim => gc::reclaim(store),
        Request::Reclaiming => Ok(Response::Reclaiming(gc::standing(store))),
        Request::Sweep {
            before,
            keep,
            after,
            dry_run,
        } => sweep::sweep(store, *before, keep, after.as_ref(), *dry_run),
        Request::Change {
            compress,
            serializer,
        } => rewrite::change(store, *compress, *serializer),
        Request::Rewrite { after } => rewrite::rewrite(store, after.as_ref()),
        Request::Snapshot(request) => snapshot_request::answer(store, request),
        Request::Send {
            id,
            from,
            to,
            resume,
            part,
        } => {
            let what = send_request::What {
                from: from.as_deref(),
                to,
                resume: *resume,
            };
            holder.sends().part(store, *id, &what, *part)
        }
        Request::Files(request) => files::answer(holder, request),
    }
}

/// What this process knows of a store that it holds.
#[must_use]
pub fn status(store: &Store) -> Status {
    Status {
        location: super::place::of(store).to_string(),
        id: store.id(),
        pid: std::process::id(),
        mountpoint: None,
        read_only: store.is_read_only(),
        encrypted: store.encryption().is_some(),
        lies_over: store.overlay().map(|_| store.location().to_string()),
        seq: store.last_seq(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    }
}
