//! The process of the agent: finds it, ends it, replaces its program, and waits for the records of the next one.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use kubedos_wire::record::{Outcome, Record};
use kubedos_wire::stage::Stage;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rustix::fs::OFlags;

/// The agent's program.
const AGENT: &str = "/usr/lib/kubedos/kubedos-agent";
/// Another program with the same function, on the only file system that is writable and executable.
const COPY: &str = "/var/lib/kubedos/data/other-agent";
/// The stages of a restarted agent, on an emulated processor.
const PATIENCE: Duration = Duration::from_secs(180);

/// The id of the agent's process.
pub fn process() -> io::Result<i32> {
    let is_agent = |number: &i32| {
        fs::read_to_string(Path::new("/proc").join(number.to_string()).join("comm"))
            .is_ok_and(|name| name.trim_end() == "kubedos-agent")
    };
    let entries = fs::read_dir("/proc")?.flatten();
    let mut numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    numbers.find(is_agent).ok_or_else(|| io::Error::other("the agent does not run"))
}

/// Ends the agent with a signal, and waits until the next one has ended its last stage. The result is the outcome of that
/// stage, and the inode of the program that runs.
pub fn restart(signal: Signal) -> io::Result<(Outcome, u64)> {
    // O_NONBLOCK: the kernel's log has no end.
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).map_err(io::Error::other)?;
    let mut log = OpenOptions::new().read(true).custom_flags(flags).open("/dev/kmsg")?;
    log.seek(SeekFrom::End(0))?;
    let old = process()?;
    kill(Pid::from_raw(old), signal)?;
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        if let Some(outcome) = end_of_backplanes(&mut log)? {
            let new = process()?;
            if new == old {
                return Err(io::Error::other("the agent was not restarted"));
            }
            return Ok((outcome, fs::metadata(Path::new("/proc").join(new.to_string()).join("exe"))?.ino()));
        }
        sleep(Duration::from_millis(500));
    }
    Err(io::Error::new(io::ErrorKind::TimedOut, "the next agent did not end its stages"))
}

/// Replaces the agent's program by one with other bytes; the next start uses it.
pub fn replace() -> io::Result<()> {
    let mut program = fs::read(AGENT)?;
    program.push(0);
    fs::write(COPY, program)?;
    fs::set_permissions(COPY, fs::Permissions::from_mode(0o755))?;
    Ok(rustix::mount::mount_bind(COPY, AGENT)?)
}

/// Reads the log to its present end; the outcome of Backplanes, if it has ended.
fn end_of_backplanes(log: &mut File) -> io::Result<Option<Outcome>> {
    let mut buffer = vec![0; 8 << 10];
    loop {
        // Each read returns one message.
        let length = match log.read(&mut buffer) {
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            // EPIPE: a message was overwritten before it was read; the next read continues after it.
            Err(error) if error.raw_os_error() == Some(32) => continue,
            Err(error) => return Err(error),
        };
        let text = String::from_utf8_lossy(buffer.get(..length).unwrap_or_default()).into_owned();
        let Some(record) = text.lines().next().and_then(Record::find) else { continue };
        let is_end = matches!(record.outcome, Outcome::Done | Outcome::Unchanged | Outcome::Waiting);
        if record.stage == Stage::Backplanes.name() && is_end {
            return Ok(Some(record.outcome));
        }
    }
}
