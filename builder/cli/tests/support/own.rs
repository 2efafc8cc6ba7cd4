//! The default example as a cluster of one's own has it: its operator's published key is refused outside the examples.

/// The key of the examples' operator, whose private half is published, and one whose private half nobody has.
pub const PUBLISHED: &str = "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=";
const OWN: &str = "/sC7IdAPKKrByEx9BScM3rPg9skm4PXb6SwJow+502I=";

/// The default example with an operator of its own.
pub fn own_lab() -> String {
    let example = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/lab.yaml");
    let text = std::fs::read_to_string(example).unwrap();
    assert!(text.contains(PUBLISHED), "examples/lab.yaml has another operator");
    text.replace(PUBLISHED, OWN)
}
