//! Plugins of the server itself: logs, health, metrics, where it listens.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::super::plugin::Loadbalance;
use super::super::{Pattern, Plugin, Refusal, go};
use super::Controller;
use crate::version::Version;

/// `root PATH`.
pub(super) fn root(c: &mut Controller<'_>) -> Result<PathBuf, Refusal> {
    let mut root = PathBuf::new();
    while c.next() {
        root = PathBuf::from(&*c.one_arg()?);
    }
    Ok(root)
}

/// A plugin that is told nothing.
pub(super) fn bare(c: &mut Controller<'_>, plugin: Plugin) -> Result<Plugin, Refusal> {
    c.next();
    c.no_args()?;
    Ok(plugin)
}

/// `loop`, once.
pub(super) fn looping(c: &mut Controller<'_>) -> Result<Plugin, Refusal> {
    let mut uses = 0;
    while c.next_and_only(&mut uses)? {
        c.no_args()?;
    }
    Ok(Plugin::Loop)
}

/// `errors [stdout] { stacktrace; consolidate DURATION REGEX [LEVEL] }`.
pub(super) fn errors(c: &mut Controller<'_>) -> Result<Plugin, Refusal> {
    let mut uses = 0;
    while c.next_and_only(&mut uses)? {
        match &*c.remaining_args() {
            [] => {}
            [file] if &**file == "stdout" => {}
            [file] => return Err(c.err(format!("invalid log file: {file}"))),
            _ => return Err(c.arg_err()),
        }
        while let Some(option) = c.next_option() {
            match &*option {
                "stacktrace" => {}
                "consolidate" => {
                    let args = c.remaining_args();
                    let (Some(period), Some(pattern), None) =
                        (args.first(), args.get(1), args.get(3))
                    else {
                        return Err(c.arg_err());
                    };
                    go::parse_duration(period).map_err(|message| c.err(message))?;
                    Pattern::new(pattern).map_err(|_| c.err(go::regexp_error(pattern)))?;
                    if let Some(level) = args.get(2)
                        && !matches!(&**level, "warning" | "error" | "info" | "debug")
                    {
                        let message = format!("unknown log level argument in consolidate: {level}");
                        return Err(c.err(message));
                    }
                }
                _ => return Err(c.syntax_err(&format!("Unknown field {}", c.val()))),
            }
        }
    }
    Ok(Plugin::Errors)
}

/// `log [NAMES… [FORMAT]] { class CLASSES… }`.
pub(super) fn log(c: &mut Controller<'_>) -> Result<Plugin, Refusal> {
    while c.next() {
        c.remaining_args();
        while let Some(option) = c.next_option() {
            if &*option != "class" {
                return Err(c.arg_err());
            }
            let classes = c.remaining_args();
            if classes.is_empty() {
                return Err(c.arg_err());
            }
            for class in classes {
                if !matches!(&*class, "all" | "success" | "denial" | "error") {
                    return Err(c.plain(format!("invalid Class: {class}")));
                }
            }
        }
    }
    Ok(Plugin::Log)
}

/// At most one argument, which must be a host and a port.
fn listen(c: &mut Controller<'_>, default: &str) -> Result<String, Refusal> {
    match &*c.remaining_args() {
        [] => Ok(default.to_owned()),
        [address] => {
            c.go(go::split_host_port(address))?;
            Ok(address.to_string())
        }
        _ => Err(c.arg_err()),
    }
}

/// `health [ADDRESS] { lameduck DURATION }`.
pub(super) fn health(c: &mut Controller<'_>) -> Result<Plugin, Refusal> {
    let mut address = ":8080".to_owned();
    let mut lameduck = Duration::ZERO;
    while c.next() {
        address = listen(c, ":8080")?;
        while let Some(option) = c.next_option() {
            if &*option != "lameduck" {
                return Err(c.arg_err());
            }
            let [duration] = &*c.remaining_args() else {
                return Err(c.arg_err());
            };
            let read = go::parse_duration(duration).map_err(|why| {
                let told = if c.version < Version::new(1, 12, 4) {
                    format!("'{duration}' : {why}")
                } else {
                    format!("{duration:?}: {why}")
                };
                c.plain(format!("unable to parse lameduck duration value: {told}"))
            });
            lameduck = read?.unsigned();
        }
    }
    Ok(Plugin::Health {
        listen: address,
        lameduck,
    })
}

/// `ready [ADDRESS]`.
pub(super) fn ready(c: &mut Controller<'_>) -> Result<Plugin, Refusal> {
    let mut uses = 0;
    let mut address = ":8181".to_owned();
    while c.next_and_only(&mut uses)? {
        address = listen(c, ":8181")?;
        while let Some(option) = c.next_option() {
            if &*option != "monitor" {
                return Err(c.unknown_property());
            }
            match &*c.remaining_args() {
                [kind] if matches!(&**kind, "until-ready" | "continuously") => {}
                [kind] => return Err(c.err(format!("monitor type '{kind}' not supported"))),
                _ => return Err(c.arg_err()),
            }
        }
    }
    Ok(Plugin::Ready { listen: address })
}

/// `prometheus [ADDRESS]`.
pub(super) fn prometheus(c: &mut Controller<'_>) -> Result<Plugin, Refusal> {
    let mut uses = 0;
    let mut address = "localhost:9153".to_owned();
    while c.next_and_only(&mut uses)? {
        address = listen(c, "localhost:9153")?;
    }
    Ok(Plugin::Prometheus { listen: address })
}

