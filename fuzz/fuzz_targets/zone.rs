//! `cargo +nightly fuzz run zone`
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| podwire_tests::fuzz::zone(bytes));
