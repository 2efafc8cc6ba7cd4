//! The plan against a model of the kernel: whatever state the kernel is in, the plan leads to the desired planes, and the
//! next plan is empty.

use std::net::SocketAddr;

use kubedos_sys::netlink::route::MAIN;
use kubedos_sys::netlink::wireguard::Range;
use kubedos_wire::node::PlanePurpose;
use kubedos_wire::planes::{Peer as WantedPeer, PeerName};
use proptest::prelude::*;
use zeroize::Zeroizing;

use super::plan::Edit;
use super::*;
use crate::stages::backplanes::clock::stale_peers::stale_peers;

pub(super) const NOW: Duration = Duration::from_secs(1_800_000_000);

/// The kernel, as far as the changes reach.
pub(super) fn execute(state: &mut Observed, change: &Change) {
    match change {
        Change::Create { plane, mtu } => {
            let index = state.links.iter().map(|link| link.index).max().unwrap_or(1) + 1;
            assert!(state.links.iter().all(|link| link.name != plane.as_str()), "the name is in use");
            state.links.push(link(index, plane.as_str(), Some(KIND), *mtu, false));
            state.devices.insert(index, device(&[]));
        }
        Change::Delete { link, .. } => {
            state.links.retain(|known| known.index != *link);
            state.devices.remove(link);
            state.addresses.retain(|address| address.link != *link);
            state.routes.retain(|route| route.link != *link);
        }
        Change::Mtu { link, mtu, .. } => by_index(state, *link).mtu = *mtu,
        Change::PrivateKey { link, key, .. } => {
            state.devices.get_mut(link).unwrap().private_key = Zeroizing::new(*key.expose());
        }
        Change::Port { link, port, .. } => state.devices.get_mut(link).unwrap().port = *port,
        Change::Mark { link, .. } => state.devices.get_mut(link).unwrap().mark = 0,
        Change::Peers { link, edits, .. } => {
            for edit in edits {
                edit_peer(state.devices.get_mut(link).unwrap(), edit);
            }
        }
        Change::AddAddress { address, .. } => {
            assert!(!state.addresses.contains(address), "the address exists");
            state.addresses.push(*address);
        }
        Change::RemoveAddress { address, .. } => {
            assert!(state.addresses.contains(address), "the address does not exist");
            state.addresses.retain(|known| known != address);
        }
        Change::Enable { link, .. } => by_index(state, *link).up = true,
        Change::AddRoute { route, .. } => {
            assert!(by_index(state, route.link).up, "a route needs an enabled device");
            assert!(!state.routes.contains(route), "the route exists");
            state.routes.push(*route);
        }
        Change::RemoveRoute { route, .. } => {
            assert!(state.routes.contains(route), "the route does not exist");
            state.routes.retain(|known| known != route);
        }
    }
}

fn by_index(state: &mut Observed, index: u32) -> &mut Link {
    state.links.iter_mut().find(|link| link.index == index).unwrap()
}

/// A range belongs to one peer of a device.
fn edit_peer(device: &mut Device, edit: &PeerEdit) {
    match &edit.edit {
        Edit::Remove => device.peers.retain(|peer| peer.key != edit.key),
        Edit::Set { endpoint, keepalive, allowed } => {
            for range in allowed.iter().flatten() {
                device.peers.iter_mut().for_each(|peer| peer.allowed.retain(|known| known != range));
            }
            if !device.peers.iter().any(|peer| peer.key == edit.key) {
                device.peers.push(Peer { key: edit.key, ..Peer::default() });
            }
            let peer = device.peers.iter_mut().find(|peer| peer.key == edit.key).unwrap();
            peer.endpoint = endpoint.or(peer.endpoint);
            peer.keepalive = keepalive.unwrap_or(peer.keepalive);
            peer.allowed = allowed.clone().unwrap_or_else(|| peer.allowed.clone());
        }
    }
}

fn link(index: u32, name: &str, kind: Option<&str>, mtu: u32, up: bool) -> Link {
    let (name, kind) = (name.to_owned(), kind.map(str::to_owned));
    Link { index, name, kind, hardware: vec![], mtu, up, carrier: up }
}

