//! The agent.

pub mod board;
pub mod corruption;
pub mod heartbeat;
pub mod notify;
pub mod units;
pub mod walk;
