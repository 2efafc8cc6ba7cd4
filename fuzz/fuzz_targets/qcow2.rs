#![no_main]

use kubedos_properties::{Target, target};

const TARGET: &Target = target("qcow2");

libfuzzer_sys::fuzz_target!(|input: &[u8]| TARGET.check(input));
