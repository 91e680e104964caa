//! `template`: answers made of the question's name.
//!
//! # Map
//! - [`Template`]: the handler.
//! - [`text`]: the part of Go's template language that is read.
//!
//! # Departures
//! A template that matches no name and does not fall through ends the question with an rcode that
//! nobody writes, so the asker waits in vain. It is so in CoreDNS too.
//!
//! # Sources
//! plugin/template/template.go.

pub(crate) mod text;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{DNSClass, RData, Record, RecordType};
use indexmap::IndexMap;

use self::text::{Text, Values};
use crate::chain::{Handler, Next, Outcome};
use crate::corefile::Place;
use crate::corefile::plugin::Template as Config;
use crate::corefile::zone::longest;
use crate::message::{Reply, Request, as_text, presentation};
use crate::zone::master;

/// The templates of a block, as written.
#[derive(Debug)]
pub(crate) struct Template(Vec<One>);

#[derive(Debug)]
struct One {
    config: Config,
    answer: Vec<Text>,
    additional: Vec<Text>,
    authority: Vec<Text>,
}

impl Template {
    /// The templates, read.
    ///
    /// # Errors
    /// If a text is not one that podwire reads: where its template stands, and why.
    pub(crate) fn new(configs: Vec<Config>) -> Result<Self, (Option<Place>, text::TextError)> {
        let read = |texts: &[String]| -> Result<Vec<Text>, text::TextError> {
            texts.iter().map(|text| Text::read(text)).collect()
        };
        let whole = |config: &Config| {
            Ok([
                read(&config.answer)?,
                read(&config.additional)?,
                read(&config.authority)?,
            ])
        };
        let one = |config: Config| {
            let read = whole(&config);
            let [answer, additional, authority] =
                read.map_err(|error| (config.place.clone(), error))?;
            Ok(One {
                answer,
                additional,
                authority,
                config,
            })
        };
        configs
            .into_iter()
            .map(one)
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

/// What a template says of a question.
enum Fit {
    /// Nothing: the next one is asked.
    Next,
    /// That it does not exist.
    No,
    /// These values go into its texts.
    Yes(Box<Values>),
}

impl One {
    fn fit(&self, request: &Request) -> Fit {
        let config = &self.config;
        let Some(zone) = longest(&config.zones, &request.lower) else {
            return Fit::Next;
        };
        let class_fits = config.class == DNSClass::ANY
            || request.class == DNSClass::ANY
            || request.class == config.class;
        let type_fits = config.qtype == RecordType::ANY
            || request.qtype == RecordType::ANY
            || request.qtype == config.qtype;
        if !class_fits || !type_fits {
            return Fit::Next;
        }
        let values = |regex: &str| Values {
            zone: zone.to_string(),
            name: request.lower.to_string(),
            class: if request.class == DNSClass::ANY {
                config.class.to_string()
            } else {
                request.class.to_string()
            },
            record_type: presentation::record_type(if request.qtype == RecordType::ANY {
                config.qtype
            } else {
                request.qtype
            }),
            remote: request.client.to_string(),
            regex: regex.to_owned(),
            question: as_text(&request.name),
            matches: vec![request.lower.to_string()],
            groups: IndexMap::new(),
        };
        if config.matching.is_empty() {
            return Fit::Yes(Box::new(values(".*")));
        }
        for pattern in &config.matching {
            let Some(captures) = pattern.regex().captures(&request.lower) else {
                continue;
            };
            let mut values = values(pattern.as_str());
            let text = |group: Option<regex::Match<'_>>| {
                group.map_or_else(String::new, |group| group.as_str().to_owned())
            };
            values.matches = captures.iter().map(text).collect();
            let numbered = values.matches.iter().enumerate();
            values.groups = numbered.map(|(i, m)| (i.to_string(), m.clone())).collect();
            let names = pattern.regex().capture_names().enumerate();
            for (index, name) in names.filter_map(|(index, name)| Some((index, name?))) {
                values
                    .groups
                    .insert(name.to_owned(), values.matches[index].clone());
            }
            return Fit::Yes(Box::new(values));
        }
        if config.fallthrough.through(&request.lower) {
            Fit::Next
        } else {
            Fit::No
        }
    }

    fn reply(&self, request: &Request, values: &Values, next: Next<'_>) -> Option<Reply> {
        let mut reply = Reply::authoritative(self.config.rcode.into());
        for text in &self.answer {
            let record = record(text, values)?;
            let address = matches!(request.qtype, RecordType::A | RecordType::AAAA);
            let target = match &record.data {
                RData::CNAME(target) if address => Some(target.0.clone()),
                _ => None,
            };
            reply.answers.push(record);
            let turn = next.turn();
            let further = target.and_then(|name| turn.look_up(request, name, request.qtype));
            if let Some(further) = further {
                reply.truncated |= further.truncated;
                reply.answers.extend(further.answers);
            }
        }
        for text in &self.additional {
            reply.additionals.push(record(text, values)?);
        }
        for text in &self.authority {
            reply.authorities.push(record(text, values)?);
        }
        Some(reply)
    }
}

/// The record that a text says, if it says one.
fn record(text: &Text, values: &Values) -> Option<Record> {
    master::record(&text.with(values)).ok().flatten()
}

impl Handler for Template {
    fn serve(&self, request: &Request, next: Next<'_>) -> Outcome {
        for one in &self.0 {
            let values = match one.fit(request) {
                Fit::Next => continue,
                Fit::No => return Outcome::Unwritten(ResponseCode::NXDomain),
                Fit::Yes(values) => values,
            };
            let rcode: ResponseCode = one.config.rcode.into();
            if rcode == ResponseCode::ServFail {
                return Outcome::Unwritten(rcode);
            }
            return match one.reply(request, &values, next) {
                Some(reply) => Outcome::Written(reply),
                None => Outcome::Unwritten(ResponseCode::ServFail),
            };
        }
        next.serve(request)
    }
}
