//! The plan as a drawing for Graphviz: the stage graph, and the nodes by failure domain with their planes.
//!
//! Each plane is drawn as one ellipse that its members connect to, so there is one edge for each node and plane, not one for
//! each pair of nodes.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::ClusterPlan;
use super::document::stages;
use super::ranges::purpose_name;
use crate::model::Peers;
use kubedos_wire::node::Role;
use kubedos_wire::stage::{Place, Rerun, Stage};

impl ClusterPlan {
    /// The drawing. Names need no escapes: no name of a cluster, node, zone or plane contains a special character of DOT.
    pub fn dot(&self) -> String {
        let mut text = format!(
            "digraph \"{}\" {{\n  rankdir=LR; node [shape=box, fontname=\"sans-serif\"];\n",
            self.spec().metadata.name
        );
        text.push_str(&stage_graph());
        text.push_str(&self.topology());
        text.push_str("}\n");
        text
    }

    fn topology(&self) -> String {
        let mut text = String::new();
        let mut zones: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for node in self.nodes() {
            let zone = self
                .node_spec(node)
                .and_then(|spec| spec.domain.as_ref())
                .map_or_else(String::new, ToString::to_string);
            let shape = if node.role == Role::ControlPlane { ", style=bold" } else { "" };
            zones
                .entry(zone)
                .or_default()
                .push(format!("\"node {}\" [label=\"{}\\nid {}\"{shape}];", node.name, node.name, node.id));
        }
        for (at, (zone, nodes)) in zones.iter().enumerate() {
            // Writing to a String does not fail.
            let _written = write!(
                text,
                "  subgraph cluster_zone_{at} {{ label=\"{zone}\";\n    {}\n  }}\n",
                nodes.join("\n    ")
            );
        }
        for (name, plane) in self.planes() {
            let peers = match plane.peers {
                Peers::Mesh => "mesh",
                Peers::ControlPlanes => "control planes only",
            };
            let label = format!("{name}\\n{}\\n{}\\n{peers}", purpose_name(plane.purpose), plane.cidr);
            let _written = writeln!(text, "  \"plane {name}\" [shape=ellipse, label=\"{label}\"];");
            for node in self.nodes() {
                let _written = writeln!(text, "  \"node {}\" -> \"plane {name}\" [dir=none];", node.name);
            }
        }
        for allow in self.policy() {
            let ports = allow.ports.iter().map(ToString::to_string).collect::<Vec<_>>().join("\\n");
            let _written = writeln!(
                text,
                "  \"plane {}\" -> \"plane {}\" [style=dashed, label=\"{ports}\"];",
                allow.from, allow.to
            );
        }
        text
    }
}

/// The eight stages of the plan, each with its stages of the agent. An arrow points from a stage to a stage that needs it.
fn stage_graph() -> String {
    let mut text = String::new();
    let documents = stages();
    for (at, stage) in documents.iter().enumerate() {
        let place = match stage.place {
            Place::Build => "at build",
            Place::Substrate => "on the substrate",
            Place::Node => "on the node",
        };
        let _written = writeln!(
            text,
            "  subgraph cluster_stage_{} {{ label=\"{}. {}\\n{place}\";",
            at + 1,
            at + 1,
            stage.name
        );
        if stage.stages.is_empty() {
            let _written = writeln!(
                text,
                "    \"stage {}\" [style=dashed, label=\"no stage of the agent\"];",
                stage.name
            );
        }
        for part in &stage.stages {
            let color = match part.rerun {
                Rerun::Safe => "darkgreen",
                Rerun::MendsDrift => "darkorange",
                Rerun::Destructive => "red",
            };
            let style = if part.in_this_version { "solid" } else { "dashed" };
            let _written = writeln!(
                text,
                "    \"stage {}\" [style={style}, color={color}, label=\"{}\"];",
                part.name, part.name
            );
        }
        text.push_str("  }\n");
    }
    for stage in Stage::ALL {
        for need in stage.needs() {
            let _written = writeln!(text, "  \"stage {}\" -> \"stage {}\";", need.name(), stage.name());
        }
    }
    // The agent has no stage for the substrate: it is drawn between the validation of the spec and the first boot.
    let _written = writeln!(
        text,
        "  \"stage ValidateShard\" -> \"stage Provision Substrate\" -> \"stage Disks\" [style=dashed];"
    );
    text
}
