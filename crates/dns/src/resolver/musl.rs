//! `getaddrinfo` of musl.
//!
//! It stops at a name that exists without such an address, where glibc goes on; and a name with enough
//! dots is never looked for in the search list.
//!
//! # Sources
//! src/network/lookup_name.c of musl 1.2.3: `name_from_dns_search`, `name_from_dns`.

use std::net::IpAddr;

use hickory_proto::op::ResponseCode;

use super::{Answer, Ask, LookupError, Queries, ResolvConf, Wanted, dots};

/// The longest name, in bytes.
const LONGEST: usize = 255;

pub(super) fn addresses<S: Ask>(
    conf: &ResolvConf,
    name: &str,
    wanted: Wanted,
    queries: &mut Queries<'_, S>,
) -> Result<Vec<IpAddr>, LookupError> {
    let absolute = name.ends_with('.');
    let bare = name.strip_suffix('.').unwrap_or(name);
    if bare.is_empty() || bare.ends_with('.') || bare.len() > LONGEST {
        return Err(LookupError::NoName);
    }
    let searched = dots(name) < conf.ndots() && !absolute;
    let search = conf.search.iter().filter(|_| searched);
    for domain in search.filter(|domain| bare.len() + 1 + domain.len() <= LONGEST) {
        if let Some(found) = query(&format!("{bare}.{domain}"), wanted, queries)? {
            return Ok(found);
        }
    }
    query(bare, wanted, queries)?.ok_or(LookupError::NoName)
}

/// The addresses of a name; `None` if there is no such name.
fn query<S: Ask>(
    name: &str,
    wanted: Wanted,
    queries: &mut Queries<'_, S>,
) -> Result<Option<Vec<IpAddr>>, LookupError> {
    let answers = queries
        .ask(name, wanted.types())
        .ok_or(LookupError::NoName)?;
    for answer in &answers {
        if answer.rcode == ResponseCode::NXDomain {
            return Ok(None);
        }
        if answer.rcode == ResponseCode::ServFail {
            return Err(LookupError::Again);
        }
        if answer.rcode != ResponseCode::NoError {
            return Err(LookupError::Fail);
        }
    }
    let addresses: Vec<_> = answers.iter().flat_map(Answer::addresses).collect();
    if addresses.is_empty() {
        return Err(LookupError::NoData);
    }
    Ok(Some(addresses))
}
