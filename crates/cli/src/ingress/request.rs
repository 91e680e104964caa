//! Requests, from the command line and as JSON lines.

use std::collections::BTreeMap;
use std::path::Path;

use podwire_ingress::{Request, Scheme};
use serde::Deserialize;
use serde_json::Value;

use super::args::RouteArgs;
use crate::failure::Failure;
use crate::files::read_text;

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
    host: String,
    path: String,
    #[serde(default)]
    method: Option<String>,
    #[serde(default)]
    headers: Option<BTreeMap<String, String>>,
}

/// The requests that the command line names.
pub(super) fn requests(args: &RouteArgs) -> Result<Vec<Asked>, Failure> {
    match (&args.requests, &args.url) {
        (Some(file), _) => lines(file, &read_text(file)?),
        (None, Some(url)) => Ok(vec![of_url(url, &args.header)?]),
        (None, None) => Ok(Vec::new()),
    }
}

fn of_url(url: &str, headers: &[String]) -> Result<Asked, Failure> {
    let mut request = Request::get(url).map_err(Failure::input)?;
    for header in headers {
        let Some((name, value)) = header.split_once('=').filter(|(name, _)| !name.is_empty())
        else {
            return Err(Failure::input(format_args!(
                "--header {header}: accepted is NAME=VALUE, as in Host=shop.test"
            )));
        };
        if name.eq_ignore_ascii_case("host") {
            value.clone_into(&mut request.host);
        } else {
            request.headers.push((name.to_owned(), value.to_owned()));
        }
    }
    Ok(Asked {
        id: Value::Null,
        request,
    })
}

fn lines(file: &Path, text: &str) -> Result<Vec<Asked>, Failure> {
    let mut asked = Vec::new();
    for (number, line) in text.lines().enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        let fault = |column: usize, why: &dyn std::fmt::Display| {
            let (file, line) = (file.display(), number + 1);
            Failure::input(format_args!("{file}:{line}:{column}: {why}"))
        };
        let read: RequestLine = serde_json::from_str(line).map_err(|error| {
            // The place in the line is all there is of a place in its text.
            let text = error.to_string();
            let why = text.split(" at line ").next().unwrap_or_default();
            fault(error.column().max(1), &why)
        })?;
        let scheme = match &read.scheme {
            None => Scheme::default(),
            Some(scheme) => scheme.parse().map_err(|_| {
                fault(
                    1,
                    &format_args!("scheme `{scheme}`: accepted are http and https"),
                )
            })?,
        };
        asked.push(Asked {
            id: read.id,
            request: Request {
                scheme,
                host: read.host,
                path: read.path,
                method: read.method.unwrap_or_else(|| "GET".to_owned()),
                headers: read.headers.unwrap_or_default().into_iter().collect(),
            },
        });
    }
    Ok(asked)
}
