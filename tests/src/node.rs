//! What a node is expected to say.

use kubedos_lab::{Machine, Patience};
use kubedos_spec::record::{Outcome, Record};
use kubedos_spec::stage::{EarlyStage, Stage};

/// The steps of stage 1, in order.
const EARLY: [EarlyStage; 6] = [
    EarlyStage::Modules,
    EarlyStage::FindVolumes,
    EarlyStage::OpenRoot,
    EarlyStage::OpenPayload,
    EarlyStage::OpenConfiguration,
    EarlyStage::SwitchRoot,
];

/// How far a node gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// The last stage of this version ends well, having changed something or not.
    Baseline,
    /// It ends, and nothing needed to be changed.
    BaselineUnchanged,
    /// It ends, on a node that has no disk for what it should keep, and says so.
    BaselineVolatile,
}

/// Waits for the end of Baseline, and checks that every step before it ended well, in order, and that no record is missing.
///
/// # Panics
/// When the node says something else.
pub fn baseline(machine: &Machine, expect: Expect) -> Vec<Record> {
    let ended = |record: &Record| matches!(record.outcome, Outcome::Done | Outcome::Unchanged);
    let is_it = |record: &Record| record.stage == Stage::Baseline.name() && ended(record);
    machine.wait_for("the end of Baseline", Patience::BOOT, is_it).unwrap();
    let records = machine.console().records();
    for (expected, record) in (1..).zip(&records) {
        assert_eq!(record.n, expected, "a record is missing or torn before {record:?}");
    }
    let early = EARLY.map(EarlyStage::name);
    let late = [Stage::ValidateShard, Stage::Disks, Stage::Baseline].map(Stage::name);
    let mut position = 0;
    for stage in early.into_iter().chain(late) {
        let is_volatile = |record: &Record| {
            expect == Expect::BaselineVolatile
                && stage == Stage::Disks.name()
                && record.outcome == Outcome::Waiting
                && record.on.as_deref() == Some("disk")
        };
        let is_end = |record: &Record| {
            let is_disks = expect == Expect::BaselineVolatile && stage == Stage::Disks.name();
            record.stage == stage && if is_disks { is_volatile(record) } else { ended(record) }
        };
        let found = records.iter().skip(position).position(is_end);
        position += found.unwrap_or_else(|| panic!("{stage} did not end in its turn: {records:#?}"));
        let outcome = records[position].outcome;
        if expect == Expect::BaselineUnchanged && late.contains(&stage) {
            assert_eq!(outcome, Outcome::Unchanged, "{stage}");
        }
    }
    assert!(records.iter().all(|record| record.outcome != Outcome::Corrupt), "{records:#?}");
    records
}

/// Waits until the node halts for good; gives the record that says why.
///
/// # Panics
/// When it does not halt.
pub fn halts(machine: &Machine) -> Record {
    machine.wait_for("a halt", Patience::BOOT, |record| record.outcome == Outcome::Halted).unwrap()
}

/// Waits until a stage of the agent halts, with this in its error.
///
/// # Panics
/// When something else happens.
pub fn halts_at(machine: &Machine, stage: Stage, error: &str) {
    let record = halts(machine);
    assert_eq!(record.stage, stage.name(), "{record:?}");
    assert!(record.error.as_deref().is_some_and(|said| said.contains(error)), "not {error:?}: {record:?}");
}

/// No unit has failed, says the status page.
///
/// # Panics
/// When one has.
pub fn no_failed_unit(machine: &mut Machine) {
    let page = status_page(machine);
    assert!(page.iter().any(|line| line.contains("units     none failed")), "{page:#?}");
}

/// Presses the power button until the machine ends: the first press is lost when systemd-logind does not listen yet.
///
/// # Panics
/// When the machine does not end.
pub fn powers_off(machine: &mut Machine) {
    const PRESSES: usize = 4;
    for press in 1..=PRESSES {
        machine.press_power().unwrap();
        match machine.wait_for_end(Patience::STEP) {
            Ok(_) => return,
            Err(error) => assert!(press < PRESSES, "{error}"),
        }
    }
}

/// The last record of a stage.
///
/// # Panics
/// When it has none.
pub fn last(records: &[Record], stage: Stage) -> &Record {
    records.iter().rfind(|record| record.stage == stage.name()).unwrap()
}

/// The status page: what Enter on the console prints.
///
/// # Panics
/// When no page comes.
pub fn status_page(machine: &mut Machine) -> Vec<String> {
    machine.from_here();
    let start = machine.console().len();
    machine.type_text("\r").unwrap();
    let rule = "=".repeat(80);
    machine
        .wait_for_line("the end of the status page", Patience::STEP, |line| line.trim_end().ends_with(&rule))
        .unwrap();
    machine.console().lines().into_iter().skip(start).map(|line| line.text).collect()
}
