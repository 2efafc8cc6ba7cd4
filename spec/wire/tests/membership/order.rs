//! The order of records: nothing that was said is ever taken back.

use std::collections::BTreeMap;

use kubedos_wire::membership::fields::{Extension, PlaneMap};
use kubedos_wire::membership::records::{NodeEntry, OperatorEntry, PlaneEntry, RosterRecord, Standing};
use kubedos_wire::node::Role;
use kubedos_wire::value::NodeId;
use proptest::prelude::*;

use super::fixture::{Key, enrolment, name, node, one, plane_key};

/// Records that differ in few places, so that two of them are often comparable.
fn entry() -> impl Strategy<Value = NodeEntry> {
    let plane = (1..4_u32, 0..2_u8, proptest::option::of(0..2_u8));
    let planes = prop_oneof![
        6 => (plane.clone(), plane.clone()).prop_map(|(one, other)| vec![one, other]),
        1 => plane.prop_map(|one| vec![one])
    ];
    let fixed = (
        prop_oneof![9 => Just(1_u32), 1 => Just(2)],
        prop_oneof![9 => Just(Role::Worker), 1 => Just(Role::ControlPlane)],
    );
    let member = (0..2_u8, any::<bool>(), planes);
    (fixed, 1..3_u32, proptest::option::weighted(0.8, member), any::<bool>()).prop_map(
        |((id, role), incarnation, member, extended)| {
            let mut entry = NodeEntry { role, ..node("w-1", id) };
            entry.incarnation = one(incarnation);
            if extended {
                entry.extension = Extension::new(vec![1]).unwrap();
            }
            let Some((key, endpoint, planes)) = member else {
                entry.standing = Standing::Revoked;
                return entry;
            };
            let mut keys = entry.member().unwrap().clone();
            keys.node_key = Key::new(&format!("node key {key}")).signer();
            if endpoint {
                keys.endpoint = None;
            }
            let plane = |(number, (sequence, key, next)): (usize, (u32, u8, Option<u8>))| {
                let next = next.map(|next| plane_key(&format!("next {next}")));
                let first = PlaneEntry::first(plane_key(&format!("key {key}")));
                (format!("wg{number}").parse().unwrap(), PlaneEntry { sequence, next, ..first })
            };
            let planes: BTreeMap<_, _> = planes.into_iter().enumerate().map(plane).collect();
            keys.planes = PlaneMap::new(planes).unwrap();
            entry.standing = Standing::Member(keys);
            entry
        },
    )
}

fn without_extension(entry: &NodeEntry) -> NodeEntry {
    NodeEntry { extension: Extension::default(), ..entry.clone() }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4096, ..ProptestConfig::default() })]

    /// Reflexive, antisymmetric apart from the extension, transitive.
    #[test]
    fn the_order_is_partial(a in entry(), b in entry(), c in entry()) {
        prop_assert!(a.may_become(&a));
        if a.may_become(&b) && b.may_become(&a) {
            prop_assert_eq!(without_extension(&a), without_extension(&b));
        }
        if a.may_become(&b) && b.may_become(&c) {
            prop_assert!(a.may_become(&c));
        }
    }

    /// Whatever follows a revoked record, in any number of steps, is not a member of the same incarnation.
    #[test]
    fn a_revocation_is_never_taken_back(records in proptest::collection::vec(entry(), 1..8)) {
        let mut known = NodeEntry { standing: Standing::Revoked, ..node("w-1", 1) };
        for record in records {
            if known.may_become(&record) {
                prop_assert!(record.member().is_none() || record.incarnation > one(1));
                known = record;
            }
        }
    }

    #[test]
    fn a_double_enrolment_is_not_comparable(a in entry(), b in entry()) {
        if a.is_double_enrolment(&b) {
            prop_assert!(!a.may_become(&b) && !b.may_become(&a) && b.is_double_enrolment(&a));
            // The revoked record of the incarnation is above both.
            let revoked = NodeEntry { standing: Standing::Revoked, ..a.clone() };
            prop_assert!(a.may_become(&revoked));
            let as_other = NodeEntry { role: b.role, ..revoked };
            prop_assert!(b.may_become(&as_other));
        }
    }
}

fn member(change: impl FnOnce(&mut NodeEntry)) -> NodeEntry {
    let mut entry = node("w-1", 4);
    change(&mut entry);
    entry
}

fn plane(entry: &mut NodeEntry, change: impl FnOnce(&mut PlaneEntry)) {
    if let Standing::Member(keys) = &mut entry.standing {
        change(keys.planes.plane_mut(&"wg2".parse().unwrap()).unwrap());
    }
}

#[test]
fn each_kind_of_change_goes_in_one_direction_only() {
    let old = node("w-1", 4);
    let next = enrolment("w-1", 4, 2).entry(None);
    let announced = member(|entry| {
        plane(entry, |plane| {
            plane.sequence = 2;
            plane.next = Some(plane_key("next"));
        });
    });
    let retired = member(|entry| {
        plane(entry, |plane| {
            plane.sequence = 3;
            plane.key = plane_key("next");
        });
    });
    let revoked = member(|entry| entry.standing = Standing::Revoked);
    let steps = [old, announced, retired, revoked, next];
    for (low, one) in steps.iter().enumerate() {
        for (high, other) in steps.iter().enumerate() {
            assert_eq!(one.may_become(other), low <= high, "{low} to {high}");
        }
    }
}

#[test]
fn nothing_else_may_change_within_an_incarnation() {
    let old = node("w-1", 4);
    let changed: [(&str, NodeEntry); 9] = [
        ("id", member(|entry| entry.id = NodeId::new(5).unwrap())),
        ("name", member(|entry| entry.node = name("w-2"))),
        ("role", member(|entry| entry.role = Role::ControlPlane)),
        (
            "node key",
            member(|entry| {
                if let Standing::Member(keys) = &mut entry.standing {
                    keys.node_key = Key::new("other").signer();
                }
            }),
        ),
        (
            "request",
            member(|entry| {
                if let Standing::Member(keys) = &mut entry.standing {
                    keys.request = kubedos_wire::hex32::Digest::new([9; 32]);
                }
            }),
        ),
        (
            "endpoint",
            member(|entry| {
                if let Standing::Member(keys) = &mut entry.standing {
                    keys.endpoint = None;
                }
            }),
        ),
        (
            "planes",
            member(|entry| {
                if let Standing::Member(keys) = &mut entry.standing {
                    let mut planes = keys.planes.get().clone();
                    planes.pop_last();
                    keys.planes = PlaneMap::new(planes).unwrap();
                }
            }),
        ),
        ("key without sequence", member(|entry| plane(entry, |plane| plane.key = plane_key("other")))),
        (
            "next key without sequence",
            member(|entry| plane(entry, |plane| plane.next = Some(plane_key("n")))),
        ),
    ];
    for (what, new) in changed {
        assert!(!old.may_become(&new) && !new.may_become(&old), "{what}");
        let is_double = ["node key", "request"].contains(&what);
        assert_eq!(old.is_double_enrolment(&new), is_double, "{what}");
    }
}

#[test]
fn a_revoked_operator_stays_revoked_and_is_no_node() {
    let operator = |key: &str| {
        RosterRecord::Operator(OperatorEntry { key: Key::new(key).signer(), extension: Extension::default() })
    };
    let (ada, bob, node) = (operator("ada"), operator("bob"), RosterRecord::Node(node("w-1", 4)));
    assert!(
        ada.may_become(&ada) && !ada.may_become(&bob) && !ada.may_become(&node) && !node.may_become(&ada)
    );
}
