#![no_main]

use kubedos_properties::{Target, target};

const TARGET: &Target = target("membership_record");

libfuzzer_sys::fuzz_target!(|input: &[u8]| TARGET.check(input));
