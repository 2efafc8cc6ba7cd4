//! Checks of a node's console: which records must appear, in which order, and which lines a healthy console may show.
//!
//! Every function waits on the console of a running machine and panics if the node reports something else.

use kubedos_lab::{Machine, Patience};
use kubedos_wire::record::{Outcome, Record};
use kubedos_wire::stage::{EarlyStage, Stage};

/// The steps of stage 1, in order.
const EARLY: [EarlyStage; 6] = [
    EarlyStage::Modules,
    EarlyStage::FindVolumes,
    EarlyStage::OpenRoot,
    EarlyStage::OpenPayload,
    EarlyStage::OpenConfiguration,
    EarlyStage::SwitchRoot,
];

/// How a boot is expected to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// Baseline, the last stage of this version, succeeds, with or without changes.
    Baseline,
    /// Baseline succeeds, and no stage of the agent changed anything.
    BaselineUnchanged,
    /// Baseline succeeds, and Disks waits for a disk: STATE and DATA are in memory.
    BaselineVolatile,
}

/// Waits for the end of Baseline, and checks that every step before it succeeded, in order, and that no record is missing.
///
/// # Panics
/// If the node reports something else.
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
        position += found.unwrap_or_else(|| panic!("{stage} did not end in order: {records:#?}"));
        let outcome = records[position].outcome;
        if expect == Expect::BaselineUnchanged && late.contains(&stage) {
            assert_eq!(outcome, Outcome::Unchanged, "{stage}");
        }
    }
    assert!(records.iter().all(|record| record.outcome != Outcome::Corrupt), "{records:#?}");
    records
}

/// Waits until the node halts; returns the record with the error.
///
/// # Panics
/// If it does not halt.
pub fn halts(machine: &Machine) -> Record {
    machine.wait_for("a halt", Patience::BOOT, |record| record.outcome == Outcome::Halted).unwrap()
}

/// Waits until a stage of the agent halts with an error that contains `error`.
///
/// # Panics
/// If another stage halts, or with another error.
pub fn halts_at(machine: &Machine, stage: Stage, error: &str) {
    let record = halts(machine);
    assert_eq!(record.stage, stage.name(), "{record:?}");
    assert!(record.error.as_deref().is_some_and(|text| text.contains(error)), "not {error:?}: {record:?}");
}

/// Checks on the status page that no unit has failed.
///
/// # Panics
/// If one has failed.
pub fn no_failed_unit(machine: &mut Machine) {
    let page = status_page(machine);
    assert!(page.iter().any(|line| line.contains("units     none failed")), "{page:#?}");
}

/// Presses the power button every few seconds until the machine ends. A press is lost if systemd-logind does not listen yet, and a further
/// press during the shutdown has no effect.
///
/// # Panics
/// If the machine does not end.
pub fn powers_off(machine: &mut Machine) {
    const PRESSES: usize = 40;
    for press in 1..=PRESSES {
        machine.press_power().unwrap();
        match machine.wait_for_end(Patience::seconds(4)) {
            Ok(_) => return,
            Err(error) => assert!(press < PRESSES, "{error}"),
        }
    }
}

/// The last record of a stage.
///
/// # Panics
/// If it has none.
pub fn last(records: &[Record], stage: Stage) -> &Record {
    records.iter().rfind(|record| record.stage == stage.name()).unwrap()
}

/// Presses Enter on the console; returns the status page that the node prints.
///
/// # Panics
/// If no page appears.
pub fn status_page(machine: &mut Machine) -> Vec<String> {
    machine.from_here();
    let start = machine.console().len();
    machine.type_text("\r").unwrap();
    let rule = "=".repeat(80);
    machine
        .wait_for_line("the end of the status page", Patience::STEP, |line| line.trim_end().ends_with(&rule))
        .unwrap();
    machine.console().lines_from(start).1.into_iter().map(|line| line.text).collect()
}

/// Words that a person understands as a fault, in lower case.
const FAULT_WORDS: [&str; 22] = [
    "fail",
    "error",
    "warn",
    "cannot",
    "can't",
    "could not",
    "unable",
    "refused",
    "invalid",
    "corrupt",
    "not found",
    "no such",
    "no usable",
    "missing",
    "denied",
    "suppressed",
    "did not",
    "bug",
    "unknown",
    "unsupported",
    "ignoring",
    "halted",
];

