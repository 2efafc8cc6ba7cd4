//! The host of a measurement and its load.

use std::path::Path;
use std::process::Command;

use kubedos_debian::release::date::Moment;
use kubedos_lab::{Acceleration, Bench};
use kubedos_tests::{project, succeeds, tools};
use serde::Serialize;

/// Conditions that affect the figures.
#[derive(Debug, Clone, Serialize)]
pub struct Conditions {
    /// The date and time in UTC.
    pub date: String,
    /// The commit of the project (`git describe`), with `-dirty` if the checkout differs from it.
    pub commit: String,
    /// The processor's name.
    pub processor: String,
    /// The number of processors.
    pub processors: usize,
    /// Memory in bytes.
    pub memory_bytes: u64,
    /// The kernel's release.
    pub kernel: String,
    /// The load averages of the last minute and the last five minutes.
    pub load: [f64; 2],
    /// The emulator's version.
    pub emulator: String,
    /// How the emulator executes the guest.
    pub acceleration: &'static str,
}

impl Conditions {
    /// The present conditions.
    pub fn now() -> Self {
        let load = read("/proc/loadavg");
        let mut load = load.split_whitespace().map(|number| number.parse().unwrap());
        let mut git = Command::new("git");
        git.current_dir(project()).args(["describe", "--always", "--dirty", "--abbrev=12"]);
        let mut emulator = tools().command("usr/bin/qemu-system-x86_64").unwrap();
        let emulator = succeeds(emulator.arg("--version"));
        let bench = Bench::new(&crate::folder(), "probe").unwrap();
        Self {
            date: Moment::now().to_string(),
            commit: succeeds(&mut git).trim().to_owned(),
            processor: field("/proc/cpuinfo", "model name"),
            processors: std::thread::available_parallelism().unwrap().get(),
            memory_bytes: kib(&field("/proc/meminfo", "MemTotal")) << 10,
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            load: [load.next().unwrap(), load.next().unwrap()],
            emulator: emulator.lines().next().unwrap_or_default().to_owned(),
            acceleration: match Acceleration::probe(tools(), &bench) {
                Acceleration::Software => "software (TCG)",
                Acceleration::Kvm => "KVM",
            },
        }
    }
}

fn read(path: impl AsRef<Path>) -> String {
    std::fs::read_to_string(path).unwrap()
}

/// The value after the first `name:` of a file; empty if there is none.
fn field(path: &str, name: &str) -> String {
    let text = read(path);
    let mut fields = text.lines().filter_map(|line| line.split_once(':'));
    fields.find(|(key, _)| key.trim() == name).map_or_else(String::new, |(_, value)| value.trim().to_owned())
}

fn kib(text: &str) -> u64 {
    text.split_whitespace().next().unwrap().parse().unwrap()
}
