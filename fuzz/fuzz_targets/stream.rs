//! `cargo +nightly fuzz run stream`
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| podwire_tests::fuzz::stream(bytes));
