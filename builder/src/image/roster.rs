//! The fixed roster: the nodes' public keys on the planes, derived from their seeds at build time.
//!
//! It exists for the lab only: the substrate `cloud` with the provider `lab`, and the published demo keys. In every other cluster the keys
//! of nodes come from their enrolment, and no roster is written.

use kubedos_spec::plan::{ClusterPlan, PlannedNode};
use kubedos_wire::hex32::ClusterId;
use kubedos_wire::node::{
    DEMO_IDENTITY, ROSTER_VERSION, Roster, RosterKind, RosterNode, RosterPlane, SubstrateType,
};

use crate::keys::{KeyDir, KeyError};

/// The provider of the lab's machines.
const LAB: &str = "lab";

/// Returns the fixed roster of a plan; `None` for every cluster that is not a lab with the demo keys.
///
/// # Errors
/// If the nodes' secrets cannot be read or derived.
pub fn fixed(plan: &ClusterPlan, keys: &KeyDir) -> Result<Option<Roster>, KeyError> {
    // The mark of the index alone is not enough: a person could set it in the index of other keys.
    let demo = keys.public().demo && keys.public().identity == DEMO_IDENTITY;
    if !demo || !is_lab(plan) {
        return Ok(None);
    }
    let metadata = &plan.spec().metadata;
    let cluster = keys.public().cluster_id(metadata.name.as_str());
    let nodes = plan.nodes().iter().map(|planned| node(plan, planned, keys, cluster));
    Ok(Some(Roster {
        version: ROSTER_VERSION,
        kind: RosterKind::Fixed,
        generation: metadata.generation,
        nodes: nodes.collect::<Result<_, _>>()?,
        operators: plan.operators(),
    }))
}

fn is_lab(plan: &ClusterPlan) -> bool {
    let substrate = &plan.spec().spec.substrate;
    let provider = substrate.cloud.as_ref().and_then(|cloud| cloud.provider.as_deref());
    substrate.kind == SubstrateType::Cloud && provider == Some(LAB)
}

