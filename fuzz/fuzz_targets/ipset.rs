//! `cargo +nightly fuzz run ipset`
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| podwire_tests::fuzz::ipset(bytes));
