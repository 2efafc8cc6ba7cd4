//! Signatures: domains, counting by member, and keys that anybody can sign for.

use kubedos_wire::hex32::{KeyId, PublicKey};
use kubedos_wire::membership::codec::{Encoded, Problem};
use kubedos_wire::membership::keys::{PlaneKey, SignerKey};
use kubedos_wire::membership::records::{
    EnrolmentRequest, FreshnessProof, GenesisHello, PlaneKeyChange, RosterRoot,
};
use kubedos_wire::membership::signature::{MAX_SIGNATURES, Signable, Signature, Signatures};
use kubedos_wire::statement::{Domain, SignError, Signer, StatementError};
use kubedos_wire::value::WireguardKey;
use proptest::prelude::*;
use ring::signature::{ED25519, UnparsedPublicKey};

use super::fixture::{CONTROL_PLANES, Key, authority, node, request, signatures, started};

/// The points of small order as others publish them, with both signs, and the encodings of coordinates that are not reduced.
const SMALL_OR_UNREDUCED_Y: [&str; 7] = [
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000000",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
];
const SMALL_OR_UNREDUCED_U: [&str; 7] = [
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000000",
    "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
    "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
];

fn bytes(text: &str) -> [u8; 32] {
    hex::decode(text).unwrap().try_into().unwrap()
}

fn with_bit_255(mut key: [u8; 32]) -> [u8; 32] {
    key[31] |= 0x80;
    key
}

/// Anybody can sign for the neutral point: R = S·B verifies for every message. The verifier accepts it, so the key must not.
#[test]
fn a_key_of_small_order_is_refused_because_anybody_can_sign_for_it() {
    let neutral = bytes(SMALL_OR_UNREDUCED_Y[1]);
    let mut forged = [0; 64];
    forged[..32].copy_from_slice(&neutral);
    assert!(UnparsedPublicKey::new(&ED25519, neutral).verify(b"any message", &forged).is_ok());
    for text in SMALL_OR_UNREDUCED_Y {
        for key in [bytes(text), with_bit_255(bytes(text))] {
            assert!(SignerKey::new(PublicKey::new(key)).is_err(), "{text}");
        }
    }
    for text in SMALL_OR_UNREDUCED_U {
        for key in [bytes(text), with_bit_255(bytes(text))] {
            assert!(PlaneKey::new(WireguardKey::new(key)).is_err(), "{text}");
        }
    }
}

#[test]
fn a_key_has_exactly_one_encoding() {
    for first in 0xed..=0xff {
        let mut unreduced = [0xff; 32];
        (unreduced[0], unreduced[31]) = (first, 0x7f);
        assert!(SignerKey::new(PublicKey::new(unreduced)).is_err());
        assert!(SignerKey::new(PublicKey::new(with_bit_255(unreduced))).is_err());
        assert!(PlaneKey::new(WireguardKey::new(unreduced)).is_err());
    }
    let mut largest = [0xff; 32];
    (largest[0], largest[31]) = (0xeb, 0x7f);
    assert!(PlaneKey::new(WireguardKey::new(largest)).is_ok());
    assert!(PlaneKey::new(WireguardKey::new(with_bit_255(largest))).is_err());
    // Bit 255 of an Ed25519 key is the sign of x, so both values are keys.
    assert!(SignerKey::new(PublicKey::new(largest)).is_ok());
    assert!(SignerKey::new(PublicKey::new(with_bit_255(largest))).is_ok());
}

/// A signature of one kind of record is not one of another kind, nor of a statement.
#[test]
fn every_kind_has_its_own_domain() {
    let records = [
        EnrolmentRequest::DOMAIN,
        PlaneKeyChange::DOMAIN,
        RosterRoot::DOMAIN,
        FreshnessProof::DOMAIN,
        GenesisHello::DOMAIN,
    ];
    let statements = [
        Domain::Configuration,
        Domain::Seed,
        Domain::Grant,
        Domain::Authority,
        Domain::Genesis,
        Domain::ArmList,
        Domain::Order,
    ];
    let all: Vec<&str> = records.into_iter().chain(statements.map(Domain::as_str)).collect();
    let distinct: std::collections::BTreeSet<_> = all.iter().collect();
    assert_eq!(distinct.len(), all.len());
    assert!(all.iter().all(|domain| domain.starts_with("kubedos ") && !domain.contains('\0')));

    let request = request(&node("w-1", 4));
    let key = Key::new("voucher");
    let message = [b"kubedos keys v1\0", &request.encode()[..]].concat();
    let wrong = Signature { key: key.signer().id(), ed25519: key.sign(&message).unwrap() };
    assert!(!request.is_signed_by(&key.signer(), &wrong));
    let message = [b"kubedos enrol v1\0", &request.encode()[..]].concat();
    let right = Signature { key: key.signer().id(), ed25519: key.sign(&message).unwrap() };
    assert!(request.is_signed_by(&key.signer(), &right) && request.sign(&key).unwrap() == right);
    let other_id = Signature { key: Key::new("node").signer().id(), ..right };
    assert!(!request.is_signed_by(&key.signer(), &other_id));
}

