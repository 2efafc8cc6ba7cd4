//! The state of the node's Ethernet devices, and what is missing for the declared interfaces.
//!
//! Facts come from sysfs (`Documentation/ABI/testing/sysfs-class-net`), udev's database, and the state files of networkd.
//! [`missing`] is pure; its messages name what an operator can check at the machine.

use std::fmt::{self, Display, Formatter};
use std::fs;
use std::io;
use std::path::Path;

use kubedos_wire::node::Underlay;
use kubedos_wire::printable;
use kubedos_wire::underlay::{Device, Link, UnderlayError, dhcp, links};
use kubedos_wire::value::{IfName, MacAddress};

/// The type of Ethernet devices in sysfs (`ARPHRD_ETHER`).
const ETHERNET: &str = "1";

/// A network device of the node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ObservedLink {
    /// Its name in the kernel.
    pub name: String,
    /// A device of the machine: Ethernet, with hardware behind it.
    pub physical: bool,
    /// The permanent hardware address; of other devices the current one.
    pub mac: Option<MacAddress>,
    /// `ID_PATH` of udev.
    pub path: Option<String>,
    /// The cable is plugged in, and the other end is up.
    pub carrier: bool,
    /// It has an IPv4 address that is not link-local.
    pub ipv4: bool,
    /// It has an IPv6 address that is not link-local.
    pub ipv6: bool,
    /// Its number, if networkd has a lease from DHCP for it.
    pub leased: Option<u32>,
}

/// What is missing for one interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// The interface; `None` if the spec declares none.
    pub interface: Option<IfName>,
    /// The problem.
    pub problem: Problem,
}

/// The problem of one interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Problem {
    /// No device matches. The first text is the match, the second one lists the devices.
    NoDevice(String, String),
    /// Several devices match; the text lists them.
    SeveralDevices(String),
    /// networkd has not created the VLAN or the bond yet.
    NotCreated,
    /// The device has no carrier; the text is its name.
    NoCarrier(String),
    /// The device has no address; the first text is its name, the second one the origin of the address.
    NoAddress(String, &'static str),
}

impl Problem {
    /// Whether networkd must not start because of it: addresses would appear on several devices.
    pub const fn is_ambiguous(&self) -> bool {
        matches!(self, Self::SeveralDevices(_))
    }
}

impl Display for Missing {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if let Some(interface) = &self.interface {
            write!(f, "{interface}: ")?;
        }
        match &self.problem {
            Problem::NoDevice(wanted, found) => write!(f, "no Ethernet device {wanted}; {found}"),
            Problem::SeveralDevices(found) => {
                write!(f, "several Ethernet devices match, add a match to the interface; {found}")
            }
            Problem::NotCreated => f.write_str("systemd-networkd has not created it yet"),
            Problem::NoCarrier(device) => {
                let device = printable::name(device);
                write!(f, "{device} has no carrier; check the cable and the port of the switch")
            }
            Problem::NoAddress(device, "DHCP") => {
                let device = printable::name(device);
                write!(f, "{device} has no address from DHCP; check the DHCP server and the VLAN of the port")
            }
            Problem::NoAddress(device, origin) => write!(
                f,
                "{} has no address from {origin}; systemd-networkd has not set it yet",
                printable::name(device)
            ),
        }
    }
}

/// What is missing for each declared interface, at most one problem for each. Empty if the underlay is complete.
pub fn missing(want: &Underlay, observed: &[ObservedLink]) -> Result<Vec<Missing>, UnderlayError> {
    let links = links(want)?;
    if links.is_empty() {
        return Ok(without_interfaces(observed)
            .map(|problem| Missing { interface: None, problem })
            .into_iter()
            .collect());
    }
    let problem = |link: &Link<'_>| {
        let problem = problem(link, observed)?;
        Some(Missing { interface: Some(link.interface.name.clone()), problem })
    };
    Ok(links.iter().filter_map(problem).collect())
}

