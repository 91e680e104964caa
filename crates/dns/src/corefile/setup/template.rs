//! `template CLASS TYPE [ZONES…] { … }`, and the names of types and rcodes.

use hickory_proto::rr::RecordType;

use super::super::plugin::Template;
use super::super::{Fallthrough, Pattern, Refusal, go};
use super::Controller;
use super::rewrite::class;
use crate::version::Version;

pub(super) fn read(c: &mut Controller<'_>) -> Result<Vec<Template>, Refusal> {
    let mut all = Vec::new();
    while c.next() {
        let place = c.place();
        let name = c.one_arg()?;
        let class = class(&name).ok_or_else(|| c.err(format!("invalid query class {name}")))?;
        let name = c.one_arg()?;
        let qtype = record_type(&name);
        let qtype = qtype.ok_or_else(|| c.err(format!("invalid RR class {name}")))?;
        let args = c.remaining_args();
        let mut template = Template {
            place,
            class,
            qtype,
            zones: c.zones(&args),
            matching: Vec::new(),
            answer: Vec::new(),
            additional: Vec::new(),
            authority: Vec::new(),
            rcode: 0,
            ederror: None,
            fallthrough: Fallthrough::default(),
        };
        while let Some(option) = c.next_option() {
            self::option(c, &option, &mut template)?;
        }
        if template.matching.is_empty() {
            template.matching.extend(Pattern::new(".*"));
        }
        let says_nothing = template.answer.is_empty() && template.authority.is_empty();
        if says_nothing && template.rcode == 0 && c.version < Version::new(1, 8, 0) {
            return Err(c.err("no answer section for template found"));
        }
        all.push(template);
    }
    Ok(all)
}

fn option(c: &mut Controller<'_>, option: &str, template: &mut Template) -> Result<(), Refusal> {
    match option {
        "match" => {
            let args = c.remaining_args();
            if args.is_empty() {
                return Err(c.arg_err());
            }
            for text in args {
                let refuse = |_| {
                    let why = go::regexp_error(&text);
                    c.err(format!("could not parse regex: {text}, {why}"))
                };
                template.matching.push(Pattern::new(&text).map_err(refuse)?);
            }
        }
        "answer" | "additional" | "authority" => {
            let args = c.remaining_args();
            if args.is_empty() {
                return Err(c.arg_err());
            }
            for text in args {
                if let Some(why) = fault(&text) {
                    let val = c.val();
                    return Err(c.err(format!(
                        "could not compile template: {val}, template: {option}:{why}"
                    )));
                }
                let text = text.to_string();
                match option {
                    "answer" => template.answer.push(text),
                    "additional" => template.additional.push(text),
                    _ => template.authority.push(text),
                }
            }
        }
        "rcode" => {
            let name = c.one_arg()?;
            let code = rcode(&name);
            template.rcode = code.ok_or_else(|| c.err(format!("unknown rcode {name}")))?;
        }
        "ederror" => {
            let args = c.remaining_args();
            let (Some(code), None) = (args.first(), args.get(2)) else {
                return Err(c.arg_err());
            };
            let refuse = |why| {
                let val = c.val();
                c.err(format!(
                    "error parsing extended DNS error code {val}, {why}\n"
                ))
            };
            let code = go::parse_uint::<u16>(code).map_err(refuse)?;
            let reason = args
                .get(1)
                .map_or_else(String::new, |reason| reason.to_string());
            template.ederror = Some((code, reason));
        }
        "fallthrough" => template.fallthrough = c.fallthrough(),
        "upstream" => {
            c.remaining_args();
        }
        _ => return Err(c.arg_err()),
    }
    Ok(())
}

/// What Go's template reader would say of how the actions are nested: a line and a message.
fn fault(text: &str) -> Option<String> {
    let mut open: u32 = 0;
    let mut rest = text;
    while let Some(begin) = rest.find("{{") {
        let action = &rest[begin + 2..];
        let line = 1 + text[..text.len() - rest.len() + begin]
            .matches('\n')
            .count();
        let Some(end) = action.find("}}") else {
            return Some(format!("{line}: unclosed action"));
        };
        let inner = action[..end].trim_start_matches('-').trim();
        match inner.split_whitespace().next() {
            Some("if" | "range" | "with" | "block" | "define") => open += 1,
            Some("end") => match open.checked_sub(1) {
                Some(left) => open = left,
                None => return Some(format!("{line}: unexpected {{{{end}}}}")),
            },
            None => return Some(format!("{line}: missing value for command")),
            Some(_) => {}
        }
        rest = &action[end + 2..];
    }
    let lines = 1 + text.matches('\n').count();
    (open > 0).then(|| format!("{lines}: unexpected EOF"))
}

/// A type by its name in capitals.
pub(super) fn record_type(name: &str) -> Option<RecordType> {
    let known = name.parse::<RecordType>().ok();
    known.filter(|kind| !matches!(kind, RecordType::Unknown(_) | RecordType::ZERO))
}

/// The number of an rcode by its name in capitals.
///
/// Source: `StringToRcode` of miekg/dns, which has NOTIMP twice over.
pub(super) fn rcode(name: &str) -> Option<u16> {
    Some(match name {
        "NOERROR" => 0,
        "FORMERR" => 1,
        "SERVFAIL" => 2,
        "NXDOMAIN" => 3,
        "NOTIMP" | "NOTIMPL" => 4,
        "REFUSED" => 5,
        "YXDOMAIN" => 6,
        "YXRRSET" => 7,
        "NXRRSET" => 8,
        "NOTAUTH" => 9,
        "NOTZONE" => 10,
        "BADSIG" | "BADVERS" => 16,
        "BADKEY" => 17,
        "BADTIME" => 18,
        "BADMODE" => 19,
        "BADNAME" => 20,
        "BADALG" => 21,
        "BADTRUNC" => 22,
        "BADCOOKIE" => 23,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actions_must_be_closed_and_nested() {
        assert_eq!(fault("{{ .Nope").as_deref(), Some("1: unclosed action"));
        assert_eq!(
            fault("a\n{{ end }}").as_deref(),
            Some("2: unexpected {{end}}")
        );
        assert_eq!(fault("{{ if .A }}x").as_deref(), Some("1: unexpected EOF"));
        assert_eq!(fault("{{ .Name }} 60 IN A {{if .A}}1{{end}}"), None);
    }
}
