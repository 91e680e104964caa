//! A label selector's text, as `kubectl -l` takes it.
//!
//! # Sources
//! staging/src/k8s.io/apimachinery/pkg/labels/selector.go of Kubernetes: `Parse` and its parser; the
//! tokens that it says it expects are told in its words.
//!
//! # Departures
//! Which characters a key and a value may have is not checked.

use super::super::selector::{Requirement, Selector, Wanted};

/// Reads a selector.
pub(super) fn parse(text: &str) -> Result<Selector, String> {
    let requirements = Parser::new(text).requirements();
    requirements
        .map(|requirements| Selector { requirements })
        .map_err(|why| format!("couldn't parse the selector string {text:?}: {why}"))
}

/// A token: a mark, a keyword or a word. The end is `""`.
struct Parser<'t> {
    tokens: Vec<&'t str>,
    at: usize,
}

impl<'t> Parser<'t> {
    fn new(text: &'t str) -> Self {
        let mut tokens = Vec::new();
        let mut rest = text.trim_start();
        while let Some(first) = rest.chars().next() {
            let mark = |c: char| matches!(c, '=' | '!' | '(' | ')' | ',' | '>' | '<');
            let end = if mark(first) {
                let double = rest.starts_with("==") || rest.starts_with("!=");
                1 + usize::from(double)
            } else {
                rest.find(|c: char| mark(c) || c.is_whitespace())
                    .unwrap_or(rest.len())
            };
            let (token, after) = rest.split_at(end);
            tokens.push(token);
            rest = after.trim_start();
        }
        Self { tokens, at: 0 }
    }

    fn peek(&self) -> &'t str {
        self.tokens.get(self.at).copied().unwrap_or("")
    }

    fn take(&mut self) -> &'t str {
        let token = self.peek();
        self.at += 1;
        token
    }

    fn is_word(token: &str) -> bool {
        !token.is_empty() && !token.contains(['=', '!', '(', ')', ',', '>', '<'])
    }

    fn requirements(mut self) -> Result<Vec<Requirement>, String> {
        let mut all = Vec::new();
        loop {
            match self.peek() {
                "" => return Ok(all),
                token if token == "!" || Self::is_word(token) => {
                    let requirement = self.requirement();
                    all.push(
                        requirement.map_err(|why| format!("unable to parse requirement: {why}"))?,
                    );
                    match self.take() {
                        "" => return Ok(all),
                        "," => {
                            let next = self.peek();
                            if next != "!" && !Self::is_word(next) {
                                return Err(format!(
                                    "found '{next}', expected: identifier after ','"
                                ));
                            }
                        }
                        other => {
                            return Err(format!(
                                "found '{other}', expected: ',' or 'end of string'"
                            ));
                        }
                    }
                }
                other => {
                    return Err(format!(
                        "found '{other}', expected: !, identifier, or 'end of string'"
                    ));
                }
            }
        }
    }

    fn requirement(&mut self) -> Result<Requirement, String> {
        let absent = self.peek() == "!";
        self.at += usize::from(absent);
        let key = self.take();
        if !Self::is_word(key) {
            return Err(format!("found '{key}', expected: identifier"));
        }
        let requirement = |value| Requirement {
            key: key.to_owned(),
            value,
        };
        if absent {
            return Ok(requirement(Wanted::Absent));
        }
        if matches!(self.peek(), "" | ",") {
            return Ok(requirement(Wanted::Exists));
        }
        let value = match self.take() {
            "in" => Wanted::In(self.values()?),
            "notin" => Wanted::NotIn(self.values()?),
            "=" | "==" => Wanted::In(vec![self.value()?]),
            "!=" => Wanted::NotIn(vec![self.value()?]),
            other => {
                return Err(format!(
                    "found '{other}', expected: in, notin, =, ==, !=, gt, lt"
                ));
            }
        };
        Ok(requirement(value))
    }

    /// The value behind `=`; nothing is the empty one.
    fn value(&mut self) -> Result<String, String> {
        match self.peek() {
            "" | "," => Ok(String::new()),
            word if Self::is_word(word) => Ok(self.take().to_owned()),
            other => Err(format!("found '{other}', expected: identifier")),
        }
    }

    /// The values between parentheses.
    fn values(&mut self) -> Result<Vec<String>, String> {
        let open = self.take();
        if open != "(" {
            return Err(format!("found '{open}' expected: '('"));
        }
        let mut values = Vec::new();
        loop {
            match self.take() {
                ")" => {
                    if values.is_empty() {
                        values.push(String::new());
                    }
                    return Ok(values);
                }
                "," => values.push(String::new()),
                word if Self::is_word(word) => {
                    values.push(word.to_owned());
                    match self.take() {
                        ")" => return Ok(values),
                        "," => {}
                        other => return Err(format!("found '{other}', expected: ',' or ')'")),
                    }
                }
                other => return Err(format!("found '{other}', expected: ',', ')' or identifier")),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_kubectl_selects_is_selected() {
        let matches = |text: &str, labels: &[(&str, &str)]| {
            let selector = parse(text).unwrap();
            selector.matches(|key| labels.iter().find(|(k, _)| *k == key).map(|(_, v)| *v))
        };
        let front = [("tier", "front"), ("env", "prod")];
        assert!(matches("tier in (db, front)", &front));
        assert!(matches("tier=front,env!=dev,!gone", &front));
        assert!(matches("", &front) && matches("tier notin (db)", &[]));
        assert!(!matches("gone", &front) && !matches("tier==db", &front));
    }

    #[test]
    fn a_list_that_does_not_end_is_refused() {
        let why = parse("a in (b").unwrap_err();
        assert_eq!(
            why,
            "couldn't parse the selector string \"a in (b\": unable to parse requirement: found '', expected: ',' or ')'"
        );
        assert!(parse("a b").is_err() && parse("=x").is_err() && parse("a,").is_err());
    }
}
