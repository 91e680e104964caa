//! `hosts`, `file` and `auto`: records from files.

use std::path::Path;
use std::time::Duration;

use super::super::plugin::{Auto, Hosts, ZoneFile};
use super::super::{Fallthrough, Pattern, Refusal, go};
use super::Controller;
use crate::version::Version;

/// `hosts [FILE [ZONES…]] { … }`.
pub(super) fn hosts(c: &mut Controller<'_>) -> Result<Hosts, Refusal> {
    let mut hosts = Hosts {
        path: "/etc/hosts".to_owned(),
        text: String::new(),
        inline: Vec::new(),
        zones: Vec::new(),
        ttl: 3600,
        reverse: true,
        reload: Duration::from_secs(5),
        fallthrough: Fallthrough::default(),
    };
    let mut uses = 0;
    while c.next_and_only(&mut uses)? {
        let args = c.remaining_args();
        let mut zones = &*args;
        if let Some((file, rest)) = args.split_first() {
            hosts.path = c.path(file).to_string_lossy().into_owned();
            zones = rest;
        }
        hosts.zones = c.zones(zones);
        while c.next_block() {
            let option = c.word();
            match &*option {
                "fallthrough" => hosts.fallthrough = c.fallthrough(),
                "no_reverse" => hosts.reverse = false,
                "ttl" => {
                    let args = c.remaining_args();
                    let text = args
                        .first()
                        .ok_or_else(|| c.err("ttl needs a time in second"))?;
                    let ttl = go::atoi(text).map_err(|_| c.err("ttl needs a number of second"))?;
                    let within = u32::try_from(ttl)
                        .ok()
                        .filter(|ttl| (1..=65535).contains(ttl));
                    hosts.ttl = within.ok_or_else(|| c.err("ttl provided is invalid"))?;
                }
                "reload" => {
                    let [text] = &*c.remaining_args() else {
                        return Err(c.err("reload needs a duration (zero seconds to disable)"));
                    };
                    let invalid = |_| c.err(format!("invalid duration for reload '{text}'"));
                    let reload = go::parse_duration(text).map_err(invalid)?;
                    if reload.0 < 0 {
                        let message = format!("invalid negative duration for reload '{text}'");
                        return Err(c.err(message));
                    }
                    hosts.reload = reload.unsigned();
                }
                // Behind `fallthrough` no more lines are taken.
                _ if !hosts.fallthrough.0.is_empty() => return Err(c.unknown_property()),
                first => {
                    let mut line = first.to_owned();
                    for word in c.remaining_args() {
                        line.push(' ');
                        line.push_str(&word);
                    }
                    hosts.inline.push(line);
                }
            }
        }
    }
    hosts.text = c.around.read(Path::new(&hosts.path)).unwrap_or_default();
    Ok(hosts)
}

/// `file FILE [ZONES…] { … }`.
pub(super) fn file(c: &mut Controller<'_>) -> Result<Vec<ZoneFile>, Refusal> {
    let mut files = Vec::new();
    while c.next() {
        let name = c.one_arg()?;
        let path = c.path(&name);
        let args = c.remaining_args();
        let mut file = ZoneFile {
            path: path.to_string_lossy().into_owned(),
            text: None,
            zones: c.zones(&args),
            reload: Duration::from_secs(60),
            fallthrough: Fallthrough::default(),
        };
        let read = c.around.read(&path);
        while let Some(option) = c.next_option() {
            match &*option {
                "fallthrough" => file.fallthrough = c.fallthrough(),
                "reload" => file.reload = reload(c)?,
                "no_reload" => file.reload = Duration::ZERO,
                "upstream" | "transfer" => {
                    c.remaining_args();
                }
                _ => return Err(c.unknown_property()),
            }
        }
        match read {
            Ok(text) => file.text = Some(text),
            // From 1.6.0 on it is looked for again and again.
            Err(_) if !file.reload.is_zero() && c.version >= Version::new(1, 6, 0) => {}
            Err(error) => {
                let message = go::open_error(&file.path, &error);
                // Since then the plugin names itself twice.
                let twice = c.version >= Version::new(1, 6, 0);
                let message = if twice {
                    format!("plugin/file: {message}")
                } else {
                    message
                };
                return Err(c.plain(message));
            }
        }
        files.push(file);
    }
    Ok(files)
}

/// The duration behind `reload`.
fn reload(c: &mut Controller<'_>) -> Result<Duration, Refusal> {
    let args = c.remaining_args();
    let text = args
        .first()
        .ok_or_else(|| c.plain("reload duration value is expected"))?;
    let read = go::parse_duration(text);
    let twice = |why| c.plain(format!("plugin/{}: {why}", c.plugin));
    Ok(read.map_err(twice)?.unsigned())
}

/// `auto [ZONES…] { directory DIR [REGEX ORIGIN] … }`.
pub(super) fn auto(c: &mut Controller<'_>) -> Result<Vec<Auto>, Refusal> {
    let mut all = Vec::new();
    while c.next() {
        let args = c.remaining_args();
        let mut auto = Auto {
            directory: String::new(),
            matching: any_database(c)?,
            origin: "{1}".to_owned(),
            zones: c.zones(&args),
            fallthrough: Fallthrough::default(),
        };
        while let Some(option) = c.next_option() {
            match &*option {
                "directory" => {
                    let directory = c.one_arg()?;
                    auto.directory = c.path(&directory).to_string_lossy().into_owned();
                    match &*c.remaining_args() {
                        [] => {}
                        [pattern, origin, rest @ ..] if rest.len() < 2 => {
                            let read = Pattern::new(pattern);
                            auto.matching = read.map_err(|_| c.plain(go::regexp_error(pattern)))?;
                            // `${1}` and `{1}` are the same.
                            auto.origin = origin.replace("${", "{");
                        }
                        _ => return Err(c.arg_err()),
                    }
                }
                "fallthrough" => auto.fallthrough = c.fallthrough(),
                "reload" => {
                    reload(c)?;
                }
                "no_reload" | "upstream" | "transfer" => {
                    c.remaining_args();
                }
                _ => return Err(c.unknown_property()),
            }
        }
        all.push(auto);
    }
    Ok(all)
}

/// `db.EXAMPLE.ORG` is the file of `EXAMPLE.ORG`.
fn any_database(c: &Controller<'_>) -> Result<Pattern, Refusal> {
    Pattern::new(r"db\.(.*)").map_err(|error| c.plain(error.to_string()))
}
