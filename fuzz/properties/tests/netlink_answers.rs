//! The kernel's netlink answers at scale and in every form that a list may have: random devices in messages of random sizes, thousands of
//! routes, lists that are cut, repeated, mixed with other answers, or too long.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test may panic")]

use std::io;
use std::net::Ipv4Addr;

use kubedos_properties::netlink::{
    Datagram, List, Played, device, device_list, done, listed, message, peer, route,
};
use kubedos_sys::netlink::route::Rtnetlink;
use kubedos_sys::netlink::wireguard::Peer;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};

fn from_kernel(messages: &[Vec<u8>]) -> Vec<Datagram> {
    messages.iter().map(|bytes| (0, bytes.clone())).collect()
}

fn random_peers(random: &mut StdRng, most: u32) -> Vec<Peer> {
    (0..random.gen_range(0..most))
        .map(|number| {
            let addresses = *[0, 1, 1, 1, 2, 30, 500].choose(random).unwrap();
            Peer { preshared: random.gen_ratio(1, 4), received: random.r#gen(), ..peer(number, addresses) }
        })
        .collect()
}

/// Whatever the size of the messages: the addresses of a peer that the kernel continues in the next messages are joined, and nothing is
/// lost or added.
#[test]
fn a_device_is_joined_from_messages_of_any_size() {
    let mut random = StdRng::seed_from_u64(1);
    for _ in 0..200 {
        let peers = random_peers(&mut random, 60);
        let page = random.gen_range(300..16_000);
        let list = device_list(2, &peers, page);
        let read = device(&from_kernel(&list)).unwrap();
        assert_eq!((read.port, read.peers), (51820, peers), "messages of {page} bytes");
    }
    let peers: Vec<Peer> = (0..1000).map(|number| peer(number, number % 4)).collect();
    assert_eq!(device(&from_kernel(&device_list(2, &peers, 3500))).unwrap().peers, peers);
}

/// The list of a device is complete or an error: each cut is an error, at a border of messages and within one.
#[test]
fn each_cut_of_a_list_is_an_error() {
    let peers: Vec<Peer> = (0..20).map(|number| peer(number, 3)).collect();
    let whole = device_list(2, &peers, 900).concat();
    assert!(device(&[(0, whole.clone())]).is_ok());
    for length in 0..whole.len() {
        assert!(device(&[(0, whole[..length].to_vec())]).is_err(), "{length} of {}", whole.len());
    }
}

/// A list that comes twice, and a peer that is removed and added again while the kernel lists it: each peer once, as listed last.
#[test]
fn a_repeated_peer_is_listed_once() {
    let old: Vec<Peer> = (0..50).map(|number| peer(number, 2)).collect();
    let new: Vec<Peer> = old.iter().map(|peer| Peer { keepalive: 7, ..peer.clone() }).collect();
    let mut twice = device_list(2, &old, 900);
    twice.pop(); // the end
    twice.extend(device_list(2, &new, 700));
    assert_eq!(device(&from_kernel(&twice)).unwrap().peers, new);
}

/// Answers to earlier requests and datagrams of other senders between the parts of a list do not belong to it.
#[test]
fn other_answers_are_not_part_of_a_list() {
    let mut random = StdRng::seed_from_u64(2);
    let peers: Vec<Peer> = (0..200).map(|number| peer(number, 2)).collect();
    let (foreign, old) = (device_list(2, &[peer(999, 5)], 900), device_list(1, &[peer(998, 5)], 900));
    for _ in 0..50 {
        let mut datagrams = from_kernel(&device_list(2, &peers, 900));
        for (sender, list) in [(77, &foreign), (0, &old)] {
            for bytes in list {
                datagrams.insert(random.gen_range(0..datagrams.len()), (sender, bytes.clone()));
            }
        }
        assert_eq!(device(&datagrams).unwrap().peers, peers);
    }
}

/// A list during which the kernel's tables changed is requested again, and the parts of the first one are dropped.
#[test]
fn an_inconsistent_list_is_requested_again() {
    let old: Vec<Peer> = (0..50).map(|number| peer(number, 2)).collect();
    let new = &old[10..];
    for marked in 0..5 {
        let mut first = device_list(2, &old, 900);
        first[marked][6] |= 0x10;
        let datagrams = from_kernel(&[first, device_list(3, new, 900)].concat());
        assert_eq!(device(&datagrams).unwrap().peers, new);
    }
    let never: Vec<Vec<u8>> = (2..100)
        .flat_map(|sequence| {
            let mut list = device_list(sequence, &old[..1], 900);
            list[0][6] |= 0x10;
            list
        })
        .collect();
    assert_eq!(device(&from_kernel(&never)).err().unwrap().kind(), io::ErrorKind::ResourceBusy);
}

/// The kernel fills datagrams of 32 KiB with routes. All of them are read, in order, and the end may come in any datagram.
#[test]
fn thousands_of_routes_are_read() {
    let to = |number: u32| Ipv4Addr::from(0x0a00_0000 + number);
    for (count, datagram) in [(3000, 32 << 10), (5000, 4096), (5000, 60)] {
        let mut datagrams: Vec<Datagram> = vec![(0, Vec::new())];
        for message in (0..count).map(|number| route(1, 2, to(number))).chain([done(1)]) {
            if datagrams.last().unwrap().1.len() + message.len() > datagram {
                datagrams.push((0, Vec::new()));
            }
            datagrams.last_mut().unwrap().1.extend(message);
        }
        datagrams.retain(|(_, bytes)| !bytes.is_empty());
        let routes = Rtnetlink::over(Box::new(Played(datagrams.into()))).routes().unwrap();
        assert_eq!(routes.len(), count as usize);
        assert!(routes.iter().zip(0..).all(|(route, number)| route.destination == Some(to(number).into())));
    }
}

/// A datagram that exceeds the buffer has lost its end, and a length that exceeds the datagram shows that it was cut. An
/// acknowledgement does not end a list.
#[test]
fn a_list_that_does_not_fit_is_an_error() {
    let long: Vec<u8> =
        (0..2000).flat_map(|number| route(1, 2, Ipv4Addr::from(number))).chain(done(1)).collect();
    assert!(long.len() > 64 << 10);
    assert!(listed(List::Routes, &[(0, long)]).is_err());
    let overlong = {
        let mut one = route(1, 2, Ipv4Addr::LOCALHOST);
        one[28..30].copy_from_slice(&0xfff0_u16.to_ne_bytes()); // the length of the first attribute
        one
    };
    assert!(listed(List::Routes, &from_kernel(&[overlong, done(1)])).is_err());
    let acknowledged = [route(1, 2, Ipv4Addr::LOCALHOST), message(2, 0, 1, &[0; 20])];
    assert!(listed(List::Routes, &from_kernel(&acknowledged)).is_err());
}