fn device(peers: &[Peer]) -> Device {
    Device { private_key: Zeroizing::new([0; 32]), public_key: None, port: 0, mark: 0, peers: peers.to_vec() }
}

pub(super) fn wanted_peer(number: u8, endpoint: bool) -> WantedPeer {
    WantedPeer {
        name: PeerName::Node(format!("w-{number}").parse().unwrap()),
        key: WireguardKey::new([number; 32]),
        endpoint: endpoint.then(|| SocketAddr::from(([192, 0, 2, number], 51820))),
        keepalive: (!endpoint).then_some(25),
        allowed: vec![format!("10.101.0.{number}/32").parse().unwrap()],
    }
}

fn want(plane: &str, peers: &[u8]) -> Want {
    let number = plane.trim_start_matches("wg").parse::<u8>().unwrap();
    Want {
        plane: WantedPlane {
            id: plane.parse().unwrap(),
            purpose: PlanePurpose::Control,
            port: 51819 + u16::from(number),
            mtu: 1440,
            address: [10, 100 + number, 0, 1].into(),
            cidr: format!("10.{}.0.0/24", 100 + number).parse().unwrap(),
            peers: peers.iter().map(|peer| wanted_peer(*peer, peer % 2 == 0)).collect(),
        },
        private_key: Secret32::new([number; 32]),
    }
}

/// Runs plans until one is empty; returns the descriptions of all changes.
pub(super) fn run(want: &[Want], state: &mut Observed) -> Vec<String> {
    let mut done = Vec::new();
    for _ in 0..ROUNDS {
        let changes = plan(want, state);
        if changes.is_empty() {
            return done;
        }
        for change in &changes {
            execute(state, change);
            done.push(change.to_string());
        }
    }
    panic!("the plans do not end: {done:?}");
}

pub(super) fn up() -> ([Want; 2], Observed) {
    let wants = [want("wg1", &[2, 3]), want("wg3", &[4])];
    let mut state =
        Observed { links: vec![link(1, "lo", None, 65536, true)], now: NOW, ..Observed::default() };
    run(&wants, &mut state);
    (wants, state)
}

#[test]
fn planes_come_up_from_nothing_in_this_order() {
    let mut state = Observed { now: NOW, ..Observed::default() };
    assert_eq!(
        run(&[want("wg1", &[2, 3])], &mut state),
        [
            "create wg1",
            "wg1: set the private key",
            "wg1: set the port from 0 to 51820",
            "wg1: add w-2; add w-3",
            "wg1: add 10.101.0.1",
            "wg1: enable the device",
            "wg1: add the route to 10.101.0.0/24",
        ]
    );
}

/// A seed of a later incarnation gives other keys than the roster has.
#[test]
fn a_node_that_its_peers_do_not_know_is_found() {
    let (_, mut state) = up();
    let known: BTreeMap<PlaneId, WireguardKey> = [("wg1", 7), ("wg3", 8)]
        .map(|(plane, key)| (plane.parse().unwrap(), WireguardKey::new([key; 32])))
        .into();
    let unknown = |state: &Observed| -> Vec<String> {
        unknown_to_peers(&known, state).into_iter().map(ToString::to_string).collect()
    };
    assert_eq!(unknown(&state), ["wg1", "wg3"], "no key is set");
    for (device, key) in state.devices.values_mut().zip([7, 9]) {
        device.public_key = Some([key; 32]);
    }
    assert_eq!(unknown(&state), ["wg3"]);
    assert_eq!(unknown(&Observed::default()), ["wg1", "wg3"], "no device exists");
}

