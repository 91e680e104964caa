//! `cache [TTL] [ZONES…] { … }`.

use std::time::Duration;

use super::super::cache::{CacheConfig, CacheShare, Prefetch, ServeStale};
use super::super::{Refusal, ZoneName, go};
use super::Controller;

/// RFC 2308, section 7.1, forbids to keep SERVFAIL longer.
const LONGEST_SERVFAIL: i64 = 300_000_000_000;

pub(super) fn read(c: &mut Controller<'_>) -> Result<CacheConfig, Refusal> {
    let mut cache = CacheConfig::new(c.zones(&[]));
    let mut uses = 0;
    while c.next_and_only(&mut uses)? {
        let mut args = &*c.remaining_args();
        if let Some((first, rest)) = args.split_first()
            && let Ok(ttl) = go::atoi(first)
        {
            let ttl = positive_ttl(c, ttl)?;
            (cache.success.max_ttl, cache.denial.max_ttl) = (ttl, ttl);
            args = rest;
        }
        cache.zones = c.zones(args);
        while let Some(option) = c.next_option() {
            self::option(c, &option, &mut cache)?;
        }
    }
    Ok(cache)
}

/// The options.
const OPTIONS: [&str; 7] = [
    "success",
    "denial",
    "prefetch",
    "serve_stale",
    "servfail",
    "disable",
    "keepttl",
];

fn option(c: &mut Controller<'_>, option: &str, cache: &mut CacheConfig) -> Result<(), Refusal> {
    if !OPTIONS.contains(&option) {
        return Err(c.arg_err());
    }
    let args = c.remaining_args();
    let duration = |c: &Controller<'_>, text: &str| c.go(go::parse_duration(text));
    match (option, &*args) {
        ("success", [_, ..]) => share(c, &args, &mut cache.success)?,
        ("denial", [_, ..]) => share(c, &args, &mut cache.denial)?,
        ("prefetch", [amount, rest @ ..]) if rest.len() < 3 => {
            let amount = c.go(go::atoi(amount))?;
            if amount < 0 {
                let message = format!("prefetch amount should be positive: {amount}");
                return Err(c.plain(message));
            }
            let mut prefetch = Prefetch {
                amount: u32::try_from(amount).unwrap_or(u32::MAX),
                duration: Duration::from_secs(60),
                percentage: 10,
            };
            if let Some(text) = rest.first() {
                prefetch.duration = duration(c, text)?.unsigned();
            }
            if let Some(text) = rest.get(1) {
                prefetch.percentage = percentage(c, text)?;
            }
            cache.prefetch = (amount > 0).then_some(prefetch);
        }
        ("serve_stale", rest) if rest.len() < 3 => {
            let mut stale = ServeStale {
                up_to: Duration::from_secs(3600),
                verify: false,
            };
            if let Some(text) = rest.first() {
                let up_to = duration(c, text)?;
                if up_to.0 < 0 {
                    return Err(c.plain("invalid negative duration for serve_stale"));
                }
                stale.up_to = up_to.unsigned();
            }
            if let Some(mode) = rest.get(1) {
                let mode = mode.to_lowercase();
                if !matches!(&*mode, "immediate" | "verify") {
                    let message = format!("invalid value for serve_stale refresh mode: {mode}");
                    return Err(c.plain(message));
                }
                stale.verify = mode == "verify";
            }
            cache.serve_stale = Some(stale);
        }
        ("servfail", [text]) => {
            let ttl = duration(c, text)?;
            if ttl.0 < 0 {
                return Err(c.plain("invalid negative ttl for servfail"));
            }
            if ttl.0 > LONGEST_SERVFAIL {
                let message = "caching SERVFAIL responses over 5 minutes is not permitted";
                return Err(c.plain(message));
            }
            cache.servfail = ttl.unsigned();
        }
        ("disable", [which, zones @ ..]) => {
            let mut zones: Vec<_> = zones.iter().map(|zone| ZoneName::new(zone)).collect();
            if zones.is_empty() {
                zones.push(ZoneName::root());
            }
            match &**which {
                "success" => cache.disable_success = zones,
                "denial" => cache.disable_denial = zones,
                _ => {
                    let message = "cache type for disable must be \"success\" or \"denial\"";
                    return Err(c.plain(message));
                }
            }
        }
        ("keepttl", []) => cache.keepttl = true,
        _ => return Err(c.arg_err()),
    }
    Ok(())
}

/// `success` or `denial CAPACITY [TTL [MINTTL]]`.
fn share(
    c: &Controller<'_>,
    args: &[std::sync::Arc<str>],
    share: &mut CacheShare,
) -> Result<(), Refusal> {
    let mut numbers = args.iter().map(|text| c.go(go::atoi(text)));
    if let Some(capacity) = numbers.next() {
        share.capacity = usize::try_from(capacity?).unwrap_or(0);
    }
    if let Some(ttl) = numbers.next() {
        share.max_ttl = positive_ttl(c, ttl?)?;
    }
    if let Some(ttl) = numbers.next() {
        let ttl = ttl?;
        let negative = |_| c.plain(format!("cache min TTL can not be negative: {ttl}"));
        share.min_ttl = Duration::from_secs(u64::try_from(ttl).map_err(negative)?);
    }
    Ok(())
}

fn positive_ttl(c: &Controller<'_>, ttl: i64) -> Result<Duration, Refusal> {
    match u64::try_from(ttl) {
        Ok(seconds) if seconds > 0 => Ok(Duration::from_secs(seconds)),
        _ => Err(c.plain(format!("cache TTL can not be zero or negative: {ttl}"))),
    }
}

/// `PERCENTAGE%` of `prefetch`.
fn percentage(c: &Controller<'_>, text: &str) -> Result<u8, Refusal> {
    let Some(number) = text.strip_suffix('%') else {
        // Go takes the last byte for a character.
        let last = text.bytes().next_back().map_or('%', char::from);
        let message = format!("last character of percentage should be `%`, but is: {last:?}");
        return Err(c.plain(message));
    };
    let number = c.go(go::atoi(number))?;
    let within = u8::try_from(number).ok().filter(|n| (10..=90).contains(n));
    let message = || format!("percentage should fall in range [10, 90]: {number}");
    within.ok_or_else(|| c.plain(message()))
}
