//! The node's seed (ADR 0002): found on the boot disk's seed partition or on any other whole device, read as bytes, believed only
//! when a seed key of this cluster has signed it. No kernel file system ever parses it.

pub mod media;

use kubedos_image::guid::Guid;
use kubedos_image::hex32::PublicKey;
use kubedos_image::iso::seed as volume;
use kubedos_image::iso::seed::SeedVolumeError;
use kubedos_image::layout::Role;
use kubedos_image::statement::{self, Domain, Seed, StatementError};
use zeroize::Zeroizing;

/// A seed volume that was found. Holds secrets: no `Debug`, wiped when dropped.
#[expect(missing_debug_implementations, reason = "holds secrets")]
pub struct Candidate {
    /// The kernel's name of the device or partition.
    pub device: String,
    /// Its bytes, at most [`volume::MAX_BYTES`].
    pub bytes: Zeroizing<Vec<u8>>,
}

/// Whose seeds are believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trust {
    /// The seed keys of `cluster.toml`.
    pub keys: Vec<PublicKey>,
    /// The cluster's id, hexadecimal.
    pub cluster_id: String,
}

/// Why a seed is refused.
#[derive(Debug, thiserror::Error)]
pub enum SeedError {
    /// It is marked as a seed, but is none.
    #[error("the seed on {device} cannot be read")]
    Volume {
        /// Where it was found.
        device: String,
        /// What is wrong.
        #[source]
        source: SeedVolumeError,
    },
    /// Nobody who may has signed it.
    #[error("the seed on {device} is refused")]
    Statement {
        /// Where it was found.
        device: String,
        /// What is wrong.
        #[source]
        source: StatementError,
    },
    /// It is signed, but does not say what a seed says.
    #[error("the seed on {device} cannot be understood")]
    Body {
        /// Where it was found.
        device: String,
        /// What is wrong.
        #[source]
        source: kubedos_image::DocumentError,
    },
    /// It is of another cluster.
    #[error("the seed on {device} is of cluster {theirs}, the configuration of cluster {ours}")]
    OtherCluster {
        /// Where it was found.
        device: String,
        /// In the seed.
        theirs: String,
        /// In the configuration.
        ours: String,
    },
    /// Nobody can say which one counts.
    #[error("there are two different seeds, on {0} and on {1}: remove one")]
    TwoSeeds(String, String),
}

/// The seed among the candidates; `None` when there is none. Equal copies are one seed. Pure.
pub fn judge(candidates: &[Candidate], trust: &Trust) -> Result<Option<(String, Seed)>, SeedError> {
    let Some((first, others)) = candidates.split_first() else { return Ok(None) };
    let statement = statement_of(first)?;
    for other in others {
        if statement_of(other)? != statement {
            return Err(SeedError::TwoSeeds(first.device.clone(), other.device.clone()));
        }
    }
    let device = || first.device.clone();
    let refused = |source| SeedError::Statement { device: device(), source };
    let verified = statement::read(statement)
        .and_then(|read| read.verify(Domain::Seed, &trust.keys))
        .map_err(refused)?;
    let seed = Seed::parse(&verified).map_err(|source| SeedError::Body { device: device(), source })?;
    let theirs = seed.cluster_id.to_string();
    if theirs == trust.cluster_id {
        Ok(Some((device(), seed)))
    } else {
        Err(SeedError::OtherCluster { device: device(), theirs, ours: trust.cluster_id.clone() })
    }
}

fn statement_of(candidate: &Candidate) -> Result<&[u8], SeedError> {
    volume::read(&candidate.bytes)
        .map_err(|source| SeedError::Volume { device: candidate.device.clone(), source })
}

/// The type of the boot disk's seed partition.
pub const fn partition_type() -> Guid {
    Role::Seed.type_guid()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use kubedos_image::hex32::{ClusterId, Secret32};
    use kubedos_image::statement::SeedParts;
    use ring::signature::{Ed25519KeyPair, KeyPair};

    struct Key(Ed25519KeyPair);

    impl Key {
        fn new(seed: u8) -> Self {
            Self(Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap())
        }

        fn public(&self) -> PublicKey {
            PublicKey::new(self.0.public_key().as_ref().try_into().unwrap())
        }
    }

    impl statement::Signer for Key {
        type Error = std::convert::Infallible;

        fn public_key(&self) -> PublicKey {
            self.public()
        }

        fn sign(&self, message: &[u8]) -> Result<[u8; 64], Self::Error> {
            Ok(self.0.sign(message).as_ref().try_into().unwrap())
        }
    }

    const OURS: [u8; 32] = [0x33; 32];

    fn trust() -> Trust {
        Trust { keys: vec![Key::new(1).public()], cluster_id: hex::encode(OURS) }
    }

    fn candidate(device: &str, node: &str, cluster: [u8; 32], signer: u8) -> Candidate {
        let seed = Seed::new(SeedParts {
            cluster: "lab".into(),
            cluster_id: ClusterId::new(cluster),
            node: node.into(),
            incarnation: 1,
            disk_key: Secret32::new([7; 32]),
            birth_key: Secret32::new([8; 32]),
            voucher: None,
        })
        .unwrap();
        let body = seed.emit().unwrap();
        let statement = statement::write(Domain::Seed, &body, &[&Key::new(signer)]).unwrap();
        Candidate { device: device.into(), bytes: Zeroizing::new(volume::write(&statement).unwrap()) }
    }

    fn refusal(candidates: &[Candidate]) -> String {
        match judge(candidates, &trust()) {
            Err(error) => crate::console::chain(&error),
            Ok(_) => panic!("accepted"),
        }
    }

    #[test]
    fn the_signed_seed_of_this_cluster_names_the_node() {
        let (device, seed) = judge(&[candidate("vdb", "cp-1", OURS, 1)], &trust()).unwrap().unwrap();
        assert_eq!((device.as_str(), seed.node.as_str()), ("vdb", "cp-1"));
        assert!(judge(&[], &trust()).unwrap().is_none());
    }

    /// C0: an unsigned or foreign seed halts, and says what it is.
    #[test]
    fn a_seed_of_others_is_refused_with_its_device() {
        let refused = refusal(&[candidate("vdb", "cp-1", OURS, 2)]);
        assert!(refused.contains("vdb") && refused.contains("not signed by any"), "{refused}");
        let refused = refusal(&[candidate("vdb", "cp-1", [0x44; 32], 1)]);
        assert!(refused.contains("of cluster 4444") && refused.contains("cluster 3333"), "{refused}");
        let mut cut = candidate("vdb", "cp-1", OURS, 1);
        cut.bytes.truncate(volume::PROBE_BYTES);
        assert!(refusal(&[cut]).contains("the seed on vdb cannot be read"));
        let mut flipped = candidate("vdb", "cp-1", OURS, 1);
        let at = flipped.bytes.windows(4).position(|window| window == b"cp-1").unwrap();
        flipped.bytes[at] = b'x';
        assert!(refusal(&[flipped]).contains("does not verify"));
    }

    #[test]
    fn two_different_seeds_are_refused_and_equal_copies_are_not() {
        let equal = [candidate("vda2", "cp-1", OURS, 1), candidate("vdb", "cp-1", OURS, 1)];
        assert_eq!(judge(&equal, &trust()).unwrap().unwrap().0, "vda2");
        let different = [candidate("vda2", "cp-1", OURS, 1), candidate("vdb", "cp-2", OURS, 1)];
        assert_eq!(refusal(&different), "there are two different seeds, on vda2 and on vdb: remove one");
    }
}
