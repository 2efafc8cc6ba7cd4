//! Ethernet frames, and the 802.1Q tag that puts a frame into a VLAN.
//!
//! A frame is a destination address, a source address, an EtherType and a payload, without the checksum; QEMU does not
//! transmit checksums. Inside the switch a frame has no tag: the tag is removed where the frame enters and added where
//! it leaves, as the mode of the port requires (IEEE 802.1Q, 6.9 and 9.6). Other tags, such as that of
//! 802.1ad, are payload.

use std::sync::Arc;

use serde::Serialize;

/// The length of the shortest frame: two addresses and the EtherType. Real Ethernet pads frames to 60 bytes; virtual
/// network cards do not.
pub const MIN_FRAME: usize = 14;

/// The length of the longest frame, with its tag. A guest without offloads, as on a stream netdev, sends at most its
/// MTU plus 18 bytes.
pub const MAX_FRAME: usize = 65_535;

/// The length of an 802.1Q tag.
const TAG: usize = 4;
/// The EtherType of an 802.1Q tag.
const TAG_TYPE: u16 = 0x8100;
/// The bits of the tag that contain the VLAN identifier; the other four bits are priority and drop eligibility.
const VLAN_BITS: u16 = 0x0fff;

/// An Ethernet address.
pub(super) type Address = [u8; 6];

/// The identifier of a VLAN, 1 to 4094 (IEEE 802.1Q, 9.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct VlanId(u16);

impl VlanId {
    /// VLAN 1, the VLAN of a port without other settings.
    pub const DEFAULT: Self = Self(1);

    /// The VLAN with this number; `None` unless it is 1 to 4094.
    pub const fn new(number: u16) -> Option<Self> {
        if number >= 1 && number <= 4094 { Some(Self(number)) } else { None }
    }
}

/// Which VLANs a port carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PortMode {
    /// One VLAN, in frames without a tag. The port drops frames with a tag, except a tag with VLAN 0, which contains
    /// only a priority.
    Access(VlanId),
    /// All VLANs, in frames with a tag. The port drops frames without a tag.
    Trunk,
}

impl PortMode {
    /// Whether frames of the VLAN may leave at the port.
    pub(super) fn carries(self, vlan: VlanId) -> bool {
        match self {
            Self::Access(own) => own == vlan,
            Self::Trunk => true,
        }
    }
}

/// Why a frame does not enter the switch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It is shorter than its header.
    Runt,
    /// It is longer than [`MAX_FRAME`].
    Oversized,
    /// The port does not accept its tag, or requires one.
    Vlan,
}

/// A frame inside the switch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Frame {
    untagged: Arc<[u8]>,
    vlan: VlanId,
    priority: u16,
}

impl Frame {
    /// Removes the tag and selects the VLAN of a frame that enters at a port of this mode.
    pub(super) fn enter(bytes: &[u8], mode: PortMode) -> Result<Self, Refusal> {
        if bytes.len() > MAX_FRAME {
            return Err(Refusal::Oversized);
        }
        let Some((addresses, rest)) = bytes.split_at_checked(MIN_FRAME - 2) else {
            return Err(Refusal::Runt);
        };
        let Some((ether_type, rest)) = rest.split_first_chunk() else { return Err(Refusal::Runt) };
        if u16::from_be_bytes(*ether_type) != TAG_TYPE {
            let PortMode::Access(vlan) = mode else { return Err(Refusal::Vlan) };
            return Ok(Self { untagged: bytes.into(), vlan, priority: 0 });
        }
        let Some((control, inner)) = rest.split_first_chunk() else { return Err(Refusal::Runt) };
        if inner.len() < 2 {
            return Err(Refusal::Runt);
        }
        let control = u16::from_be_bytes(*control);
        let vlan = match (mode, control & VLAN_BITS) {
            (PortMode::Access(own), 0) => own,
            (PortMode::Access(_), _) => return Err(Refusal::Vlan),
            (PortMode::Trunk, number) => VlanId::new(number).ok_or(Refusal::Vlan)?,
        };
        Ok(Self { untagged: [addresses, inner].concat().into(), vlan, priority: control & !VLAN_BITS })
    }

    /// The bytes of the frame where it leaves at a port of this mode. `None` if the tag makes it too long.
    pub(super) fn leave(&self, mode: PortMode) -> Option<Arc<[u8]>> {
        if let PortMode::Access(_) = mode {
            return Some(Arc::clone(&self.untagged));
        }
        let (addresses, rest) = self.untagged.split_at_checked(MIN_FRAME - 2)?;
        let tag = [TAG_TYPE.to_be_bytes(), (self.priority | self.vlan.0).to_be_bytes()].concat();
        let bytes = [addresses, &tag, rest].concat();
        (bytes.len() <= MAX_FRAME).then(|| bytes.into())
    }