fn node(
    plan: &ClusterPlan,
    planned: &PlannedNode,
    keys: &KeyDir,
    cluster: ClusterId,
) -> Result<RosterNode, KeyError> {
    let incarnation = plan.node_spec(planned).map_or(1, |node| node.incarnation);
    let secrets = keys.node_secrets(cluster, planned.name.as_str(), incarnation)?;
    let mut entry = RosterNode {
        node: planned.name.clone(),
        id: planned.id,
        role: planned.role,
        endpoint: planned.endpoint,
        planes: std::collections::BTreeMap::new(),
    };
    for (id, plane) in plan.planes() {
        if let Some(member) = plane.member(planned.id) {
            entry.planes.insert(id.clone(), RosterPlane { key: secrets.plane_key(id)?, member });
        }
    }
    Ok(entry)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::{Path, PathBuf};

    use kubedos_spec::allocation::Allocation;
    use kubedos_spec::check::Raw;
    use kubedos_wire::node::{ClusterDocument, PublicTrust, Role};
    use kubedos_wire::planes::{self, PeerName};

    use super::*;
    use crate::image::configuration::Configuration;
    use crate::keys::{Init, plan_init};

    fn project() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
    }

    fn demo() -> KeyDir {
        KeyDir::open(&project().join("keys/demo")).unwrap()
    }

    fn own(folder: &Path) -> KeyDir {
        let init = Init { cluster: "lab".into(), now: 1_790_000_000, demo: false };
        plan_init(&folder.join("lab"), init).unwrap().apply().unwrap()
    }

    fn lab() -> String {
        fs::read_to_string(project().join("examples/lab.yaml")).unwrap()
    }

    fn plan(spec: &str) -> ClusterPlan {
        let validated = Raw::new(spec.as_bytes()).with_demo_keys().validate().unwrap();
        validated.plan(&Allocation::empty(validated.spec().metadata.name.clone())).unwrap()
    }

    fn document(plan: &ClusterPlan, keys: &KeyDir) -> ClusterDocument {
        let public = keys.public();
        let cluster_id = public.cluster_id(plan.spec().metadata.name.as_str());
        plan.cluster_document(&PublicTrust {
            cluster_id,
            seed_keys: public.seed.clone(),
            demo_keys: public.demo,
        })
    }

    fn paths(plan: &ClusterPlan, keys: &KeyDir, roster: Option<&Roster>) -> Option<Vec<String>> {
        let shards = plan.shards().map(|(name, shard)| (name.to_string(), shard));
        let configuration = Configuration::new(&document(plan, keys), shards, roster).ok()?;
        let tree = configuration.tree(1).unwrap();
        let all = ["cluster.toml", "roster.toml", "shards/cp-1.toml"];
        Some(all.into_iter().filter(|path| tree.content(path).is_some()).map(str::to_owned).collect())
    }

    /// The private key that a node derives from its seed belongs to the public key that its peers have.
    #[test]
    fn the_roster_has_the_keys_that_the_nodes_derive() {
        let (plan, keys) = (plan(&lab()), demo());
        let roster = fixed(&plan, &keys).unwrap().unwrap();
        assert_eq!(Roster::parse(&roster.to_toml().unwrap()).unwrap(), roster);
        let cluster = document(&plan, &keys);
        roster.check_demo(&cluster).unwrap();
        for (name, shard) in plan.shards() {
            let entry = roster.node(&name).unwrap();
            let secrets = keys.node_secrets(cluster.cluster_id, name.as_str(), shard.incarnation).unwrap();
            for (id, plane) in &entry.planes {
                let private = planes::private_key(&secrets.birth, id).unwrap();
                let public = x25519_dalek::x25519(*private.expose(), x25519_dalek::X25519_BASEPOINT_BYTES);
                assert_eq!(plane.key.bytes(), &public, "{name} {id}");
            }
        }
        assert_eq!(paths(&plan, &keys, Some(&roster)).unwrap().len(), 3);
    }

    /// The peers that a node computes are those that `plan` shows.
    #[test]
    fn nodes_compute_the_peers_of_the_plan() {
        for peers in ["mesh", "control-planes"] {
            let spec = lab().replacen(
                "purpose: observability",
                &format!("purpose: observability\n        peers: {peers}"),
                1,
            );
            let (plan, keys) = (plan(&spec), demo());
            let (roster, cluster) = (fixed(&plan, &keys).unwrap().unwrap(), document(&plan, &keys));
            for (name, shard) in plan.shards() {
                let planned = plan.node(name.as_str()).unwrap();
                for wanted in planes::wanted(&shard, &cluster, &roster).unwrap() {
                    let mut nodes: Vec<_> = wanted
                        .peers
                        .iter()
                        .filter(|peer| matches!(peer.name, PeerName::Node(_)))
                        .map(|peer| peer.allowed.first().unwrap().network())
                        .collect();
                    nodes.sort_unstable();
                    let mut expected: Vec<_> =
                        plan.peers(planned, &wanted.id).map(|peer| peer.address).collect();
                    expected.sort_unstable();
                    assert_eq!(nodes, expected, "{name} {}", wanted.id);
                    let people = wanted.peers.len() - nodes.len();
                    let operators = shard.role == Role::ControlPlane && wanted.id.as_str() == "wg1";
                    assert_eq!(people, if operators { plan.operators().len() } else { 0 });
                }
            }
        }
    }

    #[test]
    fn another_provider_or_substrate_has_no_roster() {
        let keys = demo();
        assert!(fixed(&plan(&lab()), &keys).unwrap().is_some());
        for provider in ["provider: Lab", "provider: lab-2", "provider: \"lab \"", "provider: hetzner"] {
            let spec = lab().replacen("provider: lab", provider, 1);
            assert_ne!(spec, lab());
            assert_eq!(fixed(&plan(&spec), &keys).unwrap(), None, "{provider}");
        }
        let none = lab().replacen("    cloud:\n      provider: lab\n", "", 1);
        assert_ne!(none, lab());
        assert_eq!(fixed(&plan(&none), &keys).unwrap(), None);
        let metal = fs::read_to_string(project().join("examples/bare-metal.yaml")).unwrap();
        assert_eq!(fixed(&plan(&metal), &keys).unwrap(), None);
    }

    /// Own keys get no roster: not from the plan, not from a document next to the keys, not with the mark of the demo keys, and
    /// not with the roster of somebody else.
    #[test]
    fn own_keys_have_no_roster() {
        let folder = tempfile::tempdir().unwrap();
        let (plan, keys) = (plan(&lab()), own(folder.path()));
        let roster = fixed(&plan, &demo()).unwrap().unwrap();
        for place in ["lab/roster.toml", "lab/public/roster.toml", "roster.toml"] {
            fs::write(folder.path().join(place), roster.to_toml().unwrap()).unwrap();
        }
        assert_eq!(fixed(&plan, &keys).unwrap(), None);
        assert_eq!(paths(&plan, &keys, None).unwrap(), ["cluster.toml", "shards/cp-1.toml"]);
        assert_eq!(paths(&plan, &keys, Some(&roster)), None, "refused");

        let index = folder.path().join("lab/public/keys.toml");
        let text = fs::read_to_string(&index).unwrap();
        let marked = if text.contains("demo = false") {
            text.replacen("demo = false", "demo = true", 1)
        } else {
            text.replacen("version = 1\n", "version = 1\ndemo = true\n", 1)
        };
        assert_ne!(marked, text);
        fs::write(&index, marked).unwrap();
        let marked = KeyDir::open(&folder.path().join("lab")).unwrap();
        assert!(marked.public().demo, "the mark is read");
        assert_eq!(fixed(&plan, &marked).unwrap(), None);
        assert_eq!(paths(&plan, &marked, Some(&roster)), None, "refused");
    }
}
