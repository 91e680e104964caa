//! `cargo +nightly fuzz run cluster`
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| podwire_tests::fuzz::cluster(bytes));
