//! Invariants of nodes and their disks. `allowDestroy` lists each disk that may be destroyed.

use std::collections::{BTreeSet, HashMap};

use super::{Findings, Invariant, control_planes, list, must, nodes, path, repeated, should, workers};
use crate::model::{DiskSpec, NodeSpec, Spec};
use crate::yaml::Step;
use kubedos_wire::disk_names;
use kubedos_wire::node::{DiskIdentity, DiskPurpose, DiskRule, Role, SubstrateType};

const ROLE: &str = "spec.nodes.inventory[].role";
const MATCH: &str = "spec.nodes.inventory[].disks[].match";
const DESTROY: &str = "spec.nodes.inventory[].allowDestroy";
const DOMAIN: &str = "spec.nodes.inventory[].domain";

/// The smallest disk that can be adopted, in GiB (ADR 0001).
const SYSTEM_DISK_GIB: u32 = 10;

/// Maximum number of control planes: more etcd members slow down every write.
const MOST_CONTROL_PLANES: usize = 9;

pub(super) const RULES: &[Invariant] = &[
    must(
        "unique-node-names",
        "No two nodes have the same name.",
        &["spec.nodes.inventory[].name"],
        |s, f| {
            for (again, first) in repeated(nodes(s).map(|(index, node)| (index, &node.name))) {
                let path = |index: usize| path!["spec", "nodes", "inventory", index, "name"];
                let message = format!("a second node has the name {}", name(s, again));
                f.again(&path(again), &path(first), message, "give each node its own name");
            }
        },
    ),
    must("unique-node-ids", "No two nodes have the same id.", &["spec.nodes.inventory[].id"], |s, f| {
        for (again, first) in repeated(nodes(s).filter_map(|(index, node)| Some((index, node.id?)))) {
            let path = |index: usize| path!["spec", "nodes", "inventory", index, "id"];
            let message = format!("{} has the id of {}", name(s, again), name(s, first));
            let help = "give each node its own id, or omit it to have one assigned";
            f.again(&path(again), &path(first), message, help);
        }
    }),
    must(
        "unique-failure-domains",
        "No two failure domains have the same name.",
        &["spec.nodes.failureDomains"],
        |s, f| {
            let domains = s.nodes.failure_domains.iter().map(|domain| &domain.name).enumerate();
            for (again, first) in repeated(domains) {
                let path = |index: usize| path!["spec", "nodes", "failureDomains", index, "name"];
                let message = "this failure domain is declared a second time";
                f.again(&path(again), &path(first), message, "remove one of the two");
            }
        },
    ),
    must(
        "known-failure-domain",
        "A node's failure domain is declared.",
        &["spec.nodes.failureDomains", DOMAIN],
        |s, f| {
            let known: BTreeSet<_> = s.nodes.failure_domains.iter().map(|domain| &domain.name).collect();
            for (index, domain) in nodes(s).filter_map(|(index, node)| Some((index, node.domain.as_ref()?))) {
                if !known.contains(domain) {
                    let help = match list(&known).as_str() {
                        "" => "declare it in nodes.failureDomains".to_owned(),
                        declared => format!("declared: {declared}"),
                    };
                    f.at(
                        &path!["spec", "nodes", "inventory", index, "domain"],
                        format!("there is no failure domain {domain}"),
                        help,
                    );
                }
            }
        },
    ),
    must("control-plane-needed", "There is at least one control plane.", &[ROLE], |s, f| {
        if control_planes(s) == 0 {
            f.at(
                &path!["spec", "nodes", "inventory"],
                "no node is a control plane",
                "give one node the role control-plane",
            );
        }
    }),
    must("control-plane-limit", "There are at most nine control planes.", &[ROLE], |s, f| {
        let tenth = nodes(s).filter(|(_, node)| node.role == Role::ControlPlane).nth(MOST_CONTROL_PLANES);
        if let Some((index, _)) = tenth {
            let help = "etcd gets slower with each member; use three or five control planes, and give the other nodes the role worker";
            f.at(
                &path!["spec", "nodes", "inventory", index, "role"],
                "this is the tenth control plane",
                help,
            );
        }
    }),
    should("single-control-plane", "There are at least two control planes.", &[ROLE], |s, f| {
        if control_planes(s) == 1 {
            f.at(
                &path!["spec", "nodes", "inventory"],
                "there is only one control plane: if it is lost, no node can be enrolled, no configuration changed and no pod scheduled",
                "three control planes survive the loss of one",
            );
        }
    }),
    should("odd-control-planes", "The number of control planes is odd.", &[ROLE], |s, f| {
        let count = control_planes(s);
        if count > 0 && count.is_multiple_of(2) && count < MOST_CONTROL_PLANES {
            let (survives, more) = (count / 2 - 1, count / 2);
            let message = match count {
                2 => "two control planes do not survive the loss of one: etcd needs both".to_owned(),
                _ => format!(
                    "{count} control planes tolerate the loss of only {survives}, the same as {} control planes",
                    count - 1
                ),
            };
            f.at(
                &path!["spec", "nodes", "inventory"],
                message,
                format!("{} survive the loss of {more}", count + 1),
            );
        }
    }),
    should(
        "control-planes-spread",
        "The control planes are in several failure domains.",
        &[ROLE, DOMAIN],
        |s, f| {
            let domains: std::collections::HashSet<_> = nodes(s)
                .filter(|(_, node)| node.role == Role::ControlPlane)
                .map(|(_, node)| &node.domain)
                .collect();
            if control_planes(s) > 1 && domains.len() == 1 {
                f.at(
                    &path!["spec", "nodes", "inventory"],
                    "all control planes are in one failure domain, and are lost together with it",
                    "give them different values of `domain`, declared in nodes.failureDomains",
                );
            }
        },
    ),
    should("no-workers", "There is at least one worker.", &[ROLE], |s, f| {
        if workers(s) == 0 {
            let help = "workloads run on workers; give a node the role worker";
            f.at(&path!["spec", "nodes", "inventory"], "no node is a worker", help);
        }
    }),
    must(
        "one-system-disk",
        "A node has exactly one system disk.",
        &["spec.nodes.inventory[].disks[].purpose"],
        |s, f| {
            for (index, node) in nodes(s) {
                let count = node
                    .disks
                    .iter()
                    .enumerate()
                    .filter(|(at, disk)| disk.purpose_at(*at) == DiskPurpose::System)
                    .count();
                if count != 1 {
                    let count = if count == 0 { "no".to_owned() } else { count.to_string() };
                    let disks = if count == "no" { "disk" } else { "disks" };
                    let message = format!("{} has {count} system {disks}", node.name);
                    f.at(
                        &path!["spec", "nodes", "inventory", index, "disks"],
                        message,
                        "give exactly one disk the purpose system",
                    );
                }
            }
        },
    ),
    must(
        "unique-disk-names",
        "No two disks of a node have the same name.",
        &["spec.nodes.inventory[].disks[].name"],
        |s, f| {
            for (index, node) in nodes(s) {
                let disks = node.disks.iter().enumerate();
                let names = disks.filter_map(|(at, disk)| Some((at, disk.name_at(at)?)));
                for (again, first) in repeated(names) {
                    let at = path!["spec", "nodes", "inventory", index, "disks", again, "name"];
                    let first = path!["spec", "nodes", "inventory", index, "disks", first];
                    let message = format!("a second disk of {} has this name", node.name);
                    let help =
                        "give each disk its own name; the default is disk-N, where N is the index from 0";
                    f.again(&at, &first, message, help);
                }
            }
        },
    ),
    must(
        "disk-size",
        "If the substrate creates the disks, each disk has a size.",
        &["spec.substrate.type", "spec.nodes.inventory[].disks[].sizeGiB"],
        |s, f| {
            if s.substrate.kind == SubstrateType::Metal {
                return;
            }
            for (index, node) in nodes(s) {
                for (disk, _) in node.disks.iter().enumerate().filter(|(_, disk)| disk.size_gib.is_none()) {
                    let at = path!["spec", "nodes", "inventory", index, "disks", disk, "sizeGiB"];
                    f.at(&at, format!("a disk of {} has no size", node.name), "for example: sizeGiB: 32");
                }
            }
        },
    ),
    must(
        "system-disk-size",
        "A system disk has at least 10 GiB (ADR 0001).",
        &["spec.nodes.inventory[].disks[].sizeGiB", "spec.nodes.inventory[].disks[].purpose"],
        |s, f| {
            for (index, node) in nodes(s) {
                let small = |(at, disk): &(usize, &DiskSpec)| {
                    disk.purpose_at(*at) == DiskPurpose::System
                        && disk.size_gib.is_some_and(|size| size < SYSTEM_DISK_GIB)
                };
                for (disk, _) in node.disks.iter().enumerate().filter(small) {
                    let at = path!["spec", "nodes", "inventory", index, "disks", disk, "sizeGiB"];
                    f.at(
                        &at,
                        "a system disk of less than 10 GiB cannot be adopted",
                        "for example: sizeGiB: 32",
                    );
                }
            }
        },
    ),
    must(
        "disk-match-needed",
        "On metal each disk has a `match`.",
        &["spec.substrate.type", MATCH],
        |s, f| {
            if s.substrate.kind != SubstrateType::Metal {
                return;
            }
            for (index, node) in nodes(s) {
                for (disk, _) in node.disks.iter().enumerate().filter(|(_, disk)| disk.rule.is_none()) {
                    let at = path!["spec", "nodes", "inventory", index, "disks", disk, "match"];
                    f.at(
                        &at,
                        format!("a disk of {} has no `match`", node.name),
                        "for example: match: { serial: S3Z1NB0K100001 }, as printed on the disk; or use wwn, path, minSizeGiB or maxSizeGiB",
                    );
                }
            }
        },
    ),
    must(
        "disk-match-says-something",
        "A `match` has at least one condition, and its minSizeGiB is not larger than its maxSizeGiB.",
        &[MATCH],
        |s, f| {
            for (index, disk, rule) in rules(s) {
                let at = path!["spec", "nodes", "inventory", index, "disks", disk, "match"];
                if *rule == DiskRule::default() {
                    f.at(
                        &at,
                        "this match has no condition, so every disk matches",
                        "write at least one of serial, wwn, path, minSizeGiB and maxSizeGiB",
                    );
                } else if rule.min_size_gib.zip(rule.max_size_gib).is_some_and(|(least, most)| least > most) {
                    f.at(
                        &at,
                        "minSizeGiB is larger than maxSizeGiB, so no disk matches",
                        "swap minSizeGiB and maxSizeGiB",
                    );
                }
            }
        },
    ),
    must(
        "disk-match-distinct",
        "No two disks have the same serial number or world-wide name, and no two disks of a node have the same path.",
        &[MATCH],
        disk_match_distinct,
    ),
    should(
        "disk-match-possible",
        "A serial number and a world-wide name are spelled as on a real disk.",
        &[MATCH],
        disk_match_possible,
    ),
    must(
        "allow-destroy-one-identity",
        "An entry of allowDestroy identifies one disk by exactly one of serial, wwn and path.",
        &[DESTROY],
        |s, f| {
            for (index, entry, identity) in destroyable(s) {
                let count = [&identity.serial, &identity.wwn, &identity.path].into_iter().flatten().count();
                if count != 1 {
                    let at = path!["spec", "nodes", "inventory", index, "allowDestroy", entry];
                    let message = if count == 0 {
                        "this entry does not identify a disk".to_owned()
                    } else {
                        format!(
                            "this entry identifies a disk by {count} properties, which can contradict each other"
                        )
                    };
                    f.at(&at, message, "write exactly one of serial, wwn and path");
                }
            }
        },
    ),
    must(
        "allow-destroy-known-disk",
        "An entry of allowDestroy repeats the identity of a disk that the same node declares.",
        &[DESTROY, MATCH],
        |s, f| {
            for (index, entry, identity) in destroyable(s) {
                let Some(node) = s.nodes.inventory.get(index) else { continue };
                let given =
                    [&identity.serial, &identity.wwn, &identity.path].into_iter().flatten().count() == 1;
                if given && !declares(node, identity) {
                    let at = path!["spec", "nodes", "inventory", index, "allowDestroy", entry];
                    let help = "repeat the serial, wwn or path from the `match` of one of its disks";
                    f.at(&at, format!("{} declares no disk with this identity", node.name), help);
                }
            }
        },
    ),
    must("allow-destroy-once", "allowDestroy lists each disk once.", &[DESTROY], |s, f| {
        for (index, node) in nodes(s) {
            for (again, first) in repeated(node.allow_destroy.iter().enumerate()) {
                let path = |entry: usize| path!["spec", "nodes", "inventory", index, "allowDestroy", entry];
                f.again(
                    &path(again),
                    &path(first),
                    "this disk is listed a second time",
                    "remove one of the two",
                );
            }
        }
    }),
    should("allow-destroy-set", "allowDestroy is empty, so no disk may be destroyed.", &[DESTROY], |s, f| {
        for (index, entry, identity) in destroyable(s) {
            let Some(node) = s.nodes.inventory.get(index) else { continue };
            let first = node.allow_destroy.iter().position(|earlier| earlier == identity) == Some(entry);
            if first && declares(node, identity) {
                let at = path!["spec", "nodes", "inventory", index, "allowDestroy", entry];
                let message = format!("the content of this disk of {} may be destroyed", node.name);
                f.at(&at, message, "remove the entry when the node uses the disk");
            }
        }
    }),
];

