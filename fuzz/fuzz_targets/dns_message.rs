//! `cargo +nightly fuzz run dns_message`
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| podwire_tests::fuzz::dns_message(bytes));
