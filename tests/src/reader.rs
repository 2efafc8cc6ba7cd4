//! A reader that gets only the serial log of a node and names its network faults, as an operator must be able to.
//!
//! It reads the records of the agent (`docs/console.md`) and nothing else: no status page, no state of the test. If a fault
//! test passes, the log names the cause.

use std::fmt::{self, Display, Formatter};

use kubedos_wire::record::{Outcome, Record};
use kubedos_wire::stage::Stage;

/// The cause of a fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// The device of an interface has no carrier.
    NoCarrier(String),
    /// No device matches an interface.
    LinkMissing(String),
    /// The device of an interface has no address.
    NoAddress(String),
    /// A node has no session on some planes; `all` if on none of them.
    Unreachable {
        /// The node.
        node: String,
        /// The names of the planes; empty with `all`.
        planes: Vec<String>,
        /// The node has no session on any plane.
        all: bool,
    },
    /// Two machines have the seed of a node.
    OneSeedTwice(String),
    /// Another machine uses an address of the node.
    AddressConflict(String),
    /// The RTC was not between the bounds.
    ClockRefused,
    /// Something that does not belong there was removed: a table, a route, an address or a peer.
    ForeignRemoved(&'static str),
    /// The firewall was not as planned and was loaded again.
    FirewallChanged,
    /// Another value of a plane was not as planned.
    PlaneChanged(String),
}

/// A fault, with the times of the records at its begin and at its end, in seconds since the kernel started.
#[derive(Debug, Clone, PartialEq)]
pub struct Named {
    /// What is wrong.
    pub cause: Cause,
    /// When it was reported.
    pub since: f64,
    /// When its end was reported; drift ends when it is reported.
    pub until: Option<f64>,
}

impl Display for Cause {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoCarrier(interface) => write!(f, "{interface} has no carrier"),
            Self::LinkMissing(interface) => write!(f, "no device matches {interface}"),
            Self::NoAddress(interface) => write!(f, "{interface} has no address"),
            Self::Unreachable { node, all: true, .. } => write!(f, "{node} is not reachable on any plane"),
            Self::Unreachable { node, planes, .. } => {
                write!(f, "{node} is not reachable on {}", planes.join(", "))
            }
            Self::OneSeedTwice(node) => write!(f, "two machines have the seed of {node}"),
            Self::AddressConflict(address) => write!(f, "another machine uses {address}"),
            Self::ClockRefused => f.write_str("the time of the RTC was refused"),
            Self::ForeignRemoved(what) => write!(f, "a foreign {what} was removed"),
            Self::FirewallChanged => f.write_str("the firewall was changed"),
            Self::PlaneChanged(change) => write!(f, "a plane was changed: {change}"),
        }
    }
}

/// The network faults in the log of one node, in order.
pub fn faults(log: &str) -> Vec<Named> {
    let mut reader = Reader::default();
    for record in log.lines().filter_map(Record::find) {
        if record.stage == Stage::Backplanes.name() {
            reader.read(&record);
        }
    }
    reader.0
}

#[derive(Debug, Default)]
struct Reader(Vec<Named>);

impl Reader {
    fn read(&mut self, record: &Record) {
        let note = record.note.as_deref().unwrap_or_default();
        match (record.outcome, record.on.as_deref()) {
            // A new boot, or a new agent: it reports again what is still wrong.
            (Outcome::Started, _) => self.end(record.t, |_| true),
            (Outcome::Waiting, Some("peers")) => self.peers(note, record.t),
            (Outcome::Waiting, Some("underlay")) => self.underlay(note, record.t),
            (Outcome::Retry, _) => {
                let error = record.error.as_deref().unwrap_or_default();
                if let Some(missing) = error.strip_prefix("the underlay is incomplete: ") {
                    self.underlay(missing, record.t);
                }
            }
            (Outcome::Done | Outcome::Unchanged, _) => {
                self.end(record.t, Cause::is_underlay);
                if let Some((node, _)) =
                    note.strip_prefix("packets of ").and_then(|rest| rest.split_once(" arrive from "))
                {
                    self.begin(Cause::OneSeedTwice(node.into()), record.t);
                } else if let Some(changes) = note.strip_prefix("drift repaired: ") {
                    self.drift(changes, record.t);
                } else if let Some(conflicts) = note.strip_prefix("address conflict: ") {
                    self.conflicts(conflicts, record.t);
                } else {
                    self.peers(note, record.t);
                }
            }
            _ => {}
        }
        if note.contains("clock from the lower bound") {
            self.begin(Cause::ClockRefused, record.t);
        }
    }

