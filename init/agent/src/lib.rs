//! The agent: the first service that systemd starts. It runs the stages, then reconciles them in an endless loop.
//!
//! It is privileged and parses no input from a network. Threads, no async: the stages run on the main thread; each
//! console, the kernel log and the watchdog have their own thread. The modules have no dependency cycles: the stages do
//! not depend on the walk, the board does not depend on the stages, and [`boot`] connects them.

#![forbid(unsafe_code)]

pub mod board;
pub mod boot;
pub mod bus;
pub mod corruption;
pub mod heartbeat;
pub mod node;
pub mod notify;
pub mod pace;
pub mod preload;
pub mod reconcile;
pub mod seed;
pub mod stages;
pub mod status_page;
pub mod units;
pub mod walk;
