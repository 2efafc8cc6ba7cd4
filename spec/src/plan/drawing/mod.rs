//! The drawing of who may talk to whom, as one SVG document.
//!
//! The drawing follows from the firewalls that the nodes load: `flows.rs` asks them which packets they accept, and `svg.rs`
//! draws the answer. There is one band for the underlay and one for each plane. A column stands for a group of senders and
//! receivers, and an arrow for connections that one group may open to another. Replies are not drawn.
//!
//! Not here: which programs listen, and the traffic of pods.

mod flows;
mod svg;

use kubedos_wire::firewall::FirewallError;

use super::ClusterPlan;
pub use flows::{Band, Party, Row, Service};

impl ClusterPlan {
    /// The connections that the firewalls accept, first over the underlay and then over each plane.
    pub fn flows(&self) -> Result<Vec<Band<'_>>, FirewallError> {
        flows::bands(self)
    }

    /// The drawing as SVG 1.1.
    pub fn svg(&self) -> Result<String, FirewallError> {
        Ok(svg::document(self, &self.flows()?))
    }
}
