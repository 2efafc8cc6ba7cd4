//! The frames between the decision about their faults and their delivery: delayed ones, and ones that are held back.
//!
//! Frames of one pair of ports keep their order, also when the delay changes; only a frame that is held back is
//! overtaken. At most [`MAX_DELAYED_FRAMES`] frames and [`MAX_DELAYED_BYTES`] bytes wait per port to which they go.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::Duration;

use super::faults::Pair;
use super::frame::Frame;
use super::ports::PortId;

/// The maximum number of delayed frames to one port.
pub const MAX_DELAYED_FRAMES: usize = 4096;

/// The maximum number of delayed bytes to one port: 600 ms of 100 Mbit/s.
pub const MAX_DELAYED_BYTES: usize = 8 << 20;

/// How long a frame is held back at most, in addition to its delay.
pub const REORDER_HOLD: Duration = Duration::from_millis(100);

/// A frame on its way.
#[derive(Debug, Clone)]
pub(super) struct Parcel {
    pub(super) pair: Pair,
    pub(super) frame: Frame,
    /// When the frame entered the switch.
    pub(super) entered: Duration,
    /// Whether other frames overtake it.
    pub(super) reordered: bool,
    /// Whether it is the copy of a duplicated frame.
    pub(super) duplicate: bool,
}

/// What happened to a frame that was put on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Put {
    /// It is due now.
    Due,
    /// It is due later.
    Delayed,
    /// It waits for others to overtake it.
    Held,
    /// There was no space for it.
    Full,
}

#[derive(Debug, Default)]
pub(super) struct Lines {
    waiting: BinaryHeap<Waiting>,
    sequence: u64,
    last_due: BTreeMap<Pair, Duration>,
    held: Vec<Held>,
    loads: BTreeMap<PortId, Load>,
}

/// A frame with its time. The heap returns the greatest element, which is the earliest frame.
#[derive(Debug)]
struct Waiting {
    due: Duration,
    sequence: u64,
    parcel: Parcel,
}

#[derive(Debug)]
struct Held {
    missing: u32,
    deadline: Duration,
    parcel: Parcel,
}

#[derive(Debug, Default)]
struct Load {
    frames: usize,
    bytes: usize,
}

impl Lines {
    /// Puts a frame on its way. The caller first takes all frames that are due.
    pub(super) fn put(
        &mut self,
        now: Duration,
        parcel: Parcel,
        delay: Duration,
        overtaken_by: Option<u32>,
    ) -> Put {
        let (pair, size) = (parcel.pair, parcel.frame.size());
        let due = (now + delay).max(self.last_due.get(&pair).copied().unwrap_or_default());
        let load = self.loads.entry(pair.1).or_default();
        let waits = due > now || overtaken_by.is_some();
        if waits && (load.frames >= MAX_DELAYED_FRAMES || load.bytes + size > MAX_DELAYED_BYTES) {
            return Put::Full;
        }
        load.frames += 1;
        load.bytes += size;
        if let Some(missing) = overtaken_by {
            self.held.push(Held { missing, deadline: now + delay + REORDER_HOLD, parcel });
            return Put::Held;
        }
        let overtakes = !parcel.duplicate;
        self.last_due.insert(pair, due);
        self.push(due, parcel);
        if overtakes {
            self.release_overtaken(pair, due);
        }
        if due > now { Put::Delayed } else { Put::Due }
    }

    /// Takes the next frame that is due, with its delay.
    pub(super) fn take(&mut self, now: Duration) -> Option<(Parcel, Duration)> {
        if !self.held.is_empty() {
            let expired: Vec<Held> = self.held.extract_if(.., |held| held.deadline <= now).collect();
            expired.into_iter().for_each(|held| self.push(held.deadline, held.parcel));
        }
        if self.waiting.peek()?.due > now {
            return None;
        }
        let Waiting { due, parcel, .. } = self.waiting.pop()?;
        if let Some(load) = self.loads.get_mut(&parcel.pair.1) {
            load.frames -= 1;
            load.bytes -= parcel.frame.size();
        }
        let delay = due.saturating_sub(parcel.entered);
        Some((parcel, delay))
    }

    /// When the next frame is due.
    pub(super) fn next_due(&self) -> Option<Duration> {
        let waiting = self.waiting.peek().map(|waiting| waiting.due);
        waiting.into_iter().chain(self.held.iter().map(|held| held.deadline)).min()
    }

    /// The number of frames on their way to a port.
    #[cfg(test)]
    pub(super) fn waiting_for(&self, port: PortId) -> usize {
        self.loads.get(&port).map_or(0, |load| load.frames)
    }

