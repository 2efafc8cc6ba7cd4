//! `lab status`: the state of the nodes, as a table on a terminal, otherwise as one JSON document per line.

use std::time::Duration;

use clap::Args;
use kubedos_debian::failure::Failure;

use super::Where;
use super::folder::Folder;
use super::follow::Follower;
use super::protocol;
use crate::terminal::say;

/// Show the nodes, their stages and their traffic
#[derive(Debug, Args)]
pub struct Status {
    #[command(flatten)]
    at: Where,

    /// Continue to show the state until the lab ends; in JSON, each change of a node
    #[arg(long)]
    watch: bool,

    /// Print one JSON document per line for each node, also on a terminal
    #[arg(long)]
    json: bool,
}

impl Status {
    /// Prints the state.
    pub fn run(&self) -> Result<(), Failure> {
        let folder = Folder::open(&self.at.folder)?;
        let process = folder.running()?;
        let (run, mut follower) = (folder.path("run"), Follower::new(folder.shown(), self.json));
        if !self.watch {
            return follower.show(&protocol::status(&run)?);
        }
        loop {
            match protocol::status(&run) {
                Ok(status) => follower.update(&status)?,
                Err(error) => {
                    // The process removes its socket shortly before it ends.
                    std::thread::sleep(Duration::from_secs(1));
                    if process.runs().unwrap_or(false) {
                        return Err(error.into());
                    }
                    say!("the lab has ended");
                    return Ok(());
                }
            }
            std::thread::sleep(Duration::from_secs(1));
        }
    }
}
