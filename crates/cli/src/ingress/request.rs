//! Requests, from the command line and as JSON lines.

use std::collections::BTreeMap;
use std::path::Path;

use podwire_ingress::{Request, Scheme};
use serde::Deserialize;
use serde_json::Value;

use super::args::RouteArgs;
use crate::failure::Failure;
use crate::jsonl;

/// A request, and the name that its answer has.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) id: Value,
    pub(super) request: Request,
}

/// A request as a JSON line.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RequestLine {
    #[serde(default)]
    id: Value,
    #[serde(default)]
    scheme: Option<String>,
    #[serde(default)]
    host: Option<String>,
    path: String,
    #[serde(default)]
    method: Option<String>,
    #[serde(default)]
    headers: Option<BTreeMap<String, String>>,
}

/// The requests that the command line names.
pub(super) fn requests(args: &RouteArgs) -> Result<Vec<Asked>, Failure> {
    match (&args.requests, &args.url) {
        (Some(file), _) => lines(file),
        (None, Some(url)) => Ok(vec![Asked {
            id: Value::Null,
            request: of_url(url, &args.header)?,
        }]),
        (None, None) => Ok(Vec::new()),
    }
}

/// The request of a URL and of headers as NAME=VALUE.
pub(crate) fn of_url(url: &str, headers: &[String]) -> Result<Request, Failure> {
    let mut request = Request::get(url).map_err(Failure::input)?;
    for header in headers {
        let Some((name, value)) = header.split_once('=').filter(|(name, _)| !name.is_empty())
        else {
            return Err(Failure::input(format_args!(
                "--header {header}: accepted is NAME=VALUE, as in Host=shop.test"
            )));
        };
        add_header(&mut request, name, value);
    }
    Ok(request)
}

/// Adds a header; Host goes before what a URL names.
fn add_header(request: &mut Request, name: &str, value: &str) {
    if name.eq_ignore_ascii_case("host") {
        value.clone_into(&mut request.host);
    } else {
        request.headers.push((name.to_owned(), value.to_owned()));
    }
}

fn lines(file: &Path) -> Result<Vec<Asked>, Failure> {
    let lines: Vec<jsonl::Line<RequestLine>> = jsonl::read(file, "a request")?;
    let asked = lines.into_iter().map(|jsonl::Line { number, value }| {
        let scheme = match value.scheme.as_deref() {
            None => Scheme::default(),
            Some(scheme) => scheme.parse().map_err(|_| {
                let why = format!("scheme `{scheme}`: accepted are http and https");
                jsonl::fault(file, number, 1, &why)
            })?,
        };
        let mut request = Request {
            scheme,
            host: value.host.unwrap_or_default(),
            path: value.path,
            method: value.method.unwrap_or_else(|| "GET".to_owned()),
            headers: Vec::new(),
        };
        for (name, text) in value.headers.unwrap_or_default() {
            add_header(&mut request, &name, &text);
        }
        Ok(Asked {
            id: value.id,
            request,
        })
    });
    asked.collect()
}
