//! Documents that contradict each other give an error and no table.

use std::collections::BTreeMap;

use kubedos_wire::firewall::{FirewallError, LISTENERS, Ruleset};
use kubedos_wire::node::{Plane, Policy, PolicyAllow, Shard};
use kubedos_wire::value::PlaneId;

use crate::clusters;

type Documents = (Shard, BTreeMap<PlaneId, Plane>, Policy);

fn plane(name: &str) -> PlaneId {
    name.parse().unwrap()
}

/// The error after a change of the documents of a cluster that has a table.
fn refused(change: impl FnOnce(&mut Documents)) -> FirewallError {
    let mut documents = clusters::covering()[0].documents();
    assert!(Ruleset::new(&documents.0, &documents.1, &documents.2, LISTENERS).is_ok());
    change(&mut documents);
    Ruleset::new(&documents.0, &documents.1, &documents.2, LISTENERS).unwrap_err()
}

#[test]
fn a_plane_in_one_document_only_is_refused() {
    let without = |d: &mut Documents| assert!(d.0.planes.remove(&plane("wg1")).is_some());
    assert_eq!(refused(without), FirewallError::Plane(plane("wg1")));
    let without = |d: &mut Documents| assert!(d.1.remove(&plane("wg1")).is_some());
    assert_eq!(refused(without), FirewallError::Plane(plane("wg1")));
    assert_eq!(
        refused(|d| d.0.planes.get_mut(&plane("k")).unwrap().port = 9),
        FirewallError::Plane(plane("k"))
    );
}

#[test]
fn an_address_outside_its_range_is_refused() {
    let birth = clusters::covering()[0].planes[0].birth;
    let error = refused(|d| d.0.planes.get_mut(&plane("wg1")).unwrap().member = birth);
    assert_eq!(error, FirewallError::Address(plane("wg1"), birth));
    let error = refused(|d| d.1.get_mut(&plane("wg1")).unwrap().births = "192.0.2.0/24".parse().unwrap());
    assert_eq!(error, FirewallError::Address(plane("wg1"), "192.0.2.0".parse().unwrap()));
}

#[test]
fn ranges_that_overlap_are_refused() {
    let error = refused(|d| {
        let whole = d.1[&plane("wg1")].cidr;
        d.1.get_mut(&plane("wg1")).unwrap().births = whole;
    });
    assert_eq!(error, FirewallError::Overlap(plane("wg1"), plane("wg1")));
    let error = refused(|d| {
        let (in_shard, in_cluster) = (d.0.planes[&plane("wg1")].clone(), d.1[&plane("wg1")].clone());
        d.0.planes.insert(plane("wg4"), in_shard);
        d.1.insert(plane("wg4"), in_cluster);
    });
    assert_eq!(error, FirewallError::Overlap(plane("wg1"), plane("wg4")));
}

#[test]
fn a_plane_with_the_name_of_another_device_is_refused() {
    let error = refused(|d| {
        let (in_shard, in_cluster) =
            (d.0.planes.remove(&plane("wg1")).unwrap(), d.1.remove(&plane("wg1")).unwrap());
        d.0.planes.insert(plane("uplink"), in_shard);
        d.1.insert(plane("uplink"), in_cluster);
    });
    assert_eq!(error, FirewallError::Device(plane("uplink")));
}

#[test]
fn an_entry_of_the_policy_without_two_planes_is_refused() {
    for (from, to) in [("wg1", "wg9"), ("wg9", "wg1"), ("wg1", "wg1")] {
        let entry = PolicyAllow { from: plane(from), to: plane(to), ports: vec!["1/tcp".parse().unwrap()] };
        let error = refused(|d| d.2.allow.push(entry));
        assert_eq!(error, FirewallError::Allow { index: 3, from: plane(from), to: plane(to) });
    }
}
