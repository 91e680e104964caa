//! The table as text, a chain at a time.

use std::io::{self, Write};

use podwire_ruleset::nft::{Commands, Listing, Name};

use super::NftablesProxier;
use super::base::TABLE_COMMENT;
use super::endpoint_lines::EndpointLines;
use super::plan::Plan;
use super::planned_chains::Owner;

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

/// The whole text of the table of a node that has these chains of services already.
pub(super) fn to_string(
    proxier: &NftablesProxier<'_>,
    existing: &[Name],
    form: NftablesForm,
) -> String {
    let mut pieces: Pieces<'_, io::Sink> = Pieces {
        text: String::new(),
        out: None,
    };
    write_form(proxier, existing, form, &mut pieces).expect("nothing is handed on");
    pieces.text
}

/// Writes the text.
pub(super) fn write(
    proxier: &NftablesProxier<'_>,
    existing: &[Name],
    form: NftablesForm,
    out: &mut impl Write,
) -> io::Result<()> {
    let mut pieces = Pieces {
        text: String::with_capacity(2 * PIECE),
        out: Some(&mut *out),
    };
    write_form(proxier, existing, form, &mut pieces)?;
    let Pieces { text, .. } = pieces;
    out.write_all(text.as_bytes())
}

fn write_form<W: Write>(
    proxier: &NftablesProxier<'_>,
    existing: &[Name],
    form: NftablesForm,
    pieces: &mut Pieces<'_, W>,
) -> io::Result<()> {
    match form {
        NftablesForm::Commands => {
            let commands = Commands::new(proxier.family().into(), &proxier.common.table);
            let plan = Plan::new(proxier, existing, Some(&commands));
            write_commands(&plan, &commands, pieces)
        }
        NftablesForm::Listing => write_listing(&Plan::new(proxier, existing, None), pieces),
    }
}

/// Text that is handed on from time to time, if it is at all.
struct Pieces<'o, W> {
    text: String,
    out: Option<&'o mut W>,
}

impl<W: Write> Pieces<'_, W> {
    fn hand_on(&mut self) -> io::Result<()> {
        if let Some(out) = &mut self.out
            && self.text.len() >= PIECE
        {
            out.write_all(self.text.as_bytes())?;
            self.text.clear();
        }
        Ok(())
    }
}

fn write_commands<W: Write>(
    plan: &Plan<'_>,
    commands: &Commands,
    pieces: &mut Pieces<'_, W>,
) -> io::Result<()> {
    commands.add_table(&mut pieces.text, Some(TABLE_COMMENT));
    for planned in plan.chains() {
        match plan.common(planned) {
            Some(chain) => commands.add_chain(&mut pieces.text, chain),
            None => commands.add_regular_chain(&mut pieces.text, planned.name),
        }
        pieces.hand_on()?;
    }
    for (name, set) in &plan.sets {
        commands.add_set(&mut pieces.text, name, set);
        pieces.hand_on()?;
    }
    let mut lines = EndpointLines::default();
    for planned in plan.chains() {
        let text = &mut pieces.text;
        let rules = || plan.rules(planned);
        if let Owner::Endpoint {
            plain: Some(l4), ..
        } = planned.of
        {
            lines.write(text, commands, planned.name, (l4, planned.text), rules);
        } else if planned.text.is_empty() {
            let spelling = plan.spelling(planned);
            for rule in &rules() {
                let line = text.len();
                commands.add_rule(text, planned.name, rule);
                if let Some(spelling) = &spelling {
                    spelling.apply(text, line);
                }
            }
        } else {
            text.push_str(planned.text);
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
    for planned in plan.chains() {
        listing.write_chain(&mut pieces.text, &plan.chain(planned));
        pieces.hand_on()?;
    }
    listing.close(&mut pieces.text);
    Ok(())
}
