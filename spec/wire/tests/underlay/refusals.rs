//! Underlays that contradict themselves, and values that try to leave their line.

use kubedos_wire::node::Underlay;
use kubedos_wire::underlay::{UnderlayError, render, valid_path};

use crate::files::read;

fn underlay(interfaces: &str) -> Underlay {
    toml::from_str(&format!("mtu = 1500\n{interfaces}")).unwrap()
}

fn refused(interfaces: &str) -> UnderlayError {
    render(&underlay(interfaces)).unwrap_err()
}

const ETH0: &str = "[[interfaces]]\nname = \"eth0\"\nmatch = { mac = \"52:54:00:00:00:01\" }\n";
const ETH1: &str = "[[interfaces]]\nname = \"eth1\"\nmatch = { mac = \"52:54:00:00:00:02\" }\n";

#[test]
fn contradictions_are_refused() {
    let name = |text: &str| text.parse().unwrap();
    let with = |more: &str| refused(&format!("{ETH0}{ETH1}{more}"));
    let bond = |more: &str| with(&format!("[[interfaces]]\nname = \"bond0\"\nbond = {{ {more} }}"));
    let vlan = |more: &str| with(&format!("[[interfaces]]\nname = \"v\"\nvlan = {{ {more} }}"));
    let eth0 = |more: &str| refused(&format!("{ETH0}{more}"));

    assert_eq!(with(ETH0), UnderlayError::Twice(name("eth0")));
    let again = ETH0.replace("eth0", "other");
    assert_eq!(with(&again), UnderlayError::SameDevice(name("eth0"), name("other")));
    assert_eq!(with("[[interfaces]]\nname = \"eth2\""), UnderlayError::Unidentified(name("eth2")));
    let both = "[[interfaces]]\nname = \"x\"\nmatch = { mac = \"52:54:00:00:00:03\", path = \"pci-0\" }";
    assert_eq!(with(both), UnderlayError::Match(name("x")));
    assert_eq!(with("[[interfaces]]\nname = \"x\"\nmatch = { }"), UnderlayError::Match(name("x")));
    let device =
        "[[interfaces]]\nname = \"v\"\nmatch = { path = \"pci-0\" }\nvlan = { id = 1, link = \"eth0\" }";
    assert_eq!(with(device), UnderlayError::Unidentified(name("v")));

    assert_eq!(bond("mode = \"802.3ad\", links = []"), UnderlayError::NoMember(name("bond0")));
    for links in ["\"eth0\", \"eth0\"", "\"eth0\", \"bond0\"", "\"absent\""] {
        let error = bond(&format!("mode = \"active-backup\", links = [{links}]"));
        assert!(matches!(error, UnderlayError::Member(..)), "{links}: {error}");
    }
    for own in ["addresses = [\"192.0.2.1/24\"]", "dhcp = \"ipv4\"", "dhcp = \"ipv6\""] {
        let error = eth0(&format!(
            "{own}\n[[interfaces]]\nname = \"b\"\nbond = {{ mode = \"802.3ad\", links = [\"eth0\"] }}"
        ));
        assert_eq!(error, UnderlayError::Member(name("b"), name("eth0")), "{own}");
    }
    let carrier = "[[interfaces]]\nname = \"v\"\nvlan = { id = 7, link = \"eth0\" }\n[[interfaces]]\nname = \"b\"\nbond = { mode = \"802.3ad\", links = [\"eth0\"] }";
    assert_eq!(eth0(carrier), UnderlayError::Member(name("b"), name("eth0")));
    let member = "[[interfaces]]\nname = \"x\"\nvlan = { id = 7, link = \"eth0\" }\nbond = { mode = \"802.3ad\", links = [\"eth1\"] }";
    assert_eq!(with(member), UnderlayError::VlanAndBond(name("x")));

    for id in [0, 4095, 65535] {
        let error = vlan(&format!("id = {id}, link = \"eth0\""));
        assert_eq!(error, UnderlayError::VlanId(name("v"), id));
    }
    for link in ["absent", "v"] {
        let error = vlan(&format!("id = 1, link = \"{link}\""));
        assert_eq!(error, UnderlayError::VlanLink(name("v"), name(link)));
    }
    let twice = "[[interfaces]]\nname = \"v\"\nvlan = { id = 7, link = \"eth0\" }\n[[interfaces]]\nname = \"w\"\nvlan = { id = 7, link = \"eth0\" }";
    assert_eq!(with(twice), UnderlayError::SameVlan(name("v"), name("w")));

    let address = "addresses = [\"192.0.2.1/24\", \"192.0.2.1/25\"]";
    assert_eq!(eth0(address), UnderlayError::Address("192.0.2.1".parse().unwrap()));
    for gateway in ["192.0.2.1", "198.51.100.1", "2001:db8::1"] {
        let error = eth0(&format!("addresses = [\"192.0.2.1/24\"]\ngateway = \"{gateway}\""));
        assert_eq!(error, UnderlayError::Gateway(name("eth0")), "{gateway}");
    }
    assert_eq!(eth0("gateway = \"192.0.2.254\""), UnderlayError::Gateway(name("eth0")));
    assert_eq!(eth0("mtu = 1499"), UnderlayError::Mtu(1499));
    assert_eq!(render(&toml::from_str("mtu = 1279").unwrap()), Err(UnderlayError::Mtu(1279)));
}

