//! The kernel's netlink answers: lists of devices, addresses, routes, peers, and of what nf_tables has.
//!
//! An input is the number of a list and the datagrams that a socket receives, each with its sender. It is read by the code that reads the
//! kernel's answers; only the transport differs. The encoder in this file is independent of that code.

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use kubedos_sys::netlink::nftables::Nftables;
use kubedos_sys::netlink::route::Rtnetlink;
use kubedos_sys::netlink::transport::{Received, Transport};
use kubedos_sys::netlink::wireguard::{Device, Peer, Wireguard};

use crate::frugal::{Most, frugal};
use crate::{Seed, Target};

pub(crate) const TARGETS: [Target; 1] =
    [Target { name: "netlink_answers", property: answers, seeds: answers_seeds, mutants: 20_000 }];

const ERROR: u16 = 2;
const DONE: u16 = 3;
const MULTI: u16 = 2;
const DUMP_INTR: u16 = 0x10;
/// The number that the played kernel gives WireGuard.
const FAMILY: u16 = 0x20;
/// The largest port of a message's sender that is not the kernel's, for inputs.
const FOREIGN: u32 = 4711;

/// The lists in the order of their numbers in an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum List {
    /// All devices.
    Links,
    /// All addresses.
    Addresses,
    /// All routes.
    Routes,
    /// A WireGuard device.
    Device,
    /// The tables of nf_tables.
    Tables,
    /// One table of nf_tables, from three lists.
    Table,
    /// The counters of nf_tables.
    Counters,
}

const LISTS: [List; 7] =
    [List::Links, List::Addresses, List::Routes, List::Device, List::Tables, List::Table, List::Counters];

/// A datagram: the sender's port and the bytes.
pub type Datagram = (u32, Vec<u8>);

/// Plays datagrams, and accepts every request. After the last datagram, no answer comes.
#[derive(Debug)]
pub struct Played(pub VecDeque<Datagram>);

impl Transport for Played {
    fn send(&mut self, _: &[u8]) -> io::Result<()> {
        Ok(())
    }

    fn receive(&mut self, buffer: &mut [u8]) -> io::Result<Received> {
        let (sender, bytes) = self.0.pop_front().ok_or(io::ErrorKind::TimedOut)?;
        let length = bytes.len().min(buffer.len());
        buffer[..length].copy_from_slice(&bytes[..length]);
        Ok(Received { length: bytes.len(), sender })
    }
}

/// What the code reads from datagrams, as text.
pub fn listed(list: List, datagrams: &[Datagram]) -> io::Result<String> {
    let played = |first: &[Datagram]| Box::new(Played([first, datagrams].concat().into()));
    Ok(match list {
        List::Links => format!("{:?}", Rtnetlink::over(played(&[])).links()?),
        List::Addresses => format!("{:?}", Rtnetlink::over(played(&[])).addresses()?),
        List::Routes => format!("{:?}", Rtnetlink::over(played(&[])).routes()?),
        List::Device => {
            let Device { private_key, public_key, port, mark, peers } = device(datagrams)?;
            format!("{:?}", (private_key.as_slice(), public_key, port, mark, peers))
        }
        List::Tables => format!("{:?}", Nftables::over(played(&[])).tables()?),
        List::Table => format!("{:?}", Nftables::over(played(&[])).table("kubedos")?),
        List::Counters => format!("{:?}", Nftables::over(played(&[])).counters("kubedos")?),
    })
}

/// Reads a WireGuard device; the first sequence number of its list is 2.
pub fn device(datagrams: &[Datagram]) -> io::Result<Device> {
    let family = message(16, 0, 1, &[&[1, 2, 0, 0][..], &attribute(1, &FAMILY.to_ne_bytes())].concat());
    let found = [(0, [family, message(ERROR, 0, 1, &[0; 20])].concat())];
    Wireguard::over(Box::new(Played([&found[..], datagrams].concat().into())))?.device(9)
}

