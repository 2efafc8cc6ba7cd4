//! `lab`: the nodes of a spec as virtual machines on this host, connected by the lab's switch.
//!
//! `lab up` prepares a folder and starts a process that owns the switch and the machines ([`serve`]). It continues when `up` has ended.
//! `lab status`, `lab console`, `lab capture`, `lab fault` and `lab down` use its control socket ([`protocol`]). Everything is in the folder
//! ([`folder`]), so that several labs can exist side by side and a lab leaves nothing elsewhere.
//!
//! Everything that a guest prints is untrusted. It is kept as data and escaped when it is printed.

mod capture;
mod console;
mod disks;
mod down;
mod error;
mod fault;
mod faults;
mod fleet;
mod folder;
mod follow;
mod machines;
mod process;
mod protocol;
mod serve;
mod status;
mod table;
mod up;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use kubedos_debian::failure::Failure;

pub use follow::say_that_it_continues;

/// Run the nodes of a spec as virtual machines on this host
#[derive(Debug, Args)]
pub struct Lab {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Up(Box<up::Up>),
    Status(status::Status),
    Console(console::Console),
    Capture(capture::Capture),
    Fault(Box<fault::FaultCommand>),
    Down(down::Down),
    #[command(hide = true)]
    Serve(serve::Serve),
}

/// The folder of the lab.
#[derive(Debug, Args)]
struct Where {
    /// The folder of the lab
    #[arg(long, value_name = "DIR", default_value = "target/lab")]
    folder: PathBuf,
}

impl Lab {
    /// Runs the subcommand.
    pub fn run(&self) -> Result<(), Failure> {
        match &self.command {
            Command::Up(command) => command.run(),
            Command::Status(command) => command.run(),
            Command::Console(command) => command.run(),
            Command::Capture(command) => command.run(),
            Command::Fault(command) => command.run(),
            Command::Down(command) => command.run(),
            Command::Serve(command) => command.run(),
        }
    }
}
