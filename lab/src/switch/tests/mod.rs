//! Tests of the whole switch, with sockets and with stations in this process. No test waits for a fixed time: a station
//! in this process has a frame when `send` returns, and a missing frame on a socket is shown by the frame after it.

mod capture;
mod faults;
mod forwarding;
mod path_mtu;
mod pcapng;
mod sockets;

use std::time::Duration;

use super::{Control, Port, PortStatus, Switch, SwitchOptions};

/// The maximum time for something that must happen.
const SOON: Duration = Duration::from_secs(30);

const BROADCAST: u8 = 0xff;

/// The address of station `number`; [`BROADCAST`] is broadcast, and other numbers from 0xf0 on are multicast groups.
fn address(number: u8) -> [u8; 6] {
    match number {
        BROADCAST => [0xff; 6],
        0xf0.. => [1, 0, 0x5e, 0, 0, number],
        _ => [2, 0, 0, 0, 0, number],
    }
}

fn frame(from: u8, to: u8, payload: &[u8]) -> Vec<u8> {
    [&address(to)[..], &address(from), &[0x88, 0xb5], payload].concat()
}

fn started() -> Switch {
    Switch::start(&SwitchOptions::default()).unwrap()
}

fn ports<const COUNT: usize>(switch: &Switch) -> [Port; COUNT] {
    std::array::from_fn(|index| switch.port(&format!("p{index}")).unwrap())
}

fn status(control: &Control, name: &str) -> PortStatus {
    control.status().ports.into_iter().find(|port| port.name == name).unwrap()
}
