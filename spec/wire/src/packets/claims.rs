//! Questions for an address on a link, and the answers of machines that use it: ARP (RFC 826, RFC 5227) and neighbour
//! discovery (RFC 4861, RFC 4862).
//!
//! The questions change no cache of other machines: they have no source address, and nothing but the address that is
//! asked for. Everybody on the link can forge an answer, so a claim is a thing to report, not to act on.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::checksum;
use crate::value::MacAddress;

/// The type of frames with ARP.
pub const ARP: u16 = 0x0806;
const IPV6: u16 = 0x86dd;
const ICMPV6: u8 = 58;
const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;
/// The option with the hardware address of an advertisement; its length is counted in units of 8 bytes.
const TARGET_ADDRESS: [u8; 2] = [2, 1];
/// Ethernet, IPv4, and the lengths of their addresses.
const ARP_HEAD: [u8; 6] = [0, 1, 0x08, 0x00, 6, 4];

/// A machine says that it has an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    /// The address.
    pub address: IpAddr,
    /// The hardware address of the machine.
    pub mac: MacAddress,
}

/// The frame that asks who else has an address: an ARP probe, or a neighbour solicitation as for duplicate address
/// detection.
pub fn question(own: MacAddress, address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => probe(own, address),
        IpAddr::V6(address) => solicitation(own, address),
    }
}

fn probe(own: MacAddress, address: Ipv4Addr) -> Vec<u8> {
    let mut frame = [&[0xff; 6][..], &own.bytes(), &ARP.to_be_bytes(), &ARP_HEAD, &[0, 1]].concat();
    frame.extend(own.bytes());
    frame.extend([0; 4]);
    frame.extend([0; 6]);
    frame.extend(address.octets());
    frame
}

fn solicitation(own: MacAddress, address: Ipv6Addr) -> Vec<u8> {
    let [.., a, b, c] = address.octets();
    let group =
        Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | u16::from(a), u16::from_be_bytes([b, c])).octets();
    let message = |sum: u16| {
        let [s0, s1] = sum.to_be_bytes();
        [&[SOLICITATION, 0, s0, s1, 0, 0, 0, 0][..], &address.octets()].concat()
    };
    let unsummed = message(0);
    let [l0, l1] = [0, 24]; // the length of the message
    let pseudo = [&[0; 16][..], &group, &[0, 0, l0, l1, 0, 0, 0, ICMPV6]].concat();
    let mut frame = [&[0x33, 0x33, 0xff, a, b, c][..], &own.bytes(), &IPV6.to_be_bytes()].concat();
    frame.extend([0x60, 0, 0, 0, l0, l1, ICMPV6, 255]);
    frame.extend([0; 16]);
    frame.extend(group);
    frame.extend(message(checksum(&[&pseudo, &unsummed])));
    frame
}

/// Who a frame says has the sender's address in it; `None` if it is not ARP, or a probe, which has no such address.
pub fn of_arp(frame: &[u8]) -> Option<Claim> {
    let arp = frame.get(12..)?.strip_prefix(&ARP.to_be_bytes())?.strip_prefix(&ARP_HEAD)?;
    let [_, _, m0, m1, m2, m3, m4, m5, a, b, c, d] = *arp.first_chunk()?;
    let address = Ipv4Addr::new(a, b, c, d);
    let mac = MacAddress::from_bytes([m0, m1, m2, m3, m4, m5])?;
    (!address.is_unspecified()).then_some(Claim { address: address.into(), mac })
}

/// Who a neighbour advertisement says has an address; the message starts with the header of ICMPv6. `None` for every other
/// message, and without a hardware address.
pub fn of_advertisement(message: &[u8]) -> Option<Claim> {
    let (head, rest) = message.split_first_chunk::<8>()?;
    if head.get(..2)? != [ADVERTISEMENT, 0] {
        return None;
    }
    let (target, mut options) = rest.split_first_chunk::<16>()?;
    while let [_, length, ..] = *options
        && length > 0
    {
        let (option, after) = options.split_at_checked(usize::from(length) * 8)?;
        if let Some(mac) = option.strip_prefix(&TARGET_ADDRESS) {
            let mac = MacAddress::from_bytes(*mac.first_chunk()?)?;
            return Some(Claim { address: Ipv6Addr::from(*target).into(), mac });
        }
        options = after;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mac(text: &str) -> MacAddress {
        text.parse().unwrap()
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn questions_have_no_source_address() {
        let own = mac("52:54:00:00:00:01");
        // RFC 5227 §2.1.1: sender 0.0.0.0, target hardware address 0.
        assert_eq!(
            hex(&question(own, "192.168.77.11".parse().unwrap())),
            "ffffffffffff5254000000010806000108000604000152540000000100000000000000000000c0a84d0b"
        );
        let asked = question(own, "fd00:77::11:2233".parse().unwrap());
        assert_eq!(
            hex(&asked[..54]),
            "3333ff11223352540000000186dd6000000000183aff\
             00000000000000000000000000000000ff0200000000000000000001ff112233"
        );
        let pseudo = [&asked[22..54], &[0, 0, 0, 24, 0, 0, 0, 58]].concat();
        assert_eq!(checksum(&[&pseudo, &asked[54..]]), 0);
        assert_eq!((asked[54], asked.len()), (135, 54 + 24));
        assert_eq!(
            of_arp(&question(own, Ipv4Addr::new(192, 168, 77, 11).into())),
            None,
            "a probe claims nothing"
        );
    }

    fn arp(operation: u8, sender: [u8; 6], address: [u8; 4]) -> Vec<u8> {
        let mut frame =
            [&[0xff; 6][..], &sender, &[8, 6, 0, 1, 8, 0, 6, 4, 0, operation], &sender, &address].concat();
        frame.extend([0; 10]);
        frame
    }

    #[test]
    fn requests_and_replies_claim_the_address_of_their_sender() {
        let other = [0x52, 0x54, 0, 0, 0, 0x63];
        let claim = Claim { address: Ipv4Addr::new(192, 168, 77, 11).into(), mac: mac("52:54:00:00:00:63") };
        for operation in [1, 2] {
            assert_eq!(of_arp(&arp(operation, other, [192, 168, 77, 11])), Some(claim));
        }
        assert_eq!(of_arp(&arp(1, other, [0; 4])), None);
        assert_eq!(of_arp(&arp(2, [0xff; 6], [192, 168, 77, 11])), None, "no machine has this address");
        let whole = arp(2, other, [192, 168, 77, 11]);
        assert!((0..32).all(|length| of_arp(&whole[..length]).is_none()));
    }

    #[test]
    fn advertisements_claim_their_target() {
        let target: Ipv6Addr = "fd00:77::11".parse().unwrap();
        let message =
            |options: &[u8]| [&[136, 0, 1, 2, 0x20, 0, 0, 0][..], &target.octets(), options].concat();
        let own = [2, 1, 0x52, 0x54, 0, 0, 0, 0x63];
        let claim = Claim { address: target.into(), mac: mac("52:54:00:00:00:63") };
        assert_eq!(of_advertisement(&message(&own)), Some(claim));
        let after_another = [&[14, 2][..], &[0; 14], &own].concat();
        assert_eq!(of_advertisement(&message(&after_another)), Some(claim));
        for options in [&[][..], &own[..7], &[14, 0, 0, 0, 0, 0, 0, 0], &[2, 1, 1, 0, 0, 0, 0, 1]] {
            assert_eq!(of_advertisement(&message(options)), None, "{options:?}");
        }
        let mut solicitation = message(&own);
        solicitation[0] = 135;
        assert_eq!(of_advertisement(&solicitation), None);
    }
}
