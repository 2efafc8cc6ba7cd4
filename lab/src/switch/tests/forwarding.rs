//! Forwarding without faults is compared with a small model; with faults, its invariants are checked.

use std::collections::BTreeSet;
use std::time::Duration;

use proptest::prelude::*;

use super::{BROADCAST, address, frame, ports, started, status};
use crate::switch::forward::Forwarder;
use crate::switch::ports::{Kind, PortId, PortState};
use crate::switch::{AGING, Faults, MAX_FRAME, PortMode, Scope, VlanId};

const PORTS: usize = 5;
const STATIONS: u8 = 4;

#[derive(Debug, Clone)]
enum Step {
    Send { at: usize, source: u8, destination: u8, tag: Option<u16> },
    Wait { seconds: u64 },
    Mode { port: usize, mode: PortMode },
    Link { port: usize, up: bool },
    Attached { port: usize, attached: bool },
    Partition { apart: Vec<usize> },
}

fn mode() -> impl Strategy<Value = PortMode> {
    prop_oneof![
        3 => (1_u16..3).prop_map(|vlan| PortMode::Access(VlanId::new(vlan).unwrap())),
        1 => Just(PortMode::Trunk),
    ]
}

fn send() -> impl Strategy<Value = Step> {
    let destination = prop_oneof![4 => 0..STATIONS, 1 => Just(BROADCAST), 1 => Just(0xf1)];
    let tag = prop_oneof![3 => Just(None), 1 => (0_u16..4).prop_map(Some)];
    (0..PORTS, 0..STATIONS, destination, tag).prop_map(|(at, source, destination, tag)| Step::Send {
        at,
        source,
        destination,
        tag,
    })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => send(),
        1 => (0_u64..400).prop_map(|seconds| Step::Wait { seconds }),
        1 => (0..PORTS, mode()).prop_map(|(port, mode)| Step::Mode { port, mode }),
        1 => (0..PORTS, any::<bool>()).prop_map(|(port, up)| Step::Link { port, up }),
        1 => (0..PORTS, any::<bool>()).prop_map(|(port, attached)| Step::Attached { port, attached }),
        1 => prop::collection::vec(0..PORTS, 0..3).prop_map(|apart| Step::Partition { apart }),
    ]
}

/// A switch with the simplest possible code: it searches lists.
struct Model {
    modes: Vec<PortMode>,
    up: Vec<bool>,
    attached: Vec<bool>,
    apart: Vec<usize>,
    learned: Vec<(u16, u8, usize, u64)>,
    seconds: u64,
}

impl Model {
    fn new(modes: &[PortMode]) -> Self {
        Self {
            modes: modes.to_vec(),
            up: vec![true; PORTS],
            attached: vec![true; PORTS],
            apart: Vec::new(),
            learned: Vec::new(),
            seconds: 0,
        }
    }

    fn set(&self, port: usize) -> bool {
        self.apart.contains(&port)
    }

    fn forget(&mut self, port: usize) {
        self.learned.retain(|entry| entry.2 != port);
    }

    /// The ports to which a frame is forwarded, and its VLAN; no port for a refused frame.
    fn forward(&mut self, at: usize, source: u8, destination: u8, tag: Option<u16>) -> (u16, Vec<usize>) {
        let number = |mode| (1..=4094).find(|vlan| mode == PortMode::Access(VlanId::new(*vlan).unwrap()));
        let vlan = match (number(self.modes[at]), tag) {
            (Some(vlan), None | Some(0)) | (None, Some(vlan @ 1..)) => vlan,
            _ => return (0, Vec::new()),
        };
        if !self.up[at] {
            return (0, Vec::new());
        }
        self.learned.retain(|entry| (entry.0, entry.1) != (vlan, source));
        self.learned.push((vlan, source, at, self.seconds));
        let fresh = |entry: &&(u16, u8, usize, u64)| self.seconds - entry.3 < AGING.as_secs();
        let known = self.learned.iter().filter(fresh).find(|entry| (entry.0, entry.1) == (vlan, destination));
        let ports = match known {
            Some(entry) => vec![entry.2],
            None => (0..PORTS).collect(),
        };
        let carries = |port: &usize| [None, Some(vlan)].contains(&number(self.modes[*port]));
        (vlan, ports.into_iter().filter(|port| *port != at).filter(carries).collect())
    }

    /// The ports at which the frame leaves.
    fn deliver(&self, at: usize, ports: &[usize]) -> Vec<usize> {
        let delivered =
            |port: &&usize| self.up[**port] && self.attached[**port] && self.set(**port) == self.set(at);
        ports.iter().filter(delivered).copied().collect()
    }
}

