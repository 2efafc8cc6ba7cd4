//! The state of a lab as a table for people, at most as wide as the terminal.
//!
//! Stages and errors come from consoles and are untrusted: each is escaped, and shortened or wrapped to the width, so that it can neither
//! control the terminal nor look like a row of another node.

use std::fmt::Write as _;

use kubedos_builder::size::human;
use kubedos_wire::printable::{self, clipped};
use kubedos_wire::record::Outcome;

use super::protocol::{LabStatus, NodeStatus, Phase};

/// The width of the table on a wider terminal.
pub const WIDTH: usize = 80;

const HEAD: [&str; 7] = ["NODE", "ROLE", "ADDRESS", "STAGE", "STATE", "UP", "PLANES"];

/// The widest cell of each column. With two spaces between columns, they are 80 characters wide.
const WIDEST: [usize; 7] = [8, 7, 15, 15, 9, 6, 8];

/// The column of the state, which has a colour.
const STATE: usize = 4;

/// The most lines of one text.
const MAX_LINES: usize = 3;

/// Renders the state of a lab in `folder`.
pub fn render(status: &LabStatus, folder: &str, width: usize, color: bool) -> String {
    let width = width.clamp(20, WIDTH);
    let ready = status.nodes.iter().filter(|node| node.phase == Phase::Ready).count();
    let verb = if status.stopping { "is powered off" } else { "runs" };
    let head = format!(
        "lab {} {verb} since {}: {ready} of {} nodes ready",
        printable::line(folder),
        duration(status.up_s),
        status.nodes.len()
    );
    let rows: Vec<[String; 7]> = status.nodes.iter().map(row).collect();
    let widths = widths(&rows);
    let mut text = format!("{}\n\n", clipped(&head, width));
    push_row(&mut text, &HEAD.map(str::to_owned), &widths, width, None);
    for (node, row) in status.nodes.iter().zip(&rows) {
        push_row(&mut text, row, &widths, width, color.then(|| paint(node)).flatten());
        for (what, detail) in details(node) {
            push_wrapped(&mut text, what, &detail, width);
        }
    }
    text
}

fn row(node: &NodeStatus) -> [String; 7] {
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    [
        node.node.clone(),
        if node.role == "control-plane" { "control".to_owned() } else { node.role.clone() },
        or_dash(node.address.clone()),
        or_dash(node.stage.clone()),
        state(node).to_owned(),
        or_dash(node.up_s.map(duration)),
        or_dash(node.planes.as_ref().map(|planes| planes_word(planes.outcome).to_owned())),
    ]
    .map(|cell| ascii(&cell))
}

/// The text of a cell: escaped, and in ASCII only, so that each character has the width of one cell.
fn ascii(text: &str) -> String {
    printable::name(text)
        .chars()
        .flat_map(|c| if c.is_ascii() { vec![c] } else { c.escape_unicode().collect() })
        .collect()
}

fn widths(rows: &[[String; 7]]) -> [usize; 7] {
    let mut widths = HEAD.map(str::len);
    for row in rows {
        for ((width, cell), widest) in widths.iter_mut().zip(row).zip(WIDEST) {
            *width = (*width).max(cell.len().min(widest));
        }
    }
    widths
}

fn push_row(text: &mut String, cells: &[String; 7], widths: &[usize; 7], most: usize, color: Option<&str>) {
    let mut used = 0;
    for (column, (cell, width)) in cells.iter().zip(widths).enumerate() {
        let gap = if column == 0 { 0 } else { 2 };
        let room = most.saturating_sub(used + gap);
        if room == 0 {
            break;
        }
        let shown = clipped(cell, (*width).min(room));
        let pad = if column + 1 == cells.len() {
            0
        } else {
            (*width).min(room).saturating_sub(shown.chars().count())
        };
        used += gap + (*width).min(room);
        // Writing to a String does not fail.
        let _written = match color.filter(|_| column == STATE) {
            Some(color) => write!(text, "{:gap$}\x1b[{color}m{shown}\x1b[0m{:pad$}", "", ""),
            None => write!(text, "{:gap$}{shown}{:pad$}", "", ""),
        };
    }
    let end = text.trim_end_matches(' ').len();
    text.truncate(end);
    text.push('\n');
}

