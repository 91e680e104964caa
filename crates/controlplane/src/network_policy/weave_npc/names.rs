//! Names of sets.
//!
//! Source: npc/shortname.go of weaveworks/weave.

use podwire_cluster::PolicyType;
use sha1::{Digest, Sha1};

/// What the names of all sets of weave-npc begin with.
const PREFIX: &str = "weave-";
/// The digits of the base 85.
const DIGITS: &[u8; 85] =
    b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789(){}[]+=_$%^!*|/?.;:@#~";

/// The name of the set for a text, such as `shop:app=web`: the SHA-1 of the text as a number of 160 bits
/// in base 85, the least significant digit first, none for leading zeros.
#[must_use]
pub fn set_name(text: &str) -> Box<str> {
    let mut number: [u8; 20] = Sha1::digest(text).into();
    let mut name = String::from(PREFIX);
    while number.iter().any(|&byte| byte != 0) {
        let mut rest = 0_u16;
        for byte in &mut number {
            let value = rest << 8 | u16::from(*byte);
            *byte = u8::try_from(value / 85).expect("the rest is below 85");
            rest = value % 85;
        }
        name.push(char::from(DIGITS[usize::from(rest)]));
    }
    name.into()
}

/// The text of the set of pods that a direction's policies leave alone: `ingress-default-allow:shop`.
pub(super) fn default_allow(way: PolicyType, namespace: &str) -> String {
    format!("{}-default-allow:{namespace}", way_name(way))
}

/// The controller's word for a direction.
pub(super) const fn way_name(way: PolicyType) -> &'static str {
    match way {
        PolicyType::Ingress => "ingress",
        PolicyType::Egress => "egress",
    }
}
