//! Faults of a running switch.

use std::time::{Duration, Instant};

use super::{BROADCAST, SOON, frame, ports, started, status};
use crate::switch::forward::Forwarder;
use crate::switch::ports::{Kind, PortId};
use crate::switch::{
    AGING, CERTAIN, Faults, MAX_QUEUED_FRAMES, PortMode, Scope, Switch, SwitchOptions, VlanId,
};

/// Which of 200 frames arrive.
fn survivors(seed: u64) -> Vec<u8> {
    let switch = Switch::start(&SwitchOptions { seed, ..SwitchOptions::default() }).unwrap();
    let [a, b, c] = ports(&switch);
    let pair = Scope::Pair { from: a.id(), to: b.id() };
    switch.control().set_faults(pair, Faults { loss_ppm: 300_000, ..Faults::default() }).unwrap();
    for number in 0..200 {
        a.send(&frame(1, BROADCAST, &[number]));
        // Other traffic does not change the decisions.
        c.send(&frame(3, BROADCAST, &[number]));
        assert_eq!(c.try_receive(), Some(frame(1, BROADCAST, &[number])), "the fault is for one pair");
    }
    let from_a = |bytes: Vec<u8>| (bytes[11] == 1).then(|| bytes[14]);
    let frames: Vec<Vec<u8>> = std::iter::from_fn(|| b.try_receive()).collect();
    let frames: Vec<u8> = frames.into_iter().filter_map(from_a).collect();
    assert_eq!(status(switch.control(), "p1").faults.lost, 200 - frames.len() as u64);
    assert_eq!(switch.control().status().faults.lost, 200 - frames.len() as u64);
    frames
}

#[test]
fn a_seed_repeats_the_same_loss() {
    let first = survivors(1);
    assert!((100..180).contains(&first.len()), "{} of 200", first.len());
    assert_eq!(first, survivors(1));
    assert_ne!(first, survivors(2));
}

#[test]
fn a_delayed_frame_arrives_after_its_delay() {
    let switch = started();
    let [a, b] = ports(&switch);
    let delay = Duration::from_millis(40);
    switch.control().set_faults(Scope::All, Faults { delay, ..Faults::default() }).unwrap();
    let start = Instant::now();
    a.send(&frame(1, BROADCAST, b"late"));
    assert_eq!(b.receive(SOON), Some(frame(1, BROADCAST, b"late")));
    assert!(start.elapsed() >= delay);
    assert_eq!(status(switch.control(), "p1").faults.delayed, 1);
}

#[test]
fn a_partition_keeps_frames_in_their_set() {
    let switch = started();
    let [a, b, c] = ports(&switch);
    let control = switch.control();
    control.partition(&[&[a.id(), c.id()]]).unwrap();
    a.send(&frame(1, BROADCAST, b"apart"));
    assert_eq!((b.try_receive(), c.try_receive()), (None, Some(frame(1, BROADCAST, b"apart"))));
    b.send(&frame(2, 1, b"apart"));
    assert_eq!((a.try_receive(), c.try_receive()), (None, None));
    control.heal();
    b.send(&frame(2, 1, b"together"));
    assert_eq!(a.try_receive(), Some(frame(2, 1, b"together")));
    let [a, b] = ["p0", "p1"].map(|name| status(control, name).faults.partitioned);
    assert_eq!((a, b), (1, 1));
}

#[test]
fn partition_link_and_vlan_apply_to_frames_that_are_on_their_way() {
    type Change = fn(&mut Forwarder, PortId);
    let changes: [(&str, Change); 4] = [
        ("partition", |forwarder, b| forwarder.partition(&[&[b]]).unwrap()),
        ("link", |forwarder, b| forwarder.set_link(b, false).unwrap()),
        ("mode", |forwarder, b| forwarder.set_mode(b, PortMode::Access(VlanId::new(2).unwrap())).unwrap()),
        ("station", |forwarder, b| forwarder.set_attached(b, false)),
    ];
    for (name, change) in changes {
        let mut forwarder = Forwarder::new(0, AGING);
        let [a, b] = ["a", "b"].map(|name| forwarder.add_port(name, Kind::InProcess).unwrap());
        forwarder.set_attached(b, true);
        let delay = Duration::from_millis(20);
        forwarder.set_faults(Scope::All, Faults { delay, ..Faults::default() }).unwrap();
        forwarder.receive(Duration::ZERO, a, &frame(1, BROADCAST, b"first"));
        forwarder.advance(delay);
        assert!(forwarder.port_mut(b).unwrap().queue.pop().is_some(), "{name}");
        forwarder.receive(delay, a, &frame(1, BROADCAST, b"second"));
        change(&mut forwarder, b);
        forwarder.advance(delay * 2);
        let port = forwarder.port(b).unwrap();
        assert!(port.queue.is_empty(), "{name}");
        let out = port.dropped_out;
        assert_eq!(port.faults.partitioned + out.link_down + out.vlan + out.detached, 1, "{name}");
    }
}

