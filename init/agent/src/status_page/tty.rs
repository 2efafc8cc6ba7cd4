//! Keyboard input on the consoles: each Enter prints the page, and all other input is discarded.
//!
//! The terminal is in line mode without echo, so that typed text is neither shown nor stored. There is no login, no
//! prompt and no command.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rustix::termios::{LocalModes, OptionalActions, OutputModes, tcgetattr, tcsetattr};

/// The consoles whose input is read.
pub const CONSOLES: [&str; 2] = ["/dev/ttyS0", "/dev/tty1"];

/// Minimum time between two pages: a stuck key must not flood the serial line.
const APART: Duration = Duration::from_secs(1);

/// Reads the input of one terminal in an endless loop; returns only if the terminal cannot be used, for example because
/// the machine does not have it.
pub fn listen(path: &Path, page: &dyn Fn() -> String) -> io::Result<()> {
    let mut terminal = open(path)?;
    let mut last: Option<Instant> = None;
    let mut buffer = [0; 256];
    loop {
        match terminal.read(&mut buffer) {
            Ok(0) => {
                // A hang-up: the line was reset.
                thread::sleep(APART);
                terminal = open(path)?;
            }
            Ok(_) => {
                if last.is_none_or(|last| last.elapsed() >= APART) {
                    terminal.write_all(format!("\n{}", page()).as_bytes())?;
                    last = Some(Instant::now());
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    /// The terminal does not become the controlling terminal (`O_NOCTTY`, `include/uapi/asm-generic/fcntl.h`).
    const NOCTTY: i32 = 0o400;
    let terminal = OpenOptions::new().read(true).write(true).custom_flags(NOCTTY).open(path)?;
    let mut modes = tcgetattr(&terminal)?;
    modes.local_modes.remove(LocalModes::ECHO | LocalModes::ISIG);
    modes.local_modes.insert(LocalModes::ICANON);
    modes.output_modes.insert(OutputModes::OPOST | OutputModes::ONLCR);
    tcsetattr(&terminal, OptionalActions::Now, &modes)?;
    Ok(terminal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_that_is_not_a_terminal_is_refused() {
        assert!(listen(Path::new("/dev/null"), &String::new).is_err());
    }
}
