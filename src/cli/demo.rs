use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, BufRead, IsTerminal};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use clap::Args;
use uuid::Uuid;

use super::error::CliError;
use super::output::Output;
use super::signals::StopSignals;
use super::{background, mount, umount};
use crate::store::Location;

/// Mount a store in memory and show in it what a mount can do.
///
/// Takes seconds and leaves nothing behind, unless told to.
#[derive(Debug, Args)]
pub struct Demo {
    /// Leave the store mounted, to go on by hand
    #[arg(long)]
    keep: bool,
    /// Go on without waiting for the Enter key, as where nobody sits at a terminal
    #[arg(long)]
    no_pause: bool,
}

/// A step of the tour: what it shows, and the shell commands that do.
struct Step {
    about: &'static str,
    commands: &'static [&'static str],
}

const TOUR: &[Step] = &[
    Step {
        about: "Maps and vectors are directories, everything else is a file.",
        commands: &[
            "kfs put user '{:name \"Ada\" :age 36 :langs [\"en\" \"fr\"]}'",
            "ls -l user",
            "cat user/:name user/:langs/1",
        ],
    },
    Step {
        about: "Writing a file changes the value, and its type stays: the age remains a number.",
        commands: &[
            "echo 37 > user/:age",
            "sed -i s/37/38/ user/:age",
            "kfs get user",
        ],
    },
    Step {
        about: "A rename is one atomic step, from anywhere to anywhere.",
        commands: &[
            "mv user/:name user/:full-name",
            "mv user/:langs languages",
            "kfs get user",
            "kfs get languages",
        ],
    },
    Step {
        about: "New files are text; a type can be declared.",
        commands: &[
            "echo '#{1 2 3}' > primes",
            "kfs get primes",
            SET_TYPE,
            "kfs get primes",
        ],
    },
    Step {
        about: "Types, times, owners and modes are attributes, so that rsync -aX and tar --xattrs carry them.",
        commands: &[
            "chmod 600 user/:age",
            "ls -l user/:age",
            GET_TYPE,
            "kfs ls -l",
        ],
    },
];

/// With the tools of package `attr` where they are, else without.
const SET_TYPE: &str = "setfattr -n user.kfs.type -v set primes";
const GET_TYPE: &str = "getfattr -d user/:age languages";
const SET_TYPE_OTHERWISE: &str = "kfs put primes '#{1 2 3}'";
const GET_TYPE_OTHERWISE: &str = "kfs info user/:age";

impl Demo {
    pub(super) fn run(self, out: &mut Output) -> Result<(), CliError> {
        let signals = StopSignals::block().map_err(|e| CliError::io("blocking signals", e))?;
        let stage = Stage::set_up()?;
        let on_signal = stage.clone();
        let waiting = signals.on_signal(move |_| {
            on_signal.clear_away();
            std::process::exit(130);
        });
        let shown = waiting
            .map_err(|e| CliError::io("waiting for signals", e))
            .and_then(|()| self.tour(&stage, out));
        if shown.is_ok() && self.keep {
            return stage.hand_over(out);
        }
        let struck = stage.strike();
        shown.and(struck)?;
        out.line("\nUnmounted; nothing is left. Your own: kfs init STORE, kfs mount STORE DIR.")
    }

    fn tour(&self, stage: &Stage, out: &mut Output) -> Result<(), CliError> {
        out.line(format!(
            "A store in memory, mounted on {}.",
            stage.point.display()
        ))?;
        let pauses = !self.no_pause && out.is_terminal() && io::stdin().is_terminal();
        for step in TOUR {
            out.line(format!("\n# {}", step.about))?;
            for command in step.commands {
                stage.perform(replace_missing(command), out)?;
            }
            if pauses {
                out.bytes(b"[Enter] ")?;
                out.flush()?;
                let mut line = String::new();
                io::stdin()
                    .lock()
                    .read_line(&mut line)
                    .map_err(|e| CliError::io("standard input", e))?;
            }
        }
        Ok(())
    }
}

