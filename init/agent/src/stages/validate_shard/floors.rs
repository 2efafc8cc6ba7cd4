//! Compares a boot with the floors in the seed and with the incarnation that the configuration expects. Pure.
//!
//! The floors in the seed also protect a node with an empty disk, which has no record. Whether the configuration allows
//! this release was checked with the configuration itself (`kubedos_wire::accept`). The node's record in STATE is checked
//! after STATE is open (`stages::disks`).

use std::fmt;

use kubedos_wire::release::Release;
use kubedos_wire::statement::{Floors, Seed};

/// The release and the generation of this boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Booted {
    /// The release of the image.
    pub release: Release,
    /// The configuration's generation.
    pub generation: u64,
}

/// The node, the incarnation and the floors in a seed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claimed {
    /// The node's name.
    pub node: String,
    /// The incarnation of the node, from 1.
    pub incarnation: u32,
    /// The lowest generation and release that the node may boot; `None` in a seed of version 1, which has no floors.
    pub floors: Option<Floors>,
}

impl Claimed {
    /// The part of a verified seed that is not secret.
    pub fn of(seed: &Seed) -> Self {
        Self { node: seed.node.clone(), incarnation: seed.incarnation, floors: seed.floors.clone() }
    }
}

/// The seed has a later incarnation than the configuration expects: the node was replaced after the image was built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Newer {
    /// The incarnation that the configuration expects.
    pub expected: u32,
}

impl fmt::Display for Newer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "later than incarnation {}, which the configuration expects", self.expected)
    }
}

/// Why a boot is refused. Each message contains both values and a remedy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FloorError {
    /// The node was replaced after the seed was minted.
    #[error(
        "the seed of {node} has incarnation {found}, but the configuration expects incarnation {expected}: attach the seed with that incarnation"
    )]
    Incarnation {
        /// The node.
        node: String,
        /// In the seed.
        found: u32,
        /// In the configuration.
        expected: u32,
    },
    /// The configuration is older than the seed permits.
    #[error(
        "the configuration has generation {found}, below the floor {floor} of the seed: boot an image of generation {floor} or later, or mint the seed with --generation-floor {found}"
    )]
    Generation {
        /// The generation of this boot.
        found: u64,
        /// In the seed.
        floor: u64,
    },
    /// The release is older than the seed permits.
    #[error(
        "this is release {found}, below the floor {floor} of the seed: boot an image of release {floor} or later, or mint the seed with --minimum-release {found}"
    )]
    Release {
        /// The release of this boot.
        found: Release,
        /// In the seed.
        floor: Release,
    },
}

/// Compares a boot with the floors of its seed and with the incarnation that its configuration expects.
///
/// # Errors
/// An error for the first floor that is higher than the value of this boot.
pub fn judge(booted: &Booted, seed: &Claimed, expected: u32) -> Result<Option<Newer>, FloorError> {
    if let Some(Floors { generation, release }) = &seed.floors {
        if booted.release < *release {
            return Err(FloorError::Release { found: booted.release.clone(), floor: release.clone() });
        }
        if booted.generation < *generation {
            return Err(FloorError::Generation { found: booted.generation, floor: *generation });
        }
    }
    if seed.incarnation < expected {
        let (node, found) = (seed.node.clone(), seed.incarnation);
        return Err(FloorError::Incarnation { node, found, expected });
    }
    Ok((seed.incarnation > expected).then_some(Newer { expected }))
}

