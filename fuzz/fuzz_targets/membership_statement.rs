#![no_main]

use kubedos_properties::{Target, target};

const TARGET: &Target = target("membership_statement");

libfuzzer_sys::fuzz_target!(|input: &[u8]| TARGET.check(input));
