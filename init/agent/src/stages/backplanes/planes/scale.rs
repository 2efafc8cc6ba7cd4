//! The plan at scale, against a model of the kernel behind the real encoder: requests for thousands of peers and addresses are
//! split, sent over a transport that decodes them, and executed by the rules of `drivers/net/wireguard/netlink.c` and
//! `allowedips.c`. Whatever the kernel had before: the next plan is empty.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, Mutex};

use kubedos_sys::netlink::attributes::{Attribute, Attributes};
use kubedos_sys::netlink::route::MAIN;
use kubedos_sys::netlink::transport::{Received, Transport};
use kubedos_sys::netlink::wireguard::{Key, Range};
use kubedos_wire::planes::Peer as WantedPeer;
use kubedos_wire::value::{Cidr, WireguardKey};
use proptest::prelude::*;

use super::tests::{execute, run, up, wanted_peer};
use super::*;

const FAMILY: u16 = 0x20;
const ACKNOWLEDGED: [u8; 20] = [0; 20];
/// The kernel refuses longer datagrams only at `net.core.wmem_default`; a single attribute cannot be longer than this.
const LONGEST_LIST: usize = u16::MAX as usize;

/// WireGuard in the kernel, with one device.
#[derive(Debug, Clone, Default)]
struct Model(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    peers: Vec<Peer>,
    requests: usize,
    answers: VecDeque<Vec<u8>>,
}

fn message(kind: u16, sequence: &[u8], payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(16 + payload.len()).unwrap().to_ne_bytes();
    [&length[..], &kind.to_ne_bytes(), &[0; 2], sequence, &[0; 4], payload].concat()
}

impl Transport for Model {
    fn send(&mut self, datagram: &[u8]) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        let (sequence, payload) = (&datagram[8..12], &datagram[16..]);
        if datagram[4..6] == 16_u16.to_ne_bytes() {
            let family = [&[1, 2, 0, 0, 6, 0, 1, 0][..], &FAMILY.to_ne_bytes(), &[0; 2]].concat();
            state.answers.push_back(message(16, sequence, &family));
        } else {
            assert_eq!(payload[0], 1, "WG_CMD_SET_DEVICE");
            state.requests += 1;
            for attribute in Attributes(&payload[4..]).map(Result::unwrap).filter(|one| one.number == 8) {
                assert!(attribute.value.len() < LONGEST_LIST - 4);
                inner(&attribute).for_each(|peer| set_peer(&mut state.peers, &peer));
            }
        }
        state.answers.push_back(message(2, sequence, &ACKNOWLEDGED));
        Ok(())
    }

    fn receive(&mut self, buffer: &mut [u8]) -> io::Result<Received> {
        let answer = self.0.lock().unwrap().answers.pop_front().ok_or(io::ErrorKind::TimedOut)?;
        buffer[..answer.len()].copy_from_slice(&answer);
        Ok(Received { length: answer.len(), sender: 0 })
    }
}

fn inner<'a>(attribute: &Attribute<'a>) -> impl Iterator<Item = Attribute<'a>> + use<'a> {
    Attributes(attribute.value).map(Result::unwrap)
}

fn half(bytes: &[u8]) -> u16 {
    u16::from_ne_bytes(bytes.try_into().unwrap())
}

/// `set_peer`: removes, creates or changes a peer; `wg_allowedips_insert`: a range that another peer has moves.
fn set_peer(peers: &mut Vec<Peer>, encoded: &Attribute<'_>) {
    let fields: BTreeMap<u16, Attribute<'_>> = inner(encoded).map(|field| (field.number, field)).collect();
    let key: Key = fields[&1].value.try_into().unwrap();
    let flags = fields.get(&3).map_or(0, |flags| u32::from_ne_bytes(flags.value.try_into().unwrap()));
    let (remove, replace, update_only) = (flags & 1 != 0, flags & 2 != 0, flags & 4 != 0);
    if remove {
        return peers.retain(|peer| peer.key != key);
    }
    if !peers.iter().any(|peer| peer.key == key) {
        assert!(!update_only, "a continuation of a peer that does not exist");
        peers.push(Peer { key, ..Peer::default() });
    }
    let at = peers.iter().position(|peer| peer.key == key).unwrap();
    if replace {
        peers[at].allowed.clear();
    }
    if let Some(endpoint) = fields.get(&4) {
        let octets: [u8; 4] = endpoint.value[4..8].try_into().unwrap();
        let port = u16::from_be_bytes([endpoint.value[2], endpoint.value[3]]);
        peers[at].endpoint = Some((octets, port).into());
    }
    if let Some(keepalive) = fields.get(&5) {
        peers[at].keepalive = half(keepalive.value);
    }
    let mut ranges: Vec<Range> = Vec::new();
    for range in fields.get(&9).iter().flat_map(|list| inner(list)) {
        let fields: BTreeMap<u16, Attribute<'_>> = inner(&range).map(|field| (field.number, field)).collect();
        let address: IpAddr = match half(fields[&1].value) {
            2 => Ipv4Addr::from(<[u8; 4]>::try_from(fields[&2].value).unwrap()).into(),
            _ => Ipv6Addr::from(<[u8; 16]>::try_from(fields[&2].value).unwrap()).into(),
        };
        ranges.push((address, fields[&3].value[0]));
    }
    let moved: BTreeSet<&Range> = ranges.iter().collect();
    peers.iter_mut().for_each(|peer| peer.allowed.retain(|known| !moved.contains(known)));
    peers[at].allowed.extend(ranges);
}

