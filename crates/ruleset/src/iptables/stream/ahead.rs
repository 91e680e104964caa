//! Which chains the next lines jump to.
//!
//! The names of a million Services are in no cache, and rules jump to them in no order. Line by line,
//! every jump would wait for memory two times and more. Here all lines of a block are looked at first, in
//! so few instructions each that the processor waits for many of them at once. What is found is only
//! where to look first: whoever reads the line compares the name.

use memchr::{memchr, memrchr};

use super::Sink;
use super::names::hash_of;
use super::reader::Reader;

/// Chains from which on it is worth it: fewer stay in the nearer caches.
const MANY: usize = 1 << 15;

/// Lines that are looked at before they are read.
pub(super) const LINES: usize = 2_048;

/// A line that jumps to no chain that is known.
pub(super) const NONE: u32 = u32::MAX;

impl<S: Sink> Reader<'_, S> {
    /// Notes for each of the next [`LINES`] lines of a block which chain it may jump to.
    pub(super) fn look_ahead(&mut self, block: &str) {
        self.ahead.clear();
        let Some(open) = &self.open else {
            return;
        };
        let names = &mut self.tables[open.place].1;
        if names.len() < MANY {
            return;
        }
        let mut jumps: Vec<Jump<'_>> = Vec::with_capacity(LINES.min(block.len() / 64));
        let mut rest = block;
        for place in 0..LINES {
            let end = memchr(b'\n', rest.as_bytes()).unwrap_or(rest.len());
            let (line, behind) = rest.split_at(end);
            if let Some(name) = jump(line)
                && let Some(hash) = hash_of(name)
            {
                jumps.push(Jump {
                    place,
                    hash,
                    name,
                    chain: NONE,
                });
            }
            rest = behind.get(1..).unwrap_or("");
            if rest.is_empty() {
                break;
            }
        }
        if jumps.is_empty() {
            return;
        }
        self.ahead.resize(LINES, NONE);
        names.fill();
        for jump in &mut jumps {
            jump.chain = names.guess(jump.hash).unwrap_or(NONE);
        }
        for jump in &jumps {
            if names.near(jump.name, [jump.chain]).is_some() {
                self.ahead[jump.place] = jump.chain;
            }
        }
    }
}

/// A line that jumps.
struct Jump<'t> {
    /// How many lines stand before it.
    place: usize,
    hash: u32,
    name: &'t str,
    chain: u32,
}

/// The last word of a line, if it is behind `-j` or `-g`.
fn jump(line: &str) -> Option<&str> {
    let blank = memrchr(b' ', line.as_bytes())?;
    let (before, name) = line.split_at(blank);
    let is_jump = before.ends_with(" -j") || before.ends_with(" -g");
    is_jump.then(|| &name[1..])
}
