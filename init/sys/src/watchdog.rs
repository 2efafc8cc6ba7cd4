//! The hardware watchdog (`linux/watchdog.h`): once armed, it resets the machine unless it gets keep-alive requests in
//! time.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;
use std::time::Duration;

use rustix::ioctl::Opcode;

use crate::ioctl::{buffer, opcode};

const WDIOC_KEEPALIVE: Opcode = opcode(2, b'W', 5, 4);
const WDIOC_SETTIMEOUT: Opcode = opcode(3, b'W', 6, 4);

/// An armed watchdog. Dropping it closes the device without the magic `V`, so it stays armed: another process must open
/// it in time, or the machine resets.
#[derive(Debug)]
pub struct Watchdog(File);

impl Watchdog {
    /// Opens a watchdog, which arms it.
    pub fn arm(device: &Path) -> io::Result<Self> {
        OpenOptions::new().write(true).open(device).map(Self)
    }

    /// Requests a timeout; returns the one that the device uses.
    pub fn set_timeout(&self, timeout: Duration) -> io::Result<Duration> {
        let seconds = i32::try_from(timeout.as_secs()).map_err(|_| io::ErrorKind::InvalidInput)?;
        let mut bytes = seconds.to_ne_bytes();
        // SAFETY: WDIOC_SETTIMEOUT reads and writes one int.
        unsafe { buffer(&self.0, WDIOC_SETTIMEOUT, &mut bytes) }?;
        Ok(Duration::from_secs(u64::from(i32::from_ne_bytes(bytes).unsigned_abs())))
    }

    /// Sends a keep-alive request.
    pub fn keep_alive(&self) -> io::Result<()> {
        let mut bytes = [0; 4];
        // SAFETY: WDIOC_KEEPALIVE takes no argument, although its opcode encodes an int.
        unsafe { buffer(&self.0, WDIOC_KEEPALIVE, &mut bytes) }.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opcodes_are_those_of_the_kernel_headers() {
        assert_eq!((WDIOC_KEEPALIVE, WDIOC_SETTIMEOUT), (0x8004_5705, 0xc004_5706));
    }
}
