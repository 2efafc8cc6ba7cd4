//! Output to stdout and stderr. `print!` and `eprint!` are not used, because they panic if a stream is full or closed.
//!
//! All output of a command goes through one of these functions. Each escapes the characters that a terminal would interpret or hide
//! (`kubedos_wire::printable`); `printable::Row` keeps a table row on one line. Only [`print_painted`], [`repaint`] and [`say_painted`] pass
//! colour sequences, for texts whose parts were already escaped.

use std::fmt::Display;
use std::io::{ErrorKind, IsTerminal, Write};

use kubedos_debian::failure::{Class, Failure};
use kubedos_wire::printable;
use serde::Serialize;

/// Writes a line to stderr.
macro_rules! say {
    ($($text:tt)*) => {
        kubedos_debian::failure::tell(format_args!($($text)*))
    };
}
pub(super) use say;

/// Writes lines to stderr; the text may be empty.
pub fn say_lines(text: &str) {
    text.lines().for_each(|line| say!("{line}"));
}

/// Writes lines with colours to stderr.
pub fn say_painted(text: &str) {
    // A write error to stderr cannot be reported.
    drop(write!(std::io::stderr().lock(), "{}", painted(text)));
}

/// Writes data to stdout, as lines. A closed pipe is not an error.
pub fn print(text: &(impl Display + ?Sized)) -> Result<(), Failure> {
    write_out(&printable::lines(&text.to_string()))
}

/// Writes lines with colours to stdout.
pub fn print_painted(text: &str) -> Result<(), Failure> {
    write_out(&painted(text))
}

/// Writes lines with colours to stdout, in place of the last `replaced` lines of the terminal.
pub fn repaint(replaced: usize, text: &str) -> Result<(), Failure> {
    let up = if replaced > 0 { format!("\x1b[{replaced}A") } else { String::new() };
    let lines: String = painted(text).lines().map(|line| format!("\x1b[2K{line}\n")).collect();
    // The last sequence clears the lines below, if there were more of them.
    write_out(&format!("{up}{lines}\x1b[J"))
}

/// Escapes a text like [`print`], but keeps the colour sequences that this program uses.
fn painted(text: &str) -> String {
    const COLORS: [&str; 7] = ["0", "1", "32", "33", "34", "1;31", "1;33"];
    let mut parts = text.split("\x1b[");
    let mut shown = printable::lines(parts.next().unwrap_or_default()).into_owned();
    for part in parts {
        match part.split_once('m').filter(|(color, _)| COLORS.contains(color)) {
            Some((color, rest)) => {
                shown.push_str("\x1b[");
                shown.push_str(color);
                shown.push('m');
                shown.push_str(&printable::lines(rest));
            }
            None => {
                shown.push_str(&printable::lines("\x1b["));
                shown.push_str(&printable::lines(part));
            }
        }
    }
    shown
}

fn write_out(text: &str) -> Result<(), Failure> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::new(Class::Failed, Unwritten(error)))
        }
        _ => Ok(()),
    }
}

/// Writes a JSON document to stdout, on one line.
pub fn print_json(document: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string(document).map_err(|error| Failure::new(Class::Failed, error))?;
    print_document(&(text + "\n"))
}

/// Writes an indented JSON document to stdout.
pub fn print_pretty(document: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(document).map_err(|error| Failure::new(Class::Failed, error))?;
    print_document(&(text + "\n"))
}

/// Writes the text of a JSON document to stdout.
pub fn print_document(text: &str) -> Result<(), Failure> {
    write_out(&printable::json(text))
}

#[derive(Debug, thiserror::Error)]
#[error("failed to write to standard output")]
struct Unwritten(#[source] std::io::Error);

/// Whether colours are written to a stream: it must be a terminal, without `NO_COLOR` and not with `TERM=dumb`.
pub fn takes_color(stream: &impl IsTerminal) -> bool {
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    stream.is_terminal() && !no_color && !is_dumb()
}

/// Clears a progress line on the terminal.
pub fn clear_line() {
    if can_move_cursor() {
        // Cosmetic only, so an error is ignored.
        drop(write!(std::io::stderr(), "\r\x1b[2K"));
    }
}

/// Whether stderr can show an updated line.
pub fn can_move_cursor() -> bool {
    std::io::stderr().is_terminal() && !is_dumb()
}

fn is_dumb() -> bool {
    std::env::var_os("TERM").is_none_or(|term| term == "dumb")
}

#[cfg(test)]
mod tests {
    use super::painted;

    #[test]
    fn only_colours_of_this_program_are_kept() {
        assert_eq!(painted("\x1b[1;31mFAIL\x1b[0m  esp\n"), "\x1b[1;31mFAIL\x1b[0m  esp\n");
        for (text, shown) in [
            ("a\x1b[2K\rb", r"a\u{1b}[2K\rb"),
            ("\x1b[8mhidden", r"\u{1b}[8mhidden"),
            ("\x1b[32;8mx", r"\u{1b}[32;8mx"),
            ("\x1b[", r"\u{1b}["),
            ("\x1b\x1b[0m", "\\u{1b}\x1b[0m"),
            ("\u{9b}0m", r"\u{9b}0m"),
        ] {
            assert_eq!(painted(text), shown);
        }
    }
}
