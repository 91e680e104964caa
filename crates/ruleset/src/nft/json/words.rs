//! Objects and statements of the JSON form in the words of the text form.

use serde_json::{Map, Value};

/// Why an object has no words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    /// A member that must be there.
    #[error("`{0}` is missing")]
    Missing(&'static str),
    /// A member of another type.
    #[error("`{member}` is {found}, and must be {expected}")]
    Wrong {
        /// Its name.
        member: &'static str,
        /// What it is.
        found: String,
        /// What it must be.
        expected: &'static str,
    },
    /// A text that holds what none may.
    #[error("`{0}` holds a blank, a quote or a sign that no word may have")]
    Text(String),
}

type Words = Result<String, Fault>;

/// An object with its only member, and that member's name.
fn single(value: &Value) -> Option<(&str, &Value)> {
    let object = value.as_object()?;
    let mut members = object.iter();
    let (name, member) = members.next()?;
    members.next().is_none().then_some((name, member))
}

/// The commands that make an object; none for what makes nothing.
pub(super) fn commands(value: &Value) -> Words {
    let (mut name, mut object) = single(value).unwrap_or(("", value));
    if matches!(name, "add" | "create") {
        (name, object) = single(object).unwrap_or(("", object));
    }
    match name {
        "metainfo" => Ok(String::new()),
        "table" => {
            let table = [
                "add table ",
                &text(object, "family")?,
                " ",
                &text(object, "name")?,
            ];
            Ok(table.concat())
        }
        "chain" => chain(object),
        "set" | "map" => set(name, object),
        "rule" => rule(object),
        "element" => {
            let elements = elements(object.get("elem"))?;
            let place = place(object, "name")?;
            Ok(format!("add element {place} {{ {elements} }}"))
        }
        other => Err(Fault::Wrong {
            member: "nftables",
            found: format!("a list with `{other}`"),
            expected: "a list of tables, chains, sets, maps, rules and elements",
        }),
    }
}

/// A word of the object.
fn text(object: &Value, member: &'static str) -> Words {
    match object.get(member) {
        Some(value) => scalar(value, member),
        None => Err(Fault::Missing(member)),
    }
}

/// A text or a number as a word.
fn scalar(value: &Value, member: &'static str) -> Words {
    match value {
        Value::Number(number) => Ok(number.to_string()),
        Value::String(text) => {
            let is_sign = |c: char| c.is_whitespace() || "{},;\"#".contains(c);
            if text.is_empty() || text.contains(is_sign) {
                return Err(Fault::Text(text.clone()));
            }
            Ok(text.clone())
        }
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => Err(Fault::Wrong {
            member,
            found: value.to_string(),
            expected: "a text or a number",
        }),
    }
}

/// A text in quotes.
fn quoted(value: &Value, member: &'static str) -> Words {
    match value.as_str() {
        Some(text) if !text.contains(['"', '\n']) => Ok(format!("\"{text}\"")),
        Some(text) => Err(Fault::Text(text.to_owned())),
        None => Err(Fault::Wrong {
            member,
            found: value.to_string(),
            expected: "a text",
        }),
    }
}

/// Family, table and name of an object.
fn place(object: &Value, name: &'static str) -> Words {
    Ok([
        text(object, "family")?,
        text(object, "table")?,
        text(object, name)?,
    ]
    .join(" "))
}

fn chain(object: &Value) -> Words {
    let mut words = format!("add chain {} {{", place(object, "name")?);
    if object.get("hook").is_some() {
        words += &format!(
            " type {} hook {} priority {} ;",
            text(object, "type")?,
            text(object, "hook")?,
            text(object, "prio")?
        );
        if object.get("policy").is_some() {
            words += &format!(" policy {} ;", text(object, "policy")?);
        }
    }
    if let Some(comment) = object.get("comment") {
        words += &format!(" comment {} ;", quoted(comment, "comment")?);
    }
    Ok(words + " }")
}

/// One value or a list of them, with a word between.
fn joined(value: &Value, member: &'static str, separator: &str) -> Words {
    let Value::Array(values) = value else {
        return scalar(value, member);
    };
    let words: Result<Vec<_>, _> = values.iter().map(|value| scalar(value, member)).collect();
    Ok(words?.join(separator))
}

