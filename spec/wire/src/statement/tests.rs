//! Tests of signed statements and seeds.

use super::*;
use crate::hex32::{ClusterId, PublicKey, RootHash, Salt, Secret32, sha256};
use crate::release::Release;
use crate::seal::Seal;
use proptest::prelude::*;
use ring::signature::{Ed25519KeyPair, KeyPair};
use zeroize::Zeroizing;

pub(crate) struct Key(Ed25519KeyPair);

impl Key {
    pub(crate) fn new(seed: u8) -> Self {
        Self(Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap())
    }
}

impl Signer for Key {
    type Error = std::io::Error;

    fn public_key(&self) -> PublicKey {
        PublicKey::new(self.0.public_key().as_ref().try_into().unwrap())
    }

    fn sign(&self, message: &[u8]) -> Result<[u8; 64], std::io::Error> {
        Ok(self.0.sign(message).as_ref().try_into().unwrap())
    }
}

/// Reports one public key and signs with a different key.
struct MismatchedSigner(Key, Key);

impl Signer for MismatchedSigner {
    type Error = std::io::Error;

    fn public_key(&self) -> PublicKey {
        self.0.public_key()
    }

    fn sign(&self, message: &[u8]) -> Result<[u8; 64], std::io::Error> {
        self.1.sign(message)
    }
}

const BODY: &str = "version = 1\n";

fn signed(domain: Domain, body: &str, keys: &[u8]) -> Vec<u8> {
    let keys: Vec<Key> = keys.iter().map(|key| Key::new(*key)).collect();
    write(domain, body, &keys.iter().collect::<Vec<_>>()).unwrap()
}

fn outcome(bytes: &[u8], domain: Domain, keys: &[PublicKey]) -> Result<String, StatementError> {
    read(bytes)?.verify(domain, keys).map(|verified| verified.body().to_owned())
}

#[test]
fn a_statement_has_pinned_bytes() {
    let bytes = signed(Domain::Configuration, BODY, &[1, 2]);
    assert_eq!(bytes.len(), 16 + 2 * 96 + BODY.len());
    assert_eq!(&bytes[..16], b"KUBEDST1\x0c\0\0\0\x02\0\0\0");
    assert_eq!(bytes[16..48], sha256(&[Key::new(1).public_key().as_bytes()]));
    assert_eq!(
        hex::encode(sha256(&[&bytes])),
        "45f3652697b31d3dda7b4059ec147a98c0b0bd88b3aaa651f2f37f525ecb4d5d"
    );
}

#[test]
fn a_trusted_signature_yields_the_body_even_from_a_whole_partition() {
    let mut bytes = signed(Domain::Seed, BODY, &[1, 2]);
    bytes.resize(1 << 20, 0);
    for keys in [&[1u8][..], &[2], &[9, 2], &[1, 2]] {
        let keys: Vec<PublicKey> = keys.iter().map(|key| Key::new(*key).public_key()).collect();
        assert_eq!(outcome(&bytes, Domain::Seed, &keys).unwrap(), BODY);
    }
}

/// C0: a signature by an unknown key or for a different purpose is not accepted.
#[test]
fn a_statement_with_an_unknown_key_or_a_different_domain_is_refused() {
    let bytes = signed(Domain::Seed, BODY, &[1]);
    let (own, foreign) = (Key::new(1).public_key(), Key::new(2).public_key());
    assert_eq!(outcome(&bytes, Domain::Seed, &[foreign]), Err(StatementError::UnknownSigner(1)));
    assert_eq!(outcome(&bytes, Domain::Seed, &[]), Err(StatementError::UnknownSigner(0)));
    assert_eq!(outcome(&bytes, Domain::Configuration, &[own]), Err(StatementError::BadSignature));
}

/// A5: every changed or appended byte is detected.
#[test]
fn a_flipped_bit_in_any_byte_is_refused() {
    let keys = [Key::new(1).public_key()];
    let mut bytes = signed(Domain::Configuration, BODY, &[1]);
    bytes.resize(400, 0);
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut bad = bytes.clone();
            bad[at] ^= 1 << bit;
            assert!(outcome(&bad, Domain::Configuration, &keys).is_err(), "byte {at}, bit {bit}");
        }
    }
    for len in 0..16 + 96 + BODY.len() {
        assert!(outcome(&bytes[..len], Domain::Configuration, &keys).is_err(), "{len}");
    }
}

#[test]
fn one_bad_signature_of_a_trusted_key_invalidates_the_statement() {
    let keys = [Key::new(1).public_key(), Key::new(2).public_key()];
    let mut bytes = signed(Domain::Configuration, BODY, &[1, 2]);
    bytes[16 + 96 + 40] ^= 1;
    assert_eq!(outcome(&bytes, Domain::Configuration, &keys), Err(StatementError::BadSignature));
    // A bad signature by an untrusted key is ignored.
    assert_eq!(outcome(&bytes, Domain::Configuration, &keys[..1]).unwrap(), BODY);
}