fn forwarder(modes: &[PortMode]) -> Forwarder {
    let mut forwarder = Forwarder::new(7, AGING);
    for (index, mode) in modes.iter().enumerate() {
        let id = forwarder.add_port(&format!("p{index}"), Kind::InProcess).unwrap();
        forwarder.set_attached(id, true);
        forwarder.set_mode(id, *mode).unwrap();
    }
    forwarder
}

fn apply(forwarder: &mut Forwarder, step: &Step) {
    match step {
        Step::Mode { port, mode } => forwarder.set_mode(PortId(*port), *mode).unwrap(),
        Step::Link { port, up } => forwarder.set_link(PortId(*port), *up).unwrap(),
        Step::Attached { port, attached } => forwarder.set_attached(PortId(*port), *attached),
        Step::Partition { apart } => {
            let apart: Vec<PortId> = apart.iter().map(|port| PortId(*port)).collect();
            forwarder.partition(&[&apart]).unwrap();
        }
        Step::Send { .. } | Step::Wait { .. } => {}
    }
}

fn tagged(mut bytes: Vec<u8>, tag: Option<u16>) -> Vec<u8> {
    if let Some(tag) = tag {
        bytes.splice(12..12, [[0x81, 0], tag.to_be_bytes()].concat());
    }
    bytes
}

/// Every queued frame, with its port.
fn arrived(forwarder: &mut Forwarder) -> Vec<(usize, Vec<u8>)> {
    let mut all = Vec::new();
    for port in 0..PORTS {
        while let Some(bytes) = forwarder.port_mut(PortId(port)).unwrap().queue.pop() {
            all.push((port, bytes.to_vec()));
        }
    }
    all
}

/// The frames to a port that are accounted for: sent, dropped, or still on their way.
fn accounted(forwarder: &Forwarder, port: usize) -> u64 {
    let PortState { sent, dropped_out: out, faults, .. } = forwarder.port(PortId(port)).unwrap();
    let dropped = out.queue_full + out.detached + out.link_down + out.vlan + out.oversized;
    let waiting = forwarder.waiting_for(PortId(port)) as u64;
    sent.frames + dropped + faults.lost + faults.partitioned + faults.overflowed + faults.too_large + waiting
}

