//! Tests of accepting a configuration.

use super::*;
use crate::hex32::{RootHash, Salt};
use crate::seal::Seal;
use crate::statement::tests::Key;
use proptest::prelude::*;

const SEAL: Seal = Seal { root_hash: RootHash::new([1; 32]), salt: Salt::new([2; 32]), data_blocks: 12 };

fn key(number: u8) -> PublicKey {
    statement::Signer::public_key(&Key::new(number))
}

fn authority(identity: u8, keys: &[u8], release: &str) -> Authority {
    let keys = keys.iter().map(|number| key(*number)).collect();
    Authority { identity: key(identity), keys, release: release.parse().unwrap() }
}

/// A configuration of `cluster` under `identity`, signed by `signer`.
fn signed(cluster: &str, identity: u8, minimum: &str, signer: u8) -> Vec<u8> {
    let id = ClusterId::derive(&key(identity), cluster);
    let statement =
        ConfigurationStatement::new(cluster.into(), id, 7, minimum.parse().unwrap(), SEAL).unwrap();
    statement::write(Domain::Configuration, &statement.emit().unwrap(), &[&Key::new(signer)]).unwrap()
}

fn refusal(bytes: &[u8], authority: &Authority) -> String {
    accept(bytes, authority).unwrap_err().to_string()
}

/// C0: a signature by a removed key is refused, and the cluster's id stays the same without the key.
#[test]
fn the_identity_outlives_its_key_but_its_signature_is_refused() {
    let after = authority(1, &[2], "0.1.0");
    let accepted = accept(&signed("lab", 1, "0.1.0", 2), &after).unwrap();
    assert_eq!(accepted.statement.cluster_id, ClusterId::derive(&key(1), "lab"));
    assert_eq!(accepted.signer, key(2));
    let by_dropped = signed("lab", 1, "0.1.0", 1);
    assert_eq!(refusal(&by_dropped, &after), "not signed by a trusted key (trusted keys: 1)");
    // The removed key has signed too: the accepted key decides, and the other signature is ignored.
    let both = statement::write(
        Domain::Configuration,
        &accepted.statement.emit().unwrap(),
        &[&Key::new(1), &Key::new(2)],
    );
    assert_eq!(accept(&both.unwrap(), &after).unwrap().signer, key(2));
}

/// Neither the order of the keys nor a repeated key has an effect.
#[test]
fn only_the_identity_names_the_cluster() {
    for keys in [&[1, 2, 3][..], &[3, 2, 1], &[2, 1], &[2, 2, 3], &[2]] {
        assert!(accept(&signed("lab", 1, "0.1.0", 2), &authority(1, keys, "0.1.0")).is_ok(), "{keys:?}");
        let other = refusal(&signed("lab", 2, "0.1.0", 2), &authority(1, keys, "0.1.0"));
        assert!(other.starts_with("signed for a different cluster: lab has cluster id "), "{other}");
    }
}

/// Two clusters with one key directory: each name has its own id, and a cluster cannot use the id of the other one.
#[test]
fn a_cluster_cannot_use_the_id_of_a_different_cluster_under_the_same_keys() {
    let ours = authority(1, &[1], "0.1.0");
    let id = |bytes: &[u8]| accept(bytes, &ours).unwrap().statement.cluster_id;
    assert_ne!(id(&signed("lab", 1, "0.1.0", 1)), id(&signed("ha", 1, "0.1.0", 1)));
    let stolen = ClusterId::derive(&key(1), "lab");
    let forged = ConfigurationStatement::new("ha".into(), stolen, 7, Release::new(0, 1, 0), SEAL).unwrap();
    let forged = statement::write(Domain::Configuration, &forged.emit().unwrap(), &[&Key::new(1)]).unwrap();
    assert!(matches!(accept(&forged, &ours), Err(Refusal::Foreign { .. })));
    // Key and name are hashed in this order, without a separator: the id of "la" under the same key differs from that
    // of "lab".
    assert_ne!(ClusterId::derive(&key(1), "lab"), ClusterId::derive(&key(1), "la"));
}

/// C0: an older release must not use a configuration that requires a newer one; a pre-release precedes its release.
#[test]
fn a_configuration_that_requires_a_newer_release_is_refused_with_both_releases() {
    let newer = signed("lab", 1, "0.10.0", 1);
    for (release, accepted) in
        [("0.9.9", false), ("0.10.0-rc.1", false), ("0.10.0", true), ("0.10.1", true), ("1.0.0-rc.1", true)]
    {
        assert_eq!(accept(&newer, &authority(1, &[1], release)).is_ok(), accepted, "{release}");
    }
    assert_eq!(
        refusal(&newer, &authority(1, &[1], "0.9.9")),
        "generation 7 requires release 0.10.0 or newer, this is release 0.9.9"
    );
}

/// A configuration of version 1, from a release before the floors, requires no release.
#[test]
fn a_statement_of_version_1_is_accepted_by_every_release() {
    let id = ClusterId::derive(&key(1), "lab");
    let body = format!(
        "version = 1\ncluster = \"lab\"\ncluster_id = \"{id}\"\ngeneration = 3\nroot_hash = \"{0}\"\nsalt = \"{0}\"\ndata_blocks = 1\n",
        "11".repeat(32)
    );
    let sign = |body: &str| statement::write(Domain::Configuration, body, &[&Key::new(1)]).unwrap();
    let statement = accept(&sign(&body), &authority(1, &[1], "0.0.1")).unwrap().statement;
    assert_eq!((statement.generation, statement.minimum_release), (3, None));
    let newer = sign(&body.replacen("version = 1", "version = 3", 1));
    assert_eq!(
        refusal(&newer, &authority(1, &[1], "0.1.0")),
        "document has version 3, this release supports versions 1 to 2"
    );
}

proptest! {
    /// For all keys, names and releases: an accepted configuration is signed by an accepted key, has the identity, and
    /// allows the release.
    #[test]
    fn an_accepted_configuration_satisfies_every_condition(
        identity in 1u8..5,
        keys in proptest::collection::vec(1u8..5, 1..4),
        signed_under in 1u8..5,
        signer in 1u8..5,
        (needs, has) in (0u64..4, 0u64..4),
        flip in proptest::option::of(any::<prop::sample::Index>()),
    ) {
        let mut bytes = signed("lab", signed_under, &format!("0.{needs}.0"), signer);
        if let Some(flip) = &flip {
            let at = flip.index(bytes.len());
            bytes[at] ^= 1;
        }
        let ours = authority(identity, &keys, &format!("0.{has}.0"));
        let expected = flip.is_none() && keys.contains(&signer) && identity == signed_under && needs <= has;
        prop_assert_eq!(accept(&bytes, &ours).is_ok(), expected);
    }
}
