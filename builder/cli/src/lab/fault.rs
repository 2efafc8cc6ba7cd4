//! `lab fault`: disturbs the frames between the nodes of a running lab.

use clap::{Args, Subcommand};
use kubedos_debian::failure::Failure;
use kubedos_lab::switch::{MAX_DELAY, MAX_DISTANCE};

use super::Where;
use super::error::LabError;
use super::faults::{Fault, ppm};
use super::folder::Folder;
use super::machines::planned;
use super::protocol::{self, Request};

/// Disturb the frames between nodes; `lab status` shows the faults
#[derive(Debug, Args)]
pub struct FaultCommand {
    #[command(subcommand)]
    kind: Kind,
}

// A documentation comment here would replace that of the command.
#[derive(Debug, Subcommand)]
enum Kind {
    /// Let no frame pass between these nodes and the others; it replaces an earlier partition
    Partition {
        /// The nodes of one side
        #[arg(value_name = "NODE", required = true)]
        nodes: Vec<String>,
        #[command(flatten)]
        at: Where,
    },
    /// Drop a part of the frames
    Loss {
        /// How many frames in percent, such as 20 or 0.5; 0 ends the fault
        #[arg(value_name = "PERCENT", value_parser = ppm)]
        ppm: u32,
        #[command(flatten)]
        between: Between,
    },
    /// Delay each frame, in each direction
    Delay {
        /// The delay in milliseconds, at most 60000; 0 ends the fault
        #[arg(value_name = "MS", value_parser = clap::value_parser!(u64).range(0..=longest_ms()))]
        delay_ms: u64,
        /// The largest difference from the delay, at most the delay
        #[arg(long, value_name = "MS", default_value_t = 0)]
        jitter: u64,
        #[command(flatten)]
        between: Between,
    },
    /// Let later frames overtake a part of the frames
    Reorder {
        /// How many frames in percent; 0 ends the fault
        #[arg(value_name = "PERCENT", value_parser = ppm)]
        ppm: u32,
        /// How many frames overtake one, at most 1000
        #[arg(long, value_name = "FRAMES", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_DISTANCE)))]
        distance: u32,
        #[command(flatten)]
        between: Between,
    },
    /// Send a part of the frames twice
    Duplicate {
        /// How many frames in percent; 0 ends the fault
        #[arg(value_name = "PERCENT", value_parser = ppm)]
        ppm: u32,
        #[command(flatten)]
        between: Between,
    },
    /// End all faults
    Heal {
        #[command(flatten)]
        at: Where,
    },
}

/// The frames that a fault concerns.
#[derive(Debug, Args)]
struct Between {
    /// One node: the frames from and to it. Several: the frames between them. None: all frames
    #[arg(value_name = "NODE")]
    nodes: Vec<String>,
    #[command(flatten)]
    at: Where,
}

fn longest_ms() -> u64 {
    u64::try_from(MAX_DELAY.as_millis()).unwrap_or(u64::MAX)
}

impl FaultCommand {
    /// Sends the fault to the process of the lab.
    pub fn run(&self) -> Result<(), Failure> {
        let none: &[String] = &[];
        let (at, nodes, fault) = match &self.kind {
            Kind::Partition { nodes, at } => (at, nodes.as_slice(), Fault::Partition),
            Kind::Loss { ppm, between: Between { nodes, at } } => {
                (at, nodes.as_slice(), Fault::Loss { ppm: *ppm })
            }
            Kind::Delay { delay_ms, jitter, between: Between { nodes, at } } => {
                (at, nodes.as_slice(), Fault::Delay { delay_ms: *delay_ms, jitter_ms: *jitter })
            }
            Kind::Reorder { ppm, distance, between: Between { nodes, at } } => {
                (at, nodes.as_slice(), Fault::Reorder { ppm: *ppm, distance: *distance })
            }
            Kind::Duplicate { ppm, between: Between { nodes, at } } => {
                (at, nodes.as_slice(), Fault::Duplicate { ppm: *ppm })
            }
            Kind::Heal { at } => (at, none, Fault::Heal),
        };
        if let Fault::Delay { delay_ms, jitter_ms } = fault
            && jitter_ms > delay_ms
        {
            return Err(LabError::Fault("the jitter is more than the delay").into());
        }
        let folder = Folder::open(&at.folder)?;
        folder.running()?;
        let machines = planned(&folder)?;
        nodes.iter().try_for_each(|node| machines.node(node).map(drop))?;
        protocol::ask(&folder.path("run"), &Request::Fault { fault, nodes: nodes.to_vec() })?;
        Ok(())
    }
}
