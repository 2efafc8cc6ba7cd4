//! The kernel's own cost: sends recorded messages and receives the answers, and does nothing else.
//!
//! The numbers of the devices in the messages are valid, because every network namespace counts from 1.

use std::error::Error;
use std::fs;
use std::path::Path;

use kubedos_sys::netlink::transport::{ToKernel, Transport};
use serde_json::{Value, json};

use crate::agent::RECORDED;
use crate::cost::{Cost, measured};

const ERROR: u16 = 2;
const DONE: u16 = 3;
/// `NLM_F_DUMP`: the message requests a list.
const DUMP: u16 = 0x300;
/// `NLM_F_REPLACE | NLM_F_EXCL` have the bits of `NLM_F_DUMP`; only requests for lists have both.
const FLAGS: usize = 6;

type Failure = Box<dyn Error>;

/// Sends the messages; returns the cost of all, and of those that change something.
pub fn measure(folder: &Path) -> Result<Value, Failure> {
    let recorded = fs::read(folder.join(RECORDED))?;
    let mut connections = [ToKernel::open(None)?, ToKernel::generic()?];
    let mut buffer = vec![0; 64 << 10];
    let (mut all, mut changes, mut messages) = (Cost::default(), Cost::default(), 0_u32);
    let mut rest = recorded.as_slice();
    while let Some((head, after)) = rest.split_first_chunk::<5>() {
        let [connection, length @ ..] = head;
        let length = usize::try_from(u32::from_le_bytes(*length))?;
        let (message, next) = after.split_at_checked(length).ok_or("a recorded message is cut")?;
        let connection = connections.get_mut(usize::from(*connection)).ok_or("no such connection")?;
        let is_list = half(message, FLAGS) & DUMP == DUMP;
        let ((), cost) = measured(|| exchange(connection, message, &mut buffer))?;
        all.add(cost);
        if !is_list {
            changes.add(cost);
        }
        messages += 1;
        rest = next;
    }
    Ok(json!({ "all": all.json(), "changes": changes.json(), "messages": messages, "bytes": recorded.len() }))
}

fn exchange(connection: &mut ToKernel, message: &[u8], buffer: &mut [u8]) -> Result<(), Failure> {
    connection.send(message)?;
    loop {
        let received = connection.receive(buffer)?;
        let mut rest = buffer.get(..received.length).ok_or("a datagram is too long")?;
        while let Some(length) = rest.first_chunk().map(|length| u32::from_ne_bytes(*length)) {
            match half(rest, 4) {
                DONE => return Ok(()),
                ERROR if rest.get(16..20) == Some(&[0; 4]) => return Ok(()),
                ERROR => return Err("the kernel refuses a recorded message".into()),
                _ => {}
            }
            rest = rest.get(usize::try_from(length)?.next_multiple_of(4)..).unwrap_or_default();
        }
    }
}

fn half(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..at + 2).and_then(|half| half.try_into().ok()).map_or(0, u16::from_ne_bytes)
}
