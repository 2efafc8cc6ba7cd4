//! A spec of 10,000 nodes is read, checked and planned at a cost that is linear in the nodes (requirement S1).
//!
//! The test measures the bytes requested from the allocator, the maximum allocated at a time, and the size of every output. It reads
//! no clock, so the result is the same on all machines.

#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests, outside of test functions")]

#[path = "../examples/many_nodes/spec.rs"]
mod spec;

use kubedos_spec::allocation::Allocation;
use kubedos_spec::check::Raw;
use kubedos_wire::node::PublicTrust;

/// The cost of a spec of one size, in bytes.
#[derive(Debug, Clone, Copy)]
struct Cost {
    source: usize,
    /// Total requested from the allocator, for reading, checking and planning.
    requested: usize,
    /// Maximum allocated at a time.
    held: usize,
    tables: usize,
    json: usize,
    dot: usize,
    allocation: usize,
    shards: usize,
    cluster: usize,
}

fn cost(count: u32) -> Cost {
    let source = spec::of(count);
    let mut plan = None;
    let memory = allocation_counter::measure(|| {
        let validated =
            Raw::new(source.as_bytes()).validate().unwrap_or_else(|problems| panic!("{problems:#?}"));
        assert_eq!(validated.warnings(), []);
        plan = Some(validated.plan(&Allocation::empty("many".parse().unwrap())).unwrap());
    });
    let plan = plan.unwrap();
    let [requested, held] =
        [memory.bytes_total, memory.bytes_max].map(|bytes| usize::try_from(bytes).unwrap());
    let trust = PublicTrust {
        cluster_id: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08".parse().unwrap(),
        seed_keys: Vec::new(),
        demo_keys: true,
    };
    Cost {
        source: source.len(),
        requested,
        held,
        tables: plan.tables().len(),
        json: serde_json::to_vec(&plan.document()).unwrap().len(),
        dot: plan.dot().len(),
        allocation: plan.assignment().allocation.to_toml().unwrap().len(),
        shards: plan.shards().map(|(_, shard)| shard.to_toml().unwrap().len()).sum(),
        cluster: plan.cluster_document(&trust).to_toml().unwrap().len(),
    }
}

#[test]
fn the_cost_is_linear_in_the_nodes() {
    let [small, middle, large] = [1250, 2500, 10_000].map(cost);
    let linear = |what: &str, of: fn(&Cost) -> usize| {
        let (small, middle, large) = (of(&small), of(&middle), of(&large));
        // From 1,250 to 2,500 is one step of 1,250 nodes, from 2,500 to 10,000 are six steps. The tolerance is for names with one more
        // digit, and for collections, which grow by doubling.
        let (step, six) = (middle - small, large - middle);
        assert!(
            six <= step * 8,
            "{what}: {small}, {middle}, {large} bytes: one step of 1,250 nodes costs {step}, six cost {six}"
        );
    };
    linear("source", |cost| cost.source);
    linear("requested from the allocator", |cost| cost.requested);
    linear("allocated at a time", |cost| cost.held);
    linear("tables", |cost| cost.tables);
    linear("JSON", |cost| cost.json);
    linear("drawing", |cost| cost.dot);
    linear("allocation", |cost| cost.allocation);
    linear("shards", |cost| cost.shards);
    assert!(large.held < 64 << 20, "10,000 nodes allocate {} MiB", large.held >> 20);
    // The document that every node reads does not grow with the nodes, except for the digits of their number.
    assert!(large.cluster <= small.cluster + 2, "{} and {} bytes", small.cluster, large.cluster);
    eprintln!("{small:#?}\n{middle:#?}\n{large:#?}");
}
