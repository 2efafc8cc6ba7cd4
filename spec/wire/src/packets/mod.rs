//! Packets that a node composes or reads itself: echo requests and messages of routers ([`icmp`]), and questions for an
//! address on the underlay ([`claims`]); and the checksum of all Internet protocols.
//!
//! Everything that is read here comes from the network, and everybody there can send it. Readers look at complete
//! fields only, and never beyond the packet. Sockets are in `kubedos-sys`.

pub mod claims;
pub mod icmp;

/// The Internet checksum (RFC 1071) over parts that follow each other; 0 if they contain a correct checksum. Each part but
/// the last has an even length, such as a pseudo-header.
pub fn checksum(parts: &[&[u8]]) -> u16 {
    let mut sum = 0_u64;
    for part in parts {
        let (pairs, rest) = part.as_chunks::<2>();
        sum += pairs.iter().map(|pair| u64::from(u16::from_be_bytes(*pair))).sum::<u64>();
        sum += rest.first().map_or(0, |byte| u64::from(*byte) << 8);
    }
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    !u16::try_from(sum).unwrap_or(u16::MAX) // the loop ends at 16 bits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_rfc_and_its_parts_have_its_sum() {
        // RFC 1071 §3: the sum is ddf2.
        let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(checksum(&[&bytes]), !0xddf2);
        assert_eq!(checksum(&[&bytes[..2], &bytes[2..6], &bytes[6..]]), !0xddf2);
        assert_eq!(checksum(&[&bytes, &(!0xddf2_u16).to_be_bytes()]), 0);
        assert_eq!(checksum(&[&[0xab]]), !0xab00, "an odd byte is the first of a pair");
        assert_eq!(checksum(&[]), 0xffff);
    }
}
