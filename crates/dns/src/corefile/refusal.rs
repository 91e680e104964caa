//! Why CoreDNS would not start with a Corefile, in its own words.

use std::fmt;
use std::sync::Arc;

/// A place in a Corefile or in a file that it imports. Lines and columns begin at 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub file: Arc<str>,
    /// The line.
    pub line: u32,
    /// The column, in characters.
    pub column: u32,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// Why CoreDNS would not start. Printed, it is what CoreDNS logs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Refusal {
    /// The plugin whose set-up refuses, if one does.
    pub plugin: Option<&'static str>,
    /// The kind of message.
    pub kind: RefusalKind,
    /// What is wrong.
    pub message: String,
    /// Where; CoreDNS tells it for some kinds only.
    pub place: Option<Place>,
}

/// What CoreDNS writes around a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalKind {
    /// `FILE:LINE - Error during parsing: …`
    Parsing,
    /// `FILE:LINE - Syntax error: …`
    Syntax,
    /// The message alone.
    Plain,
}

impl Refusal {
    pub(super) fn plain(message: impl Into<String>, place: Option<Place>) -> Self {
        Self {
            plugin: None,
            kind: RefusalKind::Plain,
            message: message.into(),
            place,
        }
    }

    pub(super) fn of(self, plugin: &'static str) -> Self {
        Self {
            plugin: Some(plugin),
            ..self
        }
    }

    /// The message in CoreDNS's words without the line, for where that is told apart.
    pub fn without_line(&self) -> String {
        let mut told = String::new();
        if let Some(plugin) = self.plugin {
            told = format!("plugin/{plugin}: ");
        }
        told + match self.kind {
            RefusalKind::Parsing => "Error during parsing: ",
            RefusalKind::Syntax => "Syntax error: ",
            RefusalKind::Plain => "",
        } + &self.message
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(plugin) = self.plugin {
            write!(f, "plugin/{plugin}: ")?;
        }
        let kind = match self.kind {
            RefusalKind::Parsing => "Error during parsing",
            RefusalKind::Syntax => "Syntax error",
            RefusalKind::Plain => return f.write_str(&self.message),
        };
        if let Some(place) = &self.place {
            write!(f, "{}:{} - ", place.file, place.line)?;
        }
        write!(f, "{kind}: {}", self.message)
    }
}
