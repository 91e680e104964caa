//! Names of network devices.

use std::fmt;
use std::str::FromStr;

/// The longest device name in bytes: `IFNAMSIZ` less the closing zero (include/uapi/linux/if.h).
const MAX: usize = 15;

/// A network device's name, such as `eth0`: 1 to 15 bytes, stored in place.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceName {
    len: u8,
    bytes: [u8; MAX],
}

/// Why a text is not a [`DeviceName`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a device name: 1 to 15 bytes without white space or `/`")]
pub struct DeviceNameError {
    /// The text that was read.
    pub text: String,
}

impl DeviceName {
    /// The loopback device.
    pub const LO: Self = Self::literal("lo");
    /// A pod's first device.
    pub const ETH0: Self = Self::literal("eth0");

    /// A name known when the program is compiled.
    ///
    /// # Panics
    /// When the text is empty or longer than 15 bytes.
    #[must_use]
    pub const fn literal(text: &str) -> Self {
        let from = text.as_bytes();
        assert!(
            !from.is_empty() && from.len() <= MAX,
            "a device name has 1 to 15 bytes"
        );
        let mut bytes = [0; MAX];
        let mut i = 0;
        while i < from.len() {
            bytes[i] = from[i];
            i += 1;
        }
        #[expect(clippy::cast_possible_truncation, reason = "at most 15")]
        let len = from.len() as u8;
        Self { len, bytes }
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..usize::from(self.len)]).expect("made from a str")
    }
}

impl FromStr for DeviceName {
    type Err = DeviceNameError;

    /// Reads a name as `dev_valid_name` of the kernel accepts it (net/core/dev.c).
    fn from_str(text: &str) -> Result<Self, DeviceNameError> {
        let valid = (1..=MAX).contains(&text.len())
            && text != "."
            && text != ".."
            && !text.contains(|c: char| c == '/' || c == ':' || c.is_ascii_whitespace());
        if valid {
            Ok(Self::literal(text))
        } else {
            Err(DeviceNameError {
                text: text.to_owned(),
            })
        }
    }
}

impl fmt::Display for DeviceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for DeviceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked_as_the_kernel_checks_them() {
        for right in ["lo", "eth0", "veth0cbf7e57", "abcdefghijklmno", "가"] {
            assert_eq!(right.parse::<DeviceName>().unwrap().as_str(), right);
        }
        for wrong in ["", ".", "..", "a b", "a/b", "a:0", "abcdefghijklmnop"] {
            assert!(wrong.parse::<DeviceName>().is_err(), "{wrong}");
        }
    }
}
