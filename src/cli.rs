//! One file per subcommand. This is the only room that writes to standard output.

mod args;
mod check;
mod control;
mod daemon;
mod demo;
mod explain;
mod hit;
mod init;
mod notify;
mod out;
mod progress;
mod result;
mod run;
mod samples;
mod select;

use std::process::ExitCode;

use clap::Parser;

use self::args::{Cli, Command};

/// Exit codes, as documented in the README.
pub mod exit {
    /// The command line cannot be meant.
    pub const USAGE: u8 = 2;
    /// Something inside went wrong.
    pub const INTERNAL: u8 = 101;
    /// The configuration or the policy forbids it.
    pub const CONFIG: u8 = 104;
}

/// Parses the arguments and runs the subcommand.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    // The one TLS provider of the process; a second call would fail, and there is none.
    let _first = rustls::crypto::ring::default_provider().install_default();
    let result = match cli.command {
        Command::Daemon(args) => daemon::main(&args),
        Command::Run(args) => run::main(&args),
        Command::Explain(args) => explain::main(&args),
        Command::Hit(args) => hit::main(&args),
        Command::Init(args) => init::main(&args),
        Command::Check(args) => check::check(&args),
        Command::Schema => check::schema(),
        Command::Trigger(args) => control::trigger(&args),
        Command::Pause(args) => control::pause(&args),
        Command::Resume(args) => control::resume(&args),
        Command::Target(args) => demo::target(args),
        Command::Demo(args) => demo::main(&args),
    };
    match result {
        Ok(code) => ExitCode::from(code),
        Err(error) if out::is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            out::say!("error: {error:#}");
            ExitCode::from(exit::INTERNAL)
        }
    }
}