/// A serial number or a world-wide name identifies one disk worldwide, so a copied section is detected; a path identifies one
/// disk of a machine.
fn disk_match_distinct(s: &Spec, f: &mut Findings<'_>) {
    let mut seen = HashMap::new();
    for (index, disk, rule) in rules(s) {
        for (kind, value) in identities(rule) {
            let (scope, key) = match kind {
                "serial" => (None, disk_names::serial_key(value)),
                "wwn" => (None, disk_names::wwn_key(value)),
                _ => (Some(index), value.clone()),
            };
            let (owner, earlier, spelled) = *seen.entry((scope, kind, key)).or_insert((index, disk, value));
            if (owner, earlier) != (index, disk) {
                let mut message = format!("a disk of {} already has this {kind}", name(s, owner));
                if spelled != value {
                    message = format!("{message}, spelled `{spelled}`");
                }
                let help = "each disk has a different one; was the section copied?";
                f.again(&match_path(index, disk), &match_path(owner, earlier), message, help);
            }
        }
    }
}

fn disk_match_possible(s: &Spec, f: &mut Findings<'_>) {
    const INSPECT: &str = "`kubedos-build inspect --disks` prints the names of a machine's disks";
    for (index, disk, rule) in rules(s) {
        if let Some(wwn) = rule.wwn.as_ref().filter(|wwn| !disk_names::is_wwn(wwn)) {
            let message = format!(
                "`{wwn}` matches no disk: a world-wide name is naa., eui., uuid. or 0x, followed by 16 or 32 digits"
            );
            f.at(
                &path!["spec", "nodes", "inventory", index, "disks", disk, "match", "wwn"],
                message,
                INSPECT,
            );
        }
        if let Some(serial) = rule.serial.as_ref().filter(|serial| disk_names::is_link(serial)) {
            let message = format!("`{serial}` is the name of a link: a serial number is only a part of it");
            f.at(
                &path!["spec", "nodes", "inventory", index, "disks", disk, "match", "serial"],
                message,
                INSPECT,
            );
        }
    }
}

