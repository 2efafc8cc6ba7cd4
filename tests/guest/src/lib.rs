//! What the programs of test images share (`tests/probe`, `tests/planes-bench`): they wait until the agent has ended its last
//! stage, answer a test on a disk, and open connections to a second node. Never part of a product.
//!
//! An answer is one JSON document on the disk with the serial number [`ANSWERS`]: eight bytes of length, little-endian, then the
//! text. [`READY`] follows on the console when it is complete. `kubedos_tests::answers` reads it.
#![forbid(unsafe_code)]

pub mod pair;

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use kubedos_wire::record::{Outcome, Record};
use kubedos_wire::stage::Stage;

/// The serial number of the disk for the answers.
pub const ANSWERS: &str = "kubedos-answers";
/// The console line that follows when the answers are on the disk.
pub const READY: &str = "kubedos-probe: answered";

/// Prints a line on the console with the highest priority, so that it is shown at every console log level.
///
/// # Errors
/// If the kernel's log cannot be written.
pub fn say(line: &str) -> io::Result<()> {
    OpenOptions::new().write(true).open("/dev/kmsg")?.write_all(format!("<0>{line}\n").as_bytes())
}

/// Reads the kernel's log from its start until the agent's record that Backplanes has ended, also if the underlay is
/// incomplete.
///
/// # Errors
/// If the kernel's log cannot be read.
pub fn wait_for_backplanes() -> io::Result<()> {
    let mut log = BufReader::new(File::open("/dev/kmsg")?);
    let mut line = String::new();
    loop {
        line.clear();
        match log.read_line(&mut line) {
            Ok(_) => {}
            // EPIPE: a message was overwritten before it was read; the next read continues after it.
            Err(error) if error.raw_os_error() == Some(32) => continue,
            Err(error) => return Err(error),
        }
        let Some(record) = Record::find(&line) else { continue };
        if record.stage == Stage::Backplanes.name()
            && matches!(record.outcome, Outcome::Done | Outcome::Unchanged | Outcome::Waiting)
        {
            return Ok(());
        }
    }
}

/// Writes the answers to the disk for the answers, and prints [`READY`].
///
/// # Errors
/// If there is no such disk, or it cannot be written.
pub fn answer(answers: &[u8]) -> io::Result<()> {
    let mut disk = OpenOptions::new().write(true).open(block_device(ANSWERS)?)?;
    disk.write_all(&(answers.len() as u64).to_le_bytes())?;
    disk.write_all(answers)?;
    disk.sync_all()?;
    say(READY)
}

/// The disk with this serial number.
///
/// # Errors
/// If there is none.
pub fn block_device(wanted: &str) -> io::Result<PathBuf> {
    for entry in fs::read_dir("/sys/block")?.flatten() {
        let serial = fs::read_to_string(entry.path().join("serial")).unwrap_or_default();
        if serial.trim() == wanted {
            return Ok(Path::new("/dev").join(entry.file_name()));
        }
    }
    Err(io::Error::new(io::ErrorKind::NotFound, format!("no disk {wanted}")))
}
