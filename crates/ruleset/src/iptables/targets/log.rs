//! LOG and NFLOG.

use super::flag;
use crate::iptables::ParseError;
use crate::iptables::options::{Opt, Words};
use crate::{LogTarget, NflogTarget};

/// Flags of LOG with their bits, in the order of `iptables-save` (include/uapi/linux/netfilter/xt_LOG.h).
pub(in crate::iptables) const LOG_FLAGS: [(&str, u8); 5] = [
    ("--log-tcp-sequence", 1),
    ("--log-tcp-options", 1 << 1),
    ("--log-ip-options", 1 << 2),
    ("--log-uid", 1 << 3),
    ("--log-macdecode", 1 << 5),
];

/// syslog(3)'s levels by number; some have two names.
const LOG_LEVELS: [(&str, u8); 11] = [
    ("emerg", 0),
    ("panic", 0),
    ("alert", 1),
    ("crit", 2),
    ("err", 3),
    ("error", 3),
    ("warning", 4),
    ("warn", 4),
    ("notice", 5),
    ("info", 6),
    ("debug", 7),
];

const LEVEL: u32 = 1 << 8;
const PREFIX: u32 = 1 << 9;

pub(super) fn log<'w>(
    own: &mut LogTarget,
    seen: &mut u32,
    option: &mut Opt<'w>,
    words: &mut Words<'w, '_>,
) -> Result<bool, ParseError> {
    match option.written {
        "--log-level" => {
            option.once(seen, LEVEL)?;
            let word = words.plain(option)?;
            let named = LOG_LEVELS
                .iter()
                .find(|(name, _)| word.text.eq_ignore_ascii_case(name));
            own.level = Some(match named {
                Some(&(_, level)) => level,
                None => word.u8().ok().filter(|&level| level <= 7).ok_or_else(|| {
                    option.bad_word(
                        word,
                        "0 to 7, emerg, alert, crit, error, warning, notice, info and debug",
                    )
                })?,
            });
        }
        "--log-prefix" => {
            option.once(seen, PREFIX)?;
            own.prefix = words.plain(option)?.text.into();
        }
        name => {
            let Some(&(_, bit)) = LOG_FLAGS.iter().find(|(flag, _)| *flag == name) else {
                return Ok(false);
            };
            flag(seen, u32::from(bit), option, words)?;
            own.flags |= bit;
        }
    }
    Ok(true)
}

pub(super) fn nflog<'w>(
    own: &mut NflogTarget,
    seen: &mut u32,
    option: &mut Opt<'w>,
    words: &mut Words<'w, '_>,
) -> Result<bool, ParseError> {
    match option.long() {
        "nflog-group" => {
            option.once(seen, 1)?;
            own.group = words.plain(option)?.u16()?;
        }
        "nflog-prefix" => {
            option.once(seen, 1 << 1)?;
            own.prefix = words.plain(option)?.text.into();
        }
        "nflog-size" => {
            option.once(seen, 1 << 2)?;
            own.size = Some(words.plain(option)?.u32()?);
        }
        "nflog-range" => {
            option.once(seen, 1 << 3)?;
            own.range = Some(words.plain(option)?.u32()?);
        }
        "nflog-threshold" => {
            option.once(seen, 1 << 4)?;
            own.threshold = Some(words.plain(option)?.u16()?);
        }
        _ => return Ok(false),
    }
    Ok(true)
}
