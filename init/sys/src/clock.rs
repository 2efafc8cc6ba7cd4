//! The rate of the system clock (adjtimex(2)).

use std::io;

/// Makes the clock faster or slower until it has gained this many microseconds, by at most 500 in each second. It replaces an
/// earlier request (`ADJ_OFFSET_SINGLESHOT`). The monotonic clocks run equally, so the difference between the clocks stays.
///
/// # Errors
/// The kernel's error: the process may not adjust the clock.
pub fn slew(microseconds: i64) -> io::Result<()> {
    // SAFETY: all fields of `timex` are integers, for which zero is a value.
    let mut request: libc::timex = unsafe { std::mem::zeroed() };
    request.modes = libc::ADJ_OFFSET_SINGLESHOT;
    request.offset = microseconds;
    // SAFETY: the pointer is to a whole `timex`, which the call reads and writes and does not keep.
    match unsafe { libc::adjtimex(&raw mut request) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A slew by nothing ends an earlier one, or is refused without the permission.
    #[test]
    fn the_kernel_slews_or_refuses() {
        if let Err(error) = slew(0) {
            assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
        }
    }
}
