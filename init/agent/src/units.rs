//! Asks systemd over D-Bus which units have failed or run, and restarts units (`org.freedesktop.systemd1`).

use std::io;
use std::time::Duration;

use zbus::OwnedObjectPath;

use crate::bus;

/// Why systemd did not answer.
#[derive(Debug, thiserror::Error)]
pub enum UnitsError {
    /// The bus does not answer.
    #[error("failed to reach systemd over D-Bus")]
    Bus(#[source] zbus::Error),
    /// The thread for the query could not be started.
    #[error("failed to start a thread")]
    Thread(#[source] io::Error),
    /// systemd did not answer in time.
    #[error("systemd did not answer in time")]
    Silent,
}

const SYSTEMD: &str = "org.freedesktop.systemd1";
const PATH: &str = "/org/freedesktop/systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";

/// A unit as `ListUnitsFiltered` and `ListUnitsByNames` describe it: name, description, load state, active state, sub state, following unit,
/// object path, job id, job type, job path.
type Unit = (String, String, String, String, String, String, OwnedObjectPath, u32, String, OwnedObjectPath);

/// Names of the failed units, sorted; waits for the message bus until `patience` is over.
pub fn failed(patience: Duration) -> Result<Vec<String>, UnitsError> {
    zbus::block_on(ask_failed(patience)).map_err(UnitsError::Bus)
}

async fn ask_failed(patience: Duration) -> zbus::Result<Vec<String>> {
    let bus = bus::connect(patience).await?;
    let reply =
        bus.call_method(Some(SYSTEMD), PATH, Some(MANAGER), "ListUnitsFiltered", &(vec!["failed"],)).await?;
    let units: Vec<Unit> = reply.body().deserialize()?;
    let mut names: Vec<String> = units.into_iter().map(|unit| unit.0).collect();
    names.sort();
    Ok(names)
}

/// Whether a unit runs; waits for the message bus until `patience` is over.
pub fn is_active(unit: &str, patience: Duration) -> Result<bool, UnitsError> {
    zbus::block_on(ask_active(unit, patience)).map_err(UnitsError::Bus)
}

async fn ask_active(unit: &str, patience: Duration) -> zbus::Result<bool> {
    let bus = bus::connect(patience).await?;
    let names = &(vec![unit],);
    let reply = bus.call_method(Some(SYSTEMD), PATH, Some(MANAGER), "ListUnitsByNames", names).await?;
    let units: Vec<Unit> = reply.body().deserialize()?;
    Ok(units.iter().any(|unit| unit.3 == "active"))
}

/// Starts a unit, or restarts it if it runs; does not wait until it runs.
pub fn restart(unit: &str, patience: Duration) -> Result<(), UnitsError> {
    zbus::block_on(ask_restart(unit, patience)).map_err(UnitsError::Bus)
}

async fn ask_restart(unit: &str, patience: Duration) -> zbus::Result<()> {
    let bus = bus::connect(patience).await?;
    let job = &(unit, "replace");
    bus.call_method(Some(SYSTEMD), PATH, Some(MANAGER), "RestartUnit", job).await.map(drop)
}
