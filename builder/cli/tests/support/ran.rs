//! How a run of the program ended.

use std::process::{Command, Output, Stdio};

/// Exit code and both streams.
#[derive(Debug)]
pub struct Ran {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Ran {
    /// Runs a command to its end, without input.
    pub fn of(command: &mut Command) -> Self {
        Self::from(command.stdin(Stdio::null()).output().unwrap())
    }

    pub fn succeeds(self) -> Self {
        assert_eq!(self.code, Some(0), "{self:#?}");
        self
    }

    /// Ends with a code and says each of these.
    pub fn fails(self, code: i32, says: &[&str]) -> Self {
        assert_eq!(self.code, Some(code), "{self:#?}");
        for words in says {
            assert!(self.err.contains(words), "{words:?} is not said: {self:#?}");
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

/// The same command in a process that cannot make a file longer than so many KiB: what it writes past that fails, as on a full disk.
pub fn limited(command: &Command, kib: u64) -> Command {
    // The shell counts in blocks of 512 bytes.
    after(&format!("ulimit -f {}", kib * 2), command)
}

/// The same command, started by a shell that has done something else first.
pub fn after(first: &str, command: &Command) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("{first}; exec \"$@\""), "sh"]);
    around(shell, command)
}

/// A command that starts another by its last arguments.
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

/// The same command, which heeds interrupts even where whoever runs the tests does not: a shell without job control starts its background
/// jobs so, and the program would leave it at that.
pub fn interruptible(command: &Command) -> Command {
    let mut plain = Command::new("env");
    plain.arg("--default-signal=INT,TERM,HUP");
    around(plain, command)
}
