//! The allocation file `<spec>.alloc.toml`: the recorded numbers of nodes and operators, committed next to the spec like a lock file.
//!
//! A name keeps its number permanently, even after it is removed from the spec, and a number is never given to a different name.
//! Addresses, pod ranges and VMIDs are a base plus the number, so adding, removing or reordering nodes changes no other node.
//! The assignment is a pure function: old file + spec → new file.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde::{Deserialize, Serialize};

use crate::check::{Problem, Rule, Severity, Validated};
use crate::model::{NodeSpec, Spec};
use crate::plan::ranges;
use crate::yaml::Place;
use kubedos_wire::node::PlanePurpose;
use kubedos_wire::value::{ClusterName, NodeId, NodeName, OperatorName};

/// The version of the file.
pub const VERSION: u32 = 1;

/// The rules that need the recorded numbers.
pub static RULES: &[&Rule] = &[&RECORDED_ID, &RESERVED_ID, &ID_FITS];

static RECORDED_ID: Rule = Rule {
    id: "recorded-id",
    sentence: "A node's id is the one that the allocation file records for it.",
    severity: Severity::Error,
};
static RESERVED_ID: Rule = Rule {
    id: "reserved-id",
    sentence: "A node's id was never the id of another node.",
    severity: Severity::Error,
};
static ID_FITS: Rule = Rule {
    id: "id-fits",
    sentence: "Planes, podCidr and vmidRange are large enough for every assigned id.",
    severity: Severity::Error,
};

/// The recorded numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Allocation {
    /// Always [`VERSION`].
    pub version: u32,
    /// The cluster that the numbers belong to.
    pub cluster: ClusterName,
    /// Nodes of the spec.
    #[serde(default)]
    pub nodes: BTreeMap<NodeName, NodeId>,
    /// Nodes that were removed from the spec. Their numbers stay reserved.
    #[serde(default)]
    pub retired: BTreeMap<NodeName, NodeId>,
    /// Operators of the spec. Their numbers are independent of those of nodes, and their addresses count down from the end of
    /// the members' range.
    #[serde(default)]
    pub operators: BTreeMap<OperatorName, NodeId>,
    /// Operators that were removed from the spec.
    #[serde(default)]
    pub retired_operators: BTreeMap<OperatorName, NodeId>,
}

/// Why an allocation file is not usable.
#[derive(Debug, thiserror::Error)]
pub enum AllocationError {
    /// It is not TOML, or a field is missing or has the wrong type.
    #[error("failed to parse the allocation file")]
    Toml(#[from] toml::de::Error),
    /// Its version is not supported.
    #[error("the allocation file has version {0}, only version {VERSION} is supported")]
    Version(u32),
    /// It belongs to a different cluster.
    #[error("the allocation file belongs to the cluster {0}, not to {1}")]
    Cluster(ClusterName, ClusterName),
    /// A number is assigned twice.
    #[error("the allocation file assigns the number {0} twice")]
    Twice(NodeId),
    /// A name is both in use and retired.
    #[error("the allocation file lists {0} as both in use and retired")]
    Both(String),
    /// It cannot be serialized.
    #[error("failed to serialize the allocation file")]
    Write(#[from] toml::ser::Error),
}

/// The allocation for a spec.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    /// The allocation to record.
    pub allocation: Allocation,
    /// The nodes whose number is not recorded yet, neither in the file nor in the spec.
    pub unrecorded: Vec<NodeName>,
    /// Whether the allocation differs from the file.
    pub changed: bool,
}

#[derive(Deserialize)]
struct Head {
    version: u32,
}

impl Allocation {
    /// An allocation without numbers.
    pub const fn empty(cluster: ClusterName) -> Self {
        Self {
            version: VERSION,
            cluster,
            nodes: BTreeMap::new(),
            retired: BTreeMap::new(),
            operators: BTreeMap::new(),
            retired_operators: BTreeMap::new(),
        }
    }

    /// Parses an allocation file; unknown fields are errors (ADR 0003).
    pub fn parse(text: &str) -> Result<Self, AllocationError> {
        let Head { version } = toml::from_str(text)?;
        if version != VERSION {
            return Err(AllocationError::Version(version));
        }
        let allocation: Self = toml::from_str(text)?;
        distinct(&allocation.nodes, &allocation.retired)?;
        distinct(&allocation.operators, &allocation.retired_operators)?;
        Ok(allocation)
    }