/// Each kind of drift is found, described and corrected by one change, and nothing else changes.
#[test]
fn each_drift_is_corrected_alone() {
    type Drift = fn(&mut Observed);
    let cases: [(Drift, &str); 17] = [
        (|state| by_index(state, 2).mtu = 1500, "wg1: set the MTU from 1500 to 1440"),
        (|state| by_index(state, 2).up = false, "wg1: enable the device"),
        (|state| state.devices.get_mut(&2).unwrap().private_key[0] ^= 1, "wg1: set the private key"),
        (|state| state.devices.get_mut(&2).unwrap().port = 9, "wg1: set the port from 9 to 51820"),
        (|state| state.devices.get_mut(&2).unwrap().mark = 7, "wg1: remove the mark 7"),
        (|state| drop(state.devices.get_mut(&2).unwrap().peers.remove(0)), "wg1: add w-2"),
        (
            |state| state.devices.get_mut(&2).unwrap().peers.push(Peer { key: [9; 32], ..Peer::default() }),
            "wg1: remove the unknown peer CQkJCQkJCQ…",
        ),
        (
            |state| state.devices.get_mut(&2).unwrap().peers[0].allowed.clear(),
            "wg1: correct w-2: its addresses differ",
        ),
        (
            |state| state.devices.get_mut(&2).unwrap().peers[0].allowed.push(([0, 0, 0, 0].into(), 0)),
            "wg1: correct w-2: its addresses differ",
        ),
        (
            |state| state.devices.get_mut(&2).unwrap().peers[1].keepalive = 0,
            "wg1: correct w-3: its keepalive is 0 s",
        ),
        (
            |state| {
                state.devices.get_mut(&2).unwrap().peers[0].endpoint = Some("198.51.100.1:1".parse().unwrap())
            },
            "wg1: correct w-2: its endpoint is 198.51.100.1:1",
        ),
        (
            |state| state.addresses.push(Address { link: 2, address: [10, 101, 0, 9].into(), prefix: 24 }),
            "wg1: remove the foreign address 10.101.0.9/24",
        ),
        (
            |state| state.addresses.push(Address { link: 1, address: [10, 101, 0, 2].into(), prefix: 25 }),
            "wg1: remove 10.101.0.2 from lo, because it is an address of the plane",
        ),
        (|state| state.addresses.retain(|address| address.link != 2), "wg1: add 10.101.0.1"),
        (|state| state.routes.retain(|route| route.link != 2), "wg1: add the route to 10.101.0.0/24"),
        (
            |state| state.routes.push(Route::through(1, [10, 101, 0, 8].into(), 32, [127, 0, 0, 1].into())),
            "wg1: remove the foreign route to 10.101.0.8/32",
        ),
        (
            |state| {
                state.routes.push(Route {
                    destination: None,
                    prefix: 0,
                    ..Route::through(2, [0; 4].into(), 0, [10, 101, 0, 1].into())
                })
            },
            "wg1: remove the foreign route to default",
        ),
    ];
    for (drift, expected) in cases {
        let (wants, mut state) = up();
        drift(&mut state);
        assert_eq!(run(&wants, &mut state), [expected]);
    }
}

/// A device of another kind with a plane's name would carry the plane's traffic in the clear.
#[test]
fn a_device_of_another_kind_is_replaced() {
    let mut state =
        Observed { links: vec![link(5, "wg1", Some("dummy"), 1440, true)], now: NOW, ..Observed::default() };
    let done = run(&[want("wg1", &[])], &mut state);
    assert_eq!(done[..2], ["delete the device wg1 of kind dummy", "create wg1"]);
}

/// A peer that moved keeps its endpoint as long as it has a session.
#[test]
fn an_endpoint_is_kept_while_the_session_lives() {
    let (wants, mut state) = up();
    let moved: SocketAddr = "198.51.100.7:40000".parse().unwrap();
    let peer = &mut state.devices.get_mut(&2).unwrap().peers[0];
    (peer.endpoint, peer.handshake) = (Some(moved), Some(NOW - Duration::from_secs(179)));
    assert!(plan(&wants, &state).is_empty());
    state.now = NOW + Duration::from_secs(2);
    assert_eq!(run(&wants, &mut state), ["wg1: correct w-2: its endpoint is 198.51.100.7:40000"]);
}

