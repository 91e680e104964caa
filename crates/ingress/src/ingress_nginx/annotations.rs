//! What an Ingress asks of ingress-nginx.
//!
//! # Sources
//! internal/ingress/annotations/{parser,rewrite,redirect,alias,canary,defaultbackend}/main.go.

use podwire_cluster::Ingress;

/// The annotations of an Ingress, as far as they are heard here.
#[derive(Debug)]
pub(super) struct Annotations {
    /// `rewrite-target`; empty if there is none.
    pub(super) rewrite_target: Box<str>,
    /// `use-regex`.
    pub(super) use_regex: bool,
    /// `app-root`.
    pub(super) app_root: Option<Box<str>>,
    /// `ssl-redirect`: on unless said.
    pub(super) ssl_redirect: bool,
    /// `force-ssl-redirect`.
    pub(super) force_ssl_redirect: bool,
    /// `temporal-redirect` or `permanent-redirect`, with its status.
    pub(super) redirect: Option<(u16, Box<str>)>,
    /// `server-alias`.
    pub(super) aliases: Vec<Box<str>>,
    /// `default-backend`: a Service for when there are no endpoints.
    pub(super) default_backend: Option<Box<str>>,
}

/// Whether an Ingress is a canary.
pub(super) fn is_canary(ingress: &Ingress) -> bool {
    flag(ingress, "canary").unwrap_or(false)
}

impl Annotations {
    pub(super) fn of(ingress: &Ingress) -> Self {
        let aliases = text(ingress, "server-alias").unwrap_or_default();
        let mut aliases: Vec<Box<str>> = aliases
            .split(',')
            .map(str::trim)
            .filter(|alias| !alias.is_empty())
            .map(Into::into)
            .collect();
        aliases.sort();
        aliases.dedup();
        Self {
            rewrite_target: text(ingress, "rewrite-target").unwrap_or_default().into(),
            use_regex: flag(ingress, "use-regex").unwrap_or(false),
            app_root: text(ingress, "app-root")
                .filter(|path| path.starts_with('/'))
                .map(Into::into),
            ssl_redirect: flag(ingress, "ssl-redirect").unwrap_or(true),
            force_ssl_redirect: flag(ingress, "force-ssl-redirect").unwrap_or(false),
            redirect: redirect(ingress),
            aliases,
            default_backend: text(ingress, "default-backend").map(Into::into),
        }
    }
}

/// The one for now goes before the one for ever.
fn redirect(ingress: &Ingress) -> Option<(u16, Box<str>)> {
    let of = |name: &str, usual: u16| {
        let url = text(ingress, name).filter(|url| url.starts_with("http"))?;
        let code = text(ingress, &format!("{name}-code")).and_then(|code| code.parse().ok());
        let code = code.filter(|code| (300..=308).contains(code));
        Some((code.unwrap_or(usual), url.into()))
    };
    of("temporal-redirect", 302).or_else(|| of("permanent-redirect", 301))
}

/// An annotation's text, without the white space around it.
fn text<'i>(ingress: &'i Ingress, name: &str) -> Option<&'i str> {
    let key = format!("nginx.ingress.kubernetes.io/{name}");
    let value = ingress.meta.annotations.get(&*key)?.trim();
    Some(value).filter(|value| !value.is_empty())
}

/// An annotation that is yes or no, in the words that Go's `strconv.ParseBool` knows.
fn flag(ingress: &Ingress, name: &str) -> Option<bool> {
    match text(ingress, name)? {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
        _ => None,
    }
}
