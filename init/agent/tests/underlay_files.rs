//! The underlay's files in a real folder, with a networkd that records its requests; and links in a copy of sysfs.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may panic; the lint exempts test functions, not their helpers"
)]
use std::cell::{Cell, RefCell};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use kubedos_agent::stages::backplanes::underlay::links::{
    Missing, ObservedLink, Problem, missing, observe as look,
};
use kubedos_agent::stages::backplanes::underlay::networkd::{Networkd, NetworkdError};
use kubedos_agent::stages::backplanes::underlay::{Change, Folders, apply, observe, plan, settle};
use kubedos_wire::node::Underlay;
use kubedos_wire::underlay::render;

#[derive(Debug, Default)]
struct Recorder {
    running: Cell<bool>,
    requests: RefCell<Vec<&'static str>>,
}

impl Networkd for Recorder {
    fn running(&self) -> Result<bool, NetworkdError> {
        Ok(self.running.get())
    }

    fn start(&self) -> Result<(), NetworkdError> {
        self.running.set(true);
        self.requests.borrow_mut().push("start");
        Ok(())
    }

    fn reload(&self) -> Result<(), NetworkdError> {
        assert!(self.running.get());
        self.requests.borrow_mut().push("reload");
        Ok(())
    }
}

fn underlay(interfaces: &str) -> Underlay {
    toml::from_str(&format!("mtu = 1500\n{interfaces}")).unwrap()
}

fn uplink() -> Underlay {
    underlay(
        "[[interfaces]]\nname = \"uplink\"\nmatch = { mac = \"52:54:00:00:00:01\" }\naddresses = [\"192.0.2.11/24\"]",
    )
}

fn world() -> (tempfile::TempDir, Folders, Recorder) {
    let root = tempfile::tempdir().unwrap();
    let folders = Folders { network: root.path().join("network"), mark: root.path().join("mark") };
    fs::create_dir(&folders.mark).unwrap();
    (root, folders, Recorder::default())
}

fn is_settled(folders: &Folders, networkd: &Recorder) -> bool {
    plan(&render(&uplink()).unwrap(), &observe(folders, networkd).unwrap()).is_empty()
}

#[test]
fn files_are_written_before_networkd_starts_and_a_second_plan_is_empty() {
    let (_root, folders, networkd) = world();
    let changes = settle(&folders, &networkd, &uplink()).unwrap();
    assert_eq!(changes.last().unwrap(), "start systemd-networkd");
    assert_eq!(changes.len(), 3, "{changes:?}");
    assert!(is_settled(&folders, &networkd));
    assert_eq!(*networkd.requests.borrow(), ["start"]);
    for (name, text) in render(&uplink()).unwrap() {
        let path = folders.network.join(name);
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o644);
    }
    assert!(settle(&folders, &networkd, &uplink()).unwrap().is_empty());
    networkd.running.set(false);
    assert_eq!(settle(&folders, &networkd, &uplink()).unwrap(), ["start systemd-networkd"]);
}

