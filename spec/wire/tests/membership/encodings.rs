//! Each value of each record has exactly one encoding, and every changed bit is noticed.

use super::draw;
use kubedos_wire::membership::codec::{Encoded, Problem};
use proptest::prelude::*;
use std::fmt::Debug;

/// The strongest change that keeps an encoding valid gives another value: nothing of the encoding is ignored.
fn holds<T: Encoded + PartialEq + Debug>(value: &T) -> Result<(), TestCaseError> {
    let bytes = value.encode();
    let read = T::decode(&bytes);
    prop_assert_eq!(read.as_ref(), Ok(value));
    for at in 0..bytes.len() {
        prop_assert!(T::decode(&bytes[..at]).is_err(), "cut at {}", at);
        for bit in 0..8 {
            let mut changed = bytes.clone();
            changed[at] ^= 1 << bit;
            if let Ok(other) = T::decode(&changed) {
                prop_assert_ne!(&other, value, "byte {}, bit {}", at, bit);
                prop_assert_eq!(other.encode(), changed, "byte {}, bit {}", at, bit);
            }
        }
    }
    let longer = [&bytes[..], &[0]].concat();
    let error = T::decode(&longer).map(drop).unwrap_err();
    prop_assert_eq!((error.field, error.offset), ("end", bytes.len()));
    prop_assert_eq!(error.problem, Problem::Trailing(1));
    Ok(())
}

macro_rules! one_encoding {
    ($($name:ident)*) => {
        proptest! {
            #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
            $(
                #[test]
                fn $name(value in draw::$name()) {
                    holds(&value)?;
                }
            )*
        }
    };
}

one_encoding! { record records request key_change root signed_root proof hello signature }