#[test]
fn malformed_bytes_are_refused_with_the_reason() {
    let error = |bytes: &[u8]| read(bytes).err().unwrap();
    assert_eq!(error(&[]), StatementError::Empty);
    assert_eq!(error(&[0; 4096]), StatementError::Empty);
    assert_eq!(error(&[7; 4096]), StatementError::Magic);
    let good = signed(Domain::Seed, BODY, &[1]);
    for (at, value, expected) in [
        (8, [1, 0, 1, 0], StatementError::Bounds("length of the body")),
        (12, [0, 0, 0, 0], StatementError::Bounds("number of signatures")),
        (12, [9, 0, 0, 0], StatementError::Bounds("number of signatures")),
        (12, [8, 0, 0, 0], StatementError::Truncated),
        (12, [1, 0, 0, 1], StatementError::NotZero),
    ] {
        let mut bad = good.clone();
        bad[at..at + 4].copy_from_slice(&value);
        assert_eq!(error(&bad), expected);
    }
}

#[test]
fn a_signer_that_signs_with_a_different_key_is_detected_before_writing() {
    let result = write(Domain::Seed, BODY, &[&MismatchedSigner(Key::new(1), Key::new(2))]);
    assert!(matches!(result, Err(SignError::Statement(StatementError::BadSignature))));
    assert!(write::<Key>(Domain::Seed, BODY, &[]).is_err());
    assert!(write(Domain::Seed, &"x".repeat(65_537), &[&Key::new(1)]).is_err());
}

const SEAL: Seal = Seal { root_hash: RootHash::new([1; 32]), salt: Salt::new([2; 32]), data_blocks: 12 };

fn configuration(body: &str) -> Result<ConfigurationStatement, crate::document::DocumentError> {
    let bytes = signed(Domain::Configuration, body, &[1]);
    let verified = read(&bytes).ok().unwrap().verify(Domain::Configuration, &[Key::new(1).public_key()]);
    ConfigurationStatement::parse(&verified.ok().unwrap())
}

fn seed(domain: Domain, body: &str) -> Result<Seed, crate::document::DocumentError> {
    let bytes = signed(domain, body, &[1]);
    let verified = read(&bytes).ok().unwrap().verify(domain, &[Key::new(1).public_key()]);
    Seed::parse(&verified.ok().unwrap())
}

const CONFIGURATION_1: &str = include_str!("golden/configuration-v1.toml");
const CONFIGURATION_2: &str = include_str!("golden/configuration-v2.toml");
const SEED_1: &str = include_str!("golden/seed-v1.toml");
const SEED_2: &str = include_str!("golden/seed-v2.toml");

#[test]
fn a_configuration_statement_round_trips_and_is_checked() {
    let id = ClusterId::new([3; 32]);
    let statement = ConfigurationStatement::new("lab".into(), id, 7, Release::new(0, 1, 0), SEAL).unwrap();
    assert_eq!(statement.emit().unwrap(), CONFIGURATION_2);
    let read = configuration(CONFIGURATION_2).unwrap();
    assert_eq!((&read, read.seal()), (&statement, SEAL));
    assert_eq!(configuration(&format!("later = 1\n{CONFIGURATION_2}")).unwrap(), statement);
    for (from, to) in [
        ("version = 2", "version = 3"),
        ("version = 2", "version = 0"),
        ("cluster = \"lab\"", "cluster = \"../lab\""),
        ("generation = 7", "generation = -1"),
        ("data_blocks = 12", "data_blocks = 0"),
        ("data_blocks = 12", "data_blocks = 8193"),
        ("minimum_release = \"0.1.0\"", "minimum_release = \"latest\""),
        ("minimum_release = \"0.1.0\"\n", ""),
        ("salt", "sale"),
    ] {
        let bad = CONFIGURATION_2.replacen(from, to, 1);
        assert_ne!(bad, CONFIGURATION_2);
        assert!(configuration(&bad).is_err(), "{to}");
    }
}

/// A statement of version 1 requires no release, even if it has an unknown field with that name.
#[test]
fn a_configuration_statement_of_version_1_requires_no_release() {
    let statement = configuration(CONFIGURATION_1).unwrap();
    assert_eq!((statement.minimum_release.as_ref(), statement.generation), (None, 7));
    assert_eq!(statement.emit().unwrap(), CONFIGURATION_1);
    assert_eq!(configuration(&format!("minimum_release = \"9.0.0\"\n{CONFIGURATION_1}")).unwrap(), statement);
}

fn a_seed(voucher: Option<&str>) -> Seed {
    Seed {
        cluster: "lab".into(),
        cluster_id: ClusterId::new([3; 32]),
        node: "cp-1".into(),
        incarnation: 2,
        floors: Some(Floors { generation: 6, release: Release::new(0, 1, 0) }),
        disk_key: Secret32::new([4; 32]),
        birth_key: Secret32::new([5; 32]),
        voucher: voucher.map(|voucher| Zeroizing::new(voucher.to_owned())),
    }
}

