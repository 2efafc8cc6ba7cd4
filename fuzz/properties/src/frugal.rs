//! The limit of the memory of parsers: it depends on the length of the input.

/// The maximum sum of all allocations of a parser. It limits the memory at any time, and also repeated work.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Most {
    /// Bytes per byte of the input.
    pub(crate) factor: usize,
    /// Bytes for any input.
    pub(crate) constant: usize,
}

/// No allocation: a parser that only borrows.
pub(crate) const NOTHING: Most = Most { factor: 0, constant: 0 };
/// A parser that allocates lists of results and error messages.
pub(crate) const LITTLE: Most = Most { factor: 8, constant: 4 << 10 };

/// Calls `parse`, and panics if it allocates more memory than `most` allows for an input of this length. Allocations of other threads are
/// not counted.
pub(crate) fn frugal<T>(most: Most, length: usize, parse: impl FnOnce() -> T) -> T {
    let mut parsed = None;
    let allocated = allocation_counter::measure(|| parsed = Some(parse())).bytes_total;
    let allowed = most.factor.saturating_mul(length).saturating_add(most.constant) as u64;
    assert!(
        allocated <= allowed,
        "the parser allocated {allocated} bytes for {length} bytes of input, more than the limit of {allowed}"
    );
    parsed.unwrap()
}
