//! `tool`: runs a pinned program out of the cache, for people who want to look at what was built with what built it.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;

use clap::Args;
use kubedos_builder::failure::{Class, Failure};
use kubedos_builder::lock::Lock;
use kubedos_builder::toolbox::{Toolbox, ToolboxError};

use super::inputs::{Inputs, fetch_failure};
use super::lock::lock_failure;
use super::progress::Console;

/// Run a pinned program out of the cache, with its own loader and libraries
#[derive(Debug, Args)]
pub struct Tool {
    #[command(flatten)]
    inputs: Inputs,

    /// The set that has the program
    #[arg(long, value_name = "NAME", default_value = "tools")]
    set: String,

    /// The program, by its path in the packages, such as usr/bin/qemu-img
    #[arg(value_name = "PROGRAM")]
    program: String,

    /// Its arguments
    #[arg(value_name = "ARGUMENT", trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

impl Tool {
    /// Fetches the set where needed, and becomes the program.
    pub fn run(&self) -> Result<(), Failure> {
        let lock = Lock::read_alone(&self.inputs.lock).map_err(lock_failure)?;
        let cache = self.inputs.open_cache()?;
        let mirrors = self.inputs.find_mirrors();
        let sources = lock.sources(std::slice::from_ref(&self.set)).map_err(lock_failure)?;
        let fetcher = self.inputs.fetcher(&cache, &mirrors);
        fetcher.fetch(&sources, &Console::new()).map_err(fetch_failure)?;
        let toolbox = Toolbox::open(&cache, &lock, &self.set).map_err(toolbox_failure)?;
        let mut command = toolbox.command(&self.program).map_err(toolbox_failure)?;
        if self.program.contains("/qemu-system-") {
            command.args(toolbox.firmware_arguments());
        }
        Err(Failure::new(Class::Failed, command.args(&self.arguments).exec()))
    }
}

/// Sorts a toolbox's error.
pub fn toolbox_failure(error: ToolboxError) -> Failure {
    use kubedos_builder::cache::CacheError;
    let class = match &error {
        ToolboxError::Cache(CacheError::Damaged { .. }) => Class::Mismatch,
        ToolboxError::Cache(CacheError::Missing { .. }) => Class::Offline,
        ToolboxError::NotThere { .. } | ToolboxError::NotAProgram { .. } => Class::Usage,
        _ => Class::Failed,
    };
    Failure::new(class, error)
}
