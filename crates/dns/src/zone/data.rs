//! The data of a record, from the words of a master file.
//!
//! # Sources
//! RFC 1035 sections 3.3 and 5.1, RFC 2782 (SRV), RFC 3596 (AAAA), RFC 3597 (unknown types),
//! RFC 4034 (DS), RFC 8659 (CAA).

use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use hickory_proto::rr::rdata::{A, AAAA, CNAME, HINFO, MX, NS, NULL, PTR, SOA, SRV, TXT};
use hickory_proto::rr::{Name, RData, RecordType};

use crate::message::name;

/// Why words are not the data of a record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DataFault {
    /// A word is missing.
    #[error("a record of type {0} needs another word: {1}")]
    Missing(RecordType, &'static str),
    /// A word is not what must stand there.
    #[error("`{word}` is not {wanted}")]
    Wrong {
        /// The word.
        word: String,
        /// What is accepted.
        wanted: &'static str,
    },
    /// There are words too many.
    #[error("a record of type {0} ends before `{1}`")]
    TooMany(RecordType, String),
    /// The type is one that only its RFC 3597 form can say.
    #[error("records of type {0} are read in the form `\\# LENGTH HEX` only")]
    Unread(RecordType),
}

/// Words, taken one after another.
struct Words<'w> {
    words: std::slice::Iter<'w, String>,
    record_type: RecordType,
    origin: &'w Name,
}

impl<'w> Words<'w> {
    fn word(&mut self, wanted: &'static str) -> Result<&'w str, DataFault> {
        let word = self.words.next().map(String::as_str);
        word.ok_or(DataFault::Missing(self.record_type, wanted))
    }

    fn parse<T: FromStr>(&mut self, wanted: &'static str) -> Result<T, DataFault> {
        let word = self.word(wanted)?;
        word.parse().map_err(|_| wrong(word, wanted))
    }

    fn name(&mut self) -> Result<Name, DataFault> {
        let word = self.word("a name")?;
        absolute(word, self.origin).ok_or_else(|| wrong(word, "a name"))
    }

    /// A time in seconds, or with units: `1h30m`.
    fn seconds(&mut self) -> Result<u32, DataFault> {
        let wanted = "a time in seconds, or such as 1h30m";
        let word = self.word(wanted)?;
        seconds(word).ok_or_else(|| wrong(word, wanted))
    }

    fn rest(&mut self) -> Vec<&'w str> {
        self.words.by_ref().map(String::as_str).collect()
    }
}

fn wrong(word: &str, wanted: &'static str) -> DataFault {
    DataFault::Wrong {
        word: word.to_owned(),
        wanted,
    }
}

/// The data that the words after a record's type say; names without a final dot are below `origin`.
///
/// # Errors
/// If they say none.
pub fn parse(record_type: RecordType, words: &[String], origin: &Name) -> Result<RData, DataFault> {
    let mut words = Words {
        words: words.iter(),
        record_type,
        origin,
    };
    if words.words.as_slice().first().is_some_and(|w| w == "\\#") {
        return unknown(&mut words);
    }
    let data = match record_type {
        RecordType::A => RData::A(A(words.parse::<Ipv4Addr>("an IPv4 address")?)),
        RecordType::AAAA => RData::AAAA(AAAA(words.parse::<Ipv6Addr>("an IPv6 address")?)),
        RecordType::CNAME => RData::CNAME(CNAME(words.name()?)),
        RecordType::NS => RData::NS(NS(words.name()?)),
        RecordType::PTR => RData::PTR(PTR(words.name()?)),
        RecordType::MX => {
            let preference = words.parse("a preference, 0 to 65535")?;
            RData::MX(MX::new(preference, words.name()?))
        }
        RecordType::SRV => {
            let priority = words.parse("a priority, 0 to 65535")?;
            let weight = words.parse("a weight, 0 to 65535")?;
            let port = words.parse("a port, 0 to 65535")?;
            RData::SRV(SRV::new(priority, weight, port, words.name()?))
        }
        RecordType::SOA => soa(&mut words)?,
        RecordType::DS => ds(&mut words)?,
        RecordType::TXT => {
            let first = words.word("a text")?;
            let mut texts = vec![first.to_owned()];
            texts.extend(words.rest().into_iter().map(str::to_owned));
            RData::TXT(TXT::new(texts))
        }
        RecordType::HINFO => {
            let cpu = words.word("a CPU")?.to_owned();
            let os = words.word("an operating system")?.to_owned();
            RData::HINFO(HINFO::new(cpu, os))
        }
        other => return Err(DataFault::Unread(other)),
    };
    match words.words.next() {
        Some(word) => Err(DataFault::TooMany(record_type, word.clone())),
        None => Ok(data),
    }
}

