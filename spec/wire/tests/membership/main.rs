//! Requirements T1 to T5: the records, statements and rosters of the membership protocol, attacked with what the holders of
//! single keys can send.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of tests, outside of test functions"
)]

mod acceptance;
mod codec;
mod draw;
mod encodings;
mod fixture;
mod freshness;
mod genesis;
mod goldens;
mod judging;
mod order;
mod rosters;
mod signatures;
mod statements;
