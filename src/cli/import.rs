use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use clap::Args;

use super::access::{Access, Use};
use super::content::{Notation, read};
use super::document::put_all;
use super::error::CliError;
use super::import_tree::import_tree;
use super::output::Output;
use super::place::{Bytes, NamePath, Place};
use super::progress::Progress;
use super::request::{Expect, Request};
use crate::value::cbor;
use crate::view::render::{TypeName, class};

/// Put a document from a file, or a directory with everything in it, into a store.
///
/// A file is one value: EDN or JSON by its name or --as, otherwise text or bytes. A directory becomes
/// a map; modes, owners, times, symbolic links, extended attributes and with them the types of
/// values are those of its files, as `rsync -aX` into a mount would have it. PATH is where the value
/// or the directory's content goes; `/` is the whole store.
#[derive(Debug, Args)]
pub struct Import {
    /// The store, or a path inside a mount that stands for STORE PATH
    store: OsString,
    /// Where to, as written in the mount
    path: OsString,
    /// The file or directory; FILE `-` is standard input
    #[arg(value_name = "FILE|DIR")]
    file: Option<OsString>,
    /// How the file is written
    #[arg(long = "as", value_name = "NOTATION")]
    notation: Option<Notation>,
}

impl Import {
    pub(super) fn run(self, out: &mut Output) -> Result<(), CliError> {
        let (place, source) =
            place_and_file(&self.store, &self.path, self.file.as_deref(), "import")?;
        let from = Path::new(&source);
        let is_directory = source.as_bytes() != b"-"
            && fs::metadata(from)
                .map_err(|e| CliError::io(from.display().to_string(), e))?
                .is_dir();
        let mut progress = Progress::new("imported");
        if is_directory {
            if self.notation.is_some() {
                return Err(CliError::usage(format!(
                    "{}: a directory has no notation; leave out --as",
                    from.display()
                )));
            }
            let mut access = Access::open(&place, Use::Write)?;
            import_tree(&mut access, from, &place.path, &mut progress)?;
            access.close()?;
            return progress.finish(out);
        }
        let what = if source.as_bytes() == b"-" {
            "standard input".to_owned()
        } else {
            from.display().to_string()
        };
        let bytes = read(&source)?;
        let notation = self.notation.unwrap_or_else(|| by_name(from, &bytes));
        let value = notation.read_file(bytes, &what)?;
        let mut access = Access::open(&place, Use::Write)?;
        if place.path.is_root() {
            put_all(&mut access, value, &what, &mut progress)?;
        } else {
            put_one(
                &mut access,
                &place.path,
                cbor::encode(&value),
                &mut progress,
            )?;
        }
        access.close()?;
        progress.finish(out)
    }
}

fn put_one(
    access: &mut Access,
    path: &NamePath,
    value: Vec<u8>,
    progress: &mut Progress,
) -> Result<(), CliError> {
    progress.bytes(value.len());
    access.done(Request::Put {
        path: path.clone(),
        value: Bytes(value),
        expect: Expect::Any,
    })?;
    progress.entry();
    Ok(())
}

/// `STORE PATH FILE`, or a path inside a mount and the file.
pub(super) fn place_and_file(
    store: &OsStr,
    path: &OsStr,
    file: Option<&OsStr>,
    verb: &str,
) -> Result<(Place, OsString), CliError> {
    let Some(file) = file else {
        let (place, file) = (Place::parse(store)?, path);
        if place.path.is_root() {
            return Err(CliError::usage(format!(
                "{}: PATH is missing; write kfs {verb} STORE PATH {}, with / as PATH for the whole store",
                store.display(),
                file.display()
            )));
        }
        return Ok((place, file.to_owned()));
    };
    Ok((Place::with_path(store, Some(path))?, file.to_owned()))
}

/// The notation that a file's name or content suggests.
pub(super) fn by_extension(file: &Path) -> Option<Notation> {
    match file.extension()?.as_bytes() {
        b"edn" => Some(Notation::Edn),
        b"json" => Some(Notation::Json),
        _ => None,
    }
}

fn by_name(file: &Path, bytes: &[u8]) -> Notation {
    by_extension(file).unwrap_or(match class(bytes) {
        TypeName::Text => Notation::Text,
        _ => Notation::Bytes,
    })
}
