//! `getaddrinfo` of the GNU C library.
//!
//! # Sources
//! resolv/res_query.c of glibc 2.36: `__res_context_search`, `__res_context_query`.

use std::net::IpAddr;

use hickory_proto::op::ResponseCode;

use super::{Answer, Ask, LookupError, Queries, ResolvConf, Wanted, dots};

/// Why a name of the list gave nothing: `h_errno`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Miss {
    /// HOST_NOT_FOUND.
    NotFound,
    /// NO_DATA.
    NoData,
    /// TRY_AGAIN, of a server that failed.
    ServFail,
    /// NO_RECOVERY: the walk ends.
    Fatal,
}

impl From<Miss> for LookupError {
    fn from(miss: Miss) -> Self {
        match miss {
            Miss::NotFound => Self::NoName,
            Miss::NoData => Self::NoData,
            Miss::ServFail => Self::Again,
            Miss::Fatal => Self::Fail,
        }
    }
}

pub(super) fn addresses<S: Ask>(
    conf: &ResolvConf,
    name: &str,
    wanted: Wanted,
    queries: &mut Queries<'_, S>,
) -> Result<Vec<IpAddr>, LookupError> {
    let answers = search(conf, name, wanted, queries)?;
    let addresses: Vec<_> = answers.iter().flat_map(Answer::addresses).collect();
    if addresses.is_empty() {
        // A CNAME that leads nowhere is an answer to the walk, and none to its caller.
        return Err(LookupError::NoData);
    }
    Ok(addresses)
}

fn search<S: Ask>(
    conf: &ResolvConf,
    name: &str,
    wanted: Wanted,
    queries: &mut Queries<'_, S>,
) -> Result<Vec<Answer>, Miss> {
    let dots = dots(name);
    let absolute = name.ends_with('.');
    let mut try_name = |name: &str| query(name, wanted, queries);
    let mut as_is = None;
    if dots >= conf.ndots() || absolute {
        match try_name(name) {
            Ok(answers) => return Ok(answers),
            Err(miss) if absolute => return Err(miss),
            Err(miss) => as_is = Some(miss),
        }
    }
    let (mut no_data, mut failed, mut root) = (false, false, false);
    for domain in &conf.search {
        let domain = domain.trim_end_matches('.');
        root |= domain.is_empty();
        let full = match domain {
            "" => name.to_owned(),
            domain => format!("{name}.{domain}"),
        };
        match try_name(&full) {
            Ok(answers) => return Ok(answers),
            Err(Miss::NotFound) => {}
            Err(Miss::NoData) => no_data = true,
            Err(Miss::ServFail) => failed = true,
            Err(Miss::Fatal) => break,
        }
    }
    let mut last = Miss::NotFound;
    if as_is.is_none() && !root {
        match try_name(name) {
            Ok(answers) => return Ok(answers),
            Err(miss) => last = miss,
        }
    }
    // What was found out first about the name itself counts most, then that one existed.
    Err(match as_is {
        Some(miss) => miss,
        None if no_data => Miss::NoData,
        None if failed => Miss::ServFail,
        None => last,
    })
}

fn query<S: Ask>(
    name: &str,
    wanted: Wanted,
    queries: &mut Queries<'_, S>,
) -> Result<Vec<Answer>, Miss> {
    let answers = queries.ask(name, wanted.types()).ok_or(Miss::Fatal)?;
    if answers.iter().any(Answer::is_success) {
        return Ok(answers);
    }
    // The rcode of the first counts.
    Err(match answers.first().map(|answer| answer.rcode) {
        Some(ResponseCode::NXDomain) => Miss::NotFound,
        Some(ResponseCode::NoError) => Miss::NoData,
        // Servers that refuse are passed over like those that fail.
        Some(ResponseCode::ServFail | ResponseCode::NotImp | ResponseCode::Refused) => {
            Miss::ServFail
        }
        _ => Miss::Fatal,
    })
}
