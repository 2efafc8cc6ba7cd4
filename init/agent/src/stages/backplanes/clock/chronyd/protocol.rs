//! The one question that the agent asks chronyd: what it measured of source number `index` (`REQ_SOURCE_DATA`).
//!
//! Requests and replies are binary datagrams of version 6 in network byte order, as chrony's `candm.h` and `pktlength.c`
//! define them. A request has the length of its longest reply. [`parse`] accepts exactly the reply to the request, in exactly
//! its length. Numbers are converted without floating point.
//!
//! Not here: sockets, and what a measurement is used for.

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use super::super::Millis;

/// `PROTO_VERSION_NUMBER`.
const VERSION: u8 = 6;
/// `PKT_TYPE_CMD_REQUEST`.
const REQUEST: u8 = 1;
/// `PKT_TYPE_CMD_REPLY`.
const REPLY: u8 = 2;
/// `REQ_SOURCE_DATA`.
const SOURCE_DATA: u16 = 15;
/// `RPY_NULL`.
const REPLY_NULL: u16 = 1;
/// `RPY_SOURCE_DATA`.
const REPLY_SOURCE_DATA: u16 = 3;
/// `STT_SUCCESS`.
const SUCCESS: u16 = 0;
/// `STT_NOSUCHSOURCE`.
const NO_SUCH_SOURCE: u16 = 4;
/// The length of a reply without data: `offsetof(CMD_Reply, data)`.
const HEAD: usize = 28;
/// The length of the data of `RPY_Source_Data`.
const DATA: usize = 48;
/// The length of the longest reply, and of each request.
pub const LENGTH: usize = HEAD + DATA;

/// The last measurement of one source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// The address of the source.
    pub address: IpAddr,
    /// The time since the measurement, in whole seconds.
    pub age: Duration,
    /// The source's clock minus this node's clock. chrony's numbers have 24 binary digits, so an offset of years is exact to
    /// seconds only; after a step by it, the next measurement is exact.
    pub offset: Millis,
    /// The largest possible error of the offset, rounded up: half of the delay to the source and beyond it, plus the
    /// dispersion.
    pub bound: Millis,
}

/// The answer to one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// The source has this measurement.
    Sample(Sample),
    /// The source has no measurement yet.
    Empty,
    /// There is no source with this number, and none with a higher one.
    End,
}

/// Why a datagram is not the reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// Its length is not that of such a reply.
    #[error("the reply has an unexpected length of {0} bytes")]
    Length(usize),
    /// It is of another version or kind, or belongs to another request.
    #[error("the datagram is not the reply to the request")]
    Head,
    /// chronyd refused the request.
    #[error("chronyd answers with the status {0}")]
    Status(u16),
    /// The source has no address.
    #[error("the source has the unknown address family {0}")]
    Family(u16),
}

/// The request for the last measurement of source number `index`, from 0.
pub fn request(sequence: u32, index: u32) -> [u8; LENGTH] {
    let mut bytes = [0; LENGTH];
    let [command_high, command_low] = SOURCE_DATA.to_be_bytes();
    let head = [VERSION, REQUEST, 0, 0, command_high, command_low, 0, 0]; // the last two: the number of the attempt
    let words = [sequence, 0, 0, index].map(u32::to_be_bytes);
    let all = head.into_iter().chain(words.into_iter().flatten());
    bytes.iter_mut().zip(all).for_each(|(byte, value)| *byte = value);
    bytes
}

/// Parses the reply to the request with this sequence number.
pub fn parse(bytes: &[u8], sequence: u32) -> Result<Answer, ProtocolError> {
    let mut input = Input(bytes);
    let [version, kind, ..] = input.take::<4>()?;
    let (command, reply, status) = (input.u16()?, input.u16()?, input.u16()?);
    input.take::<6>()?;
    let answers = input.u32()?;
    input.take::<8>()?;
    if (version, kind, command, answers) != (VERSION, REPLY, SOURCE_DATA, sequence) {
        return Err(ProtocolError::Head);
    }
    match (reply, status) {
        (REPLY_SOURCE_DATA, SUCCESS) if bytes.len() == LENGTH => source_data(input),
        (REPLY_NULL, NO_SUCH_SOURCE) if bytes.len() == HEAD => Ok(Answer::End),
        (REPLY_NULL | REPLY_SOURCE_DATA, SUCCESS | NO_SUCH_SOURCE) => Err(ProtocolError::Length(bytes.len())),
        (REPLY_NULL | REPLY_SOURCE_DATA, status) => Err(ProtocolError::Status(status)),
        _ => Err(ProtocolError::Head),
    }
}

