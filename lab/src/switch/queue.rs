//! The frames that wait at a port until its receiver takes them.
//!
//! A queue has at most [`MAX_QUEUED_FRAMES`] frames and [`MAX_QUEUED_BYTES`] bytes. A new frame that does not fit is
//! dropped (tail drop, as in a real switch), so a receiver that takes no frames never delays the other ports.

use std::collections::VecDeque;
use std::sync::Arc;

/// The maximum number of frames in a queue. Linux has the same default for network cards (`txqueuelen`, 1000).
pub const MAX_QUEUED_FRAMES: usize = 1024;

/// The maximum number of bytes in a queue: 64 of the longest frames.
pub const MAX_QUEUED_BYTES: usize = 4 << 20;

#[derive(Debug, Default)]
pub(super) struct Queue {
    frames: VecDeque<Arc<[u8]>>,
    bytes: usize,
}

impl Queue {
    /// Appends a frame. Returns whether it fitted.
    pub(super) fn push(&mut self, frame: Arc<[u8]>) -> bool {
        if self.frames.len() >= MAX_QUEUED_FRAMES || self.bytes + frame.len() > MAX_QUEUED_BYTES {
            return false;
        }
        self.bytes += frame.len();
        self.frames.push_back(frame);
        true
    }

    pub(super) fn pop(&mut self) -> Option<Arc<[u8]>> {
        let frame = self.frames.pop_front()?;
        self.bytes -= frame.len();
        Some(frame)
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    pub(super) fn len(&self) -> usize {
        self.frames.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_bounds_hold_and_a_taken_frame_makes_space() {
        for (length, most) in [(60, MAX_QUEUED_FRAMES), (65_535, MAX_QUEUED_BYTES / 65_535)] {
            let (mut queue, frame) = (Queue::default(), Arc::from(vec![0_u8; length]));
            for _ in 0..most {
                assert!(queue.push(Arc::clone(&frame)));
            }
            assert!(!queue.push(Arc::clone(&frame)));
            assert_eq!(queue.len(), most);
            assert!(queue.pop().is_some());
            assert!(queue.push(frame));
            queue.clear();
            assert!(queue.is_empty() && queue.pop().is_none());
        }
    }
}
