//! A spec with many nodes, as for a large data centre: racks, static addresses, and a mesh only for the plane that needs it.

use std::fmt::Write as _;

/// A valid spec with `count` nodes, three of them control planes; at most 16,000.
pub fn of(count: u32) -> String {
    let mut text = String::from(
        "apiVersion: kubedos.ca/v1alpha1
kind: Cluster
metadata:
  name: many
  artifactVersion: 0.1.0
spec:
  substrate:
    type: cloud
  networking:
    planes:
      wg1: { cidr: 10.100.0.0/17, purpose: control, peers: control-planes }
      wg2: { cidr: 10.101.0.0/17, purpose: observability, peers: control-planes }
      wg3: { cidr: 10.102.0.0/17, purpose: kubernetes-backend }
  security:
    bootstrap: { model: offline-ca }
    operators:
      - name: ada
        role: admin
        wireguardKey: /sC7IdAPKKrByEx9BScM3rPg9skm4PXb6SwJow+502I=
  kubernetes:
    enabled: true
    version: v1.34.2
    podCidr: 10.0.0.0/10
    nodePodPrefix: 24
  nodes:
    failureDomains:
",
    );
    for rack in 0..RACKS {
        // Writing to a String does not fail.
        let _written = writeln!(text, "      - name: rack-{rack}");
    }
    text.push_str("    inventory:\n");
    for node in 0..count {
        let (name, role) = if node < 3 { ("cp", "control-plane") } else { ("w", "worker") };
        let (high, low) = ((node + 1) >> 8, (node + 1) & 255);
        let _written = write!(
            text,
            "      - name: {name}-{node}
        role: {role}
        domain: rack-{}
        disks:
          - sizeGiB: 64
        underlay:
          interfaces:
            - name: uplink
              addresses: [172.16.{high}.{low}/16]
              gateway: 172.16.255.254
",
            node % RACKS
        );
    }
    text
}

const RACKS: u32 = 40;
