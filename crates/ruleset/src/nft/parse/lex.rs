//! Words of the text.

use miette::SourceSpan;

use super::ParseError;

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Characters without white space and the signs below.
    Word,
    /// A text in double quotes.
    Quoted,
    /// `{`.
    Open,
    /// `}`.
    Close,
    /// `,`.
    Comma,
    /// `;`.
    Semicolon,
    /// The end of a line.
    Newline,
    /// The end of the text.
    End,
}

/// A token and its place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Token<'t> {
    pub(super) kind: Kind,
    /// Without quotes.
    pub(super) text: &'t str,
    pub(super) start: usize,
    pub(super) end: usize,
}

impl Token<'_> {
    pub(super) fn span(&self) -> SourceSpan {
        (self.start, self.end - self.start).into()
    }

    /// Whether a statement, a command or a property ends before it.
    pub(super) const fn ends_statement(&self) -> bool {
        matches!(
            self.kind,
            Kind::Semicolon | Kind::Newline | Kind::Close | Kind::End
        )
    }
}

/// A place in the text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cursor<'t> {
    text: &'t str,
    at: usize,
    /// The last number behind `# handle`.
    pub(super) handle: Option<u64>,
}

impl<'t> Cursor<'t> {
    pub(super) const fn new(text: &'t str) -> Self {
        Self {
            text,
            at: 0,
            handle: None,
        }
    }

    /// The next token.
    pub(super) fn next(&mut self) -> Result<Token<'t>, ParseError> {
        let bytes = self.text.as_bytes();
        loop {
            match bytes.get(self.at) {
                Some(b' ' | b'\t' | b'\r') => self.at += 1,
                Some(b'\\') if bytes.get(self.at + 1) == Some(&b'\n') => self.at += 2,
                Some(b'#') => self.skip_comment(),
                _ => break,
            }
        }
        let start = self.at;
        let sign = |kind| (kind, start + 1);
        let (kind, end) = match bytes.get(start) {
            None => (Kind::End, start),
            Some(b'\n') => sign(Kind::Newline),
            Some(b'{') => sign(Kind::Open),
            Some(b'}') => sign(Kind::Close),
            Some(b',') => sign(Kind::Comma),
            Some(b';') => sign(Kind::Semicolon),
            Some(b'"') => return self.quoted(),
            Some(_) => {
                let rest = &bytes[start..];
                let length = rest.iter().position(|byte| {
                    matches!(
                        byte,
                        b' ' | b'\t' | b'\r' | b'\n' | b'{' | b'}' | b',' | b';' | b'"' | b'#'
                    )
                });
                (Kind::Word, start + length.unwrap_or(rest.len()))
            }
        };
        self.at = end;
        let token = Token {
            kind,
            text: &self.text[start..end],
            start,
            end,
        };
        // Printed at the end of a line it would join two.
        if token.text.ends_with('\\') {
            return Err(unexpected(
                &token,
                "a word that does not end with a backslash",
            ));
        }
        Ok(token)
    }

    /// The next token, left where it is.
    pub(super) fn peek(&self) -> Result<Token<'t>, ParseError> {
        let mut ahead = *self;
        ahead.next()
    }

    /// Takes the next token if it is this word.
    pub(super) fn take(&mut self, word: &str) -> Result<bool, ParseError> {
        let is_it = self.peek_is(word)?;
        if is_it {
            self.next()?;
        }
        Ok(is_it)
    }

    /// Whether the next token is this word.
    pub(super) fn peek_is(&self, word: &str) -> Result<bool, ParseError> {
        let token = self.peek()?;
        Ok(token.kind == Kind::Word && token.text == word)
    }

    /// Takes the next token if it is of that kind.
    pub(super) fn take_kind(&mut self, kind: Kind) -> Result<bool, ParseError> {
        let is_it = self.peek()?.kind == kind;
        if is_it {
            self.next()?;
        }
        Ok(is_it)
    }

    /// Takes a token of that kind, which must come.
    pub(super) fn expect(
        &mut self,
        kind: Kind,
        expected: &'static str,
    ) -> Result<Token<'t>, ParseError> {
        let token = self.next()?;
        if token.kind == kind {
            Ok(token)
        } else {
            Err(unexpected(&token, expected))
        }
    }

    /// Takes a word, which must come.
    pub(super) fn word(&mut self, expected: &'static str) -> Result<Token<'t>, ParseError> {
        self.expect(Kind::Word, expected)
    }

    /// Takes this word, which must come.
    pub(super) fn keyword(&mut self, word: &'static str) -> Result<(), ParseError> {
        let token = self.next()?;
        if token.kind == Kind::Word && token.text == word {
            Ok(())
        } else {
            Err(unexpected(&token, word))
        }
    }

    /// Takes ends of lines.
    pub(super) fn skip_newlines(&mut self) -> Result<(), ParseError> {
        while self.take_kind(Kind::Newline)? {}
        Ok(())
    }

    /// Takes ends of lines and semicolons.
    pub(super) fn skip_separators(&mut self) -> Result<(), ParseError> {
        while matches!(self.peek()?.kind, Kind::Newline | Kind::Semicolon) {
            self.next()?;
        }
        Ok(())
    }

    /// Takes a block with all that is in it; the opening brace comes next. Gives the place of its end.
    pub(super) fn skip_block(&mut self) -> Result<usize, ParseError> {
        let open = self.expect(Kind::Open, "`{`")?;
        let mut depth = 1usize;
        loop {
            let token = self.next()?;
            match token.kind {
                Kind::Open => depth += 1,
                Kind::Close => depth -= 1,
                Kind::End => return Err(ParseError::UnclosedBlock { at: open.span() }),
                Kind::Word | Kind::Quoted | Kind::Comma | Kind::Semicolon | Kind::Newline => {}
            }
            if depth == 0 {
                return Ok(token.end);
            }
        }
    }

    /// The place, in bytes.
    pub(super) const fn at(&self) -> usize {
        self.at
    }

    /// The text from one place to another.
    pub(super) fn slice(&self, start: usize, end: usize) -> &'t str {
        &self.text[start..end]
    }

    fn quoted(&mut self) -> Result<Token<'t>, ParseError> {
        let start = self.at;
        let rest = &self.text[start + 1..];
        let end = rest.find(['"', '\n']);
        match end.filter(|&end| rest.as_bytes()[end] == b'"') {
            Some(length) => {
                self.at = start + length + 2;
                Ok(Token {
                    kind: Kind::Quoted,
                    text: &rest[..length],
                    start,
                    end: self.at,
                })
            }
            None => Err(ParseError::UnclosedQuote {
                at: (start, end.unwrap_or(rest.len()) + 1).into(),
            }),
        }
    }

    fn skip_comment(&mut self) {
        let rest = &self.text[self.at..];
        let length = rest.find('\n').unwrap_or(rest.len());
        let comment = rest[1..length].trim();
        if let Some(number) = comment.strip_prefix("handle ") {
            self.handle = number.trim().parse().ok();
        }
        self.at += length;
    }
}

/// The error that something else was expected.
pub(super) fn unexpected(token: &Token<'_>, expected: &'static str) -> ParseError {
    let found = match token.kind {
        Kind::Newline => "the end of the line".into(),
        Kind::End => "the end of the text".into(),
        Kind::Word | Kind::Quoted | Kind::Open | Kind::Close | Kind::Comma | Kind::Semicolon => {
            ["`", token.text, "`"].concat().into()
        }
    };
    ParseError::Unexpected {
        found,
        expected,
        at: token.span(),
    }
}