/// The floors that the node records after an accepted boot: the running generation, and the releases that its seed and
/// its configuration demand. The running release is not a floor by itself, because a failed update boots the previous
/// release again.
pub fn accepted(booted: &Booted, seed: &Seed, configuration: Option<&Release>) -> Floors {
    let demanded = seed.floors.as_ref().map(|floors| &floors.release);
    let least = demanded.max(configuration).cloned().unwrap_or_else(|| Release::new(0, 0, 0));
    let generation = seed.floors.as_ref().map_or(0, |floors| floors.generation).max(booted.generation);
    Floors { generation, release: least }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn booted(generation: u64, release: &str) -> Booted {
        Booted { release: release.parse().unwrap(), generation }
    }

    fn seed(incarnation: u32, floors: Option<(u64, &str)>) -> Claimed {
        let floors =
            floors.map(|(generation, release)| Floors { generation, release: release.parse().unwrap() });
        Claimed { node: "cp-1".into(), incarnation, floors }
    }

    /// C0: each message contains both values and a remedy.
    #[test]
    fn a_boot_below_a_floor_is_refused_with_both_values() {
        for (boot, seed, expected, says) in [
            (
                booted(3, "0.1.0"),
                seed(1, Some((4, "0.1.0"))),
                1,
                ["generation 3", "floor 4", "--generation-floor 3"],
            ),
            (
                booted(4, "0.9.0"),
                seed(1, Some((4, "0.10.0"))),
                1,
                ["release 0.9.0", "floor 0.10.0", "--minimum-release 0.9.0"],
            ),
            (
                booted(4, "0.1.0"),
                seed(1, Some((4, "0.1.0"))),
                2,
                ["incarnation 1", "expects incarnation 2", "attach the seed"],
            ),
            (booted(4, "0.1.0"), seed(1, None), 2, ["incarnation 1", "expects incarnation 2", "cp-1"]),
        ] {
            let refused = judge(&boot, &seed, expected).unwrap_err().to_string();
            assert!(says.iter().all(|part| refused.contains(part)), "{refused}");
            assert!(refused.len() < 400, "it fits a console record: {refused}");
        }
    }

    #[test]
    fn a_boot_at_or_above_its_floors_is_accepted() {
        let floors = Some((4, "0.2.0"));
        assert_eq!(judge(&booted(4, "0.2.0"), &seed(2, floors), 2), Ok(None));
        assert_eq!(judge(&booted(9, "1.0.0-rc.1"), &seed(2, floors), 1), Ok(Some(Newer { expected: 1 })));
    }

    /// Seeds of releases without floors can still be booted.
    #[test]
    fn a_seed_without_floors_boots_any_generation_and_release() {
        assert_eq!(judge(&booted(0, "0.0.1"), &seed(1, None), 1), Ok(None));
    }

    proptest! {
        /// C0: in any sequence of boots of old and new images with old and new seeds, no boot below a floor of its seed or
        /// of its configuration is accepted. The floor of the accepted boots decreases only with a seed that was minted
        /// with a lower floor.
        #[test]
        fn no_sequence_of_boots_goes_below_the_floors_of_its_seed(
            boots in proptest::collection::vec((0u64..6, 0u64..4, 1u32..4, 0usize..4), 1..20),
            seeds in proptest::collection::vec((1u32..4, proptest::option::weighted(0.8, (0u64..6, 0u64..4))), 4),
        ) {
            let mut accepted: Vec<(usize, Booted)> = Vec::new();
            for (generation, minor, expected, with) in boots {
                let boot = Booted { release: Release::new(0, minor, 0), generation };
                let (incarnation, floors) = seeds[with];
                let claimed = Claimed {
                    node: "cp-1".into(),
                    incarnation,
                    floors: floors.map(|(generation, minor)| Floors { generation, release: Release::new(0, minor, 0) }),
                };
                let below = incarnation < expected
                    || floors.is_some_and(|(floor, least)| generation < floor || minor < least);
                prop_assert_eq!(judge(&boot, &claimed, expected).is_err(), below);
                if !below {
                    accepted.push((with, boot));
                }
            }
            for pair in accepted.windows(2) {
                let [(before, _), (after, boot)] = pair else { unreachable!() };
                let (Some(old), Some(new)) = (seeds[*before].1, seeds[*after].1) else { continue };
                let decreased = boot.generation < old.0 || boot.release < Release::new(0, old.1, 0);
                prop_assert!(!decreased || new.0 < old.0 || new.1 < old.1, "only a seed with a lower floor lowers it");
            }
        }
    }
}
