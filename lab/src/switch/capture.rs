//! Writes frames into a capture file in the pcapng format (draft-ietf-opsawg-pcapng).
//!
//! The file has a section header, two interfaces for each port (`name` and `name/dropped`) and one enhanced packet
//! block for each frame, all little-endian, with timestamps in nanoseconds. Each block is written with one call, without
//! a buffer in this process, so the file is readable at any time and also after the end of the process. A file that
//! would become longer than its limit, or that cannot be written, ends at its last whole block. The switch then
//! continues without a capture.

use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

use super::counters::{CaptureState, CaptureStatus};
use super::frame::is_group;
use super::ports::PortId;

const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const INTERFACE_DESCRIPTION: u32 = 1;
const ENHANCED_PACKET: u32 = 6;

const BYTE_ORDER_MAGIC: u32 = 0x1a2b_3c4d;
const LINKTYPE_ETHERNET: u16 = 1;

const OPT_COMMENT: u16 = 1;
const SHB_USERAPPL: u16 = 4;
const IF_NAME: u16 = 2;
const IF_TSRESOL: u16 = 9;
const EPB_FLAGS: u16 = 2;

/// The unit of timestamps as a negative power of ten: nanoseconds.
const NANOSECONDS: u8 = 9;

const INBOUND: u32 = 1;
const OUTBOUND: u32 = 2;
const UNICAST: u32 = 1 << 2;
const MULTICAST: u32 = 2 << 2;
const BROADCAST: u32 = 3 << 2;

/// What a capture contains.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaptureOptions {
    /// The file. An existing file is replaced.
    pub file: PathBuf,
    /// The maximum length of the file in bytes.
    pub max_bytes: u64,
    /// Whether to write frames also where they leave the switch. Without it, the capture contains each frame where it
    /// enters, and where it leaves only if a fault affected it.
    pub outbound: bool,
}

/// The file of a capture.
pub(super) trait Sink: Write + Send + std::fmt::Debug {
    /// Removes all bytes after the first `length`.
    fn truncate(&mut self, length: u64) -> io::Result<()>;
}

impl Sink for File {
    fn truncate(&mut self, length: u64) -> io::Result<()> {
        self.set_len(length)
    }
}

/// Where a frame was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// It came from the station at the port.
    Inbound,
    /// It was sent to the station at the port.
    Outbound,
    /// It was on its way to the port, and a fault dropped it.
    Dropped,
}

#[derive(Debug)]
pub(super) struct Capture {
    sink: Box<dyn Sink>,
    /// The time of the switch's start, since 1970.
    epoch: Duration,
    max_bytes: u64,
    outbound: bool,
    status: CaptureStatus,
}

impl Capture {
    /// Creates the file and writes its header.
    pub(super) fn create(options: &CaptureOptions, epoch: Duration) -> io::Result<Self> {
        Self::new(Box::new(File::create(&options.file)?), options, epoch)
    }

    /// Writes the header.
    pub(super) fn new(
        mut sink: Box<dyn Sink>,
        options: &CaptureOptions,
        epoch: Duration,
    ) -> io::Result<Self> {
        let mut body = Vec::new();
        body.extend_from_slice(&BYTE_ORDER_MAGIC.to_le_bytes());
        body.extend_from_slice(&[1, 0, 0, 0]); // version 1.0
        body.extend_from_slice(&u64::MAX.to_le_bytes()); // the length of the section is not known
        option(&mut body, SHB_USERAPPL, b"kubedos-lab");
        end_of_options(&mut body);
        let header = block(SECTION_HEADER, &body);
        sink.write_all(&header)?;
        let status = CaptureStatus {
            file: options.file.clone(),
            bytes: length(&header),
            frames: 0,
            omitted: 0,
            state: CaptureState::Running,
        };
        Ok(Self { sink, epoch, max_bytes: options.max_bytes, outbound: options.outbound, status })
    }