fn replace_missing(command: &'static str) -> &'static str {
    match command {
        SET_TYPE if !is_there("setfattr") => SET_TYPE_OTHERWISE,
        GET_TYPE if !is_there("getfattr") => GET_TYPE_OTHERWISE,
        command => command,
    }
}

fn is_there(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| directory.join(program).is_file())
}

/// The mounted store and the directory it is in.
#[derive(Clone, Debug)]
struct Stage {
    directory: PathBuf,
    point: PathBuf,
}

impl Stage {
    fn set_up() -> Result<Self, CliError> {
        let failed = |source| CliError::io("a directory for the demo", source);
        let directory = nix::unistd::mkdtemp(&std::env::temp_dir().join("kfs-demo-XXXXXX"))
            .map_err(|errno| failed(io::Error::from(errno)))?;
        let stage = Self {
            point: directory.join("store"),
            directory,
        };
        let mounted = fs::create_dir(&stage.point)
            .map_err(failed)
            .and_then(|()| stage.mount());
        if mounted.is_err() {
            stage.remove();
        }
        mounted.map(|()| stage)
    }

    fn mount(&self) -> Result<(), CliError> {
        let log = self.directory.join("log");
        let location = Location::Memory(Uuid::new_v4()).to_string();
        let arguments: [&OsStr; 6] = [
            "mount".as_ref(),
            location.as_ref(),
            self.point.as_ref(),
            "--log".as_ref(),
            log.as_ref(),
            background::ARGUMENT.as_ref(),
        ];
        mount::start(arguments.map(OsString::from).to_vec(), None)
    }

    /// Shows a command and what it prints.
    fn perform(&self, command: &str, out: &mut Output) -> Result<(), CliError> {
        if out.is_terminal() {
            out.line(format!("\x1b[1m$ {command}\x1b[0m"))?;
        } else {
            out.line(format!("$ {command}"))?;
        }
        let failed = |source| CliError::io(format!("running {command}"), source);
        let done = Command::new("/bin/sh")
            .arg("-c")
            .arg(format!("exec 2>&1; {command}"))
            .current_dir(&self.point)
            .env("PATH", path_with_this_program().map_err(failed)?)
            .stdin(Stdio::null())
            .output()
            .map_err(failed)?;
        out.bytes(&done.stdout)?;
        if done.status.success() {
            return Ok(());
        }
        Err(CliError::failed(
            format!("the demo's command {command}"),
            format!("ended with {}", done.status),
        ))
    }

    fn hand_over(&self, out: &mut Output) -> Result<(), CliError> {
        let (point, directory) = (self.point.display(), self.directory.display());
        out.line(format!("\nThe store stays mounted: cd {point}"))?;
        out.line(format!(
            "It is gone with its mount: kfs umount {point} && rm -r {directory}"
        ))
    }

    /// Unmounts; the store goes with its process.
    fn strike(&self) -> Result<(), CliError> {
        umount::run(&self.point, false)?;
        self.remove();
        Ok(())
    }

    /// As [`Stage::strike`], whatever stands in the way.
    fn clear_away(&self) {
        if let Err(error) = umount::run(&self.point, true) {
            tracing::warn!(%error, "the demo's mount stays behind");
            return;
        }
        self.remove();
    }

    fn remove(&self) {
        if let Err(error) = fs::remove_dir_all(&self.directory) {
            tracing::warn!(directory = %self.directory.display(), %error, "the demo's directory stays behind");
        }
    }
}

/// The search path, so that `kfs` is this program.
fn path_with_this_program() -> io::Result<OsString> {
    let program = std::env::current_exe()?;
    let own = program.parent().unwrap_or(Path::new("/")).to_owned();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let directories = std::iter::once(own).chain(std::env::split_paths(&path));
    std::env::join_paths(directories).map_err(io::Error::other)
}