/// Everything that a program with write access could leave in the folder.
#[test]
fn drift_is_removed_and_networkd_reads_the_files_again() {
    let own = "10-kubedos-uplink.network";
    type Drift = fn(&Path);
    let drifts: [(&str, Drift); 9] = [
        ("a file", |f| fs::write(f.join("00-foreign.network"), "[Match]\nName=*\n").unwrap()),
        ("a link file", |f| fs::write(f.join("00-foreign.link"), "[Match]\n").unwrap()),
        ("a drop-in", |f| {
            fs::create_dir(f.join("10-kubedos-uplink.network.d")).unwrap();
            fs::write(f.join("10-kubedos-uplink.network.d/x.conf"), "[Network]\nLLMNR=yes\n").unwrap();
        }),
        ("a half-written file", |f| fs::write(f.join(".10-kubedos-uplink.network.new"), "[Ma").unwrap()),
        ("another text", |f| fs::write(f.join("10-kubedos-uplink.network"), "").unwrap()),
        ("bytes", |f| fs::write(f.join("10-kubedos-uplink.network"), [0xff]).unwrap()),
        ("a link instead of a file", |f| {
            fs::rename(f.join("10-kubedos-uplink.network"), f.join("../kept")).unwrap();
            symlink("../kept", f.join("10-kubedos-uplink.network")).unwrap();
        }),
        ("an unreadable file", |f| {
            let mode = fs::Permissions::from_mode(0o600);
            fs::set_permissions(f.join("10-kubedos-uplink.network"), mode).unwrap();
        }),
        ("a missing file", |f| fs::remove_file(f.join("10-kubedos-uplink.network")).unwrap()),
    ];
    for (what, drift) in drifts {
        let (root, folders, networkd) = world();
        settle(&folders, &networkd, &uplink()).unwrap();
        drift(&folders.network);
        assert!(!is_settled(&folders, &networkd), "{what}");
        settle(&folders, &networkd, &uplink()).unwrap();
        assert!(is_settled(&folders, &networkd), "{what}");
        assert_eq!(*networkd.requests.borrow(), ["start", "reload"], "{what}");
        let found = fs::symlink_metadata(folders.network.join(own)).unwrap();
        assert!(found.is_file(), "{what}");
        assert_eq!(fs::read_dir(&folders.network).unwrap().count(), 2, "{what}");
        // The target of a link is not touched.
        assert!(what != "a link instead of a file" || root.path().join("kept").exists());
    }
}

#[test]
fn an_agent_that_is_killed_anywhere_finishes_in_the_next_attempt() {
    let want = render(&uplink()).unwrap();
    for running in [false, true] {
        let (_root, folders, networkd) = world();
        networkd.running.set(running);
        let all = plan(&want, &observe(&folders, &networkd).unwrap());
        for done in 0..=all.len() {
            let (_root, folders, networkd) = world();
            networkd.running.set(running);
            for change in &all[..done] {
                apply(&folders, &networkd, change).unwrap();
            }
            settle(&folders, &networkd, &uplink()).unwrap();
            assert!(is_settled(&folders, &networkd), "{running} {done}");
            // networkd has read the files exactly once, after the last write.
            assert_eq!(networkd.requests.borrow().len(), 1, "{running} {done}");
        }
    }
    let (_root, folders, networkd) = world();
    let all = plan(&want, &observe(&folders, &networkd).unwrap());
    assert!(matches!(all.last(), Some(Change::Start(_))), "{all:?}");
}

fn device(name: &str, mac: &str) -> ObservedLink {
    ObservedLink {
        leased: None,
        name: name.into(),
        physical: true,
        mac: Some(mac.parse().unwrap()),
        path: Some("pci-0000:00:03.0".into()),
        carrier: true,
        ipv4: true,
        ipv6: true,
    }
}

fn shown(want: &Underlay, observed: &[ObservedLink]) -> Vec<String> {
    missing(want, observed).unwrap().iter().map(Missing::to_string).collect()
}

#[test]
fn messages_name_what_an_operator_can_check() {
    let good = device("ens3", "52:54:00:00:00:01");
    assert_eq!(missing(&uplink(), std::slice::from_ref(&good)).unwrap(), []);
    let other = device("ens3", "52:54:00:00:00:aa");
    assert_eq!(
        shown(&uplink(), &[other]),
        [
            "uplink: no Ethernet device has MAC 52:54:00:00:00:01; found ens3 52:54:00:00:00:aa pci-0000:00:03.0"
        ]
    );
    assert_eq!(
        shown(&uplink(), &[]),
        ["uplink: no Ethernet device has MAC 52:54:00:00:00:01; found none; is its driver in the image?"]
    );
    let unplugged = ObservedLink { carrier: false, ..good.clone() };
    assert_eq!(
        shown(&uplink(), &[unplugged]),
        ["uplink: ens3 has no carrier; check the cable and the port of the switch"]
    );
    let silent = ObservedLink { ipv4: false, ..good.clone() };
    assert_eq!(
        shown(&uplink(), std::slice::from_ref(&silent)),
        ["uplink: ens3 has no address from the spec; systemd-networkd has not set it yet"]
    );
    assert_eq!(
        shown(&underlay("[[interfaces]]\nname = \"uplink\""), std::slice::from_ref(&silent)),
        ["uplink: ens3 has no address from DHCP; check the DHCP server and the VLAN of the port"]
    );
    assert_eq!(
        shown(&underlay(""), &[silent]),
        ["ens3 has no address from DHCP; check the DHCP server and the VLAN of the port"]
    );

    // A foreign VLAN with the address of the device is not the device.
    let vlan = ObservedLink { physical: false, name: "foreign".into(), ..good.clone() };
    assert!(matches!(missing(&uplink(), &[vlan]).unwrap()[0].problem, Problem::NoDevice(..)));
    let two = [good, device("ens4", "52:54:00:00:00:02")];
    let ambiguous = missing(&underlay("[[interfaces]]\nname = \"uplink\""), &two).unwrap();
    assert!(ambiguous[0].problem.is_ambiguous());
    assert!(ambiguous[0].to_string().contains("found ens3") && ambiguous[0].to_string().contains("ens4"));
}

