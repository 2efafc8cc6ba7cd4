//! What a command can fail with, and the exit code that scripts see (interfaces, "Exit codes").
//!
//! An error of a library stays a type of its own module and decides its class itself ([`Classify`], implemented in `exit.rs` of each
//! library). The command line turns it into a [`Failure`] with `?`.

use std::error::Error;
use std::fmt;
use std::io::Write;
use std::process::ExitCode;

use kubedos_wire::printable::{self, Row};

/// One printable line to stderr. If nobody can read it there is nobody to tell: the exit code says it.
pub fn tell(line: fmt::Arguments<'_>) {
    drop(writeln!(std::io::stderr().lock(), "{}", Row(line)));
}

/// The class of a failure: it decides the exit code and nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// 1: it failed.
    Failed,
    /// 2: wrong usage.
    Usage,
    /// 3: the spec is invalid.
    InvalidSpec,
    /// 4: an input does not match the lock, or a signature or seal does not verify.
    Mismatch,
    /// 5: it needs the network but is `--offline`.
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
    /// The class.
    fn class(&self) -> Class;

    /// What the reader can do about it.
    fn help(&self) -> Option<String> {
        None
    }
}

impl<E: Classify> From<E> for Failure {
    fn from(error: E) -> Self {
        let (class, help) = (error.class(), error.help());
        Self { help, ..Self::new(class, error) }
    }
}

/// A failed command: its class, what was being done, the chain of causes and, where there is one, what to do about it.
#[derive(Debug)]
pub struct Failure {
    /// Decides the exit code.
    pub class: Class,
    /// The error and its chain.
    pub error: Box<dyn Error + Send + Sync>,
    /// What the reader may do about it.
    pub help: Option<String>,
    /// The problems were already printed (diagnostics of a spec): print nothing more.
    pub reported: bool,
}

impl Failure {
    /// A failure of a class.
    pub fn new(class: Class, error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { class, error: error.into(), help: None, reported: false }
    }

    /// A failure whose diagnostics are on stderr already.
    pub fn reported(class: Class) -> Self {
        Self { class, error: "reported above".into(), help: None, reported: true }
    }

    /// The same with a `help:` line.
    #[must_use]
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Prints what is not printed yet to stderr and gives the exit code.
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

/// A message that may quote untrusted text. Parsers of TOML write several lines: each further one is behind a bar, so that no text
/// looks like a line of the failure itself.
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

    /// Names in errors come from files of unknown origin.
    #[test]
    fn a_failure_cannot_be_forged_by_what_it_quotes() {
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
