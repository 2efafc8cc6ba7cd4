//! `kubedosctl`: the operator's client. It speaks to the agent API, which arrives with the planes.
fn main() {}