/// Values with everything that systemd.syntax(7), the list of words, and fnmatch(3) give a meaning to.
const ATTACKS: [&str; 26] = [
    "",
    "*",
    "pci-*",
    "pci-0000:0?:00.0",
    "pci-[0-9]",
    "!pci-0000:00:1f.6",
    "pci-0 pci-1",
    "pci-0\tpci-1",
    "pci-0\n[Network]\nLLMNR=yes",
    "pci-0\r[Network]",
    "pci-0\u{85}LLMNR=yes",
    "pci-0\u{2028}LLMNR=yes",
    "pci-0\0",
    "pci-0\\",
    "pci-0\\\n",
    "\\x2a",
    "\"pci-0\"",
    "'pci-0'",
    "#pci-0",
    ";pci-0",
    "pci-%H",
    "%i",
    "=pci-0",
    "-pci-0",
    ".",
    "pci-\u{e9}",
];

#[test]
fn a_path_cannot_be_a_pattern_a_list_or_a_line() {
    for attack in ATTACKS {
        assert!(!valid_path(attack), "{attack:?}");
        let text = toml::Value::from(attack).to_string();
        let error = refused(&format!("[[interfaces]]\nname = \"eth0\"\nmatch = {{ path = {text} }}"));
        assert_eq!(error, UnderlayError::Path("eth0".parse().unwrap()), "{attack:?}");
    }
    assert!(!valid_path(&"p".repeat(257)));
    for path in [
        "pci-0000:00:1f.6",
        "pci-0000:00:14.0-usb-0:1.2:1.0",
        "platform-fe300000.ethernet",
        "pci-0000:65:00.0+1",
        "ccw-0.0.0600",
        "vmbus-2fe4_a1",
        &"p".repeat(256),
    ] {
        assert!(valid_path(path), "{path}");
    }
}

/// The other texts of an underlay are names; a shard with a name that could leave its line is not parsed.
#[test]
fn a_name_cannot_leave_its_line() {
    for attack in ATTACKS.iter().filter(|attack| **attack != "-pci-0") {
        let text = toml::Value::from(*attack).to_string();
        for place in [
            format!("[[interfaces]]\nname = {text}"),
            format!("{ETH0}[[interfaces]]\nname = \"v\"\nvlan = {{ id = 1, link = {text} }}"),
            format!("{ETH0}[[interfaces]]\nname = \"b\"\nbond = {{ mode = \"802.3ad\", links = [{text}] }}"),
        ] {
            let parsed = toml::from_str::<Underlay>(&format!("mtu = 1500\n{place}"));
            assert!(parsed.is_err(), "{place}");
        }
    }
}

#[test]
fn a_bond_has_the_address_of_its_first_member_with_a_known_one() {
    let bond = "[[interfaces]]\nname = \"b\"\nbond = { mode = \"active-backup\", links = [\"p\", \"eth1\", \"eth0\"] }";
    let path = "[[interfaces]]\nname = \"p\"\nmatch = { path = \"pci-0000:00:1f.6\" }\n";
    let files = render(&underlay(&format!("{ETH0}{ETH1}{path}{bond}"))).unwrap();
    let netdev = read("netdev", &files["10-kubedos-b.netdev"]);
    assert_eq!(netdev.one("NetDev", "MACAddress"), Some("52:54:00:00:00:02"));
    assert!(!files.contains_key("10-kubedos-b.link"));

    let bond = bond.replace("\"p\", \"eth1\", \"eth0\"", "\"p\"");
    let files = render(&underlay(&format!("{path}{bond}"))).unwrap();
    assert_eq!(read("netdev", &files["10-kubedos-b.netdev"]).one("NetDev", "MACAddress"), Some("none"));
    let link = read("link", &files["10-kubedos-b.link"]);
    assert_eq!(link.one("Link", "MACAddressPolicy"), Some("none"));
    assert_eq!(link.one("Match", "Kind"), Some("bond"));
}
