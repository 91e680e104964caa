//! Lines of an input that memory cannot hold.

use std::io::{BufRead, ErrorKind};

use memchr::{memchr, memrchr};

use super::ahead::{LINES, NONE};
use super::reader::Reader;
use super::{ReadError, Sink};
use crate::iptables::parse::line_words;

/// The longest line that [`read_into`](super::read_into) takes, in bytes with its end.
pub const MAX_LINE: usize = 1 << 16;

impl<S: Sink> Reader<'_, S> {
    /// Reads the input to its end. Lines that stand whole in its buffer are not copied.
    pub(super) fn read(&mut self, mut input: impl BufRead) -> Result<(), ReadError> {
        // The beginning of a line whose end is not read yet.
        let mut begun = Vec::new();
        loop {
            let mut rest = match input.fill_buf() {
                Ok(buffer) => buffer,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(source) => {
                    let line = self.lines + 1;
                    return Err(ReadError::Input { line, source });
                }
            };
            let length = rest.len();
            if length == 0 {
                return self.whole_lines(&begun);
            }
            if !begun.is_empty()
                && let Some(end) = memchr(b'\n', rest)
            {
                begun.extend_from_slice(&rest[..=end]);
                rest = &rest[end + 1..];
                self.whole_lines(&begun)?;
                begun.clear();
            }
            if let Some(end) = memrchr(b'\n', rest) {
                self.whole_lines(&rest[..=end])?;
                rest = &rest[end + 1..];
            }
            begun.extend_from_slice(rest);
            if begun.len() > MAX_LINE {
                return Err(ReadError::LongLine {
                    line: self.lines + 1,
                });
            }
            input.consume(length);
        }
    }

    /// Reads whole lines; the last one of the input may lack its end.
    fn whole_lines(&mut self, bytes: &[u8]) -> Result<(), ReadError> {
        let (valid, bad) = match std::str::from_utf8(bytes) {
            Ok(text) => (text, None),
            Err(error) => {
                let valid = std::str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or_default();
                let (before, line) = valid.split_at(valid.rfind('\n').map_or(0, |end| end + 1));
                (before, Some(line))
            }
        };
        let mut words = Vec::new();
        let (mut rest, first) = (valid, self.lines);
        while !rest.is_empty() {
            let place = (self.lines - first) % LINES;
            if place == 0 {
                self.look_ahead(rest);
            }
            self.guess = self.ahead.get(place).copied().unwrap_or(NONE);
            let end = memchr(b'\n', rest.as_bytes());
            let (line, behind) = rest.split_at(end.map_or(rest.len(), |end| end + 1));
            rest = behind;
            self.lines += 1;
            if line.len() > MAX_LINE {
                return Err(ReadError::LongLine { line: self.lines });
            }
            line_words(line, 0, &mut words)
                .and_then(|()| self.line(line, &words))
                .map_err(|cause| self.fault(line, cause))?;
        }
        match bad {
            None => Ok(()),
            Some(line) => Err(ReadError::NotUtf8 {
                line: self.lines + 1,
                column: line.chars().count() + 1,
            }),
        }
    }
}