/// Whether an interface takes the only device that exists, or the node every device: a device that appears later changes this.
pub fn takes_any_device(want: &Underlay) -> Result<bool, UnderlayError> {
    let links = links(want)?;
    Ok(links.is_empty() || links.iter().any(|link| matches!(link.device, Device::Only)))
}

/// The devices that have no address although networkd has a lease for them, with their numbers: the address was removed.
pub fn without_leased_address<'o>(missing: &[Missing], observed: &'o [ObservedLink]) -> Vec<(u32, &'o str)> {
    let lacking = |link: &&ObservedLink| {
        missing.iter().any(
            |missing| matches!(&missing.problem, Problem::NoAddress(device, "DHCP") if *device == link.name),
        )
    };
    let links = observed.iter().filter(lacking);
    links.filter_map(|link| Some((link.leased?, link.name.as_str()))).collect()
}

/// A node without interfaces needs one device with an address.
fn without_interfaces(observed: &[ObservedLink]) -> Option<Problem> {
    let devices = || observed.iter().filter(|link| link.physical);
    let (mode, any) = (dhcp::WITHOUT_INTERFACES, devices().find(|device| device.carrier));
    match (any, devices().next()) {
        (None, None) => Some(Problem::NoDevice("exists".into(), found(observed))),
        (None, Some(device)) => Some(Problem::NoCarrier(device.name.clone())),
        (Some(device), _) => {
            let addressed =
                devices().any(|device| (!mode.v4() || device.ipv4) && (!mode.v6() || device.ipv6));
            (!addressed).then(|| Problem::NoAddress(device.name.clone(), "DHCP"))
        }
    }
}

fn problem(link: &Link<'_>, observed: &[ObservedLink]) -> Option<Problem> {
    let name = link.interface.name.as_str();
    let matches = |device: &&ObservedLink| match link.device {
        Device::Only => device.physical,
        Device::Mac(mac) => device.physical && device.mac == Some(mac),
        Device::Path(path) => device.physical && device.path.as_deref() == Some(path),
        Device::Vlan(_) | Device::Bond(..) => !device.physical && device.name == name,
    };
    let mut devices = observed.iter().filter(matches);
    let device = match (devices.next(), devices.next()) {
        (Some(device), None) => device,
        (Some(_), Some(_)) => return Some(Problem::SeveralDevices(found(observed))),
        (None, _) => {
            let wanted = match link.device {
                Device::Only => "exists".into(),
                Device::Mac(mac) => format!("has MAC {mac}"),
                Device::Path(path) => format!("has the path {path}"),
                Device::Vlan(_) | Device::Bond(..) => return Some(Problem::NotCreated),
            };
            return Some(Problem::NoDevice(wanted, found(observed)));
        }
    };
    let (fixed, mode) = (&link.interface.addresses, link.dhcp);
    let carries_something = !fixed.is_empty() || mode.v4() || mode.v6() || !link.vlans.is_empty();
    // A bond works with one of its members, so a member without carrier is not missing.
    if link.bond.is_none() && carries_something && !device.carrier {
        return Some(Problem::NoCarrier(device.name.clone()));
    }
    let (v4, v6) =
        (fixed.iter().any(|own| own.address().is_ipv4()), fixed.iter().any(|own| own.address().is_ipv6()));
    let origin = |fixed: bool| if fixed { "the spec" } else { "DHCP" };
    match () {
        () if (v4 || mode.v4()) && !device.ipv4 => Some(Problem::NoAddress(device.name.clone(), origin(v4))),
        () if (v6 || mode.v6()) && !device.ipv6 => Some(Problem::NoAddress(device.name.clone(), origin(v6))),
        () => None,
    }
}

/// The Ethernet devices of the machine, for a message.
fn found(observed: &[ObservedLink]) -> String {
    let device = |link: &ObservedLink| {
        let mac = link.mac.map_or_else(String::new, |mac| format!(" {mac}"));
        let path = link.path.as_ref().map_or_else(String::new, |path| format!(" {}", printable::name(path)));
        format!("{}{mac}{path}", printable::name(&link.name))
    };
    let all: Vec<String> = observed.iter().filter(|link| link.physical).map(device).collect();
    if all.is_empty() {
        "found none; is its driver in the image?".into()
    } else {
        format!("found {}", all.join(", "))
    }
}

