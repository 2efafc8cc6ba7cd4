//! What the streams can show.

use std::io::IsTerminal;

/// May colours go to this stream? On a terminal, without `NO_COLOR`, and not with `TERM=dumb`.
pub fn takes_color(stream: &impl IsTerminal) -> bool {
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    stream.is_terminal() && !no_color && !is_dumb()
}

/// Can the terminal move its cursor, which a progress bar needs?
pub fn is_dumb() -> bool {
    std::env::var_os("TERM").is_none_or(|term| term == "dumb")
}
