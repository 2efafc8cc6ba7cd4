//! `lab down`: powers the nodes off, ends the process of the lab, and optionally removes the disks.

use std::time::{Duration, Instant};

use clap::Args;
use kubedos_debian::failure::Failure;
use kubedos_wire::printable::chain;

use super::Where;
use super::error::LabError;
use super::folder::{Folder, Recorded};
use super::process::ProcessId;
use super::protocol::{self, Request};
use crate::terminal::say;

/// The time after the limit in which the process kills the machines and ends.
const GRACE: Duration = Duration::from_secs(60);

/// Power the nodes off and end the lab; the disks remain
#[derive(Debug, Args)]
pub struct Down {
    #[command(flatten)]
    at: Where,

    /// Remove the disks, the image and the seeds
    #[arg(long)]
    destroy: bool,

    /// Kill the nodes that still run after this time
    #[arg(long, value_name = "SECONDS", default_value_t = 90)]
    limit: u64,
}

impl Down {
    /// Ends the lab. It is no error if no lab runs.
    pub fn run(&self) -> Result<(), Failure> {
        let folder = match Folder::open(&self.at.folder) {
            Ok(folder) => folder,
            Err(LabError::NoLab { folder }) => {
                say!("there is no lab in {}", folder.display());
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        let _lock = folder.lock()?;
        match folder.process()? {
            Recorded::Running(process) => self.stop(&folder, &process)?,
            Recorded::Stale => {
                folder.clean()?;
                say!("the lab in {} had already ended", folder.shown().display());
            }
            Recorded::Nothing => say!("no lab runs in {}", folder.shown().display()),
        }
        if self.destroy {
            folder.destroy()?;
        }
        Ok(())
    }

    fn stop(&self, folder: &Folder, process: &ProcessId) -> Result<(), LabError> {
        say!("powering the nodes off");
        let runs = || process.runs().map_err(LabError::file("read", "/proc"));
        let asked = protocol::ask(&folder.path("run"), &Request::Down { limit_s: self.limit });
        let limit = match asked {
            Ok(_) => Duration::from_secs(self.limit).saturating_add(GRACE),
            Err(error) => {
                say!("{}", chain(&error));
                Duration::ZERO
            }
        };
        let start = Instant::now();
        while runs()? {
            if start.elapsed() >= limit {
                say!("the process of the lab is killed");
                process.kill().map_err(LabError::file("kill the process of", folder.root()))?;
                while runs()? {
                    std::thread::sleep(Duration::from_millis(50));
                }
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        folder.clean()
    }
}
