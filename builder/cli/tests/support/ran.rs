//! Runs a program to its end and checks the result.

use std::process::{Command, Output, Stdio};

/// The exit code and both output streams of a run.
#[derive(Debug)]
pub struct Ran {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Ran {
    /// Runs a command to its end, with empty input.
    pub fn of(command: &mut Command) -> Self {
        Self::from(command.stdin(Stdio::null()).output().unwrap())
    }

    pub fn succeeds(self) -> Self {
        assert_eq!(self.code, Some(0), "{self:#?}");
        self
    }

    /// Checks that the run ended with a code and printed each message to stderr.
    pub fn fails(self, code: i32, messages: &[&str]) -> Self {
        assert_eq!(self.code, Some(code), "{self:#?}");
        for message in messages {
            assert!(self.err.contains(message), "{message:?} is not in stderr: {self:#?}");
        }
        self
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }
}

/// The same command with a limit on the file size. A write beyond `kib` KiB fails, as on a full disk.
pub fn limited(command: &Command, kib: u64) -> Command {
    // `ulimit -f` counts in blocks of 512 bytes.
    after(&format!("ulimit -f {}", kib * 2), command)
}

/// The same command, started by a shell that runs `first` before it.
pub fn after(first: &str, command: &Command) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("{first}; exec \"$@\""), "sh"]);
    around(shell, command)
}

/// Appends a command to another one that starts it.
fn around(mut outer: Command, command: &Command) -> Command {
    outer.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => outer.env(name, value),
            None => outer.env_remove(name),
        };
    }
    if let Some(folder) = command.get_current_dir() {
        outer.current_dir(folder);
    }
    outer
}

/// The same command with the default handling of signals. A shell without job control starts background jobs with SIGINT ignored, and the
/// program keeps that setting.
pub fn interruptible(command: &Command) -> Command {
    let mut plain = Command::new("env");
    plain.arg("--default-signal=INT,TERM,HUP");
    around(plain, command)
}
