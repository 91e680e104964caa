//! `rewrite` and `return`: texts with captures and variables in them.
//!
//! # Sources
//! src/http/modules/ngx_http_rewrite_module.c (`ngx_http_rewrite`), ngx_http_script.c
//! (`ngx_http_script_compile`, `ngx_http_script_regex_end_code`).

use std::fmt;

use regex::bytes::Captures;

use super::{Outcome, Pattern, Uri, escape, shown};
use crate::Request;

/// A text in which `$1` and `$uri` stand for something.
#[derive(Clone, Debug)]
pub struct Script {
    text: Box<str>,
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(Box<str>),
    Capture(usize),
    Variable(Variable),
    /// The first question mark: arguments begin.
    Arguments,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Variable {
    Uri,
    RequestUri,
    Args,
    IsArgs,
    Host,
    HttpHost,
    Scheme,
    RequestMethod,
    /// `$http_NAME`: a header, its hyphens as underscores.
    Header(Box<str>),
}

/// Why a text is not a [`Script`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` has a `$` that names no variable known here: `${variable}`")]
pub struct ScriptError {
    /// The text.
    pub text: Box<str>,
    /// The name behind the `$`.
    pub variable: Box<str>,
}

impl fmt::Display for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Script {
    /// Reads a text.
    ///
    /// # Errors
    /// [`ScriptError`].
    pub fn new(text: &str) -> Result<Self, ScriptError> {
        let mut parts = Vec::new();
        let mut rest = text;
        let mut plain = String::new();
        let mut has_arguments = false;
        while let Some(c) = rest.chars().next() {
            let part = match c {
                '$' => {
                    let (part, after) = variable(&rest[1..]).map_err(|variable| ScriptError {
                        text: text.into(),
                        variable: variable.into(),
                    })?;
                    rest = after;
                    part
                }
                '?' if !has_arguments => {
                    has_arguments = true;
                    rest = &rest[1..];
                    Part::Arguments
                }
                c => {
                    plain.push(c);
                    rest = &rest[c.len_utf8()..];
                    continue;
                }
            };
            if !plain.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut plain).into()));
            }
            parts.push(part);
        }
        if !plain.is_empty() {
            parts.push(Part::Text(plain.into()));
        }
        Ok(Self {
            text: text.into(),
            parts,
        })
    }

    /// The text with everything put in; and what stands behind its question mark.
    fn run(
        &self,
        request: &Request,
        uri: &Uri<'_>,
        host: &str,
        captures: Option<&Captures<'_>>,
    ) -> (Vec<u8>, Option<Vec<u8>>) {
        let mut before = Vec::new();
        let mut behind: Option<Vec<u8>> = None;
        for part in &self.parts {
            let is_args = behind.is_some();
            let out = behind.as_mut().unwrap_or(&mut before);
            match part {
                Part::Text(text) => out.extend_from_slice(text.as_bytes()),
                Part::Capture(number) => {
                    let capture = captures.and_then(|captures| captures.get(*number));
                    let capture = capture.map_or(&b""[..], |capture| capture.as_bytes());
                    if is_args && uri.was_encoded {
                        out.extend(escape::args(capture));
                    } else {
                        out.extend_from_slice(capture);
                    }
                }
                Part::Variable(variable) => variable.write(request, uri, host, out),
                Part::Arguments => behind = Some(Vec::new()),
            }
        }
        (before, behind)
    }
}

/// Reads what stands behind a `$`, and gives the rest. Captures have one digit.
fn variable(text: &str) -> Result<(Part, &str), &str> {
    let braced = text.strip_prefix('{').and_then(|rest| rest.split_once('}'));
    let (name, rest) = match (braced, text.as_bytes().first()) {
        (Some(split), _) => split,
        (None, Some(b'1'..=b'9')) => text.split_at(1),
        (None, _) => {
            let inner = |c: char| c.is_ascii_alphanumeric() || c == '_';
            text.split_at(text.find(|c| !inner(c)).unwrap_or(text.len()))
        }
    };
    if let [digit @ b'1'..=b'9'] = name.as_bytes() {
        return Ok((Part::Capture(usize::from(digit - b'0')), rest));
    }
    let variable = match name {
        "uri" | "document_uri" => Variable::Uri,
        "request_uri" => Variable::RequestUri,
        "args" | "query_string" => Variable::Args,
        "is_args" => Variable::IsArgs,
        "host" => Variable::Host,
        "http_host" | "best_http_host" => Variable::HttpHost,
        "scheme" | "pass_access_scheme" => Variable::Scheme,
        "request_method" => Variable::RequestMethod,
        name => match name.strip_prefix("http_") {
            Some(header) if !header.is_empty() => Variable::Header(header.into()),
            Some(_) | None => return Err(name),
        },
    };
    Ok((Part::Variable(variable), rest))
}

impl Variable {
    fn write(&self, request: &Request, uri: &Uri<'_>, host: &str, out: &mut Vec<u8>) {
        let header = |wanted: &str| {
            let is_wanted = |(name, _): &&(String, String)| {
                let name = name.bytes().map(|byte| match byte {
                    b'-' => b'_',
                    byte => byte.to_ascii_lowercase(),
                });
                name.eq(wanted.bytes())
            };
            let found = request.headers.iter().find(is_wanted);
            found.map_or("", |(_, value)| value)
        };
        out.extend_from_slice(match self {
            Self::Uri => &uri.path,
            Self::RequestUri => uri.raw.as_bytes(),
            Self::Args => uri.args.as_bytes(),
            Self::IsArgs if uri.args.is_empty() => b"",
            Self::IsArgs => b"?",
            Self::Host => host.as_bytes(),
            Self::HttpHost => request.host.as_bytes(),
            Self::Scheme => request.scheme.name().as_bytes(),
            Self::RequestMethod => request.method.as_bytes(),
            Self::Header(name) => header(name).as_bytes(),
        });
    }
}

