//! What a node is expected to say.

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

/// Words that a person reads as a fault, in small letters.
const ALARMING: [&str; 22] = [
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

/// Whether a line is one of those that a healthy node prints: firmware, the kernel's loader, records, the status page.
fn is_healthy(line: &str) -> bool {
    let text = without_escapes(line);
    let text = text.trim();
    if text.is_empty() || text.starts_with("BdsDxe: ") {
        return true; // firmware's own
    }
    let lower = text.to_lowercase().replace("errors    none", "").replace("units     none failed", "");
    let is_calm = !ALARMING.iter().any(|word| lower.contains(word));
    let is_record = Record::find(text)
        .is_some_and(|record| !matches!(record.outcome, Outcome::Retry | Outcome::Corrupt | Outcome::Halted));
    is_calm && (is_record || text.starts_with("EFI stub: Loaded initrd from "))
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

/// D1: nothing that the machine printed until now looks like a fault, nor is it anything but the lines of `docs/console.md`. A status
/// page that was asked for is not looked at.
///
/// # Panics
/// When a line is another.
pub fn healthy_console(machine: &Machine) {
    let lines: Vec<String> = machine.console().lines().into_iter().map(|line| line.text).collect();
    healthy_lines(&lines);
}

/// The same of lines that were kept.
///
/// # Panics
/// When a line is another.
pub fn healthy_lines(lines: &[String]) {
    let mut in_page = false;
    let mut ill = Vec::new();
    for line in lines {
        let text = without_escapes(line);
        if text.trim().starts_with("== kubedOS") {
            in_page = true;
        } else if in_page && text.trim_end().ends_with(&"=".repeat(80)) {
            in_page = false;
        } else if !in_page && !is_healthy(line) {
            ill.push(line);
        }
    }
    assert!(ill.is_empty(), "a healthy console has these lines: {ill:#?}");
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
        for ill in [
            "[    5.7] device-mapper: core: CONFIG_IMA_DISABLE_HTABLE is disabled.",
            "[    7.9] GPT:Primary header thinks Alt. header is not at the end of the disk.",
            "[    8.9] systemd[1]: Failed to find module 'autofs4'",
            "[   13.5] kauditd_printk_skb: 31 callbacks suppressed",
            "anything else",
            &record("done", "no usable partition table on vdb"),
            &record("retry", ""),
            &record("halted", ""),
        ] {
            assert!(!is_healthy(ill), "{ill}");
        }
    }
}
