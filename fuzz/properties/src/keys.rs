//! The published demo keys, which sign the seeds.

use std::sync::LazyLock;

use kubedos_builder::keys::{DEMO, Ed25519Signer, KeyDir, RsaSigner};
use kubedos_builder::seed::{self, Mint};
use kubedos_wire::hex32::{ClusterId, PublicKey};
use kubedos_wire::release::Release;
use kubedos_wire::statement::{self, Domain, Floors};

static KEYS: LazyLock<KeyDir> =
    LazyLock::new(|| KeyDir::open(&crate::project().join("keys").join(DEMO)).unwrap());
static STATEMENTS: LazyLock<Ed25519Signer> = LazyLock::new(|| KEYS.seed_signer().unwrap());

/// The signer of EFI programs.
pub(crate) static PROGRAMS: LazyLock<RsaSigner> = LazyLock::new(|| KEYS.secure_boot_signer().unwrap());

/// The keys whose statements are accepted.
pub(crate) fn trusted() -> [PublicKey; 1] {
    [*STATEMENTS.public()]
}

/// The id of the cluster with this name.
pub(crate) fn cluster_id(name: &str) -> ClusterId {
    KEYS.public().cluster_id(name)
}

/// A signed statement with this body.
pub(crate) fn signed(domain: Domain, body: &str) -> Vec<u8> {
    statement::write(domain, body, &[&*STATEMENTS]).unwrap()
}

/// A seed volume of this node.
pub(crate) fn seed_volume(cluster: &str, node: &str) -> Vec<u8> {
    let floors = Floors { generation: 1, release: Release::new(0, 1, 0) };
    seed::mint(&KEYS, &Mint { cluster, node, incarnation: 1, floors }).unwrap().bytes().to_vec()
}