/// The datagrams of an input: for each one byte for the sender, 16 bits for the length, and the bytes.
fn parse(mut input: &[u8]) -> Option<(List, Vec<Datagram>)> {
    let (list, rest) = input.split_first()?;
    input = rest;
    let mut datagrams = Vec::new();
    while let Some(([sender, low, high], rest)) = input.split_first_chunk::<3>() {
        let length = usize::from(u16::from_le_bytes([*low, *high])).min(rest.len());
        let sender = if *sender == 0 { 0 } else { FOREIGN };
        datagrams.push((sender, rest[..length].to_vec()));
        input = &rest[length..];
    }
    Some((LISTS[usize::from(*list) % LISTS.len()], datagrams))
}

/// An input from its datagrams.
fn unparse(list: List, datagrams: &[Datagram]) -> Vec<u8> {
    let mut input = vec![LISTS.iter().position(|known| *known == list).unwrap() as u8];
    for (sender, bytes) in datagrams {
        input.push(u8::from(*sender != 0));
        input.extend(u16::try_from(bytes.len()).unwrap().to_le_bytes());
        input.extend(bytes);
    }
    input
}

/// Reading ends without a panic and with little memory. Datagrams of other senders, and how the messages are distributed over datagrams,
/// do not affect the result. A list without its end, or with the mark that it is inconsistent, is never accepted. No peer is listed twice.
fn answers(input: &[u8]) {
    let Some((list, datagrams)) = parse(input) else { return };
    let limit = Most { factor: 64, constant: 512 << 10 };
    let result = frugal(limit, input.len(), || listed(list, &datagrams)).ok();

    let kernel: Vec<Datagram> = datagrams.iter().filter(|(sender, _)| *sender == 0).cloned().collect();
    assert_eq!(listed(list, &kernel).ok(), result, "a datagram of another sender had an effect");

    let parts: Vec<(Vec<&[u8]>, &[u8])> = kernel.iter().map(|(_, bytes)| messages(bytes)).collect();
    if parts.iter().all(|(all, _)| all.iter().rev().skip(1).all(|one| ![ERROR, DONE].contains(&kind(one)))) {
        let single =
            parts.iter().flat_map(|(all, rest)| all.iter().chain([rest]).filter(|one| !one.is_empty()));
        let single: Vec<Datagram> = single.map(|one| (0, one.to_vec())).collect();
        assert_eq!(listed(list, &single).ok(), result, "the borders of datagrams had an effect");
    }
    let without_end = parts.iter().map(|(all, _)| {
        let kept = all.iter().filter(|one| ![ERROR, DONE].contains(&kind(one)));
        (0, kept.flat_map(|one| one.iter().copied()).collect())
    });
    assert!(listed(list, &without_end.collect::<Vec<_>>()).is_err(), "a list without its end was accepted");
    let inconsistent = parts.iter().map(|(all, _)| {
        let mark = |one: &&[u8]| {
            let mut one = one.to_vec();
            one[6] |= DUMP_INTR as u8;
            one
        };
        (0, all.iter().flat_map(mark).collect())
    });
    assert!(listed(list, &inconsistent.collect::<Vec<_>>()).is_err(), "an inconsistent list was accepted");
    if list == List::Device
        && let Ok(device) = device(&kernel)
    {
        let keys: BTreeSet<_> = device.peers.iter().map(|peer| peer.key).collect();
        assert_eq!(keys.len(), device.peers.len(), "a peer is listed twice");
    }
}

/// The messages of a datagram, and what is not one.
fn messages(mut bytes: &[u8]) -> (Vec<&[u8]>, &[u8]) {
    let mut all = Vec::new();
    while let Some(length) = bytes.first_chunk().map(|length| u32::from_ne_bytes(*length) as usize) {
        if length < 16 || length > bytes.len() {
            break;
        }
        let padded = length.next_multiple_of(4).min(bytes.len());
        all.push(&bytes[..padded]);
        bytes = &bytes[padded..];
    }
    (all, bytes)
}

fn kind(message: &[u8]) -> u16 {
    u16::from_ne_bytes([message[4], message[5]])
}