    /// A fault that lasts is noted once.
    fn begin(&mut self, cause: Cause, since: f64) {
        if !self.0.iter().any(|named| named.cause == cause && named.until.is_none()) {
            self.0.push(Named { cause, since, until: None });
        }
    }

    fn end(&mut self, until: f64, of: impl Fn(&Cause) -> bool) {
        for named in self.0.iter_mut().filter(|named| named.until.is_none() && of(&named.cause)) {
            named.until = Some(until);
        }
    }

    /// `uplink: ens3 has no carrier; …`, at most one part for each interface.
    fn underlay(&mut self, missing: &str, at: f64) {
        let mut interface = "the machine".to_owned();
        for part in missing.split("; ") {
            let text = match part.split_once(": ") {
                Some((name, text)) if !name.contains(' ') => {
                    interface = name.to_owned();
                    text
                }
                _ => part,
            };
            if text.contains("has no carrier") {
                self.begin(Cause::NoCarrier(interface.clone()), at);
            } else if text.starts_with("no Ethernet device") {
                self.begin(Cause::LinkMissing(interface.clone()), at);
            } else if text.contains("has no address from") {
                self.begin(Cause::NoAddress(interface.clone()), at);
            }
        }
    }

    /// `no session with w-1 on all planes, last handshake 190 s ago, w-2 on wg2, no handshake yet; again sessions with w-3 on wg1`.
    fn peers(&mut self, note: &str, at: f64) {
        for part in note.split("; ") {
            if let Some(list) = part.strip_prefix("no session with ") {
                for (node, planes) in nodes(list) {
                    let all = planes == ["all planes"];
                    let planes = if all { vec![] } else { planes };
                    self.begin(Cause::Unreachable { node, planes, all }, at);
                }
            } else if let Some(list) = part.strip_prefix("again sessions with ") {
                for (back, _) in nodes(list) {
                    self.end(at, |cause| matches!(cause, Cause::Unreachable { node, .. } if *node == back));
                }
            }
        }
    }

    /// `192.168.77.11 of ens3 is also used by 52:54:…; …, 192.168.77.12 is no longer used by another machine`.
    fn conflicts(&mut self, list: &str, at: f64) {
        for part in list.split(", ") {
            let address = part.split(' ').next().unwrap_or_default();
            let cause = Cause::AddressConflict(address.to_owned());
            if part.contains(" is also used by ") {
                self.begin(cause, at);
            } else if part.ends_with("is no longer used by another machine") {
                self.end(at, |known| *known == cause);
            }
        }
    }

    fn drift(&mut self, changes: &str, at: f64) {
        for change in changes.split(", ") {
            let foreign = [
                ("remove the foreign address", "address"),
                ("remove the foreign route", "route"),
                ("remove the unknown peer", "peer"),
                ("remove foreign tables", "table"),
            ];
            let mut found = foreign.into_iter().filter(|(text, _)| change.contains(text)).peekable();
            if found.peek().is_some() {
                found.for_each(|(_, what)| self.begin(Cause::ForeignRemoved(what), at));
            } else if change.starts_with("load the firewall") {
                self.begin(Cause::FirewallChanged, at);
            } else if change.starts_with("wg") {
                self.begin(Cause::PlaneChanged(change.to_owned()), at);
            }
        }
        self.end(at, |cause| {
            matches!(cause, Cause::ForeignRemoved(_) | Cause::FirewallChanged | Cause::PlaneChanged(_))
        });
    }
}

impl Cause {
    fn is_underlay(&self) -> bool {
        matches!(self, Self::NoCarrier(_) | Self::LinkMissing(_) | Self::NoAddress(_))
    }
}

