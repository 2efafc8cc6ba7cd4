//! Verifies seeds: the signature by a seed key of the cluster, and the form of the volume.

use kubedos_image::iso::seed as volume;
use kubedos_wire::hex32::ClusterId;
use kubedos_wire::statement::{self, Domain, Floors, Seed};

use super::Checks;

const PART: &str = "seed";

/// Verifies a seed volume, or the seed partition of an image of cluster `image`.
pub(super) fn seed(bytes: &[u8], image: Option<ClusterId>, checks: &mut Checks<'_>) {
    let Some(statement) = checks.need(PART, volume::read(bytes)) else { return };
    let written = volume::write(statement);
    let rest = written.as_ref().ok().and_then(|written| bytes.strip_prefix(written.as_slice()));
    match rest {
        Some(rest) if rest.iter().all(|byte| *byte == 0) => {}
        _ => return checks.fails(PART, "its volume contains data other than the seed"),
    }
    let Some(read) = checks.need(PART, statement::read(statement)) else { return };
    let Some(claims) = checks.need(PART, read.claims().seed()) else { return };
    let floors = match &claims.floors {
        Some(Floors { generation, release }) => {
            format!("for generation {generation} and release {release} or newer")
        }
        None => "without floors".to_owned(),
    };
    let whose =
        format!("of {}, node {}, incarnation {}, {floors}", claims.cluster, claims.node, claims.incarnation);
    if image.is_some_and(|image| image != claims.cluster_id) {
        return checks.fails(PART, format!("the seed is {whose}, but the image is of a different cluster"));
    }
    let Some(keys) = checks.keys else {
        return checks.unchecked(PART, format!("not checked: whether the seed is {whose}; pass --keys DIR"));
    };
    let Some(verified) = checks.need(PART, read.verify(Domain::Seed, &keys.seed)) else { return };
    let Some(seed) = checks.need(PART, Seed::parse(&verified)) else { return };
    if seed.cluster_id == keys.cluster_id(&seed.cluster) {
        checks.holds(PART, format!("{whose}; signed by a seed key of {}", keys.cluster));
    } else {
        checks
            .fails(PART, format!("the seed is {whose}, but its cluster id is the id of a different cluster"));
    }
}
