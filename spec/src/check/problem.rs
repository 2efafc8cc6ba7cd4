//! A problem of a spec: its position, the violated rule, a message and a hint; and the text that shows problems to a person.

use std::fmt::Write as _;

use serde::Serialize;

use crate::yaml::Place;
use kubedos_wire::printable::{is_printable, line};

/// Maximum number of problems that are collected from one file.
pub const MAX_PROBLEMS: usize = 200;

/// Whether a problem makes the spec invalid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The spec is invalid.
    Error,
    /// The spec is valid, but may have an effect that its author does not want.
    Warning,
}

/// A rule that a spec must satisfy.
#[derive(Debug, PartialEq, Eq)]
pub struct Rule {
    /// Its id.
    pub id: &'static str,
    /// The requirement, as a sentence.
    pub sentence: &'static str,
    /// The severity of a violation.
    pub severity: Severity,
}

impl Rule {
    /// Creates the problem for a violation of the rule.
    pub fn at(&'static self, at: Place, message: impl Into<String>) -> Problem {
        Problem { at, rule: self.id, severity: self.severity, message: message.into(), help: None }
    }
}

/// One violation of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The position in the file.
    pub at: Place,
    /// The id of the rule.
    pub rule: &'static str,
    /// The severity of the rule.
    pub severity: Severity,
    /// The violation, in one line.
    pub message: String,
    /// A hint for the author: how to correct the spec.
    pub help: Option<String>,
}

impl Problem {
    /// Adds a hint.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// `PATH:LINE:COLUMN: message`, then the line itself, the rule and the hint. Quoted text
    /// is escaped, so only the escape sequences of the colours reach the terminal.
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

/// The report about a file: its problems, and their number if the file is invalid.
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

/// A number with its noun, in the plural if necessary: `1 error`, `2 errors`.
pub fn counted(number: usize, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

struct Excerpt {
    text: String,
    column: usize,
    length: usize,
}

/// A character of a file as a diagnostic shows it: terminal control characters are replaced, and a tab is one column.
pub(super) fn shown(c: char) -> char {
    match c {
        '\t' => ' ',
        c if is_printable(c) => c,
        _ => char::REPLACEMENT_CHARACTER,
    }
}

/// Maximum width of an excerpt, in characters; a longer line is truncated around the position.
const WIDTH: usize = 100;

fn excerpt(source: &str, at: Place) -> Option<Excerpt> {
    let line = source.lines().nth(usize::try_from(at.line).ok()?.checked_sub(1)?)?;
    let characters: Vec<char> = line.chars().map(shown).collect();
    // A line that is mostly unreadable, as in a UTF-16 file, is not shown.
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
