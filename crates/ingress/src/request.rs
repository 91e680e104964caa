//! Requests.

/// `http` or `https`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// In the clear; port 80.
    #[default]
    Http,
    /// Under TLS; port 443.
    Https,
}

impl Scheme {
    /// As it stands in a URL.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    /// The port where a URL names none.
    #[must_use]
    pub const fn port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

impl std::str::FromStr for Scheme {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        if text.eq_ignore_ascii_case("http") {
            Ok(Self::Http)
        } else if text.eq_ignore_ascii_case("https") {
            Ok(Self::Https)
        } else {
            Err(UrlError {
                text: text.to_owned(),
            })
        }
    }
}

/// A request, as it comes to a controller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The scheme.
    pub scheme: Scheme,
    /// The Host header, with the port that it names.
    pub host: String,
    /// Path and arguments, as they are sent.
    pub path: String,
    /// The method.
    pub method: String,
    /// The other headers.
    pub headers: Vec<(String, String)>,
}

/// Why a text is not a URL.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no URL: accepted is http://HOST[:PORT][/PATH][?ARGUMENTS], or https")]
pub struct UrlError {
    /// The text.
    pub text: String,
}

impl Default for Request {
    fn default() -> Self {
        Self {
            scheme: Scheme::default(),
            host: String::new(),
            path: "/".to_owned(),
            method: "GET".to_owned(),
            headers: Vec::new(),
        }
    }
}

impl Request {
    /// The request that a client sends for a URL. A fragment stays with the client.
    ///
    /// # Errors
    /// [`UrlError`].
    pub fn get(url: &str) -> Result<Self, UrlError> {
        let wrong = || UrlError {
            text: url.to_owned(),
        };
        let (scheme, rest) = url.split_once("://").ok_or_else(wrong)?;
        let scheme = scheme.parse().map_err(|_| wrong())?;
        let rest = rest.split('#').next().unwrap_or_default();
        let (host, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        // A user's name is for the client, which makes a header of it.
        let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
        let is_odd = |c: char| c.is_whitespace() || c.is_control();
        if host.is_empty() || rest.contains(is_odd) {
            return Err(wrong());
        }
        Ok(Self {
            scheme,
            host: host.to_owned(),
            path: if path.starts_with('/') {
                path.to_owned()
            } else {
                format!("/{path}")
            },
            ..Self::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_a_request() {
        for (url, scheme, host, path) in [
            ("http://a.test", Scheme::Http, "a.test", "/"),
            (
                "https://a.test:8443/x?y#z",
                Scheme::Https,
                "a.test:8443",
                "/x?y",
            ),
            ("HTTP://u@a.test?y", Scheme::Http, "a.test", "/?y"),
            (
                "http://[2001:db8::1]:80/",
                Scheme::Http,
                "[2001:db8::1]:80",
                "/",
            ),
        ] {
            let request = Request::get(url).unwrap();
            assert_eq!(
                (request.scheme, &*request.host, &*request.path),
                (scheme, host, path)
            );
        }
        for url in ["", "a.test/x", "ftp://a.test", "http:///x", "http://a b/"] {
            assert!(Request::get(url).is_err(), "{url}");
        }
    }
}