#[test]
fn a_seed_round_trips_and_is_checked() {
    for voucher in [None, Some("v1")] {
        let body = a_seed(voucher).emit().unwrap();
        let read = seed(Domain::Seed, &body).ok().unwrap();
        assert_eq!((read.cluster.as_str(), read.node.as_str(), read.incarnation), ("lab", "cp-1", 2));
        assert_eq!((read.disk_key.expose(), read.birth_key.expose()), (&[4; 32], &[5; 32]));
        assert_eq!(read.floors, Some(Floors { generation: 6, release: Release::new(0, 1, 0) }));
        assert_eq!(read.voucher.as_ref().map(|voucher| voucher.as_str()), voucher);
        for (from, to) in [
            ("version = 2", "version = 0"),
            ("version = 2", "version = 3"),
            ("incarnation = 2", "incarnation = 0"),
            ("generation_floor = 6\n", ""),
            ("generation_floor = 6", "generation_floor = -1"),
            ("minimum_release = \"0.1.0\"\n", ""),
            ("minimum_release = \"0.1.0\"", "minimum_release = \"0.1\""),
            ("0404", "040"),
            ("node = \"cp-1\"", "node = \"cp/1\""),
            ("birth_key", "brith_key"),
        ] {
            assert!(seed(Domain::Seed, &body.replacen(from, to, 1)).is_err(), "{to}");
        }
        assert!(seed(Domain::Configuration, &body).is_err());
    }
    assert_eq!(*a_seed(Some("v1")).emit().unwrap(), SEED_2);
    assert!(a_seed(Some("")).emit().is_err());
    assert!(Seed { incarnation: 0, ..a_seed(None) }.emit().is_err());
}

/// Seeds of earlier releases are still accepted; they have no floors.
#[test]
fn a_seed_of_version_1_has_no_floors() {
    let read = seed(Domain::Seed, SEED_1).ok().unwrap();
    assert_eq!((read.floors.as_ref(), read.incarnation), (None, 2));
    assert_eq!(*read.emit().unwrap(), SEED_1);
    let ignored = format!("generation_floor = 9\nminimum_release = \"9.0.0\"\n{SEED_1}");
    assert_eq!(seed(Domain::Seed, &ignored).ok().unwrap().floors, None);
}

/// T5: a parser's message about a broken seed is shown on the console, so it must not quote the seed.
#[test]
fn errors_about_a_seed_contain_no_secret() {
    let body = a_seed(Some("hush-hush")).emit().unwrap();
    let broken = [
        body.replacen(&"04".repeat(32), &format!("{}zz", "04".repeat(31)), 1),
        body.replacen("\"hush-hush\"", "\"hush-hush\" \"", 1),
        body.replacen("\"hush-hush\"", "[\"hush-hush\"]", 1),
        body.replacen(&format!("\"{}\"", "05".repeat(32)), "hush-hush", 1),
        body.replacen("incarnation = 2", "incarnation = \"hush-hush\"", 1),
        body.replacen("minimum_release = \"0.1.0\"", "minimum_release = \"hush-hush\"", 1),
    ];
    for broken in broken {
        let error = seed(Domain::Seed, &broken).err().unwrap();
        let shown = format!("{error} {error:?}");
        assert!(!shown.contains("hush") && !shown.contains("0404") && !shown.contains("0505"), "{shown}");
    }
}

/// The claims of an unverified seed contain its names and no secrets.
#[test]
fn claims_of_a_seed_contain_its_names_only() {
    let body = a_seed(Some("the voucher")).emit().unwrap();
    let bytes = signed(Domain::Seed, &body, &[1]);
    let claims = read(&bytes).unwrap().claims();
    let seed = claims.seed().unwrap();
    assert!(seed.has_voucher);
    assert_eq!(seed.floors, Some(Floors { generation: 6, release: Release::new(0, 1, 0) }));
    assert!(!format!("{seed:?}").contains("the voucher"));
    assert!(claims.configuration().is_err());
    let hostile = body.replace("cp-1", "cp-1\\u001b[2J");
    assert_ne!(hostile, *body);
    let bytes = signed(Domain::Seed, &hostile, &[1]);
    assert_eq!(read(&bytes).unwrap().claims().seed(), Err(crate::document::DocumentError::Value("node")));
}

proptest! {
    #[test]
    fn any_body_round_trips(body in "\\PC{0,300}", keys in proptest::collection::vec(1u8..20, 1..=8)) {
        let bytes = signed(Domain::Seed, &body, &keys);
        prop_assert!(bytes.len() <= MAX_LEN);
        prop_assert_eq!(read(&bytes).ok().unwrap().encoded_len(), bytes.len());
        prop_assert_eq!(outcome(&bytes, Domain::Seed, &[Key::new(keys[0]).public_key()]), Ok(body));
    }
}