/// Whether a healthy node may print this line: a line of the firmware, of the kernel's EFI stub, or a record.
fn is_healthy(line: &str) -> bool {
    let text = without_escapes(line);
    let text = text.trim();
    if text.is_empty() || text.starts_with("BdsDxe: ") {
        return true; // a line of the firmware
    }
    let lower = text.to_lowercase().replace("errors    none", "").replace("units     none failed", "");
    let has_no_fault_word = !FAULT_WORDS.iter().any(|word| lower.contains(word));
    let is_record = Record::find(text)
        .is_some_and(|record| !matches!(record.outcome, Outcome::Retry | Outcome::Corrupt | Outcome::Halted));
    has_no_fault_word && (is_record || text.starts_with("EFI stub: Loaded initrd from "))
}

/// The line without the escape sequences of firmware and systemd (ECMA-48 control sequences and operating system commands).
fn without_escapes(line: &str) -> String {
    let mut text = String::new();
    let mut rest = line.chars().peekable();
    while let Some(c) = rest.next() {
        match (c, rest.peek()) {
            ('\u{1b}', Some('[')) => {
                rest.next();
                while rest.next().is_some_and(|c| !('@'..='~').contains(&c)) {}
            }
            ('\u{1b}', Some(']')) => while rest.next().is_some_and(|c| c != '\u{7}' && c != '\\') {},
            ('\u{1b}', _) => drop(rest.next()),
            (c, _) if c.is_control() => {}
            (c, _) => text.push(c),
        }
    }
    text
}

/// D1: checks that the machine has printed only lines of `docs/console.md`, and none that looks like a fault. A requested status page is
/// not checked.
///
/// # Panics
/// If there is another line.
pub fn healthy_console(machine: &Machine) {
    let lines: Vec<String> = machine.console().lines().into_iter().map(|line| line.text).collect();
    healthy_lines(&lines);
}

/// As [`healthy_console`], for lines that were saved.
///
/// # Panics
/// If there is another line.
pub fn healthy_lines(lines: &[String]) {
    let mut in_page = false;
    let mut unexpected = Vec::new();
    for line in lines {
        let text = without_escapes(line);
        if text.trim().starts_with("== kubedOS") {
            in_page = true;
        } else if in_page && text.trim_end().ends_with(&"=".repeat(80)) {
            in_page = false;
        } else if !in_page && !is_healthy(line) {
            unexpected.push(line);
        }
    }
    assert!(unexpected.is_empty(), "lines that a healthy console does not show: {unexpected:#?}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_look_like_faults_are_found() {
        let record = |outcome: &str, note: &str| {
            format!(
                r#"[    8.1] kubedos: {{"v":1,"n":3,"t":8.0,"stage":"FindVolumes","outcome":"{outcome}","note":"{note}"}}"#
            )
        };
        for calm in [
            "",
            "\u{1b}[2J\u{1b}[01;01HBdsDxe: loading Boot0001 \"UEFI Misc Device\"",
            "\u{1b}[!p\u{1b}]104\u{1b}\\\u{1b}[?7h",
            "EFI stub: Loaded initrd from LINUX_EFI_INITRD_MEDIA_GUID device path",
            &record("done", "found: vda; vdb has no GPT"),
            &record("waiting", "not in this version"),
        ] {
            healthy_lines(&[calm.to_owned()]);
        }
        for unexpected in [
            "[    5.7] device-mapper: core: CONFIG_IMA_DISABLE_HTABLE is disabled.",
            "[    7.9] GPT:Primary header thinks Alt. header is not at the end of the disk.",
            "[    8.9] systemd[1]: Failed to find module 'autofs4'",
            "[   13.5] kauditd_printk_skb: 31 callbacks suppressed",
            "anything else",
            &record("done", "no usable partition table on vdb"),
            &record("retry", ""),
            &record("halted", ""),
        ] {
            assert!(!is_healthy(unexpected), "{unexpected}");
        }
    }
}
