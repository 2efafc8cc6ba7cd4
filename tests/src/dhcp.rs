//! A DHCPv4 server at a port of the switch (RFC 2131), which says what a test wants: nothing, a proper lease, or lies.
//!
//! It serves one client, answers ARP requests for its own address, and reads nothing else. It is a test double of the network,
//! not of the product: the client is the node's systemd-networkd.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use kubedos_lab::switch::Port;

use crate::underlay_frames::{self as frames, Content, Mac};

/// The start of the options (RFC 2131 §3).
const COOKIE: [u8; 4] = [99, 130, 83, 99];
/// The place of the options in a frame: headers of Ethernet, IPv4, UDP and BOOTP, and the cookie.
const OPTIONS: usize = 14 + 20 + 8 + 236 + 4;
const BROADCAST: (Mac, Ipv4Addr) = ([0xff; 6], Ipv4Addr::BROADCAST);

/// A lease, and everything else that the server says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The address.
    pub address: Ipv4Addr,
    /// The length of the network's prefix.
    pub prefix: u8,
    /// Its time in seconds; the client renews it after half of it.
    pub seconds: u32,
    /// Further options: their number and their bytes.
    pub options: Vec<(u8, Vec<u8>)>,
}

impl Lease {
    /// A lease of 24 bits of prefix and one hour, with a default gateway.
    pub fn of(address: Ipv4Addr, gateway: Ipv4Addr) -> Self {
        Self { address, prefix: 24, seconds: 3600, options: vec![(3, gateway.octets().to_vec())] }
    }

    /// Adds an option.
    #[must_use]
    pub fn option(mut self, number: u8, bytes: impl Into<Vec<u8>>) -> Self {
        self.options.push((number, bytes.into()));
        self
    }
}

/// A server. It ends when it is dropped.
#[derive(Debug)]
pub struct Server {
    lease: Arc<Mutex<Option<Lease>>>,
    acknowledged: Arc<Mutex<Vec<Ipv4Addr>>>,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Starts a server with this address at a port. It is silent until it has a lease.
    pub fn start(port: Port, own: (Mac, Ipv4Addr)) -> Self {
        let (lease, acknowledged) = (Arc::default(), Arc::default());
        let ended = Arc::new(AtomicBool::new(false));
        let theirs = (Arc::clone(&lease), Arc::clone(&acknowledged), Arc::clone(&ended));
        let thread = std::thread::spawn(move || serve(&port, own, &theirs.0, &theirs.1, &theirs.2));
        Self { lease, acknowledged, ended, thread: Some(thread) }
    }

    /// Replaces what the server says from now on. A renewal of another address is refused.
    ///
    /// # Panics
    /// If the server's thread has panicked.
    pub fn say(&self, lease: Option<Lease>) {
        *self.lease.lock().unwrap() = lease;
    }

    /// The addresses that the server has acknowledged, in order.
    ///
    /// # Panics
    /// If the server's thread has panicked.
    pub fn acknowledged(&self) -> Vec<Ipv4Addr> {
        self.acknowledged.lock().unwrap().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            eprintln!("the DHCP server panicked");
        }
    }
}

fn serve(
    port: &Port,
    own: (Mac, Ipv4Addr),
    lease: &Mutex<Option<Lease>>,
    acknowledged: &Mutex<Vec<Ipv4Addr>>,
    ended: &AtomicBool,
) {
    while !ended.load(Ordering::Relaxed) {
        let Some(frame) = port.receive(Duration::from_millis(100)) else { continue };
        if frames::asked(&frame) == Some(own.1) {
            let from = <[u8; 4]>::try_from(&frame[28..32]).unwrap().into();
            port.send(&frames::arp_reply(own, (frames::sender(&frame), from)));
        }
        let Some(lease) = lease.lock().unwrap().clone() else { continue };
        if frames::content(&frame) != Content::Udp(68, 67) || frame.len() < OPTIONS {
            continue;
        }
        let answer = match option(&frame, 53).as_deref() {
            Some([1]) => 2,
            Some([3]) => {
                let held = <[u8; 4]>::try_from(&frame[54..58]).unwrap();
                let wanted = option(&frame, 50).unwrap_or_else(|| held.to_vec());
                let other = option(&frame, 54).is_some_and(|server| server != own.1.octets());
                match () {
                    () if other => continue,
                    () if wanted == lease.address.octets() => 5,
                    () => 6,
                }
            }
            _ => continue,
        };
        if answer == 5 {
            acknowledged.lock().unwrap().push(lease.address);
        }
        port.send(&frames::udp_from(67, own, BROADCAST, 68, &reply(&frame, own.1, answer, &lease)));
    }
}

/// An option of a client's message.
fn option(frame: &[u8], number: u8) -> Option<Vec<u8>> {
    let mut rest = &frame[OPTIONS..];
    while let [kind, length, more @ ..] = rest {
        let (value, after) = more.split_at_checked(usize::from(*length))?;
        if *kind == number {
            return Some(value.to_vec());
        }
        rest = after;
    }
    None
}

fn reply(request: &[u8], own: Ipv4Addr, kind: u8, lease: &Lease) -> Vec<u8> {
    let bootp = &request[42..];
    let mut message = vec![2, 1, 6, 0];
    message.extend(&bootp[4..8]); // the number of the exchange
    message.extend([0, 0, 0x80, 0]); // seconds, and the flag for broadcast
    message.extend([0; 4]);
    message.extend(if kind == 6 { [0; 4] } else { lease.address.octets() });
    message.extend(own.octets());
    message.extend([0; 4]);
    message.extend(&bootp[28..44]); // the client's hardware address
    message.extend([0; 64 + 128]);
    message.extend(COOKIE);
    let mask = u32::MAX.checked_shl(32 - u32::from(lease.prefix)).unwrap_or(0);
    let mut options = vec![(53, vec![kind]), (54, own.octets().to_vec())];
    if kind != 6 {
        options.push((51, lease.seconds.to_be_bytes().to_vec()));
        options.push((1, mask.to_be_bytes().to_vec()));
        options.extend(lease.options.iter().cloned());
    }
    for (number, bytes) in options {
        message.extend([number, u8::try_from(bytes.len()).unwrap()]);
        message.extend(bytes);
    }
    message.push(255);
    message
}
