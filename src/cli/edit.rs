use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, BufRead, IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::Args;
use nix::sys::statfs::{TMPFS_MAGIC, statfs};

use super::access::{Access, Use};
use super::content::Notation;
use super::error::CliError;
use super::exit::Exit;
use super::get::fetch;
use super::output::Output;
use super::place::{Bytes, Place};
use super::request::{Expect, Request};
use crate::value::{Value, cbor};

/// Edit a value in an editor.
///
/// The editor is $VISUAL, else $EDITOR, else vi. What is saved replaces the value if it can be read;
/// if it cannot, you may edit it again. Nothing is lost: text that did not make it into the store
/// stays in its file.
#[derive(Debug, Args)]
pub struct Edit {
    /// The store, or a path inside a mount
    store: OsString,
    /// The value, as written in the mount; a new one if nothing is there
    path: Option<OsString>,
    /// How the value is written in the editor
    #[arg(long = "as", value_name = "NOTATION", default_value = "edn")]
    notation: Notation,
}

impl Edit {
    pub(super) fn run(self, _out: &mut Output) -> Result<(), CliError> {
        let place = Place::below_root(&self.store, self.path.as_deref(), "kfs edit STORE PATH")?;
        let (old, encrypted) = self.present(&place)?;
        let text = match &old {
            Some(value) => self.notation.show(value, true, &place.path.to_string())?,
            None => Vec::new(),
        };
        let name = place.path.last().unwrap_or_default();
        let draft = match encrypted {
            true => Draft::in_memory(&text, self.notation)?,
            false => Draft::new(&text, name, self.notation)?,
        };
        let Some(new) = self.edited(&draft, &text)? else {
            draft.discard();
            say("nothing was changed");
            return Ok(());
        };
        match put(&place, old.as_ref(), &new) {
            Ok(()) => {
                draft.discard();
                Ok(())
            }
            Err(error) => Err(draft.keep(&error)),
        }
    }

    /// The value, if there is one, and whether the store is encrypted.
    fn present(&self, place: &Place) -> Result<(Option<Value>, bool), CliError> {
        let mut access = Access::open(place, Use::Read)?;
        let value = match fetch(&mut access, &place.path) {
            Ok(value) => Some(value),
            Err(error) if error.exit() == Exit::NotFound => None,
            Err(error) => return Err(error),
        };
        // The editor may take its time; nobody waits for it.
        let encrypted = access.is_encrypted();
        access.close()?;
        Ok((value, encrypted))
    }

    /// The value that comes out of the editor; `None` if it was left as it was.
    fn edited(&self, draft: &Draft, before: &[u8]) -> Result<Option<Value>, CliError> {
        loop {
            draft.open_editor()?;
            let text = draft.text()?;
            if text == before {
                return Ok(None);
            }
            match self
                .notation
                .read_file(text, &draft.file.display().to_string())
            {
                Ok(value) => return Ok(Some(value)),
                Err(error) if again(&error) => {}
                Err(error) => return Err(draft.keep(&error)),
            }
        }
    }
}

fn put(place: &Place, old: Option<&Value>, new: &Value) -> Result<(), CliError> {
    let expect = old.map_or(Expect::Absent, |old| {
        Expect::Value(Bytes(cbor::encode(old)))
    });
    let mut access = Access::open(place, Use::Write)?;
    access.done(Request::Put {
        path: place.path.clone(),
        value: Bytes(cbor::encode(new)),
        expect,
    })?;
    access.close()
}

/// Tells what is wrong and asks whether to go back to the editor.
fn again(error: &CliError) -> bool {
    if !io::stdin().is_terminal() {
        return false;
    }
    say(&error.to_string());
    let mut screen = io::stderr();
    let asked = write!(screen, "Edit again? [Y/n] ").and_then(|()| screen.flush());
    let mut answer = String::new();
    let read = asked.and_then(|()| io::stdin().lock().read_line(&mut answer));
    read.is_ok_and(|length| length > 0) && !answer.trim().to_lowercase().starts_with('n')
}

