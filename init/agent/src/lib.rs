//! The agent: the first service that systemd starts. It runs the stages, then reconciles them for ever.
//!
//! It is privileged and parses no input from a network. Threads, no async: the stages run on the main thread; each
//! console, the kernel log and the watchdog have a thread of their own. The modules have no cycles: stages do not know
//! the walk, the board does not know the stages, and [`boot`] connects them.

#![forbid(unsafe_code)]

pub mod board;
pub mod boot;
pub mod corruption;
pub mod heartbeat;
pub mod node;
pub mod notify;
pub mod preload;
pub mod reconcile;
pub mod seed;
pub mod stages;
pub mod status_page;
pub mod units;
pub mod walk;
