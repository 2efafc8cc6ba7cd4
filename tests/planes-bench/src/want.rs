//! The planes of all measurements: three devices, each with the same number of peers, one address per peer, every second peer
//! with an endpoint.

use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr};

use kubedos_agent::stages::backplanes::planes::{KIND, Want};
use kubedos_sys::netlink::route::Rtnetlink;
use kubedos_wire::hex32::Secret32;
use kubedos_wire::node::PlanePurpose;
use kubedos_wire::planes::{Peer, PeerName, WantedPlane};
use kubedos_wire::value::{Cidr, WireguardKey};

const PLANES: [(u8, PlanePurpose); 3] =
    [(1, PlanePurpose::Control), (2, PlanePurpose::Observability), (3, PlanePurpose::KubernetesBackend)];

/// The planes with this number of peers each.
pub fn planes(peers: u32) -> Result<Vec<Want>, Box<dyn Error>> {
    PLANES.into_iter().map(|(number, purpose)| plane(number, purpose, peers)).collect()
}

fn plane(number: u8, purpose: PlanePurpose, peers: u32) -> Result<Want, Box<dyn Error>> {
    let network = Ipv4Addr::new(10, 100 + number, 0, 0);
    let port = 51819 + u16::from(number);
    let peer = |at: u32| -> Result<Peer, Box<dyn Error>> {
        let address = Ipv4Addr::from(u32::from(network) + 256 + at);
        let endpoint =
            SocketAddr::from((Ipv4Addr::from(u32::from(Ipv4Addr::new(192, 168, 0, 0)) + 256 + at), port));
        Ok(Peer {
            name: PeerName::Node(format!("node-{at}").parse()?),
            key: WireguardKey::new(key(number, at)),
            endpoint: at.is_multiple_of(2).then_some(endpoint),
            keepalive: Some(25),
            allowed: vec![Cidr::around(address.into(), 32).ok_or("no range")?],
        })
    };
    let address = Ipv4Addr::from(u32::from(network) + 1);
    let plane = WantedPlane {
        id: format!("wg{number}").parse()?,
        purpose,
        port,
        mtu: 1440,
        address: address.into(),
        cidr: Cidr::around(network.into(), 16).ok_or("no range")?,
        peers: (0..peers).map(peer).collect::<Result<_, _>>()?,
    };
    Ok(Want { plane, private_key: private_key(number) })
}

/// A private key, clamped as RFC 7748 requires: the kernel clamps another one, which then differs from the planned one.
fn private_key(plane: u8) -> Secret32 {
    let mut key = [64 + plane; 32];
    key[0] = 64;
    Secret32::new(key)
}

/// A public key; the kernel accepts every value except those of low order.
fn key(plane: u8, number: u32) -> [u8; 32] {
    let mut key = [plane; 32];
    let [a, b, c, d] = number.to_le_bytes();
    key[8..12].copy_from_slice(&[a, b, c, d]);
    key
}

/// Removes all devices, so that the kernel does not free them during the next measurement.
pub fn remove() -> Result<(), Box<dyn Error>> {
    let mut route = Rtnetlink::open()?;
    for link in route.links()?.into_iter().filter(|link| link.kind.as_deref() == Some(KIND)) {
        route.delete_link(link.index)?;
    }
    Ok(())
}
