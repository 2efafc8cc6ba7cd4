//! A smaller MTU on the way between two ports, as a router or a tunnel in the middle of a path has one.
//!
//! A frame whose packet is larger is dropped: silently, or with the message of a router (RFC 792 and RFC 1191 for IPv4 with
//! DF, RFC 4443 §3.2 for IPv6). The message has the packet's destination as its source, because the switch has no address.
//! This fault is independent of the others.

use kubedos_wire::packets::checksum;

use super::frame::MIN_FRAME;

/// The limit on the way from one port to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PathMtu {
    /// The largest packet in bytes, without the header of Ethernet.
    pub mtu: u16,
    /// Whether the sender of a larger packet gets a message.
    pub reports: bool,
}

impl PathMtu {
    /// Whether a frame without a tag fits.
    pub(super) fn fits(self, frame: &[u8]) -> bool {
        frame.len() <= MIN_FRAME + usize::from(self.mtu)
    }

    /// The frame without a tag that reports a frame that does not fit; `None` if nothing is reported about it.
    pub(super) fn report(self, frame: &[u8]) -> Option<Vec<u8>> {
        if !self.reports {
            return None;
        }
        let (header, packet) = frame.split_first_chunk::<MIN_FRAME>()?;
        let [d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5, kind0, kind1] = *header;
        let answer = match [kind0, kind1] {
            [0x08, 0x00] => self.ipv4(packet)?,
            [0x86, 0xdd] => self.ipv6(packet)?,
            _ => return None,
        };
        let addresses = [s0, s1, s2, s3, s4, s5, d0, d1, d2, d3, d4, d5, kind0, kind1];
        Some([&addresses[..], &answer].concat())
    }

    fn ipv4(self, packet: &[u8]) -> Option<Vec<u8>> {
        const DF: u8 = 0x40;
        const QUOTED: usize = 576 - 20 - 8; // RFC 1812 §4.3.2.3
        let (source, destination) = (packet.get(12..16)?, packet.get(16..20)?);
        if packet.get(6)? & DF == 0 {
            return None;
        }
        let quoted = packet.get(..packet.len().min(QUOTED))?;
        let message = |sum: u16| {
            let [s0, s1] = sum.to_be_bytes();
            let [m0, m1] = self.mtu.to_be_bytes();
            [&[3, 4, s0, s1, 0, 0, m0, m1], quoted].concat()
        };
        let message = message(checksum(&[&message(0)]));
        let length = u16::try_from(20 + message.len()).ok()?.to_be_bytes();
        let header = |sum: u16| {
            let ([l0, l1], [s0, s1]) = (length, sum.to_be_bytes());
            [&[0x45, 0, l0, l1, 0, 0, 0, 0, 64, 1, s0, s1], destination, source].concat()
        };
        Some([header(checksum(&[&header(0)])), message].concat())
    }

    fn ipv6(self, packet: &[u8]) -> Option<Vec<u8>> {
        const QUOTED: usize = 1280 - 40 - 8;
        let (source, destination) = (packet.get(8..24)?, packet.get(24..40)?);
        let quoted = packet.get(..packet.len().min(QUOTED))?;
        let length = u32::try_from(8 + quoted.len()).ok()?;
        let message = |sum: u16| {
            let [s0, s1] = sum.to_be_bytes();
            [&[2, 0, s0, s1], &u32::from(self.mtu).to_be_bytes()[..], quoted].concat()
        };
        let pseudo = [destination, source, &length.to_be_bytes(), &[0, 0, 0, 58]].concat();
        let sum = checksum(&[&pseudo, &message(0)]);
        let [l0, l1] = u16::try_from(length).ok()?.to_be_bytes();
        let header = [&[0x60, 0, 0, 0, l0, l1, 58, 64], destination, source].concat();
        Some([header, message(sum)].concat())
    }
}
