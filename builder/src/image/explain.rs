//! Explains each part of an image: its inputs, whether it was built or reused, and how its inputs differ from the previous build.
//!
//! The previous build in the same output folder recorded its inputs in `run.json`. Labels of inputs are shown to people; digests are not.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::Path;

use serde::Serialize;

use crate::cache_key::Inputs;
use crate::image::volume::SealedVolume;

/// The most changes of one part that are listed; further ones are counted.
const MOST: usize = 6;

/// One part of the image and its source: the store, or this build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explained {
    /// The part's name.
    pub part: &'static str,
    /// True if the part came from the store.
    pub reused: bool,
    /// The size in bytes.
    pub bytes: u64,
    /// The inputs of the part.
    pub inputs: Inputs,
    /// The work of building it; `None` for parts that do not record it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub work: Option<Work>,
}

/// The work for a part: the completed steps, and the number of results that the store already contained.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Work {
    /// The number of packages in the part.
    pub packages: usize,
    /// The names of the packages that were unpacked.
    pub unpacked: Vec<String>,
    /// The number of segments of its files (see the glossary).
    pub segments: usize,
    /// The number of segments that were compressed.
    pub compressed: usize,
}

/// The comparison of a part's inputs with the previous build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// No previous build is known.
    Unknown,
    /// The inputs are the same.
    Unchanged,
    /// The inputs differ; each entry describes one difference.
    Changed(Vec<String>),
}

/// Returns the version, which precedes the digest.
fn version(value: &str) -> Option<&str> {
    value.split_once(' ').map(|(version, _)| version)
}

impl Explained {
    /// Creates the entry of a part that is a file.
    ///
    /// # Errors
    /// If the size of the file cannot be read.
    pub fn file(part: &'static str, reused: bool, path: &Path, inputs: Inputs) -> io::Result<Self> {
        let bytes = std::fs::metadata(path)?.len();
        Ok(Self { part, reused, bytes, inputs, work: None })
    }

    /// Creates the entry of a part that is a volume.
    ///
    /// # Errors
    /// If the size of the volume's data cannot be read.
    pub fn volume(volume: &SealedVolume, inputs: Inputs) -> io::Result<Self> {
        let work = volume.written.map(|written| Work {
            segments: written.segments,
            compressed: written.segments - written.cached_segments,
            ..Work::default()
        });
        let part = Self::file(volume.volume.name(), work.is_none(), &volume.data, inputs)?;
        Ok(Self { work, ..part })
    }

    /// Compares the inputs with those of the same part in the previous build.
    pub fn why(&self, before: &BTreeMap<String, String>) -> Why {
        let now = self.inputs.shown();
        let removed =
            before.keys().filter(|label| !now.contains_key(*label)).map(|label| format!("- {label}"));
        let changes = now.iter().filter_map(|(label, value)| match before.get(label) {
            None => Some(format!("+ {label}")),
            Some(old) if old == value => None,
            Some(old) => Some(match (version(old), version(value)) {
                (Some(old), Some(new)) if old != new => format!("{label} {old} → {new}"),
                _ => label.clone(),
            }),
        });
        let changes: Vec<String> = changes.chain(removed).collect();
        if changes.is_empty() { Why::Unchanged } else { Why::Changed(changes) }
    }

    /// Returns the source of the part and the reason as text. The second text, if any, describes the work.
    pub fn words(&self, why: &Why) -> (String, Option<String>) {
        let first = match (self.reused, why) {
            (true, Why::Unchanged) => "as before".to_owned(),
            (true, _) => "from the store".to_owned(),
            (false, Why::Unknown) => "built: no previous build in this folder".to_owned(),
            (false, Why::Unchanged) => {
                "built: its inputs are as before, but it was not in the store".to_owned()
            }
            (false, Why::Changed(changes)) => {
                let shown: Vec<&str> = changes.iter().take(MOST).map(String::as_str).collect();
                let more = changes.len().saturating_sub(MOST);
                let more = if more == 0 { String::new() } else { format!(", and {more} more") };
                format!("built, changed: {}{more}", shown.join(", "))
            }
        };
        (first, self.work.as_ref().map(ToString::to_string))
    }
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { packages, unpacked, segments, compressed } = self;
        if *packages > 0 {
            write!(f, "{} of {packages} packages unpacked", unpacked.len())?;
            if (1..=MOST).contains(&unpacked.len()) {
                write!(f, " ({})", unpacked.join(", "))?;
            }
            f.write_str(", ")?;
        }
        write!(f, "{compressed} of {segments} segments compressed")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(inputs: Inputs, reused: bool) -> Explained {
        Explained { part: "root", reused, bytes: 1, inputs, work: None }
    }

    fn inputs(libc: &str, init: &str) -> Inputs {
        Inputs::new("root", 1).with_version("libc6", libc, libc.as_bytes()).with("kubedos-agent", init)
    }

    #[test]
    fn only_changed_inputs_are_listed() {
        let now = part(inputs("2.41-13", "b"), false);
        for (old, expected) in [
            (inputs("2.41-13", "b"), Why::Unchanged),
            (inputs("2.41-12", "b"), Why::Changed(vec!["libc6 2.41-12 → 2.41-13".into()])),
            (inputs("2.41-13", "a"), Why::Changed(vec!["kubedos-agent".into()])),
            (
                Inputs::new("root", 1).with("gone", "x").with("kubedos-agent", "b"),
                Why::Changed(vec!["+ libc6".into(), "- gone".into()]),
            ),
        ] {
            assert_eq!(now.why(old.shown()), expected);
        }
    }

    #[test]
    fn a_changed_digest_of_the_same_version_is_a_change() {
        let of = |bytes: &str| Inputs::new("root", 1).with_version("libc6", "2.41-12", bytes.as_bytes());
        assert_eq!(part(of("2"), false).why(of("1").shown()), Why::Changed(vec!["libc6".into()]));
    }

    #[test]
    fn the_text_contains_the_source_and_the_reason() {
        let changed = |count: usize| Why::Changed((0..count).map(|number| format!("p{number}")).collect());
        for (reused, why, words) in [
            (true, Why::Unchanged, "as before"),
            (true, changed(1), "from the store"),
            (false, changed(2), "built, changed: p0, p1"),
            (false, changed(9), "built, changed: p0, p1, p2, p3, p4, p5, and 3 more"),
        ] {
            assert_eq!(part(inputs("1", "a"), reused).words(&why).0, words);
        }
        let work = Work { packages: 141, unpacked: vec!["libc6".into()], segments: 40, compressed: 2 };
        assert_eq!(work.to_string(), "1 of 141 packages unpacked (libc6), 2 of 40 segments compressed");
    }
}
