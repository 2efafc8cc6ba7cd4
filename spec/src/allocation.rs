//! The numbers of nodes and operators that are written down: `<spec>.alloc.toml`, committed beside the spec like a lock.
//!
//! A name keeps its number for ever, also after it has left the spec; a number is never given to another name. Addresses, pod ranges and
//! VMIDs are a base plus the number, so adding, removing or reordering nodes moves nobody. A pure function: old file + spec → new file.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde::{Deserialize, Serialize};

use crate::check::{Problem, Rule, Severity, Validated, counted};
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
static RESERVED_ID: Rule =
    Rule { id: "reserved-id", sentence: "A node's id was never another node's.", severity: Severity::Error };
static ID_FITS: Rule = Rule {
    id: "id-fits",
    sentence: "Planes, pod ranges and VMIDs have a place for every assigned id.",
    severity: Severity::Error,
};

/// The numbers that are written down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Allocation {
    /// Always [`VERSION`].
    pub version: u32,
    /// The cluster that they belong to.
    pub cluster: ClusterName,
    /// Nodes of the spec.
    #[serde(default)]
    pub nodes: BTreeMap<NodeName, NodeId>,
    /// Nodes that have left it. Their numbers stay theirs.
    #[serde(default)]
    pub retired: BTreeMap<NodeName, NodeId>,
    /// Operators of the spec; numbers of their own, whose addresses count down from the end of the members' range.
    #[serde(default)]
    pub operators: BTreeMap<OperatorName, NodeId>,
    /// Operators that have left it.
    #[serde(default)]
    pub retired_operators: BTreeMap<OperatorName, NodeId>,
}

/// A file that is not an allocation.
#[derive(Debug, thiserror::Error)]
pub enum AllocationError {
    /// It is not TOML of this shape.
    #[error("the allocation file does not read")]
    Toml(#[from] toml::de::Error),
    /// Its version is not understood.
    #[error("the allocation file has version {0}, and only version {VERSION} is understood")]
    Version(u32),
    /// It belongs to another cluster.
    #[error("the allocation file belongs to the cluster {0}, not to {1}")]
    Cluster(ClusterName, ClusterName),
    /// A number is given twice.
    #[error("the allocation file gives the number {0} twice")]
    Twice(NodeId),
    /// A name stands twice.
    #[error("the allocation file has {0} both in use and retired")]
    Both(String),
    /// It cannot be written.
    #[error("the allocation does not write as TOML")]
    Write(#[from] toml::ser::Error),
}

/// An allocation that fits a spec.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    /// What to write down.
    pub allocation: Allocation,
    /// The nodes whose number is not written down yet, neither in the file nor in the spec.
    pub unrecorded: Vec<NodeName>,
    /// Whether the file would change.
    pub changed: bool,
}

#[derive(Deserialize)]
struct Head {
    version: u32,
}

impl Allocation {
    /// A file without a number.
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

    /// Reads a file; unknown fields are errors (ADR 0003).
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

    /// The file as text.
    pub fn to_toml(&self) -> Result<String, AllocationError> {
        let head = "# Written by `kubedos-build plan --assign`; commit it. A number is never given to another name.\n";
        Ok(format!("{head}{}", toml::to_string(self)?))
    }

    /// Gives every node and operator of the spec its number.
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
        problems.extend(unfit(validated, &nodes, last_operator));
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

/// Numbers cannot be given.
#[derive(Debug, thiserror::Error)]
pub enum AssignError {
    /// The file is not one of this cluster.
    #[error(transparent)]
    File(#[from] AllocationError),
    /// The spec says what the file does not allow.
    #[error("the spec and the recorded ids do not agree")]
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

/// Which name has which number, and the lowest number that nobody ever had.
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

    /// Takes the number that the spec declares; what is wrong with it otherwise.
    fn declare(&mut self, name: &'a N, id: NodeId, at: Place) -> Option<Problem> {
        match (self.owned.get(name), self.owners.get(&id)) {
            (Some(recorded), _) if *recorded != id => {
                let message = format!(
                    "{} has id {recorded}, as the allocation file records, not {id}",
                    name.to_string()
                );
                Some(
                    RECORDED_ID.at(at, message).help(format!(
                        "write id: {recorded}, or leave it out; a node with another id is another node, with a name of its own"
                    )),
                )
            }
            (None, Some(owner)) => {
                let message = format!("the id {id} is that of {}, for ever", owner.to_string());
                Some(
                    RESERVED_ID
                        .at(at, message)
                        .help("write another id, or leave it out: then one is assigned"),
                )
            }
            _ => {
                self.owned.insert(name, id);
                self.owners.insert(id, name);
                None
            }
        }
    }

    /// The number of a name: its own, or the lowest that nobody ever had. The walk up is linear over all calls.
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

/// Something of which each id takes one: a plane, the pods' addresses, the VMIDs.
struct Room {
    what: String,
    ids: u128,
    help: &'static str,
}

fn rooms(spec: &Spec, last_operator: Option<NodeId>) -> Vec<Room> {
    let planes = spec.networking.planes.iter().filter_map(|(name, plane)| {
        let (members, births) = ranges::of(plane)?;
        let people = last_operator
            .filter(|_| plane.purpose == PlanePurpose::Control)
            .map_or(0, |last| u128::from(last.get()));
        let ids = ranges::capacity(&members).saturating_sub(people).min(ranges::capacity(&births));
        Some(Room {
            what: format!("the plane {name} has addresses"),
            ids,
            help: "give the plane a shorter prefix",
        })
    });
    let pods = spec.kubernetes.enabled.then(|| Room {
        what: "podCidr has addresses".into(),
        ids: ranges::pod_capacity(&spec.kubernetes),
        help: "give podCidr a shorter prefix, or nodePodPrefix a longer one",
    });
    let vmids = spec.nodes.vmid_range.map(|range| Room {
        what: format!("vmidRange, which ends at {}, has numbers", range.end),
        ids: u128::from(range.end.saturating_sub(range.start)),
        help: "raise the end of vmidRange",
    });
    planes.chain(pods).chain(vmids).collect()
}

/// For each room that is too small one problem, at the first node that does not fit.
fn unfit(
    validated: &Validated,
    nodes: &BTreeMap<NodeName, NodeId>,
    last_operator: Option<NodeId>,
) -> Vec<Problem> {
    let spec = &validated.spec().spec;
    let mut problems = Vec::new();
    for room in rooms(spec, last_operator) {
        let beyond = |(_, node): &(usize, &NodeSpec)| {
            nodes.get(&node.name).is_some_and(|id| u128::from(id.get()) > room.ids)
        };
        let mut beyond = spec.nodes.inventory.iter().enumerate().filter(beyond);
        let Some((index, node)) = beyond.next() else { continue };
        let Some(id) = nodes.get(&node.name) else { continue };
        let more = match beyond.count() {
            0 => String::new(),
            more => format!("; {} more", counted(more, "node")),
        };
        let message =
            format!("{} for ids up to {}, and {} has id {id}{more}", room.what, room.ids, node.name);
        let help = format!("{}; ids of removed nodes stay theirs", room.help);
        problems.push(ID_FITS.at(validated.node_place(index), message).help(help));
    }
    problems
}