fn match_path(node: usize, disk: usize) -> [Step; 7] {
    path!["spec", "nodes", "inventory", node, "disks", disk, "match"]
}

fn name(s: &Spec, index: usize) -> &str {
    s.nodes.inventory.get(index).map_or("", |node| node.name.as_str())
}

fn rules(s: &Spec) -> impl Iterator<Item = (usize, usize, &DiskRule)> {
    nodes(s).flat_map(|(index, node)| {
        node.disks.iter().enumerate().filter_map(move |(disk, spec)| Some((index, disk, spec.rule.as_ref()?)))
    })
}

fn destroyable(s: &Spec) -> impl Iterator<Item = (usize, usize, &DiskIdentity)> {
    nodes(s).flat_map(|(index, node)| {
        node.allow_destroy.iter().enumerate().map(move |(entry, identity)| (index, entry, identity))
    })
}

fn identities(rule: &DiskRule) -> impl Iterator<Item = (&'static str, &String)> {
    [("serial", &rule.serial), ("wwn", &rule.wwn), ("path", &rule.path)]
        .into_iter()
        .filter_map(|(kind, value)| Some((kind, value.as_ref()?)))
}

fn declares(node: &NodeSpec, identity: &DiskIdentity) -> bool {
    node.disks.iter().filter_map(|disk| disk.rule.as_ref()).any(|rule| {
        let same = |a: &Option<String>, b: &Option<String>| a.is_some() && a == b;
        same(&rule.serial, &identity.serial)
            || same(&rule.wwn, &identity.wwn)
            || same(&rule.path, &identity.path)
    })
}