/// Executes the changes of peers through the encoder; returns the number of requests.
fn execute_encoded(state: &mut Observed, change: &Change) -> usize {
    let Change::Peers { link, edits, .. } = change else {
        execute(state, change);
        return 0;
    };
    let model = Model::default();
    let device = state.devices.get_mut(link).unwrap();
    model.0.lock().unwrap().peers = std::mem::take(&mut device.peers);
    let changes: Vec<PeerChange<'_>> = edits.iter().map(PeerEdit::change).collect();
    Wireguard::over(Box::new(model.clone())).unwrap().change_peers(*link, &changes).unwrap();
    let mut after = model.0.lock().unwrap();
    device.peers = std::mem::take(&mut after.peers);
    after.requests
}

fn key(number: u32) -> Key {
    let mut key = [3; 32];
    key[..4].copy_from_slice(&number.to_le_bytes());
    key
}

/// Address number `at` of the pool that all peers of a test share.
fn pooled(at: u32) -> Range {
    match at % 3 {
        0 => (Ipv6Addr::from(0xfd00_u128 << 112 | u128::from(at)).into(), 128),
        _ => (Ipv4Addr::from(0x0a65_0000 | at).into(), 32),
    }
}

/// Peers `first..` with the given numbers of addresses, which are distributed in order.
fn wanted_peers(first: u32, counts: &[u32]) -> Vec<WantedPeer> {
    let mut next = 0;
    counts
        .iter()
        .zip(first..)
        .map(|(count, number)| {
            let allowed =
                (next..next + count).map(pooled).map(|(at, prefix)| Cidr::around(at, prefix).unwrap());
            next += count;
            WantedPeer {
                key: WireguardKey::new(key(number)),
                allowed: allowed.collect(),
                ..wanted_peer(u8::try_from(number % 200 + 1).unwrap(), number % 2 == 0)
            }
        })
        .collect()
}

fn counts() -> impl Strategy<Value = Vec<u32>> {
    let small = prop::collection::vec(0..4_u32, 0..300);
    (small, prop::option::of((0..300_usize, 400..2000_u32))).prop_map(|(mut counts, large)| {
        if let Some((at, count)) = large
            && let Some(place) = counts.get_mut(at)
        {
            *place = count;
        }
        counts
    })
}

