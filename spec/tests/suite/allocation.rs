//! Numbers are permanent (requirement N2): if nodes are added, removed or reordered, the addresses of all other nodes
//! stay the same, and no number is given to a different name.

use std::collections::HashMap;
use std::net::IpAddr;

use kubedos_spec::allocation::{Allocation, AllocationError, AssignError, Assignment};
use kubedos_spec::check::{Raw, Validated};
use kubedos_spec::plan::ClusterPlan;
use kubedos_wire::value::PlaneId;
use proptest::prelude::*;

const KEYS: [&str; 6] = ["A", "B", "C", "D", "E", "F"];

/// A cluster with these nodes, each with its declared id, and with these operators.
fn cluster(nodes: &[(String, Option<u32>)], operators: &[usize]) -> Validated {
    let inventory: Vec<_> = nodes
        .iter()
        .map(|(name, id)| {
            let mut node =
                serde_json::json!({ "name": name, "role": "control-plane", "disks": [{ "sizeGiB": 32 }] });
            if name.starts_with('w') {
                node["role"] = "worker".into();
            }
            if let Some(id) = id {
                node["id"] = (*id).into();
            }
            node
        })
        .collect();
    let operators: Vec<_> = operators
        .iter()
        .map(|at| {
            let key = format!("{}sC7IdAPKKrByEx9BScM3rPg9skm4PXb6SwJow+502I=", KEYS[*at]);
            serde_json::json!({ "name": format!("op-{at}"), "role": "admin", "wireguardKey": key })
        })
        .collect();
    let spec = serde_json::json!({
        "apiVersion": "kubedos.ca/v1alpha1",
        "kind": "Cluster",
        "metadata": { "name": "moving", "artifactVersion": "0.1.0" },
        "spec": {
            "substrate": { "type": "cloud" },
            "nodes": { "inventory": inventory },
            "networking": { "planes": {
                "wg1": { "cidr": "10.101.0.0/20", "purpose": "control" },
                "wg2": { "cidr": "10.102.0.0/20", "purpose": "observability" },
                "wg3": { "cidr": "10.103.0.0/20", "purpose": "kubernetes-backend" },
            } },
            "security": { "bootstrap": { "model": "offline-ca" }, "operators": operators },
            "kubernetes": { "enabled": true, "version": "v1.34.2" },
        },
    });
    let source = spec.to_string();
    Raw::new(source.as_bytes()).validate().unwrap_or_else(|problems| panic!("{problems:#?}"))
}

fn empty() -> Allocation {
    Allocation::empty("moving".parse().unwrap())
}

/// One change of the spec by a person.
#[derive(Debug, Clone)]
enum Edit {
    Add(u8),
    Remove(usize),
    Swap(usize, usize),
    Declare(usize),
    Operator(usize),
}

fn edits() -> impl Strategy<Value = Vec<Edit>> {
    let place = || any::<prop::sample::Index>().prop_map(|index| index.index(1 << 16));
    let edit = prop_oneof![
        4 => (0_u8..24).prop_map(Edit::Add),
        3 => place().prop_map(Edit::Remove),
        2 => (place(), place()).prop_map(|(a, b)| Edit::Swap(a, b)),
        1 => place().prop_map(Edit::Declare),
        2 => (0..KEYS.len()).prop_map(Edit::Operator),
    ];
    prop::collection::vec(edit, 1..25)
}

/// The edited spec, and all numbers and addresses that were ever assigned.
struct History {
    nodes: Vec<(String, Option<u32>)>,
    operators: Vec<usize>,
    recorded: Allocation,
    addresses: HashMap<String, Vec<IpAddr>>,
    owners: HashMap<u32, String>,
}

impl History {
    fn edit(&mut self, edit: &Edit) {
        match *edit {
            Edit::Add(number) => {
                let name = format!("w-{number}");
                if self.nodes.iter().all(|(known, _)| *known != name) {
                    self.nodes.insert(usize::from(number) % (self.nodes.len() + 1), (name, None));
                }
            }
            Edit::Remove(at) => {
                let at = at % self.nodes.len();
                if self.nodes[at].0 != "cp-0" {
                    self.nodes.remove(at);
                }
            }
            Edit::Swap(a, b) => {
                let length = self.nodes.len();
                self.nodes.swap(a % length, b % length);
            }
            Edit::Declare(at) => {
                // A recorded id may be written into the spec, and later removed from it.
                let at = at % self.nodes.len();
                let (name, declared) = &self.nodes[at];
                let id = self.recorded.nodes.get(&name.parse().unwrap()).map(|id| id.get());
                self.nodes[at].1 = if declared.is_some() { None } else { id };
            }
            Edit::Operator(at) => match self.operators.iter().position(|known| *known == at) {
                Some(found) => drop(self.operators.remove(found)),
                None => self.operators.push(at),
            },
        }
    }

    /// Plans, compares the plan with all earlier assignments, and records the new ones.
    fn record(&mut self) -> Result<(), TestCaseError> {
        let plan = cluster(&self.nodes, &self.operators).plan(&self.recorded).unwrap();
        for node in plan.nodes() {
            let name = node.name.to_string();
            let owner = self.owners.entry(node.id.get()).or_insert_with(|| name.clone());
            prop_assert_eq!(&*owner, &name, "the id {} had a different owner", node.id);
            let now = addresses(&plan, &name);
            let before = self.addresses.entry(name.clone()).or_insert_with(|| now.clone());
            prop_assert_eq!(&*before, &now, "the addresses of {} have changed", name);
        }
        for (name, address) in plan.operators() {
            let key = format!("operator {name}");
            let before = self.addresses.entry(key).or_insert_with(|| vec![address]);
            prop_assert_eq!(&*before, &vec![address], "the addresses of {} have changed", name);
        }
        let written = plan.assignment().allocation.to_toml().unwrap();
        self.recorded = Allocation::parse(&written).unwrap();
        prop_assert_eq!(&self.recorded, &plan.assignment().allocation);
        // If all numbers are recorded, the same spec causes no change.
        let Assignment { changed, unrecorded, .. } =
            self.recorded.assign(&cluster(&self.nodes, &self.operators)).unwrap();
        prop_assert!(!changed && unrecorded.is_empty());
        Ok(())
    }
}

