//! The results of an attempt at a stage. A stage is a function from the outputs of earlier stages to its own output: it
//! returns a [`Step`], or an error that has a [`Class`]. The agent's walk maps both to console records by exhaustive
//! match.

use std::error::Error;

/// What an error means for the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// The cause may pass by itself within seconds: the attempt is repeated a limited number of times, then the stage halts.
    Retry,
    /// Something outside the node is missing and may come at any time: the stage is reported as waiting and repeated without limit.
    Wait,
    /// An operator must act: the stage ends, and no stage that needs it runs.
    Halt,
}

/// An error that has a class.
pub trait Classified: Error {
    /// The class.
    fn class(&self) -> Class;
}

/// The result of an attempt that had no error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step<T> {
    /// The stage changed something persistent.
    Done {
        /// The output for later stages.
        output: T,
        /// The result, and why.
        note: Option<String>,
    },
    /// There was nothing to change.
    Unchanged {
        /// The output for later stages.
        output: T,
        /// What was found.
        note: Option<String>,
    },
    /// The node continues without something that it should have.
    Degraded {
        /// The output for later stages.
        output: T,
        /// What is missing.
        on: String,
        /// Why, and what follows from it.
        note: Option<String>,
    },
    /// The stage cannot continue yet; it is repeated soon.
    Waiting {
        /// What it waits for.
        on: String,
        /// What an operator can do about it.
        note: Option<String>,
    },
}
