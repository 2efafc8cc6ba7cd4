//! Random interfaces, most of which contradict each other: what the rules of the spec accept, a node can render (requirement S1).

use std::cell::Cell;
use std::fs;

use kubedos_spec::allocation::Allocation;
use kubedos_spec::check::Raw;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};

use crate::golden;

/// Texts for a path: one of each kind that systemd.link(5) gives a meaning, and valid ones.
const PATHS: [&str; 12] = [
    "pci-0000:00:03.0",
    "pci-0000:00:04.0",
    "pci-*",
    "!pci-0000:00:03.0",
    "pci-[a-z]",
    "a b",
    "\"pci\"",
    "a\\x20b",
    "#pci",
    "-pci",
    "pci\u{e9}",
    "a;b",
];

/// One interface with a few names, numbers and addresses, so that they meet often.
fn interface() -> impl Strategy<Value = Value> {
    let some = |chance: f64, values: &'static [&'static str]| {
        prop::option::weighted(chance, prop::sample::select(values))
    };
    let name = prop::sample::select(&["a", "b", "c", "d", "e"][..]);
    let link = || prop::sample::select(&["a", "b", "c", "f"][..]);
    let links = prop::option::weighted(0.2, prop::collection::vec(link(), 0..3));
    let vlan = prop::option::weighted(0.3, (0_u16..4, link()));
    let mac = some(0.4, &["52:54:00:00:00:01", "52:54:00:00:00:02", "52:54:00:00:00:03"]);
    let path = prop::option::weighted(0.2, prop::sample::select(&PATHS[..]));
    let address = some(0.4, &["192.0.2.14/24", "192.0.2.15/24", "198.51.100.1/24", "2001:db8::1/64"]);
    let gateway = some(0.2, &["192.0.2.1", "192.0.2.14", "198.51.100.2", "2001:db8::2"]);
    let dhcp = some(0.4, &["none", "ipv4", "ipv6", "both"]);
    (name, links, vlan, mac, path, address, gateway, dhcp).prop_map(
        |(name, links, vlan, mac, path, address, gateway, dhcp)| {
            let mut value = json!({ "name": name });
            if mac.is_some() || path.is_some() {
                let each = [("mac", mac), ("path", path)];
                let given = each.into_iter().filter_map(|(key, text)| Some((key.to_owned(), json!(text?))));
                value["match"] = Value::Object(given.collect());
            }
            if let Some(links) = links {
                value["bond"] = json!({ "mode": "active-backup", "links": links });
            }
            if let Some((id, link)) = vlan {
                value["vlan"] = json!({ "id": id, "link": link });
            }
            if let Some(address) = address {
                value["addresses"] = json!([address]);
            }
            for (key, text) in [("gateway", gateway), ("dhcp", dhcp)] {
                if let Some(text) = text {
                    value[key] = json!(text);
                }
            }
            value
        },
    )
}

#[test]
fn whatever_the_rules_accept_a_node_can_render() {
    let base = fs::read_to_string(golden::path("base").join("cloud.yaml")).unwrap();
    let last = "        underlay: { endpoint: 192.0.2.14 }\n";
    assert!(base.contains(last), "the base has another worker");
    let (accepted, refused) = (Cell::new(0_u32), Cell::new(0_u32));
    let all = prop::collection::vec(interface(), 1..4);
    let mut runner = TestRunner::new(Config { failure_persistence: None, ..Config::with_cases(4000) });
    let tested = runner.run(&all, |interfaces| {
        let text =
            base.replace(last, &format!("        underlay: {}\n", json!({ "interfaces": interfaces })));
        let Ok(validated) = Raw::new(text.as_bytes()).validate() else {
            refused.set(refused.get() + 1);
            return Ok(());
        };
        let plan = validated.plan(&Allocation::empty(validated.spec().metadata.name.clone())).unwrap();
        let rendered = plan.underlays(plan.nodes());
        prop_assert!(rendered.is_ok(), "{:?} in\n{text}", rendered.err());
        accepted.set(accepted.get() + 1);
        Ok(())
    });
    tested.unwrap();
    assert!(accepted.get() > 50 && refused.get() > 50, "{accepted:?} accepted, {refused:?} refused");
}
