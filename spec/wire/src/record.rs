//! The console record: one JSON object per line after `kubedos: `, in a record of the kernel log of at most 900 bytes.
//!
//! Stage 1 and the agent write it; the lab and users' scripts read it, so its format is a stable interface
//! (`docs/console.md`). Readers ignore unknown fields (ADR 0003). A text that would exceed the limit is truncated and ends in
//! `…`.
//!
//! Texts may quote the content of disks, firmware and other programs. The line contains printable characters only
//! (`printable`), and [`PREFIX`] only once: inside a text the colon of the prefix is written as `\u003a` in JSON, so that no text
//! contains a second record.

use serde::{Deserialize, Serialize};

use crate::printable;

/// The text before the JSON object.
pub const PREFIX: &str = "kubedos: ";

/// Maximum length of a record, prefix included. The kernel's own limit for one record is 976 bytes of text on a 6.12
/// kernel.
pub const MAX_BYTES: usize = 900;

/// The version of the format.
pub const VERSION: u32 = 1;

/// The state of a stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It has started.
    Started,
    /// It has ended with a change.
    Done,
    /// It has ended without a change.
    Unchanged,
    /// It cannot continue yet; `on` gives the reason.
    Waiting,
    /// It failed and will be retried; see `error` and `attempt`.
    Retry,
    /// A block failed verification after boot; see `volume`.
    Corrupt,
    /// It failed permanently; see `error`.
    Halted,
}

impl Outcome {
    /// The name of the outcome in records and documentation.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Done => "done",
            Self::Unchanged => "unchanged",
            Self::Waiting => "waiting",
            Self::Retry => "retry",
            Self::Corrupt => "corrupt",
            Self::Halted => "halted",
        }
    }
}

/// One console record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Always [`VERSION`].
    pub v: u32,
    /// Number of the record in this boot, from 1, stage 1 included.
    pub n: u64,
    /// Seconds since the kernel started.
    pub t: f64,
    /// The node's name; absent until the agent has read the seed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// A stage of the agent or a step of stage 1.
    pub stage: String,
    /// Its state.
    pub outcome: Outcome,
    /// How long it took, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub took_ms: Option<u64>,
    /// The condition that it waits for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on: Option<String>,
    /// The error with the chain of its causes, joined by `: `.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The number of the attempt, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    /// The volume that failed verification.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume: Option<String>,
    /// Further information for an operator: the result and its reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

impl Record {
    /// A record with no optional field.
    pub fn new(n: u64, t: f64, stage: impl Into<String>, outcome: Outcome) -> Self {
        Self {
            v: VERSION,
            n,
            t,
            node: None,
            stage: stage.into(),
            outcome,
            took_ms: None,
            on: None,
            error: None,
            attempt: None,
            volume: None,
            note: None,
        }
    }

    /// The line including the prefix, without a line end; at most [`MAX_BYTES`] long.
    pub fn line(&self) -> String {
        let mut record = self.clone();
        // JSON cannot represent infinity. The uptime of a machine is always below 10^9 seconds.
        record.t = (record.t.clamp(0.0, 1e9) * 1000.0).round() / 1000.0;
        loop {
            let document = serde_json::to_string(&record).unwrap_or_default();
            let document = printable::json(&document).replace(PREFIX, "kubedos\\u003a ");
            let line = format!("{PREFIX}{document}");
            let excess = line.len().saturating_sub(MAX_BYTES);
            if excess == 0 || !record.shorten(excess) {
                return line;
            }
        }
    }

    /// A line of text that is not a record: printable, and at most [`MAX_BYTES`] long.
    pub fn remark(text: &str) -> String {
        let mut line = format!("kubedos-init: {}", not_a_record(text));
        if line.len() > MAX_BYTES {
            line.truncate(line.floor_char_boundary(MAX_BYTES - '…'.len_utf8()));
            line.push('…');
        }
        line
    }

    /// Truncates the longest text field; `false` if no field can be truncated further.
    fn shorten(&mut self, excess: usize) -> bool {
        let texts = [&mut self.error, &mut self.note, &mut self.on, &mut self.volume, &mut self.node];
        let texts = texts.into_iter().flatten().chain([&mut self.stage]);
        let Some(text) = texts.max_by_key(|text| text.len()) else {
            return false;
        };
        let keep = text.len().saturating_sub(excess + '…'.len_utf8());
        let cut = (0..=keep).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        let shorter = format!("{}…", text.get(..cut).unwrap_or_default());
        let progress = shorter.len() < text.len();
        *text = shorter;
        progress
    }

