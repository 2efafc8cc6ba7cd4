//! First and second boots of the default example, and the memory of its agent.

use kubedos_lab::Line;
use kubedos_tests::{Expect, Rig, answers, answers_disk, baseline, probe_image};
use kubedos_wire::record::{Outcome, Record};
use kubedos_wire::stage::Stage;
use serde::Serialize;

/// The firmware's message when it starts a boot program: the boot loader or the UKI.
pub const HANDS_OVER: &str = "BdsDxe: starting ";

/// The times of one boot in seconds, by the host's clock except where noted.
#[derive(Debug, Clone, Serialize)]
pub struct BootTimes {
    /// From power on to [`HANDS_OVER`].
    pub uki_start: f64,
    /// From [`HANDS_OVER`] to the end of Baseline.
    pub baseline: f64,
    /// From the start of the kernel to the end of Baseline, by the guest's clock.
    pub baseline_by_kernel: f64,
    /// Each step of stage 1 and each stage of the agent that ended, in order.
    pub stages: Vec<StageTime>,
}

/// One stage of one boot.
#[derive(Debug, Clone, Serialize)]
pub struct StageTime {
    /// The name of the stage.
    pub stage: String,
    /// The time from the UKI's start to the end of the stage.
    pub ended: f64,
    /// The duration of the stage, by the guest's clock.
    pub took: f64,
}

/// `count` pairs of a first boot of a new disk and a second boot after a power cut.
pub fn boots(count: u32) -> Vec<[BootTimes; 2]> {
    (0..count).map(|number| boot_pair(&Rig::new(&format!("bench-{number}")))).collect()
}

/// A first boot of a new disk, and a second boot after a power cut.
pub fn boot_pair(rig: &Rig) -> [BootTimes; 2] {
    let hardware = rig.hardware(rig.disk("disk")).processors(2);
    [Expect::Baseline, Expect::BaselineUnchanged].map(|expect| {
        let machine = rig.boot(&hardware);
        baseline(&machine, expect);
        let times = times(&machine.console().lines());
        machine.cut_power().unwrap();
        times
    })
}

fn times(lines: &[Line]) -> BootTimes {
    let uki_start = uki_start(lines);
    let records = lines.iter().filter_map(|line| Some((line.at.as_secs_f64(), Record::find(&line.text)?)));
    let ended = |record: &Record| matches!(record.outcome, Outcome::Done | Outcome::Unchanged);
    let ends: Vec<(f64, Record)> = records.filter(|(_, record)| ended(record)).collect();
    let (at, last) = ends.iter().find(|(_, record)| record.stage == Stage::Baseline.name()).unwrap();
    let stage = |(at, record): &(f64, Record)| StageTime {
        stage: record.stage.clone(),
        ended: at - uki_start,
        took: record.took_ms.map_or(0.0, |took| f64::from(u32::try_from(took).unwrap()) / 1000.0),
    };
    BootTimes {
        uki_start,
        baseline: at - uki_start,
        baseline_by_kernel: last.t,
        stages: ends.iter().map(stage).collect(),
    }
}

/// The time of the last [`HANDS_OVER`] in seconds.
pub fn uki_start(lines: &[Line]) -> f64 {
    let line = lines.iter().rfind(|line| line.text.contains(HANDS_OVER));
    line.expect("the firmware reported no boot program").at.as_secs_f64()
}

/// The resident memory of the agent in bytes after its last stage has ended for the first time.
pub fn agent_memory() -> u64 {
    let rig = Rig::of(probe_image(), "bench-memory");
    let disk = answers_disk(rig.bench());
    let machine = rig.boot(&rig.hardware(rig.disk("disk")).processors(2).disk(disk.clone()));
    let answers = answers(&machine, &disk);
    machine.finish();
    let processes = answers["processes"].as_array().unwrap();
    let is_agent = |name: &str| name.starts_with("kubedos-agent");
    let agent = processes.iter().find(|process| process["name"].as_str().is_some_and(is_agent)).unwrap();
    agent["resident_kib"].as_u64().unwrap() << 10
}
