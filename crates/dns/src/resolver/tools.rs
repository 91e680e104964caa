//! `dig +search`, BIND's `nslookup` and busybox's.
//!
//! # Sources
//! bin/dig/dighost.c (`setup_lookup`, `next_origin`) and bin/dig/nslookup.c of BIND 9.18;
//! networking/nslookup.c of busybox 1.35.

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{RData, RecordType};

use super::{Answer, Ask, Queries, ResolvConf, dots};

/// Walks the search list as BIND's tools do: on only where a name does not exist.
///
/// A name with enough dots is asked for as it is, and that is all.
fn search<S: Ask>(
    conf: &ResolvConf,
    name: &str,
    queries: &mut Queries<'_, S>,
) -> Option<(String, Answer)> {
    let as_is = dots(name) >= conf.ndots() || name.ends_with('.');
    let domains = conf.search.iter().filter(|_| !as_is);
    let names = domains.map(|domain| format!("{name}.{}", domain.trim_end_matches('.')));
    let mut last = None;
    for full in names.chain([name.to_owned()]) {
        let answer = queries.ask(&full, &[RecordType::A])?.pop()?;
        let gone = answer.rcode == ResponseCode::NXDomain;
        last = Some((full, answer));
        if !gone {
            break;
        }
    }
    last
}

/// The lines that `dig +search +short` prints.
pub(super) fn dig<S: Ask>(
    conf: &ResolvConf,
    name: &str,
    queries: &mut Queries<'_, S>,
) -> Vec<String> {
    let answer = search(conf, name, queries);
    let records = answer.map_or_else(Vec::new, |(_, answer)| answer.records);
    records
        .iter()
        .map(|record| record.data.to_string())
        .collect()
}

/// The exit code of BIND's `nslookup`: it asks for A, and where that is answered for AAAA too.
pub(super) fn nslookup_bind<S: Ask>(
    conf: &ResolvConf,
    name: &str,
    queries: &mut Queries<'_, S>,
) -> i32 {
    let Some((full, answer)) = search(conf, name, queries) else {
        return 1;
    };
    if answer.rcode != ResponseCode::NoError {
        return 1;
    }
    // The second question is about the end of a chain of CNAMEs.
    let mut end = full;
    for record in &answer.records {
        if let RData::CNAME(target) = &record.data
            && record.name.to_ascii().trim_end_matches('.') == end.trim_end_matches('.')
        {
            end = target.0.to_ascii();
        }
    }
    let same = queries
        .sent
        .last()
        .is_some_and(|sent| sent.qname.trim_end_matches('.') == end.trim_end_matches('.'));
    let again = queries.ask(&end, &[RecordType::AAAA]);
    // Two questions about one name are told together.
    if same
        && let Some(second) = queries.sent.pop()
        && let Some(first) = queries.sent.last_mut()
    {
        first.asked.extend(second.asked);
    }
    let fine = again.is_some_and(|a| a.iter().all(|a| a.rcode == ResponseCode::NoError));
    i32::from(!fine)
}

/// The exit code of busybox's `nslookup`: it asks for both types, and knows no search list.
pub(super) fn nslookup_busybox<S: Ask>(name: &str, queries: &mut Queries<'_, S>) -> i32 {
    let answers = queries.ask(name, &[RecordType::A, RecordType::AAAA]);
    let fine = answers.is_some_and(|a| a.iter().all(|a| a.rcode == ResponseCode::NoError));
    i32::from(!fine)
}
