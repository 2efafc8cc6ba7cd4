//! The peer's boots, with the same hardware as kubedOS's.

use kubedos_lab::{Bench, Disk, Firmware, Format, Hardware, Machine, Patience};
use kubedos_tests::{DISK, tools};
use serde::Serialize;

use super::{Peer, Reason};
use crate::ours::uki_start;

/// Parts of systemd's message for the target, which has colours between them. It appears in the initrd and again in the root.
const BASIC_TARGET: [&str; 2] = ["Reached target", "basic.target"];
/// Parts of getty's line above the login prompt.
const GREETING: [&str; 2] = ["Debian GNU/Linux", "ttyS0"];
const PATIENCE: Patience = Patience::seconds(900);

/// The times of one boot in seconds, by the host's clock.
#[derive(Debug, Clone, Serialize)]
pub struct PeerBoot {
    /// From power on to the firmware's hand-over.
    pub uki_start: f64,
    /// From the hand-over to the last basic.target.
    pub basic_target: f64,
    /// From the hand-over to the login prompt.
    pub login: f64,
}

impl Peer {
    /// A first boot of a new disk, and a second boot after a power cut.
    pub(super) fn boot_twice(&self, number: u32) -> Result<[PeerBoot; 2], Reason> {
        let bench = Bench::new(&self.folder, &format!("boot-{number}")).map_err(Reason::new)?.keep();
        let image = Disk::new(self.image(), Format::Raw);
        let disk = bench.overlay(tools(), "disk", &image, DISK).map_err(Reason::new)?;
        let hardware = Hardware::new(Firmware::Uefi).processors(2).watchdog().disk(disk);
        Ok([boot(&bench, &hardware)?, boot(&bench, &hardware)?])
    }
}

fn boot(bench: &Bench, hardware: &Hardware) -> Result<PeerBoot, Reason> {
    let machine = Machine::start(tools(), bench, hardware).map_err(Reason::new)?;
    let is_greeting = |line: &str| GREETING.iter().all(|words| line.contains(words));
    machine.wait_for_line("a login prompt", PATIENCE, is_greeting).map_err(Reason::new)?;
    let lines = machine.console().lines();
    machine.cut_power().map_err(Reason::new)?;
    let start = uki_start(&lines);
    let last = |words: [&str; 2]| {
        let line = lines.iter().rfind(|line| words.iter().all(|word| line.text.contains(word)));
        line.map(|line| line.at.as_secs_f64() - start)
            .ok_or_else(|| Reason::new(format!("no console line with {}", words.join(" "))))
    };
    Ok(PeerBoot { uki_start: start, basic_target: last(BASIC_TARGET)?, login: last(GREETING)? })
}
