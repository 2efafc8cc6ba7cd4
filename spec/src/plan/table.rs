//! The plan as plain text tables: the same on a terminal and in a file, and at most 80 columns wide if names are short.

use std::fmt::Write as _;
use std::net::IpAddr;

use super::document::{NodePlane, PlanDocument, stages};
use super::{ClusterPlan, PlannedNode, ranges};
use crate::check::{self, counted};
use crate::model::Peers;
use kubedos_wire::node::Role;
use kubedos_wire::stage::{Place, Rerun};

/// Rows under a header; each column is as wide as its widest cell.
fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = head.iter().map(|cell| cell.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let padded: String = cells.zip(&widths).map(|(cell, width)| format!("{cell:<width$}  ")).collect();
        format!("  {}\n", padded.trim_end())
    };
    let mut text = line(&mut head.iter().copied());
    for row in rows {
        text.push_str(&line(&mut row.iter().map(String::as_str)));
    }
    text
}

fn or_dash(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".into(), |value| value.to_string())
}

const fn role(role: Role) -> &'static str {
    match role {
        Role::ControlPlane => "control-plane",
        Role::Worker => "worker",
    }
}

const fn rerun(rerun: Rerun) -> &'static str {
    match rerun {
        Rerun::Safe => "no change",
        Rerun::MendsDrift => "corrects drift",
        Rerun::Destructive => "destructive *",
    }
}

const fn place(place: Place) -> &'static str {
    match place {
        Place::Build => "build",
        Place::Substrate => "substrate",
        Place::Node => "node",
    }
}

impl ClusterPlan {
    /// The whole plan as tables.
    pub fn tables(&self) -> String {
        let document = self.document();
        let mut text = format!("cluster {}, generation {}\n", document.cluster, document.generation);
        let mut section = |title: &str, body: String| {
            if !body.is_empty() {
                // Writing to a String does not fail.
                let _written = write!(text, "\n{title}\n{body}");
            }
        };
        section("planes", plane_table(&document));
        section("addresses of planes: members, and births before enrolment", range_table(&document));
        section(
            "connections that are allowed between planes; all others are dropped",
            allow_table(&document),
        );
        section("nodes", node_table(&document));
        section("addresses of members", address_table(&document, |plane| plane.member));
        section("addresses of births", address_table(&document, |plane| plane.birth));
        section("operators on the control plane", operator_table(&document));
        section("stages, in order", stage_table());
        section("not in this version", check::list_not_yet(&document.not_in_this_version));
        text
    }

    /// One node with its peers on every plane.
    pub fn node_tables(&self, node: &PlannedNode) -> String {
        let mut text = format!("node {}, id {}, {}\n", node.name, node.id, role(node.role));
        let spec = self.node_spec(node);
        let mut facts = vec![
            ("zone", or_dash(spec.and_then(|spec| spec.domain.as_ref()))),
            ("endpoint", or_dash(node.endpoint)),
            ("pods", or_dash(node.pod_cidr)),
            ("vmid", or_dash(node.vmid)),
        ];
        facts.retain(|(_, value)| value != "-");
        for (what, value) in facts {
            // Writing to a String does not fail.
            let _written = writeln!(text, "  {what:<9} {value}");
        }
        for (name, plane) in self.planes() {
            let peers: Vec<Vec<String>> = self
                .peers(node, name)
                .map(|peer| {
                    vec![
                        peer.node.to_string(),
                        peer.address.to_string(),
                        or_dash(peer.pods),
                        or_dash(peer.endpoint),
                    ]
                })
                .collect();
            let purpose = ranges::purpose_name(plane.purpose);
            let (member, birth) = (or_dash(plane.member(node.id)), or_dash(plane.birth(node.id)));
            let _written = writeln!(
                text,
                "\n{name} ({purpose}): member {member}, birth {birth}, {}",
                counted(peers.len(), "peer"),
            );
            if !peers.is_empty() {
                text.push_str(&table(&["peer", "address", "pods", "endpoint"], &peers));
            }
        }
        text
    }
}

fn plane_table(document: &PlanDocument) -> String {
    let rows = document.planes.iter().map(|(name, p)| {
        let peers = match p.peers {
            Peers::Mesh => "mesh",
            Peers::ControlPlanes => "control planes only",
        };
        let purpose = ranges::purpose_name(p.purpose).to_owned();
        vec![name.to_string(), purpose, p.port.to_string(), p.mtu.to_string(), peers.to_owned()]
    });
    table(&["plane", "purpose", "port", "mtu", "peers"], &rows.collect::<Vec<_>>())
}

fn range_table(document: &PlanDocument) -> String {
    let rows = document.planes.iter().map(|(name, p)| {
        vec![name.to_string(), p.cidr.to_string(), p.members.to_string(), p.births.to_string()]
    });
    table(&["plane", "all", "members", "births"], &rows.collect::<Vec<_>>())
}

fn allow_table(document: &PlanDocument) -> String {
    let rows: Vec<_> = document
        .allow
        .iter()
        .map(|allow| {
            let ports: Vec<String> = allow.ports.iter().map(ToString::to_string).collect();
            vec![allow.from.to_string(), allow.to.to_string(), ports.join(", ")]
        })
        .collect();
    if rows.is_empty() { "  no connections\n".into() } else { table(&["from", "to", "ports"], &rows) }
}

fn node_table(document: &PlanDocument) -> String {
    let rows = document.nodes.iter().map(|node| {
        let (id, role) = (node.id.to_string(), role(node.role).to_owned());
        let rest = [
            or_dash(node.domain.as_ref()),
            or_dash(node.vmid),
            or_dash(node.pod_cidr),
            or_dash(node.endpoint),
        ];
        [vec![id, node.name.to_string(), role], rest.to_vec()].concat()
    });
    table(&["id", "node", "role", "zone", "vmid", "pods", "endpoint"], &rows.collect::<Vec<_>>())
}

fn address_table(document: &PlanDocument, address: fn(&NodePlane) -> IpAddr) -> String {
    let rows = document.nodes.iter().map(|node| {
        let cells = node.planes.values().map(|plane| address(plane).to_string());
        std::iter::once(node.name.to_string()).chain(cells).collect::<Vec<_>>()
    });
    let head: Vec<&str> =
        std::iter::once("node").chain(document.planes.keys().map(|name| name.as_str())).collect();
    table(&head, &rows.collect::<Vec<_>>())
}

fn operator_table(document: &PlanDocument) -> String {
    let rows: Vec<_> = document
        .operators
        .iter()
        .map(|(name, address)| vec![name.to_string(), address.to_string()])
        .collect();
    if rows.is_empty() { String::new() } else { table(&["operator", "address"], &rows) }
}

fn stage_table() -> String {
    let rows = stages().into_iter().enumerate().map(|(at, stage)| {
        let parts: Vec<String> =
            stage
                .stages
                .iter()
                .map(|part| {
                    if part.in_this_version { part.name.to_owned() } else { format!("{} (later)", part.name) }
                })
                .collect();
        let parts = if parts.is_empty() { "-".to_owned() } else { parts.join(", ") };
        vec![
            (at + 1).to_string(),
            stage.name.to_owned(),
            place(stage.place).into(),
            parts,
            rerun(stage.rerun).into(),
        ]
    });
    let table = table(&["", "stage", "runs at", "agent's stages", "a second run"], &rows.collect::<Vec<_>>());
    format!(
        "{table}  * only disks in allowDestroy; all other data is kept\n  (later): declared, but not implemented in this version\n"
    )
}
