//! Tests of the public interface: the corpus of bad specs, the examples, the generated pages, agreement with an independent
//! validator of JSON Schema, and properties of plans, allocations and the reader for generated specs.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests, outside of test functions"
)]

mod allocation;
mod corpus;
mod examples;
mod generate;
mod golden;
mod pages;
mod plan;
mod reader;
mod schema;
mod underlay;
