//! Claims by machines, liars and floods: what is reported, how often, and what has no effect.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use kubedos_sys::netlink::route::{Address, Link};
use kubedos_wire::packets::claims::Claim;
use kubedos_wire::value::MacAddress;
use proptest::prelude::*;

use super::kernel::own;
use super::memory::{Conflicts, DURING, EVERY, FIRST, GONE, Own};

const fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn mac(last: u8) -> MacAddress {
    MacAddress::from_bytes([0x52, 0x54, 0, 0, 0, last]).unwrap()
}

fn address() -> IpAddr {
    "192.168.77.11".parse().unwrap()
}

fn node() -> Conflicts {
    let mut conflicts = Conflicts::default();
    let own = Own { link: 2, device: "ens3".into(), mac: mac(1), address: address() };
    conflicts.set_own(vec![own], BTreeSet::from([mac(1), mac(2)]), at(0));
    conflicts
}

fn claim(last: u8) -> Claim {
    Claim { address: address(), mac: mac(last) }
}

#[test]
fn a_conflict_is_reported_once_and_its_end_once() {
    let mut conflicts = node();
    conflicts.claim(Some(2), claim(0x63), at(10));
    let text = "192.168.77.11 of ens3 is also used by 52:54:00:00:00:63; give that machine or this node another address";
    assert_eq!(conflicts.present(at(10))[0].to_string(), text);
    assert_eq!(conflicts.report(at(10)), Some(format!("address conflict: {text}")));
    for second in (20..600).step_by(10) {
        conflicts.claim(Some(2), claim(0x63), at(second));
        assert_eq!(conflicts.report(at(second)), None);
    }
    assert_eq!(conflicts.report(at(590 + GONE.as_secs() - 1)), None);
    let end = "address conflict: 192.168.77.11 is no longer used by another machine";
    assert_eq!(conflicts.report(at(590 + GONE.as_secs())).as_deref(), Some(end));
    assert!(conflicts.present(at(590 + GONE.as_secs())).is_empty());
}

#[test]
fn own_devices_other_addresses_and_other_links_are_no_conflict() {
    let mut conflicts = node();
    conflicts.claim(Some(2), claim(1), at(1));
    conflicts.claim(Some(2), claim(2), at(1));
    conflicts.claim(Some(3), claim(0x63), at(1));
    conflicts.claim(None, Claim { address: "192.168.77.12".parse().unwrap(), mac: mac(0x63) }, at(1));
    assert!(conflicts.present(at(1)).is_empty());
    conflicts.claim(None, claim(0x63), at(1));
    assert_eq!(conflicts.present(at(1)).len(), 1);
    // The address is removed from the node, and comes back.
    conflicts.set_own(Vec::new(), BTreeSet::new(), at(2));
    assert_eq!((conflicts.present(at(2)).len(), conflicts.report(at(2))), (0, None));
}

/// The times of the questions within an hour, for a network in which a claim arrives when `claimed` says so.
fn questions(claimed: impl Fn(u64) -> bool) -> Vec<u64> {
    let mut conflicts = node();
    let asked = (0..3600).filter(|second| {
        if claimed(*second) {
            conflicts.claim(Some(2), claim(0x63), at(*second));
        }
        !conflicts.due(at(*second)).is_empty()
    });
    asked.collect()
}

#[test]
fn a_new_address_is_asked_for_at_once_and_a_conflict_more_often_than_a_quiet_address() {
    let quiet = questions(|_| false);
    assert_eq!(quiet[..usize::try_from(FIRST).unwrap()], [0, 1, 2]);
    assert_eq!(quiet.len() as u64, u64::from(FIRST) + 3597 / EVERY.as_secs());
    // One claim: the questions follow until the conflict has ended.
    let once = questions(|second| second == 1000);
    let during = once.iter().filter(|second| (1000..1000 + GONE.as_secs()).contains(*second)).count();
    assert_eq!(during as u64, GONE.as_secs() / DURING.as_secs());
}

/// Attack: claims in each second, from a new machine each time.
#[test]
fn a_flood_of_claims_causes_one_question_in_ten_seconds_and_one_record() {
    let asked = questions(|_| true);
    assert!(asked.len() as u64 <= 3600 / DURING.as_secs() + u64::from(FIRST), "{}", asked.len());
    let mut conflicts = node();
    let reports = (0..3600_u64).filter(|second| {
        let last = u8::try_from(second % 200).unwrap() + 3;
        conflicts.claim(Some(2), claim(last), at(*second));
        conflicts.report(at(*second)).is_some()
    });
    assert_eq!(reports.count(), 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Attack: claims that come and go. A day has few records, and the last one says what is true.
    #[test]
    fn claims_at_any_times_cause_few_records(times in prop::collection::btree_set(0_u64..86_400, 0..300)) {
        let mut conflicts = node();
        let mut last = None;
        let mut count = 0;
        for second in 0..86_400 + 2000 {
            if times.contains(&second) {
                conflicts.claim(Some(2), claim(0x63), at(second));
            }
            if let Some(text) = conflicts.report(at(second)) {
                count += 1;
                last = Some(text);
            }
        }
        prop_assert!(count <= 8 * 24, "{count}");
        prop_assert_eq!(last.is_some(), !times.is_empty());
        prop_assert!(last.is_none_or(|text| text.ends_with("no longer used by another machine")));
    }
}

#[test]
fn addresses_of_planes_of_the_loopback_device_and_of_the_link_are_not_asked_for() {
    let link = |index: u32, name: &str, kind: Option<&str>, hardware: Vec<u8>| Link {
        index,
        name: name.into(),
        kind: kind.map(Into::into),
        hardware,
        mtu: 1500,
        up: true,
        carrier: true,
    };
    let links = [
        link(1, "lo", None, vec![0; 6]),
        link(2, "ens3", None, mac(1).bytes().to_vec()),
        link(3, "storage", Some("vlan"), mac(2).bytes().to_vec()),
        link(4, "wg1", Some("wireguard"), vec![]),
    ];
    let address = |link: u32, text: &str| Address { link, address: text.parse().unwrap(), prefix: 24 };
    let addresses = [
        address(1, "127.0.0.1"),
        address(1, "::1"),
        address(2, "192.168.77.11"),
        address(2, "fe80::1"),
        address(3, "fd00:77::11"),
        address(4, "10.101.0.1"),
    ];
    let (own, macs) = own(&links, &addresses);
    let found: Vec<_> = own.iter().map(|own| (own.device.as_str(), own.address.to_string())).collect();
    assert_eq!(found, [("ens3", "192.168.77.11".to_owned()), ("storage", "fd00:77::11".to_owned())]);
    assert_eq!(macs, BTreeSet::from([mac(1), mac(2)]));
}
