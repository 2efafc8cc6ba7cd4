//! Prints a valid ClusterSpec with many nodes, to measure the cost of a large spec:
//! `cargo run --release -p kubedos-spec --example many_nodes 10000 > many.yaml`, then `kubedos-build plan many.yaml`.

mod spec;

use std::process::ExitCode;

fn main() -> ExitCode {
    let count = std::env::args().nth(1).and_then(|count| count.parse().ok());
    match count.filter(|count| (4..=16_000).contains(count)) {
        Some(count) => {
            print!("{}", spec::of(count));
            ExitCode::SUCCESS
        }
        None => {
            eprintln!("usage: many_nodes COUNT, with 4 to 16000 nodes");
            ExitCode::from(2)
        }
    }
}
