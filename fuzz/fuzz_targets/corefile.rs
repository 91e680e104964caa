//! `cargo +nightly fuzz run corefile`
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| podwire_tests::fuzz::corefile(bytes));
