use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use clap::Args;

use super::access::{Access, Use};
use super::blob::put_bytes;
use super::content::{Notation, file_name, open};
use super::document::put_all;
use super::error::CliError;
use super::import_tree::import_tree;
use super::output::Output;
use super::place::{Bytes, Place};
use super::progress::Progress;
use super::request::{Expect, Request};
use crate::value::cbor;
use crate::view::render::{TEXT_MAX, TypeName, class};

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
        self.import_file(&place, &source, &mut progress)?;
        progress.finish(out)
    }

    fn import_file(
        &self,
        place: &Place,
        source: &OsStr,
        progress: &mut Progress,
    ) -> Result<(), CliError> {
        let what = file_name(source);
        let mut rest = open(source)?;
        let named = self.notation.or_else(|| by_extension(Path::new(source)));
        // What has no notation is text or bytes, which its beginning tells.
        let mut bytes = Vec::new();
        let begun = (&mut rest)
            .take(TEXT_MAX as u64 + 1)
            .read_to_end(&mut bytes);
        begun.map_err(|e| CliError::io(&*what, e))?;
        let notation = named.unwrap_or(match class(&bytes) {
            TypeName::Text => Notation::Text,
            _ => Notation::Bytes,
        });
        if notation == Notation::Bytes && !place.path.is_root() {
            let mut access = Access::open(place, Use::Write)?;
            let whole = io::Cursor::new(bytes).chain(rest);
            put_bytes(
                &mut access,
                &place.path,
                whole,
                &what,
                Expect::Any,
                &mut |count| progress.bytes(count),
            )?;
            progress.entry();
            return access.close();
        }
        rest.read_to_end(&mut bytes)
            .map_err(|e| CliError::io(&*what, e))?;
        let value = notation.read_file(bytes, &what)?;
        let mut access = Access::open(place, Use::Write)?;
        if place.path.is_root() {
            put_all(&mut access, value, &what, progress)?;
        } else {
            let value = cbor::encode(&value);
            progress.bytes(value.len());
            access.done(Request::Put {
                path: place.path.clone(),
                value: Bytes(value),
                expect: Expect::Any,
            })?;
            progress.entry();
        }
        access.close()
    }
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

/// The notation that a file's name says.
pub(super) fn by_extension(file: &Path) -> Option<Notation> {
    match file.extension()?.as_bytes() {
        b"edn" => Some(Notation::Edn),
        b"json" => Some(Notation::Json),
        _ => None,
    }
}
