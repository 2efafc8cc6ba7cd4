//! The Backplanes stage: clock, underlay, firewall and the three WireGuard planes of a node.
//!
//! Each part is in its own module: a pure function or state machine that decides, and the code that applies the
//! decision.

pub mod clock;