fn addresses(plan: &ClusterPlan, name: &str) -> Vec<IpAddr> {
    let node = plan.node(name).unwrap();
    let mut all: Vec<IpAddr> = Vec::new();
    for plane in plan.planes().values() {
        all.extend([plane.member(node.id).unwrap(), plane.birth(node.id).unwrap()]);
    }
    all.push(node.pod_cidr.unwrap().network());
    all
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(120))]

    #[test]
    fn addresses_are_stable_and_no_number_is_reused(edits in edits()) {
        let mut history = History {
            nodes: vec![("cp-0".into(), None)],
            operators: Vec::new(),
            recorded: empty(),
            addresses: HashMap::new(),
            owners: HashMap::new(),
        };
        for edit in edits {
            history.edit(&edit);
            history.record()?;
        }
    }

    #[test]
    fn every_address_has_one_owner(count in 1_usize..60, operators in 0..KEYS.len()) {
        let nodes: Vec<_> = (0..count).map(|at| (format!("{}-{at}", if at == 0 { "cp" } else { "w" }), None)).collect();
        let plan = cluster(&nodes, &(0..operators).collect::<Vec<_>>()).plan(&empty()).unwrap();
        let mut owners = HashMap::new();
        let all = plan.nodes().iter().flat_map(|node| {
            addresses(&plan, node.name.as_str()).into_iter().map(|address| (address, node.name.to_string()))
        });
        for (address, owner) in all.chain(plan.operators().into_iter().map(|(n, a)| (a, n.to_string()))) {
            if let Some(other) = owners.insert(address, owner.clone()) {
                prop_assert!(false, "{address} belongs to {other} and to {owner}");
            }
        }
        let control: PlaneId = "wg1".parse().unwrap();
        for address in plan.operators().into_values() {
            prop_assert!(plan.planes()[&control].members.contains(address));
        }
    }
}

#[test]
fn the_order_of_nodes_matters_only_without_an_allocation_file() {
    let names = |order: [&str; 2]| order.map(|name| (name.to_owned(), None)).to_vec();
    let first = cluster(&names(["cp-1", "w-1"]), &[]).plan(&empty()).unwrap();
    assert_eq!(first.assignment().unrecorded.len(), 2);
    let swapped = cluster(&names(["w-1", "cp-1"]), &[]);
    assert_eq!(swapped.plan(&empty()).unwrap().node("cp-1").unwrap().id.get(), 2);
    let recorded = &first.assignment().allocation;
    assert_eq!(swapped.plan(recorded).unwrap().node("cp-1").unwrap().id.get(), 1);
}

#[test]
fn a_declared_id_that_contradicts_the_file_is_refused() {
    let nodes = |id: Option<u32>, name: &str| vec![("cp-1".to_owned(), None), (name.to_owned(), id)];
    let recorded = cluster(&nodes(None, "w-1"), &[]).plan(&empty()).unwrap().assignment().allocation.clone();
    let rule = |nodes: &[(String, Option<u32>)]| match cluster(nodes, &[]).plan(&recorded) {
        Err(AssignError::Problems(problems)) => problems.into_iter().map(|problem| problem.rule).collect(),
        other => vec![if other.is_ok() { "fine" } else { "other" }],
    };
    assert_eq!(rule(&nodes(Some(2), "w-1")), ["fine"]);
    assert_eq!(rule(&nodes(Some(3), "w-1")), ["recorded-id"]);
    assert_eq!(rule(&nodes(Some(2), "w-2")), ["reserved-id"]);
    assert_eq!(rule(&nodes(Some(3), "w-2")), ["fine"]);
}

#[test]
fn an_inconsistent_file_is_refused() {
    let good = "version = 1\ncluster = \"moving\"\n[nodes]\ncp-1 = 1\nw-1 = 2\n[retired]\nw-2 = 3\n";
    assert!(Allocation::parse(good).is_ok());
    type Expect = fn(&AllocationError) -> bool;
    let cases: [(&str, &str, Expect); 7] = [
        ("version = 1", "version = 2", |e| matches!(e, AllocationError::Version(2))),
        ("w-1 = 2", "w-1 = 1", |e| matches!(e, AllocationError::Twice(id) if id.get() == 1)),
        ("w-2 = 3", "w-2 = 2", |e| matches!(e, AllocationError::Twice(id) if id.get() == 2)),
        ("w-2 = 3", "w-1 = 3", |e| matches!(e, AllocationError::Both(name) if name == "w-1")),
        ("w-2 = 3", "w-2 = 0", |e| matches!(e, AllocationError::Toml(_))),
        ("w-2 = 3", "w_2 = 3", |e| matches!(e, AllocationError::Toml(_))),
        ("[retired]", "[removed]", |e| matches!(e, AllocationError::Toml(_))),
    ];
    for (from, to, expected) in cases {
        let text = good.replacen(from, to, 1);
        assert_ne!(text, good, "{from}");
        let error = Allocation::parse(&text).unwrap_err();
        assert!(expected(&error), "{from} -> {to}: {error}");
    }
    let other = Allocation::empty("another".parse().unwrap());
    let refused = other.assign(&cluster(&[("cp-1".into(), None)], &[])).unwrap_err();
    assert!(matches!(refused, AssignError::File(AllocationError::Cluster(..))), "{refused}");
}
