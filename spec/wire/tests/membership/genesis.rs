//! The genesis proof: every control plane of the token has signed the one first root.

use kubedos_wire::membership::genesis_proof::{GenesisProof, ProofRefusal};
use kubedos_wire::membership::records::{AuthorityRef, Epoch, RosterRoot};
use kubedos_wire::membership::statements::{GenesisToken, NamedIncarnation};

use super::fixture::{CONTROL_PLANES, Genesis, TRUST, authority, name, one, signed, stated, token_body};

#[test]
fn a_proof_has_the_signatures_of_all_named_control_planes() {
    let genesis = Genesis::new(1, 0, [1, 2, 3]);
    let proof = genesis.proof(&CONTROL_PLANES).unwrap();
    assert!(proof.starts(&genesis.root) && proof.token().body().lineage == one(1));
    for missing in CONTROL_PLANES {
        let others: Vec<&str> = CONTROL_PLANES.into_iter().filter(|node| *node != missing).collect();
        assert_eq!(genesis.proof(&others), Err(ProofRefusal::NotSigned(name(missing))));
    }
}

/// Attack: {A, C} and {B, C} are both quorums, and C takes part in both.
#[test]
fn a_second_genesis_by_a_quorum_is_no_proof() {
    let (first, second) = (Genesis::new(1, 0, [1, 2, 3]), Genesis::new(1, 0, [9, 2, 3]));
    assert_ne!(first.root.instance, second.root.instance);
    assert!(first.proof(&["cp-1", "cp-3"]).is_err() && second.proof(&["cp-2", "cp-3"]).is_err());
}

/// Attack: recorded signatures of the first genesis, after one control plane lost its disk and has drawn a new nonce.
#[test]
fn recorded_signatures_do_not_fit_after_a_lost_disk() {
    let (old, new) = (Genesis::new(1, 0, [1, 2, 3]), Genesis::new(1, 0, [1, 2, 4]));
    let recorded = signed(old.root, &["cp-1", "cp-2"]);
    let mut offered = signed(new.root, &["cp-3"]);
    recorded.signatures.iter().for_each(|signature| assert!(offered.signatures.add(signature)));
    let refused = GenesisProof::new(new.token, new.authority, offered);
    assert_eq!(refused, Err(ProofRefusal::NotSigned(name("cp-1"))));
}

#[test]
fn a_proof_is_for_the_first_root_of_its_token_only() {
    let genesis = Genesis::new(3, 40, [1, 2, 3]);
    let refused = |root: RosterRoot, token: GenesisToken| {
        let token = stated(token, TRUST);
        GenesisProof::new(token, genesis.authority.clone(), signed(root, &CONTROL_PLANES)).unwrap_err()
    };
    let (root, token) = (&genesis.root, genesis.token.body());
    let epoch =
        |lineage: u32, n: u64| RosterRoot { epoch: Epoch { lineage: one(lineage), n }, ..root.clone() };
    for other in [epoch(3, 40), epoch(3, 42), epoch(2, 41), epoch(4, 41)] {
        assert_eq!(refused(other, token.clone()), ProofRefusal::NotFirst { lineage: 3 });
    }
    let number = AuthorityRef { number: one(2), ..root.authority };
    let elsewhere = RosterRoot { authority: number, ..root.clone() };
    assert_eq!(refused(elsewhere, token.clone()), ProofRefusal::Authority);
    let other_set = GenesisToken { authority: number, ..token.clone() };
    assert_eq!(refused(root.clone(), other_set), ProofRefusal::Authority);
    let mut foreign = root.clone();
    foreign.cluster_id = kubedos_wire::hex32::ClusterId::new([0xc2; 32]);
    assert_eq!(refused(foreign, token.clone()), ProofRefusal::Cluster);
    // A token that names an incarnation which the authority set does not have.
    let mut replaced = token.clone();
    replaced.control_planes[2] = NamedIncarnation { node: name("cp-3"), incarnation: one(2) };
    assert_eq!(refused(root.clone(), replaced), ProofRefusal::NoMember(name("cp-3")));
}

/// A token may name fewer control planes than the authority set has: then these sign.
#[test]
fn a_token_without_a_control_plane_needs_the_others_only() {
    let set = authority(1, &CONTROL_PLANES);
    let token = stated(token_body(2, &set, &["cp-1", "cp-2"]), TRUST);
    let root = RosterRoot { epoch: Epoch { lineage: one(2), n: 1 }, ..Genesis::new(2, 0, [1, 2, 3]).root };
    assert!(GenesisProof::new(token.clone(), set.clone(), signed(root.clone(), &["cp-1", "cp-2"])).is_ok());
    assert!(GenesisProof::new(token, set, signed(root, &["cp-1", "cp-3"])).is_err());
}
