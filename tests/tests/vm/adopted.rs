//! One first boot that several tests use: its disk after the boot, its records, and the log of its writes.

use std::path::PathBuf;
use std::sync::OnceLock;

use kubedos_lab::Disk;
use kubedos_tests::{Expect, Rig, baseline, powers_off, status_page};
use kubedos_wire::record::Record;

/// The results of a first boot.
#[derive(Debug)]
pub struct Adopted {
    /// The disk, after the machine ended.
    pub disk: Disk,
    /// The log of all writes to the disk, which starts with the content of the image.
    pub write_log: PathBuf,
    /// The node's records until the end of Baseline.
    pub records: Vec<Record>,
    /// Every line of its console until the machine was turned off.
    pub console: Vec<String>,
    /// The status page at the end.
    pub page: Vec<String>,
}

/// The results of the first boot. The first caller runs it.
pub fn adopted() -> &'static Adopted {
    static ADOPTED: OnceLock<Adopted> = OnceLock::new();
    ADOPTED.get_or_init(|| {
        let rig = Rig::kept("adopted");
        let write_log = rig.bench().path("writes");
        let disk = rig.disk("disk");
        let mut machine = rig.boot(&rig.hardware(disk.clone().write_log(&write_log)));
        let records = baseline(&machine, Expect::Baseline);
        let page = status_page(&mut machine);
        let console = machine.console().lines().into_iter().map(|line| line.text).collect();
        powers_off(&mut machine);
        Adopted { disk, write_log, records, console, page }
    })
}
