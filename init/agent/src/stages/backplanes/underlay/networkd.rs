//! Starts and controls systemd-networkd over D-Bus (`org.freedesktop.systemd1`, `org.freedesktop.network1`).
//!
//! networkd is started by `StartUnit` only: the image contains no file that lets the bus start it, and its socket starts
//! together with it.

use std::path::Path;
use std::time::Duration;

use zbus::OwnedObjectPath;

use crate::bus;

const UNIT: &str = "systemd-networkd.service";
/// It ends when udev has the events of all devices.
const COLDPLUG: &str = "systemd-udev-trigger.service";
/// It exists while udev processes events (`udevadm settle` waits for its end).
const QUEUE: &str = "/run/udev/queue";
const SYSTEMD: &str = "org.freedesktop.systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";
const SYSTEMD_PATH: &str = "/org/freedesktop/systemd1";
const NETWORKD: &str = "org.freedesktop.network1";
const NETWORKD_PATH: &str = "/org/freedesktop/network1";
const NETWORKD_MANAGER: &str = "org.freedesktop.network1.Manager";

/// How long the agent waits for the message bus, which starts after the agent.
const BUS_PATIENCE: Duration = Duration::from_secs(60);

/// Why networkd could not be asked or controlled.
#[derive(Debug, thiserror::Error)]
pub enum NetworkdError {
    /// systemd did not report the units.
    #[error("failed to ask systemd about a unit")]
    State(#[source] zbus::Error),
    /// systemd did not start networkd.
    #[error("failed to start systemd-networkd")]
    Start(#[source] zbus::Error),
    /// networkd did not read its files.
    #[error("systemd-networkd failed to read its files")]
    Reload(#[source] zbus::Error),
    /// networkd did not configure a device again.
    #[error("systemd-networkd failed to configure device {0} again")]
    Again(u32, #[source] zbus::Error),
}

/// What the underlay needs of networkd.
pub trait Networkd {
    /// Whether it is running.
    fn running(&self) -> Result<bool, NetworkdError>;
    /// Starts it.
    fn start(&self) -> Result<(), NetworkdError>;
    /// Makes it read its files again and reconfigure the links whose files changed.
    fn reload(&self) -> Result<(), NetworkdError>;
}

/// networkd on this system.
#[derive(Debug, Clone, Copy, Default)]
pub struct ThisSystem;

impl Networkd for ThisSystem {
    fn running(&self) -> Result<bool, NetworkdError> {
        zbus::block_on(is_active(UNIT)).map_err(NetworkdError::State)
    }

    fn start(&self) -> Result<(), NetworkdError> {
        zbus::block_on(start()).map_err(NetworkdError::Start)
    }

    fn reload(&self) -> Result<(), NetworkdError> {
        zbus::block_on(reload()).map_err(NetworkdError::Reload)
    }
}

/// Whether udev has processed the events of all devices that existed at the start.
pub fn coldplug_has_ended() -> Result<bool, NetworkdError> {
    Ok(zbus::block_on(is_active(COLDPLUG)).map_err(NetworkdError::State)? && !Path::new(QUEUE).exists())
}

/// A unit as `ListUnitsByNames` describes it; the fourth value is its active state.
type Unit = (String, String, String, String, String, String, OwnedObjectPath, u32, String, OwnedObjectPath);

async fn is_active(unit: &str) -> zbus::Result<bool> {
    let bus = bus::connect(BUS_PATIENCE).await?;
    let names = &(vec![unit],);
    let reply =
        bus.call_method(Some(SYSTEMD), SYSTEMD_PATH, Some(MANAGER), "ListUnitsByNames", names).await?;
    let units: Vec<Unit> = reply.body().deserialize()?;
    Ok(units.iter().any(|unit| matches!(unit.3.as_str(), "active" | "reloading")))
}

async fn start() -> zbus::Result<()> {
    let bus = bus::connect(BUS_PATIENCE).await?;
    let unit = &(UNIT, "replace");
    bus.call_method(Some(SYSTEMD), SYSTEMD_PATH, Some(MANAGER), "StartUnit", unit).await.map(drop)
}

async fn reload() -> zbus::Result<()> {
    let bus = bus::connect(BUS_PATIENCE).await?;
    bus.call_method(Some(NETWORKD), NETWORKD_PATH, Some(NETWORKD_MANAGER), "Reload", &()).await.map(drop)
}

/// Makes networkd configure a device from the start: its DHCP client asks every server.
pub fn configure_again(link: u32) -> Result<(), NetworkdError> {
    let failed = |error| NetworkdError::Again(link, error);
    let number = i32::try_from(link).map_err(|error| failed(zbus::Error::Failure(error.to_string())))?;
    zbus::block_on(reconfigure(number)).map_err(failed)
}

async fn reconfigure(link: i32) -> zbus::Result<()> {
    let bus = bus::connect(BUS_PATIENCE).await?;
    let (path, interface) = (NETWORKD_PATH, Some(NETWORKD_MANAGER));
    bus.call_method(Some(NETWORKD), path, interface, "ReconfigureLink", &(link,)).await.map(drop)
}
