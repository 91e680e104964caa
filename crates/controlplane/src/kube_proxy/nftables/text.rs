//! The table as text, a chain at a time.

use std::io::{self, Write};

use podwire_ruleset::nft::{Commands, Listing};

use super::base::TABLE_COMMENT;
use super::plan::Plan;
use crate::kube_proxy::spelling::Spelling;

/// Which text of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NftablesForm {
    /// Commands that make it, in kube-proxy's words: chains, sets, maps, rules, elements, each by name
    /// (`Fake.Dump` of sigs.k8s.io/knftables 0.0.16 prints it so).
    Commands,
    /// As `nft list table` shows it afterwards.
    Listing,
}

/// Text is handed on in pieces of at least so many bytes.
const PIECE: usize = 64 * 1024;

/// The whole text.
pub(super) fn to_string(plan: &Plan<'_>, form: NftablesForm) -> String {
    let mut text = Vec::new();
    write(plan, form, &mut text).expect("a Vec takes all that is written");
    String::from_utf8(text).expect("texts were written")
}

/// Writes the text.
pub(super) fn write(plan: &Plan<'_>, form: NftablesForm, out: &mut impl Write) -> io::Result<()> {
    let mut pieces = Pieces {
        text: String::with_capacity(2 * PIECE),
        out,
    };
    match form {
        NftablesForm::Commands => write_commands(plan, &mut pieces)?,
        NftablesForm::Listing => write_listing(plan, &mut pieces)?,
    }
    pieces.out.write_all(pieces.text.as_bytes())
}

/// Text that is handed on from time to time.
struct Pieces<'o, W> {
    text: String,
    out: &'o mut W,
}

impl<W: Write> Pieces<'_, W> {
    fn hand_on(&mut self) -> io::Result<()> {
        if self.text.len() >= PIECE {
            self.out.write_all(self.text.as_bytes())?;
            self.text.clear();
        }
        Ok(())
    }
}

fn write_commands<W: Write>(plan: &Plan<'_>, pieces: &mut Pieces<'_, W>) -> io::Result<()> {
    let proxier = plan.proxier;
    let commands = Commands::new(proxier.family().into(), &proxier.common.table);
    commands.add_table(&mut pieces.text, Some(TABLE_COMMENT));
    for planned in &plan.chains {
        commands.add_chain(&mut pieces.text, &plan.head(planned));
        pieces.hand_on()?;
    }
    for (name, set) in &plan.sets {
        commands.add_set(&mut pieces.text, name, set);
        pieces.hand_on()?;
    }
    for planned in &plan.chains {
        let spelling = plan.endpoint(planned).and_then(Spelling::of_endpoint);
        for rule in &plan.chain(planned).rules {
            let line = pieces.text.len();
            commands.add_rule(&mut pieces.text, &planned.name, rule);
            if let Some(spelling) = &spelling {
                spelling.apply(&mut pieces.text, line);
            }
        }
        pieces.hand_on()?;
    }
    for (name, set) in &plan.sets {
        for (key, element) in &set.elements {
            commands.add_element(&mut pieces.text, name, key, element);
            pieces.hand_on()?;
        }
    }
    Ok(())
}

fn write_listing<W: Write>(plan: &Plan<'_>, pieces: &mut Pieces<'_, W>) -> io::Result<()> {
    let proxier = plan.proxier;
    let mut listing = Listing::new(proxier.family().into());
    let comment = Some(TABLE_COMMENT);
    listing.open(&mut pieces.text, &proxier.common.table, comment);
    for (name, set) in &plan.sets {
        listing.write_set(&mut pieces.text, name, set);
        pieces.hand_on()?;
    }
    for planned in &plan.chains {
        listing.write_chain(&mut pieces.text, &plan.chain(planned));
        pieces.hand_on()?;
    }
    listing.close(&mut pieces.text);
    Ok(())
}