/// The nodes and their planes; parts of the list that name no node are ages and numbers.
fn nodes(list: &str) -> Vec<(String, Vec<String>)> {
    let node = |part: &str| {
        let (node, planes) = part.split_once(" on ")?;
        let planes = if planes == "all planes" {
            vec![planes.to_owned()]
        } else {
            planes.split(' ').map(str::to_owned).collect()
        };
        Some((node.to_owned(), planes))
    };
    list.split(", ").filter_map(node).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(outcome: Outcome, change: impl FnOnce(&mut Record)) -> String {
        let mut record = Record::new(7, 100.0, Stage::Backplanes.name(), outcome);
        change(&mut record);
        format!("[  100.0] {}\n", record.line())
    }

    fn note(outcome: Outcome, on: Option<&str>, note: &str) -> String {
        record(outcome, |record| {
            record.on = on.map(str::to_owned);
            record.note = Some(note.to_owned());
        })
    }

    fn names(log: &str) -> Vec<(String, bool)> {
        faults(log).into_iter().map(|named| (named.cause.to_string(), named.until.is_some())).collect()
    }

    #[test]
    fn every_cause_is_named() {
        let incomplete = record(Outcome::Retry, |record| {
            record.error =
                Some("the underlay is incomplete: uplink: ens3 has no carrier; check the cable and the port of the switch; storage: no Ethernet device with the MAC 52:54:00:00:00:07; found ens3".into());
        });
        let lost = "no session with cp-1 on all planes, last handshake 190 s ago, w-2 on wg1 wg2, no handshake yet, and 4 more nodes";
        for (log, expected) in [
            (incomplete, vec!["uplink has no carrier", "no device matches storage"]),
            (
                note(Outcome::Waiting, Some("peers"), lost),
                vec!["cp-1 is not reachable on any plane", "w-2 is not reachable on wg1, wg2"],
            ),
            (
                note(
                    Outcome::Done,
                    None,
                    "62 rules in force; clock from the lower bound, because the RTC is 9 days behind it",
                ),
                vec!["the time of the RTC was refused"],
            ),
            (
                note(
                    Outcome::Done,
                    None,
                    "address conflict: 192.168.77.11 of ens3 is also used by 52:54:00:00:00:63; give that machine or this node another address",
                ),
                vec!["another machine uses 192.168.77.11"],
            ),
        ] {
            let expected: Vec<_> = expected.into_iter().map(|text| (text.to_owned(), false)).collect();
            assert_eq!(names(&log), expected, "{log}");
        }
        let drift = "drift repaired: load the firewall: the chain input differs, remove foreign tables: foreign, wg1: remove the foreign address 10.101.0.77/32, wg1: remove the foreign route to 198.51.100.0/24, wg2: remove the unknown peer BwcHBwcHBw…";
        let expected =
            ["table", "address", "route", "peer"].map(|what| format!("a foreign {what} was removed"));
        let found: Vec<String> =
            names(&note(Outcome::Done, None, drift)).into_iter().map(|named| named.0).collect();
        assert_eq!(found.first().unwrap(), "the firewall was changed");
        assert_eq!(found.get(1..).unwrap(), expected);
    }

    #[test]
    fn the_end_of_a_fault_is_read() {
        let carrier = record(Outcome::Retry, |record| {
            record.error =
                Some("the underlay is incomplete: uplink: ens3 has no carrier; check the cable".into());
        });
        let end = note(Outcome::Done, None, "drift repaired: the error no longer occurs");
        let lost = note(
            Outcome::Waiting,
            Some("peers"),
            "no session with w-1 on all planes, last handshake 185 s ago",
        );
        let back = note(Outcome::Done, None, "again sessions with w-1 on all planes");
        let conflict = note(
            Outcome::Done,
            None,
            "address conflict: 192.168.77.11 of ens3 is also used by 52:54:00:00:00:63; give it another",
        );
        let gone =
            note(Outcome::Done, None, "address conflict: 192.168.77.11 is no longer used by another machine");
        let log = [carrier.clone(), carrier, end, lost, back, conflict, gone].concat();
        let expected = [
            "uplink has no carrier",
            "w-1 is not reachable on any plane",
            "another machine uses 192.168.77.11",
        ];
        assert_eq!(names(&log), expected.map(|text| (text.to_owned(), true)));
    }

    /// Only records count, and only the first in a line: other text in the log names nothing.
    #[test]
    fn a_healthy_log_names_nothing() {
        let healthy =
            note(Outcome::Done, None, "62 rules in force, wg1 10.101.0.1 (2 peers); clock from the RTC");
        let text = "uplink: ens3 has no carrier\nno session with w-1 on all planes\n";
        assert_eq!(faults(&[&healthy, text].concat()), []);
    }
}
