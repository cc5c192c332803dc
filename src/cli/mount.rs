use std::ffi::OsString;

use std::path::PathBuf;

use clap::Args;

use super::background::{self, ReadyError, StartError, Starter};
use super::daemon::Daemon;
use super::error::CliError;
use super::exit::Exit;
use super::output::Output;
use super::place::location;
use super::places;
use super::signals::StopSignals;
use super::{dying, log, notify, unlock};
use crate::crypt::Secret;
use crate::fuse::MountOptions;
use crate::store::StoreError;

/// What `-o` takes, with the defaults in front of what changes them.
const OPTIONS: &str = "\
Options of -o, separated by commas; of two that contradict each other the later one counts:
  rw, ro                the mount can be written, or not
  allow_other           everybody may use the mount; allow_root: its user and root (default: its user)
  default_permissions   the kernel checks modes and owners; no_default_permissions: nobody does
  uid=N gid=N           owner of entries that have none (default: who mounts)
  umask=OCTAL           permissions withheld from entries that have none (022); fmask=, dmask= for
                        files and directories alone
  strict                content that does not parse as its declared type is refused (default: text for
                        the time being)
  infer                 new files get the type that their content prints as (default: text or bytes)
  nosuid, suid  nodev, dev  exec, noexec  noatime   as mount(8)
  fsname=NAME           what is shown as mounted (default: the store); subtype=NAME: the type fuse.NAME
  nonempty              the directory may have entries, which the mount hides
  threads=N             threads that listen to the kernel (4)
  timeout=SECONDS       an operation that takes longer fails with an I/O error (20)
  cache=BYTES           memory for decoded pages and documents, with K, M or G (32M)
  front=DIR             keep copies of what the store has in this directory, on a faster disk, and read
                        from there; only what is in the store counts, so it may fail or be removed
  key-file=FILE         the key file of an encrypted store, as --key-file
  around                with front=: writes go to the store alone, and to the front when they are read
  behind                with front=: a write is done when it is in a queue there, which is brought to the
                        store a little later; until then it is nowhere else, and an fsync says no more
  overlay               with front=: what is written stays there, and nothing of the store is written to;
                        mounted without it, the store is as it was
  front-size=BYTES      how large the copies may be together (default: no bound); what was not read for long goes
  populate              with front=: copy everything there, in the background; else what is read and written
  without-front         with ro: the store without what waits in such a queue, which is older
  sweep=AGE             evict keys that were not written for so long (30d, 36h), as kfs sweep does
  snapshot=AGE          take a snapshot so often (1h, 15m), if something has changed, and name it as
                        auto-2026-01-31T04:00:00Z
  keep-last=N keep-hourly=N keep-daily=N keep-weekly=N keep-monthly=N keep-yearly=N
                        which of those stay, as kfs snapshot prune says (default: all of them); others
                        are never dropped
  writeback             the kernel collects writes: random small ones get faster, new files slower
Those of /etc/fstab that are for others are accepted: auto noauto user _netdev nofail x-… and so on.";

/// Mount a store on a directory.
///
/// Returns when it is mounted; a process in the background serves it until `kfs umount`. `mem:` as
/// the store is a new one in memory, gone with the mount.
#[derive(Debug, Args)]
#[command(after_help = OPTIONS)]
pub struct Mount {
    /// The store
    store: OsString,
    /// The directory, which should be empty
    dir: PathBuf,
    /// Options of the mount, separated by commas: see below
    #[arg(short, long, value_name = "OPTIONS")]
    options: Vec<String>,
    /// Stay in the foreground until it is unmounted
    #[arg(short, long)]
    foreground: bool,
    /// Log to this file (in the foreground: to standard error if not given)
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    /// The key comes on standard input
    #[arg(long = "key-on-standard-input", hide = true, requires = "background")]
    takes_key: bool,
    /// This process is the one in the background
    #[arg(
        long = "as-background-process",
        hide = true,
        conflicts_with = "foreground"
    )]
    pub(super) background: bool,
}

