//! The agreed time that STATE keeps: the lower bound of the clock for the next boot.
//!
//! It has a file of its own, because it changes every few minutes and may be lost without harm: the node's record and its
//! copies in the anchors have the epoch of the image. The time never decreases, and the file has its old or its new content
//! after a power cut. A file that cannot be read counts as no time; it never stops a boot.

use std::fs;
use std::io;
use std::path::Path;

use kubedos_base::atomic;
use serde::{Deserialize, Serialize};

use super::{LATEST, Wall};

const FILE: &str = "clock.toml";
const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Saved {
    version: u32,
    /// Seconds since 1970.
    agreed: u64,
}

/// The saved time; `None` if there is none, or none that this release understands.
pub fn load(state: &Path) -> Option<Wall> {
    let text = fs::read_to_string(state.join(FILE)).ok()?; // absent before the first agreement
    let saved: Saved = toml::from_str(&text).ok()?; // see the head of the module
    let time = Wall::from_secs(saved.agreed);
    (saved.version == VERSION && time <= LATEST).then_some(time)
}

/// Saves a time, unless a later one is saved.
pub fn store(state: &Path, time: Wall) -> io::Result<()> {
    if load(state).is_some_and(|saved| saved >= time) {
        return Ok(());
    }
    let saved = Saved { version: VERSION, agreed: time.secs() };
    let text = toml::to_string(&saved).map_err(io::Error::other)?;
    atomic::replace(state, FILE, text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_time_is_kept() {
        let state = tempfile::tempdir().unwrap();
        assert_eq!(load(state.path()), None);
        let time = Wall::from_secs;
        for (stored, kept) in
            [(1_800_000_000, 1_800_000_000), (1_700_000_000, 1_800_000_000), (1_800_000_300, 1_800_000_300)]
        {
            store(state.path(), time(stored)).unwrap();
            assert_eq!(load(state.path()), Some(time(kept)));
        }
        assert_eq!(
            fs::read_to_string(state.path().join(FILE)).unwrap(),
            "version = 1\nagreed = 1800000300\n"
        );
    }

    /// A damaged file, one of a later release, and a time that the kernel would refuse give no floor, and are replaced.
    #[test]
    fn a_file_that_cannot_be_used_counts_as_none() {
        let state = tempfile::tempdir().unwrap();
        for text in [
            "",
            "version = 1",
            "version = 2\nagreed = 1",
            "version = 1\nagreed = -1",
            "version = 1\nagreed = 99999999999",
        ] {
            fs::write(state.path().join(FILE), text).unwrap();
            assert_eq!(load(state.path()), None, "{text}");
        }
        fs::write(state.path().join(FILE), [0xff; 40]).unwrap();
        assert_eq!(load(state.path()), None);
        store(state.path(), Wall::from_secs(5)).unwrap();
        assert_eq!(load(state.path()), Some(Wall::from_secs(5)));
    }
}
