//! The results of an attempt at a stage. A stage is a function from the outputs of earlier stages to its own output: it
//! returns a [`Step`], or an error that has a [`Class`]. The agent's walk maps both to console records by exhaustive
//! match.

use std::error::Error;

/// The reaction of the agent to an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// The cause may be temporary: the attempt is repeated a limited number of times, then the stage halts.
    Retry,
    /// Something outside the node is missing, for example a disk: the stage is reported as waiting and repeated without limit.
    Wait,
    /// An operator must act: the stage ends, and no stage that needs it runs.
    Halt,
}

/// An error that has a class.
pub trait Classified: Error {
    /// The class.
    fn class(&self) -> Class;
}

/// The result of a successful attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step<T> {
    /// The stage changed something persistent.
    Done {
        /// The output for later stages.
        output: T,
        /// The result, and why.
        note: Option<String>,
    },
    /// The observed state was already the desired one.
    Unchanged {
        /// The output for later stages.
        output: T,
        /// The observed state.
        note: Option<String>,
    },
    /// The node continues, but something that it needs is missing.
    Degraded {
        /// The output for later stages.
        output: T,
        /// The missing object, for example `disk`.
        on: String,
        /// The reason and the consequences.
        note: Option<String>,
    },
    /// The stage cannot continue yet; it is repeated soon.
    Waiting {
        /// The object that the stage waits for, for example `seed`.
        on: String,
        /// Advice to the operator.
        note: Option<String>,
    },
}
