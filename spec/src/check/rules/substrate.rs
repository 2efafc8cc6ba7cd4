//! Invariants of the substrate, and of the parts of a node that refer to it.

use super::{Findings, Invariant, list, must, nodes, path, repeated, should};
use crate::model::{Nic, Proxmox, Spec};
use kubedos_wire::node::SubstrateType;

const TYPE: &str = "spec.substrate.type";
const PROXMOX: &str = "spec.substrate.proxmox";
const NICS: &str = "spec.nodes.inventory[].nics";
const INTERFACES: &str = "spec.nodes.inventory[].underlay.interfaces";

pub(super) const RULES: &[Invariant] = &[
    must(
        "substrate-section",
        "Only the section of the substrate's own type is present, and the type `proxmox` needs its section.",
        &[TYPE, PROXMOX, "spec.substrate.metal", "spec.substrate.cloud"],
        substrate_section,
    ),
    must(
        "unique-storage-pools",
        "No two storage pools have the same name.",
        &["spec.substrate.proxmox.storagePools"],
        |s, f| {
            let Some(proxmox) = &s.substrate.proxmox else { return };
            for (again, first) in repeated(proxmox.storage_pools.iter().map(|pool| &pool.name).enumerate()) {
                let path = |pool: usize| path!["spec", "substrate", "proxmox", "storagePools", pool, "name"];
                let message = "this storage pool is declared a second time";
                f.again(&path(again), &path(first), message, "remove one of the two");
            }
        },
    ),
    must(
        "unique-bridges",
        "No two bridges have the same name.",
        &["spec.substrate.proxmox.bridges"],
        |s, f| {
            let Some(proxmox) = &s.substrate.proxmox else { return };
            for (again, first) in repeated(proxmox.bridges.iter().map(|bridge| &bridge.name).enumerate()) {
                let path = |bridge: usize| path!["spec", "substrate", "proxmox", "bridges", bridge, "name"];
                let message = "this bridge is declared a second time";
                f.again(&path(again), &path(first), message, "remove one of the two");
            }
        },
    ),
    must(
        "trunks-need-vlans",
        "Only a VLAN-aware bridge has trunks.",
        &["spec.substrate.proxmox.bridges"],
        |s, f| {
            let bridges = s.substrate.proxmox.iter().flat_map(|proxmox| proxmox.bridges.iter().enumerate());
            for (index, bridge) in
                bridges.filter(|(_, bridge)| !bridge.vlan_aware && !bridge.trunks.is_empty())
            {
                let at = path!["spec", "substrate", "proxmox", "bridges", index, "trunks"];
                f.at(
                    &at,
                    format!("the bridge {} has trunks and is not VLAN-aware", bridge.name),
                    "write vlanAware: true, or remove the trunks",
                );
            }
        },
    ),
    must("unique-trunks", "A bridge lists each VLAN once.", &["spec.substrate.proxmox.bridges"], |s, f| {
        let bridges = s.substrate.proxmox.iter().flat_map(|proxmox| proxmox.bridges.iter().enumerate());
        for (index, bridge) in bridges {
            for (again, _) in repeated(bridge.trunks.iter().enumerate()) {
                let at = path!["spec", "substrate", "proxmox", "bridges", index, "trunks", again];
                f.at(&at, "this VLAN is listed a second time", "remove one of the two");
            }
        }
    }),
    should(
        "proxmox-tag-colon",
        "A tag contains no colon, because Proxmox VE does not accept colons in tags.",
        &["spec.substrate.proxmox.tags"],
        |s, f| {
            let tags = s.substrate.proxmox.iter().flat_map(|proxmox| proxmox.tags.iter().enumerate());
            for (index, tag) in tags.filter(|(_, tag)| tag.as_str().contains(':')) {
                let written = tag.as_str().replace(':', "-");
                let at = path!["spec", "substrate", "proxmox", "tags", index];
                f.at(
                    &at,
                    "Proxmox VE does not accept a colon in a tag",
                    format!("it is written as {written}"),
                );
            }
        },
    ),
    must(
        "disk-pool",
        "On Proxmox VE each disk has a declared storage pool; on other substrates no disk has a storage pool.",
        &[TYPE, PROXMOX, "spec.nodes.inventory[].disks[].pool"],
        disk_pool,
    ),
    must(
        "nic-bridge",
        "On Proxmox VE each node has a network card on a declared bridge; on other substrates no node declares network cards.",
        &[TYPE, PROXMOX, NICS],
        nic_bridge,
    ),
    must(
        "nic-vlan-carried",
        "The bridge of a network card carries the card's VLAN.",
        &[TYPE, PROXMOX, NICS],
        nic_vlan,
    ),
    must(
        "unique-macs",
        "No two network cards have the same hardware address.",
        &[NICS, INTERFACES],
        unique_macs,
    ),
    must(
        "vm-size",
        "On Proxmox VE each node declares its processors and its memory.",
        &[TYPE, "spec.nodes.inventory[].cpu", "spec.nodes.inventory[].memoryMiB"],
        |s, f| {
            if s.substrate.kind != SubstrateType::Proxmox {
                return;
            }
            for (index, node) in nodes(s).filter(|(_, node)| node.cpu.is_none() || node.memory_mib.is_none())
            {
                let lacks = match (node.cpu, node.memory_mib) {
                    (None, None) => "cpu and memoryMiB",
                    (None, _) => "cpu",
                    _ => "memoryMiB",
                };
                let at = path!["spec", "nodes", "inventory", index, "name"];
                let message = format!("{} does not declare its size: it has no {lacks}", node.name);
                f.at(&at, message, "for example: cpu: 2 and memoryMiB: 4096");
            }
        },
    ),
    must(
        "vmid-range",
        "On Proxmox VE the spec has a range of VMIDs whose end is larger than its start; on other substrates it has no such range.",
        &[TYPE, "spec.nodes.vmidRange"],
        vmid_range,
    ),
    must(
        "unique-firmware",
        "A package of firmware is listed once.",
        &["spec.substrate.metal.firmware"],
        |s, f| {
            let Some(metal) = &s.substrate.metal else { return };
            for (again, _) in repeated(metal.firmware.iter().enumerate()) {
                let at = path!["spec", "substrate", "metal", "firmware", again];
                f.at(&at, "this package is listed a second time", "remove one of the two");
            }
        },
    ),
];

