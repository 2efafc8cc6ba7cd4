//! `tool`: runs a pinned program from the cache, so that people can examine outputs with the same programs that the build used.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;

use clap::Args;
use kubedos_builder::toolbox::Toolbox;
use kubedos_debian::failure::{Class, Failure};
use kubedos_debian::lock::Lock;

use super::inputs::{Inputs, fetch_failure};
use super::progress::Console;

/// Run a pinned program from the cache, with its own loader and libraries
#[derive(Debug, Args)]
pub struct Tool {
    #[command(flatten)]
    inputs: Inputs,

    /// The set that contains the program
    #[arg(long, value_name = "NAME", default_value = "tools")]
    set: String,

    /// The program by its path in the packages, such as usr/bin/qemu-img; all arguments after it are passed to the program
    #[arg(value_names = ["PROGRAM", "ARGUMENT"], num_args = 1.., required = true, trailing_var_arg = true)]
    command: Vec<OsString>,
}

impl Tool {
    /// Fetches the set if needed, and replaces this process with the program.
    pub fn run(&self) -> Result<(), Failure> {
        let Some((program, arguments)) = self.command.split_first() else {
            return Err(Failure::new(Class::Usage, "no program given"));
        };
        let program = program.to_str().ok_or_else(|| {
            Failure::new(Class::Usage, format!("{} is not the name of a program", program.display()))
        })?;
        let lock = Lock::read_alone(&self.inputs.lock)?;
        let cache = self.inputs.open_cache()?;
        let mirrors = self.inputs.find_mirrors();
        let sources = lock.sources(std::slice::from_ref(&self.set))?;
        let fetcher = self.inputs.fetcher(&cache, &mirrors);
        fetcher.fetch(&sources, &Console::new()).map_err(fetch_failure)?;
        let toolbox = Toolbox::open(&cache, &lock, &self.set)?;
        let mut command = toolbox.command(program)?;
        if program.contains("/qemu-system-") {
            command.args(toolbox.firmware_arguments());
        }
        Err(Failure::new(Class::Failed, command.args(arguments).exec()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    #[command(name = "kubedos-build", version, propagate_version = true)]
    struct Whole {
        #[arg(short = 'C', global = true)]
        directory: Option<String>,
        #[command(subcommand)]
        command: Command,
    }

    #[derive(Debug, clap::Subcommand)]
    enum Command {
        Tool(Tool),
    }

    /// After the name of the program, options are passed to the program, even if `kubedos-build` has the same option.
    #[test]
    fn all_arguments_after_the_program_are_passed_to_it() {
        for arguments in [
            &["--version"][..],
            &["-V"],
            &["--help"],
            &["-C", "x"],
            &["--set", "oracles"],
            &["--offline", "--lock", "y"],
            &["--", "--version"],
            &["info", "-f", "raw", "--", "a"],
        ] {
            let line = [&["kubedos-build", "tool", "--set", "tools", "usr/bin/qemu-img"], arguments].concat();
            let whole = Whole::try_parse_from(line).unwrap();
            let Command::Tool(tool) = whole.command;
            let got: Vec<&str> = tool.command.iter().map(|word| word.to_str().unwrap()).collect();
            assert_eq!(got, [&["usr/bin/qemu-img"], arguments].concat());
            assert_eq!((tool.set.as_str(), whole.directory), ("tools", None));
        }
        assert!(Whole::try_parse_from(["kubedos-build", "tool"]).is_err());
    }
}
