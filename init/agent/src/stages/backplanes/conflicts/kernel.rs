//! Reads the addresses of the underlay, sends the questions, and collects the claims of other machines.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use kubedos_sys::frames::Frames;
use kubedos_sys::icmp::Icmp6;
use kubedos_sys::netlink::route::{Address, Link, Rtnetlink};
use kubedos_wire::packets::claims::{ARP, Claim, of_advertisement, of_arp, question};
use kubedos_wire::value::MacAddress;

use super::memory::{Conflicts, Own};
use crate::stages::backplanes::planes::KIND;

/// The most packets that are read from one socket in a round. A flood fills the socket's buffer, and costs no more.
const MOST: usize = 128;

/// Longer than every packet of interest.
const LONGEST: usize = 2048;

/// Why the addresses could not be watched.
#[derive(Debug, thiserror::Error)]
pub enum ConflictError {
    /// The addresses of the node are not known.
    #[error("failed to read the addresses of the underlay")]
    Addresses(#[source] io::Error),
    /// Claims of other machines cannot be heard.
    #[error("failed to listen for machines with an address of this node")]
    Listen(#[source] io::Error),
}

/// How long the answers to a question about an IPv6 address are awaited.
const ANSWERS: Duration = Duration::from_secs(3);

/// The sockets: one for ARP at each device with an IPv4 address, and after a question about an IPv6 address one for
/// neighbour advertisements, with the time at which it is closed.
#[derive(Debug, Default)]
pub struct Kernel {
    arp: BTreeMap<u32, Frames>,
    icmp: Option<(Icmp6, Duration)>,
}

impl Kernel {
    /// Looks at the addresses if `look` is set, asks for those that are due, and hears what has arrived.
    pub fn round(
        &mut self,
        conflicts: &mut Conflicts,
        look: bool,
        now: Duration,
    ) -> Result<(), ConflictError> {
        if look {
            let (own, macs) = addresses().map_err(ConflictError::Addresses)?;
            self.open(&own).map_err(ConflictError::Listen)?;
            conflicts.set_own(own, macs, now);
        }
        for (link, claim) in self.claims() {
            conflicts.claim(link, claim, now);
        }
        if self.icmp.as_ref().is_some_and(|(_, end)| *end <= now) {
            self.icmp = None;
        }
        for own in conflicts.due(now) {
            if own.address.is_ipv6() {
                let socket = match self.icmp.take() {
                    Some((socket, _)) => socket,
                    None => Icmp6::open().map_err(ConflictError::Listen)?,
                };
                self.icmp = Some((socket, now.saturating_add(ANSWERS)));
            }
            // A device without carrier, or one that disappears: the question is repeated.
            drop(Frames::open(own.link, 0).and_then(|socket| socket.send(&question(own.mac, own.address))));
        }
        Ok(())
    }

    fn open(&mut self, own: &[Own]) -> io::Result<()> {
        let links: BTreeSet<u32> =
            own.iter().filter(|own| own.address.is_ipv4()).map(|own| own.link).collect();
        self.arp.retain(|link, _| links.contains(link));
        for link in links {
            if let Entry::Vacant(place) = self.arp.entry(link) {
                place.insert(Frames::open(link, ARP)?);
            }
        }
        Ok(())
    }

    /// What has arrived. A socket with an error, for example because its device was removed, is opened again at the next look.
    fn claims(&mut self) -> Vec<(Option<u32>, Claim)> {
        let (mut claims, mut buffer) = (Vec::new(), vec![0; LONGEST]);
        self.arp.retain(|link, socket| {
            let read = drain(
                |buffer| Ok(socket.receive(buffer)?.map(of_arp)),
                &mut buffer,
                &mut claims,
                Some(*link),
            );
            read.is_ok()
        });
        if let Some((socket, _)) = &self.icmp {
            let read = drain(
                |buffer| Ok(socket.receive(buffer)?.map(of_advertisement)),
                &mut buffer,
                &mut claims,
                None,
            );
            if read.is_err() {
                self.icmp = None;
            }
        }
        claims
    }
}

/// Reads what has arrived at one socket; `receive` returns `None` at the end, and `Some(None)` for a packet without a claim.
fn drain(
    receive: impl Fn(&mut [u8]) -> io::Result<Option<Option<Claim>>>,
    buffer: &mut [u8],
    claims: &mut Vec<(Option<u32>, Claim)>,
    link: Option<u32>,
) -> io::Result<()> {
    for _ in 0..MOST {
        match receive(buffer)? {
            Some(claim) => claims.extend(claim.map(|claim| (link, claim))),
            None => break,
        }
    }
    Ok(())
}

/// The addresses of the underlay, and the hardware addresses of all devices of the node.
fn addresses() -> io::Result<(Vec<Own>, BTreeSet<MacAddress>)> {
    let mut kernel = Rtnetlink::open()?;
    let links = kernel.links()?;
    Ok(own(&links, &kernel.addresses()?))
}

/// Selects the addresses that other machines could use: not those of planes, of the loopback device, and of the link only.
pub(super) fn own(links: &[Link], addresses: &[Address]) -> (Vec<Own>, BTreeSet<MacAddress>) {
    let mac = |link: &Link| MacAddress::from_bytes(*link.hardware.first_chunk()?);
    let ethernet = |link: &&Link| link.up && link.hardware.len() == 6 && link.kind.as_deref() != Some(KIND);
    let own = |address: &Address| {
        let link = links.iter().filter(ethernet).find(|link| link.index == address.link)?;
        let asked = match address.address {
            IpAddr::V4(v4) => !v4.is_loopback() && !v4.is_link_local(),
            IpAddr::V6(v6) => !v6.is_loopback() && !v6.is_unicast_link_local(),
        };
        let (device, mac) = (link.name.clone(), mac(link)?);
        asked.then_some(Own { link: link.index, device, mac, address: address.address })
    };
    (addresses.iter().filter_map(own).collect(), links.iter().filter_map(mac).collect())
}
