use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use clap::Args;

use super::access::{Access, Use};
use super::content::Notation;
use super::document::write_all;
use super::error::CliError;
use super::export_tree::export_tree;
use super::get::write;
use super::import::{by_extension, place_and_file};
use super::output::Output;
use super::place::Place;
use super::progress::Progress;

/// Write a value to a file, or a map or vector to a directory with everything in it.
///
/// With --as, or if the name ends in .edn or .json, it is one file with the whole value. Otherwise it
/// is what the mount shows: for a map or vector a directory, with modes, owners, times, symbolic links,
/// extended attributes and with them the types of values, as `rsync -aX` out of a mount would have it.
/// `/` as PATH is the whole store.
#[derive(Debug, Args)]
pub struct Export {
    /// The store, or a path inside a mount that stands for STORE PATH
    store: OsString,
    /// What, as written in the mount
    path: OsString,
    /// The file or directory to write; FILE `-` is standard output
    #[arg(value_name = "FILE|DIR")]
    file: Option<OsString>,
    /// How to write it, as one file
    #[arg(long = "as", value_name = "NOTATION")]
    notation: Option<Notation>,
    /// Over several lines, indented
    #[arg(short, long)]
    pretty: bool,
}

impl Export {
    pub(super) fn run(self, out: &mut Output) -> Result<(), CliError> {
        let (place, target) =
            place_and_file(&self.store, &self.path, self.file.as_deref(), "export")?;
        let to = Path::new(&target);
        let is_output = target.as_bytes() == b"-";
        let mut progress = Progress::new("exported");
        let notation = self
            .notation
            .or_else(|| by_extension(to))
            .or(is_output.then_some(Notation::Edn));
        let mut access = Access::open(&place, Use::Read)?;
        match notation {
            None => export_tree(&mut access, &place.path, to, &mut progress)?,
            Some(notation) if is_output => {
                let mut text = io::stdout().lock();
                self.document(&mut access, &place, notation, &mut text, &mut progress)?;
                text.flush()
                    .map_err(|e| CliError::io("standard output", e))?;
                return access.close();
            }
            Some(notation) => {
                let mut file = Replacement::begin(to)?;
                self.document(&mut access, &place, notation, &mut file.file, &mut progress)?;
                file.finish()?;
            }
        }
        access.close()?;
        progress.finish(out)
    }

    fn document(
        &self,
        access: &mut Access,
        place: &Place,
        notation: Notation,
        to: &mut dyn Write,
        progress: &mut Progress,
    ) -> Result<(), CliError> {
        if place.path.is_root() {
            return write_all(access, notation, to, progress);
        }
        write(access, &place.path, notation, self.pretty, &mut |text| {
            progress.bytes(text.len());
            to.write_all(text).map_err(|source| match source.kind() {
                io::ErrorKind::BrokenPipe => CliError::OutputClosed,
                _ => CliError::io("writing the value", source),
            })
        })?;
        progress.entry();
        Ok(())
    }
}

/// A file that takes the place of another when it is whole.
struct Replacement {
    file: BufWriter<File>,
    new: PathBuf,
    path: PathBuf,
}

impl Replacement {
    fn begin(path: &Path) -> Result<Self, CliError> {
        let mut new = path.as_os_str().to_owned();
        new.push(format!(".{}.new", std::process::id()));
        let file =
            File::create_new(&new).map_err(|e| CliError::io(path.display().to_string(), e))?;
        Ok(Self {
            file: BufWriter::new(file),
            new: new.into(),
            path: path.to_owned(),
        })
    }

    fn finish(mut self) -> Result<(), CliError> {
        let written = self
            .file
            .flush()
            .and_then(|()| self.file.get_ref().sync_all());
        let done = written
            .and_then(|()| fs::rename(&self.new, &self.path))
            .and_then(|()| {
                let parent = self
                    .path
                    .parent()
                    .filter(|parent| !parent.as_os_str().is_empty());
                File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
            });
        done.map_err(|e| CliError::io(self.path.display().to_string(), e))
    }
}

impl Drop for Replacement {
    fn drop(&mut self) {
        // Gone already if it took its place.
        let _missing = fs::remove_file(&self.new);
    }
}
