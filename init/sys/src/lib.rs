//! The only crate with `unsafe`: kernel interfaces that no crate offers, each behind a safe function.
#![expect(unsafe_code, reason = "it is what this crate is for; every other crate denies it")]

pub mod block;
