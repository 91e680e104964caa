//! The part of Go's template language that the texts of `template` are read in: text, and actions
//! that put a value in its place.
//!
//! ```text
//! {{ .Name }}   {{ .Group.a }}   {{ index .Match 1 }}   {{ index .Group "a" }}   {{- .Zone -}}
//! ```
//!
//! # Departures
//! Control actions (`if`, `range`, `with`, …), pipes and functions other than `index` are refused
//! at the start; CoreDNS takes them.
//!
//! # Sources
//! `templateData`, plugin/template/template.go; the documentation of Go's text/template.

use indexmap::IndexMap;

/// What a value is when there is none, as Go writes it.
const NONE: &str = "<no value>";

/// The values that a question gives.
#[derive(Debug, Default)]
pub(crate) struct Values {
    pub(crate) zone: String,
    pub(crate) name: String,
    pub(crate) class: String,
    pub(crate) record_type: String,
    pub(crate) remote: String,
    pub(crate) regex: String,
    pub(crate) question: String,
    pub(crate) matches: Vec<String>,
    pub(crate) groups: IndexMap<String, String>,
}

/// A text with values to be put in.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Text(Vec<Piece>);

#[derive(Debug, PartialEq, Eq)]
enum Piece {
    Literal(String),
    Field(Field),
    Match(usize),
    Group(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Zone,
    Name,
    Class,
    Type,
    Remote,
    Regex,
    Question,
}

/// Why a text is not read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TextError {
    /// An action has no end.
    #[error("`{{{{` without `}}}}` in `{0}`")]
    Unclosed(String),
    /// An action that is not read.
    #[error(
        "`{{{{{0}}}}}` is not read in a template; read are .Zone, .Name, .Class, .Type, .Remote, \
         .Regex, .Question.Name, .Group.NAME and `index` of .Match and .Group"
    )]
    Action(String),
}

impl Text {
    /// Reads a text.
    pub(crate) fn read(text: &str) -> Result<Self, TextError> {
        let mut pieces = Vec::new();
        let mut rest = text;
        let mut trim_left = false;
        while let Some((before, after)) = rest.split_once("{{") {
            let (action, after) = after
                .split_once("}}")
                .ok_or_else(|| TextError::Unclosed(text.to_owned()))?;
            let trim_right = action.starts_with("- ");
            let trimmed = action.strip_prefix("- ").unwrap_or(action);
            let trims_after = trimmed.ends_with(" -");
            let trimmed = trimmed.strip_suffix(" -").unwrap_or(trimmed);
            pieces.push(Piece::Literal(trim(before, trim_left, trim_right)));
            if !trimmed.trim().starts_with("/*") {
                let piece = action_piece(trimmed.trim());
                pieces.push(piece.ok_or_else(|| TextError::Action(action.to_owned()))?);
            }
            trim_left = trims_after;
            rest = after;
        }
        pieces.push(Piece::Literal(trim(rest, trim_left, false)));
        Ok(Self(pieces))
    }

    /// The text with these values.
    pub(crate) fn with(&self, values: &Values) -> String {
        let value = |piece: &Piece| -> String {
            match piece {
                Piece::Literal(text) => text.clone(),
                Piece::Field(field) => values.field(*field).to_owned(),
                Piece::Match(index) => values
                    .matches
                    .get(*index)
                    .map_or(NONE, String::as_str)
                    .to_owned(),
                Piece::Group(name) => values
                    .groups
                    .get(name)
                    .map_or(NONE, String::as_str)
                    .to_owned(),
            }
        };
        self.0.iter().map(value).collect()
    }
}

impl Values {
    fn field(&self, field: Field) -> &str {
        match field {
            Field::Zone => &self.zone,
            Field::Name => &self.name,
            Field::Class => &self.class,
            Field::Type => &self.record_type,
            Field::Remote => &self.remote,
            Field::Regex => &self.regex,
            Field::Question => &self.question,
        }
    }
}

fn trim(text: &str, left: bool, right: bool) -> String {
    let text = if left { text.trim_start() } else { text };
    let text = if right { text.trim_end() } else { text };
    text.to_owned()
}

fn action_piece(action: &str) -> Option<Piece> {
    let words: Vec<_> = action.split_whitespace().collect();
    match words.as_slice() {
        [".Zone"] => Some(Piece::Field(Field::Zone)),
        [".Name"] => Some(Piece::Field(Field::Name)),
        [".Class"] => Some(Piece::Field(Field::Class)),
        [".Type"] => Some(Piece::Field(Field::Type)),
        [".Remote"] => Some(Piece::Field(Field::Remote)),
        [".Regex"] => Some(Piece::Field(Field::Regex)),
        [".Question.Name"] => Some(Piece::Field(Field::Question)),
        ["index", ".Match", index] => index.parse().ok().map(Piece::Match),
        ["index", ".Group", name] => {
            let name = name.trim_matches(['"', '`']);
            Some(Piece::Group(name.to_owned()))
        }
        [field] => {
            let name = field.strip_prefix(".Group.")?;
            let is_name = name.chars().all(|c| c.is_alphanumeric() || c == '_');
            (is_name && !name.is_empty()).then(|| Piece::Group(name.to_owned()))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_take_their_places() {
        let text = Text::read("{{ .Name }} 60 {{.Class -}}  A {{ index .Match 1 }}.{{ .Group.b }}");
        let values = Values {
            name: "x.".to_owned(),
            class: "IN".to_owned(),
            matches: vec!["x.".to_owned(), "10".to_owned()],
            groups: [("b".to_owned(), "20".to_owned())].into_iter().collect(),
            ..Values::default()
        };
        assert_eq!(text.unwrap().with(&values), "x. 60 INA 10.20");
    }

    #[test]
    fn what_is_not_read_is_refused() {
        for text in [
            "{{ if .Name }}x{{ end }}",
            "{{ .Nothing }}",
            "{{ .Name | html }}",
        ] {
            assert!(
                matches!(Text::read(text), Err(TextError::Action(_))),
                "{text}"
            );
        }
        assert!(matches!(
            Text::read("{{ .Name"),
            Err(TextError::Unclosed(_))
        ));
    }
}
