//! The underlay of a node as files for systemd-networkd, computed from the node's shard.
//!
//! [`render`] is pure: the same underlay gives the same names and the same texts. [`links`] resolves and checks the
//! interfaces; [`dhcp`] is the only place that knows the default of DHCP, and the firewall uses it too.
//!
//! Invariants: each interface has exactly one `.network` file, and no two files match the same device if the spec can
//! tell them apart. Values cannot end a line, start a comment, or be a pattern. Nothing but DHCP (if it is used) and
//! IPv6 neighbour discovery (if there are IPv6 addresses) sends or reads frames: no router advertisements, no LLDP, no
//! names. Devices of planes are never configured.
//!
//! Not here: writing the files and starting networkd (the agent), and addresses of planes. `docs/underlay.md` explains
//! the choices; the formats are systemd.network(5), systemd.netdev(5) and systemd.link(5) of systemd 257.

mod check;
pub mod dhcp;
mod text;

pub use check::{Device, Link, UnderlayError, links, valid_path};

use std::collections::BTreeMap;

use crate::node::Underlay;

/// The files of a node: their names in `/run/systemd/network`, and their texts.
pub type Files = BTreeMap<String, String>;

/// The smallest MTU of a link (RFC 8200 §5).
pub const LEAST_MTU: u16 = 1280;

/// Renders the files of an underlay. Fails if its interfaces contradict each other.
pub fn render(underlay: &Underlay) -> Result<Files, UnderlayError> {
    let links = links(underlay)?;
    let mut files = Files::from([text::planes()]);
    if links.is_empty() {
        files.extend([text::every_device(underlay)]);
    }
    for link in &links {
        files.extend(text::of_link(link));
    }
    Ok(files)
}
