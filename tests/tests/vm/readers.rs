//! Oracles for the network of a running node: what `nft`, `wg` and `ip` read from the kernel agrees with the plan and with the
//! project's own netlink code, and the open sockets are the declared ones (N5).

use std::collections::{BTreeMap, BTreeSet};

use kubedos_wire::firewall::{LISTENERS, Match, Rule, Ruleset, Set};
use kubedos_wire::node::Role;
use kubedos_wire::value::{Protocol, WireguardKey};
use serde_json::{Value, json};

/// Compares the answers of the probe (`sockets` and `kernel`) of a node.
pub fn agree(found: &Value, ruleset: &Ruleset, role: Role) {
    let kernel = &found["kernel"];
    only_declared_sockets(&found["sockets"], role);
    rules_agree(text(&kernel["nft"]), ruleset);
    planes_agree(text(&kernel["wg"]), &kernel["own"]["devices"]);
    links_agree(kernel);
    addresses_agree(kernel);
    routes_agree(kernel);
}

fn text(output: &Value) -> &str {
    output.as_str().unwrap_or_else(|| panic!("{output}"))
}

fn parsed(output: &Value) -> Vec<Value> {
    serde_json::from_str(text(output)).unwrap()
}

/// N5: sockets that receive packets from other machines are those of [`LISTENERS`] and the kernel's sockets of the planes. No program
/// has a raw socket for anything but ICMP, or a packet socket for anything but ARP. Connected UDP sockets receive from one address only: chronyd asks other nodes with them.
pub fn only_declared_sockets(sockets: &Value, role: Role) {
    let rows = |table: &str| -> Vec<Vec<String>> {
        let lines = sockets[table].as_array().unwrap_or_else(|| panic!("{sockets}"));
        assert!(!lines.is_empty(), "the kernel has no table {table}");
        let fields = |line: &Value| line.as_str().unwrap().split_whitespace().map(str::to_owned).collect();
        lines.iter().skip(1).map(fields).collect()
    };
    // The agent's questions about paths and addresses: short for ICMP, always for ARP. The protocol is in the place of the port.
    for (table, protocol) in [("raw", ":0001"), ("raw6", ":003A")] {
        assert!(rows(table).iter().all(|row| row[1].ends_with(protocol)), "{table}: {:?}", rows(table));
    }
    assert!(rows("packet").iter().all(|row| row[3] == "0806"), "{:?}", rows("packet"));
    let (listening, unconnected) = ("0A", "07"); // include/net/tcp_states.h
    // For each port, whether its socket is bound to any address.
    let open = |table: &str, family: &str| -> BTreeSet<(u16, bool)> {
        let rows = [rows(table), rows(&format!("{table}{family}"))].concat();
        let is_open = |row: &&Vec<String>| row[3] == if table == "udp" { unconnected } else { listening };
        let socket = |row: &Vec<String>| {
            let (address, port) = row[1].rsplit_once(':').unwrap();
            (u16::from_str_radix(port, 16).unwrap(), address.bytes().all(|digit| digit == b'0'))
        };
        rows.iter().filter(is_open).map(socket).collect()
    };
    let declared = |protocol: Protocol| -> BTreeSet<(u16, bool)> {
        let here = LISTENERS.iter().filter(|listener| listener.role.is_none_or(|wanted| wanted == role));
        let ports = here.map(|listener| listener.ports).filter(|ports| ports.protocol == protocol);
        ports.flat_map(|ports| ports.first..=ports.last).map(|port| (port, false)).collect()
    };
    assert_eq!(open("tcp", "6"), declared(Protocol::Tcp));
    let planes = (51820..=51822).map(|port| (port, true)).collect();
    assert_eq!(open("udp", "6"), declared(Protocol::Udp).union(&planes).copied().collect());
}

