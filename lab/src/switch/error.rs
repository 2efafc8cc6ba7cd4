//! The errors of a switch.

use std::io;
use std::path::PathBuf;

/// Why an operation on a switch failed.
#[derive(Debug, thiserror::Error)]
pub enum SwitchError {
    /// The name cannot be the name of a port.
    #[error(
        "`{0}` is not a port name: 1 to 64 letters, digits, `-`, `_` and `.`, the first a letter or a digit"
    )]
    Name(String),
    /// A port with this name exists and is in use.
    #[error("the switch already has a port `{0}`")]
    NameInUse(String),
    /// The port belongs to another switch.
    #[error("the switch has no such port")]
    UnknownPort,
    /// The socket of a port cannot be created.
    #[error("failed to create the socket {}", .path.display())]
    Socket {
        /// The socket.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The capture file cannot be created.
    #[error("failed to create the capture {}", .path.display())]
    Capture {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The settings are out of range.
    #[error("the faults cannot be set: {0}")]
    Faults(&'static str),
    /// The switch's thread cannot be started.
    #[error("failed to start the switch")]
    Start(#[source] io::Error),
}