#[test]
fn a_foreign_preshared_key_ends_with_its_peer() {
    let (wants, mut state) = up();
    state.devices.get_mut(&2).unwrap().peers[0].preshared = true;
    let done = run(&wants, &mut state);
    assert_eq!(done, ["wg1: remove w-2, which has a foreign pre-shared key; add w-2"]);
    assert!(!state.devices[&2].peers.iter().any(|peer| peer.preshared));
}

/// The stale peers of each plane are deleted and added again with their configured values. Peers with a session, unknown
/// peers and other planes stay as they are, and the next plan of the planes is empty.
#[test]
fn stale_peers_are_added_again_as_configured() {
    let (wants, mut state) = up();
    let mut sessions = readd::Sessions::default();
    let mut round = |state: &Observed, minutes: u64| {
        let boot = Duration::from_secs(60 * minutes);
        let peers = sessions.observe(readd::reports(&wants, state), boot);
        let stale = stale_peers(&peers);
        let changes = readd::plan(&wants, state, &peers, &stale);
        stale.iter().for_each(|id| sessions.readded(id, boot));
        changes
    };
    state.devices.get_mut(&2).unwrap().peers.push(Peer { key: [9; 32], ..Peer::default() }); // unknown
    let peers = &mut state.devices.get_mut(&2).unwrap().peers;
    (peers[0].endpoint, peers[1].handshake) = (Some("198.51.100.7:1".parse().unwrap()), Some(NOW));
    let unknown = peers[2].clone();
    assert!(round(&state, 0).is_empty());
    state.devices.get_mut(&2).unwrap().peers[1].handshake = Some(NOW + Duration::from_secs(120));
    assert!(round(&state, 4).is_empty());
    // In this test, only w-3 has a keepalive.
    assert!(round(&state, 8).is_empty());
    let changes = round(&state, 9);
    let texts: Vec<String> = changes.iter().map(ToString::to_string).collect();
    assert_eq!(texts, ["wg1: re-add w-3, which has had no session for 5 minutes"]);
    changes.iter().for_each(|change| execute(&mut state, change));
    let readded = state.devices[&2].peers.iter().find(|peer| peer.key == [3; 32]).unwrap().clone();
    assert_eq!((readded.handshake, readded.keepalive, readded.allowed.len()), (None, 25, 1));
    let changes = round(&state, 30);
    let texts: Vec<String> = changes.iter().map(ToString::to_string).collect();
    assert_eq!(
        texts,
        [
            "wg1: re-add w-2, which has had no session for 30 minutes; re-add w-3, which has had no session for 21 minutes",
            "wg3: re-add w-4, which has had no session for 30 minutes",
        ]
    );
    changes.iter().for_each(|change| execute(&mut state, change));
    assert_eq!(state.devices[&2].peers[0], unknown, "it has not been touched");
    assert_eq!(run(&wants, &mut state), ["wg1: remove the unknown peer CQkJCQkJCQ…"]);
    assert!(round(&state, 31).is_empty());
}

#[test]
fn no_description_contains_a_private_key() {
    let (wants, mut state) = up();
    state.devices.get_mut(&2).unwrap().private_key = Zeroizing::new([0xAB; 32]);
    for change in plan(&wants, &state) {
        let text = change.to_string();
        assert!(!text.contains("ab") && !text.contains("171") && !text.contains("q6ur"), "{text}");
    }
}

fn range() -> impl Strategy<Value = Range> {
    (0..6_u8, prop::sample::select(vec![0, 24, 32]))
        .prop_map(|(last, prefix)| ([10, 101, 0, last].into(), prefix))
}

fn random_peer() -> impl Strategy<Value = Peer> {
    let handshake = prop::option::of(1_799_999_000..1_800_000_100_u64);
    let endpoint = prop::option::of((1..5_u8).prop_map(|last| SocketAddr::from(([192, 0, 2, last], 51820))));
    (0..6_u8, any::<bool>(), endpoint, 0..2_u16, handshake, prop::collection::vec(range(), 0..12)).prop_map(
        |(key, preshared, endpoint, keepalive, handshake, mut allowed)| {
            allowed.sort();
            allowed.dedup();
            let handshake = handshake.map(Duration::from_secs);
            Peer {
                key: [key; 32],
                preshared,
                endpoint,
                keepalive: keepalive * 25,
                handshake,
                allowed,
                ..Peer::default()
            }
        },
    )
}