/// Observes the devices below `root`, sorted by name. A device that disappears meanwhile is left out.
pub fn observe(root: &Path) -> io::Result<Vec<ObservedLink>> {
    let folder = root.join("sys/class/net");
    let mut names = Vec::new();
    for entry in fs::read_dir(&folder)? {
        names.extend(entry?.file_name().into_string().ok()); // the kernel's names of interest are text
    }
    names.sort();
    let mut observed = Vec::new();
    for name in names {
        let device = folder.join(&name);
        if device.is_dir() {
            observed.extend(link(root, &device, name)?);
        }
    }
    Ok(observed)
}

/// What the kernel, udev and networkd write about one device. A DHCP server, a driver or another program may influence every
/// text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Texts<'t> {
    /// `type` in sysfs.
    pub kind: &'t str,
    /// `uevent` in sysfs.
    pub uevent: &'t str,
    /// `bonding_slave/perm_hwaddr` in sysfs; empty if the device is not a member of a bond.
    pub permanent: &'t str,
    /// `address` in sysfs.
    pub current: &'t str,
    /// `carrier` in sysfs.
    pub carrier: &'t str,
    /// The record of the device in udev's database.
    pub udev: &'t str,
    /// The state of the device in `/run/systemd/netif/links`.
    pub state: &'t str,
    /// Whether there is hardware behind it.
    pub hardware: bool,
}

/// Reads the texts. Unknown and repeated lines have no effect; the first line of a key counts.
pub fn read(name: String, texts: &Texts<'_>) -> ObservedLink {
    let routable = |key| value(texts.state, key) == Some("routable");
    let mac = if texts.permanent.trim_end().is_empty() { texts.current } else { texts.permanent };
    ObservedLink {
        physical: texts.kind.trim_end() == ETHERNET
            && value(texts.uevent, "DEVTYPE=").is_none()
            && texts.hardware,
        mac: mac.trim_end().parse().ok(),
        path: value(texts.udev, "E:ID_PATH=").map(str::to_owned),
        carrier: texts.carrier.trim_end() == "1",
        ipv4: routable("IPV4_ADDRESS_STATE="),
        ipv6: routable("IPV6_ADDRESS_STATE="),
        leased: None,
        name,
    }
}

fn link(root: &Path, device: &Path, name: String) -> io::Result<Option<ObservedLink>> {
    let Some(index) = line(&device.join("ifindex"))? else { return Ok(None) };
    let leased = root.join(format!("run/systemd/netif/leases/{index}")).exists();
    let texts = Texts {
        kind: &text(&device.join("type"))?,
        uevent: &text(&device.join("uevent"))?,
        permanent: &text(&device.join("bonding_slave/perm_hwaddr"))?,
        current: &text(&device.join("address"))?,
        carrier: &text(&device.join("carrier"))?,
        udev: &text(&root.join(format!("run/udev/data/n{index}")))?,
        state: &text(&root.join(format!("run/systemd/netif/links/{index}")))?,
        hardware: device.join("device").exists(),
    };
    Ok(Some(ObservedLink { leased: index.parse().ok().filter(|_| leased), ..read(name, &texts) }))
}

fn value<'t>(text: &'t str, key: &str) -> Option<&'t str> {
    text.lines().find_map(|line| line.strip_prefix(key))
}

fn line(path: &Path) -> io::Result<Option<String>> {
    let text = text(path)?;
    Ok(Some(text.trim_end().to_owned()).filter(|line| !line.is_empty()))
}

/// The content of a file; empty if it does not exist, or if the kernel does not have the value (`carrier` of a device that
/// is down gives `EINVAL`).
fn text(path: &Path) -> io::Result<String> {
    match fs::read(path) {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Err(error) => match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::InvalidInput | io::ErrorKind::NotADirectory => {
                Ok(String::new())
            }
            _ => Err(error),
        },
    }
}