    /// The bytes without a tag.
    pub(super) fn untagged(&self) -> &[u8] {
        &self.untagged
    }

    /// A frame of the same VLAN with other bytes.
    pub(super) fn with(&self, untagged: &[u8]) -> Self {
        Self { untagged: untagged.into(), ..self.clone() }
    }

    /// The VLAN.
    pub(super) fn vlan(&self) -> VlanId {
        self.vlan
    }

    /// The destination and the source.
    pub(super) fn addresses(&self) -> Option<(Address, Address)> {
        let (destination, rest) = self.untagged.split_first_chunk()?;
        Some((*destination, *rest.first_chunk()?))
    }

    /// The memory that the frame uses, at most, in bytes.
    pub(super) fn size(&self) -> usize {
        self.untagged.len() + TAG
    }
}

/// Whether an address is that of a group of stations: multicast or broadcast.
pub(super) fn is_group(address: Address) -> bool {
    address.first().is_some_and(|first| first & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HEAD: [u8; 12] = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];

    type Case = (&'static str, Vec<u8>, PortMode, Result<u16, Refusal>);

    fn tagged(control: u16, rest: &[u8]) -> Vec<u8> {
        [&HEAD[..], &[0x81, 0], &control.to_be_bytes(), rest].concat()
    }

    fn vlan(number: u16) -> VlanId {
        VlanId::new(number).unwrap()
    }

    #[test]
    fn each_mode_accepts_its_own_frames_only() {
        let access = PortMode::Access(vlan(7));
        let untagged = [&HEAD[..], &[8, 0, 1]].concat();
        let cases: [Case; 12] = [
            ("untagged at access", untagged.clone(), access, Ok(7)),
            ("untagged at trunk", untagged, PortMode::Trunk, Err(Refusal::Vlan)),
            ("tagged at access", tagged(7, &[8, 0]), access, Err(Refusal::Vlan)),
            ("priority at access", tagged(0xa000, &[8, 0]), access, Ok(7)),
            ("tagged at trunk", tagged(0xa009, &[8, 0]), PortMode::Trunk, Ok(9)),
            ("vlan 0 at trunk", tagged(0, &[8, 0]), PortMode::Trunk, Err(Refusal::Vlan)),
            ("vlan 4095 at trunk", tagged(4095, &[8, 0]), PortMode::Trunk, Err(Refusal::Vlan)),
            ("empty", vec![], access, Err(Refusal::Runt)),
            ("13 bytes", vec![0; 13], access, Err(Refusal::Runt)),
            ("a cut tag", tagged(9, &[8]), PortMode::Trunk, Err(Refusal::Runt)),
            ("the longest", vec![0; MAX_FRAME], access, Ok(7)),
            ("too long", vec![0; MAX_FRAME + 1], access, Err(Refusal::Oversized)),
        ];
        for (name, bytes, mode, expected) in cases {
            assert_eq!(Frame::enter(&bytes, mode).map(|frame| frame.vlan().0), expected, "{name}");
        }
    }

    #[test]
    fn a_tag_that_makes_a_frame_too_long_drops_it() {
        let longest = Frame::enter(&vec![0; MAX_FRAME - TAG], PortMode::Access(vlan(1))).unwrap();
        assert_eq!(longest.leave(PortMode::Trunk).unwrap().len(), MAX_FRAME);
        let longer = Frame::enter(&vec![0; MAX_FRAME - TAG + 1], PortMode::Access(vlan(1))).unwrap();
        assert_eq!(longer.leave(PortMode::Trunk), None);
    }

    proptest! {
        #[test]
        fn a_frame_passes_from_trunk_to_trunk_without_a_change(number in 1_u16..4095, priority in 0_u16..16, rest in prop::collection::vec(any::<u8>(), 2..80)) {
            let bytes = tagged(priority << 12 | number, &rest);
            let frame = Frame::enter(&bytes, PortMode::Trunk).unwrap();
            let left = frame.leave(PortMode::Trunk).unwrap();
            prop_assert_eq!(&left[..], &bytes[..]);
            let untagged = frame.leave(PortMode::Access(vlan(number))).unwrap();
            prop_assert_eq!(&untagged[..], &[&HEAD[..], &rest].concat()[..]);
        }
    }
}