/// `RPY_Source_Data`: address, poll interval, stratum, state, mode, flags, reachability, age, three numbers.
fn source_data(mut input: Input<'_>) -> Result<Answer, ProtocolError> {
    let address = input.take::<16>()?;
    let family = input.u16()?;
    input.take::<14>()?;
    let age = input.u32()?;
    input.u32()?; // the measurement before corrections of the clock
    let (ahead, error) = (Number::of(input.u32()?), Number::of(input.u32()?));
    let [a, b, c, d, ..] = address;
    let address = match family {
        1 => IpAddr::from([a, b, c, d]),
        2 => IpAddr::V6(Ipv6Addr::from(address)),
        other => return Err(ProtocolError::Family(other)),
    };
    if age == u32::MAX {
        return Ok(Answer::Empty);
    }
    // chronyd reports by how much this clock is ahead of the source.
    let (offset, bound) = (ahead.millis(Rounding::Down).saturating_neg(), error.millis(Rounding::Up));
    // An offset that was rounded is wrong by less than a millisecond.
    Ok(Answer::Sample(Sample {
        address,
        age: Duration::from_secs(age.into()),
        offset,
        bound: bound.saturating_add(1),
    }))
}

/// chrony's `Float`: an exponent of 7 bits and a coefficient of 25 bits, both signed; the value is `coefficient *
/// 2^(exponent - 25)`.
#[derive(Debug, Clone, Copy)]
struct Number {
    exponent: i32,
    coefficient: i32,
}

#[derive(Debug, Clone, Copy)]
enum Rounding {
    Down,
    Up,
}

impl Number {
    fn of(bits: u32) -> Self {
        let bits = bits.cast_signed();
        Self { exponent: (bits >> 25) - 25, coefficient: (bits << 7) >> 7 }
    }

    /// The value in milliseconds, of a value in seconds.
    fn millis(self, rounding: Rounding) -> Millis {
        let thousandfold = i128::from(self.coefficient) * 1000;
        let shift = self.exponent.unsigned_abs(); // at most 89
        let value = if self.exponent >= 0 {
            thousandfold << shift // less than 2^35 * 2^38
        } else {
            let down = thousandfold >> shift;
            match rounding {
                Rounding::Up if down << shift != thousandfold => down + 1,
                Rounding::Up | Rounding::Down => down,
            }
        };
        i64::try_from(value).unwrap_or(if value < 0 { i64::MIN } else { i64::MAX })
    }
}

/// The rest of a datagram.
struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], ProtocolError> {
        let (first, rest) = self.0.split_first_chunk().ok_or(ProtocolError::Length(self.0.len()))?;
        self.0 = rest;
        Ok(*first)
    }

    fn u16(&mut self) -> Result<u16, ProtocolError> {
        self.take().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Result<u32, ProtocolError> {
        self.take().map(u32::from_be_bytes)
    }
}

/// Replies as chronyd writes them, for tests and fuzz targets.
pub mod sample {
    use super::{
        DATA, HEAD, LENGTH, NO_SUCH_SOURCE, REPLY, REPLY_NULL, REPLY_SOURCE_DATA, SOURCE_DATA, SUCCESS,
        VERSION,
    };

    fn head(sequence: u32, reply: u16, status: u16) -> Vec<u8> {
        let mut bytes = vec![VERSION, REPLY, 0, 0];
        for word in [SOURCE_DATA, reply, status, 0, 0, 0] {
            bytes.extend(word.to_be_bytes());
        }
        for word in [sequence, 0, 0] {
            bytes.extend(word.to_be_bytes());
        }
        debug_assert_eq!(bytes.len(), HEAD);
        bytes
    }

    /// A measurement of a source with an IPv4 address; `ahead` and `error` are bits of chrony's `Float`.
    pub fn source(sequence: u32, address: [u8; 4], age: u32, ahead: u32, error: u32) -> Vec<u8> {
        let mut bytes = head(sequence, REPLY_SOURCE_DATA, SUCCESS);
        bytes.extend(address);
        bytes.extend([0; 12]);
        for word in [1_u16, 0, 6, 10, 1, 0, 0, 255] {
            bytes.extend(word.to_be_bytes());
        }
        for word in [age, ahead, ahead, error] {
            bytes.extend(word.to_be_bytes());
        }
        debug_assert_eq!(bytes.len(), HEAD + DATA);
        debug_assert_eq!(bytes.len(), LENGTH);
        bytes
    }

    /// There is no such source.
    pub fn end(sequence: u32) -> Vec<u8> {
        head(sequence, REPLY_NULL, NO_SUCH_SOURCE)
    }

