//! What goes to the two streams, and what they can show. Neither `print!` nor `eprint!` is used: they panic when a stream is full or gone.

use std::fmt::Display;
use std::io::{ErrorKind, IsTerminal, Write};

use kubedos_builder::failure::{Class, Failure};
use serde::Serialize;

/// A line to stderr.
macro_rules! say {
    ($($text:tt)*) => {
        kubedos_builder::failure::tell(format_args!($($text)*))
    };
}
pub(super) use say;

/// Lines to stderr, of which there may be none.
pub fn say_lines(text: &str) {
    if !text.is_empty() {
        say!("{}", text.trim_end_matches('\n'));
    }
}

/// Data to stdout; a reader that has gone away is not a failure.
pub fn print(text: &(impl Display + ?Sized)) -> Result<(), Failure> {
    let mut stdout = std::io::stdout().lock();
    match write!(stdout, "{text}").and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::new(Class::Failed, Unwritten(error)))
        }
        _ => Ok(()),
    }
}

/// A document to stdout, on one line.
pub fn print_json(document: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string(document).map_err(|error| Failure::new(Class::Failed, error))?;
    print(&format_args!("{text}\n"))
}

/// A document to stdout that people may read, too.
pub fn print_pretty(document: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(document).map_err(|error| Failure::new(Class::Failed, error))?;
    print(&format_args!("{text}\n"))
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
