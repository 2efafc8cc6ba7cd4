//! The connection to the message bus. The bus starts after the agent, so the first attempts may fail.

use std::thread;
use std::time::{Duration, Instant};

/// Time between two attempts.
const PAUSE: Duration = Duration::from_millis(200);

/// Connects to the system bus; tries again until `patience` is over.
pub async fn connect(patience: Duration) -> zbus::Result<zbus::Connection> {
    let begun = Instant::now();
    loop {
        match zbus::Connection::system().await {
            Err(_) if begun.elapsed() < patience => thread::sleep(PAUSE),
            connection => return connection,
        }
    }
}
