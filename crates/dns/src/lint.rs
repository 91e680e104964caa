//! Would a release of CoreDNS start with this Corefile, what in it is dead, and what it becomes.
//!
//! # Map
//! - [`lint`]: the question. [`Lint`]: the answer.
//! - `outline`: a Corefile as lines within lines, which is all that a migration needs.
//! - `migrate`: the steps from release to release.
//!
//! # Sources
//! coredns/corefile-migration, which kubeadm runs when a cluster is upgraded.

mod migrate;
mod outline;

use std::fmt;

use crate::corefile::{Corefile, Place, Refusal, Surroundings};
use crate::version::{DIRECTIVES, Life, OPTIONS, Version};

use self::outline::{Line, Outline};

/// What there is to say of a Corefile.
#[derive(Clone, Debug, PartialEq)]
pub struct Lint {
    /// What the release makes of it.
    pub loaded: Result<Corefile, Refusal>,
    /// Plugins and options that other releases have, or read over.
    pub notes: Vec<Note>,
    /// The text that does the same in this release, if it needs another one.
    pub migrated: Option<Migrated>,
}

/// A plugin or an option whose life ended, or has not begun.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Where it stands.
    pub place: Place,
    /// What is known of it.
    pub life: Life,
    /// Whether the release that was asked about refuses it.
    pub refused: bool,
}

/// A Corefile brought to a release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Migrated {
    /// The oldest release that takes the text as it was.
    pub from: Version,
    /// The text now.
    pub text: String,
    /// What had to be left to a person.
    pub left: Vec<String>,
    /// Why the release refuses it still.
    pub refusal: Option<Refusal>,
}

/// Reads a Corefile as a release does; `file` is what messages call it.
pub fn lint(file: &str, text: &str, version: Version, around: &dyn Surroundings) -> Lint {
    let loaded = Corefile::load(file, text, version, around);
    let outline = Outline::read(file, text);
    let notes = notes(&outline, version);
    let dead = |note: &Note| {
        let ignored = note.life.ignored.is_some_and(|ignored| ignored <= version);
        let gone = note.life.gone.is_some_and(|gone| gone <= version);
        gone || (ignored && note.life.plugin == "kubernetes")
    };
    let migrated = notes.iter().any(dead).then(|| {
        let from = oldest(file, text, &notes, around);
        let (now, left) = migrate::migrate(outline, from, version);
        let text = now.to_string();
        let refusal = Corefile::load(file, &text, version, around).err();
        Migrated {
            from,
            text,
            left,
            refusal,
        }
    });
    Lint {
        loaded,
        notes,
        migrated,
    }
}

/// Plugins and options of which more is known than that they are there.
fn notes(outline: &Outline, version: Version) -> Vec<Note> {
    let mut notes = Vec::new();
    let mut note = |line: &Line, life: Option<&Life>| {
        let Some(&life) = life else { return };
        let refused = !life.holds(version);
        let ignored = life.ignored.is_some_and(|ignored| ignored <= version);
        if let Some(word) = line.words.first()
            && (refused || ignored)
        {
            notes.push(Note {
                place: word.place(),
                life,
                refused,
            });
        }
    };
    let plugins = outline.lines.iter().flat_map(Line::block);
    for plugin in plugins {
        let name = plugin.name();
        note(plugin, DIRECTIVES.iter().find(|life| life.name == name));
        for option in plugin.block() {
            let known = |life: &&Life| life.plugin == name && life.name == option.name();
            note(option, OPTIONS.iter().find(known));
        }
    }
    notes
}

/// The oldest release that takes a text: that before the first death in it, if none does.
fn oldest(file: &str, text: &str, notes: &[Note], around: &dyn Surroundings) -> Version {
    let came = DIRECTIVES
        .iter()
        .chain(OPTIONS)
        .filter_map(|life| life.since);
    let mut candidates: Vec<_> = came.chain([Version::OLDEST]).collect();
    candidates.sort_unstable();
    candidates.dedup();
    let first_death = notes.iter().filter_map(|note| note.life.gone).min();
    candidates.retain(|version| first_death.is_none_or(|death| *version < death));
    let takes = |version: &Version| Corefile::load(file, text, *version, around).is_ok();
    let oldest = candidates.iter().copied().find(takes);
    oldest
        .or(candidates.last().copied())
        .unwrap_or(Version::OLDEST)
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Life {
            plugin,
            name,
            since,
            ignored,
            gone,
            instead,
        } = self.life;
        match plugin == name {
            true => write!(f, "{}: plugin {name}:", self.place)?,
            false => write!(f, "{}: option {name} of {plugin}:", self.place)?,
        }
        let mut told = "";
        if let Some(since) = since {
            write!(f, " came with {since}")?;
            told = ",";
        }
        if let Some(ignored) = ignored {
            write!(f, "{told} does nothing since {ignored}")?;
            told = ",";
        }
        // A death that is still to come is not told.
        if let Some(gone) = gone.filter(|gone| *gone <= Version::NEWEST) {
            write!(f, "{told} is refused since {gone}")?;
        }
        if !instead.is_empty() {
            write!(f, "; instead: {instead}")?;
        }
        Ok(())
    }
}
