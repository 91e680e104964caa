//! `cargo +nightly fuzz run iptables`
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| podwire_tests::fuzz::iptables(bytes));
