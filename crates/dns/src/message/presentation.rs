//! Records as text: the data of a record as a zone file and `dig` write it.
//!
//! # Sources
//! RFC 1035 section 5.1, RFC 3597; `String` of each record of miekg/dns, which CoreDNS and its
//! users see.

use std::fmt::Write as _;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::rdata::TXT;
use hickory_proto::rr::{RData, Record, RecordType};
use hickory_proto::serialize::binary::{BinEncodable as _, BinEncoder};

use super::as_text;

/// The data of a record: `0 100 443 web.apps.svc.cluster.local.` of an SRV.
#[must_use]
pub fn data(data: &RData) -> String {
    match data {
        RData::A(a) => a.0.to_string(),
        RData::AAAA(aaaa) => aaaa.0.to_string(),
        RData::CNAME(target) => as_text(&target.0),
        RData::NS(target) => as_text(&target.0),
        RData::PTR(target) => as_text(&target.0),
        RData::ANAME(target) => as_text(&target.0),
        RData::SRV(srv) => format!(
            "{} {} {} {}",
            srv.priority,
            srv.weight,
            srv.port,
            as_text(&srv.target)
        ),
        RData::MX(mx) => format!("{} {}", mx.preference, as_text(&mx.exchange)),
        RData::SOA(soa) => format!(
            "{} {} {} {} {} {} {}",
            as_text(&soa.mname),
            as_text(&soa.rname),
            soa.serial,
            soa.refresh,
            soa.retry,
            soa.expire,
            soa.minimum
        ),
        RData::TXT(txt) => strings(txt),
        RData::HINFO(hinfo) => {
            format!("{} {}", quoted(&hinfo.cpu), quoted(&hinfo.os))
        }
        RData::CAA(caa) => caa.to_string(),
        RData::NAPTR(naptr) => naptr.to_string(),
        other => ds(other).unwrap_or_else(|| unknown(other)),
    }
}

/// The name of a type: `A`, `TYPE65280`.
#[must_use]
pub fn record_type(record_type: RecordType) -> String {
    match record_type {
        RecordType::Unknown(number) => format!("TYPE{number}"),
        known => known.to_string(),
    }
}

/// The type of that name.
#[must_use]
pub fn parse_record_type(text: &str) -> Option<RecordType> {
    let text = text.to_ascii_uppercase();
    if let Some(number) = text.strip_prefix("TYPE") {
        return Some(RecordType::from(number.parse::<u16>().ok()?));
    }
    text.parse().ok()
}

/// An rcode as dig names it.
#[must_use]
pub fn rcode(rcode: ResponseCode) -> String {
    match rcode {
        ResponseCode::NoError => "NOERROR".to_owned(),
        ResponseCode::FormErr => "FORMERR".to_owned(),
        ResponseCode::ServFail => "SERVFAIL".to_owned(),
        ResponseCode::NXDomain => "NXDOMAIN".to_owned(),
        ResponseCode::NotImp => "NOTIMP".to_owned(),
        ResponseCode::Refused => "REFUSED".to_owned(),
        other => format!("RCODE{}", u16::from(other)),
    }
}

/// A line of `dig`.
#[must_use]
pub fn line(record: &Record) -> String {
    format!(
        "{}\t{}\t{}\t{}\t{}",
        as_text(&record.name),
        record.ttl,
        record.dns_class,
        record_type(record.record_type()),
        data(&record.data)
    )
}

fn strings(txt: &TXT) -> String {
    let strings: Vec<_> = txt.txt_data.iter().map(|text| quoted(text)).collect();
    strings.join(" ")
}

fn quoted(bytes: &[u8]) -> String {
    let mut out = String::from("\"");
    for &byte in bytes {
        match byte {
            b'"' | b'\\' => {
                out.push('\\');
                out.push(char::from(byte));
            }
            b' '..=b'~' => out.push(char::from(byte)),
            _ => write!(out, "\\{byte:03}").expect("a String takes any text"),
        }
    }
    out.push('"');
    out
}

/// `KEY_TAG ALGORITHM DIGEST_TYPE DIGEST` of a DS record, RFC 4034 section 5.3.
fn ds(data: &RData) -> Option<String> {
    if data.record_type() != RecordType::DS {
        return None;
    }
    let bytes = encoded(data);
    let (&[high, low, algorithm, digest_type], digest) = bytes.split_first_chunk()?;
    let key_tag = u16::from_be_bytes([high, low]);
    let mut out = format!("{key_tag} {algorithm} {digest_type} ");
    for byte in digest {
        write!(out, "{byte:02X}").expect("a String takes any text");
    }
    Some(out)
}

/// `\# LENGTH HEX`, RFC 3597 section 5.
fn unknown(data: &RData) -> String {
    let bytes = encoded(data);
    let mut out = format!("\\# {}", bytes.len());
    for (index, byte) in bytes.iter().enumerate() {
        let gap = if index == 0 { " " } else { "" };
        write!(out, "{gap}{byte:02x}").expect("a String takes any text");
    }
    out
}

/// The bytes of a record's data, names in them not compressed.
pub(super) fn encoded(data: &RData) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = BinEncoder::new(&mut bytes);
    if data.emit(&mut encoder).is_err() {
        bytes.clear();
    }
    bytes
}
