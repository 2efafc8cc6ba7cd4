//! A machine at a port of the switch that uses addresses of a node: it announces them once, and answers ARP requests and neighbour
//! solicitations for them, as a host does (RFC 826, RFC 4861 §7.2.4). It takes no part in anything else.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use kubedos_lab::switch::Port;

use crate::frames::{BROADCAST, Mac, arp_reply, arp_request, neighbour, sender};
use crate::underlay_frames::{asked, solicited};

/// All nodes of the link, by hardware address and address.
const ALL_NODES: (Mac, Ipv6Addr) = ([0x33, 0x33, 0, 0, 0, 1], Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1));

/// The machine. It ends when it is dropped.
#[derive(Debug)]
pub struct ConflictingHost {
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl ConflictingHost {
    /// Starts it with these addresses.
    pub fn start(port: Port, mac: Mac, addresses: Vec<IpAddr>) -> Self {
        let ended = Arc::new(AtomicBool::new(false));
        let theirs = Arc::clone(&ended);
        let thread = std::thread::spawn(move || serve(&port, mac, &addresses, &theirs));
        Self { ended, thread: Some(thread) }
    }
}

impl Drop for ConflictingHost {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            eprintln!("the conflicting host panicked");
        }
    }
}

fn serve(port: &Port, mac: Mac, addresses: &[IpAddr], ended: &AtomicBool) {
    for address in addresses {
        port.send(&match *address {
            IpAddr::V4(own) => arp_request((mac, own), own),
            IpAddr::V6(own) => neighbour(136, ALL_NODES, (mac, own), own),
        });
    }
    while !ended.load(Ordering::Relaxed) {
        let Some(frame) = port.receive(Duration::from_millis(100)) else { continue };
        if let Some(own) = asked(&frame).filter(|own| addresses.contains(&(*own).into())) {
            let from: Ipv4Addr = <[u8; 4]>::try_from(&frame[28..32]).unwrap().into();
            // A probe has no sender; its answer goes to everybody, as RFC 5227 permits.
            let to = if from.is_unspecified() { BROADCAST } else { sender(&frame) };
            port.send(&arp_reply((mac, own), (to, from)));
        }
        if let Some(own) = solicited(&frame).filter(|own| addresses.contains(&(*own).into())) {
            let from: Ipv6Addr = <[u8; 16]>::try_from(&frame[22..38]).unwrap().into();
            let to = if from.is_unspecified() { ALL_NODES } else { (sender(&frame), from) };
            port.send(&neighbour(136, to, (mac, own), own));
        }
    }
}