    /// Serializes the allocation as the text of its file.
    pub fn to_toml(&self) -> Result<String, AllocationError> {
        let head = "# Written by `kubedos-build plan --assign`; commit it. A number is never given to another name.\n";
        Ok(format!("{head}{}", toml::to_string(self)?))
    }

    /// Assigns a number to every node and operator of the spec.
    pub fn assign(&self, validated: &Validated) -> Result<Assignment, AssignError> {
        let (spec, cluster) = (&validated.spec().spec, &validated.spec().metadata.name);
        if self.cluster != *cluster {
            return Err(AllocationError::Cluster(self.cluster.clone(), cluster.clone()).into());
        }
        let mut problems = Vec::new();
        let mut numbers = Numbers::new(&self.nodes, &self.retired);
        let inventory = &spec.nodes.inventory;
        for (index, node) in inventory.iter().enumerate() {
            let at = validated.id_place(index);
            if let Some(problem) = node.id.and_then(|id| numbers.declare(&node.name, id, at)) {
                problems.push(problem);
            }
        }
        let unrecorded = inventory
            .iter()
            .filter(|node| !numbers.owned.contains_key(&node.name))
            .map(|node| node.name.clone());
        let unrecorded: Vec<NodeName> = unrecorded.collect();
        let nodes: BTreeMap<_, _> =
            inventory.iter().map(|node| (node.name.clone(), numbers.number(&node.name))).collect();
        let mut people = Numbers::new(&self.operators, &self.retired_operators);
        let operators: BTreeMap<_, _> =
            spec.security.operators.iter().map(|o| (o.name.clone(), people.number(&o.name))).collect();
        let last_operator = operators.values().max().copied();
        problems.extend(exceeded(validated, &nodes, last_operator));
        if !problems.is_empty() {
            return Err(AssignError::Problems(problems));
        }
        let allocation = Self {
            version: VERSION,
            cluster: self.cluster.clone(),
            retired: left(&self.nodes, &self.retired, &nodes),
            retired_operators: left(&self.operators, &self.retired_operators, &operators),
            nodes,
            operators,
        };
        let changed = allocation != *self;
        Ok(Assignment { allocation, unrecorded, changed })
    }
}

/// Why numbers cannot be assigned.
#[derive(Debug, thiserror::Error)]
pub enum AssignError {
    /// The allocation file is not usable for this cluster.
    #[error(transparent)]
    File(#[from] AllocationError),
    /// The spec contradicts the allocation file.
    #[error("the spec contradicts the recorded ids")]
    Problems(Vec<Problem>),
}

fn distinct<N: Ord + ToString>(
    used: &BTreeMap<N, NodeId>,
    retired: &BTreeMap<N, NodeId>,
) -> Result<(), AllocationError> {
    let mut seen = HashSet::new();
    if let Some(id) = used.values().chain(retired.values()).find(|id| !seen.insert(**id)) {
        return Err(AllocationError::Twice(*id));
    }
    match used.keys().find(|name| retired.contains_key(name)) {
        Some(name) => Err(AllocationError::Both(name.to_string())),
        None => Ok(()),
    }
}

fn left<N: Ord + Clone>(
    old: &BTreeMap<N, NodeId>,
    retired: &BTreeMap<N, NodeId>,
    new: &BTreeMap<N, NodeId>,
) -> BTreeMap<N, NodeId> {
    let all = old.iter().chain(retired);
    all.filter(|(name, _)| !new.contains_key(name)).map(|(name, id)| (name.clone(), *id)).collect()
}

/// The number of each name, and the lowest number that may still be unused.
struct Numbers<'a, N> {
    owned: HashMap<&'a N, NodeId>,
    owners: HashMap<NodeId, &'a N>,
    next: u32,
}

impl<'a, N: std::hash::Hash + Eq + ToString> Numbers<'a, N> {
    fn new(used: &'a BTreeMap<N, NodeId>, retired: &'a BTreeMap<N, NodeId>) -> Self {
        let owned: HashMap<_, _> = used.iter().chain(retired).map(|(name, id)| (name, *id)).collect();
        let owners = owned.iter().map(|(name, id)| (*id, *name)).collect();
        Self { owned, owners, next: 1 }
    }

