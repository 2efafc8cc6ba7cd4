//! What goes to the two streams, and what they can show. Neither `print!` nor `eprint!` is used: they panic when a stream is full or gone.
//!
//! Everything that a command prints passes one of these functions, and each escapes what a terminal would obey or hide
//! (`kubedos_wire::printable`); what keeps a row of a table on its line is `printable::Row`. Colours are the program's own: only
//! [`print_painted`] and [`say_painted`] let them pass, for texts whose parts were escaped where they were put together.

use std::fmt::Display;
use std::io::{ErrorKind, IsTerminal, Write};

use kubedos_debian::failure::{Class, Failure};
use kubedos_wire::printable;
use serde::Serialize;

/// A line to stderr.
macro_rules! say {
    ($($text:tt)*) => {
        kubedos_debian::failure::tell(format_args!($($text)*))
    };
}
pub(super) use say;

/// Lines to stderr, of which there may be none.
pub fn say_lines(text: &str) {
    text.lines().for_each(|line| say!("{line}"));
}

/// The same with colours.
pub fn say_painted(text: &str) {
    // If nobody can read it there is nobody to tell.
    drop(write!(std::io::stderr().lock(), "{}", painted(text)));
}

/// Data to stdout, as lines; a reader that has gone away is not a failure.
pub fn print(text: &(impl Display + ?Sized)) -> Result<(), Failure> {
    write_out(&printable::lines(&text.to_string()))
}

/// The same with colours.
pub fn print_painted(text: &str) -> Result<(), Failure> {
    write_out(&painted(text))
}

/// What [`print`] prints, and the colours that this program uses.
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

/// A JSON document to stdout, on one line.
pub fn print_json(document: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string(document).map_err(|error| Failure::new(Class::Failed, error))?;
    print_document(&(text + "\n"))
}

/// A JSON document to stdout that people may read, too.
pub fn print_pretty(document: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(document).map_err(|error| Failure::new(Class::Failed, error))?;
    print_document(&(text + "\n"))
}

/// A JSON document to stdout, as it was written.
pub fn print_document(text: &str) -> Result<(), Failure> {
    write_out(&printable::json(text))
}

#[derive(Debug, thiserror::Error)]
#[error("failed to write to standard output")]
struct Unwritten(#[source] std::io::Error);

/// May colours go to this stream? On a terminal, without `NO_COLOR`, and not with `TERM=dumb`.
pub fn takes_color(stream: &impl IsTerminal) -> bool {
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    stream.is_terminal() && !no_color && !is_dumb()
}

/// Takes away what a progress line has left on the terminal.
pub fn clear_line() {
    if can_move_cursor() {
        // Only for looks.
        drop(write!(std::io::stderr(), "\r\x1b[2K"));
    }
}

/// Can stderr show a line that changes?
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
    fn only_the_colours_of_this_program_pass() {
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
