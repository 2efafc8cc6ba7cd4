//! The firewall of a node as data: one nftables table, computed from the node's shard, the planes and the policy.
//!
//! [`Ruleset::new`] is pure: the same documents give the same rules, in the same order and with the same names. `Display`
//! renders the table in the syntax of nft(8); [`Ruleset::evaluate`] applies it to one packet. Nothing here loads a table.
//!
//! Invariants: `input` and `forward` drop by default. Which device an address may be used on is checked before connection
//! tracking accepts anything, so that no established connection passes a check of addresses. Documents that contradict
//! each other give an error and no table.
//!
//! Not here: the traffic of pods (the datapath of the Kubernetes network filters it), NAT, and names of services.
//! `docs/firewall.md` lists what is allowed and why; the verdicts and hooks follow `net/netfilter/nf_tables_api.c`.

mod evaluate;
mod facts;
mod input;
mod output;
mod rule;
mod text;

pub use evaluate::{Decision, Packet, Transport};
pub use facts::FirewallError;
pub use rule::{Chain, Device, Family, Hook, IcmpType, Limit, Match, Rule, Set, State, Verdict};

use std::collections::BTreeMap;

use serde::Serialize;

use crate::node::{Plane, PlanePurpose, Policy, Role, Shard};
use crate::value::{NodeName, PlaneId, PortRange, Protocol};
use facts::Facts;

/// The name of the table. Its family is `inet`; tables of other programs are not touched.
pub const TABLE: &str = "kubedos";

/// The TCP port of enrolment on the control plane.
pub const ENROLMENT_PORT: u16 = 7444;

/// The UDP port of time on the control plane (RFC 5905 §7.2).
pub const TIME_PORT: u16 = 123;

/// New connection-tracking entries that a node accepts per second on the port of one plane. An unanswered UDP entry lives
/// for 30 seconds (`net/netfilter/nf_conntrack_proto_udp.c`), so three planes hold at most 19,200 of them: less than a third
/// of the 65,536 that the kernel allows on a machine with more than 1 GiB of memory.
pub const NEW_FLOWS: Limit = Limit { per_second: 200, burst: 400 };

/// A service of the platform that members of a plane may reach on the plane's address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// The name in the rule's counter: a-z, 0-9 and `-`, different for each listener.
    pub name: &'static str,
    /// The plane that the service binds to.
    pub purpose: PlanePurpose,
    /// The role of the nodes that run the service; `None` for all nodes.
    pub role: Option<Role>,
    /// The ports of the service.
    pub ports: PortRange,
}

/// The services of this version. Apart from them, members of a plane accept only ICMP echo from each other.
pub const LISTENERS: &[Listener] = &[Listener {
    name: "time",
    purpose: PlanePurpose::Control,
    role: Some(Role::ControlPlane),
    ports: PortRange { first: TIME_PORT, last: TIME_PORT, protocol: Protocol::Udp },
}];

/// Checks the shard and the planes as [`Ruleset::new`] does, without the policy.
pub(crate) fn check_planes(shard: &Shard, planes: &BTreeMap<PlaneId, Plane>) -> Result<(), FirewallError> {
    facts::planes(shard, planes).map(drop)
}

/// The table of one node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Ruleset {
    /// The node.
    pub node: NodeName,
    /// The generation of the configuration.
    pub generation: u64,
    /// The chains; one for each hook.
    pub chains: Vec<Chain>,
}

impl Ruleset {
    /// Computes the table of the shard's node. `planes` and `policy` are those of `cluster.toml`. Fails if the documents
    /// contradict each other.
    pub fn new(
        shard: &Shard,
        planes: &BTreeMap<PlaneId, Plane>,
        policy: &Policy,
        listeners: &[Listener],
    ) -> Result<Self, FirewallError> {
        let planes = facts::planes(shard, planes)?;
        let facts = Facts::new(shard, &planes, policy)?;
        let forward = Chain {
            hook: Hook::Forward,
            policy: Verdict::Drop,
            rules: vec![Rule::drop("forward.rest", "no forwarding, also not between planes", vec![])],
        };
        let chains = vec![input::chain(&facts, listeners), forward, output::chain(&facts)];
        Ok(Self { node: shard.node.clone(), generation: shard.generation, chains })
    }

    /// All rules, in the order of the text.
    pub fn rules(&self) -> impl Iterator<Item = &Rule> {
        self.chains.iter().flat_map(|chain| &chain.rules)
    }
}
