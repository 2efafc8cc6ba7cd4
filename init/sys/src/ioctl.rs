//! The `unsafe` part: an ioctl over a buffer that the caller owns, and one over a plain integer.

use std::io;
use std::os::fd::AsFd;

use rustix::ioctl::{Ioctl, IoctlOutput, Opcode, ioctl};

/// `_IOC` of `asm-generic/ioctl.h`: direction (1 write, 2 read), type, number, size of the argument.
pub(crate) const fn opcode(direction: u32, kind: u8, number: u8, size: usize) -> Opcode {
    assert!(size < 1 << 14, "an ioctl argument has less than 16 KiB");
    #[expect(clippy::cast_possible_truncation, reason = "asserted above")]
    let size = size as u32;
    (direction << 30) | (size << 16) | ((kind as u32) << 8) | number as u32
}

/// An ioctl that reads, and may write, a buffer of a length that the opcode or the content determines.
struct Buffer<'a> {
    opcode: Opcode,
    bytes: &'a mut [u8],
}

// SAFETY: `as_ptr` returns the start of a live, exclusively borrowed buffer that is read and written in place; there is
// no output except the return value. The callers of `buffer`, all in this crate, guarantee that the kernel accesses no
// more than the buffer.
unsafe impl Ioctl for Buffer<'_> {
    type Output = IoctlOutput;

    const IS_MUTATING: bool = true;

    fn opcode(&self) -> Opcode {
        self.opcode
    }

    fn as_ptr(&mut self) -> *mut std::ffi::c_void {
        self.bytes.as_mut_ptr().cast()
    }

    unsafe fn output_from_ptr(
        output: IoctlOutput,
        _: *mut std::ffi::c_void,
    ) -> rustix::io::Result<IoctlOutput> {
        Ok(output)
    }
}

/// Calls `opcode` with a pointer to `bytes`.
///
/// # Safety
///
/// The kernel must access no more than `bytes.len()` bytes for this opcode and this content.
pub(crate) unsafe fn buffer(fd: impl AsFd, opcode: Opcode, bytes: &mut [u8]) -> io::Result<i32> {
    // SAFETY: the caller guarantees the length; the memory is borrowed for the whole call.
    Ok(unsafe { ioctl(fd, Buffer { opcode, bytes }) }?)
}

/// An ioctl whose argument is the integer itself, not a pointer.
struct Integer {
    opcode: Opcode,
    argument: usize,
}

// SAFETY: the "pointer" is an integer by the definition of these opcodes; neither side dereferences it.
unsafe impl Ioctl for Integer {
    type Output = IoctlOutput;

    const IS_MUTATING: bool = false;

    fn opcode(&self) -> Opcode {
        self.opcode
    }

    fn as_ptr(&mut self) -> *mut std::ffi::c_void {
        std::ptr::without_provenance_mut(self.argument)
    }

    unsafe fn output_from_ptr(
        output: IoctlOutput,
        _: *mut std::ffi::c_void,
    ) -> rustix::io::Result<IoctlOutput> {
        Ok(output)
    }
}

/// Calls `opcode` with an integer argument.
///
/// # Safety
///
/// The opcode must take an integer or no argument: the kernel must not dereference it.
pub(crate) unsafe fn integer(fd: impl AsFd, opcode: Opcode, argument: usize) -> io::Result<i32> {
    // SAFETY: the caller guarantees that the opcode takes an integer.
    Ok(unsafe { ioctl(fd, Integer { opcode, argument }) }?)
}

/// Writes `value` at `offset` of a structure. A field that does not fit is a bug in the caller's constants.
pub(crate) fn put(bytes: &mut [u8], offset: usize, value: &[u8]) {
    match offset.checked_add(value.len()).and_then(|end| bytes.get_mut(offset..end)) {
        Some(field) => field.copy_from_slice(value),
        None => unreachable!("a field lies outside of its structure"),
    }
}

/// The `N` bytes at `offset`, filled with zeroes if the kernel's answer is shorter.
pub(crate) fn get<const N: usize>(bytes: &[u8], offset: usize) -> [u8; N] {
    bytes.get(offset..).and_then(|rest| rest.first_chunk::<N>()).copied().unwrap_or([0; N])
}