fn substrate_section(s: &Spec, f: &mut Findings<'_>) {
    let sections = [
        ("proxmox", SubstrateType::Proxmox, s.substrate.proxmox.is_some()),
        ("metal", SubstrateType::Metal, s.substrate.metal.is_some()),
        ("cloud", SubstrateType::Cloud, s.substrate.cloud.is_some()),
    ];
    for (name, kind, present) in sections {
        if present && kind != s.substrate.kind {
            let at = path!["spec", "substrate", name];
            f.at(
                &at,
                format!("the section `{name}` is for a different type of substrate"),
                format!("remove it, or write type: {name}"),
            );
        }
    }
    if s.substrate.kind == SubstrateType::Proxmox && s.substrate.proxmox.is_none() {
        let message = "the substrate is Proxmox VE, but there is no section `proxmox`";
        let help = "write `proxmox:` with clusterName, storagePools and bridges below it";
        f.at(&path!["spec", "substrate", "type"], message, help);
    }
}

fn disk_pool(s: &Spec, f: &mut Findings<'_>) {
    let proxmox = s.substrate.proxmox.as_ref().filter(|_| s.substrate.kind == SubstrateType::Proxmox);
    for (node, spec) in nodes(s) {
        for (index, disk) in spec.disks.iter().enumerate() {
            let at = path!["spec", "nodes", "inventory", node, "disks", index, "pool"];
            match (&disk.pool, proxmox) {
                (Some(pool), Some(proxmox))
                    if !proxmox.storage_pools.iter().any(|known| known.name == *pool) =>
                {
                    let known = list(proxmox.storage_pools.iter().map(|pool| pool.name.as_str()));
                    f.at(&at, format!("there is no storage pool {pool}"), format!("declared: {known}"));
                }
                (Some(_), None) if s.substrate.kind != SubstrateType::Proxmox => {
                    f.at(&at, "only Proxmox VE has storage pools", "remove `pool`; `sizeGiB` is enough here");
                }
                (None, Some(proxmox)) => {
                    let known = list(proxmox.storage_pools.iter().map(|pool| pool.name.as_str()));
                    f.at(
                        &at,
                        format!("a disk of {} has no storage pool", spec.name),
                        format!("declared: {known}"),
                    );
                }
                _ => {}
            }
        }
    }
}

