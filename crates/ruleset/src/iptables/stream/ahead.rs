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

/// A line that jumps to no chain that is known.
pub(super) const NONE: u32 = u32::MAX;

impl<S: Sink> Reader<'_, S> {
    /// Notes for each line of a block which chain it may jump to.
    pub(super) fn look_ahead(&mut self, block: &str) {
        self.ahead.clear();
        let Some(open) = &self.open else {
            return;
        };
        let names = &mut self.tables[open.place].1;
        if names.len() < MANY {
            return;
        }
        let mut jumps: Vec<Jump<'_>> = Vec::new();
        let mut rest = block;
        for place in 0_u32.. {
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
            let Some(behind) = behind.get(1..).filter(|behind| !behind.is_empty()) else {
                self.ahead.resize(place as usize + 1, NONE);
                break;
            };
            rest = behind;
        }
        if jumps.is_empty() {
            return;
        }
        names.fill();
        for jump in &mut jumps {
            jump.chain = names.guess(jump.hash).unwrap_or(NONE);
        }
        for jump in &jumps {
            if names.near(jump.name, [jump.chain]).is_some() {
                self.ahead[jump.place as usize] = jump.chain;
            }
        }
    }
}

/// A line that jumps.
struct Jump<'t> {
    /// Number of the line in its block.
    place: u32,
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
