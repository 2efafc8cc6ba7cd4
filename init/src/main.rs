//! `kubedos-init`.
fn main() {}
