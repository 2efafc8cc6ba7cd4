//! The Backplanes stage: the clock, the firewall, the underlay and the planes, in this order. Each part observes, plans and
//! applies on its own, so that a second plan after apply is empty.

pub mod clock;
pub mod conflicts;
pub mod firewall;
pub mod path_mtu;
pub mod planes;
pub mod stage;
mod steps;
pub mod underlay;
