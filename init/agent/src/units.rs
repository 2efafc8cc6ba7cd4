//! Asks systemd over D-Bus which units have failed (`org.freedesktop.systemd1`, `ListUnitsFiltered`).

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

/// A unit as `ListUnitsFiltered` describes it: name, description, load state, active state, sub state, following unit,
/// object path, job id, job type, job path.
type Unit = (String, String, String, String, String, String, OwnedObjectPath, u32, String, OwnedObjectPath);

/// Names of the failed units, sorted; waits for the message bus until `patience` is over.
pub fn failed(patience: Duration) -> Result<Vec<String>, UnitsError> {
    zbus::block_on(ask_failed(patience)).map_err(UnitsError::Bus)
}

async fn ask_failed(patience: Duration) -> zbus::Result<Vec<String>> {
    let bus = bus::connect(patience).await?;
    let reply = bus
        .call_method(
            Some("org.freedesktop.systemd1"),
            "/org/freedesktop/systemd1",
            Some("org.freedesktop.systemd1.Manager"),
            "ListUnitsFiltered",
            &(vec!["failed"],),
        )
        .await?;
    let units: Vec<Unit> = reply.body().deserialize()?;
    let mut names: Vec<String> = units.into_iter().map(|unit| unit.0).collect();
    names.sort();
    Ok(names)
}