fn say(text: &str) {
    // Where it cannot be told, there is nobody to tell.
    let _closed = writeln!(io::stderr(), "kfs: {text}");
}

/// The text while it is edited: a file in a directory of its own, which only its user can read.
struct Draft {
    directory: PathBuf,
    file: PathBuf,
}

impl Draft {
    fn new(text: &[u8], name: &[u8], notation: Notation) -> Result<Self, CliError> {
        // A name that an editor and a shell can live with.
        let plain: String = String::from_utf8_lossy(name)
            .chars()
            .filter(|c| c.is_alphanumeric() || matches!(c, '-' | '_' | '.'))
            .take(40)
            .collect();
        let stem = if plain.trim_matches('.').is_empty() {
            "value"
        } else {
            plain.trim_matches('.')
        };
        Self::make(&std::env::temp_dir(), stem, (text, notation))
    }

    /// One that comes on no disk, and whose name, which is an argument of the editor, says nothing. What
    /// an editor writes elsewhere is its own business.
    fn in_memory(text: &[u8], notation: Notation) -> Result<Self, CliError> {
        let own = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
        let mut places = own.into_iter().chain([PathBuf::from("/dev/shm")]);
        let in_memory =
            |dir: &PathBuf| statfs(dir).is_ok_and(|found| found.filesystem_type() == TMPFS_MAGIC);
        let Some(dir) = places.find(in_memory) else {
            return Err(CliError::Unsupported {
                what: "a directory for the editor".to_owned(),
                why: "the store is encrypted, and there is no directory in memory: neither \
                      $XDG_RUNTIME_DIR nor /dev/shm is a tmpfs"
                    .to_owned(),
            });
        };
        Self::make(&dir, "value", (text, notation))
    }

    fn make(
        parent: &Path,
        stem: &str,
        (text, notation): (&[u8], Notation),
    ) -> Result<Self, CliError> {
        let failed = |source| CliError::io("a directory for the editor", source);
        let directory = nix::unistd::mkdtemp(&parent.join("kfs-edit-XXXXXX"))
            .map_err(|errno| failed(io::Error::from(errno)))?;
        let file = directory.join(format!("{stem}.{}", notation.extension()));
        let mut options = fs::OpenOptions::new();
        let written = options
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&file)
            .and_then(|mut f| f.write_all(text));
        written.map_err(|source| CliError::io(file.display().to_string(), source))?;
        Ok(Self { directory, file })
    }

    fn open_editor(&self) -> Result<(), CliError> {
        let editor = editor();
        let shown = editor.display().to_string();
        // The variables may hold arguments too, as in `emacs -nw`.
        let mut script = editor;
        script.push(" \"$1\"");
        let status = Command::new("/bin/sh")
            .arg("-c")
            .arg(script)
            .arg("sh")
            .arg(&self.file)
            .status();
        let status = status
            .map_err(|source| CliError::io(format!("starting the editor {shown}"), source))?;
        if status.success() {
            return Ok(());
        }
        let error = CliError::failed(
            format!("the editor {shown}"),
            format!("ended with {status}; the value is unchanged"),
        );
        Err(self.keep(&error))
    }

    fn text(&self) -> Result<Vec<u8>, CliError> {
        fs::read(&self.file).map_err(|source| CliError::io(self.file.display().to_string(), source))
    }

    fn discard(&self) {
        remove(&self.directory);
    }

    /// The error, with where the text is.
    fn keep(&self, error: &CliError) -> CliError {
        CliError::Passed {
            exit: error.exit(),
            message: format!(
                "{error}\nkfs: the edited text is kept in {}",
                self.file.display()
            ),
        }
    }
}

fn remove(directory: &Path) {
    if let Err(error) = fs::remove_dir_all(directory) {
        tracing::warn!(directory = %directory.display(), %error, "the editor's directory stays behind");
    }
}

fn editor() -> OsString {
    let set = |name| std::env::var_os(name).filter(|editor| !editor.is_empty());
    set("VISUAL")
        .or_else(|| set("EDITOR"))
        .unwrap_or_else(|| OsStr::new("vi").to_owned())
}
