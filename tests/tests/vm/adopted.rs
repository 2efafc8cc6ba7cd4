//! One first boot that several tests look at: its disk afterwards, its records, the log of its writes.

use std::path::PathBuf;
use std::sync::OnceLock;

use kubedos_lab::Disk;
use kubedos_tests::{Expect, Rig, baseline, powers_off, status_page};
use kubedos_wire::record::Record;

/// What a first boot left.
#[derive(Debug)]
pub struct Adopted {
    /// The disk, after the machine ended.
    pub disk: Disk,
    /// Its log of writes, from the image on.
    pub write_log: PathBuf,
    /// What the node said.
    pub records: Vec<Record>,
    /// Every line of its console until the machine was turned off.
    pub console: Vec<String>,
    /// The status page at the end.
    pub page: Vec<String>,
}

/// The first boot, made by whichever test asks first.
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