/// `return STATUS TEXT`.
#[derive(Clone, Debug)]
pub struct Return {
    /// The status.
    pub status: u16,
    /// Where a redirect goes.
    pub to: Option<Script>,
}

impl Return {
    pub(super) fn run(&self, request: &Request, uri: &Uri<'_>, host: &str) -> Outcome {
        let location = self.to.as_ref().map(|to| {
            let (mut text, behind) = to.run(request, uri, host, None);
            if let Some(behind) = behind {
                text.push(b'?');
                text.extend(behind);
            }
            shown(&text).into_owned()
        });
        Outcome::Answer {
            status: self.status,
            location,
        }
    }
}

/// `rewrite PATTERN REPLACEMENT break`.
#[derive(Clone, Debug)]
pub struct Rewrite {
    pattern: Pattern,
    replacement: Script,
    /// The request's own arguments are kept.
    keeps_arguments: bool,
    /// The replacement names a scheme: the client is sent there.
    redirects: bool,
}

/// What a rewrite made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rewritten {
    /// Path and arguments, as they are sent.
    Uri(String),
    /// Where the client is sent.
    Redirect(String),
    /// An empty path, which nginx answers with 500.
    Empty,
}

impl fmt::Display for Rewrite {
    /// Writes what stands behind the word `rewrite` in a configuration.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\" {}", self.pattern, self.replacement)
    }
}

impl Rewrite {
    /// A rewrite. A question mark at the end of the replacement drops the request's arguments.
    ///
    /// # Errors
    /// [`ScriptError`].
    pub fn new(pattern: Pattern, replacement: &str) -> Result<Self, ScriptError> {
        let bare = replacement.strip_suffix('?');
        let schemes = ["http://", "https://", "$scheme"];
        Ok(Self {
            pattern,
            keeps_arguments: bare.is_none(),
            redirects: schemes
                .iter()
                .any(|&scheme| replacement.starts_with(scheme)),
            replacement: Script::new(bare.unwrap_or(replacement))?,
        })
    }

    /// What it makes of a request, if its pattern matches the path somewhere. The whole path is replaced.
    #[must_use]
    pub fn run(&self, request: &Request, uri: &Uri<'_>, host: &str) -> Option<Rewritten> {
        let captures = self.pattern.captures(&uri.path)?;
        let (path, behind) = self.replacement.run(request, uri, host, Some(&captures));
        let own = Some(uri.args).filter(|args| self.keeps_arguments && !args.is_empty());
        let mut text = if self.redirects {
            shown(&path).into_owned()
        } else {
            escape::uri(&path)
        };
        if text.is_empty() {
            return Some(Rewritten::Empty);
        }
        match (behind, own) {
            (None, None) => {}
            (None, Some(own)) => text.extend(["?", own]),
            (Some(behind), own) => {
                // Arguments that are empty are none; those of the request still stand behind a `&`.
                let own = own.map(|own| format!("&{own}")).unwrap_or_default();
                if !behind.is_empty() || !own.is_empty() {
                    text.extend(["?", &*shown(&behind), &*own]);
                }
            }
        }
        Some(if self.redirects {
            Rewritten::Redirect(text)
        } else {
            Rewritten::Uri(text)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewritten(pattern: &str, replacement: &str, path: &str) -> Option<Rewritten> {
        let rewrite = Rewrite::new(Pattern::new(pattern).unwrap(), replacement).unwrap();
        let request = Request {
            host: "shop.test:8080".to_owned(),
            path: path.to_owned(),
            ..Request::default()
        };
        rewrite.run(&request, &Uri::parse(path).unwrap(), "shop.test")
    }

    #[test]
    fn a_rewrite_replaces_the_whole_path_and_keeps_the_arguments() {
        for (pattern, replacement, path, wanted) in [
            ("/x(/|$)(.*)", "/$2", "/x/a/b?q=1", "/a/b?q=1"),
            ("/x(/|$)(.*)", "/$2", "/x", "/"),
            ("/x(/|$)(.*)", "/$2", "/x/%20a%3F", "/%20a%3F"),
            ("/x", "/", "/x/anything?q", "/?q"),
            ("/x", "/y?", "/x?q=1", "/y"),
            ("/x/(.*)", "/y?p=$1", "/x/a?q=1", "/y?p=a&q=1"),
            ("/x/(.*)", "/y?p=$1", "/x/a%26b", "/y?p=a%26b"),
            ("/x/(.*)", "/${1}0/$host", "/x/a", "/a0/shop.test"),
            ("/(a)|/(b)", "/[$1$2]", "/b", "/[b]"),
        ] {
            let found = rewritten(pattern, replacement, path);
            assert_eq!(
                found,
                Some(Rewritten::Uri(wanted.to_owned())),
                "{pattern} {path}"
            );
        }
        let away = rewritten("/x/(.*)", "https://other.test/$1", "/x/a?q=1");
        let there = "https://other.test/a?q=1".to_owned();
        assert_eq!(away, Some(Rewritten::Redirect(there)));
        assert_eq!(rewritten("/x(.*)", "$1", "/x"), Some(Rewritten::Empty));
        assert_eq!(rewritten("/x", "/", "/y"), None);
    }

    #[test]
    fn a_variable_that_nobody_knows_is_refused() {
        let error = Script::new("/$nothing/a").unwrap_err();
        assert_eq!(&*error.variable, "nothing");
        assert!(Script::new("/a$").is_err());
    }
}