proptest! {
    #[test]
    fn frames_are_forwarded_as_by_the_model(modes in prop::collection::vec(mode(), PORTS), steps in prop::collection::vec(step(), 1..120)) {
        let (mut model, mut forwarder) = (Model::new(&modes), forwarder(&modes));
        let mut offered = [0_u64; PORTS];
        for (number, step) in steps.iter().enumerate() {
            apply(&mut forwarder, step);
            let mut expected = Vec::new();
            match step.clone() {
                Step::Send { at, source, destination, tag } => {
                    let untagged = frame(source, destination, &number.to_be_bytes());
                    let (vlan, ports) = model.forward(at, source, destination, tag);
                    ports.iter().for_each(|port| offered[*port] += 1);
                    for port in model.deliver(at, &ports) {
                        let tag = (model.modes[port] == PortMode::Trunk).then_some(vlan);
                        expected.push((port, tagged(untagged.clone(), tag)));
                    }
                    let now = Duration::from_secs(model.seconds);
                    forwarder.receive(now, PortId(at), &tagged(untagged, tag));
                }
                Step::Wait { seconds } => model.seconds += seconds,
                Step::Mode { port, mode } => {
                    model.modes[port] = mode;
                    model.forget(port);
                }
                Step::Link { port, up } => {
                    model.up[port] = up;
                    if !up {
                        model.forget(port);
                    }
                }
                Step::Attached { port, attached } => {
                    model.attached[port] = attached;
                    model.forget(port);
                }
                Step::Partition { apart } => model.apart = apart,
            }
            prop_assert_eq!(arrived(&mut forwarder), expected, "step {}", number);
        }
        for (port, offered) in offered.into_iter().enumerate() {
            prop_assert_eq!(accounted(&forwarder, port), offered, "port {}", port);
        }
    }

    #[test]
    fn faults_never_break_the_rules_of_forwarding(
        vlans in prop::collection::vec(1_u16..3, PORTS),
        steps in prop::collection::vec(prop_oneof![8 => send(), 1 => prop::collection::vec(0..PORTS, 0..3).prop_map(|apart| Step::Partition { apart })], 1..150),
        (loss_ppm, reorder_ppm, reorder_distance) in (0_u32..500_000, 0_u32..500_000, 1_u32..4),
        (delay, jitter, pace) in (0_u64..40, 0_u64..40, 0_u64..10),
        duplicate_ppm in prop_oneof![Just(0_u32), Just(300_000)],
    ) {
        let modes: Vec<PortMode> = vlans.iter().map(|vlan| PortMode::Access(VlanId::new(*vlan).unwrap())).collect();
        let (mut model, mut forwarder) = (Model::new(&modes), forwarder(&modes));
        let delay = Duration::from_millis(delay);
        let jitter = Duration::from_millis(jitter).min(delay);
        let faults = Faults { loss_ppm, delay, jitter, reorder_ppm, reorder_distance, duplicate_ppm };
        forwarder.set_faults(Scope::All, faults).unwrap();
        let (mut now, mut offered, mut sent_at) = (Duration::ZERO, [0_u64; PORTS], Vec::new());
        let mut seen = BTreeSet::new();
        let idle = Step::Wait { seconds: 1 };
        for (number, step) in steps.iter().chain([&idle]).enumerate() {
            apply(&mut forwarder, step);
            sent_at.push(0);
            match step.clone() {
                Step::Send { at, source, destination, .. } => {
                    let (_, ports) = model.forward(at, source, destination, None);
                    ports.iter().for_each(|port| offered[*port] += 1);
                    sent_at[number] = at;
                    forwarder.receive(now, PortId(at), &frame(source, destination, &number.to_be_bytes()));
                    now += Duration::from_millis(pace);
                }
                Step::Partition { apart } => model.apart = apart,
                _ => now += Duration::from_secs(1),
            }
            forwarder.advance(now);
            for (port, bytes) in arrived(&mut forwarder) {
                let number = usize::from_be_bytes(bytes[14..].try_into().unwrap());
                let from = sent_at[number];
                prop_assert_ne!(from, port, "frame {} came back", number);
                prop_assert_eq!(vlans[from], vlans[port], "frame {} left its VLAN", number);
                prop_assert_eq!(model.set(from), model.set(port), "frame {} crossed the partition", number);
                prop_assert!(seen.insert((port, number)) || duplicate_ppm > 0, "frame {} came twice", number);
            }
        }
        prop_assert_eq!(forwarder.next_due(), None, "frames are left after a second");
        for (port, offered) in offered.into_iter().enumerate() {
            let duplicated = forwarder.port(PortId(port)).unwrap().faults.duplicated;
            prop_assert_eq!(accounted(&forwarder, port), offered + duplicated, "port {}", port);
        }
    }
}

#[test]
fn invalid_frames_are_dropped_and_counted() {
    let switch = started();
    let [a, b] = ports(&switch);
    for length in [0, 13, MAX_FRAME + 1] {
        a.send(&vec![0; length]);
    }
    a.send(&tagged(frame(1, 2, b""), Some(9)));
    a.send(&frame(1, 1, b"to itself"));
    assert_eq!(b.try_receive(), None);
    let dropped = status(switch.control(), "p0").dropped_in;
    assert_eq!((dropped.runt, dropped.oversized, dropped.vlan, dropped.filtered), (2, 1, 1, 1));
    for length in [14, MAX_FRAME] {
        let bytes = [frame(1, 2, b""), vec![7; length - 14]].concat();
        a.send(&bytes);
        assert_eq!(b.try_receive(), Some(bytes));
    }
}

#[test]
fn a_source_that_is_a_group_is_not_learned() {
    let switch = started();
    let [a, b, c] = ports(&switch);
    a.send(&frame(BROADCAST, 2, b"invalid source"));
    assert_eq!(switch.control().status().addresses, 0);
    b.send(&frame(2, BROADCAST, b""));
    assert_eq!(c.receive(super::SOON).unwrap()[..6], address(2));
    assert_eq!(switch.control().status().addresses, 1);
}

#[test]
fn a_dropped_station_leaves_its_port_to_the_next_one() {
    let switch = started();
    let [a, b] = ports(&switch);
    let id = b.id();
    assert_eq!(switch.port("p1").unwrap_err().to_string(), "the switch already has a port `p1`");
    a.send(&frame(1, BROADCAST, b"not received"));
    drop(b);
    a.send(&frame(1, BROADCAST, b"no station"));
    let b = switch.port("p1").unwrap();
    assert_eq!((b.id(), b.try_receive()), (id, None));
    let out = status(switch.control(), "p1").dropped_out;
    assert_eq!((out.cleared, out.detached), (1, 1));
    a.send(&frame(1, BROADCAST, b"new"));
    assert_eq!(b.try_receive(), Some(frame(1, BROADCAST, b"new")));
}