impl Mount {
    /// `arguments` are those that this was read from, the program's name first.
    pub(super) fn run(
        self,
        mut arguments: Vec<OsString>,
        out: &mut Output,
    ) -> Result<(), CliError> {
        dying::end_all();
        let daemon = self.daemon()?;
        if self.foreground {
            return self.serve_in_foreground(daemon);
        }
        // Everything that a background process needs is on the command line.
        let after_verb = arguments
            .iter()
            .position(|a| a == "mount")
            .map_or(1, |at| at + 1);
        arguments.insert(after_verb, background::ARGUMENT.into());
        let arguments = arguments.split_off(1);
        match start(arguments.clone(), unlock::explicit()?.as_ref()) {
            Err(CliError::Store(needed @ StoreError::KeyNeeded { .. })) => {
                let key = unlock::ask(&daemon.location)?.ok_or(needed)?;
                start(arguments, Some(&key))?;
            }
            started => started?,
        }
        if out.wants_json() {
            let entry = super::umount::entry_at(&daemon.point)?;
            return super::status::show(super::remote::Remote::of_mount(&entry)?.status(), out);
        }
        Ok(())
    }

    fn daemon(&self) -> Result<Daemon, CliError> {
        let options = MountOptions::parse(&self.options.join(","))?;
        if let Some(file) = &options.key_file {
            unlock::given_key_file(file);
        }
        Ok(Daemon {
            location: location(&self.store)?,
            point: self.dir.clone(),
            options,
        })
    }

    fn serve_in_foreground(self, daemon: Daemon) -> Result<(), CliError> {
        let signals = StopSignals::block().map_err(|e| CliError::io("blocking signals", e))?;
        if let Some(file) = &self.log {
            log::into_file(file).map_err(|e| CliError::failed("--log", e.to_string()))?;
        }
        log::start(if self.log.is_some() {
            log::Output::File
        } else {
            log::Output::AsItIs
        });
        daemon.run(signals, |_| {
            notify::ready();
            Ok(())
        })
    }

    /// The life of the process in the background. `starter` waits for a word.
    pub(super) fn serve_in_background(self, starter: Starter) -> Exit {
        log::start(log::Output::File);
        let mut starter = Some(starter);
        let taken = match self.takes_key {
            true => unlock::take_over(),
            false => Ok(()),
        };
        let served = taken.and_then(|()| self.daemon()).and_then(|daemon| {
            let signals = StopSignals::block().map_err(|e| CliError::io("blocking signals", e))?;
            daemon.run(signals, |id| {
                let log = match self.log.clone() {
                    Some(log) => super::place::absolute(&log),
                    None => {
                        places::log(&id).map_err(|e| CliError::failed("the log", e.to_string()))?
                    }
                };
                starter
                    .take()
                    .map_or(Ok(()), |starter| starter.ready(&log))
                    .map_err(not_ready)
            })
        });
        match (served, starter) {
            (Ok(()), _) => Exit::Done,
            (Err(CliError::Store(StoreError::KeyNeeded { location })), Some(starter)) => {
                starter.needs_key(&location);
                Exit::Denied
            }
            (Err(error), Some(starter)) => {
                let exit = error.exit();
                starter.failed(exit.code(), &error.to_string());
                exit
            }
            (Err(error), None) => {
                tracing::error!(%error, "the mount ended");
                error.exit()
            }
        }
    }
}

/// Starts a process in the background; its complaint is this one's.
pub(super) fn start(mut arguments: Vec<OsString>, key: Option<&Secret>) -> Result<(), CliError> {
    let verb = arguments.iter().position(|a| a == background::ARGUMENT);
    if let (Some(at), Some(_)) = (verb, key) {
        arguments.insert(at, "--key-on-standard-input".into());
    }
    background::start(arguments, key).map_err(|error| match error {
        StartError::NoKey { location } => StoreError::KeyNeeded { location }.into(),
        StartError::Failed { code, text } => CliError::Passed {
            exit: Exit::from_code(code),
            message: text,
        },
        other => CliError::failed("mounting in the background", other.to_string()),
    })
}

fn not_ready(error: ReadyError) -> CliError {
    CliError::failed("mounting in the background", error.to_string())
}
