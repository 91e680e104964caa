//! `cargo +nightly fuzz run match_rules`
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| podwire_tests::fuzz::match_rules(bytes));