    /// Writes the interfaces of the next port. Their numbers follow from the number of the port.
    pub(super) fn port(&mut self, name: &str) {
        for name in [name.to_owned(), format!("{name}/dropped")] {
            let mut body = Vec::new();
            body.extend_from_slice(&LINKTYPE_ETHERNET.to_le_bytes());
            body.extend_from_slice(&[0; 6]); // reserved, and no limit of the length of a frame
            option(&mut body, IF_NAME, name.as_bytes());
            option(&mut body, IF_TSRESOL, &[NANOSECONDS]);
            end_of_options(&mut body);
            self.write(&block(INTERFACE_DESCRIPTION, &body));
        }
    }

    /// Whether a frame without a comment is written on this side.
    pub(super) fn wants(&self, side: Side) -> bool {
        side != Side::Outbound || self.outbound
    }

    /// Writes a frame.
    pub(super) fn frame(
        &mut self,
        now: Duration,
        port: PortId,
        side: Side,
        frame: &[u8],
        comment: Option<&str>,
    ) {
        let interface = port.0 * 2 + usize::from(side == Side::Dropped);
        let time = u64::try_from((self.epoch + now).as_nanos()).unwrap_or(u64::MAX);
        let mut body = Vec::with_capacity(frame.len() + 96);
        let length = u32::try_from(frame.len()).unwrap_or(u32::MAX).to_le_bytes();
        body.extend_from_slice(&u32::try_from(interface).unwrap_or(u32::MAX).to_le_bytes());
        let [high, low] = [time >> 32, time & u64::from(u32::MAX)];
        for half in [high, low] {
            body.extend_from_slice(&u32::try_from(half).unwrap_or(u32::MAX).to_le_bytes());
        }
        body.extend_from_slice(&length);
        body.extend_from_slice(&length);
        body.extend_from_slice(frame);
        pad(&mut body);
        if let Some(comment) = comment {
            option(&mut body, OPT_COMMENT, comment.as_bytes());
        }
        option(&mut body, EPB_FLAGS, &flags(side, frame).to_le_bytes());
        end_of_options(&mut body);
        if self.write(&block(ENHANCED_PACKET, &body)) {
            self.status.frames += 1;
        } else {
            self.status.omitted += 1;
        }
    }

    pub(super) fn status(&self) -> &CaptureStatus {
        &self.status
    }

    /// Stops a running capture.
    pub(super) fn stop(&mut self) {
        if self.status.state == CaptureState::Running {
            self.status.state = CaptureState::Stopped;
        }
    }

    /// Appends a block. Returns whether the file contains it.
    fn write(&mut self, block: &[u8]) -> bool {
        if self.status.state != CaptureState::Running {
            return false;
        }
        let after = self.status.bytes + length(block);
        if after > self.max_bytes {
            self.status.state = CaptureState::LimitReached;
            return false;
        }
        if let Err(error) = self.sink.write_all(block) {
            let message = match self.sink.truncate(self.status.bytes) {
                Ok(()) => error.to_string(),
                Err(also) => format!("{error}; the last block is incomplete: {also}"),
            };
            self.status.state = CaptureState::Failed(message);
            return false;
        }
        self.status.bytes = after;
        true
    }
}

fn flags(side: Side, frame: &[u8]) -> u32 {
    let direction = if side == Side::Inbound { INBOUND } else { OUTBOUND };
    let reception = match frame.first_chunk() {
        Some([0xff, 0xff, 0xff, 0xff, 0xff, 0xff]) => BROADCAST,
        Some(destination) if is_group(*destination) => MULTICAST,
        _ => UNICAST,
    };
    direction | reception
}

/// A block with its type and its length, which is before and after the body.
fn block(kind: u32, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 12).unwrap_or(u32::MAX).to_le_bytes();
    [&kind.to_le_bytes()[..], &length, body, &length].concat()
}

fn option(body: &mut Vec<u8>, code: u16, value: &[u8]) {
    let length = u16::try_from(value.len()).unwrap_or(u16::MAX);
    body.extend_from_slice(&code.to_le_bytes());
    body.extend_from_slice(&length.to_le_bytes());
    body.extend_from_slice(value.get(..usize::from(length)).unwrap_or_default());
    pad(body);
}

fn end_of_options(body: &mut Vec<u8>) {
    body.extend_from_slice(&[0; 4]);
}

/// Pads to a multiple of four bytes.
fn pad(body: &mut Vec<u8>) {
    body.resize(body.len().next_multiple_of(4), 0);
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}
