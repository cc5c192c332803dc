//! Where the key to an encrypted store comes from: what the command line names; else the credential
//! `kfs.key` of the service; else whoever sits at the terminal. Nobody is asked unless the store is
//! encrypted, and this process is the one that opens it.
//!
//! The key itself is never an argument and never in an environment. A mount's process in the background
//! gets it over a pipe, which is its standard input:
//!
//! ```text
//! source u8: 1 passphrase, 2 key file | the secret, to the end
//! ```
//!
//! From the moment that a process has a key it leaves no core when it dies, and no other process of the
//! same user may look into its memory.

use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use clap::Args;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};
use parking_lot::Mutex;
use zeroize::Zeroizing;

use super::error::CliError;
use crate::crypt::{CryptError, Secret, Source};
use crate::store::{Encryption, Location, StoreError};

/// The name of the credential of a service.
const CREDENTIAL: &str = "kfs.key";
/// The longest secret that is read.
const LONGEST: u64 = 1 << 20;
/// How often a wrong passphrase may be typed.
const ATTEMPTS: usize = 3;

/// Where the key to an encrypted store comes from. Without any of these a passphrase is asked for on the
/// terminal.
#[derive(Clone, Debug, Default, Args)]
pub struct KeyOptions {
    /// The key file of an encrypted store
    #[arg(long, global = true, value_name = "FILE")]
    pub key_file: Option<PathBuf>,
    /// A command that prints the passphrase of an encrypted store on its first line
    #[arg(
        long,
        global = true,
        value_name = "COMMAND",
        conflicts_with = "key_file"
    )]
    pub passcommand: Option<String>,
}

/// What the command line says.
static GIVEN: Mutex<KeyOptions> = Mutex::new(KeyOptions {
    key_file: None,
    passcommand: None,
});
/// The key, once it is known.
static KNOWN: Mutex<Option<Secret>> = Mutex::new(None);

/// Notes what the command line says.
pub(super) fn given(options: KeyOptions) {
    *GIVEN.lock() = options;
}

/// Whether the command line names a key.
pub(super) fn is_given() -> bool {
    let given = GIVEN.lock();
    given.key_file.is_some() || given.passcommand.is_some()
}

/// Notes what the options of a mount say.
pub(super) fn given_key_file(file: &Path) {
    GIVEN.lock().key_file = Some(file.to_owned());
}

/// Does what needs a store, which has to be opened with a key if it is encrypted.
///
/// # Errors
/// Those of `open`; why there is no key.
pub(super) fn with_key<T>(
    location: &Location,
    mut open: impl FnMut(Option<&Secret>) -> Result<T, StoreError>,
) -> Result<T, CliError> {
    if let Some(secret) = explicit()? {
        return Ok(open(Some(&secret))?);
    }
    let needed = match open(None) {
        Err(error @ StoreError::KeyNeeded { .. }) => error,
        done => return Ok(done?),
    };
    for secret in credentials()? {
        match open(Some(&secret)) {
            Err(error) if is_wrong(&error) => {}
            done => {
                *KNOWN.lock() = Some(secret);
                return Ok(done?);
            }
        }
    }
    for attempt in 1.. {
        let Some(secret) = ask(location)? else {
            break;
        };
        match open(Some(&secret)) {
            Err(error) if is_wrong(&error) && attempt < ATTEMPTS => {
                super::complain("this passphrase does not open it");
            }
            done => {
                *KNOWN.lock() = Some(secret);
                return Ok(done?);
            }
        }
    }
    Err(needed.into())
}

/// How a store that is made is encrypted: with what the command line names, else with a passphrase that
/// is asked for.
pub(super) fn new_key(options: &KeyOptions, what: &str) -> Result<Secret, CliError> {
    if let Some(secret) = of_options(options)? {
        return Ok(secret);
    }
    let Some(secret) = ask_for(&format!("New passphrase of {what}: "))? else {
        return Err(CliError::refused(
            what.to_owned(),
            "there is no terminal to ask for a passphrase; give --key-file FILE or --passcommand COMMAND",
        ));
    };
    let again = ask_for("The same again: ")?;
    if again.is_none_or(|again| again.bytes() != secret.bytes()) {
        return Err(CliError::refused(
            what.to_owned(),
            "these were two different passphrases",
        ));
    }
    Ok(secret)
}

