//! Finds out whether another machine uses an address that this node has on the underlay, and reports it. It changes nothing.
//!
//! The node keeps its address: everybody on the link can send a packet that claims it, so a node that gave way could be
//! taken off the network with one packet. Neither networkd nor the kernel checks declared addresses (`DuplicateAddressDetection=none`),
//! because both give way.
//!
//! The agent asks for each address when it is new, then every five minutes, and more often while there is a conflict. It
//! also hears the ARP packets of other machines. [`memory`] decides, [`kernel`] asks and listens. Nothing here listens on
//! a port.

mod kernel;
pub mod memory;
#[cfg(test)]
mod tests;

use std::thread;
use std::time::Duration;

use kubedos_base::console::{Console, Event, uptime};
use kubedos_wire::printable::chain;
use kubedos_wire::record::Outcome;
use kubedos_wire::stage::Stage;

use crate::board::Board;
use kernel::Kernel;
use memory::Conflicts;

/// The time between two looks at what has arrived.
const PAUSE: Duration = Duration::from_secs(1);

/// The time between two looks at the addresses of the node.
const ADDRESSES: Duration = Duration::from_secs(5);

/// Watches the addresses of the underlay without end. Conflicts are on the board, and in records.
pub fn watch(console: &Console, board: &Board) -> ! {
    let stage = Stage::Backplanes.name();
    let (mut conflicts, mut kernel, mut reported) = (Conflicts::default(), Kernel::default(), None);
    let mut look_at = Duration::ZERO;
    loop {
        thread::sleep(PAUSE);
        let now = uptime();
        let look = now >= look_at;
        if look {
            look_at = now.saturating_add(ADDRESSES);
        }
        if let Err(error) = kernel.round(&mut conflicts, look, now) {
            let text = chain(&error);
            if reported.as_ref() != Some(&text) {
                board.add_error(now, stage, text.clone());
            }
            reported = Some(text);
        }
        board.note(|facts| facts.conflicts = conflicts.present(now));
        if let Some(text) = conflicts.report(now) {
            console.emit(Event::new(stage, Outcome::Done).note(text));
        }
    }
}
