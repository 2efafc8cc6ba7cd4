//! Names: the check of paths, and the directory entries of a name. Each name has a short entry (8.3, capital letters). A name that is not a
//! valid short name also has a long name, whose pieces are before the short entry.

use super::EspError;
use super::format::{ATTRIBUTE_LONG, LONG_LAST, LONG_UNITS, Long, Short, checksum};
use std::collections::BTreeSet;
use zerocopy::little_endian::U16;
use zerocopy::{FromZeros, IntoBytes};

pub(super) fn is_path(path: &str) -> bool {
    path.split('/').all(|part| {
        (1..=64).contains(&part.len())
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._+~-".contains(&byte))
            && !part.ends_with('.')
    })
}

/// The numbers that fit after the `~` of a short name.
const ALIASES: std::ops::RangeInclusive<u32> = 1..=9_999_999;

/// The short name of each name of a directory, in the given order. Names that are valid short names are reserved first, so that no alias
/// is equal to one of them.
pub(super) fn shorten(names: &[&str]) -> Result<Vec<[u8; 11]>, EspError> {
    let mut taken: BTreeSet<[u8; 11]> = names.iter().filter_map(|name| exact(name)).collect();
    names
        .iter()
        .map(|name| {
            if let Some(exact) = exact(name) {
                return Ok(exact);
            }
            let mut aliases = ALIASES.map(|number| alias(name, number));
            let alias = aliases.find(|alias| !taken.contains(alias));
            let alias = alias.ok_or_else(|| EspError::ShortName((*name).to_owned()))?;
            taken.insert(alias);
            Ok(alias)
        })
        .collect()
}

/// Converts a name that is already a valid short name: capital letters, digits and `-~_`, at most one dot.
fn exact(name: &str) -> Option<[u8; 11]> {
    let (base, extension) = name.split_once('.').unwrap_or((name, ""));
    let fits = |part: &str, most: usize| {
        part.len() <= most
            && part
                .bytes()
                .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || b"-~_".contains(&byte))
    };
    let dot_without_extension = extension.is_empty() && name.contains('.');
    (!base.is_empty() && fits(base, 8) && fits(extension, 3) && !dot_without_extension)
        .then(|| join(base, extension))
}

/// The generated short name `NAME~1.EXT` of a long name.
fn alias(name: &str, number: u32) -> [u8; 11] {
    let (base, extension) = name.rsplit_once('.').unwrap_or((name, ""));
    let clean = |part: &str, most: usize| -> String {
        let kept = part.chars().filter(|letter| *letter != '.').take(most);
        kept.map(|letter| if letter == '+' { '_' } else { letter.to_ascii_uppercase() }).collect()
    };
    let tail = format!("~{number}");
    let base = clean(base, 8 - tail.len()) + &tail;
    join(&base, &clean(extension, 3))
}

fn join(base: &str, extension: &str) -> [u8; 11] {
    let mut name = [b' '; 11];
    let (to_base, to_extension) = name.split_at_mut(8);
    for (to, from) in to_base.iter_mut().zip(base.bytes()) {
        *to = from;
    }
    for (to, from) in to_extension.iter_mut().zip(extension.bytes()) {
        *to = from;
    }
    name
}

/// The directory entries of one name.
pub(super) fn push_entries(directory: &mut Vec<u8>, name: &str, short: &Short) {
    if exact(name) != Some(short.name) {
        let units: Vec<u16> = name.encode_utf16().collect();
        let pieces: Vec<(u8, &[u16])> = (1u8..).zip(units.chunks(LONG_UNITS)).collect();
        for (order, piece) in pieces.iter().rev() {
            let mut long = Long::new_zeroed();
            let last = usize::from(*order) == pieces.len();
            long.order = if last { order | LONG_LAST } else { *order };
            long.attributes = ATTRIBUTE_LONG;
            long.checksum = checksum(&short.name);
            // The name is followed by one NUL and then by 0xFFFF.
            let padding = [0u16].into_iter().chain(std::iter::repeat(0xffff));
            for (to, unit) in long.units_mut().zip(piece.iter().copied().chain(padding)) {
                *to = U16::new(unit);
            }
            directory.extend_from_slice(long.as_bytes());
        }
    }
    directory.extend_from_slice(short.as_bytes());
}
