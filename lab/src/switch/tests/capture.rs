//! The capture: its format, its end at a limit or on a full disk, and what it contains of faults.

use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use proptest::prelude::*;

use super::pcapng::{Captured, read};
use super::{BROADCAST, frame, ports, started};
use crate::switch::capture::{Capture, CaptureOptions, Side, Sink};
use crate::switch::forward::Forwarder;
use crate::switch::ports::{Kind, PortId};
use crate::switch::{AGING, CERTAIN, CaptureState, Faults, Scope};

/// A file on a disk with this much space.
#[derive(Debug, Clone)]
struct Disk {
    bytes: Arc<Mutex<Vec<u8>>>,
    space: usize,
}

impl Disk {
    fn new(space: usize) -> Self {
        Self { bytes: Arc::default(), space }
    }

    fn content(&self) -> Vec<u8> {
        self.bytes.lock().unwrap().clone()
    }
}

impl Write for Disk {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut content = self.bytes.lock().unwrap();
        let count = bytes.len().min(self.space - content.len());
        if count == 0 && !bytes.is_empty() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        content.extend_from_slice(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Sink for Disk {
    fn truncate(&mut self, length: u64) -> io::Result<()> {
        self.bytes.lock().unwrap().truncate(usize::try_from(length).unwrap());
        Ok(())
    }
}

fn options(file: &Path, max_bytes: u64) -> CaptureOptions {
    CaptureOptions { file: file.to_owned(), max_bytes, outbound: false }
}

fn on_disk(disk: &Disk, max_bytes: u64) -> Capture {
    let epoch = Duration::from_secs(1_700_000_000);
    Capture::new(Box::new(disk.clone()), &options(Path::new("disk"), max_bytes), epoch).unwrap()
}

fn contents(file: &Path) -> Vec<Captured> {
    read(&std::fs::read(file).unwrap()).frames
}

proptest! {
    #[test]
    fn a_reader_finds_what_was_written(frames in prop::collection::vec((0_usize..3, 0_u64..10_000_000_000, prop::collection::vec(any::<u8>(), 0..70), prop::option::of("[ -~]{0,20}"), 0_usize..3), 0..20)) {
        let disk = Disk::new(usize::MAX);
        let mut capture = on_disk(&disk, u64::MAX);
        let names = ["a", "b.c", "port-with-a-long-name"];
        names.iter().for_each(|name| capture.port(name));
        let mut expected = Vec::new();
        for (port, time, bytes, comment, side) in frames {
            let side = [Side::Inbound, Side::Outbound, Side::Dropped][side];
            capture.frame(Duration::from_nanos(time), PortId(port), side, &bytes, comment.as_deref());
            let group = bytes.len() >= 6 && bytes[0] & 1 == 1;
            let broadcast = bytes.starts_with(&[0xff; 6]);
            let reception = if broadcast { 3 } else if group { 2 } else { 1 };
            expected.push(Captured {
                interface: format!("{}{}", names[port], if side == Side::Dropped { "/dropped" } else { "" }),
                nanoseconds: 1_700_000_000_000_000_000 + time,
                bytes,
                comment,
                flags: reception << 2 | if side == Side::Inbound { 1 } else { 2 },
            });
        }
        let content = disk.content();
        prop_assert_eq!(capture.status().bytes, content.len() as u64);
        prop_assert_eq!(capture.status().frames, expected.len() as u64);
        let contents = read(&content);
        prop_assert_eq!(contents.interfaces, ["a", "a/dropped", "b.c", "b.c/dropped", "port-with-a-long-name", "port-with-a-long-name/dropped"]);
        prop_assert_eq!(contents.frames, expected);
    }

    #[test]
    fn a_full_disk_or_a_limit_ends_the_file_after_a_whole_block(space in 60_usize..4000, full in any::<bool>(), count in 0_usize..60) {
        let disk = Disk::new(if full { space } else { usize::MAX });
        let mut capture = on_disk(&disk, if full { u64::MAX } else { space as u64 });
        capture.port("a");
        for _ in 0..count {
            capture.frame(Duration::ZERO, PortId(0), Side::Inbound, &[1; 33], None);
        }
        let contents = read(&disk.content());
        let status = capture.status();
        prop_assert!(status.bytes <= space as u64);
        prop_assert_eq!(status.frames, contents.frames.len() as u64);
        prop_assert_eq!(status.frames + status.omitted, count as u64);
        prop_assert_eq!(status.bytes, disk.content().len() as u64);
        match &status.state {
            CaptureState::Running => prop_assert_eq!(status.omitted, 0),
            CaptureState::LimitReached => prop_assert!(!full),
            CaptureState::Failed(message) => prop_assert!(full && message.contains("no storage space")),
            CaptureState::Stopped => prop_assert!(false, "not stopped"),
        }
    }
}

#[test]
fn a_full_disk_does_not_stop_the_forwarding() {
    let mut forwarder = Forwarder::new(0, AGING);
    let [a, b] = ["a", "b"].map(|name| forwarder.add_port(name, Kind::InProcess).unwrap());
    forwarder.set_attached(b, true);
    let disk = Disk::new(600);
    forwarder.use_capture(on_disk(&disk, u64::MAX));
    for number in 0..100 {
        let bytes = frame(1, BROADCAST, &[number]);
        forwarder.receive(Duration::ZERO, a, &bytes);
        assert_eq!(forwarder.port_mut(b).unwrap().queue.pop().as_deref(), Some(&bytes[..]));
    }
    let status = forwarder.status(Duration::ZERO, None).capture.unwrap();
    assert!(matches!(status.state, CaptureState::Failed(_)), "{status:?}");
    assert_eq!(status.frames + status.omitted, 100);
    assert_eq!(read(&disk.content()).frames.len() as u64, status.frames);
}

#[test]
fn a_capture_of_a_running_switch_is_readable_and_shows_faults() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("capture.pcapng");
    let switch = started();
    let [a, b] = ports(&switch);
    let control = switch.control();
    let now = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos();
    let before = now();
    control.start_capture(&options(&file, 1 << 20)).unwrap();
    let late = switch.port("late").unwrap();
    a.send(&frame(1, 9, b"plain"));
    let to_b = Scope::Pair { from: a.id(), to: b.id() };
    control.set_faults(to_b, Faults { loss_ppm: CERTAIN, ..Faults::default() }).unwrap();
    a.send(&frame(1, 9, b"lost"));
    control.set_faults(to_b, Faults { duplicate_ppm: CERTAIN, ..Faults::default() }).unwrap();
    a.send(&frame(1, 9, b"twice"));
    control.clear_faults();
    control.partition(&[&[b.id()]]).unwrap();
    late.send(&frame(3, 1, b"unicast"));
    late.send(&frame(3, BROADCAST, b"apart"));
    let frames = contents(&file);
    let seen: Vec<(&str, &[u8], Option<&str>, u32)> = frames
        .iter()
        .map(|frame| {
            (frame.interface.as_str(), &frame.bytes[14..], frame.comment.as_deref(), frame.flags & 3)
        })
        .collect();
    assert_eq!(
        seen,
        [
            ("p0", &b"plain"[..], None, 1),
            ("p0", b"lost", None, 1),
            ("p1/dropped", b"lost", Some("from=p0 lost"), 2),
            ("p0", b"twice", None, 1),
            ("p1", b"twice", Some("from=p0 duplicate"), 2),
            ("late", b"unicast", None, 1),
            ("late", b"apart", None, 1),
            ("p1/dropped", b"apart", Some("from=late partitioned"), 2),
        ]
    );
    assert!(frames.is_sorted_by_key(|frame| frame.nanoseconds));
    // The clock may be adjusted while the test runs.
    assert!(u128::from(frames[0].nanoseconds) + 5_000_000_000 > before);
    assert!(u128::from(frames[0].nanoseconds) < now() + 5_000_000_000);
    control.stop_capture();
    a.send(&frame(1, 9, b"after the end"));
    assert_eq!(contents(&file), frames);
    assert_eq!(control.status().capture.unwrap().state, CaptureState::Stopped);
}

#[test]
fn a_delayed_or_held_frame_has_its_delay_in_the_comment() {
    let mut forwarder = Forwarder::new(0, AGING);
    let [a, b] = ["a", "b"].map(|name| forwarder.add_port(name, Kind::InProcess).unwrap());
    forwarder.set_attached(b, true);
    let disk = Disk::new(usize::MAX);
    forwarder.use_capture(on_disk(&disk, u64::MAX));
    let milliseconds = Duration::from_millis;
    forwarder.set_faults(Scope::All, Faults { delay: milliseconds(5), ..Faults::default() }).unwrap();
    forwarder.receive(milliseconds(1), a, &frame(1, 9, b"1"));
    let held = Faults { reorder_ppm: CERTAIN, reorder_distance: 1, ..Faults::default() };
    forwarder.set_faults(Scope::All, held).unwrap();
    forwarder.receive(milliseconds(7), a, &frame(1, 9, b"2"));
    forwarder.advance(milliseconds(200));
    let outbound: Vec<_> =
        read(&disk.content()).frames.into_iter().filter(|frame| frame.interface == "b").collect();
    let comments: Vec<_> = outbound.iter().map(|frame| frame.comment.as_deref().unwrap()).collect();
    assert_eq!(comments, ["from=a delayed_ns=5000000", "from=a delayed_ns=100000000 reordered"]);
}

#[test]
fn every_copy_is_written_where_it_leaves_if_wanted() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("capture.pcapng");
    let switch = started();
    let [a, _b, _c] = ports(&switch);
    let outbound = CaptureOptions { outbound: true, ..options(&file, 1 << 20) };
    switch.control().start_capture(&outbound).unwrap();
    a.send(&frame(1, BROADCAST, b"x"));
    let seen: Vec<_> = contents(&file).into_iter().map(|frame| (frame.interface, frame.flags & 3)).collect();
    assert_eq!(seen, [("p0".to_owned(), 1), ("p1".to_owned(), 2), ("p2".to_owned(), 2)]);
}

#[test]
fn a_capture_that_cannot_be_created_is_an_error() {
    let switch = started();
    let missing = options(Path::new("/missing/capture"), 1 << 20);
    let error = switch.control().start_capture(&missing).unwrap_err();
    assert_eq!(error.to_string(), "failed to create the capture /missing/capture");
    assert!(switch.control().start_capture(&options(Path::new("/dev/full"), 1 << 20)).is_err());
    assert_eq!(switch.control().status().capture, None);
}
