//! `lab console NODE`: prints the console of a node, also after the lab has ended.
//!
//! The guest controls these bytes, so they are always escaped; the file `machines/<node>/machine-1/console.log` has them unchanged. A node
//! reads nothing but Enter from its console, so Enter is the only key that is passed on.

use std::fs::File;
use std::io::{IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use kubedos_debian::failure::Failure;
use kubedos_wire::printable;

use super::Where;
use super::error::LabError;
use super::fleet::console_file;
use super::folder::{Folder, Recorded};
use super::machines::planned;
use super::protocol::{self, Request};
use crate::terminal::{print, say};

/// The longest text that is printed as one line: a guest may never end its line.
const MAX_LINE: usize = 1 << 16;

/// Print the console of a node
#[derive(Debug, Args)]
pub struct Console {
    /// The node
    node: String,

    #[command(flatten)]
    at: Where,

    /// Continue to print; on a terminal, Enter is passed to the node, which then prints its status page
    #[arg(long, short)]
    follow: bool,
}

impl Console {
    /// Prints the console.
    pub fn run(&self) -> Result<(), Failure> {
        let folder = Folder::open(&self.at.folder)?;
        let node = planned(&folder)?.node(&self.node)?.name.clone();
        let path = console_file(&folder.path("machines").join(node.as_str()));
        let is_running = || Ok::<_, LabError>(matches!(folder.process()?, Recorded::Running(_)));
        while self.follow && !path.exists() && is_running()? {
            std::thread::sleep(Duration::from_millis(200));
        }
        if !path.exists() {
            return Err(LabError::NotStarted { node: self.node.clone() }.into());
        }
        let mut file = File::open(&path).map_err(LabError::file("open", &path))?;
        let mut lines = Lines::default();
        if self.follow && std::io::stdin().is_terminal() {
            pass_enter(folder.path("run"), self.node.clone());
        }
        loop {
            // Asked before the file is read, so that the last lines are printed.
            let continues = self.follow && is_running()?;
            copy(&mut file, &mut lines, &path)?;
            if !continues {
                return print(&lines.rest());
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}

/// Prints everything that the file has now.
fn copy(file: &mut File, lines: &mut Lines, path: &Path) -> Result<(), Failure> {
    let mut buffer = vec![0; 1 << 16];
    loop {
        let count = file.read(&mut buffer).map_err(LabError::file("read", path))?;
        if count == 0 {
            return Ok(());
        }
        print(&lines.push(buffer.get(..count).unwrap_or_default()))?;
    }
}

/// Passes each Enter of the terminal to the node, until the terminal is closed.
fn pass_enter(run: PathBuf, node: String) {
    std::thread::spawn(move || {
        for line in std::io::stdin().lines() {
            let result = line
                .map_err(LabError::file("read", "stdin"))
                .and_then(|_| protocol::ask(&run, &Request::Enter { node: node.clone() }));
            if let Err(error) = result {
                say!("{}", printable::chain(&error));
            }
        }
    });
}

/// Collects bytes into escaped lines.
#[derive(Debug, Default)]
struct Lines {
    pending: Vec<u8>,
}

impl Lines {
    /// Adds bytes; returns the lines that are complete.
    fn push(&mut self, bytes: &[u8]) -> String {
        let mut text = String::new();
        for &byte in bytes {
            if byte != b'\n' {
                self.pending.push(byte);
            }
            if byte == b'\n' || self.pending.len() >= MAX_LINE {
                text.push_str(&self.take());
            }
        }
        text
    }

    /// The text after the last complete line.
    fn rest(&mut self) -> String {
        if self.pending.is_empty() { String::new() } else { self.take() }
    }

    fn take(&mut self) -> String {
        let line = std::mem::take(&mut self.pending);
        let line = line.strip_suffix(b"\r").unwrap_or(&line);
        let mut text = String::new();
        for chunk in line.utf8_chunks() {
            text.push_str(&printable::line(chunk.valid()));
            chunk.invalid().iter().for_each(|byte| text.push_str(&format!("\\x{byte:02x}")));
        }
        text.push('\n');
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_guest_prints_cannot_control_the_terminal() {
        let mut lines = Lines::default();
        let hostile = b"ok\r\n\x1b[2J\x1b]0;title\x07\r\n\xff\x9b2K\nC:\\x\n\xe2\x80\xaetxt\na\rb\n";
        let text = lines.push(hostile);
        assert_eq!(text, "ok\n\\u{1b}[2J\\u{1b}]0;title\\u{7}\n\\xff\\x9b2K\nC:\\x\n\\u{202e}txt\na\\rb\n");
        assert_eq!(lines.rest(), "");
    }

    #[test]
    fn a_line_in_pieces_is_one_line_and_an_endless_one_is_cut() {
        let mut lines = Lines::default();
        assert_eq!(lines.push(b"Gr\xc3"), "");
        assert_eq!(lines.push(b"\xb6\xc3\x9fe\nrest"), "Größe\n");
        assert_eq!(lines.rest(), "rest\n");
        let text = lines.push(&vec![b'a'; MAX_LINE * 2 + 1]);
        assert_eq!(text.lines().count(), 2);
        assert_eq!(lines.rest(), "a\n");
    }
}