#[test]
fn a_bond_needs_no_carrier_on_each_member() {
    let want = underlay(
        "[[interfaces]]\nname = \"a\"\nmatch = { mac = \"52:54:00:00:00:01\" }\n[[interfaces]]\nname = \"b\"\nmatch = { mac = \"52:54:00:00:00:02\" }\n[[interfaces]]\nname = \"bond0\"\naddresses = [\"192.0.2.11/24\"]\nbond = { mode = \"active-backup\", links = [\"a\", \"b\"] }",
    );
    let up = device("ens3", "52:54:00:00:00:01");
    let down = ObservedLink { carrier: false, ipv4: false, ..device("ens4", "52:54:00:00:00:02") };
    let bond = ObservedLink { physical: false, name: "bond0".into(), ..up.clone() };
    assert_eq!(shown(&want, &[up.clone(), down.clone(), bond]), [""; 0]);
    assert_eq!(shown(&want, &[up, down]), ["bond0: systemd-networkd has not created it yet"]);
}

#[test]
fn links_are_read_from_sysfs_udev_and_networkd() {
    let root = tempfile::tempdir().unwrap();
    let put = |path: &str, text: &str| {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    for (name, index, uevent) in
        [("ens3", 2, "INTERFACE=ens3\n"), ("bond0", 3, "DEVTYPE=bond\n"), ("wg1", 4, "DEVTYPE=wireguard\n")]
    {
        put(&format!("sys/class/net/{name}/ifindex"), &format!("{index}\n"));
        put(&format!("sys/class/net/{name}/type"), if name == "wg1" { "65534\n" } else { "1\n" });
        put(&format!("sys/class/net/{name}/uevent"), uevent);
        put(&format!("sys/class/net/{name}/address"), "52:54:00:00:00:0b\n");
    }
    put("sys/class/net/ens3/device/vendor", "0x1af4\n");
    put("sys/class/net/ens3/bonding_slave/perm_hwaddr", "52:54:00:00:00:01\n");
    put("sys/class/net/ens3/carrier", "1\n");
    put("sys/class/net/bonding_masters", "bond0\n");
    put("run/udev/data/n2", "I:1\nE:ID_PATH=pci-0000:00:03.0\n");
    put(
        "run/systemd/netif/links/3",
        "ADMIN_STATE=configured\nIPV4_ADDRESS_STATE=routable\nIPV6_ADDRESS_STATE=degraded\n",
    );
    let links = look(root.path()).unwrap();
    let names: Vec<&str> = links.iter().map(|link| link.name.as_str()).collect();
    assert_eq!(names, ["bond0", "ens3", "wg1"]);
    let [bond, ens3, wg1] = &links[..] else { panic!() };
    assert!(ens3.physical && ens3.carrier && !ens3.ipv4);
    assert_eq!(ens3.mac, Some("52:54:00:00:00:01".parse().unwrap()));
    assert_eq!(ens3.path.as_deref(), Some("pci-0000:00:03.0"));
    assert!(!bond.physical && !bond.carrier && bond.ipv4 && !bond.ipv6);
    assert!(!wg1.physical);
}