/// `reload [INTERVAL [JITTER]]`.
pub(super) fn reload(c: &mut Controller<'_>) -> Result<Plugin, Refusal> {
    /// Below these CoreDNS refuses.
    const LEAST: (i64, i64) = (2_000_000_000, 1_000_000_000);
    c.next();
    let args = c.remaining_args();
    if args.len() > 2 {
        return Err(c.arg_err());
    }
    let read = |at: usize, default: u64, least: i64, what: &str| {
        let Some(text) = args.get(at) else {
            return Ok(Duration::from_secs(default));
        };
        let value = c.go(go::parse_duration(text))?;
        if value.0 < least {
            let least = go::GoDuration(least);
            let message = format!("{what} value must be greater or equal to {least}");
            return Err(c.plain(message));
        }
        Ok(value.unsigned())
    };
    let interval = read(0, 30, LEAST.0, "interval")?;
    let jitter = read(1, 15, LEAST.1, "jitter")?;
    Ok(Plugin::Reload {
        interval,
        jitter: jitter.min(interval / 2),
    })
}

/// `bind ADDRESS|INTERFACE…`.
pub(super) fn bind(c: &mut Controller<'_>) -> Result<Plugin, Refusal> {
    let by_name = c.version >= Version::new(1, 8, 4);
    let mut all = Vec::new();
    while c.next() {
        let args = c.remaining_args();
        if args.is_empty() {
            return Err(c.plain(if by_name {
                "at least one address or interface name is expected"
            } else {
                "at least one address is expected"
            }));
        }
        for address in args {
            // Which interfaces there are is not known here.
            let is_address = address.parse::<IpAddr>().is_ok();
            if !by_name && !is_address {
                return Err(c.plain(format!("not a valid IP address: {address}")));
            }
            all.push(address.to_string());
        }
        while let Some(option) = c.next_option() {
            if !by_name || &*option != "except" {
                return Err(c.plain(format!("invalid option {:?}", c.val())));
            }
            if c.remaining_args().is_empty() {
                let message =
                    "at least one address or interface must be given to except subdirective";
                return Err(c.plain(message));
            }
        }
    }
    Ok(Plugin::Bind(all))
}

/// `bufsize [SIZE]`.
pub(super) fn bufsize(c: &mut Controller<'_>) -> Result<Plugin, Refusal> {
    let default = if c.version < Version::new(1, 11, 0) {
        512
    } else {
        1232
    };
    let mut size = default;
    while c.next() {
        size = match &*c.remaining_args() {
            [] => default,
            [text] => {
                let read = text.parse().ok().filter(|size| (512..=4096).contains(size));
                // The set-up names the plugin, and so does what calls it.
                let refuse = || c.plain(format!("plugin/bufsize: {}", c.arg_err()));
                read.ok_or_else(refuse)?
            }
            _ => return Err(c.plain(format!("plugin/bufsize: {}", c.arg_err()))),
        };
    }
    Ok(Plugin::Bufsize(size))
}

/// `chaos [VERSION [AUTHORS…]]`.
pub(super) fn chaos(c: &mut Controller<'_>) -> Result<Plugin, Refusal> {
    c.next();
    let args = c.remaining_args();
    let version = args
        .first()
        .map_or_else(|| format!("CoreDNS-{}", c.version), |v| v.to_string());
    Ok(Plugin::Chaos {
        version,
        authors: args
            .iter()
            .skip(1)
            .map(|author| author.to_string())
            .collect(),
    })
}

/// `loadbalance [round_robin | weighted FILE { reload DURATION }] { prefer CIDR… }`.
pub(super) fn loadbalance(c: &mut Controller<'_>) -> Result<Plugin, Refusal> {
    if c.version < Version::new(1, 10, 1) {
        return round_robin(c);
    }
    let mut plugin = Loadbalance::RoundRobin;
    while c.next() {
        let args = c.remaining_args();
        match args.first().map(|policy| &**policy) {
            None => {}
            Some("round_robin") if args.len() > 1 => {
                return Err(c.err("unknown property for round_robin"));
            }
            Some("round_robin") => {}
            Some("weighted") => plugin = weighted(c, &args[1..])?,
            Some(policy) => return Err(c.plain(format!("unknown policy: {policy}"))),
        }
        while let Some(option) = c.next_option() {
            if &*option != "prefer" {
                return Err(c.unknown_property());
            }
            c.remaining_args();
        }
    }
    Ok(Plugin::Loadbalance(plugin))
}

/// `loadbalance [round_robin]`, before there were weights: the first use is all that is read.
fn round_robin(c: &mut Controller<'_>) -> Result<Plugin, Refusal> {
    c.next();
    match &*c.remaining_args() {
        [] => {}
        [policy] if &**policy == "round_robin" => {}
        [policy] => return Err(c.plain(format!("unknown policy: {policy}"))),
        _ => return Err(c.arg_err()),
    }
    Ok(Plugin::Loadbalance(Loadbalance::RoundRobin))
}

fn weighted(c: &mut Controller<'_>, args: &[std::sync::Arc<str>]) -> Result<Loadbalance, Refusal> {
    let file = match args {
        [] => return Err(c.err("missing weight file argument")),
        [file] => c.path(file).to_string_lossy().into_owned(),
        _ => return Err(c.err("unexpected argument(s)")),
    };
    let mut reload = Duration::from_secs(30);
    while let Some(option) = c.next_option() {
        if &*option != "reload" {
            return Err(c.unknown_property());
        }
        reload = match &*c.remaining_args() {
            [] => return Err(c.err("reload duration value is missing")),
            [text] => go::parse_duration(text)
                .map_err(|_| c.err(format!("invalid reload duration '{text}'")))?
                .unsigned(),
            _ => return Err(c.err("unexpected argument")),
        };
    }
    Ok(Loadbalance::Weighted { file, reload })
}
