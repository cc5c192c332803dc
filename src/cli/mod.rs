//! The command line: one file per command, and what the daemon behind a mount needs from the system.
//!
//! A command that works on a store makes a `request` of what it wants and hands it to whoever
//! holds the store: the daemon of its mount (`remote`), or else this process, which connects the
//! store for as long as it takes (`access`). Both answer it through `execute`, so that a command
//! does the same either way. Only this layer reads the environment, the arguments and the terminal.

mod access;
pub mod background;
mod beacon;
mod blob;
mod check;
mod chores;
mod commit;
mod connections;
mod content;
mod cp;
mod daemon;
mod demo;
mod destroy;
mod document;
mod dying;
mod edit;
mod entry;
mod error;
mod execute;
mod exit;
mod export;
mod export_tree;
mod file_request;
mod files;
pub mod frame;
mod fsck;
mod gc;
mod get;
mod holder;
mod import;
mod import_tree;
mod info;
mod init;
mod key;
pub mod log;
mod ls;
mod mount;
mod mount_helper;
mod mv;
mod notify;
mod output;
mod place;
pub mod places;
mod progress;
mod put;
mod receive;
mod remote;
mod request;
mod resolve;
mod retain;
mod rewrite;
mod rm;
mod send;
mod send_request;
pub mod signals;
mod snapshot;
mod snapshot_request;
pub mod socket;
mod status;
mod sweep;
mod umount;
mod unlock;
mod update;
mod version;
mod versions;
mod watch;
mod wire;
mod worker;

use std::ffi::OsString;
use std::io::Write;

use clap::{Parser, Subcommand};

pub use error::CliError;
pub use exit::Exit;
use output::Output;

/// A document store that you mount as a directory.
///
/// STORE is a directory that holds a store, or mem:UUID. A PATH is written as in the mount: names
/// with slashes between them. A path inside a mount may stand for STORE PATH.
#[derive(Debug, Parser)]
#[command(name = "kfs", version, after_help = exit::TABLE, disable_help_subcommand = true)]
struct Cli {
    /// Print JSON, one line per item
    #[arg(long, global = true)]
    json: bool,
    #[command(flatten)]
    key: unlock::KeyOptions,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Init(init::Init),
    Mount(mount::Mount),
    Umount(umount::Umount),
    Status(status::Status),
    Ls(ls::Ls),
    Get(get::Get),
    Put(put::Put),
    Edit(edit::Edit),
    Cp(cp::Cp),
    Mv(mv::Mv),
    Rm(rm::Rm),
    Info(info::Info),
    #[command(subcommand)]
    Snapshot(snapshot::Snapshot),
    Log(versions::Log),
    Send(send::Send),
    Receive(receive::Receive),
    Watch(watch::Watch),
    Commit(commit::Commit),
    Gc(gc::Gc),
    Sweep(sweep::Sweep),
    Rewrite(rewrite::Rewrite),
    Import(import::Import),
    Export(export::Export),
    Fsck(fsck::Fsck),
    #[command(subcommand)]
    Key(key::Key),
    Destroy(destroy::Destroy),
    Demo(demo::Demo),
    #[command(hide = true)]
    Update(update::Update),
    Version(version::Version),
}

/// Runs the command that the arguments name, tells on standard error why it failed, and gives the
/// code to exit with. Called as `mount.kfs` or `mount.fuse.kfs` it is a helper of mount(8).
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> u8 {
    let mut arguments = arguments.into_iter().peekable();
    if !arguments
        .peek()
        .is_some_and(|program| mount_helper::is_called(program))
    {
        return execute_command(arguments.collect()).code();
    }
    let exit = match mount_helper::read(arguments.skip(1), nix::unistd::geteuid().is_root()) {
        Ok(mount_helper::Call::Mount(arguments)) => execute_command(arguments),
        Ok(mount_helper::Call::Fake) => Exit::Done,
        Err(message) => {
            complain(&message);
            Exit::Usage
        }
    };
    mount_helper::code(exit)
}

fn execute_command(arguments: Vec<OsString>) -> Exit {
    let cli = match Cli::try_parse_from(&arguments) {
        Ok(cli) => cli,
        Err(error) => return refuse(&error),
    };
    unlock::given(cli.key);
    match cli.verb {
        Verb::Mount(mount) if mount.background => in_background(mount),
        verb => finish(|out| run(verb, arguments, out), cli.json),
    }
}

fn run(verb: Verb, arguments: Vec<OsString>, out: &mut Output) -> Result<(), CliError> {
    // A mount in the foreground logs elsewhere.
    if !matches!(verb, Verb::Mount(_)) {
        log::start(log::Output::Command);
    }
    match verb {
        Verb::Init(verb) => verb.run(out),
        Verb::Mount(verb) => verb.run(arguments, out),
        Verb::Umount(verb) => verb.run(out),
        Verb::Status(verb) => verb.run(out),
        Verb::Ls(verb) => verb.run(out),
        Verb::Get(verb) => verb.run(out),
        Verb::Put(verb) => verb.run(out),
        Verb::Edit(verb) => verb.run(out),
        Verb::Cp(verb) => verb.run(out),
        Verb::Mv(verb) => verb.run(out),
        Verb::Rm(verb) => verb.run(out),
        Verb::Info(verb) => verb.run(out),
        Verb::Snapshot(verb) => verb.run(out),
        Verb::Log(verb) => verb.run(out),
        Verb::Send(verb) => verb.run(out),
        Verb::Receive(verb) => verb.run(out),
        Verb::Watch(verb) => verb.run(out),
        Verb::Commit(verb) => verb.run(),
        Verb::Gc(verb) => verb.run(out),
        Verb::Sweep(verb) => verb.run(out),
        Verb::Rewrite(verb) => verb.run(out),
        Verb::Import(verb) => verb.run(out),
        Verb::Export(verb) => verb.run(out),
        Verb::Fsck(verb) => verb.run(out),
        Verb::Key(verb) => verb.run(out),
        Verb::Destroy(verb) => verb.run(out),
        Verb::Demo(verb) => verb.run(out),
        Verb::Update(verb) => verb.run(out),
        Verb::Version(verb) => verb.run(out),
    }
}

fn finish(command: impl FnOnce(&mut Output) -> Result<(), CliError>, json: bool) -> Exit {
    let mut out = Output::new(json);
    let done = command(&mut out).and_then(|()| out.flush());
    match done {
        Ok(()) => Exit::Done,
        Err(error) => {
            let exit = error.exit();
            if exit != Exit::Done {
                // What was printed before the failure comes first.
                let _closed = out.flush();
                complain(&error.to_string());
                if let Some(remedy) = error.remedy() {
                    complain(remedy);
                }
            }
            exit
        }
    }
}

/// A process that was started to serve a mount.
fn in_background(mount: mount::Mount) -> Exit {
    match background::Starter::leave() {
        Ok(starter) => mount.serve_in_background(starter),
        Err(error) => {
            complain(&format!("going into the background: {error}"));
            Exit::Failed
        }
    }
}

/// Help and version are asked for; anything else is a mistake.
fn refuse(error: &clap::Error) -> Exit {
    let printed = error.print();
    match (error.use_stderr(), printed) {
        (false, _) => Exit::Done,
        (true, _) => Exit::Usage,
    }
}

fn complain(message: &str) {
    // Where it cannot be told, the exit code remains.
    let _closed = writeln!(std::io::stderr(), "kfs: {message}");
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }
}