/// The rules that nft(8) lists: chain by chain, in order, each with its counter, verdict and conditions.
fn rules_agree(listed: &str, ruleset: &Ruleset) {
    let tables: Vec<&str> = listed.lines().filter(|line| line.starts_with("table ")).collect();
    assert_eq!(tables, ["table inet kubedos {"], "{listed}");
    for chain in &ruleset.chains {
        let head = format!("\tchain {} {{\n", chain.hook);
        let body = listed.split(&head).nth(1).unwrap_or_else(|| panic!("no {head}: {listed}"));
        let body: Vec<&str> = body.split("\n\t}").next().unwrap().lines().map(str::trim).collect();
        let (kind, rules) = body.split_first().unwrap();
        let wanted = format!("type filter hook {} priority filter; policy {};", chain.hook, chain.policy);
        assert_eq!(*kind, wanted);
        let mut real: Vec<(String, BTreeSet<String>)> = Vec::new();
        for rule in rules {
            let (conditions, rest) = rule.split_once("counter name ").unwrap_or_else(|| panic!("{rule}"));
            let (name, verdict) = rest.split_once(' ').unwrap();
            let name = format!("{} {}", name.trim_matches('"'), verdict.split(" comment").next().unwrap());
            match real.last_mut().filter(|(last, _)| *last == name) {
                Some((_, all)) => assert!(all.insert(conditions.trim().to_owned()), "{rule} is there twice"),
                None => real.push((name, BTreeSet::from([conditions.trim().to_owned()]))),
            }
        }
        let planned: Vec<(String, BTreeSet<String>)> = chain
            .rules
            .iter()
            .map(|rule| (format!("{} {}", rule.name, rule.verdict), alternatives(rule)))
            .collect();
        for (real, planned) in real.iter().zip(&planned) {
            assert_eq!(real, planned, "the chain {}", chain.hook);
        }
        assert_eq!(real.len(), planned.len(), "the chain {}", chain.hook);
    }
}

/// The conditions of a rule with one value each: the kernel has a rule for each combination, and one condition for each excluded value.
fn alternatives(rule: &Rule) -> BTreeSet<String> {
    let limit = rule.limit.iter().map(|limit| vec![limit.to_string()]);
    let mut all = BTreeSet::from([String::new()]);
    for values in rule.matches.iter().map(single).chain(limit) {
        let append = |start: &String| {
            let one = |value: &String| format!("{start} {value}").trim().to_owned();
            values.iter().map(one).collect::<Vec<_>>()
        };
        all = all.iter().flat_map(append).collect();
    }
    all
}

fn single(condition: &Match) -> Vec<String> {
    fn each<T: Clone>(set: &Set<T>, condition: impl Fn(Set<T>) -> Match) -> Vec<String> {
        let one =
            |value: &T| condition(Set { negated: set.negated, values: vec![value.clone()] }).to_string();
        let texts: Vec<String> = set.values.iter().map(one).collect();
        if set.negated { vec![texts.join(" ")] } else { texts }
    }
    match condition {
        Match::InputDevice(set) => each(set, Match::InputDevice),
        Match::OutputDevice(set) => each(set, Match::OutputDevice),
        Match::Source(set) => each(set, Match::Source),
        Match::Destination(set) => each(set, Match::Destination),
        Match::SourcePort(ports) => {
            ports.iter().map(|port| Match::SourcePort(vec![*port]).to_string()).collect()
        }
        Match::DestinationPort(ports) => {
            ports.iter().map(|port| Match::DestinationPort(vec![*port]).to_string()).collect()
        }
        Match::Icmp(types) => types.iter().map(|kind| Match::Icmp(vec![*kind]).to_string()).collect(),
        Match::Family(_) | Match::HopLimit(_) | Match::State(_) => vec![condition.to_string()],
    }
}

