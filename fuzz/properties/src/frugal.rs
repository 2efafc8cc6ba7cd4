//! Memory: what a parser asks for is bounded by what it was given.

/// What a parser may ask for, all its requests added up: so this bounds what it holds at any time, and work that is done again and again.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Most {
    /// Bytes for each byte of the input.
    pub(crate) factor: usize,
    /// Bytes whatever the input.
    pub(crate) constant: usize,
}

/// No memory at all: a parser that borrows.
pub(crate) const NOTHING: Most = Most { factor: 0, constant: 0 };
/// A parser with lists of what it found, and messages of what it did not.
pub(crate) const LITTLE: Most = Most { factor: 8, constant: 4 << 10 };

/// Parses, and panics if that asked for more memory than `most` allows for an input of that length. Other threads are not counted.
pub(crate) fn frugal<T>(most: Most, length: usize, parse: impl FnOnce() -> T) -> T {
    let mut parsed = None;
    let asked = allocation_counter::measure(|| parsed = Some(parse())).bytes_total;
    let allowed = most.factor.saturating_mul(length).saturating_add(most.constant) as u64;
    assert!(
        asked <= allowed,
        "{length} bytes of input made it ask for {asked} bytes of memory, more than {allowed}"
    );
    parsed.unwrap()
}
