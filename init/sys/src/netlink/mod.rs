//! Netlink (RFC 3549, netlink(7)): requests, acknowledgements, dumps and transactions over one socket.
//!
//! The kernel's answers are parsed strictly: a message or an attribute that does not fit into its container, and a
//! datagram that does not fit into the buffer, are errors. They never count as the end of a list. A dump during which
//! the kernel's tables changed is repeated. Datagrams of other senders than the kernel are ignored.
//!
//! The families are [`route`], [`wireguard`] and [`nftables`]; they encode requests and decode answers, and make no
//! decisions; [`events`] only tells that something changed. Constants and layouts are those of `include/uapi/linux/`.

pub mod attributes;
pub mod events;
pub mod nftables;
pub mod route;
pub mod transport;
pub mod wireguard;

use std::io;

use rustix::net::Protocol;
use zeroize::Zeroize;

use attributes::{Malformed, padded};
use transport::{ToKernel, Transport};

/// Length of `struct nlmsghdr`.
pub(crate) const HEADER: usize = 16;
pub(crate) const NLMSG_ERROR: u16 = 2;
pub(crate) const NLMSG_DONE: u16 = 3;
const NLM_F_REQUEST: u16 = 1;
pub(crate) const NLM_F_ACK: u16 = 4;
const NLM_F_DUMP_INTR: u16 = 0x10;
const NLM_F_DUMP: u16 = 0x300;
const NLM_F_EXCL: u16 = 0x200;
const NLM_F_CREATE: u16 = 0x400;
const NLM_F_APPEND: u16 = 0x800;

/// The kernel fills a datagram of a dump up to 32 KiB (`netlink_dump` in `net/netlink/af_netlink.c`). An error contains the
/// refused request, which [`LONGEST_REQUEST`] limits.
const BUFFER: usize = 64 << 10;
/// The longest single request. Its nested attributes must stay below 64 KiB, because the length field has 16 bits.
const LONGEST_REQUEST: usize = 32 << 10;
/// How often a dump is repeated that the kernel marked as inconsistent.
const DUMP_ATTEMPTS: u32 = 16;
/// The port of the kernel in the address of a sender (netlink(7)); no program can have it.
const KERNEL: u32 = 0;

/// A connection to one netlink family of the kernel.
#[derive(Debug)]
pub(crate) struct Socket {
    transport: Box<dyn Transport>,
    sequence: u32,
    buffer: Buffer,
}

/// The receive buffer. It may contain private keys, so it is zeroized when it is dropped and after each dump of keys.
struct Buffer(Vec<u8>);

impl std::fmt::Debug for Buffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Buffer")
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// One request: a message type, additional flags, and the payload.
#[derive(Clone, Copy)]
pub(crate) struct Request<'a> {
    pub(crate) kind: u16,
    pub(crate) flags: u16,
    pub(crate) payload: &'a [u8],
}

/// One received message.
struct Message<'a> {
    kind: u16,
    flags: u16,
    sequence: u32,
    payload: &'a [u8],
}

impl Socket {
    pub(crate) fn open(protocol: Option<Protocol>) -> io::Result<Self> {
        Ok(Self::over(Box::new(ToKernel::open(protocol)?)))
    }

    fn over(transport: Box<dyn Transport>) -> Self {
        Self { transport, sequence: 0, buffer: Buffer(vec![0; BUFFER]) }
    }

    /// Sends a request; returns its sequence number, which the answers have.
    pub(crate) fn post(&mut self, request: Request<'_>) -> io::Result<u32> {
        let mut bytes = Vec::with_capacity(HEADER + request.payload.len());
        let sequence = self.next_sequence();
        append(&mut bytes, request, sequence)?;
        let sent = self.send(&bytes);
        bytes.zeroize(); // a request to WireGuard contains keys
        sent.map(|()| sequence)
    }

    /// Sends a request, and waits for its acknowledgement.
    fn request(&mut self, request: Request<'_>) -> io::Result<()> {
        let sequence = self.post(Request { flags: request.flags | NLM_F_ACK, ..request })?;
        self.receive(sequence, NLMSG_ERROR, |_| Ok(()))
    }

