//! What a command can fail with, and the exit code that scripts see (interfaces, "Exit codes").
//!
//! A library error stays a type of its own module; the command line sorts it into one of these classes once, where it is handled.

use std::error::Error;
use std::fmt;
use std::io::Write;
use std::process::ExitCode;

/// A line to stderr. If nobody can read it there is nobody to tell: the exit code says it.
pub fn tell(line: fmt::Arguments<'_>) {
    drop(writeln!(std::io::stderr().lock(), "{line}"));
}

/// An error and its causes on one line.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text += &format!(": {error}");
        cause = error.source();
    }
    text
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
            tell(format_args!("{self}"));
        }
        ExitCode::from(self.class.code())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.error)?;
        let mut cause = self.error.source();
        while let Some(error) = cause {
            write!(f, "\n  caused by: {error}")?;
            cause = error.source();
        }
        if let Some(help) = &self.help {
            write!(f, "\n  help: {help}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