fn set(kind: &str, object: &Value) -> Words {
    let types = object.get("type").ok_or(Fault::Missing("type"))?;
    let mut words = format!(
        "add {kind} {} {{ type {}",
        place(object, "name")?,
        joined(types, "type", " . ")?
    );
    if let Some(data) = object.get("map") {
        // A concatenation is one text here, with its blanks.
        let data = match data.as_str() {
            Some(text) => text.split(" . ").map(Value::from).collect(),
            None => data.clone(),
        };
        words += &format!(" : {}", joined(&data, "map", " . ")?);
    }
    words += " ;";
    if let Some(flags) = object.get("flags") {
        words += &format!(" flags {} ;", joined(flags, "flags", ",")?);
    }
    for member in ["timeout", "gc-interval", "size"] {
        if object.get(member).is_some() {
            words += &format!(" {member} {} ;", text(object, member)?);
        }
    }
    if object.get("auto-merge") == Some(&Value::Bool(true)) {
        words += " auto-merge ;";
    }
    if let Some(comment) = object.get("comment") {
        words += &format!(" comment {} ;", quoted(comment, "comment")?);
    }
    if object.get("elem").is_some() {
        words += &format!(" elements = {{ {} }} ;", elements(object.get("elem"))?);
    }
    Ok(words + " }")
}

fn elements(value: Option<&Value>) -> Words {
    let value = value.ok_or(Fault::Missing("elem"))?;
    let list = value.as_array().ok_or_else(|| Fault::Wrong {
        member: "elem",
        found: value.to_string(),
        expected: "a list of elements",
    })?;
    let words: Result<Vec<_>, _> = list.iter().map(element).collect();
    Ok(words?.join(" , "))
}

fn element(value: &Value) -> Words {
    if let Value::Array(pair) = value
        && let [key, data] = pair.as_slice()
    {
        return Ok(format!("{} : {}", element(key)?, map_value(data)?));
    }
    let Some(("elem", element)) = single(value) else {
        return right(value);
    };
    let mut words = right(element.get("val").ok_or(Fault::Missing("val"))?)?;
    for member in ["timeout", "expires"] {
        if element.get(member).is_some() {
            words += &format!(" {member} {}", text(element, member)?);
        }
    }
    if let Some(comment) = element.get("comment") {
        words += &format!(" comment {}", quoted(comment, "comment")?);
    }
    Ok(words)
}

fn map_value(value: &Value) -> Words {
    match single(value).and_then(|(name, target)| verdict(name, target)) {
        Some(verdict) => verdict,
        None => right(value),
    }
}

/// What something is compared with, or a key.
fn right(value: &Value) -> Words {
    const MEMBER: &str = "right";
    match value {
        Value::Bool(true) => Ok("exists".to_owned()),
        Value::Bool(false) => Ok("missing".to_owned()),
        Value::Array(_) => joined(value, MEMBER, ","),
        Value::Null | Value::Number(_) | Value::String(_) => scalar(value, MEMBER),
        Value::Object(_) => match single(value) {
            Some(("range", Value::Array(ends))) if ends.len() == 2 => {
                Ok(format!("{}-{}", right(&ends[0])?, right(&ends[1])?))
            }
            Some(("prefix", prefix)) => {
                let (address, length) = (text(prefix, "addr")?, text(prefix, "len")?);
                Ok(format!("{address}/{length}"))
            }
            Some(("concat", Value::Array(parts))) => {
                let parts: Result<Vec<_>, _> = parts.iter().map(right).collect();
                Ok(parts?.join(" . "))
            }
            Some(("set", list)) => Ok(format!("{{ {} }}", elements(Some(list))?)),
            _ => Err(Fault::Wrong {
                member: MEMBER,
                found: value.to_string(),
                expected: "a value, a range, a prefix, a concatenation or a set",
            }),
        },
    }
}

fn rule(object: &Value) -> Words {
    let family = text(object, "family")?;
    let mut words = format!("add rule {}", place(object, "chain")?);
    let statements = object.get("expr").and_then(Value::as_array);
    for own in statements.ok_or(Fault::Missing("expr"))? {
        let known = single(own).and_then(|(name, value)| statement(name, value, &family));
        words.push(' ');
        match known {
            Some(known) => words += &known?,
            None => words += &unknown(own)?,
        }
    }
    if let Some(comment) = object.get("comment") {
        words += &format!(" comment {}", quoted(comment, "comment")?);
    }
    if let Some(handle) = object.get("handle").and_then(Value::as_u64) {
        words += &format!(" # handle {handle}");
    }
    Ok(words)
}

