//! The failure of a command and its exit code (docs/command-line.md, "Exit codes").
//!
//! Each library module keeps its own error type, which decides its exit class itself ([`Classify`], implemented in `exit.rs` of each
//! library). The command line turns an error into a [`Failure`] with `?`.

use std::error::Error;
use std::fmt;
use std::io::Write;
use std::process::ExitCode;

use kubedos_wire::printable::{self, Row};

/// Writes one printable line to stderr. A write error is ignored: the exit code still reports the failure.
pub fn tell(line: fmt::Arguments<'_>) {
    drop(writeln!(std::io::stderr().lock(), "{}", Row(line)));
}

/// The class of a failure. It determines the exit code only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// 1: any other failure.
    Failed,
    /// 2: wrong usage of the command line.
    Usage,
    /// 3: the spec is invalid.
    InvalidSpec,
    /// 4: an input does not match the lock, or a signature or seal does not verify.
    Mismatch,
    /// 5: the command needs the network, but `--offline` is set.
    Offline,
    /// 130: interrupted.
    Interrupted,
}

impl Class {
    /// The process exit code.
    pub const fn code(self) -> u8 {
        match self {
            Self::Failed => 1,
            Self::Usage => 2,
            Self::InvalidSpec => 3,
            Self::Mismatch => 4,
            Self::Offline => 5,
            Self::Interrupted => 130,
        }
    }
}

/// An error that decides its own exit class.
pub trait Classify: Error + Send + Sync + 'static {
    /// The class, and a hint for the user if there is one.
    fn classify(&self) -> (Class, Option<String>);

    /// The class.
    fn class(&self) -> Class {
        self.classify().0
    }

    /// The hint for the user.
    fn help(&self) -> Option<String> {
        self.classify().1
    }
}

impl<E: Classify> From<E> for Failure {
    fn from(error: E) -> Self {
        let (class, help) = error.classify();
        Self { help, ..Self::new(class, error) }
    }
}

/// A failed command: its class, the error with its chain of causes, and an optional hint for the user.
#[derive(Debug)]
pub struct Failure {
    /// Determines the exit code.
    pub class: Class,
    /// The error; its sources are printed as causes.
    pub error: Box<dyn Error + Send + Sync>,
    /// A hint for the user, printed as the `help:` line.
    pub help: Option<String>,
    /// Whether the diagnostics were already printed, as for an invalid spec. If so, [`Failure::report`] does not print them again.
    pub reported: bool,
}

impl Failure {
    /// Creates a failure of a class.
    pub fn new(class: Class, error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { class, error: error.into(), help: None, reported: false }
    }

    /// Creates a failure whose diagnostics were already printed to stderr.
    pub fn reported(class: Class) -> Self {
        Self { class, error: "reported above".into(), help: None, reported: true }
    }

    /// Adds a `help:` line.
    #[must_use]
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Prints the failure to stderr, unless it was already reported, and returns the exit code.
    pub fn report(&self) -> ExitCode {
        if !self.reported {
            self.to_string().lines().for_each(|line| tell(format_args!("{line}")));
        }
        ExitCode::from(self.class.code())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", Message(&self.error))?;
        let mut cause = self.error.source();
        while let Some(error) = cause {
            write!(f, "\n  caused by: {}", Message(&error))?;
            cause = error.source();
        }
        if let Some(help) = &self.help {
            write!(f, "\n  help: {}", Message(help))?;
        }
        Ok(())
    }
}

/// A message that may quote untrusted text. TOML parsers write messages of several lines: each line after the first gets the prefix
/// `| `, so that quoted text cannot imitate a line of the failure itself.
struct Message<'a, T>(&'a T);

impl<T: fmt::Display> fmt::Display for Message<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.to_string();
        let mut lines = text.trim_end().split('\n').map(printable::line);
        f.write_str(&lines.next().unwrap_or_default())?;
        lines.try_for_each(|line| write!(f, "\n    | {line}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names in errors come from untrusted files.
    #[test]
    fn quoted_text_cannot_forge_a_failure() {
        let name = "a\u{1b}[2K\r\nerror: b\n  help: run this\u{202e}";
        let failure = Failure::new(Class::Failed, format!("cannot read {name}")).with_help(name);
        let text = r"error: cannot read a\u{1b}[2K\r
    | error: b
    |   help: run this\u{202e}
  help: a\u{1b}[2K\r
    | error: b
    |   help: run this\u{202e}";
        assert_eq!(failure.to_string(), text);
    }

    #[test]
    fn a_failure_prints_its_chain_and_its_help() {
        let inner = std::io::Error::other("disk is full");
        #[derive(Debug, thiserror::Error)]
        #[error("failed to write out/a.raw")]
        struct Write(#[source] std::io::Error);
        let failure = Failure::new(Class::Failed, Write(inner)).with_help("free some space");
        assert_eq!(
            failure.to_string(),
            "error: failed to write out/a.raw\n  caused by: disk is full\n  help: free some space"
        );
    }
}