#[test]
fn a_signer_that_signs_with_another_key_is_noticed() {
    struct Mismatched;
    impl Signer for Mismatched {
        type Error = std::io::Error;
        fn public_key(&self) -> PublicKey {
            Key::new("one").public_key()
        }
        fn sign(&self, message: &[u8]) -> Result<[u8; 64], std::io::Error> {
            Key::new("other").sign(message)
        }
    }
    let result = request(&node("w-1", 4)).sign(&Mismatched);
    assert!(matches!(result, Err(SignError::Statement(StatementError::BadSignature))));
}

/// Attack: one control plane signs twice, repeats its signature, adds signatures of keys that nobody knows, and uses those of
/// others for another root.
#[test]
fn one_member_signing_twice_counts_once() {
    let set = authority(1, &CONTROL_PLANES);
    let root = started().root().clone();
    let other = RosterRoot { generation_floor: 1, ..root.clone() };
    let count = |signatures: &Signatures| set.body().signers(&root, signatures).len();
    let mut all = signatures(&root, &["cp-1"]);
    let own = all.iter().next().unwrap();
    assert!(all.add(own) && all.len() == 1, "an equal signature is already there");
    assert!(!all.add(Signature { ed25519: [7; 64], ..own }), "a key has one signature");
    assert_eq!(count(&all), 1);
    for stranger in ["x", "y"] {
        assert!(all.add(root.sign(&Key::new(stranger)).unwrap()));
    }
    for signature in signatures(&other, &["cp-2"]).iter() {
        assert!(all.add(signature));
    }
    assert!(all.add(Signature { key: Key::roster("cp-3").signer().id(), ed25519: own.ed25519 }));
    assert_eq!((count(&all), all.len()), (1, 5));
    // In the encoding, a key occurs once.
    let twice = [&2_u16.to_le_bytes()[..], &own.encode(), &own.encode()].concat();
    assert_eq!(Signatures::decode(&twice).unwrap_err().problem, Problem::Unsorted);
    assert_eq!(count(&signatures(&root, &["cp-3", "cp-1"])), 2);
}

#[test]
fn the_number_of_signatures_is_limited() {
    let mut all = Signatures::default();
    for number in 0..9 {
        assert!(all.add(Signature { key: KeyId::new([number; 32]), ed25519: [0; 64] }));
    }
    assert!(!all.add(Signature { key: KeyId::new([9; 32]), ed25519: [0; 64] }));
    assert_eq!((all.len(), MAX_SIGNATURES), (9, 9));
    let root = [&started().root().encode()[..], &all.encode()].concat();
    assert!(root.len() <= 1_126, "1.1 KiB with 9 signatures, but {}", root.len());
}

proptest! {
    /// Whatever else is in the list, exactly those members count who have signed this root.
    #[test]
    fn exactly_the_members_who_have_signed_count(
        valid in proptest::sample::subsequence(CONTROL_PLANES.to_vec(), 0..=3),
        broken in proptest::sample::subsequence(CONTROL_PLANES.to_vec(), 0..=3),
        byte in 0..64_usize,
        strangers in 0..4_u8,
    ) {
        let set = authority(1, &CONTROL_PLANES);
        let root = started().root().clone();
        let mut all = signatures(&root, &valid);
        for member in broken {
            let mut signature = root.sign(&Key::roster(member)).unwrap();
            signature.ed25519[byte] ^= 1;
            all.add(signature);
        }
        for stranger in 0..strangers {
            all.add(root.sign(&Key::new(&format!("stranger {stranger}"))).unwrap());
        }
        let counted: Vec<&str> = set.body().signers(&root, &all).into_iter().map(|name| name.as_str()).collect();
        prop_assert_eq!(counted, valid);
    }
}
