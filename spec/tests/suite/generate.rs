//! Generates specs that are valid by construction, and specs with one damaged value. A spec is derived from a list of numbers, so
//! that proptest can shrink it.

use kubedos_wire::value::Cidr;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

/// The numbers that determine the decisions. After the last number, every decision is the first choice.
#[derive(Debug)]
pub struct Draw {
    numbers: std::vec::IntoIter<u16>,
}

impl Draw {
    /// A number below `limit`.
    pub fn below(&mut self, limit: usize) -> usize {
        usize::from(self.numbers.next().unwrap_or(0)) % limit.max(1)
    }

    fn chance(&mut self) -> bool {
        self.below(2) == 1
    }

    /// One of several values.
    pub fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())].clone()
    }
}

/// Random decisions.
pub fn draws() -> impl Strategy<Value = Draw> {
    prop::collection::vec(any::<u16>(), 0..200).prop_map(|numbers| Draw { numbers: numbers.into_iter() })
}

/// A valid spec, as JSON.
pub fn specs() -> impl Strategy<Value = Value> {
    draws().prop_map(|mut draw| spec(&mut draw))
}

/// A spec with one damaged value anywhere; it may still be valid.
pub fn damaged_specs() -> impl Strategy<Value = Value> {
    (draws(), prop::collection::vec(any::<u16>(), 8)).prop_map(|(mut draw, numbers)| {
        let mut spec = spec(&mut draw);
        let mut draw = Draw { numbers: numbers.into_iter() };
        let mut left = draw.below(count(&spec));
        damage(&mut spec, &mut left, &mut draw);
        spec
    })
}

struct Cluster {
    substrate: &'static str,
    kubernetes: bool,
    ceph: bool,
    domains: usize,
    control_planes: usize,
    workers: usize,
}

fn spec(draw: &mut Draw) -> Value {
    let cluster = Cluster {
        substrate: draw.pick(&["cloud", "metal", "proxmox"]),
        kubernetes: draw.chance(),
        ceph: draw.chance(),
        domains: draw.below(4),
        control_planes: 1 + draw.below(4),
        workers: draw.below(5),
    };
    let mut metadata = json!({ "name": "drawn", "artifactVersion": draw.pick(&["0.1.0", "1.2.3-rc.1"]) });
    maybe(draw, &mut metadata, "generation", json!(7));
    maybe(draw, &mut metadata, "intent", json!("drawn: from \"numbers\" # all of it"));
    let mut spec = json!({
        "substrate": substrate(draw, &cluster),
        "nodes": nodes(draw, &cluster),
        "networking": networking(draw, &cluster),
        "security": security(draw, &cluster),
    });
    let storage = storage(draw, &cluster);
    let sections = [
        ("arch", json!("amd64")),
        ("orchestration", json!({ "salt": { "enrollment": draw.pick(&["token+pin", "offline-approval"]) } })),
        (
            "lifecycle",
            json!({ "detection": { "probeIntervalSeconds": 1 + draw.below(5) }, "maxOfflineHours": 24 }),
        ),
        (
            "acceptance",
            json!({ "mttrTargetMinutes": 30, "drills": [{ "name": "rotate-keys", "expectRecoveryMinutes": 10 }] }),
        ),
    ];
    for (key, section) in sections {
        maybe(draw, &mut spec, key, section);
    }
    spec["storage"] = storage;
    if cluster.kubernetes {
        spec["kubernetes"] = kubernetes(draw, &cluster);
        if cluster.workers > 0 {
            maybe(draw, &mut spec, "workload", json!({ "enabled": true, "replicas": 2 }));
        }
    }
    json!({ "apiVersion": "kubedos.ca/v1alpha1", "kind": "Cluster", "metadata": metadata, "spec": spec })
}

fn maybe(draw: &mut Draw, section: &mut Value, key: &str, value: Value) {
    if draw.chance() {
        section[key] = value;
    }
}

fn substrate(draw: &mut Draw, cluster: &Cluster) -> Value {
    let mut substrate = json!({ "type": cluster.substrate });
    match cluster.substrate {
        "metal" => maybe(draw, &mut substrate, "metal", json!({ "firmware": ["intel-microcode"] })),
        "cloud" => maybe(draw, &mut substrate, "cloud", json!({ "provider": "lab" })),
        _ => {
            substrate["proxmox"] = json!({
                "clusterName": "pve-01",
                "storagePools": [{ "name": "fast-zfs", "type": "zfs" }, { "name": "local", "type": "dir" }],
                "bridges": [{ "name": "vmbr0", "vlanAware": true, "trunks": [10, 20] }, { "name": "vmbr1" }],
            });
        }
    }
    substrate
}