    /// The record in a console line, at any position; `None` if the line contains no record.
    pub fn find(line: &str) -> Option<Self> {
        let (_, json) = line.split_once(PREFIX)?;
        let mut values = serde_json::Deserializer::from_str(json).into_iter::<Self>();
        values.next()?.ok().filter(|record| record.v == VERSION)
    }
}

/// Escapes a text for the same console: the result is one printable line that no reader can mistake for a record.
pub fn not_a_record(text: &str) -> String {
    printable::line(text).replace(PREFIX, "kubedos\\u{3a} ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_outcomes_equal_their_serialized_form() {
        use Outcome::{Corrupt, Done, Halted, Retry, Started, Unchanged, Waiting};
        for outcome in [Started, Done, Unchanged, Waiting, Retry, Corrupt, Halted] {
            assert_eq!(serde_json::to_value(outcome).unwrap(), outcome.name());
        }
    }

    #[test]
    fn a_record_is_found_anywhere_in_a_line() {
        let mut record = Record::new(17, 12.345, "Disks", Outcome::Done);
        record.node = Some("cp-1".into());
        record.took_ms = Some(812);
        let line = record.line();
        assert_eq!(
            line,
            r#"kubedos: {"v":1,"n":17,"t":12.345,"node":"cp-1","stage":"Disks","outcome":"done","took_ms":812}"#
        );
        assert_eq!(Record::find(&format!("[   12.3] <6>{line}\r")), Some(record));
        assert_eq!(Record::find("kubedos: starting"), None);
        assert_eq!(Record::find(r#"kubedos: {"v":2,"n":1,"t":0,"stage":"Disks","outcome":"done"}"#), None);
    }

    /// A record that was found and written again is found in the written line, even with numbers that JSON cannot represent
    /// or with a long stage.
    #[test]
    fn a_hostile_record_can_be_written_and_found_again() {
        for (t, stage) in [("1e308", "Disks"), ("-1e308", "Disks"), ("1", &*"s".repeat(5000))] {
            let line = format!(r#"kubedos: {{"v":1,"n":1,"t":{t},"stage":"{stage}","outcome":"done"}}"#);
            let line = Record::find(&line).unwrap().line();
            assert!(line.len() <= MAX_BYTES, "{} bytes", line.len());
            assert_eq!(Record::find(&line).unwrap().line(), line);
        }
    }

    /// Text from a disk label, a serial number or SMBIOS can neither control the console nor forge a record, and
    /// a reader gets it unchanged.
    #[test]
    fn untrusted_text_cannot_control_a_console_or_forge_a_record() {
        let forged = r#"kubedos: {"v":1,"n":9,"t":1.0,"stage":"Seal","outcome":"done"}"#;
        for text in [
            "\u{1b}[2K\rok".to_owned(),
            "\u{9b}2J\u{7f}\u{202e}\u{2028}\u{200b}".to_owned(),
            format!("a\n{forged}"),
            format!("\"}}\n{forged}"),
            format!("kubedos: {forged}"),
            "\u{1b}".repeat(10_000),
            forged.repeat(300),
            "\u{10ffff}kubedos: ".repeat(1000),
        ] {
            let mut record = Record::new(1, 0.5, "Disks", Outcome::Halted);
            record.error = Some(text.clone());
            let (line, remark) = (record.line(), Record::remark(&text));
            for shown in [&line, &remark] {
                assert!(shown.len() <= MAX_BYTES, "{} bytes", shown.len());
                assert!(shown.chars().all(printable::is_printable), "{shown}");
            }
            assert_eq!((line.matches(PREFIX).count(), remark.matches(PREFIX).count()), (1, 0), "{line}");
            assert_eq!(Record::find(&remark), None);
            let found = Record::find(&line).unwrap().error.unwrap();
            assert!(found == text || text.starts_with(found.strip_suffix('…').unwrap()), "{found:?}");
        }
    }

    #[test]
    fn a_long_error_is_truncated_and_the_line_stays_valid() {
        for length in [700, 899, 900, 901, 5000] {
            let mut record = Record::new(1, 0.5, "OpenRoot", Outcome::Halted);
            record.error = Some("ü\n".repeat(length));
            let line = record.line();
            assert!(line.len() <= MAX_BYTES, "{} bytes", line.len());
            assert_eq!(Record::find(&line).unwrap().outcome, Outcome::Halted);
        }
    }
}
