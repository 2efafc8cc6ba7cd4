//! The committed pages equal the pages that are generated from the types and the list of rules.

use kubedos_spec::reference;

use crate::golden;

#[test]
fn the_reference_of_the_spec_is_not_stale() {
    golden::compare(&golden::project("docs/spec-reference.md"), &reference::fields());
}

#[test]
fn the_page_of_invariants_is_not_stale() {
    golden::compare(&golden::project("docs/invariants.md"), &reference::rules());
}