    /// Counts a frame that overtakes the held frames of its pair, and releases those that were overtaken by enough.
    fn release_overtaken(&mut self, pair: Pair, due: Duration) {
        for held in self.held.iter_mut().filter(|held| held.parcel.pair == pair) {
            held.missing = held.missing.saturating_sub(1);
        }
        if self.held.iter().any(|held| held.missing == 0) {
            let released: Vec<Held> = self.held.extract_if(.., |held| held.missing == 0).collect();
            released.into_iter().for_each(|held| self.push(due, held.parcel));
        }
    }

    fn push(&mut self, due: Duration, parcel: Parcel) {
        self.sequence += 1;
        self.waiting.push(Waiting { due, sequence: self.sequence, parcel });
    }
}

impl Ord for Waiting {
    fn cmp(&self, other: &Self) -> Ordering {
        (other.due, other.sequence).cmp(&(self.due, self.sequence))
    }
}

impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Waiting {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Waiting {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::switch::frame::{MAX_FRAME, PortMode, VlanId};

    fn milliseconds(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    fn parcel(number: u8, now: Duration, length: usize) -> Parcel {
        let mut bytes = vec![0; length];
        bytes[13] = number;
        Parcel {
            pair: (PortId(0), PortId(1)),
            frame: Frame::enter(&bytes, PortMode::Access(VlanId::DEFAULT)).unwrap(),
            entered: now,
            reordered: false,
            duplicate: false,
        }
    }

    fn put(lines: &mut Lines, number: u8, now: u64, delay: u64, overtaken_by: Option<u32>) -> Put {
        let now = milliseconds(now);
        lines.put(now, parcel(number, now, 20), milliseconds(delay), overtaken_by)
    }

    fn taken(lines: &mut Lines, now: u64) -> Vec<u8> {
        let access = PortMode::Access(VlanId::DEFAULT);
        std::iter::from_fn(|| lines.take(milliseconds(now)))
            .map(|(parcel, _)| parcel.frame.leave(access).unwrap()[13])
            .collect()
    }

    #[test]
    fn a_shorter_delay_does_not_change_the_order() {
        let mut lines = Lines::default();
        assert_eq!(put(&mut lines, 1, 0, 50, None), Put::Delayed);
        assert_eq!(put(&mut lines, 2, 1, 0, None), Put::Delayed);
        assert!(taken(&mut lines, 49).is_empty());
        assert_eq!(lines.next_due(), Some(milliseconds(50)));
        assert_eq!(taken(&mut lines, 50), [1, 2]);
        assert_eq!(put(&mut lines, 3, 60, 0, None), Put::Due);
        assert_eq!(taken(&mut lines, 60), [3]);
        assert_eq!(lines.next_due(), None);
    }

    #[test]
    fn a_held_frame_is_overtaken_by_as_many_frames_as_wanted() {
        let mut lines = Lines::default();
        assert_eq!(put(&mut lines, 1, 0, 0, Some(2)), Put::Held);
        for number in 2..5 {
            put(&mut lines, number, 0, 0, None);
        }
        assert_eq!(taken(&mut lines, 0), [2, 3, 1, 4]);
    }

    #[test]
    fn a_copy_of_a_held_frame_does_not_overtake_it() {
        let (mut lines, now) = (Lines::default(), Duration::ZERO);
        put(&mut lines, 1, 0, 0, Some(1));
        lines.put(now, Parcel { duplicate: true, ..parcel(1, now, 20) }, now, None);
        assert_eq!(taken(&mut lines, 0), [1]);
        put(&mut lines, 2, 0, 0, None);
        assert_eq!(taken(&mut lines, 0), [2, 1]);
    }

    #[test]
    fn a_held_frame_without_successors_continues_after_the_hold_time() {
        let mut lines = Lines::default();
        put(&mut lines, 1, 0, 30, Some(2));
        put(&mut lines, 2, 1, 30, None);
        assert_eq!(taken(&mut lines, 129), [2]);
        assert_eq!(lines.next_due(), Some(milliseconds(130)));
        assert_eq!(taken(&mut lines, 130), [1]);
        assert_eq!(lines.waiting_for(PortId(1)), 0);
    }

    #[test]
    fn the_frames_on_their_way_are_bounded() {
        let (now, delay) = (Duration::ZERO, milliseconds(10));
        for (length, most) in [(20, MAX_DELAYED_FRAMES), (MAX_FRAME, MAX_DELAYED_BYTES / (MAX_FRAME + 4))] {
            let mut lines = Lines::default();
            for _ in 0..most {
                assert_eq!(lines.put(now, parcel(0, now, length), delay, None), Put::Delayed);
            }
            assert_eq!(lines.put(now, parcel(0, now, length), delay, None), Put::Full);
            assert_eq!(taken(&mut lines, 10).len(), most);
            assert_eq!(lines.put(delay, parcel(0, delay, length), delay, None), Put::Delayed);
        }
    }
}
