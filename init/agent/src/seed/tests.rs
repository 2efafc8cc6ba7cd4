//! Tests of the choice among seed candidates that anybody may have attached.

use super::*;
use kubedos_wire::hex32::Secret32;
use kubedos_wire::release::Release;
use proptest::prelude::*;
use ring::signature::{Ed25519KeyPair, KeyPair};

pub(crate) struct Key(Ed25519KeyPair);

impl Key {
    pub(crate) fn new(seed: u8) -> Self {
        Self(Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap())
    }

    pub(crate) fn public(&self) -> PublicKey {
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

pub(crate) const OURS: [u8; 32] = [0x33; 32];

fn trust() -> Trust {
    Trust { keys: vec![Key::new(1).public(), Key::new(3).public()], cluster_id: ClusterId::new(OURS) }
}

/// A seed for tests: node, incarnation, generation floor (0: a seed of version 1), cluster, signer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Minted {
    pub(crate) node: &'static str,
    pub(crate) incarnation: u32,
    pub(crate) floor: u64,
    pub(crate) cluster: [u8; 32],
    pub(crate) signer: u8,
}

pub(crate) const GOOD: Minted = Minted { node: "cp-1", incarnation: 1, floor: 1, cluster: OURS, signer: 1 };

impl Minted {
    pub(crate) fn on(self, device: &str) -> Candidate {
        let floors =
            (self.floor > 0).then(|| Floors { generation: self.floor, release: Release::new(0, 1, 0) });
        let seed = Seed {
            cluster: "lab".into(),
            cluster_id: ClusterId::new(self.cluster),
            node: self.node.into(),
            incarnation: self.incarnation,
            floors,
            disk_key: Secret32::new([7; 32]),
            birth_key: Secret32::new([8; 32]),
            voucher: None,
        };
        let signer = Key::new(self.signer);
        let statement = statement::write(Domain::Seed, &seed.emit().unwrap(), &[&signer]).unwrap();
        Candidate { device: device.into(), bytes: Ok(Zeroizing::new(volume::write(&statement).unwrap())) }
    }
}

fn changed(mut candidate: Candidate, change: impl FnOnce(&mut Vec<u8>)) -> Candidate {
    change(candidate.bytes.as_mut().unwrap());
    candidate
}

fn flipped(candidate: Candidate) -> Candidate {
    changed(candidate, |bytes| {
        let at = bytes.windows(4).position(|window| window == b"cp-1").unwrap();
        bytes[at] = b'x';
    })
}

fn unreadable(device: &str) -> Candidate {
    Candidate { device: device.into(), bytes: Err(std::io::Error::from_raw_os_error(5)) }
}

/// Media that an attacker without a seed key can attach, each with the expected reason in the record.
fn attacks() -> Vec<(Candidate, &'static str)> {
    let at = |name| GOOD.on(name);
    vec![
        (Minted { signer: 2, ..GOOD }.on("vdx"), "not signed by a trusted key (trusted keys: 2)"),
        (Minted { cluster: [0x44; 32], ..GOOD }.on("vdx"), "belongs to cluster 4444"),
        (Minted { cluster: [0x44; 32], signer: 2, ..GOOD }.on("vdx"), "not signed by a trusted key"),
        (flipped(at("vdx")), "a signature does not verify"),
        (
            changed(at("vdx"), |bytes| bytes.truncate(volume::PROBE_BYTES)),
            "does not contain a usable seed volume",
        ),
        (changed(at("vdx"), |bytes| bytes[40_000..].fill(0)), "does not contain a usable seed volume"),
        (changed(at("vdx"), |bytes| bytes.fill(0xa5)), "not a seed volume"),
        (
            changed(at("vdx"), |bytes| {
                let at = bytes.windows(8).position(|window| window == b"KUBEDST1").unwrap();
                bytes[at..].fill(0);
            }),
            "the statement is empty (only zero bytes)",
        ),
        (unreadable("vdx"), "vdx cannot be read: Input/output error"),
    ]
}

#[test]
fn the_signed_seed_of_this_cluster_determines_the_node() {
    let found = judge(vec![GOOD.on("vdb")], &trust()).ok().unwrap().found.unwrap();
    assert_eq!((found.device.as_str(), found.seed.node.as_str()), ("vdb", "cp-1"));
    assert!(judge(Vec::new(), &trust()).ok().unwrap().found.is_none());
}

/// C0: a candidate that does not verify is skipped, and reported with its reason; no secret reaches the console.
#[test]
fn a_candidate_that_does_not_verify_is_reported_and_skipped() {
    for (attack, because) in attacks() {
        let judged = judge(vec![attack], &trust()).ok().unwrap();
        assert!(judged.found.is_none(), "{because}");
        let [skipped] = judged.skipped.as_slice() else { panic!("{because}") };
        let text = skipped.to_string();
        assert!(text.starts_with("vdx ") && text.contains(because), "{text}");
        assert!(!text.contains("0707") && !text.contains("0808"), "{text}");
    }
}

/// C0: no attached device prevents the use of the good seed, in any order of the devices.
#[test]
fn an_attached_device_cannot_disable_the_good_seed() {
    for before in [false, true] {
        for (attack, because) in attacks() {
            let mut candidates = vec![GOOD.on("vda partition 2")];
            candidates.insert(usize::from(!before), attack);
            let judged = judge(candidates, &trust()).ok().unwrap();
            assert_eq!(judged.found.unwrap().device, "vda partition 2", "{because}");
            assert!(judged.skipped[0].to_string().contains(because));
        }
    }
    let mut all: Vec<Candidate> = attacks().into_iter().map(|(attack, _)| attack).collect();
    all.insert(4, GOOD.on("vdb"));
    let judged = judge(all, &trust()).ok().unwrap();
    assert_eq!((judged.found.unwrap().device.as_str(), judged.skipped.len()), ("vdb", attacks().len()));
}

/// Identical copies count as one seed, even if the copies are signed by different seed keys.
#[test]
fn equal_copies_are_one_seed() {
    for other in [GOOD, Minted { signer: 3, ..GOOD }] {
        let judged = judge(vec![GOOD.on("vda2"), other.on("vdb")], &trust()).ok().unwrap();
        assert_eq!((judged.found.unwrap().device.as_str(), judged.skipped.len()), ("vda2", 0));
    }
}

/// A different node or incarnation, different floors, or an earlier version of the same seed: the agent has no rule to
/// choose one of the two.
#[test]
fn two_different_valid_seeds_are_refused_with_both_descriptions() {
    for (other, says) in [
        (Minted { node: "cp-2", ..GOOD }, "cp-2 incarnation 1 (generation 1, release 0.1.0 or newer) on vdb"),
        (
            Minted { incarnation: 2, ..GOOD },
            "cp-1 incarnation 2 (generation 1, release 0.1.0 or newer) on vdb",
        ),
        (Minted { floor: 9, ..GOOD }, "cp-1 incarnation 1 (generation 9, release 0.1.0 or newer) on vdb"),
        (Minted { floor: 0, ..GOOD }, "cp-1 incarnation 1 on vdb"),
    ] {
        let candidates = vec![GOOD.on("vda2"), unreadable("sr0"), other.on("vdb")];
        let refused = judge(candidates, &trust()).err().unwrap().to_string();
        let first = "cp-1 incarnation 1 (generation 1, release 0.1.0 or newer) on vda2";
        assert_eq!(
            refused,
            format!("there are two different seeds of this cluster: {first}, and {says}: remove one")
        );
    }
}

proptest! {
    /// The result depends only on the seeds that verify, not on other devices or the order.
    #[test]
    fn only_seeds_that_verify_affect_the_result(
        minted in proptest::collection::vec(
            (0usize..2, 1u32..3, 0u64..3, prop::bool::weighted(0.8), 1u8..4, any::<bool>()),
            0..5,
        ),
    ) {
        let seeds: Vec<(Minted, bool)> = minted
            .into_iter()
            .map(|(node, incarnation, floor, own, signer, broken)| {
                let cluster = if own { OURS } else { [0x44; 32] };
                (Minted { node: ["cp-1", "cp-2"][node], incarnation, floor, cluster, signer }, broken)
            })
            .collect();
        let valid: Vec<Minted> = seeds
            .iter()
            .filter(|(seed, broken)| !broken && seed.cluster == OURS && seed.signer != 2)
            .map(|(seed, _)| Minted { signer: 1, ..*seed })
            .collect();
        let candidates = seeds.iter().map(|(seed, broken)| {
            let candidate = seed.on("vdx");
            if *broken { changed(candidate, |bytes| bytes[43_150] ^= 1) } else { candidate }
        });
        let candidates: Vec<Candidate> = candidates.collect();
        let total = candidates.len();
        match (judge(candidates, &trust()), valid.split_first()) {
            (Ok(judged), None) => prop_assert!(judged.found.is_none() && judged.skipped.len() == total),
            (Ok(judged), Some((first, rest))) => {
                prop_assert!(rest.iter().all(|other| other == first));
                let found = judged.found.unwrap().seed;
                prop_assert_eq!((found.node.as_str(), found.incarnation), (first.node, first.incarnation));
                prop_assert_eq!(judged.skipped.len(), total - valid.len());
            }
            (Err(_), first) => {
                let (first, rest) = first.unwrap();
                prop_assert!(rest.iter().any(|other| other != first));
            }
        }
    }
}