fn nodes(draw: &mut Draw, cluster: &Cluster) -> Value {
    let roles = (0..cluster.control_planes)
        .map(|at| (format!("cp-{at}"), "control-plane"))
        .chain((0..cluster.workers).map(|at| (format!("w-{at}"), "worker")));
    let mut inventory: Vec<Value> =
        roles.enumerate().map(|(at, (name, role))| node(draw, cluster, at, &name, role)).collect();
    for at in (1..inventory.len()).rev() {
        inventory.swap(at, draw.below(at + 1));
    }
    let domains: Vec<Value> =
        (0..cluster.domains).map(|at| json!({ "name": format!("rack-{at}") })).collect();
    let mut nodes = json!({ "inventory": inventory, "failureDomains": domains });
    if cluster.substrate == "proxmox" {
        nodes["vmidRange"] = json!({ "start": 2000, "end": 2999 });
    }
    nodes
}

fn node(draw: &mut Draw, cluster: &Cluster, at: usize, name: &str, role: &str) -> Value {
    let mut node = json!({ "name": name, "role": role });
    maybe(draw, &mut node, "id", json!(3 + at * 5));
    if cluster.domains > 0 {
        let domain = draw.below(cluster.domains);
        maybe(draw, &mut node, "domain", json!(format!("rack-{domain}")));
    }
    let mut disks = vec![disk(cluster, at, "system")];
    if cluster.ceph {
        disks.push(disk(cluster, at, "ceph"));
    }
    node["disks"] = disks.into();
    if cluster.substrate == "proxmox" {
        node["cpu"] = json!(2 + draw.below(6));
        node["memoryMiB"] = json!(4096);
        node["nics"] =
            json!([draw.pick(&[json!({ "bridge": "vmbr0", "vlan": 20 }), json!({ "bridge": "vmbr1" })])]);
    }
    if cluster.substrate == "metal" {
        maybe(draw, &mut node, "allowDestroy", json!([{ "serial": format!("system{at}") }]));
    }
    let address = format!("192.0.2.{}", 10 + at);
    let mac = |card: usize| format!("52:54:00:00:{at:02x}:{card:02x}");
    let underlays = [
        json!({}),
        json!({ "endpoint": address }),
        json!({ "interfaces": [{ "name": "uplink", "addresses": [format!("{address}/24")], "gateway": "192.0.2.1" }] }),
        json!({ "interfaces": [
            { "name": "eth0", "match": { "mac": mac(0) } },
            { "name": "eth1", "match": { "mac": mac(1) }, "mtu": 9000 },
            { "name": "bond0", "bond": { "mode": "802.3ad", "links": ["eth0", "eth1"] }, "dhcp": "none" },
            { "name": "bond0.20", "vlan": { "id": 20, "link": "bond0" }, "addresses": [format!("{address}/24")] },
        ] }),
    ];
    node["underlay"] = draw.pick(&underlays);
    node
}

fn disk(cluster: &Cluster, at: usize, purpose: &str) -> Value {
    match cluster.substrate {
        "proxmox" => json!({ "pool": "local", "sizeGiB": 32, "purpose": purpose }),
        "metal" => json!({ "match": { "serial": format!("{purpose}{at}") }, "purpose": purpose }),
        _ => json!({ "sizeGiB": 32, "purpose": purpose }),
    }
}

fn networking(draw: &mut Draw, cluster: &Cluster) -> Value {
    let mut planes = Map::new();
    for (at, purpose) in ["control", "observability", "kubernetes-backend"].into_iter().enumerate() {
        let prefix = u8::try_from(16 + draw.below(9)).unwrap();
        let cidr: Cidr = format!("10.{}.0.0/{prefix}", 101 + at).parse().unwrap();
        let mut plane = json!({ "cidr": cidr, "purpose": purpose });
        if draw.chance() {
            plane["members"] = json!(cidr.subnet(prefix + 2, 1));
            plane["births"] = json!(cidr.subnet(prefix + 2, 2));
        }
        maybe(draw, &mut plane, "port", json!(40_000 + at));
        let mtu = 1280 + 16 * draw.below(10);
        maybe(draw, &mut plane, "mtu", json!(mtu));
        if at < 2 || !cluster.kubernetes {
            maybe(draw, &mut plane, "peers", json!("control-planes"));
        }
        planes.insert(format!("wg{}", at + 1), plane);
    }
    let allow: Vec<Value> = (0..draw.below(4))
        .map(|at| {
            let [from, to] = draw.pick(&[["wg1", "wg3"], ["wg2", "wg3"], ["wg3", "wg1"]]);
            json!({ "from": from, "to": to, "ports": [format!("{}/tcp", 1000 + at), format!("{}-{}/udp", 2000 + 10 * at, 2005 + 10 * at)] })
        })
        .collect();
    let mut networking = json!({ "planes": planes });
    maybe(draw, &mut networking, "policy", json!({ "defaultInterPlane": "deny", "allow": allow }));
    maybe(draw, &mut networking, "overlay", json!("none"));
    maybe(
        draw,
        &mut networking,
        "underlay",
        json!({ "mtu": 1500, "nameservers": ["192.0.2.53", "2001:db8::53"] }),
    );
    networking
}

