//! What is random in the world and must be the same twice here.

use sha2::{Digest, Sha256};

/// 64 bits that stand for random ones: of SHA-256 over the words.
#[must_use]
pub fn made_up_bits(words: &[&str]) -> u64 {
    let mut digest = Sha256::new();
    for word in words {
        digest.update(word);
        digest.update([0]);
    }
    let bytes: [u8; 32] = digest.finalize().into();
    let [first, ..] = bytes.as_chunks::<8>().0 else {
        unreachable!("32 bytes are four times eight")
    };
    u64::from_be_bytes(*first)
}
