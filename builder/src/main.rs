//! `kubedos-build`: the command line over the builder library. Glue only.
//!
//! cargo starts it under other names as a compiler of `kubedos-init`.

mod cli;

use std::process::ExitCode;

use clap::Parser;
use kubedos_builder::failure::{Class, Failure};
use kubedos_builder::init_build::compiler;

fn main() -> ExitCode {
    if let Some(error) = compiler::run_under_its_name() {
        return Failure::new(Class::Failed, error).report();
    }
    match cli::Cli::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
