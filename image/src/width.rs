//! Conversions between integer types that cannot fail.
//!
//! kubedOS is built for 64-bit machines only, so every `u64` fits into a `usize`. A constant is converted to a narrower type inside
//! `const { … }`: a constant that does not fit is then a compile error.

const _: () = assert!(usize::BITS == u64::BITS, "kubedOS is built for 64-bit machines only");

/// Converts a number of bytes to the type that indexes memory.
#[expect(clippy::cast_possible_truncation, reason = "`usize` has 64 bits, as asserted above")]
pub const fn to_usize(value: u64) -> usize {
    value as usize
}

/// Converts a constant to 8 bits, for use inside `const { … }`.
#[expect(clippy::cast_possible_truncation, reason = "asserted to fit")]
pub(crate) const fn const_u8(value: u64) -> u8 {
    assert!(value <= u8::MAX as u64);
    value as u8
}

/// Converts a constant to 16 bits, for use inside `const { … }`.
#[expect(clippy::cast_possible_truncation, reason = "asserted to fit")]
pub(crate) const fn const_u16(value: u64) -> u16 {
    assert!(value <= u16::MAX as u64);
    value as u16
}

/// Converts a constant to 32 bits, for use inside `const { … }`.
#[expect(clippy::cast_possible_truncation, reason = "asserted to fit")]
pub(crate) const fn const_u32(value: u64) -> u32 {
    assert!(value <= u32::MAX as u64);
    value as u32
}

/// The lower and the upper half of a number, in this order.
#[cfg(feature = "erofs")]
pub(crate) const fn halves(value: u64) -> [u32; 2] {
    let [a, b, c, d, e, f, g, h] = value.to_le_bytes();
    [u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h])]
}

/// The lower and the upper half of a number, in this order.
pub(crate) const fn halves_of_u32(value: u32) -> [u16; 2] {
    let [a, b, c, d] = value.to_le_bytes();
    [u16::from_le_bytes([a, b]), u16::from_le_bytes([c, d])]
}
