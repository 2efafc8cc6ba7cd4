//! `lab capture`: writes the frames of the switch to a pcapng file.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use kubedos_debian::failure::Failure;

use super::Where;
use super::error::LabError;
use super::folder::Folder;
use super::protocol::{self, Request};

/// Capture the frames of the switch into a file for Wireshark
#[derive(Debug, Args)]
pub struct Capture {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Start a capture; it ends an earlier one
    Start {
        /// The file; an existing one is replaced
        file: PathBuf,
        /// The maximum size of the file in MiB
        #[arg(long, value_name = "MIB", default_value_t = 1024)]
        max_size: u64,
        #[command(flatten)]
        at: Where,
    },
    /// End the capture
    Stop {
        #[command(flatten)]
        at: Where,
    },
}

impl Capture {
    /// Starts or ends the capture.
    pub fn run(&self) -> Result<(), Failure> {
        let (at, request) = match &self.action {
            Action::Start { file, max_size, at } => {
                let file = std::path::absolute(file).map_err(LabError::file("find", file))?;
                (at, Request::StartCapture { file, max_bytes: max_size.saturating_mul(1 << 20) })
            }
            Action::Stop { at } => (at, Request::StopCapture),
        };
        let folder = Folder::open(&at.folder)?;
        folder.running()?;
        protocol::ask(&folder.path("run"), &request)?;
        Ok(())
    }
}
