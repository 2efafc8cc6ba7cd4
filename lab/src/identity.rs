//! The hardware identity of the machines of a lab: Ethernet addresses and UUIDs that follow from the names of the nodes.
//!
//! The same lab and node always give the same identity, so that a node finds the hardware of its previous boot. Addresses are
//! locally administered (bit 1 of the first byte, IEEE 802, 8.4) and unicast, so they never belong to a vendor. The UUID has
//! version 8 (RFC 9562, 5.8).

use std::collections::BTreeSet;

use kubedos_wire::hex32::sha256;
use kubedos_wire::value::MacAddress;

/// The Ethernet addresses of nodes, in the order of their names. All are different. An address depends only on the name of the
/// lab and of the node, unless two nodes would have the same one: then the later node gets another.
pub fn mac_addresses<'n>(lab: &str, nodes: impl IntoIterator<Item = &'n str>) -> Vec<MacAddress> {
    distinct(nodes, |node, attempt| {
        let digest = digest("mac", lab, node, attempt);
        let [a, b, c, d, e, ..] = digest;
        [a, b, c, d, e]
    })
}

/// The UUID of a node's machine.
pub fn machine_uuid(lab: &str, node: &str) -> String {
    let digest = digest("uuid", lab, node, 0);
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, ..] = digest;
    let (version, variant) = (g & 0x0f | 0x80, i & 0x3f | 0x80);
    format!(
        "{a:02x}{b:02x}{c:02x}{d:02x}-{e:02x}{f:02x}-{version:02x}{h:02x}-{variant:02x}{j:02x}-{k:02x}{l:02x}{m:02x}{n:02x}{o:02x}{p:02x}"
    )
}

fn digest(purpose: &str, lab: &str, node: &str, attempt: u32) -> [u8; 32] {
    let attempt = attempt.to_be_bytes();
    sha256(&[
        b"kubedos-lab\0",
        purpose.as_bytes(),
        b"\0",
        lab.as_bytes(),
        b"\0",
        node.as_bytes(),
        b"\0",
        &attempt,
    ])
}

fn distinct<'n>(
    nodes: impl IntoIterator<Item = &'n str>,
    bytes: impl Fn(&str, u32) -> [u8; 5],
) -> Vec<MacAddress> {
    let mut used = BTreeSet::new();
    let first_free = |node: &'n str| {
        let candidates = (0..=u32::MAX).filter_map(|attempt| {
            let [a, b, c, d, e] = bytes(node, attempt);
            format!("02:{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}").parse::<MacAddress>().ok()
        });
        candidates.into_iter().find(|mac| used.insert(*mac))
    };
    nodes.into_iter().filter_map(first_free).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn identities_do_not_change_between_releases() {
        let macs = mac_addresses("lab", ["cp-1", "w-1"]).iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(macs, MACS);
        assert_eq!(machine_uuid("lab", "cp-1"), UUID);
        assert_ne!(machine_uuid("lab", "cp-1"), machine_uuid("lab", "w-1"));
        assert_ne!(machine_uuid("lab", "cp-1"), machine_uuid("other", "cp-1"));
    }

    const MACS: [&str; 2] = ["02:c5:d6:85:31:62", "02:97:48:95:a2:9b"];
    const UUID: &str = "93d69e6e-ef6e-8a31-adfa-e3d4b0a8af78";

    #[test]
    fn two_nodes_with_the_same_digest_get_different_addresses() {
        let macs = distinct(["a", "b", "c"], |_, attempt| [0, 0, 0, 0, u8::try_from(attempt).unwrap()]);
        assert_eq!(macs.iter().collect::<BTreeSet<_>>().len(), 3);
        assert_eq!(macs[2].to_string(), "02:00:00:00:00:02");
    }

    proptest! {
        #[test]
        fn addresses_are_unique_and_independent_of_other_nodes(names in proptest::collection::btree_set("[a-z0-9-]{1,12}", 1..40)) {
            let macs = mac_addresses("lab", names.iter().map(String::as_str));
            prop_assert_eq!(macs.iter().collect::<BTreeSet<_>>().len(), names.len());
            for (name, mac) in names.iter().zip(&macs) {
                prop_assert_eq!(&mac_addresses("lab", [name.as_str()])[0], mac);
            }
        }
    }
}
