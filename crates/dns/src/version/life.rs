//! When plugins and options came, fell into disuse, and went.

use super::Version;

/// The life of a plugin, or of an option of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Life {
    /// The plugin.
    pub plugin: &'static str,
    /// The plugin's or the option's name.
    pub name: &'static str,
    /// The first release that has it; `None` if older than any that is understood.
    pub since: Option<Version>,
    /// The first release that reads it and does nothing with it.
    pub ignored: Option<Version>,
    /// The first release that refuses it.
    pub gone: Option<Version>,
    /// What is there instead.
    pub instead: &'static str,
}

impl Life {
    /// Whether a release accepts it.
    pub fn holds(&self, version: Version) -> bool {
        self.since.is_none_or(|since| since <= version)
            && self.gone.is_none_or(|gone| version < gone)
    }

    const fn ever(name: &'static str) -> Self {
        Self {
            plugin: name,
            name,
            since: None,
            ignored: None,
            gone: None,
            instead: "",
        }
    }

    const fn since(name: &'static str, minor: u16, patch: u16) -> Self {
        let since = Some(Version::new(1, minor, patch));
        Self {
            since,
            ..Self::ever(name)
        }
    }

    const fn until(name: &'static str, minor: u16, patch: u16, instead: &'static str) -> Self {
        let gone = Some(Version::new(1, minor, patch));
        Self {
            gone,
            instead,
            ..Self::ever(name)
        }
    }

    const fn of(self, plugin: &'static str) -> Self {
        Self { plugin, ..self }
    }

    const fn ignored(self, minor: u16, patch: u16) -> Self {
        let ignored = Some(Version::new(1, minor, patch));
        Self { ignored, ..self }
    }
}

/// The plugins, in the order of plugin.cfg: it only ever gained and lost lines that matter.
pub const DIRECTIVES: &[Life] = &[
    Life::ever("root"),
    Life::since("metadata", 2, 1),
    Life::since("geoip", 8, 5),
    Life::since("cancel", 6, 0),
    Life::ever("tls"),
    Life::since("quic", 12, 2),
    Life::since("timeouts", 10, 1),
    Life::since("multisocket", 12, 0),
    Life::ever("reload"),
    Life::ever("nsid"),
    Life::since("bufsize", 6, 6),
    Life::ever("bind"),
    Life::ever("debug"),
    Life::ever("trace"),
    Life::since("ready", 5, 0),
    Life::ever("health"),
    Life::ever("pprof"),
    Life::ever("prometheus"),
    Life::ever("errors"),
    Life::ever("log"),
    Life::ever("dnstap"),
    Life::since("local", 8, 1),
    Life::since("dns64", 7, 1),
    Life::since("acl", 6, 4),
    Life::since("any", 5, 1),
    Life::ever("chaos"),
    Life::ever("loadbalance"),
    Life::since("tsig", 9, 4),
    Life::ever("cache"),
    Life::ever("rewrite"),
    Life::since("header", 8, 5),
    Life::ever("dnssec"),
    Life::ever("autopath"),
    Life::since("minimal", 8, 4),
    Life::ever("template"),
    Life::since("transfer", 6, 5),
    Life::ever("hosts"),
    Life::ever("route53"),
    Life::since("azure", 6, 2),
    Life::since("clouddns", 6, 3),
    Life::until("federation", 7, 0, ""),
    Life::since("k8s_external", 3, 0),
    Life::ever("kubernetes"),
    Life::ever("file"),
    Life::ever("auto"),
    Life::ever("secondary"),
    Life::ever("etcd"),
    Life::since("loop", 2, 1),
    Life::ever("forward"),
    Life::until("proxy", 5, 0, "forward"),
    Life::since("grpc", 5, 0),
    Life::ever("erratic"),
    Life::ever("whoami"),
    Life::ever("on"),
    Life::since("sign", 6, 3),
    Life::since("view", 10, 0),
    Life::since("nomad", 13, 0),
];

/// Options that are younger than their plugin, or gone.
pub const OPTIONS: &[Life] = &[
    Life::until("resyncperiod", 6, 0, "").of("kubernetes"),
    Life::until("upstream", 7, 0, "")
        .of("kubernetes")
        .ignored(4, 0),
    Life::until("transfer", 8, 0, "plugin transfer").of("kubernetes"),
    Life::since("kubeconfig", 2, 3).of("kubernetes"),
    Life::since("namespace_labels", 6, 6).of("kubernetes"),
    Life::since("multicluster", 12, 2).of("kubernetes"),
    Life::since("startup_timeout", 12, 3).of("kubernetes"),
    Life::since("serve_stale", 6, 6).of("cache"),
    Life::since("servfail", 9, 4).of("cache"),
    Life::since("disable", 9, 4).of("cache"),
    Life::since("keepttl", 10, 1).of("cache"),
    Life::since("prefer_udp", 2, 0).of("forward"),
    Life::since("max_concurrent", 6, 9).of("forward"),
    Life::since("next", 11, 4).of("forward"),
    Life::since("failfast_all_unhealthy_upstreams", 12, 1).of("forward"),
    Life::since("failover", 13, 0).of("forward"),
    Life::since("max_connect_attempts", 13, 2).of("forward"),
    Life::since("consolidate", 2, 6).of("errors"),
    Life::since("stacktrace", 9, 3).of("errors"),
    Life::since("ttl", 2, 3).of("rewrite"),
    Life::since("cname", 11, 0).of("rewrite"),
    Life::since("rcode", 11, 3).of("rewrite"),
    Life::since("ederror", 10, 1).of("template"),
    Life::since("fallthrough", 12, 2).of("file"),
    Life::until("no_reload", 5, 0, "reload 0").of("file"),
    Life::until("transfer", 8, 0, "plugin transfer").of("file"),
    Life::until("upstream", 14, 0, "").of("file").ignored(4, 0),
    Life::until("upstream", 14, 0, "")
        .of("template")
        .ignored(4, 0),
    Life::until("no_reload", 5, 0, "reload 0").of("auto"),
    Life::until("transfer", 8, 0, "plugin transfer").of("auto"),
    Life::until("upstream", 14, 0, "").of("auto").ignored(4, 0),
];

/// What is known of an option, if it is younger than its plugin, or gone.
pub(super) fn option(plugin: &str, option: &str) -> Option<&'static Life> {
    let mut known = OPTIONS.iter();
    known.find(|life| life.plugin == plugin && life.name == option)
}