/// A message of the kernel.
pub fn message(kind: u16, flags: u16, sequence: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = ((16 + payload.len()) as u32).to_ne_bytes().to_vec();
    bytes.extend([kind.to_ne_bytes(), flags.to_ne_bytes()].concat());
    bytes.extend([sequence.to_ne_bytes(), [0; 4]].concat());
    bytes.extend(payload);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// The end of a list.
pub fn done(sequence: u32) -> Vec<u8> {
    message(DONE, MULTI, sequence, &[0; 4])
}

/// An attribute with its padding.
pub fn attribute(number: u16, value: &[u8]) -> Vec<u8> {
    let mut bytes = [((4 + value.len()) as u16).to_ne_bytes(), number.to_ne_bytes()].concat();
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// A route to a host through a device, as a message of a list.
pub fn route(sequence: u32, link: u32, to: Ipv4Addr) -> Vec<u8> {
    let mut payload = vec![2, 32, 0, 0, 254, 4, 253, 1, 0, 0, 0, 0];
    payload.extend(attribute(15, &254_u32.to_ne_bytes()));
    payload.extend(attribute(1, &to.octets()));
    payload.extend(attribute(4, &link.to_ne_bytes()));
    message(24, MULTI, sequence, &payload)
}

/// The list of a device, in messages of at most `page` bytes, as `wg_get_device_dump` in `drivers/net/wireguard/netlink.c` writes it: a
/// peer that does not fit comes in the next message, and its remaining addresses follow below its key only.
pub fn device_list(sequence: u32, peers: &[Peer], page: usize) -> Vec<Vec<u8>> {
    let mut list = Vec::new();
    let first = [attribute(1, &9_u32.to_ne_bytes()), attribute(6, &51820_u16.to_ne_bytes())].concat();
    let (mut head, mut written) = (first, Vec::new());
    let mut flush = |head: &mut Vec<u8>, written: &mut Vec<u8>| {
        let payload = [&[0, 1, 0, 0][..], head, &attribute(0x8008, written)].concat();
        list.push(message(FAMILY, MULTI, sequence, &payload));
        head.clear();
        written.clear();
    };
    for peer in peers {
        let mut rest = peer.allowed.as_slice();
        let mut fields = attribute(1, &peer.key);
        fields.extend(attribute(2, &[u8::from(peer.preshared); 32]));
        fields.extend(attribute(5, &peer.keepalive.to_ne_bytes()));
        let seconds = peer.handshake.map_or(0, |handshake| handshake.as_secs());
        fields.extend(attribute(6, &[seconds.to_ne_bytes(), [0; 8]].concat()));
        fields.extend(attribute(7, &peer.received.to_ne_bytes()));
        fields.extend(attribute(8, &peer.sent.to_ne_bytes()));
        loop {
            let space = page.saturating_sub(40 + head.len() + written.len() + fields.len());
            if space < 44 && !written.is_empty() {
                flush(&mut head, &mut written);
                continue;
            }
            let fitting = (space / 44).max(1).min(rest.len());
            let ranges = rest[..fitting].iter().flat_map(|(address, prefix)| {
                let family: u16 = if address.is_ipv4() { 2 } else { 10 };
                let values = [attribute(3, &[*prefix]), attribute(1, &family.to_ne_bytes())].concat();
                attribute(0x8000, &[values, attribute(2, &octets(*address))].concat())
            });
            let ranges: Vec<u8> = ranges.collect();
            written.extend(attribute(0x8000, &[fields, attribute(0x8009, &ranges)].concat()));
            rest = &rest[fitting..];
            if rest.is_empty() {
                break;
            }
            flush(&mut head, &mut written);
            fields = attribute(1, &peer.key);
        }
    }
    flush(&mut head, &mut written);
    list.push(done(sequence));
    list
}

/// A peer with a number of addresses that differ from those of other peers.
pub fn peer(number: u32, addresses: u32) -> Peer {
    let mut key = [7; 32];
    key[..4].copy_from_slice(&number.to_le_bytes());
    let address = |at: u32| match at % 2 {
        0 => (IpAddr::from(Ipv4Addr::from(number << 12 | at)), 32),
        _ => (IpAddr::from(Ipv6Addr::from(u128::from(number << 12 | at))), 128),
    };
    Peer {
        key,
        keepalive: 25,
        sent: u64::from(number),
        allowed: (0..addresses).map(address).collect(),
        ..Peer::default()
    }
}

fn answers_seeds() -> Vec<Seed> {
    let link = |sequence: u32, index: u32, name: &str| {
        let mut payload = [[0; 4], index.to_ne_bytes(), 1_u32.to_ne_bytes(), [0; 4]].concat();
        payload.extend(attribute(3, &[name.as_bytes(), &[0]].concat()));
        payload.extend(attribute(4, &1440_u32.to_ne_bytes()));
        payload.extend(attribute(0x8012, &attribute(1, b"wireguard\0")));
        message(16, MULTI, sequence, &payload)
    };
    let address = |sequence: u32, address: [u8; 4]| {
        let mut payload = vec![2, 32, 0, 0, 9, 0, 0, 0];
        payload.extend([attribute(1, &address), attribute(2, &address)].concat());
        message(20, MULTI, sequence, &payload)
    };
    let nft = |kind: u16, sequence: u32, attributes: &[Vec<u8>]| {
        message(10 << 8 | kind, MULTI, sequence, &[&[1, 0, 0, 0][..], &attributes.concat()].concat())
    };
    let (kubedos, input) = (attribute(1, b"kubedos\0"), attribute(3, b"input\0"));
    let hook = [attribute(1, &1_u32.to_be_bytes()), attribute(2, &0_u32.to_be_bytes())].concat();
    let chain = [
        kubedos.clone(),
        input,
        attribute(0x8004, &hook),
        attribute(5, &0_u32.to_be_bytes()),
        attribute(7, b"filter\0"),
    ];
    let counter = [
        attribute(1, b"objref\0"),
        attribute(0x8002, &[attribute(1, &1_u32.to_be_bytes()), attribute(2, b"all\0")].concat()),
    ];
    let rule = [
        kubedos.clone(),
        attribute(2, b"input\0"),
        attribute(0x8004, &attribute(0x8001, &counter.concat())),
        attribute(7, b"\0\x04all\0"),
    ];
    let count = [attribute(1, &60_u64.to_be_bytes()), attribute(2, &1_u64.to_be_bytes())].concat();
    let object = [
        kubedos.clone(),
        attribute(2, b"all\0"),
        attribute(3, &1_u32.to_be_bytes()),
        attribute(0x8004, &count),
    ];
    let tables = |sequence: u32| [nft(0, sequence, std::slice::from_ref(&kubedos)), done(sequence)].concat();
    let table = [tables(1), [nft(3, 2, &chain), done(2)].concat(), [nft(6, 3, &rule), done(3)].concat()];
    let from_kernel =
        |datagrams: &[Vec<u8>]| datagrams.iter().map(|bytes| (0, bytes.clone())).collect::<Vec<_>>();
    let mut marked = link(1, 2, "wg1");
    marked[6] |= DUMP_INTR as u8;
    let peers: Vec<Peer> =
        [0, 1, 40].into_iter().zip(1..).map(|(addresses, number)| peer(number, addresses)).collect();
    let mut forged = from_kernel(&[[link(1, 2, "wg1"), done(1)].concat()]);
    forged.insert(0, (FOREIGN, [link(1, 3, "wg2"), done(1)].concat()));
    vec![
        (
            "links",
            unparse(List::Links, &from_kernel(&[[link(1, 1, "lo"), link(1, 2, "wg1")].concat(), done(1)])),
        ),
        ("forged-links", unparse(List::Links, &forged)),
        (
            "inconsistent-links",
            unparse(List::Links, &from_kernel(&[marked, done(1), link(2, 2, "wg1"), done(2)])),
        ),
        ("refused", unparse(List::Links, &from_kernel(&[message(ERROR, 0, 1, &[255; 20])]))),
        (
            "addresses",
            unparse(List::Addresses, &from_kernel(&[[address(1, [10, 101, 0, 1]), done(1)].concat()])),
        ),
        (
            "routes",
            unparse(
                List::Routes,
                &from_kernel(&[
                    route(1, 2, [10, 1, 1, 1].into()),
                    route(0, 3, [10, 1, 1, 2].into()),
                    done(1),
                ]),
            ),
        ),
        ("device", unparse(List::Device, &from_kernel(&device_list(2, &peers, 512)))),
        ("tables", unparse(List::Tables, &from_kernel(&[tables(1)]))),
        ("table", unparse(List::Table, &from_kernel(&table))),
        ("counters", unparse(List::Counters, &from_kernel(&[[nft(18, 1, &object), done(1)].concat()]))),
    ]
}