    /// Records the number that the spec declares; returns a problem if it contradicts the file.
    fn declare(&mut self, name: &'a N, id: NodeId, at: Place) -> Option<Problem> {
        match (self.owned.get(name), self.owners.get(&id)) {
            (Some(recorded), _) if *recorded != id => {
                let message =
                    format!("{} has id {recorded} in the allocation file, not {id}", name.to_string());
                Some(
                    RECORDED_ID.at(at, message).help(format!(
                        "write id: {recorded}, or omit it; a new id needs a node with a new name"
                    )),
                )
            }
            (None, Some(owner)) => {
                let message = format!("the id {id} is reserved for {}", owner.to_string());
                Some(
                    RESERVED_ID.at(at, message).help("write a different id, or omit it to have one assigned"),
                )
            }
            _ => {
                self.owned.insert(name, id);
                self.owners.insert(id, name);
                None
            }
        }
    }

    /// The number of a name: the recorded one, or the lowest number that was never used. The cost of all calls together is linear.
    fn number(&mut self, name: &'a N) -> NodeId {
        if let Some(id) = self.owned.get(name) {
            return *id;
        }
        let id = loop {
            let id = NodeId::new(self.next).unwrap_or(NodeId::LAST);
            if id == NodeId::LAST || !self.owners.contains_key(&id) {
                break id;
            }
            self.next += 1;
        };
        self.owned.insert(name, id);
        self.owners.insert(id, name);
        id
    }
}

/// A range with one part for each id: the addresses of a plane, the subnets of pods, the VMIDs.
struct Capacity {
    what: String,
    ids: u128,
    help: &'static str,
}

fn capacities(spec: &Spec, last_operator: Option<NodeId>) -> Vec<Capacity> {
    let planes = spec.networking.planes.iter().filter_map(|(name, plane)| {
        let (members, births) = ranges::of(plane)?;
        let people = last_operator
            .filter(|_| plane.purpose == PlanePurpose::Control)
            .map_or(0, |last| u128::from(last.get()));
        let ids = ranges::capacity(&members).saturating_sub(people).min(ranges::capacity(&births));
        Some(Capacity {
            what: format!("the plane {name} is too small"),
            ids,
            help: "give the plane a shorter prefix",
        })
    });
    let pods = spec.kubernetes.enabled.then(|| Capacity {
        what: "podCidr is too small".into(),
        ids: ranges::pod_capacity(&spec.kubernetes),
        help: "give podCidr a shorter prefix, or nodePodPrefix a longer one",
    });
    let vmids = spec.nodes.vmid_range.map(|range| Capacity {
        what: format!("vmidRange ends at {}", range.end),
        ids: u128::from(range.end.saturating_sub(range.start)),
        help: "raise the end of vmidRange",
    });
    planes.chain(pods).chain(vmids).collect()
}

/// One problem for each capacity that is too small, at the first node whose id exceeds it.
fn exceeded(
    validated: &Validated,
    nodes: &BTreeMap<NodeName, NodeId>,
    last_operator: Option<NodeId>,
) -> Vec<Problem> {
    let spec = &validated.spec().spec;
    let mut problems = Vec::new();
    for capacity in capacities(spec, last_operator) {
        let beyond = |(_, node): &(usize, &NodeSpec)| {
            nodes.get(&node.name).is_some_and(|id| u128::from(id.get()) > capacity.ids)
        };
        let mut beyond = spec.nodes.inventory.iter().enumerate().filter(beyond);
        let Some((index, node)) = beyond.next() else { continue };
        let Some(id) = nodes.get(&node.name) else { continue };
        let more = match beyond.count() {
            0 => String::new(),
            1 => " (1 more node does not fit)".to_owned(),
            more => format!(" ({more} more nodes do not fit)"),
        };
        let message = format!(
            "{}, so only ids up to {} fit, but {} has id {id}{more}",
            capacity.what, capacity.ids, node.name
        );
        let help = format!("{}; ids of removed nodes stay reserved", capacity.help);
        problems.push(ID_FITS.at(validated.node_place(index), message).help(help));
    }
    problems
}