    /// Sends a request for a list, and passes the payload of each answer to `take`. `start` creates an empty list; the
    /// request is repeated with a new list if the kernel's tables changed during the dump.
    fn dump<T>(
        &mut self,
        request: Request<'_>,
        mut start: impl FnMut() -> T,
        mut take: impl FnMut(&mut T, u16, &[u8]) -> Result<(), Malformed>,
    ) -> io::Result<T> {
        for _ in 0..DUMP_ATTEMPTS {
            let sequence = self.post(Request { flags: request.flags | NLM_F_DUMP, ..request })?;
            let (mut list, mut inconsistent) = (start(), false);
            self.receive(sequence, NLMSG_DONE, |message| {
                inconsistent |= message.flags & NLM_F_DUMP_INTR != 0;
                if message.kind != NLMSG_DONE {
                    take(&mut list, message.kind, message.payload)?;
                }
                Ok(())
            })?;
            if !inconsistent {
                return Ok(list);
            }
        }
        Err(io::Error::new(io::ErrorKind::ResourceBusy, "the kernel's tables changed during each dump"))
    }

    /// Sends messages that the kernel applies completely or not at all; the first and the last message delimit them.
    ///
    /// # Errors
    /// The kernel's first error, with the position of the refused message. The kernel then has changed nothing.
    fn transaction(&mut self, messages: &[(u16, u16, Vec<u8>)]) -> Result<(), Refused> {
        let whole = |source| Refused { message: None, source };
        let first = self.sequence.wrapping_add(1);
        let mut bytes = Vec::new();
        let mut last = first;
        // The last message but one is acknowledged after the commit; kernels before 6.10 do not acknowledge the last one.
        let acknowledged = messages.len().saturating_sub(2);
        for (position, (kind, flags, payload)) in messages.iter().enumerate() {
            let sequence = self.next_sequence();
            let ack = if position == acknowledged { NLM_F_ACK } else { 0 };
            if position == acknowledged {
                last = sequence;
            }
            append(&mut bytes, Request { kind: *kind, flags: flags | ack, payload }, sequence)
                .map_err(whole)?;
        }
        self.send(&bytes).map_err(whole)?;
        let mut refused: Option<Refused> = None;
        loop {
            let end = self.datagram(&mut |message| {
                let position = message.sequence.wrapping_sub(first);
                if message.kind != NLMSG_ERROR
                    || usize::try_from(position).is_ok_and(|at| at >= messages.len())
                {
                    return Ok(None);
                }
                if let Some(source) = error_of(message.payload)?
                    && refused.is_none()
                {
                    refused = Some(Refused { message: usize::try_from(position).ok(), source });
                    // An error of the first message is the error of the whole transaction, and the only answer.
                    if position == 0 {
                        return Ok(Some(()));
                    }
                }
                Ok((message.sequence == last).then_some(()))
            });
            if end.map_err(whole)?.is_some() {
                return refused.map_or(Ok(()), Err);
            }
        }
    }

    /// Passes the answers to one request to `take`, until the kernel ends them: a list with `NLMSG_DONE`, other answers with
    /// an acknowledgement (`NLMSG_ERROR` without an error). Another end than `end` is an error.
    fn receive(
        &mut self,
        sequence: u32,
        end: u16,
        mut take: impl FnMut(&Message<'_>) -> Result<(), Malformed>,
    ) -> io::Result<()> {
        loop {
            let ended = self.datagram(&mut |message| {
                if message.sequence != sequence {
                    return Ok(None); // an answer to an earlier request, which ended with an error
                }
                if message.kind != NLMSG_ERROR && message.kind != NLMSG_DONE {
                    take(message)?;
                    return Ok(None);
                }
                // The end of a list carries a status; a kernel that sends none has succeeded.
                let has_status = message.kind == NLMSG_ERROR || !message.payload.is_empty();
                if let Some(error) = if has_status { error_of(message.payload)? } else { None } {
                    return Err(error);
                }
                if message.kind != end {
                    return Err(Malformed("end").into());
                }
                take(message)?;
                Ok(Some(()))
            })?;
            if ended.is_some() {
                return Ok(());
            }
        }
    }

    /// Receives one datagram, and passes its messages to `take` until `take` returns a value.
    fn datagram(
        &mut self,
        take: &mut dyn FnMut(&Message<'_>) -> io::Result<Option<()>>,
    ) -> io::Result<Option<()>> {
        let mut rest = self.bytes()?;
        while !rest.is_empty() {
            let (message, next) = split(rest)?;
            if let Some(end) = take(&message)? {
                return Ok(Some(end));
            }
            rest = next;
        }
        Ok(None)
    }

    /// Receives one datagram of the kernel.
    pub(crate) fn bytes(&mut self) -> io::Result<&[u8]> {
        let length = loop {
            let received = self.transport.receive(self.buffer.0.as_mut_slice())?;
            if received.sender == KERNEL {
                break received.length;
            }
        };
        let too_long =
            || io::Error::new(io::ErrorKind::InvalidData, "a datagram of the kernel exceeds the buffer");
        self.buffer.0.get(..length).ok_or_else(too_long)
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.transport.send(bytes)
    }

    fn next_sequence(&mut self) -> u32 {
        self.sequence = self.sequence.wrapping_add(1);
        self.sequence
    }

    /// Zeroizes the receive buffer.
    fn forget(&mut self) {
        self.buffer.0.zeroize();
        self.buffer.0.resize(BUFFER, 0);
    }
}

/// The kernel refused a transaction and changed nothing.
#[derive(Debug)]
pub struct Refused {
    /// The position of the first refused message; `None` if the whole transaction failed.
    pub message: Option<usize>,
    /// The kernel's error.
    pub source: io::Error,
}

/// Appends a message with its header.
fn append(bytes: &mut Vec<u8>, request: Request<'_>, sequence: u32) -> io::Result<()> {
    let length = HEADER + request.payload.len();
    if length > LONGEST_REQUEST {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "a netlink request is too long"));
    }
    let length = u32::try_from(length).map_err(io::Error::other)?;
    bytes.extend(length.to_ne_bytes());
    bytes.extend(request.kind.to_ne_bytes());
    bytes.extend((NLM_F_REQUEST | request.flags).to_ne_bytes());
    bytes.extend(sequence.to_ne_bytes());
    bytes.extend([0; 4]);
    bytes.extend(request.payload);
    bytes.resize(padded(bytes.len()), 0);
    Ok(())
}

