//! Asks systemd over D-Bus which units have failed (`org.freedesktop.systemd1`, `ListUnitsFiltered`).
//!
//! It uses the socket of PID 1 itself, as systemctl(1) does for root. It exists before the message bus runs, and when the bus has
//! failed, which is when an operator asks.

use std::io;

use zbus::OwnedObjectPath;

/// Why systemd did not answer.
#[derive(Debug, thiserror::Error)]
pub enum UnitsError {
    /// The socket does not exist, or the reply is not valid.
    #[error("failed to reach systemd over D-Bus")]
    Bus(#[source] zbus::Error),
    /// The thread for the query could not be started.
    #[error("failed to start a thread")]
    Thread(#[source] io::Error),
    /// systemd did not answer in time.
    #[error("systemd did not answer in time")]
    Silent,
}

/// The socket of systemd; only root can connect.
const SOCKET: &str = "unix:path=/run/systemd/private";

/// A unit as `ListUnitsFiltered` describes it: name, description, load state, active state, sub state, following unit,
/// object path, job id, job type, job path.
type Unit = (String, String, String, String, String, String, OwnedObjectPath, u32, String, OwnedObjectPath);

/// Names of the failed units, sorted.
pub fn failed() -> Result<Vec<String>, UnitsError> {
    zbus::block_on(ask_failed()).map_err(UnitsError::Bus)
}

async fn ask_failed() -> zbus::Result<Vec<String>> {
    let systemd = zbus::connection::Builder::address(SOCKET).p2p().build().await?;
    let reply = systemd
        .call_method(
            None::<&str>, // there is no bus, so the receiver has no name
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
