//! The arguments of `kubedos-build` and the dispatch to its subcommands.
//!
//! The help texts are the doc comments of the argument types. A usage error has exit code 2; help and version go to stdout.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use kubedos_debian::failure::{Class, Failure};

use crate::{
    diff, fetch, image, inspect, keys, lab, ledger, lock, plan, schema, seed, terminal, tool, validate,
    verify,
};

/// Build a sealed disk image from a declarative ClusterSpec
#[derive(Debug, Parser)]
#[command(name = "kubedos-build", version, propagate_version = true, max_term_width = 110)]
pub struct Cli {
    /// Work as if started in DIR
    #[arg(short = 'C', value_name = "DIR", global = true)]
    pub directory: Option<PathBuf>,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Diff(diff::Diff),
    Image(image::Image),
    Inspect(inspect::Inspect),
    Keys(keys::Keys),
    Lab(lab::Lab),
    Ledger(ledger::LedgerCommand),
    Lock(lock::LockCommand),
    Fetch(fetch::Fetch),
    Tool(tool::Tool),
    Validate(validate::Validate),
    Plan(plan::Plan),
    Schema(schema::Schema),
    Seed(seed::Seed),
    Verify(verify::Verify),
}

/// Prints the output of clap: help and version to stdout; a usage error, which can quote arguments, to stderr with exit code 2.
pub fn refuse(error: &clap::Error) -> ExitCode {
    if error.use_stderr() {
        terminal::say_lines(&error.render().to_string());
        return ExitCode::from(Class::Usage.code());
    }
    match error.print() {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Failure::new(Class::Failed, error).report(),
        _ => ExitCode::SUCCESS,
    }
}

impl Cli {
    /// Runs the subcommand.
    pub fn run(self) -> Result<(), Failure> {
        if let Some(directory) = &self.directory {
            std::env::set_current_dir(directory).map_err(|error| {
                Failure::new(Class::Usage, format!("failed to change to {}: {error}", directory.display()))
            })?;
        }
        match self.command {
            Command::Diff(diff) => diff.run(),
            Command::Image(image) => image.run(),
            Command::Inspect(inspect) => inspect.run(),
            Command::Keys(keys) => keys.run(),
            Command::Lab(lab) => lab.run(),
            Command::Ledger(command) => command.run(),
            Command::Lock(command) => command.run(),
            Command::Fetch(command) => command.run(),
            Command::Tool(command) => command.run(),
            Command::Validate(validate) => validate.run(),
            Command::Plan(plan) => plan.run(),
            Command::Schema(schema) => schema.run(),
            Command::Seed(seed) => seed.run(),
            Command::Verify(verify) => verify.run(),
        }
    }
}