fn random_state() -> impl Strategy<Value = Observed> {
    let kind = prop::sample::select(vec![Some(KIND), Some("dummy"), None]);
    let name = prop::sample::select(vec!["wg1", "wg3", "eth0", "wg9"]);
    let links = prop::collection::vec((name, kind, 1280..1500_u32, any::<bool>()), 0..4);
    let peers = prop::collection::vec(random_peer(), 0..5);
    let addresses = prop::collection::vec((2..6_u32, range()), 0..5);
    let routes = prop::collection::vec((1..6_u32, range(), prop::sample::select(vec![MAIN, 255, 7])), 0..5);
    (links, peers, addresses, routes).prop_map(|(links, mut peers, addresses, routes)| {
        let mut state = Observed { now: NOW, ..Observed::default() };
        peers.sort_by_key(|peer| peer.key);
        peers.dedup_by_key(|peer| peer.key);
        for ((name, kind, mtu, up), index) in links.into_iter().zip(2..) {
            if state.links.iter().any(|known| known.name == name) {
                continue;
            }
            state.links.push(link(index, name, kind, mtu, up));
            if kind == Some(KIND) {
                state.devices.insert(index, device(&peers));
            }
        }
        let exists = |index: u32| state.links.iter().any(|link| link.index == index);
        state.addresses = addresses
            .into_iter()
            .filter(|(link, _)| exists(*link))
            .map(|(link, (address, prefix))| Address { link, address, prefix })
            .collect();
        state.addresses.sort();
        state.addresses.dedup();
        state.routes = routes
            .into_iter()
            .filter(|(link, ..)| exists(*link))
            .map(|(link, (to, prefix), table)| Route {
                table,
                ..Route::through(link, to, prefix, [10, 101, 0, 1].into())
            })
            .collect();
        state.routes.sort();
        state.routes.dedup();
        state
    })
}

proptest! {
    /// For every state of the kernel: the plan can be executed, it ends, and afterwards the planes are as desired; devices
    /// that are no planes keep their values.
    #[test]
    fn every_state_leads_to_the_desired_planes(mut state in random_state(), peers in prop::collection::btree_set(1..6_u8, 0..4)) {
        let peers: Vec<u8> = peers.into_iter().collect();
        let wants = [want("wg1", &peers), want("wg3", &peers)];
        let others = |state: &Observed| -> Vec<Link> {
            state.links.iter().filter(|link| !["wg1", "wg3"].contains(&link.name.as_str())).cloned().collect()
        };
        let before = others(&state);
        run(&wants, &mut state);
        prop_assert_eq!(before, others(&state));
        for want in &wants {
            let link = state.links.iter().find(|link| link.name == want.plane.id.as_str()).unwrap();
            let device = &state.devices[&link.index];
            prop_assert!(link.up && link.mtu == 1440 && device.port == want.plane.port);
            prop_assert_eq!(device.private_key.as_slice(), want.private_key.expose().as_slice());
            prop_assert_eq!(device.peers.len(), peers.len());
            for peer in &want.plane.peers {
                let found = device.peers.iter().find(|found| found.key == *peer.key.bytes()).unwrap();
                prop_assert_eq!(found.allowed.len(), 1);
                prop_assert!(!found.preshared && found.keepalive == peer.keepalive.unwrap_or(0));
            }
            let own: Vec<_> = state.addresses.iter().filter(|address| address.link == link.index).collect();
            prop_assert_eq!(own.len(), 1);
            prop_assert_eq!(own[0].address, want.plane.address);
            let inside = state.addresses.iter().filter(|address| want.plane.cidr.contains(address.address));
            prop_assert_eq!(inside.count(), 1, "an address of the plane on another device");
        }
    }
}
