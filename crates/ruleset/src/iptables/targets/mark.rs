//! MARK and CONNMARK.

use podwire_packet::Mark;

use super::flag;
use crate::ConnmarkTarget;
use crate::iptables::ParseError;
use crate::iptables::options::{Opt, Words};

/// The options of MARK and CONNMARK that change a mark, as value and mask of `--set-xmark`.
pub(super) fn set_mark<'w>(
    seen: &mut u32,
    option: &mut Opt<'w>,
    words: &mut Words<'w, '_>,
) -> Result<Option<(Mark, Mark)>, ParseError> {
    let name = option.long();
    if !matches!(
        name,
        "set-mark" | "set-xmark" | "and-mark" | "or-mark" | "xor-mark"
    ) {
        return Ok(None);
    }
    option.once(seen, OPERATION)?;
    let word = words.plain(option)?;
    Ok(Some(match name {
        "set-xmark" => word.mark_and_mask()?,
        "set-mark" => {
            let (value, mask) = word.mark_and_mask()?;
            (value, Mark(mask.0 | value.0))
        }
        "and-mark" => (Mark(0), Mark(!word.u32()?)),
        "or-mark" => {
            let bits = Mark(word.u32()?);
            (bits, bits)
        }
        _ => (Mark(word.u32()?), Mark(0)),
    }))
}

pub(super) const OPERATION: u32 = 1;
const NFMASK: u32 = 1 << 1;
const CTMASK: u32 = 1 << 2;

pub(super) fn connmark<'w>(
    own: &mut ConnmarkTarget,
    seen: &mut u32,
    option: &mut Opt<'w>,
    words: &mut Words<'w, '_>,
) -> Result<bool, ParseError> {
    match option.long() {
        name @ ("save-mark" | "restore-mark") => {
            flag(seen, OPERATION, option, words)?;
            let (packet_mask, connection_mask) = (Mark(u32::MAX), Mark(u32::MAX));
            *own = if name == "save-mark" {
                ConnmarkTarget::Save {
                    packet_mask,
                    connection_mask,
                }
            } else {
                ConnmarkTarget::Restore {
                    packet_mask,
                    connection_mask,
                }
            };
        }
        name @ ("nfmask" | "ctmask" | "mask") => {
            let (ConnmarkTarget::Save {
                packet_mask,
                connection_mask,
            }
            | ConnmarkTarget::Restore {
                packet_mask,
                connection_mask,
            }) = own
            else {
                return Ok(false);
            };
            let bits = match name {
                "nfmask" => NFMASK,
                "ctmask" => CTMASK,
                _ => NFMASK | CTMASK,
            };
            option.once(seen, bits)?;
            let mask = Mark(words.plain(option)?.u32()?);
            if bits & NFMASK != 0 {
                *packet_mask = mask;
            }
            if bits & CTMASK != 0 {
                *connection_mask = mask;
            }
        }
        _ => {
            let Some((value, mask)) = set_mark(seen, option, words)? else {
                return Ok(false);
            };
            *own = ConnmarkTarget::Set { value, mask };
        }
    }
    Ok(true)
}