/// How a store that is made is encrypted.
pub(super) fn encryption(location: &Location) -> Result<Encryption, CliError> {
    let options = GIVEN.lock().clone();
    let secret = new_key(&options, &location.to_string())?;
    *KNOWN.lock() = Some(secret.clone());
    Ok(Encryption::with(secret))
}

/// The key that is known without asking: named on the command line, passed on, or used before.
pub(super) fn explicit() -> Result<Option<Secret>, CliError> {
    let mut known = KNOWN.lock();
    if known.is_none() {
        *known = of_options(&GIVEN.lock().clone())?;
    }
    Ok(known.clone())
}

fn of_options(options: &KeyOptions) -> Result<Option<Secret>, CliError> {
    match (&options.key_file, &options.passcommand) {
        (Some(file), _) => key_file(file).map(Some),
        (None, Some(command)) => passcommand(command).map(Some),
        (None, None) => Ok(None),
    }
}

/// What a credential may be: a key file, or a passphrase.
fn credentials() -> Result<Vec<Secret>, CliError> {
    let Some(dir) = std::env::var_os("CREDENTIALS_DIRECTORY") else {
        return Ok(Vec::new());
    };
    let path = Path::new(&dir).join(CREDENTIAL);
    let bytes = match File::open(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        file => read(&mut file.map_err(|e| failed(&path, e))?).map_err(|e| failed(&path, e))?,
    };
    let mut found = Vec::new();
    found.extend(Secret::key_file(bytes.to_vec()).ok());
    found.extend(Secret::passphrase(first_line(&bytes)).ok());
    Ok(found)
}

/// Reads a key file, which nobody but its owner may have access to.
fn key_file(path: &Path) -> Result<Secret, CliError> {
    let shown = path.display().to_string();
    let mut file = File::open(path).map_err(|e| failed(path, e))?;
    let about = file.metadata().map_err(|e| failed(path, e))?;
    if about.is_file() && about.mode() & 0o077 != 0 {
        let why = format!("others have access to this key file: chmod go= {shown}");
        return Err(CliError::refused(shown, why));
    }
    let bytes = read(&mut file).map_err(|e| failed(path, e))?;
    Secret::key_file(bytes.to_vec()).map_err(|e| CliError::refused(shown, e.to_string()))
}

