//! What is wrong with a spec, where, by which rule, and what to write instead.

use std::fmt::Write as _;

use serde::Serialize;

use crate::yaml::Place;
use kubedos_wire::printable::{is_printable, line};

/// The most problems that are collected from one file.
pub const MAX_PROBLEMS: usize = 200;

/// Whether a problem makes the spec invalid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The spec is invalid.
    Error,
    /// The spec is valid, and may not mean what its author wants.
    Warning,
}

/// A rule that a spec must keep.
#[derive(Debug, PartialEq, Eq)]
pub struct Rule {
    /// Its id.
    pub id: &'static str,
    /// What must hold.
    pub sentence: &'static str,
    /// What breaking it means.
    pub severity: Severity,
}

impl Rule {
    /// A break of the rule.
    pub fn at(&'static self, at: Place, message: impl Into<String>) -> Problem {
        Problem { at, rule: self.id, severity: self.severity, message: message.into(), help: None }
    }
}

/// One break of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where.
    pub at: Place,
    /// The id of the rule.
    pub rule: &'static str,
    /// What it means.
    pub severity: Severity,
    /// What is wrong here.
    pub message: String,
    /// What to write instead.
    pub help: Option<String>,
}

impl Problem {
    /// The same with a hint.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// `PATH:LINE:COLUMN: message`, the line itself, the rule and the hint. All that it quotes is escaped; the colours are its own.
    pub fn render(&self, path: &str, source: &str, color: bool) -> String {
        let paint = |code: &str, text: &str| {
            if color { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
        };
        let (word, code) = match self.severity {
            Severity::Error => ("", "1;31"),
            Severity::Warning => ("warning: ", "1;33"),
        };
        let place = format!("{}:{}:{}:", line(path), self.at.line, self.at.column);
        let message = line(&self.message);
        let mut text = format!("{} {}{message}\n", paint("1", &place), paint(code, word));
        if let Some(excerpt) = excerpt(source, self.at) {
            let number = self.at.line.to_string();
            let margin = " ".repeat(number.len());
            let marks = "^".repeat(excerpt.length.max(1));
            let bar = paint("34", "|");
            // Writing to a String does not fail.
            let _written = writeln!(
                text,
                "  {number} {bar} {}\n  {margin} {bar} {}{}",
                excerpt.text,
                " ".repeat(excerpt.column),
                paint(code, &marks)
            );
        }
        let _written = writeln!(text, "  {} {}", paint("34", "rule:"), self.rule);
        if let Some(help) = &self.help {
            let _written = writeln!(text, "  {} {}", paint("34", "help:"), line(help));
        }
        text
    }
}

/// What is said of a file: its problems, and how many there are when one of them makes it invalid.
pub fn render(path: &str, source: &str, problems: &[Problem], color: bool) -> String {
    let mut text: String = problems.iter().map(|problem| problem.render(path, source, color)).collect();
    let of = |severity| problems.iter().filter(|problem| problem.severity == severity).count();
    let errors = of(Severity::Error);
    if errors > 0 {
        let more = if problems.len() >= MAX_PROBLEMS { ", and perhaps more" } else { "" };
        let warnings = counted(of(Severity::Warning), "warning");
        // Writing to a String does not fail.
        let path = line(path);
        let _written = writeln!(text, "{path}: invalid: {}, {warnings}{more}", counted(errors, "error"));
    }
    text
}

/// A number with the word that it counts, in the plural where it belongs: `1 error`, `2 errors`.
pub fn counted(number: usize, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

struct Excerpt {
    text: String,
    column: usize,
    length: usize,
}

/// A character of a file as a diagnostic shows it: nothing that a terminal would obey, and a tab as one column.
pub(super) fn shown(c: char) -> char {
    match c {
        '\t' => ' ',
        c if is_printable(c) => c,
        _ => char::REPLACEMENT_CHARACTER,
    }
}

/// The widest excerpt, in characters; a longer line is cut around the place.
const WIDTH: usize = 100;

fn excerpt(source: &str, at: Place) -> Option<Excerpt> {
    let line = source.lines().nth(usize::try_from(at.line).ok()?.checked_sub(1)?)?;
    let characters: Vec<char> = line.chars().map(shown).collect();
    // A line that is mostly unreadable, as one of a UTF-16 file is, shows nothing.
    let unreadable = characters.iter().filter(|c| **c == char::REPLACEMENT_CHARACTER).count();
    if unreadable > 8 && unreadable * 3 > characters.len() && at.column == 1 {
        return None;
    }
    let column = usize::try_from(at.column).ok()?.saturating_sub(1).min(characters.len());
    let start = if characters.len() > WIDTH { column.saturating_sub(WIDTH / 2) } else { 0 };
    let shown: String = characters.iter().skip(start).take(WIDTH).collect();
    let length = usize::try_from(at.length).ok()?.min(shown.chars().count().saturating_sub(column - start));
    (!characters.is_empty()).then_some(Excerpt { text: shown, column: column - start, length })
}
