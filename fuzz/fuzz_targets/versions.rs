#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| kubedos_properties::target("versions").hold(input));