/// A statement that is kept: its JSON, which the text form takes for a block.
fn unknown(value: &Value) -> Words {
    let json = value.to_string();
    // The text form has no way to write a quote in a quoted text.
    if json.contains('\\') || !json.starts_with('{') {
        return Err(Fault::Text(json));
    }
    Ok(json)
}

fn verdict(name: &str, value: &Value) -> Option<Words> {
    match name {
        "accept" | "drop" | "continue" | "return" if value.is_null() => Some(Ok(name.to_owned())),
        "jump" | "goto" => Some(text(value, "target").map(|chain| format!("{name} {chain}"))),
        _ => None,
    }
}

/// The words of a statement; `None` if podwire does not know it.
fn statement(name: &str, value: &Value, family: &str) -> Option<Words> {
    if let Some(verdict) = verdict(name, value) {
        return Some(verdict);
    }
    match name {
        "match" => {
            let left = expression(value.get("left")?)?;
            let operator = match value.get("op")?.as_str()? {
                "in" => "==",
                operator @ ("==" | "!=" | "<" | "<=" | ">" | ">=") => operator,
                _ => return None,
            };
            let right = right(value.get("right")?);
            Some(right.map(|right| format!("{left} {operator} {right}")))
        }
        "vmap" => Some(look_up(value, "vmap")?),
        "reject" => reject(value, family),
        "mangle" => mangle(value),
        "dnat" | "snat" | "masquerade" | "redirect" => nat(name, value),
        "set" => set_statement(value),
        "counter" => counter(value),
        "limit" => limit(value),
        "log" => log(value),
        "notrack" => Some(Ok("notrack".to_owned())),
        _ => None,
    }
}

/// `KEY vmap DATA`, `KEY map DATA`.
fn look_up(value: &Value, word: &str) -> Option<Words> {
    let key = expression(value.get("key")?)?;
    let data = value.get("data")?;
    Some(right(data).map(|data| format!("{key} {word} {data}")))
}

/// An expression; `None` if podwire does not know it.
fn expression(value: &Value) -> Option<String> {
    let (name, value) = single(value)?;
    let word = |member: &str| -> Option<&str> { value.get(member)?.as_str() };
    Some(match name {
        "payload" => format!("{} {}", word("protocol")?, word("field")?),
        "meta" => format!("meta {}", word("key")?),
        "ct" => {
            // The family stands in the key, or beside it.
            let parts = ["dir", "family", "key"].map(word);
            let parts: Vec<&str> = parts.into_iter().flatten().collect();
            format!("ct {}", parts.join(" "))
        }
        "fib" => {
            let flags = value.get("flags")?;
            let flags = joined(flags, "flags", " . ").ok()?;
            format!("fib {flags} {}", word("result")?)
        }
        "numgen" => format!(
            "numgen {} mod {} offset {}",
            word("mode")?,
            value.get("mod")?.as_u64()?,
            value.get("offset").and_then(Value::as_u64).unwrap_or(0)
        ),
        "concat" => {
            let parts = value.as_array()?.iter().map(expression);
            parts.collect::<Option<Vec<_>>>()?.join(" . ")
        }
        "&" => {
            let [inner, mask] = value.as_array()?.as_slice() else {
                return None;
            };
            format!("{} & {}", expression(inner)?, scalar(mask, "&").ok()?)
        }
        _ => return None,
    })
    .filter(|words| is_known(words))
}

/// Whether podwire reads these words as an expression.
fn is_known(words: &str) -> bool {
    super::parse::reads_as_expression(words)
}

fn reject(value: &Value, family: &str) -> Option<Words> {
    let Some(kind) = value.get("type").and_then(Value::as_str) else {
        return Some(Ok("reject".to_owned()));
    };
    if kind == "tcp reset" {
        return Some(Ok("reject with tcp reset".to_owned()));
    }
    let with = value.get("expr")?.as_str()?;
    let is_implied = with == "port-unreachable" && family != "inet";
    Some(Ok(if is_implied {
        "reject".to_owned()
    } else {
        format!("reject with {kind} {with}")
    }))
}

/// `meta mark set …`.
fn mangle(value: &Value) -> Option<Words> {
    let key = value.get("key")?;
    let (field, number) = (single(key)?, value.get("value")?);
    let is_trace = field.0 == "meta" && field.1.get("key")?.as_str()? == "nftrace";
    if is_trace {
        return Some(Ok(format!("meta nftrace set {}", number.as_u64()?)));
    }
    let words = format!("{} set {}", expression(key)?, mark(number)?);
    Some(Ok(words))
}

