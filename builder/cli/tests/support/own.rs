//! The default example with a different operator key, because the published key is refused outside the examples.

/// The operator key of the examples. Its private half is published.
pub const PUBLISHED: &str = "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=";
/// An operator key without a known private half.
const OWN: &str = "/sC7IdAPKKrByEx9BScM3rPg9skm4PXb6SwJow+502I=";

/// The default example with the operator key `OWN`.
pub fn own_lab() -> String {
    let example = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/lab.yaml");
    let text = std::fs::read_to_string(example).unwrap();
    assert!(text.contains(PUBLISHED), "examples/lab.yaml has another operator");
    text.replace(PUBLISHED, OWN)
}