fn nic_bridge(s: &Spec, f: &mut Findings<'_>) {
    let on_proxmox = s.substrate.kind == SubstrateType::Proxmox;
    for (node, spec) in nodes(s) {
        if on_proxmox && spec.nics.is_empty() {
            let at = path!["spec", "nodes", "inventory", node, "name"];
            f.at(&at, format!("{} has no network card", spec.name), "for example: nics: [{ bridge: vmbr0 }]");
        }
        for (index, nic) in spec.nics.iter().enumerate() {
            let at = path!["spec", "nodes", "inventory", node, "nics", index, "bridge"];
            match &s.substrate.proxmox {
                Some(proxmox) if on_proxmox && bridge(proxmox, nic).is_none() => {
                    let known = list(proxmox.bridges.iter().map(|bridge| bridge.name.as_str()));
                    f.at(&at, format!("there is no bridge {}", nic.bridge), format!("declared: {known}"));
                }
                _ if !on_proxmox => {
                    f.at(
                        &at,
                        "only Proxmox VE has bridges",
                        "remove `nics`; `underlay` declares the node's interfaces",
                    );
                }
                _ => {}
            }
        }
    }
}

fn bridge<'p>(proxmox: &'p Proxmox, nic: &Nic) -> Option<&'p crate::model::Bridge> {
    proxmox.bridges.iter().find(|bridge| bridge.name == nic.bridge)
}

fn nic_vlan(s: &Spec, f: &mut Findings<'_>) {
    let Some(proxmox) = &s.substrate.proxmox else { return };
    for (node, spec) in nodes(s) {
        for (index, nic) in spec.nics.iter().enumerate() {
            let (Some(vlan), Some(bridge)) = (nic.vlan, bridge(proxmox, nic)) else { continue };
            let at = path!["spec", "nodes", "inventory", node, "nics", index, "vlan"];
            if !bridge.vlan_aware {
                f.at(
                    &at,
                    format!("the bridge {} is not VLAN-aware", bridge.name),
                    "write vlanAware: true at the bridge",
                );
            } else if !bridge.trunks.is_empty() && !bridge.trunks.contains(&vlan) {
                let known = list(bridge.trunks.iter().map(u16::to_string));
                f.at(
                    &at,
                    format!("the bridge {} does not carry VLAN {vlan}", bridge.name),
                    format!("it carries: {known}"),
                );
            }
        }
    }
}

fn vmid_range(s: &Spec, f: &mut Findings<'_>) {
    let on_proxmox = s.substrate.kind == SubstrateType::Proxmox;
    match s.nodes.vmid_range {
        Some(range) if on_proxmox && range.end <= range.start => {
            let at = path!["spec", "nodes", "vmidRange", "end"];
            f.at(
                &at,
                format!("the range starts at {} and ends at {}", range.start, range.end),
                "write an `end` that is larger than `start`; did you swap the two?",
            );
        }
        Some(_) if !on_proxmox => {
            f.at(&path!["spec", "nodes", "vmidRange"], "only Proxmox VE has VMIDs", "remove `vmidRange`");
        }
        None if on_proxmox => {
            f.at(
                &path!["spec", "nodes", "vmidRange"],
                "there is no range of VMIDs for the nodes' virtual machines",
                "for example: vmidRange: { start: 2000, end: 2099 }",
            );
        }
        _ => {}
    }
}

/// Compares the addresses of virtual network cards with each other, and those in the matches of interfaces with each other: a
/// card and its interface have the same address.
fn unique_macs(s: &Spec, f: &mut Findings<'_>) {
    let cards = nodes(s).flat_map(|(node, spec)| {
        spec.nics.iter().enumerate().filter_map(move |(nic, spec)| {
            let at = path!["spec", "nodes", "inventory", node, "nics", nic, "mac"].to_vec();
            Some((node, spec.mac?, at))
        })
    });
    let interfaces = nodes(s).flat_map(|(node, spec)| {
        spec.underlay.interfaces.iter().enumerate().filter_map(move |(index, interface)| {
            let at =
                path!["spec", "nodes", "inventory", node, "underlay", "interfaces", index, "match", "mac"];
            Some((node, interface.device.as_ref()?.mac?, at.to_vec()))
        })
    });
    for all in [cards.collect::<Vec<_>>(), interfaces.collect()] {
        for (again, first) in repeated(all.iter().map(|(_, mac, _)| mac).enumerate()) {
            let (Some((_, mac, at)), Some((owner, _, earlier))) = (all.get(again), all.get(first)) else {
                continue;
            };
            let owner = s.nodes.inventory.get(*owner).map_or("another node", |node| node.name.as_str());
            let message = format!("{mac} is already the address of a network card of {owner}");
            f.again(at, earlier, message, "give each network card its own address");
        }
    }
}
