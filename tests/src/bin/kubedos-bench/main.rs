//! `make bench`: measures the cost of building, booting and running kubedOS, and of mkosi on the same machine in the same run.
//!
//! It compares the figures with the aims in its tables and makes no other judgement. If a figure of the peer cannot be measured, the table
//! says "not measured" with the reason; if a figure of kubedOS cannot be measured, the program panics. It writes all samples to
//! `target/bench/figures.json`, the tables of `docs/benchmarks.md` to `target/bench/figures.md`, the page's drawing to
//! `target/bench/volumes.svg`, and the tables with the last committed figures to stdout.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a benchmark that cannot measure panics with the cause"
)]
#![forbid(unsafe_code)]

mod committed;
mod conditions;
mod figures;
mod ours;
mod peer;
mod planes;
mod report;
mod timed;
mod volumes;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};
use kubedos_tests::project;

use committed::Committed;
use conditions::Conditions;
use figures::Figures;
use ours::Ours;
use peer::Peer;
use report::Report;

/// Measure kubedOS and mkosi on the same machine
#[derive(Debug, Parser)]
struct Bench {
    /// What to measure
    #[arg(
        long,
        value_name = "LIST",
        value_delimiter = ',',
        default_value = "init,build,boot,memory,plan,planes,volumes,volume-boot,peer-build,peer-boot"
    )]
    part: Vec<Part>,

    /// How many times to measure each build, plan and volume of kubedOS
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,

    /// How many times to measure each first and second boot of kubedOS and the peer
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..))]
    boots: u32,

    /// How many times to measure the peer's incremental build; its full build is measured once
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    peer_runs: u32,

    #[command(subcommand)]
    inner: Option<Inner>,
}

/// A part that can be measured alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// The compilation of the programs of init/, once
    Init,
    /// Builds of kubedOS and the sizes of their outputs
    Build,
    /// First and second boots of kubedOS
    Boot,
    /// Memory of the agent
    Memory,
    /// `plan` of 10, 1,000 and 10,000 nodes
    Plan,
    /// Planes with 1,000 peers, applied in a virtual machine by the agent's code, by a minimal sender, and by ip and wg
    Planes,
    /// Volumes of one tree, written by our EROFS writer, mkfs.erofs and mksquashfs, and reads from them
    Volumes,
    /// Boots from root volumes written by our EROFS writer and by mkfs.erofs
    VolumeBoot,
    /// Builds of the peer and the sizes of their outputs
    PeerBuild,
    /// First and second boots of the peer
    PeerBoot,
}

/// Subcommands with which this program starts itself.
#[derive(Debug, Subcommand)]
enum Inner {
    #[command(name = volumes::SUBCOMMAND, hide = true)]
    WriteErofs(volumes::WriteFolder),
    /// Run a program and write its cost to a file
    #[command(name = timed::SUBCOMMAND, hide = true)]
    Timed {
        /// The file for the cost
        result: PathBuf,
        /// The program and its arguments
        #[arg(last = true, required = true)]
        words: Vec<OsString>,
    },
}

fn main() -> ExitCode {
    let bench = Bench::parse();
    match &bench.inner {
        Some(Inner::Timed { result, words }) => return timed::run_here(result, words),
        Some(Inner::WriteErofs(arguments)) => {
            volumes::write_folder(arguments);
            return ExitCode::SUCCESS;
        }
        None => {}
    }
    std::fs::create_dir_all(folder()).unwrap();
    let committed = Committed::read(&project().join("docs/benchmarks.md"));
    let before = Conditions::now();
    let figures = bench.measure();
    let after = Conditions::now();
    let report = Report::new(&before, &after, &figures);
    for (name, text) in [("figures.json", report.json()), ("figures.md", report.markdown(None))] {
        std::fs::write(folder().join(name), text).unwrap();
    }
    if let Some(Ok(volumes)) = &figures.volumes {
        std::fs::write(folder().join("volumes.svg"), volumes::plot(volumes)).unwrap();
    }
    println!("{}", report.markdown(Some(&committed)));
    ExitCode::SUCCESS
}

impl Bench {
    fn measure(&self) -> Figures {
        let wanted = |part| self.part.contains(&part);
        let mut figures = Figures::default();
        if wanted(Part::Build) || wanted(Part::Init) {
            let ours = Ours::new(&folder().join("kubedos"));
            if wanted(Part::Init) {
                say("compilation of the programs of init/");
                figures.init(&ours.init());
            }
            if wanted(Part::Build) {
                say("builds of kubedOS");
                figures.builds(&ours.builds(self.runs));
                figures.sizes(&ours.sizes());
            }
        }
        if wanted(Part::Boot) {
            say("boots of kubedOS");
            figures.boots(&ours::boots(self.boots));
        }
        if wanted(Part::Memory) {
            say("memory of the agent");
            figures.agent(ours::agent_memory());
        }
        if wanted(Part::Plan) {
            say("plans");
            ours::plans(&folder().join("plan"), self.runs).iter().for_each(|plan| figures.plan(plan));
        }
        if wanted(Part::Planes) {
            say("planes with 1,000 peers");
            figures.planes = Some(planes::measure(&folder().join("planes")));
        }
        if wanted(Part::Volumes) {
            say("volumes of one tree");
            figures.volumes = Some(volumes::measure(&folder().join("volumes"), self.runs));
        }
        if wanted(Part::VolumeBoot) {
            say("boots from volumes with several settings");
            let ways = volumes::booted_ways();
            figures.volume_boots = Some(volumes::boots(&folder().join("volume-boot"), &ways, self.boots));
        }
        if wanted(Part::PeerBuild) || wanted(Part::PeerBoot) {
            say("preparing the peer, which takes long the first time");
            let peer = Peer::prepare(&folder().join("peer"));
            if wanted(Part::PeerBuild) {
                say("builds of the peer");
                figures.peer_builds(
                    peer.as_ref().map_err(Clone::clone).and_then(|peer| peer.builds(self.peer_runs)),
                );
            }
            if wanted(Part::PeerBoot) {
                say("boots of the peer");
                figures.peer_boots(peer.and_then(|peer| peer.boots(self.boots)));
            }
        }
        figures
    }
}

/// The folder for everything that the benchmarks write.
fn folder() -> PathBuf {
    project().join("target/bench")
}

fn say(what: &str) {
    eprintln!("measuring: {what}");
}

/// The measured program, which is built together with this one.
fn kubedos_build() -> PathBuf {
    let program = std::env::current_exe().unwrap().with_file_name("kubedos-build");
    assert!(program.exists(), "{} does not exist: build it with `make bench`", program.display());
    program
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_is_measured_by_default() {
        assert_eq!(Bench::parse_from(["kubedos-bench"]).part, Part::value_variants());
        assert_eq!(Bench::parse_from(["kubedos-bench", "--part", "plan"]).part, [Part::Plan]);
    }
}
