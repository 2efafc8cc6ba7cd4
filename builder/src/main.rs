//! `kubedos-build`.
fn main() {}
