//! `cargo +nightly fuzz run nft`
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| podwire_tests::fuzz::nft(bytes));
