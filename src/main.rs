//! The command `kfs`: parse, run, exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(konserve_fs::cli::main(std::env::args_os()))
}