/// The peers of the kernel: some that the plan has too, some foreign ones, with the same pool of addresses in another
/// distribution, so that most addresses must move.
fn have() -> impl Strategy<Value = Vec<Peer>> {
    let peer = (0..400_u32, any::<bool>(), 0..3_u16, prop::option::of(0..1000_u64), 0..6_u8);
    (prop::collection::vec(peer, 0..300), prop::collection::vec(any::<u32>(), 0..1500)).prop_map(
        |(peers, owners)| {
            let mut peers: Vec<Peer> = peers
                .into_iter()
                .map(|(number, preshared, keepalive, age, endpoint)| Peer {
                    key: key(number),
                    preshared: preshared && number % 7 == 0,
                    keepalive: keepalive * 25,
                    handshake: age.map(|age| tests::NOW.saturating_sub(Duration::from_secs(age))),
                    endpoint: (endpoint > 0).then(|| ([192, 0, 2, endpoint], 51820).into()),
                    ..Peer::default()
                })
                .collect();
            peers.sort_by_key(|peer| peer.key);
            peers.dedup_by_key(|peer| peer.key);
            for (owner, at) in owners.into_iter().zip(0..) {
                let owner = usize::try_from(owner).unwrap() % peers.len().max(1);
                if let Some(peer) = peers.get_mut(owner) {
                    peer.allowed.push(pooled(at));
                }
            }
            peers
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Foreign peers, addresses that belong to other peers, and lists that need several requests: after one round the device
    /// has exactly the planned peers, and the next plan is empty.
    #[test]
    fn one_round_leads_to_the_planned_peers(counts in counts(), first in 0..100_u32, have in have()) {
        let (mut wants, mut state) = up();
        wants[0].plane.peers = wanted_peers(first, &counts);
        state.devices.get_mut(&2).unwrap().peers = have;
        let changes = plan(&wants, &state);
        for change in &changes {
            execute_encoded(&mut state, change);
        }
        let rest: Vec<String> = plan(&wants, &state).iter().map(ToString::to_string).collect();
        prop_assert_eq!(rest, Vec::<String>::new());
        let device = &state.devices[&2];
        prop_assert_eq!(device.peers.len(), counts.len());
        let total: usize = device.peers.iter().map(|peer| peer.allowed.len()).sum();
        prop_assert_eq!(total, usize::try_from(counts.iter().sum::<u32>()).unwrap());
    }
}

/// 1,000 peers need more than one request, and one changed peer needs one, whatever the number of peers.
#[test]
fn the_number_of_requests_depends_on_the_number_of_changes() {
    for count in [10, 100, 1000] {
        let (mut wants, mut state) = up();
        wants[0].plane.peers = wanted_peers(0, &vec![1; count]);
        let sent = |state: &mut Observed, wants: &[Want]| -> usize {
            plan(wants, state).iter().map(|change| execute_encoded(state, change)).sum()
        };
        let first = sent(&mut state, &wants);
        assert_eq!(first > 1, count == 1000, "{first} requests for {count} peers");
        assert_eq!(sent(&mut state, &wants), 0);
        wants[0].plane.peers[count / 2].keepalive = Some(7);
        assert_eq!(sent(&mut state, &wants), 1);
        assert!(plan(&wants, &state).is_empty());
    }
}

/// An address that two peers exchange, and one that a peer must give to a new one.
#[test]
fn addresses_move_between_peers() {
    let (mut wants, mut state) = up();
    wants[0].plane.peers = wanted_peers(0, &[1, 1, 1]);
    let has = |number: u32, at: u32| Peer { key: key(number), allowed: vec![pooled(at)], ..Peer::default() };
    state.devices.get_mut(&2).unwrap().peers = vec![has(0, 1), has(1, 0), has(77, 2)];
    for change in plan(&wants, &state) {
        execute_encoded(&mut state, &change);
    }
    let owners: BTreeMap<Key, Vec<Range>> =
        state.devices[&2].peers.iter().map(|peer| (peer.key, peer.allowed.clone())).collect();
    assert_eq!(owners, (0..3).map(|number| (key(number), vec![pooled(number)])).collect());
    assert!(plan(&wants, &state).is_empty());
}

/// The kernel's list may contain an object twice if it changed meanwhile: it is removed once. A range that the plan has twice
/// is one range of the kernel.
#[test]
fn duplicates_are_handled_once() {
    let (mut wants, mut state) = up();
    let foreign = Address { link: 2, address: [10, 101, 0, 9].into(), prefix: 24 };
    state.addresses.extend([foreign, foreign]);
    let route = Route::through(1, [10, 101, 0, 8].into(), 32, [127, 0, 0, 1].into());
    state.routes.extend([route, route]);
    let peers = &mut wants[0].plane.peers;
    let range = peers[0].allowed[0];
    peers[0].allowed.push(range);
    assert_eq!(
        run(&wants, &mut state),
        ["wg1: remove the foreign address 10.101.0.9/24", "wg1: remove the foreign route to 10.101.0.8/32"]
    );
}

/// Routes of other programs to other addresses stay; those to addresses of a plane are removed, and the description of all
/// changes is short enough for a record.
#[test]
fn thousands_of_foreign_routes_are_handled() {
    let (wants, mut state) = up();
    let to = |network: u32, number: u32| {
        Route::through(1, Ipv4Addr::from(network | number).into(), 32, [127, 0, 0, 1].into())
    };
    state.routes.extend((0..5000).map(|number| to(0xc633_0000, number)));
    assert!(plan(&wants, &state).is_empty());
    state.routes.extend((0..200).map(|number| to(0x0a65_0000, number)));
    state.routes.extend(
        (0..2500)
            .map(|number| Route { table: MAIN, ..to(0x0a00_0000, number) })
            .map(|route| Route { link: 2, ..route }),
    );
    assert_eq!(run(&wants, &mut state).len(), 2700);
    assert_eq!(state.routes.iter().filter(|route| route.link == 1).count(), 5000);
    assert!(plan(&wants, &state).is_empty());
}