fn soa(words: &mut Words<'_>) -> Result<RData, DataFault> {
    let (mname, rname) = (words.name()?, words.name()?);
    let serial = words.parse("a serial, 0 to 4294967295")?;
    let mut times = [0; 4];
    for time in &mut times {
        *time = words.seconds()?;
    }
    let [refresh, retry, expire, minimum] = times;
    let signed = |time: u32| i32::try_from(time).unwrap_or(i32::MAX);
    Ok(RData::SOA(SOA::new(
        mname,
        rname,
        serial,
        signed(refresh),
        signed(retry),
        signed(expire),
        minimum,
    )))
}

/// `KEY_TAG ALGORITHM DIGEST_TYPE DIGEST`, RFC 4034 section 5.3.
fn ds(words: &mut Words<'_>) -> Result<RData, DataFault> {
    let key_tag: u16 = words.parse("a key tag, 0 to 65535")?;
    let algorithm: u8 = words.parse("the number of an algorithm")?;
    let digest_type: u8 = words.parse("the number of a digest's type")?;
    let hex = words.rest().concat();
    let digest = bytes(&hex).filter(|digest| !digest.is_empty());
    let digest = digest.ok_or_else(|| wrong(&hex, "a digest in hexadecimal"))?;
    let mut rdata = key_tag.to_be_bytes().to_vec();
    rdata.extend([algorithm, digest_type]);
    rdata.extend(digest);
    Ok(RData::Unknown {
        code: RecordType::DS,
        rdata: NULL::with(rdata),
    })
}

/// `\# LENGTH HEX`.
fn unknown(words: &mut Words<'_>) -> Result<RData, DataFault> {
    words.word("\\#")?;
    let length: usize = words.parse("a number of bytes")?;
    let hex = words.rest().concat();
    let bytes = bytes(&hex).filter(|bytes| bytes.len() == length);
    let bytes = bytes.ok_or_else(|| wrong(&hex, "that many bytes in hexadecimal"))?;
    Ok(RData::Unknown {
        code: words.record_type,
        rdata: NULL::with(bytes),
    })
}

/// Bytes of two hexadecimal digits each.
fn bytes(hex: &str) -> Option<Vec<u8>> {
    let pairs = hex.as_bytes().chunks(2);
    let byte = |pair: &[u8]| {
        let pair = std::str::from_utf8(pair).ok()?;
        (pair.len() == 2).then(|| u8::from_str_radix(pair, 16).ok())?
    };
    pairs.map(byte).collect()
}

/// The name that a word means: `@` is the origin, what has no final dot is below it.
#[must_use]
pub fn absolute(word: &str, origin: &Name) -> Option<Name> {
    if word == "@" {
        return Some(origin.clone());
    }
    let mut below = name(word)?;
    if word.ends_with('.') && !word.ends_with("\\.") {
        return Some(below);
    }
    below.set_fqdn(false);
    below.append_domain(origin).ok()
}

/// Seconds: a number, or numbers with units as in `1h30m`.
///
/// Source: `stringToTTL`, scan.go of miekg/dns.
#[must_use]
pub fn seconds(word: &str) -> Option<u32> {
    let (mut total, mut number, mut digits) = (0_u32, 0_u32, false);
    for letter in word.chars() {
        let unit = match letter.to_ascii_lowercase() {
            's' => 1,
            'm' => 60,
            'h' => 3_600,
            'd' => 86_400,
            'w' => 604_800,
            digit => {
                let digit = digit.to_digit(10)?;
                number = number.checked_mul(10)?.checked_add(digit)?;
                digits = true;
                continue;
            }
        };
        total = total.checked_add(number.checked_mul(unit)?)?;
        number = 0;
    }
    digits.then_some(())?;
    total.checked_add(number)
}