/// The first message of a datagram, and the rest.
fn split(bytes: &[u8]) -> Result<(Message<'_>, &[u8]), Malformed> {
    let (header, _) = bytes.split_at_checked(HEADER).ok_or(Malformed("message header"))?;
    let word = |at: usize| -> Option<u32> {
        header.get(at..at + 4).and_then(|word| word.try_into().ok()).map(u32::from_ne_bytes)
    };
    let half = |at: usize| -> Option<u16> {
        header.get(at..at + 2).and_then(|half| half.try_into().ok()).map(u16::from_ne_bytes)
    };
    let fields = word(0).zip(half(4)).zip(half(6)).zip(word(8));
    let (((length, kind), flags), sequence) = fields.ok_or(Malformed("message header"))?;
    let length = usize::try_from(length).map_err(|_| Malformed("message length"))?;
    let payload = bytes.get(HEADER..length).ok_or(Malformed("message length"))?;
    let rest = bytes.get(padded(length)..).unwrap_or_default();
    Ok((Message { kind, flags, sequence, payload }, rest))
}

/// The error in the payload of `NLMSG_ERROR` or `NLMSG_DONE`: a negative error number, or 0 for success.
pub(crate) fn error_of(payload: &[u8]) -> io::Result<Option<io::Error>> {
    let number = payload.first_chunk().ok_or(Malformed("error number"))?;
    Ok(match i32::from_ne_bytes(*number) {
        0 => None,
        number => Some(io::Error::from_raw_os_error(number.saturating_neg())),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_split_from_its_datagram() {
        let mut bytes = Vec::new();
        append(&mut bytes, Request { kind: 16, flags: 0x100, payload: &[1, 2, 3] }, 7).unwrap();
        append(&mut bytes, Request { kind: 17, flags: 0, payload: &[] }, 8).unwrap();
        let (first, rest) = split(&bytes).unwrap();
        assert_eq!((first.kind, first.flags, first.sequence, first.payload), (16, 0x101, 7, &[1, 2, 3][..]));
        let (second, rest) = split(rest).unwrap();
        assert_eq!((second.kind, second.sequence, second.payload, rest), (17, 8, &[][..], &[][..]));
    }

    /// A length below the header or beyond the datagram is an error, not the end of the list.
    #[test]
    fn a_wrong_length_is_an_error() {
        let mut bytes = Vec::new();
        append(&mut bytes, Request { kind: 16, flags: 0, payload: &[0; 8] }, 1).unwrap();
        for length in [0_u32, 1, 15, 25, 1000, u32::MAX] {
            bytes[..4].copy_from_slice(&length.to_ne_bytes());
            assert!(split(&bytes).is_err(), "{length}");
        }
        for short in 1..HEADER {
            assert!(split(&vec![0; short]).is_err(), "{short}");
        }
    }

    #[test]
    fn a_request_that_exceeds_the_limit_is_refused() {
        let payload = vec![0; LONGEST_REQUEST];
        assert!(append(&mut Vec::new(), Request { kind: 1, flags: 0, payload: &payload }, 1).is_err());
    }
}
