//! Shows the state of a lab while it changes: a table that is painted again on a terminal, otherwise one JSON document per change.

use std::io::IsTerminal;
use std::sync::atomic::{AtomicBool, Ordering};

use kubedos_debian::failure::Failure;
use rustix::termios::tcgetwinsize;

use super::protocol::{LabStatus, NodeStatus};
use super::table::{WIDTH, render};
use crate::terminal::{print_json, print_painted, repaint, say, takes_color};

static CONTINUES: AtomicBool = AtomicBool::new(false);

/// After this call, an interrupted command says that the lab continues.
pub fn lab_continues() {
    CONTINUES.store(true, Ordering::Relaxed);
}

/// For the end of an interrupted command.
pub fn say_that_it_continues() {
    if CONTINUES.load(Ordering::Relaxed) {
        say!("the lab continues to run; `kubedos-build lab down` ends it");
    }
}

/// The output of a command that shows the state several times.
#[derive(Debug)]
pub struct Follower {
    folder: String,
    as_table: bool,
    /// The lines of the table that is on the terminal.
    painted: usize,
    /// What was printed last for each node.
    printed: Vec<NodeStatus>,
}

impl Follower {
    /// A table if stdout is a terminal and `json` is not set.
    pub fn new(folder: &std::path::Path, json: bool) -> Self {
        let as_table = !json && std::io::stdout().is_terminal();
        Self { folder: folder.display().to_string(), as_table, painted: 0, printed: Vec::new() }
    }

    /// Shows a state once.
    pub fn show(&self, status: &LabStatus) -> Result<(), Failure> {
        if !self.as_table {
            return status.nodes.iter().try_for_each(print_json);
        }
        print_painted(&self.table(status).0)
    }

    /// Shows the differences from the last state.
    pub fn update(&mut self, status: &LabStatus) -> Result<(), Failure> {
        if self.as_table {
            let (table, rows) = self.table(status);
            let table = cut(&table, rows);
            let lines = table.lines().count();
            repaint(self.painted, &table)?;
            self.painted = lines;
            return Ok(());
        }
        for (at, node) in status.nodes.iter().enumerate() {
            if !self.printed.get(at).is_some_and(|last| is_same(last, node)) {
                print_json(node)?;
            }
        }
        self.printed.clone_from(&status.nodes);
        Ok(())
    }

    /// The table, and the number of rows of the terminal.
    fn table(&self, status: &LabStatus) -> (String, usize) {
        let size = tcgetwinsize(std::io::stdout()).ok().filter(|size| size.ws_col > 0 && size.ws_row > 0);
        let (width, rows) =
            size.map_or((WIDTH, usize::MAX), |size| (usize::from(size.ws_col), usize::from(size.ws_row)));
        let color = takes_color(&std::io::stdout());
        (render(status, &self.folder, width, color), rows)
    }
}

/// Whether only the times and counters differ.
fn is_same(a: &NodeStatus, b: &NodeStatus) -> bool {
    let timeless = |node: &NodeStatus| {
        let mut node = node.clone();
        node.up_s = None;
        node.port = super::protocol::PortTraffic { attached: node.port.attached, ..Default::default() };
        node
    };
    timeless(a) == timeless(b)
}

/// The first lines of a table that is longer than the terminal: lines that have left it cannot be painted again.
fn cut(table: &str, rows: usize) -> String {
    let lines: Vec<&str> = table.lines().collect();
    let room = rows.saturating_sub(1).max(2);
    if lines.len() <= room {
        return table.to_owned();
    }
    let kept: String = lines.iter().take(room - 1).map(|line| format!("{line}\n")).collect();
    format!("{kept}… {} more lines\n", lines.len() - (room - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_that_is_longer_than_the_terminal_is_cut() {
        let table = "1\n2\n3\n4\n5\n";
        assert_eq!(cut(table, 6), table);
        assert_eq!(cut(table, 5), "1\n2\n3\n… 2 more lines\n");
        assert_eq!(cut(table, 0), "1\n… 4 more lines\n");
        assert_eq!(cut(table, usize::MAX), table);
    }
}