/// What a row has no space for.
fn details(node: &NodeStatus) -> Vec<(&'static str, String)> {
    let mut details = Vec::new();
    if let Some(address) = node.address.as_ref().filter(|address| address.len() > WIDEST[2]) {
        details.push(("address", address.clone()));
    }
    if node.node.len() > WIDEST[0] {
        details.push(("name", node.node.clone()));
    }
    if let Some(on) = &node.on {
        details.push(("waits on", on.clone()));
    }
    if let Some(error) = &node.error {
        details.push((if node.phase.is_settled() { "cause" } else { "error" }, error.clone()));
    }
    if let Some(volume) = &node.corrupt {
        details.push(("corrupt", volume.clone()));
    }
    if let Some(note) = node.planes.as_ref().and_then(|planes| planes.note.as_ref()) {
        details.push(("planes", note.clone()));
    }
    if let Some(machine) = node.machine.as_ref().filter(|machine| *machine != "running") {
        details.push(("machine", machine.clone()));
    }
    details.extend(node.faults.iter().map(|fault| ("fault", fault.clone())));
    let port = &node.port;
    if port.attached || port.received_frames + port.sent_frames > 0 {
        details.push((
            "frames",
            format!(
                "{} from the node ({}), {} to it ({})",
                port.received_frames,
                human(port.received_bytes),
                port.sent_frames,
                human(port.sent_bytes)
            ),
        ));
    }
    details
}

fn push_wrapped(text: &mut String, what: &str, detail: &str, width: usize) {
    const INDENT: usize = 12;
    let room = width.saturating_sub(INDENT).max(4);
    let lines = wrapped(&ascii_or_wide(detail), room);
    for (number, line) in lines.iter().take(MAX_LINES).enumerate() {
        let what = if number == 0 { what } else { "" };
        let is_cut = number + 1 == MAX_LINES && lines.len() > MAX_LINES;
        let line = if is_cut { line.chars().take(room - 1).chain(['…']).collect() } else { line.clone() };
        let _written = writeln!(text, "  {what:<9} {}", line.trim_end());
    }
}

/// Lines of at most `room` characters. A line ends after a space if its second half has one, so that lines remain few.
fn wrapped(text: &str, room: usize) -> Vec<String> {
    let chars: Vec<char> = text.chars().collect();
    let (mut rest, mut lines) = (chars.as_slice(), Vec::new());
    while let Some(full) = rest.get(..=room) {
        let space = full.iter().rposition(|c| *c == ' ').filter(|at| *at >= room / 2);
        let (line, next) = rest.split_at(space.map_or(room, |at| at + 1));
        lines.push(line.iter().collect());
        rest = next;
    }
    if !rest.is_empty() {
        lines.push(rest.iter().collect());
    }
    lines
}

/// Records end in `…` where they were shortened; all other characters outside ASCII are escaped, as in cells.
fn ascii_or_wide(text: &str) -> String {
    text.split('…').map(ascii).collect::<Vec<_>>().join("…")
}

fn state(node: &NodeStatus) -> &'static str {
    match node.phase {
        Phase::Queued => "queued",
        Phase::Halted => "halted",
        Phase::Off => "off",
        Phase::Failed => "failed",
        Phase::Booting | Phase::Ready | Phase::Waiting => node.outcome.map_or("firmware", Outcome::name),
    }
}

/// `up` if the stage of the planes has succeeded, otherwise its outcome.
const fn planes_word(of: Outcome) -> &'static str {
    match of {
        Outcome::Done | Outcome::Unchanged => "up",
        Outcome::Started | Outcome::Waiting | Outcome::Retry | Outcome::Corrupt | Outcome::Halted => {
            of.name()
        }
    }
}

/// The colour of the state.
fn paint(node: &NodeStatus) -> Option<&'static str> {
    match node.phase {
        Phase::Ready => Some("32"),
        Phase::Halted | Phase::Failed => Some("1;31"),
        Phase::Waiting => Some("33"),
        Phase::Booting if matches!(node.outcome, Some(Outcome::Waiting | Outcome::Retry)) => Some("33"),
        Phase::Queued | Phase::Booting | Phase::Off => None,
    }
}

/// `9s`, `3m04s`, `2h05m`, `12d03h`: at most six characters below a hundred days.
fn duration(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3600..86400 => format!("{}h{:02}m", seconds / 3600, seconds / 60 % 60),
        _ => format!("{}d{:02}h", seconds / 86400, seconds / 3600 % 24),
    }
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
