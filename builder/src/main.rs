//! `kubedos-build`: the command line over the builder library. Glue only.
//!
//! cargo starts it under other names as a compiler of `kubedos-init`.

#![warn(clippy::print_stdout, clippy::print_stderr)]

mod cli;

use std::process::ExitCode;

use clap::Parser;
use kubedos_builder::failure::{Class, Failure};
use kubedos_builder::init_build::compiler;
use kubedos_builder::interrupt;

fn main() -> ExitCode {
    if let Some(error) = compiler::run_under_its_name() {
        return Failure::new(Class::Failed, error).report();
    }
    let cli = match cli::Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return cli::refuse(&error),
    };
    if let Err(error) = interrupt::watch(cli::clear_line) {
        return Failure::new(Class::Failed, error).report();
    }
    let result = cli.run();
    // What fails because of a signal is not what is to be said: the thread that saw it is about to end the program.
    while interrupt::is_pending() {
        std::thread::park();
    }
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
