//! The errors of the lab, with their exit classes.

#![deny(clippy::wildcard_enum_match_arm)]

use std::io;
use std::path::PathBuf;

use kubedos_debian::failure::{Class, Classify};
use kubedos_lab::switch::SwitchError;
use kubedos_lab::{MachineError, ToolsError};

/// The errors of the lab.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// A file of the lab cannot be used.
    #[error("failed to {doing} {}", path.display())]
    File {
        /// The operation.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// A file of the lab does not have the expected content.
    #[error("{} is not a file of this version of the lab", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: serde_json::Error,
    },
    /// Another command changes the lab.
    #[error("another command changes the lab in {}", folder.display())]
    Busy {
        /// The folder of the lab.
        folder: PathBuf,
    },
    /// There is no lab in the folder.
    #[error("there is no lab in {}", folder.display())]
    NoLab {
        /// The folder.
        folder: PathBuf,
    },
    /// The folder has content that is not from a lab.
    #[error("{} is not empty and contains no lab", folder.display())]
    ForeignFolder {
        /// The folder.
        folder: PathBuf,
    },
    /// The lab does not run.
    #[error("no lab runs in {}", folder.display())]
    NotRunning {
        /// The folder of the lab.
        folder: PathBuf,
    },
    /// The lab runs already.
    #[error("the lab in {} runs already", folder.display())]
    RunsAlready {
        /// The folder of the lab.
        folder: PathBuf,
    },
    /// The name is not that of a node of the lab.
    #[error("the lab has no node {name}")]
    NoNode {
        /// The requested name.
        name: String,
        /// The names of the nodes.
        known: Vec<String>,
    },
    /// The fault is not possible in this lab.
    #[error("{0}")]
    Fault(&'static str),
    /// The node has not started.
    #[error("{node} has not started yet")]
    NotStarted {
        /// The node.
        node: String,
    },
    /// The lab cannot provide the disks of a node.
    #[error("the lab has no disks for {node}: {reason}")]
    Disks {
        /// The node.
        node: String,
        /// The reason.
        reason: &'static str,
    },
    /// The process of the lab did not start.
    #[error("the process of the lab did not start: {message}")]
    Start {
        /// The last line of its log.
        message: String,
    },
    /// The process of the lab has ended.
    #[error("the process of the lab has ended: {message}")]
    Ended {
        /// The last line of its log.
        message: String,
    },
    /// The process of the lab does not answer.
    #[error("the process of the lab does not answer")]
    Control(#[source] io::Error),
    /// The process of the lab sent an answer of another version.
    #[error("the process of the lab sent an unexpected answer")]
    Answer(#[source] Option<serde_json::Error>),
    /// The process of the lab refused a request.
    #[error("{0}")]
    Refused(String),
    /// Nodes are not ready.
    #[error("{0}")]
    NotReady(String),
    /// The emulator or its firmware is incomplete.
    #[error(transparent)]
    Tools(#[from] ToolsError),
    /// A machine or its folder cannot be used.
    #[error(transparent)]
    Machine(#[from] MachineError),
    /// The switch cannot be used.
    #[error(transparent)]
    Switch(#[from] SwitchError),
}

impl LabError {
    /// An error about a file; for `map_err`.
    pub fn file(doing: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { doing, path, source }
    }
}

impl Classify for LabError {
    fn classify(&self) -> (Class, Option<String>) {
        let help = |text: &str| Some(text.to_owned());
        match self {
            Self::NoNode { known, .. } => (Class::Usage, Some(format!("it has: {}", known.join(", ")))),
            Self::Disks { .. } | Self::Fault(_) => (Class::Usage, None),
            Self::ForeignFolder { .. } => (Class::Usage, help("--folder DIR names another folder")),
            Self::NotRunning { .. } | Self::NoLab { .. } => {
                (Class::Failed, help("`kubedos-build lab up` starts one; --folder DIR names another lab"))
            }
            Self::RunsAlready { .. } => {
                (Class::Failed, help("`kubedos-build lab status` shows it, `kubedos-build lab down` ends it"))
            }
            Self::Busy { .. } => (Class::Failed, help("wait until it ends, or interrupt it")),
            Self::NotReady(_) => (
                Class::Failed,
                help(
                    "`kubedos-build lab console NODE` prints its console, `kubedos-build lab down` ends the lab",
                ),
            ),
            Self::Ended { .. } => (Class::Failed, help("`kubedos-build lab down` cleans up")),
            Self::Malformed { .. } => {
                (Class::Failed, help("`kubedos-build lab down --destroy` removes the lab with its disks"))
            }
            Self::Control(_) => (Class::Failed, help("`kubedos-build lab down` ends the lab")),
            Self::File { .. }
            | Self::NotStarted { .. }
            | Self::Start { .. }
            | Self::Answer(_)
            | Self::Refused(_)
            | Self::Tools(_)
            | Self::Machine(_)
            | Self::Switch(_) => (Class::Failed, None),
        }
    }
}
