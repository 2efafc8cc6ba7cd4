//! Freshness proofs, the lease and quarantine.

use std::time::Duration;

use kubedos_wire::hex32::{Digest, Nonce};
use kubedos_wire::membership::accept_root::KnownRoster;
use kubedos_wire::membership::fields::Extension;
use kubedos_wire::membership::freshness::{Freshness, FreshnessQuestion, PeerScope, freshness, peer_scope};
use kubedos_wire::membership::records::{Epoch, FreshnessProof, RosterRecord};
use kubedos_wire::membership::signature::{Signable, Signature};
use kubedos_wire::value::NodeId;
use proptest::prelude::*;

use super::fixture::{CLUSTER, CONTROL_PLANES, Key, after, digest_of, name, node, one, started};

fn question() -> FreshnessQuestion {
    FreshnessQuestion { id: NodeId::new(4).unwrap(), incarnation: one(1), nonce: Nonce::new([0x4e; 32]) }
}

/// The proof that an honest control plane with this roster gives.
fn proof(of: &KnownRoster) -> FreshnessProof {
    let FreshnessQuestion { id, incarnation, nonce } = question();
    FreshnessProof {
        cluster_id: CLUSTER,
        instance: of.root().instance,
        epoch: of.epoch(),
        id,
        incarnation,
        nonce,
        authority: of.root().authority.number,
        root: digest_of(of),
        time: 1_763_300_000,
        extension: Extension::default(),
    }
}

fn by(node: &str, proof: FreshnessProof) -> (FreshnessProof, Signature) {
    let signature = proof.sign(&Key::roster(node)).unwrap();
    (proof, signature)
}

fn judge(known: &KnownRoster, proofs: &[(FreshnessProof, Signature)]) -> Freshness {
    freshness(known, &question(), proofs, None)
}

#[test]
fn proofs_of_a_threshold_of_control_planes_are_enough() {
    let known = started();
    let one = judge(&known, &[by("cp-1", proof(&known))]);
    assert!(!one.is_fresh() && (one.proven_by.len(), one.needed) == (1, 2));
    assert!(judge(&known, &[by("cp-1", proof(&known)), by("cp-3", proof(&known))]).is_fresh());
}

/// Attack: one control plane answers many times, and others answer without a key of the authority set.
#[test]
fn proofs_count_by_member() {
    let known = started();
    let mut later = proof(&known);
    later.time += 1;
    let stranger = by("cp-9", proof(&known));
    let mut stolen = by("cp-2", later.clone());
    stolen.0.time += 1;
    let fresh = judge(&known, &[by("cp-1", proof(&known)), by("cp-1", later), stranger, stolen]);
    assert!(!fresh.is_fresh() && fresh.proven_by.len() == 1, "{fresh:?}");
}

/// Attack: an old proof, and the proof for another node, incarnation, cluster or life of the cluster.
#[test]
fn a_proof_that_does_not_answer_the_question_counts_nothing() {
    let known = started();
    let changes: [fn(&mut FreshnessProof); 6] = [
        |proof| proof.nonce = Nonce::new([0x4f; 32]),
        |proof| proof.id = NodeId::new(5).unwrap(),
        |proof| proof.incarnation = one(2),
        |proof| proof.cluster_id = kubedos_wire::hex32::ClusterId::new([1; 32]),
        |proof| proof.instance = kubedos_wire::hex32::InstanceId::new([1; 32]),
        |proof| proof.root = Digest::new([1; 32]),
    ];
    for (number, change) in changes.into_iter().enumerate() {
        let mut other = proof(&known);
        change(&mut other);
        let fresh = judge(&known, &[by("cp-1", proof(&known)), by("cp-2", other)]);
        assert!(!fresh.is_fresh(), "change {number}");
    }
}