/// `wg show all dump`: a line for each device, then for each of its peers.
fn planes_agree(dump: &str, own: &Value) {
    let key = |bytes: &Value| hex::encode(serde_json::from_value::<Vec<u8>>(bytes.clone()).unwrap());
    let decoded = |text: &str| hex::encode(text.parse::<WireguardKey>().unwrap().canonical());
    let mut expected = BTreeSet::new();
    for device in own.as_array().unwrap_or_else(|| panic!("{own}")) {
        let name = device["name"].as_str().unwrap();
        expected.insert(format!("{name} {} {} {}", key(&device["key"]), device["port"], device["mark"]));
        for peer in device["peers"].as_array().unwrap() {
            let mut allowed: Vec<&str> =
                peer["allowed"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
            allowed.sort_unstable();
            let (preshared, endpoint) = (&peer["preshared"], &peer["endpoint"]);
            expected.insert(format!(
                "{name} {} {preshared} {endpoint} {} {}",
                key(&peer["key"]),
                allowed.join(","),
                peer["keepalive"]
            ));
        }
    }
    let real: BTreeSet<String> = dump
        .lines()
        .map(|line| {
            let fields: Vec<&str> = line.split('\t').collect();
            match fields[..] {
                [name, _, public, port, mark] => {
                    let mark = if mark == "off" { "0" } else { mark };
                    format!("{name} {} {port} {mark}", decoded(public))
                }
                [name, public, preshared, endpoint, allowed, _, _, _, keepalive] => {
                    let mut allowed: Vec<&str> = allowed.split(',').collect();
                    allowed.sort_unstable();
                    let endpoint = Some(endpoint).filter(|text| *text != "(none)");
                    let keepalive = if keepalive == "off" { "0" } else { keepalive };
                    let has_preshared = preshared != "(none)";
                    let allowed = allowed.join(",");
                    let public = decoded(public);
                    format!("{name} {public} {has_preshared} {} {allowed} {keepalive}", json!(endpoint))
                }
                _ => panic!("{line:?}"),
            }
        })
        .collect();
    assert_eq!(real, expected);
    let devices: BTreeMap<&str, ()> =
        real.iter().filter_map(|line| Some((line.split(' ').next()?, ()))).collect();
    assert_eq!(devices.into_keys().collect::<Vec<_>>(), ["wg1", "wg2", "wg3"], "{dump}");
}

/// `ip -d -j link`: kind, MTU and state of the devices of planes; and no device of an overlay network (N6).
fn links_agree(kernel: &Value) {
    let links = parsed(&kernel["link"]);
    let of_planes = |link: &&Value| link["linkinfo"]["info_kind"] == "wireguard";
    let is_up = |link: &Value| link["flags"].as_array().unwrap().iter().any(|flag| flag == "UP");
    let real: BTreeSet<String> = links
        .iter()
        .filter(of_planes)
        .map(|link| format!("{} {} {}", link["ifname"], link["mtu"], is_up(link)))
        .collect();
    let own = kernel["own"]["devices"].as_array().unwrap();
    let expected: BTreeSet<String> =
        own.iter().map(|link| format!("{} {} {}", link["name"], link["mtu"], link["up"])).collect();
    assert_eq!((real.len(), &real), (3, &expected));
    let kinds: BTreeSet<&str> =
        links.iter().filter_map(|link| link["linkinfo"]["info_kind"].as_str()).collect();
    assert_eq!(kinds, BTreeSet::from(["wireguard"]), "{links:#?}");
}

/// `ip -d -j addr`: every address of every device.
fn addresses_agree(kernel: &Value) {
    let mut real = BTreeSet::new();
    for link in parsed(&kernel["addr"]) {
        for address in link["addr_info"].as_array().unwrap() {
            let address = format!("{}/{}", address["local"].as_str().unwrap(), address["prefixlen"]);
            real.insert(json!([link["ifname"], address]).to_string());
        }
    }
    let own = kernel["own"]["addresses"].as_array().unwrap();
    assert_eq!(real, own.iter().map(Value::to_string).collect::<BTreeSet<_>>());
    for plane in 1..=3 {
        assert_eq!(real.iter().filter(|line| line.contains(&format!("wg{plane}"))).count(), 1, "{real:#?}");
    }
}

/// `ip -d -j route`: the unicast routes through the devices of planes, each with its source.
fn routes_agree(kernel: &Value) {
    let is_plane = |device: &Value| device.as_str().is_some_and(|name| name.starts_with("wg"));
    let real: BTreeSet<String> = parsed(&kernel["route"])
        .iter()
        .filter(|route| is_plane(&route["dev"]) && route["type"] == "unicast")
        .map(|route| format!("{} {} {}", route["dev"], route["dst"], route["prefsrc"]))
        .collect();
    let own = kernel["own"]["routes"].as_array().unwrap();
    let unicast = 1;
    let expected: BTreeSet<String> = own
        .iter()
        .filter(|route| is_plane(&route["device"]) && route["kind"] == unicast)
        .map(|route| format!("{} {} {}", route["device"], route["destination"], route["source"]))
        .collect();
    assert_eq!((real.len(), &real), (3, &expected));
}
