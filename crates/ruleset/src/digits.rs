//! Numbers and addresses at the end of a text.
//!
//! The text of a large rule set is mostly names, numbers and addresses. These functions write what
//! [`std::fmt`] writes, for a fraction of its cost.

use std::fmt::Write as _;
use std::net::IpAddr;

/// Appends a number in decimal digits.
pub fn push_number(out: &mut String, number: u32) {
    let mut digits = [0; 10];
    let mut start = digits.len();
    let mut rest = number;
    loop {
        start -= 1;
        digits[start] = digit(rest.into());
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    push_ascii(out, &digits[start..]);
}

/// Appends an address; IPv6 without brackets.
pub fn push_address(out: &mut String, address: IpAddr) {
    match address {
        IpAddr::V4(address) => {
            let mut text = [0; "255.255.255.255".len()];
            let mut end = 0;
            for (place, octet) in address.octets().into_iter().enumerate() {
                if place > 0 {
                    text[end] = b'.';
                    end += 1;
                }
                for power in [100, 10, 1] {
                    if octet >= power || power == 1 {
                        text[end] = digit((octet / power).into());
                        end += 1;
                    }
                }
            }
            push_ascii(out, &text[..end]);
        }
        IpAddr::V6(address) => put(out, format_args!("{address}")),
    }
}

/// Appends a number from 0 to 1 with ten digits behind the point.
pub(crate) fn push_probability(out: &mut String, number: f64) {
    const SCALE: f64 = 1e10;
    const LENGTH: usize = "0.0000000000".len();
    let scaled = number * SCALE;
    // The product is off by far less than a thousandth, so that it tells which integer is nearer,
    // except in the middle of two.
    if !(0.0..=SCALE).contains(&scaled) || (scaled.fract() - 0.5).abs() < 1e-3 {
        put(out, format_args!("{number:.10}"));
        return;
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it is from 0 to 10^10"
    )]
    let mut rest = scaled.round() as u64;
    let mut text = [b'.'; LENGTH];
    for place in (0..LENGTH).rev().filter(|&place| place != 1) {
        text[place] = digit(rest);
        rest /= 10;
    }
    push_ascii(out, &text);
}

/// The last digit.
const fn digit(number: u64) -> u8 {
    b'0' + (number % 10) as u8
}

fn push_ascii(out: &mut String, text: &[u8]) {
    out.push_str(std::str::from_utf8(text).expect("digits and points are ASCII"));
}

fn put(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("a String takes any text");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_addresses_are_written_as_the_formatter_writes_them() {
        let numbers = (0..32).flat_map(|bit| [(1u32 << bit) - 1, 1 << bit, u32::MAX - (1 << bit)]);
        for number in numbers.chain(0..1100) {
            let mut text = String::new();
            push_number(&mut text, number);
            assert_eq!(text, number.to_string());
            for ip in [
                IpAddr::from(number.to_be_bytes()),
                IpAddr::from((u128::from(number) << 96 | u128::from(number)).to_be_bytes()),
            ] {
                text.clear();
                push_address(&mut text, ip);
                assert_eq!(text, ip.to_string());
            }
        }
    }

    #[test]
    fn probabilities_are_written_as_the_formatter_writes_them() {
        let one_of = (1..20_000).map(|n| (1e10 / f64::from(n)).round() / 1e10);
        let halves = (1..2_000).map(|n| f64::from(n) / 2f64.powi(11));
        let rest = [
            0.0,
            1.0,
            5e-11,
            1.5e-10,
            0.000_000_000_05,
            1.0 - f64::EPSILON,
            f64::NAN,
        ];
        for number in one_of.chain(halves).chain(rest) {
            let mut text = String::new();
            push_probability(&mut text, number);
            assert_eq!(text, format!("{number:.10}"));
        }
    }
}