/// A number, a mark, or a mark with numbers behind `&`, `|` and `^`.
fn mark(value: &Value) -> Option<String> {
    if let Some(number) = value.as_u64() {
        return Some(number.to_string());
    }
    match single(value)? {
        (operator @ ("&" | "|" | "^"), Value::Array(operands)) => {
            let [inner, number] = operands.as_slice() else {
                return None;
            };
            Some(format!("{} {operator} {}", mark(inner)?, number.as_u64()?))
        }
        _ => expression(value),
    }
}

fn nat(name: &str, value: &Value) -> Option<Words> {
    let mut words = name.to_owned();
    if let Some(family) = value.get("family") {
        words += &format!(" {}", family.as_str()?);
    }
    let address = match value.get("addr") {
        None => String::new(),
        Some(address) => match single(address) {
            Some(("map", map)) => match look_up(map, "map")? {
                Ok(words) => words + " ",
                Err(fault) => return Some(Err(fault)),
            },
            _ => address_range(address)?,
        },
    };
    let port = match value.get("port") {
        None => String::new(),
        Some(port) => format!(":{}", right(port).ok()?),
    };
    if !address.is_empty() || !port.is_empty() {
        let is_ipv6 = address.matches(':').count() > 1 && !address.contains(' ');
        let address = if is_ipv6 && !port.is_empty() {
            format!("[{}]", address.replace('-', "]-["))
        } else {
            address
        };
        words += &format!(" to {address}{port}");
    }
    if let Some(flags) = value.get("flags") {
        match joined(flags, "flags", ",") {
            Ok(flags) => words += &format!(" {flags}"),
            Err(fault) => return Some(Err(fault)),
        }
    }
    Some(Ok(words))
}

fn address_range(value: &Value) -> Option<String> {
    right(value).ok()
}

fn set_statement(value: &Value) -> Option<Words> {
    // Counters and other statements of elements are not known.
    if value.get("stmt").is_some() {
        return None;
    }
    let element = value.get("elem")?;
    let (key, timeout) = match single(element) {
        Some(("elem", inner)) => (inner.get("val")?, inner.get("timeout")),
        _ => (element, None),
    };
    let key = expression(key)?;
    let timeout = match timeout {
        Some(seconds) => format!(" timeout {}s", seconds.as_u64()?),
        None => String::new(),
    };
    let (operation, set) = (value.get("op")?.as_str()?, value.get("set")?.as_str()?);
    Some(Ok(format!("{operation} {set} {{ {key}{timeout} }}")))
}

fn counter(value: &Value) -> Option<Words> {
    if value.is_null() {
        return Some(Ok("counter".to_owned()));
    }
    let number = |member| value.get(member).and_then(Value::as_u64);
    let (packets, bytes) = (number("packets")?, number("bytes")?);
    Some(Ok(format!("counter packets {packets} bytes {bytes}")))
}

fn limit(value: &Value) -> Option<Words> {
    let is_packets = |member: &str| {
        let unit = value.get(member);
        unit.is_none_or(|unit| unit.as_str() == Some("packets"))
    };
    if !is_packets("rate_unit") || !is_packets("burst_unit") {
        return None;
    }
    let over = value.get("inv") == Some(&Value::Bool(true));
    let over = if over { "over " } else { "" };
    let (rate, per) = (value.get("rate")?.as_u64()?, value.get("per")?.as_str()?);
    let burst = match value.get("burst").and_then(Value::as_u64) {
        Some(burst) => format!(" burst {burst} packets"),
        None => String::new(),
    };
    Some(Ok(format!("limit rate {over}{rate}/{per}{burst}")))
}

fn log(value: &Value) -> Option<Words> {
    const MEMBERS: [&str; 6] = [
        "prefix",
        "level",
        "flags",
        "group",
        "snaplen",
        "queue-threshold",
    ];
    let empty = Map::new();
    let options = value.as_object().unwrap_or(&empty);
    if options.keys().any(|key| !MEMBERS.contains(&key.as_str())) {
        return None;
    }
    let mut words = "log".to_owned();
    for member in MEMBERS {
        let Some(option) = options.get(member) else {
            continue;
        };
        let option = match member {
            "prefix" => quoted(option, member),
            "flags" => joined(option, member, ","),
            _ => scalar(option, member),
        };
        match option {
            Ok(option) => words += &format!(" {member} {option}"),
            Err(fault) => return Some(Err(fault)),
        }
    }
    Some(Ok(words))
}