    /// The bits of a number: `coefficient * 2^(exponent - 25)`.
    pub fn bits(exponent: i32, coefficient: i32) -> u32 {
        ((exponent << 25) | (coefficient & 0x01ff_ffff)).cast_unsigned()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::sample::{bits, end, source};
    use super::*;

    #[test]
    fn a_request_has_the_layout_of_candm_h() {
        let bytes = request(0x0102_0304, 5);
        assert_eq!(bytes.len(), 76);
        assert_eq!(bytes[..8], [6, 1, 0, 0, 0, 15, 0, 0]);
        assert_eq!(bytes[8..24], [1, 2, 3, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5]);
        assert!(bytes[24..].iter().all(|byte| *byte == 0));
    }

    #[test]
    fn a_clock_that_is_ahead_gets_a_negative_offset() {
        let reply = source(7, [10, 101, 0, 2], 12, bits(2, 3 << 21), bits(-1, 1 << 23));
        let Answer::Sample(sample) = parse(&reply, 7).unwrap() else { panic!() };
        assert_eq!((sample.address, sample.age), (IpAddr::from([10, 101, 0, 2]), Duration::from_secs(12)));
        assert_eq!((sample.offset, sample.bound), (-750, 126), "0.1875 * 2^2 s ahead, error 0.25 * 2^-1 s");
        let reply = source(7, [10, 101, 0, 2], 12, bits(2, -(3 << 21)), bits(-1, 1 << 23));
        let Answer::Sample(sample) = parse(&reply, 7).unwrap() else { panic!() };
        assert_eq!(sample.offset, 750);
    }

    /// Replies that chronyd 4.6.1 of the lock sent to the request number 5.
    #[test]
    fn replies_of_chronyd_are_read() {
        let reply = "06020000000f0003000000000000000000000005000000000000000\
                     07f000003000000000000000000000000000100000004000a00010000\
                     0000000f00000002de8c41edde8c41ede084e816";
        let Answer::Sample(sample) = parse(&hex::decode(reply).unwrap(), 5).unwrap() else { panic!() };
        assert_eq!((sample.address, sample.age), (IpAddr::from([127, 0, 0, 3]), Duration::from_secs(2)));
        assert_eq!((sample.offset, sample.bound), (0, 2), "2 and 4 microseconds");
        let reply = "06020000000f00010004000000000000000000050000000000000000";
        assert_eq!(parse(&hex::decode(reply).unwrap(), 5), Ok(Answer::End));
    }

    #[test]
    fn the_end_of_the_list_and_a_source_without_measurement() {
        assert_eq!(parse(&end(9), 9), Ok(Answer::End));
        assert_eq!(parse(&source(9, [1; 4], u32::MAX, 0, 0), 9), Ok(Answer::Empty));
    }

    #[test]
    fn other_replies_are_refused() {
        let good = source(9, [1; 4], 1, 0, 0);
        assert!(matches!(parse(&good, 9), Ok(Answer::Sample(_))));
        assert_eq!(parse(&good, 8), Err(ProtocolError::Head), "another request");
        assert_eq!(parse(&[good.clone(), vec![0]].concat(), 9), Err(ProtocolError::Length(77)));
        for length in 0..good.len() {
            assert!(parse(&good[..length], 9).is_err(), "{length}");
        }
        for (at, value, error) in [
            (0, 5, ProtocolError::Head),
            (1, 1, ProtocolError::Head),
            (5, 14, ProtocolError::Head),
            (7, 5, ProtocolError::Head),
            (9, 2, ProtocolError::Status(2)),
            (9, 4, ProtocolError::Length(76)),
            (45, 3, ProtocolError::Family(3)),
        ] {
            let mut bad = good.clone();
            bad[at] = value;
            assert_eq!(parse(&bad, 9), Err(error), "{at}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_give_an_answer_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..100), sequence: u32) {
            if parse(&bytes, sequence).is_ok() {
                prop_assert!([HEAD, LENGTH].contains(&bytes.len()));
            }
        }

        /// The value in milliseconds is that of the formula of candm.h, computed with floating point.
        #[test]
        fn numbers_have_the_value_of_the_formula(exponent in -64i32..64, coefficient in -(1 << 24)..(1 << 24)) {
            let number = Number::of(bits(exponent, coefficient));
            let wanted = f64::from(coefficient) * 2f64.powi(exponent - 25) * 1000.0;
            #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation)]
            for (rounding, wanted) in [(Rounding::Down, wanted.floor()), (Rounding::Up, wanted.ceil())] {
                prop_assert_eq!(number.millis(rounding), wanted as i64);
            }
        }
    }
}
