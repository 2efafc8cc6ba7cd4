//! The programs that create containers and file systems: cryptsetup and e2fsprogs of the image.
//!
//! With `DM_DISABLE_UDEV`, libdevmapper creates its own device nodes instead of waiting for udev, so that the programs
//! do not depend on the udev rules of the image. Exit codes: cryptsetup(8) (2: no key fits), e2fsck(8) (1: errors were
//! corrected).

use std::io::{self, Write};
use std::process::{Command, ExitStatus, Stdio};

use super::super::luks;
use super::super::ops::{DiskKey, OpsError};

/// One run of a program.
pub(super) struct Program<'a> {
    name: &'static str,
    arguments: Vec<String>,
    input: Option<&'a DiskKey>,
    good: &'static [i32],
}

/// cryptsetup's exit code when no key slot fits.
const NO_KEY_FITS: i32 = 2;

fn program<'a>(name: &'static str, arguments: &[&str], input: Option<&'a DiskKey>) -> Program<'a> {
    Program { name, arguments: arguments.iter().map(|text| (*text).to_owned()).collect(), input, good: &[0] }
}

/// Formats a container. The key has full entropy, so stretching it has no benefit (ADR 0001).
pub(super) fn format<'a>(node: &str, label: &str, uuid: &str, key: &'a DiskKey) -> Program<'a> {
    let arguments = [
        "luksFormat",
        "--batch-mode",
        "--type",
        "luks2",
        "--cipher",
        "aes-xts-plain64",
        "--key-size",
        "512",
        "--hash",
        "sha256",
        "--pbkdf",
        "pbkdf2",
        "--pbkdf-force-iterations",
        "1000",
        "--label",
        label,
        "--subsystem",
        luks::UNFINISHED,
        "--uuid",
        uuid,
        "--key-file",
        "-",
        node,
    ];
    program("cryptsetup", &arguments, Some(key))
}

/// Opens the container on `node` with the header in the file `header`; the header on `node` is not read.
pub(super) fn open<'a>(node: &str, header: &str, label: &str, key: &'a DiskKey) -> Program<'a> {
    let arguments = ["open", "--type", "luks2", "--header", header, "--key-file", "-", node, label];
    program("cryptsetup", &arguments, Some(key))
}

/// Tests whether the key opens the header in this file.
pub(super) fn test<'a>(header: &str, key: &'a DiskKey) -> Program<'a> {
    program(
        "cryptsetup",
        &["open", "--test-passphrase", "--type", "luks2", "--key-file", "-", header],
        Some(key),
    )
}

pub(super) fn finish(node: &str, label: &str) -> Program<'static> {
    program("cryptsetup", &["config", "--label", label, "--subsystem", luks::FINISHED, node], None)
}

pub(super) fn close(label: &str) -> Program<'static> {
    program("cryptsetup", &["close", label], None)
}

/// Creates a file system. The kernel zeroes inode tables and journal later, when the machine is idle.
pub(super) fn create(node: &str, label: &str, uuid: &str) -> Program<'static> {
    let options = "lazy_itable_init=1,lazy_journal_init=1,nodiscard";
    program(
        "mke2fs",
        &["-q", "-F", "-t", "ext4", "-b", "4096", "-m", "0", "-L", label, "-U", uuid, "-E", options, node],
        None,
    )
}

pub(super) fn check(node: &str) -> Program<'static> {
    Program { good: &[0, 1], ..program("e2fsck", &["-p", node], None) }
}

pub(super) fn grow(node: &str) -> Program<'static> {
    program("resize2fs", &[node], None)
}

impl Program<'_> {
    /// Runs the program and waits for its end; errors contain `object`.
    pub(super) fn run(&self, object: &str) -> Result<(), OpsError> {
        let (status, output) = self.spawn().map_err(|source| OpsError::Io {
            verb: "start a program on",
            object: object.to_owned(),
            source,
        })?;
        match status.code() {
            Some(code) if self.good.contains(&code) => Ok(()),
            Some(NO_KEY_FITS) if self.input.is_some() => {
                Err(OpsError::WrongKey { partition: object.to_owned() })
            }
            _ => Err(OpsError::Program {
                program: self.name,
                object: object.to_owned(),
                ended: status.to_string(),
                output,
            }),
        }
    }

    fn spawn(&self) -> io::Result<(ExitStatus, String)> {
        let mut child = Command::new(self.name)
            .args(&self.arguments)
            .env_clear()
            .envs([("PATH", "/usr/sbin:/usr/bin:/sbin"), ("LC_ALL", "C"), ("DM_DISABLE_UDEV", "1")])
            .stdin(if self.input.is_some() { Stdio::piped() } else { Stdio::null() })
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        if let (Some(key), Some(mut input)) = (self.input, child.stdin.take()) {
            input.write_all(key.as_slice())?;
        }
        let output = child.wait_with_output()?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        let last = stderr.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("no output");
        Ok((output.status, last.trim().to_owned()))
    }
}