/// Attack: a compromised control plane shows an old root to a node that was off. The proof of an honest one names the root
/// that the node lacks; only after it has that root, the roster is fresh.
#[test]
fn a_node_with_an_old_root_is_not_fresh_until_it_has_the_newest_one() {
    let old = started();
    let new = after(&old, [RosterRecord::Node(node("w-1", 4))]);
    let answers = |known| judge(known, &[by("cp-1", proof(&old)), by("cp-2", proof(&new))]);
    let before = answers(&old);
    assert!(!before.is_fresh());
    assert_eq!(before.ahead, vec![(name("cp-2"), new.epoch())]);
    let after = answers(&new);
    assert!(after.is_fresh() && after.ahead.is_empty());
}

/// A control plane that claims an epoch which does not exist cannot prevent freshness, and does not count.
#[test]
fn a_proof_of_a_root_that_nobody_has_does_not_count() {
    let known = started();
    let mut claimed = proof(&known);
    claimed.epoch = Epoch { n: u64::MAX, ..claimed.epoch };
    let with = |honest: &[&str]| {
        let honest = honest.iter().map(|node| by(node, proof(&known)));
        judge(&known, &honest.chain([by("cp-3", claimed.clone())]).collect::<Vec<_>>())
    };
    assert!(!with(&["cp-1"]).is_fresh() && with(&["cp-1", "cp-2"]).is_fresh());
    // A newer authority set also means that the node lacks something.
    let mut newer_set = proof(&known);
    newer_set.authority = one(2);
    let fresh = judge(&known, &[by("cp-1", proof(&known)), by("cp-2", newer_set)]);
    assert!(!fresh.is_fresh() && fresh.ahead.len() == 1);
}

/// A control plane counts its own memory as one, once.
#[test]
fn a_control_plane_counts_itself() {
    let known = started();
    let own = name("cp-1");
    let count = |proofs: &[_], own| freshness(&known, &question(), proofs, own).proven_by.len();
    assert_eq!(count(&[], Some(&own)), 1);
    assert_eq!(count(&[by("cp-1", proof(&known))], Some(&own)), 1);
    assert_eq!(count(&[by("cp-2", proof(&known))], Some(&own)), 2);
    assert_eq!(count(&[], Some(&name("w-1"))), 0);
}

proptest! {
    /// A fresh roster is not below the newest roster of an honest control plane that answered, if at most one is compromised.
    #[test]
    fn a_fresh_roster_is_not_below_an_honest_one(
        own in 0..4_usize,
        honest in proptest::collection::vec((1..3_usize, 0..4_usize), 0..3),
        lies in proptest::collection::vec(0..4_usize, 0..4),
    ) {
        let mut rosters = vec![started()];
        for id in 4..7 {
            let next = after(&rosters[rosters.len() - 1], [RosterRecord::Node(node(&format!("w-{id}"), id))]);
            rosters.push(next);
        }
        let told = honest.iter().map(|(who, roster)| by(CONTROL_PLANES[*who], proof(&rosters[*roster])));
        let lied = lies.iter().map(|roster| by(CONTROL_PLANES[0], proof(&rosters[*roster])));
        let fresh = judge(&rosters[own], &told.chain(lied).collect::<Vec<_>>());
        if fresh.is_fresh() {
            prop_assert!(honest.iter().any(|(_, roster)| *roster <= own));
        }
    }
}

#[test]
fn a_member_has_all_peers_only_while_its_roster_is_fresh() {
    let hours = |hours: u64| Duration::from_secs(hours * 3600);
    for (now, fresh_at, scope) in [
        (hours(0), None, PeerScope::ControlPlanes),
        (hours(9), None, PeerScope::ControlPlanes),
        (hours(9), Some(hours(9)), PeerScope::All),
        (hours(32), Some(hours(9)), PeerScope::All),
        (hours(33), Some(hours(9)), PeerScope::ControlPlanes),
        (hours(9_999), Some(hours(9)), PeerScope::ControlPlanes),
    ] {
        assert_eq!(peer_scope(now, fresh_at, hours(24)), scope, "{now:?} {fresh_at:?}");
    }
}