fn security(draw: &mut Draw, cluster: &Cluster) -> Value {
    let operators: Vec<Value> = ["A", "B", "C"]
        .into_iter()
        .take(draw.below(4))
        .map(|letter| {
            let key = format!("{letter}sC7IdAPKKrByEx9BScM3rPg9skm4PXb6SwJow+502I=");
            json!({ "name": letter.to_lowercase(), "role": draw.pick(&["admin", "operator", "viewer"]), "wireguardKey": key })
        })
        .collect();
    let mut security = json!({ "bootstrap": { "model": "offline-ca" }, "operators": operators });
    let threshold = cluster.control_planes / 2 + 1;
    let sections = [
        ("roster", json!({ "threshold": threshold })),
        ("ssh", json!({ "allowUsers": ["ops"], "passwordAuth": false })),
        ("keyRotation", json!({ "wireguardDays": 7 })),
    ];
    for (key, section) in sections {
        maybe(draw, &mut security, key, section);
    }
    security
}

fn storage(draw: &mut Draw, cluster: &Cluster) -> Value {
    let mut storage = json!({});
    if cluster.substrate == "proxmox" {
        maybe(draw, &mut storage, "zfs", json!({ "enabled": true, "pools": ["fast-zfs"] }));
    }
    if cluster.ceph {
        let size = (cluster.control_planes + cluster.workers).min(3);
        storage["ceph"] = json!({
            "enabled": true,
            "failureDomain": "node",
            "replication": { "size": size, "minSize": size / 2 + 1 },
            "planes": [draw.pick(&["wg2", "wg3"])],
            "recovery": { "outAfterMinutes": 10, "rebuild": draw.pick(&["automatic", "manual"]) },
        });
    }
    storage
}

fn kubernetes(draw: &mut Draw, cluster: &Cluster) -> Value {
    let mut kubernetes = json!({ "enabled": true, "version": "v1.34.2" });
    let sections = [
        ("ha", json!({ "controlPlaneReplicas": cluster.control_planes, "etcd": "stacked" })),
        ("cni", json!({ "name": "cilium", "policyDefault": draw.pick(&["allow", "deny"]) })),
        ("observability", json!({ "prometheus": true, "grafana": draw.chance(), "loki": draw.chance() })),
        ("podCidr", json!("10.240.0.0/14")),
        ("serviceCidr", json!("10.250.0.0/20")),
        ("nodePodPrefix", json!(25)),
    ];
    for (key, section) in sections {
        maybe(draw, &mut kubernetes, key, section);
    }
    kubernetes
}

/// The number of values, including those in lists and maps.
fn count(value: &Value) -> usize {
    1 + match value {
        Value::Array(list) => list.iter().map(count).sum(),
        Value::Object(map) => map.values().map(count).sum(),
        _ => 0,
    }
}

/// Damages the value that is `left` values away.
fn damage(value: &mut Value, left: &mut usize, draw: &mut Draw) -> bool {
    if *left == 0 {
        damage_here(value, draw);
        return true;
    }
    *left -= 1;
    match value {
        Value::Array(list) => list.iter_mut().any(|item| damage(item, left, draw)),
        Value::Object(map) => map.values_mut().any(|inner| damage(inner, left, draw)),
        _ => false,
    }
}

fn damage_here(value: &mut Value, draw: &mut Draw) {
    let odd_values = [
        Value::Null,
        json!(true),
        json!(0),
        json!(-1),
        json!(1.5),
        json!(4_000_000_000_000_u64),
        json!(""),
        json!("no"),
        json!("10.0.0.0/8"),
        json!("x".repeat(300)),
        json!([]),
        json!({}),
        json!([[]]),
    ];
    match (draw.below(6), &mut *value) {
        (0, Value::Object(map)) if !map.is_empty() => {
            let key = map.keys().nth(draw.below(map.len())).unwrap().clone();
            map.remove(&key);
        }
        (1, Value::Object(map)) => drop(map.insert("colour".into(), draw.pick(&odd_values))),
        (2, Value::Object(map)) if !map.is_empty() => {
            let key = map.keys().nth(draw.below(map.len())).unwrap().clone();
            let inner = map.remove(&key).unwrap();
            map.insert(key.to_uppercase(), inner);
        }
        (3, Value::Array(list)) => list.push(draw.pick(&odd_values)),
        (4, Value::String(text)) => text.push_str(draw.pick(&["x", " ", "é", "/", "-"])),
        (4, Value::Number(_)) => *value = json!(value.as_i64().unwrap_or(1) * 100_000),
        _ => *value = draw.pick(&odd_values),
    }
}