#[test]
fn a_duplicated_frame_arrives_twice_and_a_held_frame_is_overtaken() {
    let switch = started();
    let [a, b] = ports(&switch);
    let control = switch.control();
    control.set_faults(Scope::All, Faults { duplicate_ppm: CERTAIN, ..Faults::default() }).unwrap();
    a.send(&frame(1, BROADCAST, b"twice"));
    assert_eq!(
        [b.try_receive(), b.try_receive()],
        [Some(frame(1, BROADCAST, b"twice")), Some(frame(1, BROADCAST, b"twice"))]
    );
    let held = Faults { reorder_ppm: CERTAIN, reorder_distance: 2, ..Faults::default() };
    control.set_faults(Scope::All, held).unwrap();
    a.send(&frame(1, BROADCAST, &[1]));
    control.clear_faults();
    for number in 2..5 {
        a.send(&frame(1, BROADCAST, &[number]));
    }
    let order: Vec<u8> = (0..4).filter_map(|_| b.receive(SOON)).map(|bytes| bytes[14]).collect();
    // A busy host may let the hold time pass before the next frame.
    assert!(order == [2, 3, 1, 4] || order == [1, 2, 3, 4] || order == [2, 1, 3, 4], "{order:?}");
    assert_eq!(b.try_receive(), None);
    let faults = status(control, "p1").faults;
    assert_eq!((faults.duplicated, faults.reordered), (1, 1));
}

#[test]
fn a_link_that_is_down_carries_no_frame_in_either_direction() {
    let switch = started();
    let [a, b] = ports(&switch);
    let control = switch.control();
    control.set_link(b.id(), false).unwrap();
    a.send(&frame(1, BROADCAST, b"to b"));
    b.send(&frame(2, BROADCAST, b"from b"));
    assert_eq!((a.try_receive(), b.try_receive()), (None, None));
    let port = status(control, "p1");
    assert_eq!((port.dropped_in.link_down, port.dropped_out.link_down, port.link_up), (1, 1, false));
    control.set_link(b.id(), true).unwrap();
    a.send(&frame(1, BROADCAST, b"up"));
    assert_eq!(b.try_receive(), Some(frame(1, BROADCAST, b"up")));
}

#[test]
fn a_station_that_takes_no_frames_does_not_stop_the_others() {
    let switch = started();
    let [a, b, c] = ports(&switch);
    for number in 0..3000_u16 {
        let bytes = frame(1, BROADCAST, &number.to_be_bytes());
        a.send(&bytes);
        assert_eq!(c.try_receive(), Some(bytes));
    }
    let port = status(switch.control(), "p1");
    assert_eq!((port.queued, port.sent.frames), (MAX_QUEUED_FRAMES, MAX_QUEUED_FRAMES as u64));
    assert_eq!(port.dropped_out.queue_full, 3000 - MAX_QUEUED_FRAMES as u64);
    // It gets the oldest frames.
    assert_eq!(b.try_receive(), Some(frame(1, BROADCAST, &[0, 0])));
}

#[test]
fn a_port_of_another_switch_is_refused() {
    let (one, other) = (started(), started());
    let [_a, b] = ports(&one);
    let control = other.control();
    let pair = Scope::Pair { from: b.id(), to: b.id() };
    assert!(control.set_faults(pair, Faults::default()).is_err());
    assert!(control.partition(&[&[b.id()]]).is_err());
    assert_eq!(control.set_link(b.id(), true).unwrap_err().to_string(), "the switch has no such port");
}

#[test]
fn the_status_serializes() {
    let switch = started();
    let [a, _b] = ports(&switch);
    a.send(&frame(1, BROADCAST, b"x"));
    let status = serde_json::to_value(switch.control().status()).unwrap();
    assert_eq!(status["ports"][0]["name"], "p0");
    assert_eq!(status["ports"][0]["mode"]["access"], 1);
    assert_eq!(status["ports"][1]["sent"]["frames"], 1);
    assert_eq!(status["faults"]["lost"], 0);
    assert!(status["capture"].is_null());
}
