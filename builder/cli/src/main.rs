//! `kubedos-build`, the command line of the builder library. Each subcommand has a file with its arguments and a `run` function.
//!
//! Data is written to stdout, everything else to stderr. No command prompts. During a build, cargo starts this program under other names
//! as the compiler for the programs of `init/`.

#![forbid(unsafe_code)]
#![warn(clippy::print_stdout, clippy::print_stderr)]

mod arguments;
mod attached;
mod diff;
mod fetch;
mod image;
mod init;
mod inputs;
mod inspect;
mod keys;
mod lab;
mod ledger;
mod lock;
mod phases;
mod plan;
mod progress;
mod relock;
mod schema;
mod seed;
mod terminal;
mod tool;
mod validate;
mod verify;

use std::process::ExitCode;

use clap::Parser;
use kubedos_builder::init_build::compiler;
use kubedos_builder::interrupt;
use kubedos_debian::failure::{Class, Failure};

fn main() -> ExitCode {
    if let Some(error) = compiler::run_under_its_name() {
        return Failure::new(Class::Failed, error).report();
    }
    let cli = match arguments::Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return arguments::refuse(&error),
    };
    if let Err(error) = interrupt::watch(last_words) {
        return Failure::new(Class::Failed, error).report();
    }
    let result = cli.run();
    // After a signal, the result is not reported: the thread that received the signal is about to end the program.
    while interrupt::is_pending() {
        std::thread::park();
    }
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

/// Runs after a signal, just before the program ends.
fn last_words() {
    terminal::clear_line();
    lab::say_that_it_continues();
}