fn passcommand(command: &str) -> Result<Secret, CliError> {
    let what = "--passcommand";
    let failed = |e| CliError::io(what, e);
    harden();
    let mut child = Command::new("/bin/sh")
        .args([OsStr::new("-c"), OsStr::new(command)])
        .stdout(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    let output = child.stdout.take();
    let bytes = output.map_or_else(|| Ok(Zeroizing::default()), |mut out| read(&mut out));
    let status = child.wait().map_err(failed)?;
    if !status.success() {
        let why = format!("the command failed ({status})");
        return Err(CliError::failed(what, why));
    }
    let line = first_line(&bytes.map_err(failed)?);
    Secret::passphrase(line).map_err(|e| CliError::refused(what, e.to_string()))
}

fn failed(path: &Path, error: io::Error) -> CliError {
    CliError::io(format!("key file {}", path.display()), error)
}

/// The bytes before the first line's end.
fn first_line(bytes: &[u8]) -> Vec<u8> {
    let line = bytes.split(|byte| *byte == b'\n').next();
    line.unwrap_or_default().to_vec()
}

/// Reads a secret to its end, or to one byte more than it may have.
fn read(source: &mut dyn Read) -> io::Result<Zeroizing<Vec<u8>>> {
    harden();
    // All of it at once: what a vector grows out of is not overwritten.
    let mut bytes = Zeroizing::new(Vec::with_capacity(1 << 12));
    source.take(LONGEST + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn is_wrong(error: &StoreError) -> bool {
    matches!(
        error,
        StoreError::Key {
            source: CryptError::WrongKey,
            ..
        }
    )
}

/// Asks for the passphrase of a store; `None` if there is no terminal.
pub(super) fn ask(location: &Location) -> Result<Option<Secret>, CliError> {
    ask_for(&format!("Passphrase of {location}: "))
}

/// Asks for a passphrase, which is not shown while it is typed; `None` if there is no terminal.
fn ask_for(prompt: &str) -> Result<Option<Secret>, CliError> {
    let Ok(terminal) = OpenOptions::new().read(true).write(true).open("/dev/tty") else {
        return Ok(None);
    };
    harden();
    let failed = |e| CliError::io("asking for a passphrase", e);
    let line = {
        let _quiet = Quiet::make(&terminal).map_err(failed)?;
        (&terminal).write_all(prompt.as_bytes()).map_err(failed)?;
        let line = read_line(&terminal);
        (&terminal).write_all(b"\n").map_err(failed)?;
        line.map_err(failed)?
    };
    let secret = Secret::passphrase(line.to_vec());
    let refused = |e: CryptError| CliError::refused("the passphrase", e.to_string());
    secret.map(Some).map_err(refused)
}

fn read_line(mut terminal: &File) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut line = Zeroizing::new(Vec::with_capacity(1 << 12));
    let mut byte = Zeroizing::new([0]);
    while terminal.read(&mut *byte)? > 0 {
        match *byte {
            [b'\n'] => break,
            [CTRL_C] => return Err(io::ErrorKind::Interrupted.into()),
            [byte] if line.len() < 4096 => line.push(byte),
            _ => return Err(io::Error::other("the line is too long")),
        }
    }
    Ok(line)
}

const CTRL_C: u8 = 3;

/// A terminal that shows nothing of what is typed, and from which no signal comes meanwhile, which
/// would leave it so.
struct Quiet<'t> {
    terminal: &'t File,
    before: Termios,
}

impl<'t> Quiet<'t> {
    fn make(terminal: &'t File) -> io::Result<Self> {
        let before = tcgetattr(terminal)?;
        let mut quiet = before.clone();
        quiet
            .local_flags
            .remove(LocalFlags::ECHO | LocalFlags::ISIG);
        tcsetattr(terminal, SetArg::TCSAFLUSH, &quiet)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for Quiet<'_> {
    fn drop(&mut self) {
        if let Err(error) = tcsetattr(self.terminal, SetArg::TCSAFLUSH, &self.before) {
            tracing::warn!(%error, "the terminal may show nothing of what is typed; type reset");
        }
    }
}

/// Leaves no core, and lets no other process look in.
fn harden() {
    if let Err(error) = setrlimit(Resource::RLIMIT_CORE, 0, 0) {
        tracing::warn!(%error, "a crash may leave a core with keys in it");
    }
    if let Err(error) = nix::sys::prctl::set_dumpable(false) {
        tracing::warn!(%error, "processes of the same user can look for keys in this one");
    }
}

/// Hands a key to a process in the background, over its standard input.
pub(super) fn hand_over(secret: &Secret, to: &mut dyn Write) -> io::Result<()> {
    let source = match secret.source() {
        Source::Passphrase => 1,
        Source::KeyFile => 2,
    };
    to.write_all(&[source])?;
    to.write_all(secret.bytes())
}

/// Takes the key that the starter of this process hands over.
pub(super) fn take_over() -> Result<(), CliError> {
    let what = "the key from the process that started this one";
    let bytes = read(&mut io::stdin().lock()).map_err(|e| CliError::io(what, e))?;
    let secret = match bytes.split_first() {
        Some((1, secret)) => Secret::passphrase(secret.to_vec()),
        Some((2, secret)) => Secret::key_file(secret.to_vec()),
        _ => return Err(CliError::failed(what, "it did not come")),
    };
    let secret = secret.map_err(|e| CliError::failed(what, e.to_string()))?;
    *KNOWN.lock() = Some(secret);
    Ok(())
}
